"""A fault whose moment does not come is replaced by one that can be done: as many are injected as were asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from bench.chaos import faults
from bench.chaos.journal import faults as read_faults
from bench.chaos.lab import Book, Lab, NotInjected
from bench.chaos.network import Network
from bench.chaos.report import faults_table
from bench.chaos.schedule import STAND_INS, Planned, draw, stand_ins
from bench.chaos.servers import Server
from engine import Clock


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A lab without workers and producers: a server and its proxy."""
    clock, nobody = Clock(), cast("Any", None)
    async with Server(tmp_path, program="valkey", fsync="everysec", clock=clock) as server:
        async with Network(tmp_path, server.node.port, clock) as network:
            book = Book(tmp_path)
            yield Lab(clock, server, network, nobody, nobody, book, 2.0)
            book.close()
        server.keep = False


async def never(lab: Lab, planned: Planned) -> None:
    raise NotInjected("nobody came to the moment")


async def test_one_that_can_not_be_done_is_replaced_and_the_report_says_so(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(faults.INJECT, "kill@reclaimed", never)
    kinds = ("kill@reclaimed", "script-flush")
    schedule = draw(1, count=4, seconds=0.1, lease=2.0, only=kinds)
    missed = sum(one.kind == "kill@reclaimed" for one in schedule)
    assert 0 < missed < 4
    await faults.drive(lab, schedule, kinds, lambda planned: None)
    assert lab.book.injected == 4
    found = read_faults(tmp_path)
    assert sum(one.injected and one.instead_of == "kill@reclaimed" for one in found) == missed
    table = {row[0]: row[1:4] for row in faults_table(schedule, found).rows}
    assert table["kill@reclaimed"] == (missed, 0, 0)
    assert table["script-flush"] == (4 - missed, 4, missed)
    assert table["all"] == (4, 4, missed)


async def test_where_nothing_else_may_come_it_is_tried_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    async def at_last(lab: Lab, planned: Planned) -> None:
        tried.append(planned.i)
        if len(tried) < 3:
            raise NotInjected("nobody came to the moment")
        lab.book.end(lab.book.begin(planned.i, planned.kind))

    monkeypatch.setitem(faults.INJECT, "kill@reclaimed", at_last)
    await faults.drive(lab, [Planned(i=1, at_s=0.0, kind="kill@reclaimed")], ("kill@reclaimed",), lambda planned: None)
    assert len(set(tried)) == 3
    assert lab.book.injected == 1


def test_what_stands_in_is_of_the_runs_kinds_and_lasts_as_that_kind_does() -> None:
    planned = Planned(i=5, at_s=1.0, kind="freeze@reclaimed", seconds=3.2, draw=0.7)
    found = stand_ins(planned, ("cut", "server-kill", "freeze@reclaimed"), 2.0)
    assert {one.kind for one in found} == {"cut", "server-kill"} <= set(STAND_INS)
    assert all(one.seconds <= 0.6 and one.instead_of == "freeze@reclaimed" for one in found)
    assert len({one.i for one in [planned, *found]}) == 3
