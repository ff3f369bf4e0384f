"""`engine enqueue`: one job or a stream of them; what is refused is refused before anything is written, line by line."""

from __future__ import annotations

import json

import pytest
import redis

from .cli import Cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def enqueued(engine: Cli) -> int:
    """Jobs that ever got into the queue, asked of the server itself: a command takes half a second."""
    with redis.Redis.from_url(str(engine.url)) as server:
        return int(str(server.hget(f"engine:{{{engine.queue}}}:meta", "enqueued") or b"0", "ascii"))


def test_one_job_answers_with_its_id(engine: Cli) -> None:
    done = engine("enqueue", engine.queue, "ship", "--data", '{"id": 1}', "--json")
    assert done.code == 0
    assert done.json == {"id": done.json["id"], "queue": engine.queue, "name": "ship", "duplicate": False}
    assert engine("job", done.json["id"], "--json").json["state"] == "waiting"
    assert engine("enqueue", engine.queue, "ship", "--data", '{"id": 1}').out.startswith(f"{engine.queue}/")


def test_a_payload_may_come_from_a_file(engine: Cli) -> None:
    (engine.directory / "one.json").write_text('{"id": 1}')
    (engine.directory / "many.ndjson").write_text('{"id": 1}\n{"id": 2}\n')
    assert engine("enqueue", engine.queue, "ship", "--data", "@one.json").code == 0
    assert len(engine("enqueue", engine.queue, "ship", "--data", "@many.ndjson", "--json").lines) == 2
    assert engine("enqueue", engine.queue, "ship", "--data", "@missing.json").code == 2
    assert engine("enqueue", engine.queue, "ship", "--data", "@missing.ndjson").code == 2
    assert engine("enqueue", engine.queue, "ship", "--data", "@.").code == 2


def test_options_reach_the_job(engine: Cli) -> None:
    options = (
        "--delay",
        "2h",
        "--priority",
        "1",
        "--attempts",
        "7",
        "--ordering-key",
        "c9",
        "--timeout",
        "90s",
        "--expires-after",
        "1d",
    )
    job_id = engine("enqueue", engine.queue, "ship", "--data", '{"id": 1}', *options, "--json").json["id"]
    job = engine("job", job_id, "--json").json
    assert (job["state"], job["priority"], job["attempts"], job["ordering_key"], job["timeout"]) == (
        "scheduled",
        1,
        7,
        "c9",
        90.0,
    )
    assert job["due_at"]
    assert job["expires_at"]
    at = engine("enqueue", engine.queue, "ship", "--data", '{"id": 1}', "--at", "2029-11-23T09:00:00-03:00", "--json").json["id"]
    assert engine("job", at, "--json").json["due_at"] == "2029-11-23T12:00:00.000Z"


