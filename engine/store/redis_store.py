"""RedisStore: the one seam to Redis or Valkey. All verbs over one `Link`; nothing above speaks Redis."""

from __future__ import annotations

from .acts import ActVerbs
from .producing import ProducingVerbs
from .reads import ReadVerbs
from .work import WorkVerbs


class RedisStore(WorkVerbs, ProducingVerbs, ActVerbs, ReadVerbs):
    """What workers do (`work.py`), what producers do (`producing.py`), what operators do (`acts.py`), what anybody may read
    (`reads.py`)."""

    def __repr__(self) -> str:
        return f"<RedisStore {self.link.where}>"

    async def close(self) -> None:
        """Close every connection."""
        await self.link.close()
