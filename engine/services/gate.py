"""Gate: whether a queue gives out jobs now, as far as this worker knows: paused, behind a rate limit, or about to be.

Replies of calls tell it. A handler that pauses the queue, or runs into its provider's limit, shuts it at once, before the server
knows: what waits in this process would go to a provider that has just said no.
"""

from __future__ import annotations

from ..clock import Clock
from ..events import Events, QueuePaused, QueueResumed
from ..masking import mask_text
from ..store.work import StepReply


class Gate:
    """One a pool."""

    def __init__(self, queue: str, clock: Clock, events: Events) -> None:
        self._queue = queue
        self._clock = clock
        self._events = events
        self._pause = ""
        self._shutting = 0
        self._shut_mono = 0.0
        self.until_ms = -1
        """Server's clock: when it opens by itself; 0 when somebody must open it, -1 while it is open."""

    def __repr__(self) -> str:
        return f"<Gate {self._queue} {'closed' if self.is_closed else 'open'}>"

    @property
    def is_closed(self) -> bool:
        """Nothing new may start."""
        return self.until_ms >= 0 or self._shutting > 0 or self._shut_mono > 0

    @property
    def is_shutting(self) -> bool:
        """A handler has asked for it and the server has not answered yet."""
        return self._shutting > 0

    def shut(self, is_done: bool) -> None:
        """A handler closes it: `is_done` false before the server was asked, true after its answer. Calls that leave later tell
        how it stands."""
        self._shutting += -1 if is_done else 1
        self._shut_mono = self._clock.mono()

    def read(self, reply: StepReply, sent_mono: float) -> None:
        """What a call that left at `sent_mono` was told."""
        self.until_ms = reply.paused_until_ms
        if sent_mono > self._shut_mono and not self._shutting:
            self._shut_mono = 0.0
        if reply.status == "ok" and reply.pause != self._pause:
            self._tell(reply.pause)

    def _tell(self, pause: str) -> None:
        self._pause = pause
        until, _, rest = pause.partition(";")
        now_ms = self._clock.now_ms()
        if pause:
            reason = mask_text(rest.partition(";")[2])
            self._events.emit(QueuePaused(queue=self._queue, reason=reason, until_ms=int(until) or None, at_ms=now_ms))
        else:
            self._events.emit(QueueResumed(queue=self._queue, at_ms=now_ms))
