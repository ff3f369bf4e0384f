"""Door: who may connect now. While the server is away, or the wrong one, one caller of the process knocks for all the others.

A worker has a dozen callers that each want their connection back. Had each its own pauses, a hundred workers would be a storm for
a server that has just come up; so they wait here, hear what came of the one knock, and all go in once it was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..clock import Clock
from ..errors import StoreError
from .patience import is_rare, pause

_Knock = asyncio.Future[StoreError | None]
"""With what it failed; None when those who waited for it may look anew."""


class ShutOut(Exception):
    """The knock one has waited for failed with `cause`; nothing was tried for us."""

    def __init__(self, cause: StoreError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Door:
    """One a server and process. Open, any number connect at once; shut, one at a time, and after a pause that grows."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._next_mono = 0.0
        self._knock: _Knock | None = None
        self._sleeper: asyncio.Future[None] | None = None
        self._is_wrong = False
        self.is_shut = False
        """True from the first trouble until somebody was let in; by the wrong server, until somebody got an answer."""
        self.trouble: StoreError | None = None
        """With what the last knock failed; None while the door is open, or nobody has knocked yet."""
        self.round = 0
        """Counts troubles. One of them breaks many connections: who names an older round adds nothing."""
        self.silences = 0
        """Counts how often a connection gave no answer in its time. What was made before the last of these is likely dead too
        (a firewall that forgot us tells nobody), and to find that out one by one takes a timeout each."""

    def __repr__(self) -> str:
        return f"<Door {f'shut, {self._failures} failures' if self.is_shut else 'open'}>"

    @asynccontextmanager
    async def knock(self) -> AsyncIterator[None]:
        """Connect inside the block, which raises a StoreError when that fails. May wait for its turn.

        Raises:
            ShutOut: another's knock failed meanwhile.
        """
        mine = await self._turn()
        came_in, cause = self.round, None
        try:
            yield
            if not self._is_wrong:
                self.open()
            else:
                self._next_mono = self._clock.mono() + self._pause()
        except StoreError as error:
            cause = error
            self.failed(came_in, error)
            raise
        finally:
            self._leave(mine, cause)

    def doubt(self, came_in: int) -> None:
        """A connection of that round broke: the next one to connect goes alone, at once."""
        if came_in == self.round and not self.is_shut:
            self.is_shut = True
            self._next_mono = 0.0

    def fell_silent(self, made_in: int) -> None:
        """A connection that was made after so many silences gave no answer. Those of its age say nothing new."""
        if made_in == self.silences:
            self.silences += 1

    def failed(self, came_in: int, error: StoreError, *, is_wrong: bool = False) -> None:
        """Connecting failed, or (`is_wrong`) whoever let us in refuses as the wrong server."""
        if came_in != self.round:
            return
        self.round += 1
        self._failures += 1
        self.is_shut, self._is_wrong, self.trouble = True, is_wrong, error
        self._next_mono = self._clock.mono() + self._pause()

    def open(self) -> None:
        """The right server answers: everybody may connect."""
        self.is_shut = self._is_wrong = False
        self._failures, self.trouble = 0, None
        self._leave(self._knock, None)
        if self._sleeper is not None:
            _end(self._sleeper)

    def _pause(self) -> float:
        if self.trouble is None:
            return 0.0
        # of what is rare the least, so that who has waited out a pause of its own may knock
        return pause(self._failures, self.trouble, 0.0 if is_rare(self.trouble) else self._clock.random())

    async def _turn(self) -> _Knock | None:
        """Return when it is ours to connect: at once while the door is open."""
        while self.is_shut:
            if self.trouble is not None and is_rare(self.trouble) and self._clock.mono() < self._next_mono:
                raise ShutOut(self.trouble)  # it is known and lasts: nobody need wait to hear it
            if self._knock is not None:
                cause = await asyncio.shield(self._knock)  # not ours to cancel
                if cause is not None:
                    raise ShutOut(cause)
                continue
            mine: _Knock = asyncio.get_running_loop().create_future()
            self._knock = mine
            try:
                if await self._until_next():
                    return mine
            except BaseException:
                self._leave(mine, None)  # whoever waits for it has a turn
                raise
            self._leave(mine, None)
        return None

    async def _until_next(self) -> bool:
        """Wait until it is time to knock. False when the door was opened meanwhile."""
        left = self._next_mono - self._clock.mono()
        if left > 0:
            self._sleeper = sleeper = asyncio.get_running_loop().create_future()
            timer = self._clock.call_later(left, lambda: _end(sleeper))
            try:
                await sleeper
            finally:
                timer.cancel()
                self._sleeper = None
        return self.is_shut

    def _leave(self, knock: _Knock | None, cause: StoreError | None) -> None:
        if knock is None:
            return
        if self._knock is knock:
            self._knock = None
        if not knock.done():
            knock.set_result(cause)


def _end(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
