"""The judge of a soak: what fills up to its cap is told from what grows, and an empty stream is nothing left."""

from __future__ import annotations

import os
import uuid

import redis

from bench.report import Cell, Section
from bench.soak.judge import section
from bench.soak.watch import Sample, Watch, kind_of


def sample(minute: float, used: float, **kinds: float) -> Sample:
    """One look that is the same as any other but for the server's data, MiB."""
    return Sample(
        at_mono=minute * 60, worker_rss=50.0, worker_files=20, worker_threads=5, feed_rss=40.0, server_used=used, server_rss=12.0,
        keys=300, connections=12, consumers=6, groups=4, waiting=10, kinds=kinds,
    )  # fmt: skip


def figures(judged: Section) -> dict[str, str | None]:
    return {figure.name: figure.verdict for figure in judged.figures}


def test_a_capped_stream_that_fills_is_no_growth_and_anything_else_is() -> None:
    filling = [sample(i, 3.0 + i / 20, events=0.5 + i / 20, done=0.4) for i in range(20)]
    growing = [sample(i, 3.0 + i / 20, events=0.5, done=0.4 + i / 20) for i in range(20)]
    name = "server's data beside the capped streams, drift"
    assert figures(section(filling, [], [], {}))[name] == "met"
    assert figures(section(growing, [], [], {}))[name] == "missed"


def test_the_table_by_kind_says_which_one_grew() -> None:
    growing = [sample(i, 3.0 + i, events=0.5, done=0.25 + i) for i in range(4)]
    (table,) = [table for table in section(growing, [], [], {}).tables if "kind" in table.title]
    rows: list[tuple[Cell, ...]] = [("done", 256.0, 3328.0, 3072.0, ""), ("events", 512.0, 512.0, 0.0, "capped")]
    assert table.rows == rows


def test_a_key_that_was_not_there_before_is_left_but_for_ready_streams() -> None:
    same = [sample(i, 3.0) for i in range(8)]
    judged = section(same, ["a"], ["a", "engine:{q}:ready:3", "engine:{q}:notes:1"], {})
    (left,) = [figure for figure in judged.figures if figure.name.startswith("keys left")]
    assert (left.value, left.note, left.verdict) == (1.0, "engine:{q}:notes:1", "missed")


def test_an_empty_stream_holds_nothing_and_what_keys_take_is_told_by_kind(server_url: str) -> None:
    queue = f"soak-{uuid.uuid4().hex[:8]}"
    at = f"engine:{{{queue}}}:"
    with redis.Redis.from_url(server_url) as server, Watch(server_url, (), os.getpid()) as watch:
        try:
            server.xadd(at + "events", {"k": "x" * 5000})
            server.xdel(at + "blocked", server.xadd(at + "blocked", {"j": "x"}))
            mine = {name for name in watch.key_names() if queue in name}
            assert mine == {at + "events"}
            assert watch.look(0.0, os.getpid()).kinds["events"] * 1024 * 1024 > 5000
        finally:
            server.delete(at + "events", at + "blocked")


def test_keys_are_called_as_the_page_of_keys_calls_them() -> None:
    assert [kind_of(f"engine:{{q}}:{rest}") for rest in ("ready:A", "notes:1-2", "done")] == ["ready", "notes", "done"]
    assert kind_of("engine:queues") == "queues"
