"""Holdings: every entry this process holds, over all its queues, and who may run alone.

Pools write it on the event loop, the lease keeper's thread reads it: every look is one copy of one dict, which CPython does
in one step. Sums are kept, not made: with a thousand queues in a process, adding up took longer than the calls did.
"""

from __future__ import annotations

from collections.abc import Callable

from ..store.claim import Claim


class Holdings:
    """Entries by queue. A suspect (its last worker was lost) runs only while the process holds nothing else, so that it
    takes no innocent job along when it kills the process again."""

    def __init__(self) -> None:
        self._by_queue: dict[str, dict[str, Claim]] = {}
        self._counted: dict[str, int] = {}
        self._sum = 0
        self._asking: dict[str, int] = {}
        self._asked_in_all = 0
        self._watchers: list[Callable[[], None]] = []
        self.solo: str | None = None
        """The queue whose suspect waits or runs; the others claim nothing meanwhile."""
        self._solo_next: list[str] = []
        """Whose turn it is after that: emptied once, the process runs the suspects of all its queues."""

    def __repr__(self) -> str:
        return f"<Holdings {self.total} solo={self.solo}>"

    def of(self, queue: str) -> dict[str, Claim]:
        """Entry id -> claim of one queue; the pool's own to change, and to say so with `count`."""
        return self._by_queue.setdefault(queue, {})

    def count(self, queue: str) -> None:
        """What is held of this queue has changed."""
        now = len(self._by_queue[queue])
        self._sum += now - self._counted.get(queue, 0)
        self._counted[queue] = now

    @property
    def total(self) -> int:
        """Entries held now."""
        return self._sum

    def beside(self, queue: str) -> int:
        """Entries the other queues hold or have asked for in a call under way."""
        return self._sum - self._counted.get(queue, 0) + self._asked_in_all - self.asked(queue)

    def told(self, queue: str, own: int) -> int:
        """What the server is told that the process holds, with `own` of this queue. Only for 0 it gives out a suspect: so not 0
        before this queue has the solo turn, or another queue's call, leaving while this one is under way, could bring jobs."""
        held = own + self.beside(queue)
        return held or int(len(self._by_queue) > 1 and self.solo != queue)

    def ask(self, queue: str, n: int) -> None:
        """A claim of up to `n` is under way (0: it ended)."""
        self._asked_in_all += n - self.asked(queue)
        self._asking[queue] = n

    def asked(self, queue: str) -> int:
        """How many a call under way may bring."""
        return self._asking.get(queue, 0)

    def snapshot(self) -> dict[str, list[Claim]]:
        """All that is held, safe to read from another thread."""
        return {queue: list(claims.copy().values()) for queue, claims in self._by_queue.copy().items() if claims}

    def may_claim(self, queue: str) -> bool:
        """False while another queue's suspect waits or runs."""
        return self.solo is None or self.solo == queue

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever the solo turn is over."""
        self._watchers.append(wake)

    def take_solo(self, queue: str) -> bool:
        """Ask for the solo turn; False when another queue has it, and it comes next."""
        if self.solo not in (None, queue):
            if queue not in self._solo_next:
                self._solo_next.append(queue)
            return False
        self.solo = queue
        return True

    def ended(self) -> None:
        """Entries were settled or lost: when a suspect waits for the process to be empty, and it is, everybody looks."""
        if self.solo is not None and self.total == 0:
            for wake in self._watchers:
                wake()

    def end_solo(self, queue: str) -> None:
        """The suspect has ended, or was somebody else's: the next queue has its turn, or everybody may claim again."""
        if self.solo == queue:
            self.solo = self._solo_next.pop(0) if self._solo_next else None
            for wake in self._watchers:
                wake()
