"""Brazil's numbers: one form, whatever was typed."""

from __future__ import annotations

import doctest
import importlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handlers.whatsapp.brazil import AREA_CODES, BadNumber, address, canonical

areas = st.sampled_from(sorted(AREA_CODES))
eight = st.from_regex(r"[6-9][0-9]{7}", fullmatch=True)
landlines = st.from_regex(r"[2-5][0-9]{7}", fullmatch=True)


@pytest.mark.parametrize("module", ["handlers.whatsapp.brazil", "handlers.responder", "handlers.campaigns"])
def test_the_examples_in_the_docstrings_hold(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted
    assert not found.failed


def test_there_are_67_area_codes() -> None:
    assert len(AREA_CODES) == 67


@given(areas, eight)
def test_a_mobile_with_and_without_its_ninth_digit_is_one_number(area: str, local: str) -> None:
    assert canonical(f"55{area}{local}") == canonical(f"+55{area}9{local}") == f"+55{area}9{local}"


@given(areas, landlines)
def test_a_landline_gets_no_ninth_digit(area: str, local: str) -> None:
    assert canonical(f"+55{area}{local}") == f"+55{area}{local}"


@given(areas, st.one_of(eight, landlines))
def test_all_ways_of_writing_a_number_are_the_same_number(area: str, local: str) -> None:
    first, last = local[:4], local[4:]
    ways = [
        f"+55 ({area}) {first}-{last}",
        f"55{area}{local}",
        f"0055{area}{local}",
        f"{area} {first}-{last}",
        f"0{area}{local}",
        f"0 21 {area} {first}.{last}",  # with the code of a carrier
        f" ({area}) {first}\u2011{last} ",
    ]
    assert len({canonical(way) for way in ways}) == 1


@given(st.one_of(st.text(max_size=40), st.from_regex(r"\+?[0-9 ()-]{0,20}", fullmatch=True)))
@example("+5555999990001")
@example("55999990001")
@example("+55")
def test_any_text_is_a_canonical_number_or_refused_without_being_shown(text: str) -> None:
    refusal = ""
    try:
        number = canonical(text)
    except BadNumber as error:
        refusal = str(error)
    if refusal:
        assert sum(char.isdigit() for char in refusal) < 8
        return
    assert canonical(number) == number
    assert number[0] == "+"
    assert 8 <= len(number[1:]) <= 15


def test_area_code_55_is_not_taken_for_the_country() -> None:
    assert canonical("55 99999-0001") == "+5555999990001"
    assert canonical("+55 55 99999-0001") == "+5555999990001"


@pytest.mark.parametrize("text", ["", "Ana", "190", "+5520900000001", "+55118000000011", "+5511000000001", "(11) 0000-0001"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(BadNumber):
        canonical(text)


def test_a_sender_abroad_is_reported_without_plus() -> None:
    assert address("351910000000") == "+351910000000"
    with pytest.raises(BadNumber):
        address("55119")
