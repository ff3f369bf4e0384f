"""Patience: how long to wait before asking the server again. The one rule, for everybody who asks again.

Who needs a new connection for it goes through the process's `door` as well, where one knocks for all.
"""

from __future__ import annotations

from typing import Final

from ..errors import StoreDenied, StoreError, StoreRefused
from .translate import meaning_of

FIRST_PAUSE: Final = 0.05
"""Seconds before the third try; the second is made at once, because a connection that was closed while idle is no outage."""
LONGEST_PAUSE: Final = 1.25
"""Seconds: jobs run again within 2 s of the server's return, and a hundred workers ask a hundred times a second, not more."""
RARE_PAUSE: Final = 5.0
"""Seconds at least while people must mend something first: a wrong password, missing rights, no room for clients."""
LEAST = 0.6
"""Share of a pause that is not left to chance. With all of it by chance (the rule for many who compete) the return would be
noticed later on average; what must not happen here is only that everybody comes at the same instant."""


def is_rare(error: StoreError) -> bool:
    """True when asking again soon can't help and does harm: the server says no until somebody mends it."""
    if isinstance(error, StoreDenied):
        return True
    return isinstance(error, StoreRefused) and meaning_of(error).is_rare


def pause(tries: int, error: StoreError, chance: float) -> float:
    """Seconds until the next try when `tries` (from 1) have failed in a row, the last with `error`. `chance`: random, 0 to 1."""
    if is_rare(error):
        return RARE_PAUSE * (1 + chance / 2)
    if tries <= 1:
        return 0.0
    return min(FIRST_PAUSE * 2.0 ** min(tries - 2, 10), LONGEST_PAUSE) * (LEAST + (1 - LEAST) * chance)
