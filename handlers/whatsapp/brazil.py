"""Brazil: one form for a phone number, however it was typed, stored or reported. Pure.

Since 2016 every Brazilian mobile has nine digits, the first of them a 9; WhatsApp and old address books still have many with
eight. `+5511990000001` and `551190000001` are one person, so comparing them as text makes duplicates. The rule of the numbering
plan tells what is missing: a local number of eight digits is a landline when it begins with 2 to 5, else a mobile without its 9.
"""

from __future__ import annotations

import re

_REGIONS = {
    "1": "123456789", "2": "12478", "3": "1234578", "4": "123456789", "5": "1345", "6": "123456789", "7": "134579",
    "8": "123456789", "9": "123456789",
}  # fmt: skip
AREA_CODES = frozenset(region + digit for region, digits in _REGIONS.items() for digit in digits)
"""The 67 area codes (DDD) in use."""

_TYPED = re.compile(r"\+?[0-9 ()./\u00a0\u2010\u2011\u2013-]+")


class BadNumber(ValueError):
    """The text is no phone number. The sentence says what is wrong with it, without showing it."""


def canonical(text: str) -> str:
    """The E.164 form: `+55`, area code, and nine digits for a mobile or eight for a landline. Other countries' with `+` stay.

    Raises:
        BadNumber: it can't be a phone number. Leave the recipient out, and say so.

    >>> canonical("(11) 90000-0001"), canonical("551190000001"), canonical("+55 11 90000-0001")
    ('+5511900000001', '+5511990000001', '+5511900000001')
    >>> canonical("011 3000-0000"), canonical("+1 202 555 0100")
    ('+551130000000', '+12025550100')
    >>> canonical("5511") # doctest: +ELLIPSIS
    Traceback (most recent call last):
    handlers.whatsapp.brazil.BadNumber: a Brazilian number has an area code and 8 or 9 digits, this one has 4 digits in all
    """
    stripped = text.strip()
    if not _TYPED.fullmatch(stripped):
        raise BadNumber("a phone number has digits, spaces, brackets and dashes only")
    digits = re.sub(r"[^0-9]", "", stripped)
    if stripped.startswith("+") and not digits.startswith("55"):
        if not 8 <= len(digits) <= 15 or digits.startswith("0"):
            raise BadNumber(
                f"an international number has 8 to 15 digits and begins with a country code, this one has {len(digits)} digits"
            )
        return f"+{digits}"
    area, local = _national(digits, is_international=stripped.startswith("+"))
    if area not in AREA_CODES:
        raise BadNumber(f"{area} is no Brazilian area code")
    if len(local) == 9 and not local.startswith("9"):
        raise BadNumber("a Brazilian number of nine digits is a mobile and begins with 9")
    if len(local) == 8 and local[0] in "01":
        raise BadNumber("no Brazilian number of eight digits begins with 0 or 1")
    if len(local) == 8 and local[0] in "6789":
        local = f"9{local}"
    return f"+55{area}{local}"


def address(reported: str) -> str:
    """The canonical form of a sender as WhatsApp reports them: digits that begin with a country code, of any country.

    Raises:
        BadNumber: nothing can be sent there.

    >>> address("551190000001"), address("12025550100"), address("+55 11 90000-0001")
    ('+5511990000001', '+12025550100', '+5511900000001')
    """
    try:
        return canonical(reported)
    except BadNumber:
        if re.fullmatch(r"[1-9][0-9]{7,14}", reported) and not reported.startswith("55"):
            return f"+{reported}"
        raise


def _national(digits: str, *, is_international: bool) -> tuple[str, str]:
    """Area code and local number: without country code, long-distance prefix and carrier code."""
    rest = digits
    if rest.startswith("00"):
        rest, is_international = rest[2:], True
    if not is_international and rest.startswith("0"):
        rest = rest[1:]
        if len(rest) in (12, 13):  # 0, the code of a carrier, area code, number
            rest = rest[2:]
    elif len(rest) in (12, 13) and rest.startswith("55"):  # with 10 or 11 digits, 55 is Santa Maria's area code
        rest = rest[2:]
    elif is_international:
        raise BadNumber(f"a Brazilian number after +55 has 10 or 11 digits, this one has {max(len(rest) - 2, 0)}")
    if len(rest) not in (10, 11):
        raise BadNumber(f"a Brazilian number has an area code and 8 or 9 digits, this one has {len(digits)} digits in all")
    return rest[:2], rest[2:]
