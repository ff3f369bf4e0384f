"""Solo: a queue's turns to run suspects alone in this process: from the server's word to empty it to the last suspect.

To empty a process costs as long as the longest of its jobs. So nothing else is claimed meanwhile, from any queue, and once it is
empty one suspect follows the other for a while.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..clock import Clock
from ..store.claim import Claim
from .holdings import Holdings

TURN, LONGEST_TURN = 2.0, 10.0
"""Seconds in which one suspect follows the other once the process is empty: as long as emptying it took, where that was between
the two. Then the other queues of the process have theirs."""


class Solo:
    """One a pool."""

    def __init__(self, queue: str, holdings: Holdings, clock: Clock) -> None:
        self._queue = queue
        self._holdings = holdings
        self._clock = clock
        self._since_mono: float | None = None
        """Since when the process is emptied for this queue."""
        self._till_mono: float | None = None
        """Until when another suspect may follow; None while the process is not empty yet."""

    def __repr__(self) -> str:
        return f"<Solo {self._queue} {'runs' if self._till_mono else 'empties' if self.is_on else 'off'}>"

    @property
    def is_on(self) -> bool:
        """It is this queue's turn."""
        return self._holdings.solo == self._queue

    def want(self, ended: int) -> int:
        """How many to claim in the turn, when so many of what is held leave with the call: one, once nothing else is held. While
        the process is emptied, a call that leaves anyway asks whether the suspect still waits."""
        now = self._clock.mono()
        if self._since_mono is None:
            self._since_mono = now
        if self._till_mono is None and ended:
            return 1
        if self._till_mono is not None and now > self._till_mono:
            return 0
        return int(self._holdings.total == ended and self._holdings.beside(self._queue) == 0)

    def took(self) -> None:
        """The process is empty, and a suspect was claimed."""
        self._holdings.take_solo(self._queue)
        if self._till_mono is None:
            now = self._clock.mono()
            emptying = now - (now if self._since_mono is None else self._since_mono)
            self._till_mono = now + min(max(emptying, TURN), LONGEST_TURN)

    def answered(self, *, is_told: bool, has_asked: bool, held: Mapping[str, Claim]) -> bool:
        """A call was answered: the turn begins, goes on, or is over. `is_told`: a suspect waits for a process that holds nothing.
        True when the pool is to ask again."""
        if is_told:
            return self._holdings.take_solo(self._queue)
        if self.is_on and (has_asked or self._till_mono is not None) and not any(claim.is_suspect for claim in held.values()):
            self._since_mono = self._till_mono = None  # the suspects have ended, or other workers have taken them
            self._holdings.end_solo(self._queue)
        return False
