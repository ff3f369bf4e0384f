"""Client: what applications, the command line and web/ use on top of the store. Look up, act, repair, enqueue by name.

`looking.py` reads, `acting.py` acts on one job or queue, `bulk.py` on many, `checkup.py` finds what is wrong; `client.py` is all
of it, `shapes.py` what they answer with. Modules load when a name is first used: a worker needs next to nothing of this.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .acting import ActView, PauseView
    from .bulk import BulkView, Progress
    from .checkup import Depth
    from .client import Client, Handle, Producer
    from .failures import FailureGroup, Failures, Filter
    from .finding import Finding
    from .looking import AuditView, EventView, JobPage
    from .shapes import ErrorView, JobLine, JobView, QueueView, ServerView, StatsView, WorkerView

__all__ = [
    "ActView",
    "AuditView",
    "BulkView",
    "Client",
    "Depth",
    "ErrorView",
    "EventView",
    "FailureGroup",
    "Failures",
    "Filter",
    "Finding",
    "Handle",
    "JobLine",
    "JobPage",
    "JobView",
    "PauseView",
    "Producer",
    "Progress",
    "QueueView",
    "ServerView",
    "StatsView",
    "WorkerView",
]

_HOMES = {
    "acting": "ActView PauseView",
    "bulk": "BulkView Progress",
    "checkup": "Depth",
    "client": "Client Handle Producer",
    "failures": "FailureGroup Failures Filter",
    "finding": "Finding",
    "looking": "AuditView EventView JobPage",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names.split()), "shapes")
    value: object = getattr(import_module("." + home, __name__), name)
    globals()[name] = value
    return value
