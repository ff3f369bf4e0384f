"""Masking: phone numbers, tokens, passwords and message bodies, made unreadable before they are logged or shown.

`mask_text` looks at the shape of what is written, `mask_payload` also at the names of fields. Job ids, instants in epoch
milliseconds, UUIDs and digests stay readable: without them a log line leads nowhere. In doubt about a secret we hide.
Both are pure, never raise, take time linear in the text, and change nothing when applied twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

DOTS = "•••"
"""What stands for something hidden."""

MAX_DEPTH = 24
"""Nesting a payload is followed to; deeper is hidden whole. Payloads that nest deeper are attacks or mistakes."""

# --- text: secrets ---------------------------------------------------------------------------------------------------

_QUOTED = (
    r"""[bBrRuU]{0,2}(?:"(?:[^"\\]|\\.)*(?:"|\\?\Z)"""
    r"""|'(?:[^'\\]|\\.)*(?:'|\\?\Z)"""
    r"""|\\"(?:[^"\\]|\\\\\\"|\\[^"])*(?:\\?"|\\?\Z))"""  # JSON inside JSON
)
"""With the letters that Python writes before it. Ends at the end of the text at the latest, so a cut-off quote hides too and no
pattern ever has to look twice."""
_NAMES = r"(?:passw(?:or)?[dt]|pwd|passphrase|senha)"
_KEYS = (
    rf"(?:{_NAMES}|secret|secret_proof|token|credentials?|(?<![a-z])(?:pass|jwt)|(?-i:(?<=[a-z])Pass)"
    r"|(?:api|access|private|secret|signing|encryption)[_-]?key)"
)
"""What a setting or a field is called that holds a secret."""
_NO_WORD = r"(?=[^\s\"'<>]{0,200}(?:[0-9]|[@#$%&*!?_+=~^][^\s\"'<>]|(?-i:[a-z][A-Z])))"
"""Ahead is what looks like no word."""
_TOLD = (
    r"(?:not?|n[aã]o|too|very|muito|the|a|an|in|on|at|of|to|for|from|only|still|already|now|required|optional|obligatory|needed|missing"
    r"|empty|blank|wrong|incorrect|correct|invalid|valid|weak|short|long|expired|set|unset|changed|reset|stored|hidden|masked|kept|read"
    r"|used|sent|asked|checked|rejected|refused|denied|accepted|obrigat[oó]ria|inv[aá]lida|v[aá]lida|incorreta|correta|errada|vazia"
    r"|fraca|curta|alterada|necess[aá]ria)"
)
"""What a sentence says of a password that it does not tell."""
_IS = r"""\\?["']?\s{0,4}(?:=>|[=:])\s{0,4}"""


def _hide_no_host(match: re.Match[str]) -> str:
    """An address whose `@host` was forgotten, it may be: what is no host hides with all that follows."""
    hosts = re.split(r"[/?#]", match[2], maxsplit=1)[0].rstrip(".,;:)}")
    return match[0] if _HOSTS.fullmatch(hosts) else match[1] + DOTS


_HOSTS = re.compile(r"(?:(?:\[[0-9A-Fa-f:.]*\]|[^:\[\],]+)(?::[0-9]{1,5})?(?:,|\Z))*")
"""As in redis_url.py, which leans on this module."""

