"""Desk: hands a total of N slots (`--slots N`) to the queues of one process.

The rule: a free slot goes to the hungry queue with the lowest priority number. One grant in ten goes to the hungry queue that
was served longest ago, so no queue with waiting jobs is ever starved. Queues of equal priority take turns.
A queue is hungry while it may have waiting jobs and has a place in its own pool. Pure bookkeeping, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FAIR_SHARE = 10
"""Every so many grants, one goes to whoever waited longest."""


@dataclass(slots=True)
class _Seat:
    name: str
    priority: int
    places: int
    wake: Callable[[], None]
    hungry: bool = True
    granted: int = 0
    served_at: int = 0

    @property
    def wants(self) -> bool:
        return self.hungry and self.granted < self.places


class Desk:
    """Grants are held by a queue from the claim until its job's settle; what a claim did not use comes back."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._seats: dict[str, _Seat] = {}
        self._grants = 0

    def __repr__(self) -> str:
        used = ", ".join(f"{s.name} {s.granted}" for s in self._seats.values())
        return f"<Desk {self.free} of {self.slots} free; {used}>"

    @property
    def free(self) -> int:
        """Slots nobody holds."""
        return self.slots - sum(seat.granted for seat in self._seats.values())

    def join(self, name: str, priority: int, places: int, wake: Callable[[], None]) -> None:
        """A queue takes part; `places` is the size of its own pool, `wake` is called when it was granted something."""
        self._seats[name] = _Seat(name, priority, places, wake)

    def resize(self, name: str, places: int) -> None:
        """The queue's own pool has so many places now; what it was granted beyond them comes back with its next settles."""
        self._seats[name].places = places

    def granted(self, name: str) -> int:
        """Slots that queue holds, running jobs included."""
        return self._seats[name].granted

    def hunger(self, name: str, hungry: bool) -> None:
        """The queue may have waiting jobs, or surely has none."""
        self._seats[name].hungry = hungry

    def give_back(self, name: str, n: int) -> None:
        """The queue needs `n` of its slots no longer."""
        self._seats[name].granted -= n

    def keep(self, name: str, used: int) -> None:
        """The queue needs no more than `used` of its slots: the rest goes to whoever wants one."""
        self.give_back(name, max(self.granted(name) - used, 0))
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
        while self.free > 0:
            seats = [s for s in self._seats.values() if s.wants]
            if not seats:
                break
            self._grants += 1
            if self._grants % FAIR_SHARE == 0:
                seat = min(seats, key=lambda s: s.served_at)
            else:
                seat = min(seats, key=lambda s: (s.priority, s.served_at))
            seat.granted += 1
            seat.served_at = self._grants
            served.add(seat.name)
        for name in served:
            self._seats[name].wake()