def test_a_dedup_key_answers_with_the_first_job(engine: Cli) -> None:
    first, second = (
        engine("enqueue", engine.queue, "ship", "--data", '{"id": 1}', "--dedup-key", "k", "--dedup-window", "1h", "--json").json
        for _ in range(2)
    )
    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert first["id"] == second["id"]
    assert enqueued(engine) == 1


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["ship"], 2, "--data"),
        (["ship", "--data", "{"], 2, "is no JSON"),
        (["ship", "--data", ""], 2, "is no JSON"),
        (["ship", "--data", '{"id": "x"}'], 2, "does not fit Order"),
        (["ship", "--data", "[]"], 2, "does not fit Order"),
        (["ship", "--data", "[" * 100_000], 2, "is no JSON"),
        (["ship", "--data", '"\udcff"'], 2, "is no JSON"),
        (["shp", "--data", '{"id": 1}'], 5, "did you mean 'ship'"),
        (["sh ip", "--data", '{"id": 1}'], 2, "job name"),
        (["ship", "--data", '{"id": 1}', "--delay", "soon"], 2, "--delay: 'soon' is no duration"),
        (["ship", "--data", '{"id": 1}', "--delay", "-1"], 2, "negative"),
        (["ship", "--data", '{"id": 1}', "--at", "09:00"], 2, "is no time"),
        (["ship", "--data", '{"id": 1}', "--at", "2029-01-01T09:00:00"], 2, "no time zone"),
        (["ship", "--data", '{"id": 1}', "--at", "1999-01-01T09:00:00Z"], 2, "in the past"),
        (["ship", "--data", '{"id": 1}', "--delay", "1s", "--at", "2029-01-01T09:00:00Z"], 2, "either"),
        (["ship", "--data", '{"id": 1}', "--priority", "0"], 2, "priority"),
        (["ship", "--data", '{"id": 1}', "--priority", "high"], 2, "--priority"),
        (["ship", "--data", '{"id": 1}', "--attempts", "0"], 2, "attempts"),
        (["ship", "--data", '{"id": 1}', "--dedup-key", ""], 2, "dedup_key"),
        (["ship", "--data", '{"id": 1}', "--ordering-key", "x" * 600], 2, "ordering_key"),
        (["ship", "--data", '{"id": 1}', "--timeout", "0"], 2, "timeout"),
        (["ship", "--data", "-", "--dedup-key", "k"], 2, "--dedup-key"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_written(engine: Cli, args: list[str], code: int, said: str) -> None:
    done = engine("enqueue", engine.queue, *args)
    assert (done.code, done.out) == (code, ""), done.err
    assert said in done.err
    assert "Traceback" not in done.err
    assert len(done.err) < 1000
    assert enqueued(engine) == 0


def test_an_unknown_queue_needs_force(engine: Cli) -> None:
    other = f"{engine.queue}-other"
    refused = engine("enqueue", other, "ship", "--data", "{}")
    assert refused.code == 5
    assert f"did you mean '{engine.queue}'" in refused.err
    assert engine("enqueue", other, "anything", "--data", "{}", "--force").code == 0
    assert engine("enqueue", other, "anything", "--data", "{}").code == 0  # used once, known from then on


def test_many_jobs_are_answered_in_order_and_bad_lines_told_by_number(engine: Cli) -> None:
    lines = [json.dumps({"id": n}) for n in range(250)]
    lines[16], lines[122], lines[199] = "{bad", '{"id": "x"}', ""
    done = engine("enqueue", engine.queue, "ship", "--data", "-", "--json", stdin="\n".join(lines))
    assert done.code == 3
    ids = [line["id"] for line in done.lines]
    assert len(set(ids)) == 247
    assert "line 17:" in done.err
    assert "line 123:" in done.err
    assert "247 jobs enqueued, 2 lines refused" in done.err
    assert enqueued(engine) == 247


def test_a_line_longer_than_any_payload_is_told_and_left_out(engine: Cli) -> None:
    shop = engine.directory / "shop.py"
    shop.write_text(shop.read_text().replace("attempts=2", "attempts=2, max_payload=1000"))
    long = '{"id": 1}' + " " * 100_000
    done = engine("enqueue", engine.queue, "ship", "--data", "-", stdin=f'{long}\n{{"id": 2}}\n{long}')
    assert (done.code, done.out) == (3, "1 job enqueued, 2 lines refused\n")
    assert "line 1: it is longer than 12,096 bytes" in done.err
    assert "line 3: it is longer" in done.err


def test_a_stream_without_a_good_line_is_a_mistake_and_an_empty_one_is_not(engine: Cli) -> None:
    bad = engine("enqueue", engine.queue, "ship", "--data", "-", stdin="x\n" * 50)
    assert bad.code == 2
    assert len(bad.err.splitlines()) < 30  # not one a line
    assert bad.out == "0 jobs enqueued, 50 lines refused\n"
    assert engine("enqueue", engine.queue, "ship", "--data", "-", stdin=b"\xff\xfe\n").code == 2
    empty = engine("enqueue", engine.queue, "ship", "--data", "-", stdin="\n\n")
    assert (empty.code, empty.out) == (0, "0 jobs enqueued\n")


def test_a_full_queue_refuses_and_says_how_to_go_on(engine: Cli) -> None:
    shop = engine.directory / "shop.py"
    shop.write_text(shop.read_text().replace("attempts=2", "attempts=2, max_waiting=3"))
    lines = "\n".join(json.dumps({"id": n}) for n in range(5))
    part = engine("enqueue", engine.queue, "ship", "--data", "-", "--json", stdin=lines)
    assert (part.code, len(part.lines)) == (3, 3)
    assert "engine: stopped: 3 jobs enqueued; go on with line 4\n" in part.err
    assert f"queue '{engine.queue}' is full: 3 jobs wait, at most 3 may: 2 were refused, 3 are in. Wait until" in part.err
    none = engine("enqueue", engine.queue, "ship", "--data", "-", stdin=lines)
    assert (none.code, none.out) == (4, "")
    assert "stopped: 0 jobs enqueued; go on with line 1\n" in none.err
    one = engine("enqueue", engine.queue, "ship", "--data", '{"id": 1}')
    assert (one.code, one.out) == (4, "")
    assert one.err.startswith(f"engine: queue '{engine.queue}' is full: 3 jobs wait, at most 3 may: this one was refused. ")
    found = engine("stats", "--json").json["queues"][engine.queue]
    assert [found[name] for name in ("max_waiting", "when_full", "refused", "dropped")] == [3, "refuse", 8, 0]
    assert "FULL: at most 3 may wait; 8 refused" in engine("stats").out
