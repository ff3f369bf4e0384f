"""Keys: names from outside are checked, never trusted, and an id is split as it was made."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadName
from engine.keys import MAX_KEY_BYTES, SUFFIXES, check_job_name, check_key, check_queue, prefix, registry, shown, split_id

queues = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
anything: st.SearchStrategy[Any] = st.one_of(st.text(), st.none(), st.integers(), st.binary(), st.lists(st.text(), max_size=2))


def test_all_keys_of_a_queue_share_its_hash_tag() -> None:
    assert prefix("messages") == "engine:{messages}:"
    assert registry() == "engine:queues"
    assert all(suffix.islower() and "{" not in suffix for suffix in SUFFIXES)


@given(queues)
def test_a_good_queue_name_is_returned(name: str) -> None:
    assert check_queue(name) == name


@pytest.mark.parametrize("name", ["", "a b", "-a", ".a", "a/b", "a{b}", "a}", "ção", "a" * 65, "a\n", "a:b", None, 7])
def test_a_bad_queue_name_is_refused_and_shown(name: Any) -> None:
    with pytest.raises(BadName, match="1 to 64 letters"):
        check_queue(name)


@pytest.mark.parametrize("name", ["process-message", "a.b:c/d_e", "_x", "9", "a" * 128])
def test_a_good_job_name_is_returned(name: str) -> None:
    assert check_job_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", " a", "a b", "a" * 129, "a\n", "ção", None, b"a"])
def test_a_bad_job_name_is_refused(name: Any) -> None:
    with pytest.raises(BadName, match="1 to 128 letters"):
        check_job_name(name)


@given(anything)
def test_a_key_is_returned_as_it_is_or_refused(key: Any) -> None:
    try:
        assert check_key(key, "ordering key") is key
    except BadName as error:
        refused = str(error)
        assert refused.startswith("ordering key")
    else:
        assert 0 < len(key.encode()) <= MAX_KEY_BYTES


def test_a_keys_limit_is_in_bytes_not_in_letters() -> None:
    assert check_key("ç" * 256, "key")
    with pytest.raises(BadName, match=r"514 bytes long, at most 512.*hash"):
        check_key("ç" * 257, "key")
    with pytest.raises(BadName, match="UTF-8"):
        check_key("\ud800", "key")


@given(queues, st.integers(0, 10**15 - 1), st.integers(0, 10**16 - 1))
def test_a_full_id_is_split_as_it_was_made(queue: str, ms: int, seq: int) -> None:
    assert split_id(f"{queue}/{ms}-{seq}") == (queue, f"{ms}-{seq}")


@pytest.mark.parametrize(
    "text", ["", "1-1", "/1-1", "q/", "q/1", "q/1-", "q/a-1", "q/1-1/2", "q r/1-1", "q/1-1\n", "q/٣-1", "q/-1-1", None]
)
def test_what_is_no_full_id_is_refused_with_an_example(text: Any) -> None:
    with pytest.raises(BadName, match="it looks like messages/"):
        split_id(text)


@given(anything, st.integers(10, 100))
def test_a_value_in_a_sentence_is_one_short_printable_line(value: Any, limit: int) -> None:
    text = shown(value, limit)
    assert len(text) <= limit
    assert text.isprintable()
