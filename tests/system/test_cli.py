"""The command line as its users and their scripts see it: answers, JSON shapes, exit codes, one-sentence errors."""

from __future__ import annotations

import json
import subprocess

import pytest

from .cli import Cli, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

COUNTS = ("waiting", "active", "scheduled", "retrying", "blocked", "completed", "dead", "cancelled", "removed")


# --- reads -----------------------------------------------------------------------------------------------------------


def test_stats_can_be_checked_by_anyone(engine: Cli) -> None:
    engine.dead(2)
    engine.enqueue(3)
    view = engine("stats", "--json").json
    queue = view["queues"][engine.queue]
    assert queue["enqueued"] == sum(queue[name] for name in COUNTS) == 5
    assert {"paused", "oldest_waiting_seconds", "workers"} <= queue.keys()
    assert (queue["dead"], queue["waiting"], queue["paused"]) == (2, 3, False)
    assert view["redis"]["durability"] in ("memory", "process", "disk", "replicated")
    plain = engine("stats").out
    assert engine.queue in plain
    assert "durability" in plain


def test_a_dead_job_tells_its_story(engine: Cli) -> None:
    (job_id,) = engine.dead()
    job = engine("job", job_id, "--json").json
    assert {"id", "state", "attempt", "attempts", "stalls", "enqueued_at", "history", "error", "why", "result"} <= job.keys()
    assert (job["id"], job["state"], job["attempt"], job["attempts"], job["stalls"]) == (job_id, "dead", 2, 2, 0)
    assert [step["outcome"] for step in job["history"]] == ["retry", "dead"]
    assert {"attempt", "started_at", "ended_at", "outcome", "error"} <= job["history"][0].keys()
    assert job["error"]["type"] == "OSError"
    assert job["why"] is None
    plain = engine("job", job_id)
    assert "attempts used up" in plain.out
    assert "987654321" not in plain.out + json.dumps(job)


def test_a_waiting_job_says_why(engine: Cli) -> None:
    (job_id,) = engine.enqueue()
    assert f"engine run --queue {engine.queue}" in engine("job", job_id, "--json").json["why"]
    engine("pause", engine.queue, "--reason", "lunch", "--for", "30m")
    assert "is paused (lunch) until" in engine("job", job_id).out


def test_a_completed_job_shows_its_result(engine: Cli) -> None:
    (job_id,) = engine.enqueue()
    engine.work()
    job = engine("job", job_id, "--json").json
    assert (job["state"], job["result"]) == ("completed", {"shipped": 0})


def test_jobs_are_listed_page_by_page_without_history(engine: Cli) -> None:
    ids = engine.enqueue(5)
    first = engine("jobs", "--queue", engine.queue, "--limit", "3", "--json")
    assert [job["id"] for job in first.lines] == ids[:3]
    assert "history" not in first.lines[0]
    cursor = first.err.split("--cursor ")[1].strip().strip("'")
    rest = engine("jobs", "--queue", engine.queue, "--cursor", cursor, "--json")
    assert [job["id"] for job in rest.lines] == ids[3:]
    assert rest.err == ""
    assert engine("jobs", "--queue", engine.queue, "--state", "dead", "--json").out == ""
    assert engine("jobs", "--queue", engine.queue, "--name", "other", "--json").lines == []
    assert ids[0] in engine("jobs", "--queue", engine.queue).out


def test_failures_are_groups_and_retried_by_fingerprint(engine: Cli) -> None:
    ids = engine.dead(3)
    (group,) = engine("failures", "--queue", engine.queue, "--json").lines
    assert (group["count"], group["type"], group["queue"]) == (3, "OSError", engine.queue)
    assert set(group["samples"]) <= set(ids)
    rehearsed = engine("retry-failed", "--queue", engine.queue, "--fingerprint", group["fingerprint"], "--dry-run", "--json").json
    assert (rehearsed["matched"], rehearsed["done"], rehearsed["dry_run"]) == (3, 0, True)
    done = engine("retry-failed", "--queue", engine.queue, "--fingerprint", group["fingerprint"], "--limit", "2", "--json").json
    assert (done["matched"], done["done"], done["skipped"]) == (2, 2, 0)
    assert engine("stats", "--json").json["queues"][engine.queue]["dead"] == 1


