"""Masking: nothing that identifies a person or opens a door is readable, and everything that leads to a job is."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.masking import MAX_DEPTH, is_private, mask_number, mask_payload, mask_text

EPOCH_MS = st.integers(1_000_000_000_000, 2_199_999_999_999)  # 2001 to 2039
DDD = st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda pair: f"{pair[0]}{pair[1]}")
MOBILE = st.builds("{}9{:08d}".format, DDD, st.integers(0, 99_999_999))
PLAIN_WORDS = st.text("abcdefghij äéç,:()/\n", max_size=15)


@example("11987654321", "aaa", "aaaa", "55")
@example("11987654321", "a" * 10, "a" * 9, "55")
@given(MOBILE, PLAIN_WORDS, PLAIN_WORDS, st.sampled_from(["55", "+55", "", "+55 ", "tel:+55", "wa55", "conv-55", "(55"]))
def test_a_brazilian_mobile_is_never_readable_in_a_text(mobile: str, before: str, after: str, country: str) -> None:
    masked = mask_text(f"{before}{country}{mobile}{after}")
    assert mobile[2:] not in masked
    assert mobile[-8:-2] not in masked


@given(MOBILE)
def test_a_mobile_is_hidden_however_people_write_it(mobile: str) -> None:
    area, first, last = mobile[:2], mobile[2:7], mobile[7:]
    for text in (
        f"+55 ({area}) {first}-{last}", f"({area}) {first}-{last}", f"({area}){first}{last}", f"{area} {first}-{last}", f"{area} {first} {last}",
        f"+55 {area} {first} {last}", f"+55-{area}-{first}-{last}", f"55 {area} {first}-{last}", f"+55\u00a0{area}\u00a0{first}\u2011{last}",
        f"5511 {first} {last}", f"+55  {area}  {first}  {last}", f"+55 {area} {first} - {last}", f"({area})  {first} {last}", f"(0{area}) {first}-{last}",
        f"tel. {first} {last}", f"celular: {first}{last}", f"WhatsApp 9 {first[1:]}-{last}", f"0055{area}{first}{last}",
        f"{first}-{last}", f"+55 ({area}) 9 {first[1:]}-{last}", f"({area}) 9 {first[1:]}-{last}", f"{area} 9 {first[1:]}.{last}",
    ):  # fmt: skip
        masked = mask_text(f"number {text}!")
        assert first[1:] not in masked, text
        assert last not in masked, text
        assert masked.startswith("number ")
        assert masked.endswith(f"{last[-2:]}!"), "the last two digits stay, to recognise it by"


@given(MOBILE, st.sampled_from([".", ",", "/", " ", ";", "|", ":", "_", "..", "\n"]))
def test_numbers_in_a_row_are_all_hidden(mobile: str, between: str) -> None:
    assert mobile[3:] not in mask_text(f"55{mobile}{between}55{mobile}{between}{mobile}")
    local = f"{mobile[2:7]}-{mobile[7:]}"
    assert local not in mask_text(f"{local}{between}{local}")


@given(st.integers(10**7, 10**15 - 1))
def test_any_number_with_a_plus_is_hidden(number: int) -> None:
    assert str(number)[2:-2] not in mask_text(f"to +{number}, failed")


@pytest.mark.parametrize(
    "number", ["4915112345678", "351912345678", "5491112345678", "14155552671", "1133334444", "551133334444"]
)
def test_numbers_as_whatsapp_writes_them_are_hidden_for_other_countries_too(number: str) -> None:
    assert number not in mask_text(f"wa_id {number} not on WhatsApp")


def test_a_masked_number_keeps_its_first_and_last_two_digits() -> None:
    assert mask_text("to +5511987654334.") == "to +55•••••••••34."
    assert mask_number("123") == "•••"


@given(
    EPOCH_MS,
    st.integers(0, 10**16 - 1),
    st.sampled_from(["", "messages/", "job ", "c", "id=", '"', "(", "a-b/"]),
    st.sampled_from(["", " ", ",", '"', ")", ":", "/x"]),
)
def test_a_job_id_stays_readable(ms: int, seq: int, before: str, after: str) -> None:
    text = f"{before}{ms}-{seq}{after}"
    assert mask_text(text) == text
    assert mask_payload({"jobId": text, "key": text}) == {"jobId": text, "key": text}


@given(EPOCH_MS)
def test_an_instant_in_ms_stays_readable_as_text_and_as_a_number(ms: int) -> None:
    assert mask_text(f"due_at_ms={ms}") == f"due_at_ms={ms}"
    assert mask_payload({"dueAtMs": ms, "other": ms}) == {"dueAtMs": ms, "other": ms}


@given(st.uuids(), st.sampled_from([16, 20, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size)), st.datetimes())
def test_uuids_digests_addresses_and_iso_times_stay_readable(uuid: object, digest: bytes, when: Any) -> None:
    hexed = "a" + digest.hex()[1:]
    for text in (str(uuid), hexed, f"<Foo at 0x{hexed[:12]}>", f"{when.isoformat()}+00:00"):
        assert mask_text(text) == text


@pytest.mark.parametrize(
    "text",
    ["attempt 3 of 3", "took 0.5511987654321 s", "1763791234.123", "port 6379", "2026-11-22 09:23:14.123", "16 GiB, 17179869 bytes",
     "id 106540352242922117", "value 1763791234", "(#131030) Recipient phone number not in allowed list", "text: too long", "context: 'x'",
     "the fencing token is old", "max_tokens=100", "a basic misunderstanding", "a senha", "5 of 12 2025 - 2026", "R$ 98765 4321", "98765 4321", "phone_number_id: 987654321", "phone 1234567", "0000000012345",
     "R$ 1.234.567,89 on 2026-11-23 10:15", "123,456  98,765 rows", "bypass=1", "passed: 3", "auth took 1500ms", "auth failed for app", "auth of messages/1763791234567-4",
     "auth of 550e8400-e29b-41d4-a716-446655440000", "requirepass is set", "redis://h:6379/0: refused", "redis://h1:1,[::1]:2/0", "redis+sentinel://h1,h2/main", "key=abc", "sort_key=1", "senha incorreta", "a senha é obrigatória", "esqueci a senha do aplicativo",
     "the password is too short", "password is required", "password was changed by an operator", "password authentication failed", "password reset!",
     "password of 8 characters", "passwords are kept elsewhere", "a senha e o nome", "WRONGPASS invalid username-password pair or user is disabled.", "NOAUTH Authentication required.", "https://example.com/a?b=c", "expected `str`, got `int` - at `$.content`"],
)  # fmt: skip
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert mask_text(text) == text


SECRET = st.text("abcdefXYZ0123456789_-.~", min_size=8, max_size=40).map(lambda text: f"Zq9{text}")


@given(SECRET, PLAIN_WORDS)
def test_a_token_or_password_is_never_readable(secret: str, before: str) -> None:
    for text in (
        f"token={secret}", f"pwd={secret}", f"AUTH {secret}", f"AUTH app {secret}", f"Basic {secret.replace('.', '1').replace('~', '2').replace('-', '3')}==", f"access_token={secret}&x=1", f'"password": "{secret}"', f"password='{secret}'", f"Authorization: Bearer {secret}",
        f"bearer {secret}", f"senha: {secret}", f"senha {secret}", f"my password is {secret}", f"a senha é {secret}", f"A Senha e\u0301 {secret}", f"pwd: {secret}", f"password {secret}, ok", f"password was '{secret}'", f"client_secret={secret}", f"X-Api-Key: {secret}", f"appsecret_proof={secret}",
        f'{{\\"token\\":\\"{secret}\\"}}', f"Cookie: a=1; session={secret}", f"Authorization: Basic {secret}==", f"hub.verify_token={secret}",
        f"redis://:{secret}@h:6379/0", f"rediss+sentinel://u:a/b@{secret}@h/x", f"https://u:{secret}@graph.example/v1",
        f"token=b'{secret}'", repr({"token": secret.encode()}), f"redis://app:{secret}/0", f"rediss://:{secret}", f"SECRET_KEY={secret}", f"secretKey={secret!r}",
        f"pass={secret}", f"DB_PASS={secret}", f"dbPass: {secret}", f"credential={secret}", f"signing_key={secret}", f"password => {secret}", f"requirepass {secret}",
        f"masterauth '{secret}'", f"CONFIG SET requirepass {secret}", f"sentinel auth-pass main {secret}", f"auth app {secret}", f"auth {secret}",
        f"user app on >{secret} ~engine:*", f"ACL SETUSER app on >{secret}", f"redis-cli -h x -a {secret} ping",
        f"EAA{secret.replace('_', 'a').replace('-', 'b').replace('.', 'c').replace('~', 'd')}{'x' * 10}",
    ):  # fmt: skip
        masked = mask_text(f"{before} {text} after")
        assert "Zq9" not in masked, (text, masked)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password is hunter", "password is •••"),
        ("a senha é abacate e o nome é Ana", "a senha é ••• e o nome é Ana"),
        ("senha 1234 do portão", "senha ••• do portão"),
        ("minha Senha foi casaAmarela", "minha Senha foi •••"),
        ('the passphrase is "correct horse battery" now', "the passphrase is ••• now"),
        ("use pwd s3creto para entrar", "use pwd ••• para entrar"),
    ],
)
def test_a_password_in_a_sentence_is_hidden_and_the_sentence_stays(text: str, masked: str) -> None:
    assert mask_text(text) == masked


def test_a_json_web_token_is_hidden() -> None:
    part = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    assert part not in mask_text(f"got {part}.{part}.{part} today")


@given(st.text(max_size=60).map(lambda text: f"Olá Zq9{text}"))
def test_a_message_body_is_not_readable_in_a_repr_or_in_json(body: str) -> None:
    class Message(msgspec.Struct):
        conversation_id: str
        content: str

    message = Message("c1", body)
    inner = json.dumps({"conversationId": "c1", "content": body})
    for text in (
        repr(message),
        inner,
        json.dumps({"raw": inner}),
        f"failed on {inner[:-5]}",
        repr({"messageText": body, "n": 1}),
        f"caption={body!r}",
    ):
        masked = mask_text(text)
        assert "Zq9" not in masked, (text, masked)
        assert "•••" in masked


def test_what_follows_a_quoted_secret_stays_readable() -> None:
    assert mask_text('{"token": "a\\"b", "status": 500}') == '{"token": •••, "status": 500}'
    assert mask_text("Message(content='it\\'s', n=3)") == "Message(content=•••, n=3)"


FRAGMENTS = st.sampled_from(
    ["token", "=", ":", " ", '"', "'", "\\", "@", "://", "redis", "Bearer ", "body", "Authorization", "+55", "11987654321", "(11)", "98765-4321", "-", ",",
     "EAA", "abcdefgh12345678", "•••", "1763791234567", "x", "\n", "eyJ", ".", "password", "senha", "is ", "é ", "b'", "auth ", "requirepass ", "pass", "tel ", "98765 4321", "  ", "/0", "redis://", "55", "user x on >", "redis-cli -a "],
)  # fmt: skip


@example('token=""token')
@example("98765-4321.98765-4321")
@given(st.lists(FRAGMENTS, max_size=14).map("".join) | st.text(max_size=80))
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once = mask_text(text)
    assert mask_text(once) == once


@pytest.mark.parametrize(
    "piece",
    ["a", "1", "-a", "body=", 'body="', "token: ", "redis://", "://", "eyJ-", "eyJabcdefgh", "bearer ", "password ", "pwd is ", "senha x", "9-", "+1 ", "a1", "\\", '\\"', 'body=\\"\\\\',
     "(11)", "55 ", "auth ", "auth a1b2c3 ", "requirepass ", "user a on ", "setuser ", "redis-cli ", "tel ", "phone 9", "+1  2", "00", "5511 9", "redis://a:", "1.", "0x", "authorization:", "2026-11-22 "],
)  # fmt: skip
def test_a_hostile_text_of_200_kb_is_masked_in_linear_time(piece: str) -> None:
    def seconds(size: int) -> float:
        text = (piece * size)[:size]
        start = time.perf_counter()
        mask_text(text)
        return time.perf_counter() - start

    seconds(1000)
    small = min(seconds(20_000) for _ in range(3))
    # Ten times the text: quadratic would be a hundred times as long. The floor keeps a noisy machine from failing this.
    assert seconds(200_000) < max(small * 40, 2.0)


# --- payloads --------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "body", "phone", "items"]) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_a_masked_payload_keeps_its_shape_and_masks_once(obj: Any) -> None:
    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return [shape(item) for item in value.values()]
        return [shape(item) for item in value] if isinstance(value, list) else None

    masked = mask_payload(obj)
    assert shape(masked) == shape(obj)
    assert mask_payload(masked) == masked
    json.dumps(masked)


@given(
    st.sampled_from(
        [
            "content",
            "body",
            "senderNumber",
            "recipient_number",
            "token",
            "accessToken",
            "customerName",
            "password",
            "text",
            "name",
        ]
    ),
    JSON,
)
def test_nothing_under_a_private_name_is_readable(field: str, value: Any) -> None:
    masked = mask_payload({field: {"deep": [value, "Zq9 secret"]}})
    assert "Zq9" not in json.dumps(masked)
    assert mask_payload({"x": value and "ok"})["x"] in (value, "ok")


def test_the_payload_of_an_inbound_message_shows_its_ids_and_hides_the_person() -> None:
    payload = {
        "conversationId": "c-17", "messageId": "wamid.X", "organizationId": "org-1", "senderNumber": "5511987654321", "content": "meu CPF é 1",
        "recipients": ["+5511987654321", "+5521912345678"], "attachments": [{"caption": "eu", "mimeType": "image/png", "size": 5511987654321}],
        "sentAtMs": 1763791234567, "wabaPhone": 5511987654321, "contentType": "text", "phoneNumberId": "106540352242922", "urgent": True, "note": None,
    }  # fmt: skip
    assert mask_payload(payload) == {
        "conversationId": "c-17", "messageId": "wamid.X", "organizationId": "org-1", "senderNumber": "55•••••••••21", "content": "••• (11 characters)",
        "recipients": ["+55•••••••••21", "+55•••••••••78"], "attachments": [{"caption": "••• (2 characters)", "mimeType": "image/png", "size": "55•••••••••21"}],
        "sentAtMs": 1763791234567, "wabaPhone": "55•••••••••21", "contentType": "text", "phoneNumberId": "106540352242922", "urgent": True, "note": None,
    }  # fmt: skip


def test_structs_dataclasses_bytes_and_strange_objects_become_plain_data() -> None:
    class Inbound(msgspec.Struct):
        content: str
        conversation_id: str

    @dataclasses.dataclass
    class Reminder:
        body: str
        at_ms: int

    assert mask_payload(Inbound("Oi", "c1")) == {"content": "••• (2 characters)", "conversation_id": "c1"}
    assert mask_payload(Reminder("Oi", 5)) == {"body": "••• (2 characters)", "at_ms": 5}
    assert mask_payload({"raw": b"abc", "odd": object(), "some": {1}}) == {"raw": "••• (3 bytes)", "odd": "•••", "some": [1]}


def test_phone_numbers_as_field_names_are_hidden_and_no_entry_is_lost() -> None:
    masked = mask_payload({"+5511987654321": 1, "+5511900000021": 2})
    assert sorted(masked.values()) == [1, 2]
    assert "98765" not in str(masked)


def test_a_payload_that_contains_itself_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert str(mask_payload(loop)).count("[") == MAX_DEPTH + 1


@pytest.mark.parametrize(
    "name",
    ["contentType", "phone_number_id", "recipientCount", "context", "textile", "tokensUsed", "orderNumber", "fileName", "", "_"],
)
def test_a_name_that_only_looks_private_is_not(name: str) -> None:
    assert not is_private(name)
