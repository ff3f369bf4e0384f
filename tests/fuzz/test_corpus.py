"""Corpus: every input that ever reached something new in a reader, and random ones, break none of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.fuzz.corpus import load
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

ALPHABETS = {
    "envelope": b"0123456789;-k\x92\xa5",
    "entry": b"0123456789-",
    "duration": b"0123456789.dhms ",
    "url": b"redis:/@?#,.+123&=",
}


def test_every_target_has_seeds_and_a_corpus() -> None:
    assert set(TARGETS) == set(SEEDS)
    assert [name for name in TARGETS if not load(name)] == []


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_of_the_corpus_breaks_its_reader(name: str) -> None:
    for data in (*SEEDS[name], *load(name)):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_no_random_input_breaks_a_reader(name: str) -> None:
    plain = some.binary(max_size=200)
    likely = some.lists(some.sampled_from(ALPHABETS.get(name, bytes(range(256)))), max_size=60).map(bytes)
    mixed = some.tuples(some.sampled_from(SEEDS[name]), some.integers(0, 100), plain).map(lambda cut: cut[0][: cut[1]] + cut[2])

    @settings(max_examples=100, deadline=None)
    @given(some.one_of(plain, likely, mixed))
    def try_it(data: bytes) -> None:
        TARGETS[name](data)

    try_it()
