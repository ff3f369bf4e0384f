"""RedisStore: the one seam to Redis or Valkey. All verbs over one `Link`; nothing above speaks Redis."""

from __future__ import annotations

from .acts import ActVerbs
from .audit import AuditVerbs
from .producing import ProducingVerbs
from .reads import ReadVerbs
from .rights import RightsVerbs
from .work import WorkVerbs


class RedisStore(WorkVerbs, ProducingVerbs, ActVerbs, ReadVerbs, AuditVerbs, RightsVerbs):
    """What workers do (`work.py`), what producers do (`producing.py`), what operators do (`acts.py`), what anybody may read
    (`reads.py`), what an audit looks at (`audit.py`), what our user may do (`rights.py`)."""

    def __repr__(self) -> str:
        return f"<RedisStore {self.link.where}>"

    async def close(self) -> None:
        """Close every connection."""
        await self.link.close()