_SECRETS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # A Redis password may hold an unescaped / or @, so everything up to the last @ goes.
    (re.compile(r"(?i)\b((?:rediss?(?:\+[a-z]{1,10})?|unix)://)[^\s\"'<>]{0,2000}@"), rf"\1{DOTS}@"),
    (re.compile(r"(?i)\b(rediss?(?:\+[a-z]{1,10})?://)([^\s\"'<>@]+)"), _hide_no_host),
    (re.compile(r"(://)[^\s/?#\"'<>@]{0,500}@"), rf"\1{DOTS}@"),
    (re.compile(rf"(?i)((?:authorization|cookie){_IS})(?:{DOTS}|{_QUOTED}|[^\r\n\"']+)", re.DOTALL), rf"\1{DOTS}"),
    (re.compile(r"(?i)\b(bearer)\s{1,4}[\w.~+/=-]{6,}"), rf"\1 {DOTS}"),
    (re.compile(r"\b([Bb]asic)\s{1,4}(?=[A-Za-z+/]{0,500}[0-9=])[\w+/]{8,}={0,2}"), rf"\1 {DOTS}"),
    (re.compile(rf"\bAUTH(?!\s{{1,4}}{DOTS})(?:\s{{1,4}}[^\s\"']+){{1,2}}"), f"AUTH {DOTS}"),  # the server's command
    (
        re.compile(  # as people type it: a job's id, a UUID or a figure with its unit may follow the word in a sentence
            rf"\bauth(\s{{1,4}})(?:[\w.-]{{1,64}}\s{{1,4}})?(?![0-9.,:-]+[a-z]{{0,3}}(?!\S)|(?i:[0-9a-f]{{8}})-|\S{{0,80}}(?:[0-9]{{13}}-[0-9]|://))"
            rf"{_NO_WORD}[^\s\"'<>{DOTS[0]}]{{6,}}"
        ),
        rf"auth\1{DOTS}",
    ),
    (
        re.compile(
            rf"(?i)\b((?:requirepass|masterauth|auth-pass\s{{1,4}}\S{{1,64}})\s{{1,4}})(?!(?:{_TOLD}|is|are|was|and|or|must)\b)"
            rf"(?:{DOTS}|{_QUOTED}|[^\s\"'<>]+)",
            re.DOTALL,
        ),
        rf"\1{DOTS}",
    ),
    (re.compile(r"(?i)(\buser\s{1,4}\S{1,64}\s{1,4}(?:on|off)\s{1,4}|\bsetuser\s[^\r\n>]{1,64})>[^\s\"']+"), rf"\1>{DOTS}"),
    (re.compile(r"((?:redis|valkey)-cli\b[^\r\n]{0,100}?\s(?:-a|--pass)\s{1,4})[^\s\"']+"), rf"\1{DOTS}"),
    (re.compile(r"\bEAA[A-Za-z0-9]{16,}"), f"EAA{DOTS}"),  # access tokens of Meta's Graph API
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), f"eyJ{DOTS}"),  # JSON web tokens
    (
        re.compile(
            rf"(?i)({_KEYS}{_IS})(?:{DOTS}|{_QUOTED}|[^\s&\"'`<>]+)",
            re.DOTALL,
        ),
        rf"\1{DOTS}",
    ),
    # A password in a sentence: after "is" whatever tells nothing of it, else what looks like no word.
    (
        re.compile(
            rf"(?i)\b({_NAMES}\s{{1,4}}(?:is|are|was|é|e\u0301|eh|foi|era)\s{{1,4}})(?!{_TOLD}\b)(?:{DOTS}|{_QUOTED}|[^\s\"'<>]+)",
            re.DOTALL,
        ),
        rf"\1{DOTS}",
    ),
    (
        re.compile(rf"(?i)\b({_NAMES}\s{{1,4}}){_NO_WORD}[^\s\"'<>]{{4,}}"),
        rf"\1{DOTS}",
    ),
    # What people wrote, as it looks in a repr or in JSON. Quoted only: prose such as "text: too long" stays.
    (
        re.compile(
            rf"((?:(?<![A-Za-z])(?i:content|body|text|caption)|(?<=[a-z])(?:Content|Body|Text|Caption)){_IS})(?:{_QUOTED})",
            re.DOTALL,
        ),
        rf"\1{DOTS}",
    ),
)

# --- text: phone numbers ---------------------------------------------------------------------------------------------

_GAP = r"[ .\u00a0\u202f\-\u2010\u2011\u2013]?"
_WIDE = r"(?:[ ]?[.\u00a0\u202f\-\u2010\u2011\u2013\u2014][ ]?|[ ]{1,3})?"
"""Within what can be nothing but a phone number; elsewhere a year and the next one stand so."""
_DDD = r"[1-9][1-9]"  # Brazilian area codes have no zero
_EPOCH_MS = r"(?:1[0-9]|2[01])[0-9]{11}"  # 2001 to 2039; no country's numbers begin so and are 13 digits long

