"""One workload a file: what it measures (its metrics), and how one run of it goes for one contender."""

from .base import Workload
from .delayed import Delayed
from .drain import Drain
from .drain_keys import DrainKeys
from .enqueue import Enqueue
from .idle import Idle
from .io import Io
from .kill import Kill
from .latency import Latency
from .outage import Outage

ALL: tuple[Workload, ...] = (Enqueue(), Drain(5), DrainKeys(), Drain(100), Io(), Latency(), Delayed(), Idle(), Outage(), Kill())
"""In the order they are run and shown."""

__all__ = ["ALL", "Workload"]
