"""Bounds on what is under way: of a document, of a tenant, of all."""

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from plait_server.errors import PlaitServerError
from plait_server.service import Batch, Caller, DocumentKey, Edit, IdempotencyKey, ServiceLimits
from plait_server.service.admission import Room
from server.service.bench import ANN, ORDER, Bench, begin, decided, put, refusal, replacing, turns

OTHER = DocumentKey("orders", "2")
ZOE = Caller("zoo", "zoe-token", "zoe")


async def test_a_hot_document_refuses_more_and_the_others_go_on(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(document_edits_waiting_max=3))
    await put(service, {"n": 0})
    await put(service, {"n": 0}, OTHER)
    bench.store.gate.clear()
    waiting = [begin(service.edit(ANN, ORDER, replacing("/n", n))) for n in range(1, 4)]
    await turns()
    refused = await refusal(service.edit(ANN, ORDER, replacing("/n", 9)))
    assert (refused.code, refused.members) == (
        "hot-document",
        {"limit": "document_edits_waiting", "maximum": 3},
    )
    other = begin(service.edit(ANN, OTHER, replacing("/n", 1)))
    await turns()
    bench.store.gate.set()
    assert [(await each).revision for each in (*waiting, other)] == [2, 3, 4, 2]
    assert (await service.edit(ANN, ORDER, replacing("/n", 9))).revision == 5


async def test_more_than_may_be_under_way_is_refused_until_there_is_room(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(edits_waiting_max=5))
    await put(service, {"n": 0})
    bench.store.gate.clear()
    edits = [begin(service.edit(ANN, ORDER, replacing("/n", n))) for n in range(1, 8)]
    await turns()
    bench.store.gate.set()
    outcomes = Counter([await decided(each) for each in edits])
    assert outcomes == {"applied": 4, "overloaded": 3}, "one tenant alone has four fifths"
    assert await decided(service.edit(ANN, ORDER, replacing("/n", 8))) == "applied"


async def test_a_tenant_that_takes_all_it_can_leaves_room_for_another(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(edits_waiting_max=10))
    await put(service, {"n": 0})
    bench.store.gate.clear()
    greedy = [begin(service.edit(ANN, ORDER, replacing("/n", n))) for n in range(1, 21)]
    await turns()
    modest = begin(service.edit(ZOE, ORDER, Edit(kind="put", content={}, if_none_match=True)))
    await turns()
    bench.store.gate.set()
    assert await decided(modest) == "created"
    assert Counter([await decided(each) for each in greedy])["overloaded"] == 12


async def test_what_there_is_no_room_for_is_refused_before_it_is_read(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(document_edits_waiting_max=2, edits_waiting_max=5))
    await put(service, {"n": 0})
    await put(service, {"n": 0}, OTHER)
    service.check_room(ANN, ORDER)
    bench.store.gate.clear()
    edits = [begin(service.edit(ANN, ORDER, replacing("/n", n))) for n in (1, 2)]
    await turns()
    assert _room(bench, ORDER) == "hot-document"
    assert _room(bench, OTHER) is None
    edits += [begin(service.edit(ANN, OTHER, replacing("/n", n))) for n in (1, 2)]
    await turns()
    assert _room(bench, DocumentKey("orders", "3")) == "overloaded"
    bench.store.gate.set()
    await asyncio.gather(*edits)
    assert _room(bench, ORDER) is None


def _room(bench: Bench, document: DocumentKey) -> str | None:
    """Give the code of what an edit of a document would be refused with."""
    try:
        bench.service.check_room(ANN, document)
    except PlaitServerError as error:
        return error.code
    return None


async def test_a_refusal_for_want_of_room_burns_no_key(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(document_edits_waiting_max=1))
    await put(service, {"n": 0})
    bench.store.gate.clear()
    first = begin(service.edit(ANN, ORDER, replacing("/n", 1)))
    await turns()
    keyed = replacing("/n", 2, key=IdempotencyKey("k", "f"))
    assert await decided(service.edit(ANN, ORDER, keyed)) == "hot-document"
    bench.store.gate.set()
    await first
    answer = await service.edit(ANN, ORDER, keyed)
    assert (answer.revision, answer.replayed) == (3, False)