_NUMBERS = re.compile(
    rf"""
    (?P<keep>
        (?<![0-9+]){_EPOCH_MS}-[0-9]{{1,16}}(?![0-9])                                     # job and entry ids
      | (?i:\b[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}\b)                      # UUIDs
      | (?i:\b0x[0-9a-f]+\b)                                                              # addresses of objects
      | (?i:\b(?![0-9a-f]*55{_DDD}9[0-9]{{8}})(?=[0-9]{{0,64}}[a-f])
            (?:[0-9a-f]{{64}}|[0-9a-f]{{40}}|[0-9a-f]{{32}})\b)                              # digests, by their usual lengths
      | [0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ][0-9:.]+(?:Z|[+-][0-9]{{2}}:?[0-9]{{2}})?     # ISO instants
      | (?<![0-9+]){_EPOCH_MS}(?![0-9])                                                   # instants in ms
      | (?<![0-9.])(?:0|1[0-9]{{9}})\.[0-9]+(?![0-9.-])                                       # fractions, instants in seconds
      | (?<![0-9+])[0-9]{{16,}}                                                           # counters; no phone is so long
    )
  | (?P<phone>
        \+[0-9]{{8,15}}(?![0-9])
      | \+[0-9]{{1,3}}{_WIDE}\(?[0-9]{{1,4}}\)?(?:{_WIDE}9)?(?:{_WIDE}[0-9]{{2,5}}){{1,4}}(?![0-9])
      | (?<![0-9])(?:55{_WIDE})?\(0?{_DDD}\){_WIDE}9?{_WIDE}[0-9]{{4}}{_WIDE}[0-9]{{4}}(?![0-9])   # (11) 98765-4321
      | (?<![0-9])(?:55{_WIDE})?{_DDD}(?:[ ]{{1,3}}|[.-])9{_WIDE}[0-9]{{4}}{_WIDE}[0-9]{{4}}(?![0-9])
      | (?<![0-9])(?:00)?55{_DDD}{_WIDE}9{_WIDE}[0-9]{{4}}{_WIDE}[0-9]{{4}}(?![0-9])            # 5511 98765 4321
      | (?<![0-9])00[1-9][0-9]{{9,12}}(?![0-9])                                           # dialled from abroad
      | (?<![0-9])(?:55[ ])?{_DDD}[ .-]9?{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}(?![0-9])              # 11 98765-4321
      | (?<![0-9-])9[0-9]{{4}}-[0-9]{{4}}(?![0-9-])                                       # 98765-4321
      | [0-9]{{3}}\.[0-9]{{3}}\.[0-9]{{3}}-[0-9]{{2}}(?![0-9])                            # CPF, a person's tax number
      | (?<![0-9])(?:
            [2-9][0-9]{{10,12}}                                                           # as WhatsApp writes them: 5511...
          | 1[1-9]9[0-9]{{8}}                                                             # Sao Paulo's mobiles
          | 1[2-9][0-9]{{2}}[2-9][0-9]{{6}}                                               # North America
          | {_DDD}[2-5][0-9]{{7}}                                                         # Brazilian landlines
        )(?![0-9])
    )
    """,
    re.VERBOSE,
)

_LOCAL = re.compile(
    r"(?i)((?:tele?fone?|\btel|celular|\bcel|whats(?:app)?|\bzap|phone|mobile)(?:(?!_?ids?\b)[^0-9\n]){0,16})"
    r"(?<![0-9])(9[ .]?[0-9]{4}[ .-]?[0-9]{4})(?![0-9])"
)
"""A Brazilian mobile without its area code. Only behind a word for it: nine digits are an ordinary figure elsewhere."""


def mask_text(text: str) -> str:
    """`text` with phone numbers, tokens, passwords, log-ins in URLs and quoted message bodies hidden.

    >>> mask_text("no WhatsApp account at +5511987654321 (job messages/1763791234567-4)")
    'no WhatsApp account at +55•••••••••21 (job messages/1763791234567-4)'
    >>> mask_text("GET https://graph.facebook.com/v21.0/me?access_token=EAAJZCx12 failed")
    'GET https://graph.facebook.com/v21.0/me?access_token=••• failed'
    """
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    text = _LOCAL.sub(lambda match: match[1] + mask_number(match[2]), text)
    return _NUMBERS.sub(_hide_number, text)


def _hide_number(match: re.Match[str]) -> str:
    return match[0] if match["phone"] is None else mask_number(match[0])


