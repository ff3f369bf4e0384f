"""Every exception the engine raises. The tree answers "did it happen, and whose fault is it?".

Each error carries what it is about as fields, so nobody parses text; `str()` is one sentence that names the thing, the
value and the way out. Outcomes a handler chooses (`Retry`, `Snooze`, ...) are not errors and live in `outcome.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


class EngineError(Exception):
    """Root of everything raised by the engine on purpose."""


class ConfigError(EngineError):
    """A setting is wrong; found before anything started. Mend the setting and start again."""

    def __init__(self, message: str, *, setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting


class EngineClosed(EngineError):
    """The engine was used before `async with engine` or after it: a mistake in the calling program."""


# --- bad input: the caller's data; nothing was sent ------------------------------------------------------------------


class BadInput(EngineError, ValueError):
    """The caller's data can't be accepted; nothing was written. Change the value and call again."""


class BadName(BadInput):
    """A queue, handler, key or worker name has a character or length that names may not have."""


class BadPayload(BadInput):
    """The payload doesn't fit the handler's type, or can't be encoded. The sentence names the field."""


class PayloadTooLarge(BadPayload):
    """The encoded payload is over the queue's limit. Store the data elsewhere and enqueue a reference to it."""

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class BadTime(BadInput):
    """A delay, due time, age or duration is negative, in the past, absurd, or can't be read."""


class UnknownQueue(BadInput):
    """No queue of that name is declared in this application. The sentence names the nearest one."""


# --- the store: Redis or Valkey --------------------------------------------------------------------------------------


class StoreError(EngineError):
    """Something between us and the server. Its three children say whether the request took effect."""


class StoreUnreachable(StoreError):
    """Nothing was sent: repeating is safe. Wait and repeat, or check the address."""


class ProducerFull(StoreUnreachable):
    """Too much waits in this process to be sent (`waiting` jobs to `queue`); this was not added to it. Enqueue no faster than
    the server answers (await what was enqueued before), then repeat."""

    def __init__(self, message: str, *, queue: str, waiting: int) -> None:
        super().__init__(message)
        self.queue = queue
        self.waiting = waiting


class StoreUnanswered(StoreError):
    """Sent, but no reply came: it may have happened. Repeat idempotent calls only (all of the engine's own are)."""


class EnqueueUnknown(StoreUnanswered):
    """An enqueue got no answer before its deadline: the jobs may or may not be in the queue.

    `await error.repeat()` sends the very same numbered request again and returns what `enqueue` would have returned: the
    handle; of `enqueue_many` the handles of all payloads that were sent so far, those before this call included (go on with
    the payloads behind them). It takes effect once, however often it is repeated, and raises a StoreError while there is no
    answer. The server remembers the number for an hour; a minute before that is over `repeat` raises Refused and sends nothing.
    Calling `enqueue` afresh may add a second job, unless the job has a `dedup_key`.
    """

    def __init__(self, message: str, *, repeat: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(message)
        self.repeat = repeat

    def answering(self, read: Callable[[Any], object]) -> EnqueueUnknown:
        """The same for one caller: its `repeat` answers what `read` makes of this one's answer."""
        asked = self.repeat

        async def repeat() -> object:
            return read(await asked())

        return EnqueueUnknown(str(self), repeat=repeat)


class StoreRefused(StoreError):
    """The server said no: it did not happen. `code` is the server's error code (`READONLY`, `NOPERM`, ...)."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class StoreFull(StoreRefused):
    """The server is at `maxmemory`: enqueue is refused whole, running jobs still settle. Free memory, then repeat."""


class QueueFull(StoreRefused):
    """As many jobs wait in the queue as may (`max_waiting`): the job was not added. Let some run, then repeat.

    `queue`, `limit`, `waiting` say which, how many may wait and how many did. Of `enqueue_many`, `results` has a handle, or None
    where it was refused, for each job that was sent, in order; `done` is how many are in. The payloads after those were not sent.
    """

    def __init__(self, message: str, *, queue: str, limit: int, waiting: int, results: Sequence[Any] = (), done: int = 0) -> None:
        super().__init__(message, code="FULL")
        self.queue = queue
        self.limit = limit
        self.waiting = waiting
        self.results = results
        self.done = done


class StoreDenied(StoreRefused):
    """Wrong password or missing rights. Not a network fault: repeating does not help, mend the credentials or ACL."""


class StoreUnsuitable(StoreRefused):
    """This server can't carry the engine: too old, a read-only replica, or a weaker durability than asked for."""


class LeaseLost(EngineError):
    """The right to finish this attempt was lost. Stop quietly and write nothing more: the new owner reports."""


# --- about one job ---------------------------------------------------------------------------------------------------


class JobError(EngineError):
    """About one job; `job_id` is its full id, `queue/id`."""

    def __init__(self, message: str, *, job_id: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id


class JobNotFound(JobError):
    """No job of that id is kept: never enqueued, or finished and past its retention."""


class WrongState(JobError):
    """The job's state doesn't allow that act. The sentence names the state; look again and choose another act."""


class UnknownHandler(JobError):
    """No handler of that name is registered here. Workers put such a job back and try later; see `engine job ID`."""


class JobDead(JobError):
    """`handle.result()`: the job is in the dead-letter queue. `engine job ID` tells why."""


class JobCancelled(JobError):
    """`handle.result()`: the job was cancelled or expired before it completed."""


class ResultTimeout(JobError, TimeoutError):
    """`handle.result(timeout=)`: the job had not ended in time. It goes on; ask again later."""


class Refused(EngineError):
    """A guard said no (active jobs, missing confirmation). The sentence names what would let it through."""


class AttemptTimeout(EngineError):
    """An attempt ran longer than its `timeout`; recorded as that attempt's error."""


def words(error: BaseException) -> str:
    """`str(error)` as text that can be stored; of a user's exception that fails to say what it is, its class."""
    try:
        return str(error).encode("utf-8", "replace").decode()  # a file name may carry surrogates
    except Exception:  # noqa: BLE001 - a user's __str__: it must not take the slot along that wants to write the error down
        return f"{type(error).__name__} whose text can't be had"
