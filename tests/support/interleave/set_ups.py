"""Set-ups: who races with whom. `orders` says how many orders each has, so that none is left out unnoticed.

A caller's name tells what it is: w1, w2, w3 are workers, p1, p2 producers; the names of the others (reclaimer, promoter,
operator, retention, clock, stranger) are for the reader.
"""

from __future__ import annotations

from engine.declared import Limit
from tests.support.factory import HOUR

from .explore import SetUp
from .world import J

K = J("k")
FREE = J()
ANY = "complete|result|retry|snooze|release|discard|expire"

# fmt: off
SET_UPS = [
    # --- leases, fence, repeats
    SetUp("complete while leases run out", ("w1: claim complete", "w2: claim complete", "reclaimer: lapse lapse"), lost=1, copies=1, orders=17_568, calls=3_349),
    SetUp("every way to settle", (f"w1: claim {ANY}", f"w2: claim {ANY}", "reclaimer: lapse"), lost=1, orders=16_030, calls=4_159),
    SetUp("every way to settle, late copies", (f"w1: claim {ANY} claim", "w2: claim complete", "reclaimer: lapse"), copies=1, orders=6_115, calls=2_328),
    SetUp("one job, three takers", ("w1: claim complete|retry", "w2: claim complete|release", "w3: claim complete", "reclaimer: lapse", "promoter: promote"), (FREE,), orders=20_160, calls=2_186),
    SetUp("two replies lost", ("w1: claim complete|retry", "w2: claim complete", "reclaimer: lapse"), lost=2, orders=4_296, calls=1_961),
    SetUp("settle and claim in one call", ("w1: claim swap swap", "w2: claim swap", "reclaimer: lapse"), (K, K, FREE), lost=1, orders=865, calls=1_604),
    SetUp("two settled in one call", ("w1: claim2 complete2", "w2: claim2 complete2", "reclaimer: lapse1"), (FREE, FREE, K, K), lost=1, orders=270, calls=322),
    SetUp("renewals", ("w1: claim renew|renewall complete|release", "w2: claim renew|renewall complete", "reclaimer: lapse1"), lost=1, orders=11_944, calls=1_104),
    SetUp("renewals that arrive late", ("w1: claim renew complete", "w2: claim renew", "reclaimer: lapse1", "operator: cancel1"), copies=1, orders=7_026, calls=1_295),
    SetUp("a worker dies", ("w1: claim die", "w2: claim complete|die", "w3: claim complete", "reclaimer: lapse1 lapse2"), orders=5_040, calls=858),
    SetUp("a worker leaves", ("w1: beat claim leave", "w2: claim complete leave", "reclaimer: lapse", "retention: forget"), lost=1, orders=18_454, calls=3_317),
    SetUp("many leases held, one run out", ("w1: claim11", "w2: claim die", "reclaimer: age2 bite bite"), (FREE,) * 12, orders=60, calls=78),
    SetUp("a longer lease beside others", ("w1: beat3 claim renew complete|die", "w2: claim complete|die", "reclaimer: lapse1 lapse2 lapse1"), (K, FREE), lost=1, orders=55_440, calls=2_265),
    # --- due times
    SetUp("retry, promote, renew", ("w1: claim renew retry", "w2: claim", "promoter: promote promote", "reclaimer: lapse"), lost=1, orders=8_120, calls=1_883),
    SetUp("snooze, hasten, delete", ("w1: claim snooze", "w2: claim complete", "operator: hasten1 delete2", "clock: tick", "promoter: promote"), orders=5_040, calls=535),
    SetUp("a delayed job joins its key's line", ("w1: claim complete claim", "clock: tick", "promoter: promote", "operator: hasten1 cancel1", "p1: add1"), (J("k", delay_ms=HOUR), K), (K,), lost=1, orders=76_440, calls=3_278),
    SetUp("due at one instant", ("w1: claim complete", "clock: tick", "promoter: promote", "operator: hasten2|hasten11"), (J("k", delay_ms=HOUR),) * 11, lost=1, orders=1_146, calls=540),
    SetUp("earlier due than told", ("w1: claim retry claim", "w2: claim snooze claim", "p1: add1", "clock: tick", "promoter: promote"), (FREE, FREE), (J(delay_ms=HOUR // 2),), orders=10_080, calls=2_476),
    # --- keys
    SetUp("three jobs of a key", ("w1: claim complete|retry|discard", "w2: claim complete|snooze", "operator: cancel1|cancel2|delete3", "reclaimer: lapse"), (K, K, K), orders=3_240, calls=1_278),
    SetUp("two keys in turn", ("w1: claim2 complete|release claim", "w2: claim complete", "p1: add1", "reclaimer: lapse1"), (J("a"), J("b"), J("a")), (J("b"),), orders=840, calls=899),
    SetUp("a long line", ("w1: claim complete claim complete", "operator: cancel1|cancel2|cancel10|delete11", "p1: add1", "reclaimer: lapse"), (K,) * 11, (K,), orders=840, calls=630),
    SetUp("dead and requeued to the end", ("w1: claim discard", "w2: claim complete", "operator: requeue1 requeue1", "reclaimer: lapse"), lost=1, orders=12_390, calls=2_657),
    # --- operators
    SetUp("cancel of the first and the second", (f"w1: claim {ANY}", "w2: claim complete", "operator: cancel1 cancel2", "reclaimer: lapse"), orders=4_410, calls=2_112),
    SetUp("cancel, replies lost", ("w1: claim retry|release", "w2: claim", "operator: cancel1", "reclaimer: lapse"), lost=1, orders=1_632, calls=1_568),
    SetUp("delete and requeue", ("w1: claim discard|complete", "w2: claim complete", "operator: delete1 requeue1 delete2", "reclaimer: lapse"), stall_limit=0, orders=3_360, calls=1_194),
    SetUp("stall limit, requeue, retention", ("w1: claim complete", "reclaimer: lapse", "operator: requeue1", "retention: sweepdead sweepdone"), stall_limit=0, lost=1, orders=3_120, calls=844),
    SetUp("pause and resume", ("w1: claim complete claim", "w2: claim", "operator: pause resume", "p1: add1"), (K,), (FREE,), lost=1, orders=8_248, calls=2_454),
    SetUp("a gate that closes", ("w1: claim complete claim", "operator: gate", "clock: tick", "p1: add1", "reclaimer: lapse"), (K,), (K,), lost=1, orders=15_680, calls=2_531),
    SetUp("somebody waits for the end", ("w1: claim result|discard", "operator: await1 cancel1", "operator: await1 delete1", "reclaimer: lapse"), (FREE,), lost=1, orders=25_884, calls=2_451),
    SetUp("notes of a job", ("w1: claim note complete|retry", "w2: claim note", "reclaimer: lapse", "retention: forget"), (K,), lost=1, orders=11_896, calls=2_094),
    # --- producers
    SetUp("two producers, one key", ("p1: add1", "p2: add2", "w1: claim complete", "w2: claim", "reclaimer: lapse"), (), (K, K), lost=1, orders=6_518, calls=3_308),
    SetUp("two producers, one dedup key", ("p1: add1", "p2: add2", "w1: claim complete", "clock: tick"), (), (J(dedup="d"), J("k", dedup="d")), lost=2, orders=3_668, calls=1_430),
    SetUp("a duplicate of one that is gone", ("p1: add1", "p2: add2", "w1: claim complete", "operator: cancel1|delete1", "retention: sweepdone"), (), (J(dedup="d"), J(dedup="d")), lost=1, orders=11_388, calls=2_129),
    SetUp("who sleeps is rung", ("p1: add1 add2", "p2: add3", "w1: claim complete claim", "w2: claim release"), (), (FREE, K, J(priority=1)), orders=1_680, calls=1_052),
    SetUp("a full queue refuses", ("p1: add1", "p2: add2", "w1: claim complete|retry|release", "reclaimer: lapse"), (K,), (FREE, K), limit=Limit(2), lost=1, orders=2_520, calls=1_470),
    SetUp("a full queue drops its oldest", ("p1: add1 add2", "w1: claim complete|retry|release", "reclaimer: lapse"), (K, K), (FREE, K), limit=Limit(2, "drop-oldest"), lost=1, orders=1_080, calls=954),
    # --- priorities and suspects
    SetUp("priorities", ("w1: claim2 complete", "w2: claim release claim", "p1: add1", "reclaimer: lapse1"), (J(priority=9), J("k", 5), J("k", 1)), (J(priority=1),), orders=420, calls=694),
    SetUp("suspects run alone", ("w1: claim2 complete claim", "w2: claim2 complete2 claim", "reclaimer: lapse1 lapse2", "p1: add1"), (FREE, FREE, K), (FREE,), orders=5_040, calls=2_209),
    SetUp("suspects given back", ("w1: claim release claim release", "w2: claim complete", "reclaimer: lapse lapse", "operator: cancel1"), (K, FREE), orders=3_780, calls=2_511),
    # --- disasters
    SetUp("the group is lost", ("w1: claim die", "w2: claim complete", "operator: destroy", "reclaimer: lapse", "p1: add1"), (K, FREE), (FREE,), orders=1_260, calls=594),
    SetUp("a foreign type in a key's place", ("w1: claim complete|retry|release|discard", "w2: claim snooze", "stranger: usurp restore", "reclaimer: lapse"), (K, FREE), orders=6_233, calls=1_624),
    SetUp("everything at once", ("w1: claim renew retry|complete", "w2: claim release claim complete", "reclaimer: lapse1 lapse", "promoter: promote", "operator: cancel2"), orders=277_200, calls=5_325),
]
"""What CI runs."""

LARGE = [
    SetUp("three workers and every way to settle", (f"w1: claim {ANY}", f"w2: claim {ANY}", "w3: claim complete", "reclaimer: lapse lapse", "promoter: promote"), (K, K, FREE), orders=1_111_320, calls=60_951),
    SetUp("three workers, two replies lost", ("w1: claim complete|retry", "w2: claim complete|release", "w3: claim complete", "reclaimer: lapse"), (K, K, K), lost=2, orders=458_632, calls=41_486),
    SetUp("replies lost and late copies", (f"w1: claim renew {ANY}", "w2: claim complete", "reclaimer: lapse1 lapse"), lost=1, copies=2, orders=3_778_985, calls=21_309),
    SetUp("renewals and cancels, replies lost", ("w1: claim renew complete|release", "w2: claim renew complete", "reclaimer: lapse1 lapse2", "operator: cancel1"), lost=1, copies=1, orders=4_420_160, calls=43_220),
    SetUp("cancels of any settle, replies lost", (f"w1: claim {ANY}", "w2: claim complete", "operator: cancel1 cancel2", "reclaimer: lapse", "promoter: promote"), lost=1, orders=917_415, calls=46_853),
    SetUp("snooze, hasten, delete, replies lost", ("w1: claim snooze", "w2: claim complete", "operator: hasten1 delete2", "clock: tick", "promoter: promote", "reclaimer: lapse"), lost=1, orders=1_317_240, calls=16_270),
    SetUp("three jobs of a key, replies lost", ("w1: claim complete|retry|discard", "w2: claim complete|snooze", "operator: cancel1|cancel2|delete3", "reclaimer: lapse", "promoter: promote"), (K, K, K), lost=1, orders=503_008, calls=28_874),
    SetUp("two dedup keys, retention, replies lost", ("p1: add1", "p2: add2", "w1: claim complete", "clock: tick", "operator: cancel1 delete2", "retention: sweepdone"), (), (J(dedup="d"), J("k", dedup="d")), lost=2, orders=2_540_644, calls=38_019),
    SetUp("a full queue, replies lost", ("p1: add1 add2", "p2: add3", "w1: claim complete|retry|release claim", "reclaimer: lapse"), (K, K), (FREE, K, K), limit=Limit(3, "drop-oldest"), lost=1, orders=25_620, calls=9_799),
    SetUp("everything at once, a reply lost", ("w1: claim renew retry|complete", "w2: claim release claim complete", "reclaimer: lapse1 lapse", "promoter: promote", "operator: cancel2"), lost=1, orders=8_761_944, calls=40_744),
]
"""What `--all-interleavings` runs besides: the same races with one more of something, some minutes long."""
# fmt: on