def mask_number(text: str) -> str:
    """A phone number with its first and last two digits readable: enough to recognise, not enough to call."""
    digits = re.sub(r"[^0-9]", "", text)
    if len(digits) < 8:
        return DOTS
    return f"{'+' if text.lstrip().startswith('+') else ''}{digits[:2]}{'•' * (len(digits) - 4)}{digits[-2:]}"


# --- payloads --------------------------------------------------------------------------------------------------------

_PRIVATE_WORDS = frozenset({
    "content", "body", "text", "caption", "phone", "phones", "telefone", "celular", "mobile", "email", "mail", "cpf",
    "cnpj", "password", "passwd", "pwd", "passphrase", "passwort", "senha", "secret", "token", "credential", "credentials",
    "authorization", "recipient", "recipients", "contact", "contacts", "address", "endereco",
})  # fmt: skip
_PRIVATE_NAMES = frozenset({
    "number", "sender_number", "recipient_number", "wa_id", "name", "full_name", "first_name", "last_name", "customer_name",
    "contact_name", "profile_name", "push_name", "display_name", "sender_name", "recipient_name", "nome", "api_key",
    "access_key", "private_key", "signing_key", "encryption_key", "pass", "user_pass", "db_pass",
})  # fmt: skip
_HARMLESS_ENDS = frozenset({
    "type", "id", "ids", "count", "length", "size", "status", "format", "at", "ms", "seconds", "index", "total",
})  # fmt: skip
"""`content_type`, `phone_number_id`, `recipient_count`: the last word says it is not the thing itself."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_BRAZILIAN = re.compile(r"55[1-9][1-9]9?[0-9]{8}")


def is_private(name: str) -> bool:
    """True when a field of that name (`senderNumber`, `body` ...) holds what is only for the people concerned."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _HARMLESS_ENDS:
        return False
    return "_".join(words) in _PRIVATE_NAMES or not _PRIVATE_WORDS.isdisjoint(words)


def mask_payload(obj: Any) -> Any:
    """`obj` as plain data (dict, list, str, number, bool, None) with private values hidden; the shape stays visible.

    >>> mask_payload({"conversationId": "c1", "senderNumber": "+5511987654321", "content": "Oi!"})
    {'conversationId': 'c1', 'senderNumber': '+55•••••••••21', 'content': '••• (3 characters)'}
    """
    return _mask(obj, private=False, depth=0)


def _mask(obj: Any, *, private: bool, depth: int) -> Any:
    if obj is None or isinstance(obj, bool):
        return obj
    if depth > MAX_DEPTH:
        return DOTS
    if isinstance(obj, str):
        return _mask_private(obj) if private else mask_text(obj)
    if isinstance(obj, (int, float)):
        return _mask_private(str(obj)) if private or _BRAZILIAN.fullmatch(str(obj)) else obj
    if isinstance(obj, (bytes, bytearray, memoryview)):
        return f"{DOTS} ({len(obj)} bytes)"
    if isinstance(obj, Mapping):
        return _mask_fields(obj, private=private, depth=depth)
    if isinstance(obj, (list, tuple, set, frozenset)):
        return [_mask(item, private=private, depth=depth + 1) for item in obj]
    try:
        plain = msgspec.to_builtins(obj)
    except (TypeError, ValueError, RecursionError):
        return DOTS
    return _mask(plain, private=private, depth=depth + 1)


def _mask_fields(fields: Mapping[Any, Any], *, private: bool, depth: int) -> dict[str, Any]:
    masked: dict[str, Any] = {}
    for key, value in fields.items():
        name = mask_text(str(key))
        while name in masked:  # two numbers may look the same once masked; neither entry may vanish
            name += "'"
        masked[name] = _mask(value, private=private or is_private(str(key)), depth=depth + 1)
    return masked


_LOOKS_MASKED = re.compile(r"\+?[0-9]{2}•{4,}[0-9]{2}|•••(?: \([0-9]+ (?:characters|bytes)\))?")
_LOOKS_DIALLED = re.compile(r"\+?[0-9 .()\u00a0\u2010\u2011\u2013-]{8,24}")


def _mask_private(text: str) -> str:
    if not text or _LOOKS_MASKED.fullmatch(text):
        return text
    if _LOOKS_DIALLED.fullmatch(text) and 8 <= sum(char.isdigit() for char in text) <= 15:
        return mask_number(text)
    return f"{DOTS} ({len(text)} characters)"
