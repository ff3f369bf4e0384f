"""Fleet: from the command line's wishes to running worker processes, with signals and exit codes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from .app import Engine
from .worker import Worker

RESTART_PAUSE = 1.0
"""Seconds before a worker process that died is started again; a poison job must not make a fork bomb."""
OVER_MEMORY = 7
"""Exit code of a worker that drained because it took more memory than it may: start a fresh one."""
HOLD_UP = 0.5
"""Seconds that handlers which were cancelled long ago may keep a worker process, when all else has ended."""


def run_worker(
    app: Engine,
    *,
    queues: Sequence[str] = (),
    concurrency: int | None = None,
    slots: int | None = None,
    burst: bool = False,
    drain_timeout: float | None = None,
    max_memory: int | None = None,
) -> int:
    """Run one worker in this process until SIGTERM or Ctrl-C. 0 when it drained, 1 when handlers had to be cancelled, OVER_MEMORY
    when it left by itself because it took `max_memory` bytes (the setting's when None).

    A second signal cancels running handlers at once. Errors at the start (StoreError, ConfigError) are the caller's to show.
    """

    code = 1

    async def main() -> bool:
        nonlocal code
        worker = Worker(
            app,
            queues=queues,
            concurrency=concurrency,
            slots=slots or app.settings.slots,
            burst=burst,
            drain_timeout=drain_timeout,
            max_memory=max_memory or app.settings.max_memory,
            name=app.settings.worker_name,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        drained = await worker.run()
        code = OVER_MEMORY if worker.is_over_memory else 0 if drained else 1
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest and (await asyncio.wait(rest, timeout=HOLD_UP))[1]:
            _leave_now(code or 1)  # a handler swallows its cancellation: the loop's own end would wait for it for ever
        return drained

    run(main())
    deadline = app.clock.mono() + HOLD_UP
    for thread in [one for one in threading.enumerate() if one.name == "AnyIO worker thread"]:
        thread.join(max(deadline - app.clock.mono(), 0.0))
        if thread.is_alive():
            _leave_now(code)  # a plain `def` handler, cancelled or timed out: Python's own end would wait for its thread
    return code


def _leave_now(code: int) -> None:
    """End the process without its handlers. Everything of ours is closed by then; their jobs' leases run out."""
    print("a handler did not end when it was cancelled and is left behind", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)


def run(main: object) -> bool:
    """`asyncio.run` on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:  # Windows has none
        return bool(asyncio.run(main))  # type: ignore[arg-type]  # any coroutine will do
    return bool(uvloop.run(main))  # type: ignore[arg-type]  # likewise


def _drain_with_parent() -> None:
    """In a worker process before it starts: SIGTERM when the fleet's process is gone, or nobody would stop it ever again."""
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def run_processes(command: Sequence[str], processes: int, *, burst: bool) -> int:
    """Run `command` (one worker) in so many processes, and bring back each that dies. 0 when all ended well.

    SIGTERM and Ctrl-C are passed on and end the fleet when every worker has drained. With `burst` none is brought back, but one
    that left for its memory: what it had to do is not done.
    """

    async def main() -> bool:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        stopped = loop.create_task(stopping.wait())
        children: dict[int, asyncio.subprocess.Process] = {}

        def pass_on() -> None:
            stopping.set()
            for child in children.values():
                if child.returncode is None:
                    child.send_signal(signal.SIGTERM)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, pass_on)

        async def keep(place: int) -> bool:
            while True:
                child = await asyncio.create_subprocess_exec(*command, start_new_session=True, preexec_fn=_drain_with_parent)
                children[place] = child
                if stopping.is_set():
                    child.send_signal(signal.SIGTERM)
                code = await child.wait()
                if code == OVER_MEMORY:
                    why = "took all the memory it may, and drained"
                elif stopping.is_set() or burst or code == 0:
                    return code == 0
                else:
                    why = f"ended with {code}"
                if not stopping.is_set():
                    print(f"worker process {place + 1} {why}; starting it again", file=sys.stderr)
                    await asyncio.wait({stopped}, timeout=RESTART_PAUSE)
                if stopping.is_set():
                    return code == OVER_MEMORY

        results = await asyncio.gather(*(keep(i) for i in range(processes)))
        stopped.cancel()
        return all(results)

    try:
        return 0 if run(main()) else 1
    except subprocess.SubprocessError:
        return 1
