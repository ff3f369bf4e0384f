"""What waits for a slot and may be ours no more: asked before it starts, and everything that the answer says is heeded."""

from __future__ import annotations

from engine import Clock
from engine.services.doubt import Doubt
from engine.store.claim import Claim
from engine.store.redis_store import RedisStore
from tests.support.factory import Hand, enqueue, spec


async def test_whoever_asks_whether_a_job_is_still_ours_hears_too_that_it_is_to_be_cancelled(
    store: RedisStore, queue: str
) -> None:
    """Found by the fault laboratory: with the bell's connection dead and renewals refused by a full disk, this answer was the first to
    say so, and the job was started."""
    await enqueue(store, queue, 3)
    hand = Hand(store, queue)
    claims = await hand.claim(3)
    lost: list[Claim] = []
    asked: list[Claim] = []
    doubt = Doubt(
        spec(queue), store, worker=hand.name, clock=Clock(), held={claim.entry: claim for claim in claims},
        on_lost=lost.extend, on_asked=asked.extend,
    )  # fmt: skip
    await hand.complete(claims[2])
    assert (await store.cancel(queue, claims[0].id, "why")) is not None
    for claim in claims:
        claim.renewed_mono -= 100.0
    assert doubt.about(claims[0])
    await doubt.clear(claims[0])
    assert [claim.id for claim in asked] == [claims[0].id]
    assert [claim.id for claim in lost] == [claims[2].id]
    assert not doubt.about(claims[1]), "one call renews all that waits"
    for claim in claims[:2]:
        await hand.complete(claim)
