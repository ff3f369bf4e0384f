"""Damage: whatever was done to one key, the doctor tells of it, mends what is rows, and tells of the other queues all the same."""

from __future__ import annotations

import pytest

from engine.client import Client, Depth, Finding
from engine.declared import QueueSpec
from engine.keys import prefix
from engine.store.redis_store import RedisStore
from tests.support.damage import Damage, busy, damages, forget
from tests.support.factory import enqueue
from tests.support.laws import assert_conserved


async def told(client: Client, queue: str, depth: Depth) -> list[Finding]:
    return [one for one in await client.checkup(depth) if one.subject == f"queue {queue}"]


@pytest.mark.damaged  # whether it is sound again, the doctor has said
@pytest.mark.parametrize("damage", list(damages()), ids=str)
async def test_damage_to_one_key_ends_no_check_up_and_what_is_rows_is_mended(
    store: RedisStore, queue: str, damage: Damage
) -> None:
    other = f"{queue}-other"
    client = Client(store, {name: QueueSpec(name) for name in (queue, other)})
    await busy(store, queue)
    await enqueue(store, other)
    key = await damage.do(store, queue)
    first = await client.checkup()
    assert [one for one in first if one.subject == f"queue {queue}"]
    found = [one.what for one in first if (one.subject, one.level) == (f"queue {other}", "problem")]
    assert found == ["1 job and no live worker"]
    mended = await told(client, queue, Depth(full=True, mend=True, write_off=True))
    problems = [one.what for one in mended if one.level == "problem"]
    if not damage.is_foreign:
        assert [what for what in problems if "no live worker" not in what] == []
        again = [one.what for one in await told(client, queue, Depth(full=True)) if one.level == "problem"]
        assert [what for what in again if "no live worker" not in what] == []
    else:
        assert (
            len(
                [
                    what
                    for what in problems
                    if f"foreign type: {prefix(queue)}" in what or f"of the family {prefix(queue)}" in what
                ]
            )
            == 1
        )
    if damage.is_foreign:
        await store.link.call("DEL", key)
        await client.checkup(Depth(full=True, mend=True, write_off=True))
    await assert_conserved(store, queue)
    for name in (queue, other):
        await forget(store, name)  # of a family whose list was deleted `obliterate` knows nothing