def batch(value: int, documents: int) -> Batch:
    """The same edit of several documents, the first of them `ORDER`."""
    keys = [DocumentKey("orders", str(n)) for n in range(1, documents + 1)]
    return Batch(edits=tuple([(key, replacing("/n", value)) for key in keys]))


async def test_the_edits_of_a_batch_count_one_by_one(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(edits_waiting_max=6))
    for key, _ in batch(0, 5).edits:
        await put(service, {"n": 0}, key)
    bench.store.gate.clear()
    edits = [begin(service.edit(ANN, ORDER, replacing("/n", n))) for n in (1, 2)]
    await turns()
    refused = begin(service.batch(ANN, batch(9, 5)))
    await turns()
    bench.store.gate.set()
    assert (await refusal(refused)).code == "overloaded"
    await asyncio.gather(*edits)
    for value in (3, 4, 5):
        assert len((await service.batch(ANN, batch(value, 5))).answers) == 5


async def test_a_batch_with_a_hot_document_is_refused_and_gives_the_others_back(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(document_edits_waiting_max=1))
    await put(service, {"n": 0})
    await put(service, {"n": 0}, OTHER)
    bench.store.gate.clear()
    edit = begin(service.edit(ANN, OTHER, replacing("/n", 1)))
    await turns()
    refused = begin(service.batch(ANN, batch(9, 2)))
    await turns()
    bench.store.gate.set()
    assert (await refusal(refused)).code == "hot-document"
    await edit
    assert len((await service.batch(ANN, batch(2, 2))).answers) == 2


async def test_every_way_an_edit_ends_gives_its_place_back(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(edits_waiting_max=2))
    await put(service, {"n": 0})
    for _ in range(5):
        assert await decided(service.edit(ANN, ORDER, replacing("/missing", 1))) == "patch-inapplicable"
        assert await decided(service.edit(ANN, OTHER, replacing("/n", 1))) == "not-found"
        assert await decided(service.edit(ANN, ORDER, replacing("/n", 1, base=99))) == "base-unknown"
        bench.store.gate.clear()
        left = begin(service.edit(ANN, ORDER, replacing("/n", 1)))
        await turns()
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        bench.store.gate.set()
        await turns()
        assert (await service.edit(ANN, ORDER, replacing("/n", 0))).outcome in ("applied", "noop")


async def test_a_document_with_thousands_of_edits_delays_another_by_a_batch_at_most(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(document_edits_waiting_max=5_000))
    await put(service, {"n": 0})
    await put(service, {"n": 0}, OTHER)
    bench.store.gate.clear()
    hot = [begin(service.edit(ANN, ORDER, replacing("/n", n))) for n in range(1, 4_001)]
    await turns(5)
    other = begin(service.edit(ANN, OTHER, replacing("/n", 1)))
    await turns(5)
    bench.store.batches.clear()
    bench.committed.clear()
    bench.store.gate.set()
    await asyncio.gather(other, *hot)
    # One batch was on its way already; the other document is in the next one.
    assert bench.committed.index(("2", 2)) < 2_000
    assert [n for id, n in bench.committed if id == "1"] == list(range(2, 4_002))


def test_a_room_takes_back_what_it_gave() -> None:
    room = Room(100)
    taken = 0
    while room.take("a", 3):
        taken += 1
    assert 78 <= 3 * taken <= 83
    assert room.take("b", 1)
    assert not room.take("b", 50)
    room.give_back("b", 1)
    room.give_back("b", 0)
    for _ in range(taken):
        room.give_back("a", 3)
    assert room.left == 100
    assert room.take("b", 50)


@given(st.lists(st.sampled_from("abcdefgh"), max_size=300), st.integers(1, 50))
def test_whoever_comes_new_into_a_room_finds_a_place(takers: list[str], places: int) -> None:
    """However many are greedy: what is left shrinks for each of them, and is never all taken by those."""
    room = Room(places)
    for tenant in takers:
        room.take(tenant)
    if room.left:
        assert room.take("somebody new")