def test_workers_are_listed_while_they_live(engine: Cli) -> None:
    assert engine("workers", "--queue", engine.queue, "--json").out == ""
    worker = engine.start("run")
    try:
        (one,) = until(lambda: engine("workers", "--queue", engine.queue, "--json").lines, bool)
        assert (one["pid"], one["is_alive"]) == (worker.pid, True)
        assert one["queues"][0]["names"] == ["ship"]
    finally:
        worker.terminate()
        worker.communicate(timeout=20)


def test_tail_tells_what_happens(engine: Cli) -> None:
    engine.enqueue()
    tail = engine.start("tail", "--queue", engine.queue, "--limit", "1", "--json")
    while tail.poll() is None:
        engine("pause", engine.queue, "--reason", "again")  # until it listens
    out, _ = tail.communicate(timeout=10)
    assert (tail.returncode, json.loads(out)["kind"]) == (0, "paused")


# --- acts ------------------------------------------------------------------------------------------------------------


def test_acts_on_single_jobs_answer_in_json(engine: Cli) -> None:
    (later,) = [json.loads(engine("enqueue", engine.queue, "ship", "--data", '{"id":1}', "--delay", "1h", "--json").out)["id"]]
    assert engine("promote", later, "--json").json == {"id": later, "outcome": "promoted"}
    assert engine("cancel", later, "--json", "--reason", "typo").json == {"id": later, "outcome": "cancelled"}
    (waiting,) = engine.enqueue()
    assert engine("delete", waiting, "--json").json == {"id": waiting, "outcome": "deleted"}
    (dead,) = engine.dead()
    assert engine("requeue", dead, "--json").json == {"id": dead, "outcome": "requeued"}


def test_several_jobs_some_of_which_refuse_are_partial(engine: Cli) -> None:
    first, second = engine.enqueue(2)
    done = engine("cancel", first, f"{engine.queue}/1-1", second, "--json")
    assert (done.code, [line["id"] for line in done.lines]) == (3, [first, second])
    assert len(done.err.splitlines()) == 1


def test_pause_and_resume_one_or_all(engine: Cli) -> None:
    engine.enqueue()
    paused = engine("pause", engine.queue, "--reason", "lunch", "--for", "30m", "--json").json
    assert (paused["paused"], paused["changed"], paused["reason"]) == (True, True, "lunch")
    assert paused["until"]
    again = engine("pause", engine.queue).out
    assert again == f"{engine.queue} is paused (lunch) until {paused['until']}, as it was\n"
    assert engine.queue in [line["queue"] for line in engine("pause", "--all", "--json").lines]
    assert f"PAUSED until {paused['until']}: lunch" in engine("stats").out
    assert [line["paused"] for line in engine("resume", "--all", "--json").lines].count(True) == 0


def test_clean_asks_for_an_age_and_for_a_yes(engine: Cli) -> None:
    ids = engine.dead(2)
    for age in ("", "abc", "0", "-1", "0.1", "1e9"):
        done = engine("clean", "--age", age, "--yes", "--state", "dead", "--queue", engine.queue)
        assert (done.code, done.out) == (2, ""), age
    assert engine("clean", "--yes").code == 2
    assert engine("clean", "--age", "1s", "--state", "waiting").code == 2
    assert engine("clean", "--age", "7d", "--state", "dead", "--queue", engine.queue).out == "nothing to do\n"
    rehearse = ("clean", "--age", "1s", "--state", "dead", "--queue", engine.queue, "--dry-run", "--json")
    until(lambda: engine(*rehearse).json["matched"], lambda n: n == 2)  # they must be a second old
    refused = engine("clean", "--age", "1s", "--state", "dead", "--queue", engine.queue)
    assert refused.code == 4
    assert "--yes" in refused.err
    assert engine("job", ids[0]).code == 0
    done = engine("clean", "--age", "1s", "--state", "dead", "--queue", engine.queue, "--yes", "--json").json
    assert (done["matched"], done["done"], done["skipped"], done["dry_run"]) == (2, 2, 0, False)
    assert engine("job", ids[0]).code == 5


def test_doctor_finds_a_queue_without_worker_and_thresholds(engine: Cli) -> None:
    engine.enqueue()
    sick = engine("doctor", "--json")
    assert (sick.code, sick.json["ok"]) == (1, False)
    mine = [finding for finding in sick.json["findings"] if finding["subject"] == f"queue {engine.queue}"]
    assert (mine[0]["level"], mine[0]["mend"]) == ("problem", f"start one: engine run --queue {engine.queue}")
    assert "PROBLEM" in engine("doctor").out


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["stat"], 2, "Did you mean 'stats'"),
        (["stats", "--bogus"], 2, "--bogus"),
        (["job"], 2, "ID"),
        (["job", "nonsense"], 2, "it looks like messages/1763791234567-4"),
        (["job", "{queue}/1-1"], 5, "there is no job"),
        (["cancel", "{queue}/1-1"], 5, "there is no job"),
        (["jobs", "--state", "broken"], 2, "waiting, active"),
        (["jobs", "--limit", "0"], 2, "at least 1"),
        (["jobs", "--limit", "x"], 2, "--limit"),
        (["jobs", "--cursor", "x"], 2, "belongs to no page"),
        (["jobs", "--queue", "{queue}x"], 5, "did you mean '{queue}'"),
        (["pause", "{queue}x"], 5, "did you mean '{queue}'"),
        (["pause"], 2, "--all"),
        (["pause", "{queue}", "--all"], 2, "--all"),
        (["pause", "{queue}", "--for", "never"], 2, "--for: 'never' is no duration"),
        (["pause", "{queue}", "--for", "0s"], 2, "no time to pause for"),
        (["retry-failed", "--rate", "fast"], 2, "50/s"),
        (["retry-failed", "--rate", "-1"], 2, "50/s"),
        (["retry-failed", "--since", "yesterday"], 2, "--since"),
        (["run", "--queue", "{queue}x"], 5, "{queue}"),
        (["run", "--concurrency", "0"], 2, "--concurrency"),
        (["run", "--processes", "0"], 2, "--processes"),
        (["run", "--drain-timeout", "-1"], 2, "--drain-timeout"),
        (["--app", "nowhere:engine", "stats"], 78, "there is no module 'nowhere'"),
        (["stats", "--app", "shop:engin"], 78, "did you mean shop:engine?"),
        (["stats", "--app", "shop:Order"], 78, "not an Engine"),
        (["stats", "--app", ":"], 78, "module:attribute"),
    ],
)
def test_a_mistake_is_one_sentence_and_a_code(engine: Cli, args: list[str], code: int, said: str) -> None:
    done = engine(*(arg.format(queue=engine.queue) for arg in args))
    assert (done.code, done.out) == (code, ""), done.err
    assert said.format(queue=engine.queue) in done.err
    assert "Traceback" not in done.err
    assert done.err.startswith("engine: ")


def test_an_application_that_breaks_when_imported_is_told_in_a_sentence(engine: Cli) -> None:
    (engine.directory / "broken.py").write_text("1 / 0\n")
    (engine.directory / "needs.py").write_text("import not_installed_anywhere\n")
    done = engine("stats", "--app", "broken:engine")
    assert (done.code, done.out) == (78, "")
    assert "ZeroDivisionError" in done.err
    assert "Traceback" not in done.err
    assert "Traceback" in engine("stats", "--app", "broken:engine", "--debug").err
    assert "needs 'not_installed_anywhere'" in engine("stats", "--app", "needs:engine").err


def test_a_server_that_is_not_there_is_69_and_a_wrong_setting_78(engine: Cli) -> None:
    away = engine("stats", REDIS_URL="redis://:s3cret@127.0.0.1:1/0", ENGINE_CONNECT_TIMEOUT="0.2s")
    assert (away.code, away.out) == (69, "")
    assert "s3cret" not in away.err
    assert engine("stats", REDIS_URL="http://localhost").code == 78
    assert engine("stats", ENGINE_LAESE="3s").code == 78
    assert engine("doctor", ENGINE_DURABILITY="replicated").code == 1


def test_a_reader_who_leaves_early_is_no_error(engine: Cli) -> None:
    engine.enqueue(2000)
    command = " ".join(engine.command("jobs", "--queue", engine.queue, "--limit", "2000", "--json"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; echo ${{PIPESTATUS[0]}}"],
        cwd=engine.directory,
        env=engine.env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[1] == "0"


def test_help_names_every_command_and_each_has_its_own(engine: Cli) -> None:
    from engine.cli.root import COMMANDS

    listing = engine("--help")
    assert listing.code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in listing.out
    done = engine("retry-failed", "--help")
    assert (done.code, done.err) == (0, "")
    assert "--fingerprint" in done.out
    assert engine().code == 2
