"""What a store is. Every store passes these tests; nothing else may be relied on."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from plait_server.store import (
    Address,
    AlreadySettled,
    CollectionRecord,
    Committed,
    FenceStale,
    HeadMoved,
    Hold,
    KeyTaken,
    LockRecord,
    SnapshotRecord,
    Store,
)
from server.store.conftest import OpenStore
from server.store.records import HERE, NOW, THERE, conflict, edit, keeping, key, revision


async def revisions_of(store: Store, address: Address = HERE) -> list[int]:
    return [each.n for each in await store.revisions(address, above=0, upto=1_000, limit=1_000)]


async def test_what_was_committed_is_there_after_opening_it_again(reopen: OpenStore) -> None:
    store = await reopen()
    record = revision(
        1,
        b'[{"op":"add","path":"","value":"\xc3\xa9\\u0000"}]',
        "create",
        base=None,
        submitted=b"[1]",
        key="k",
        message="new \x00 é",
        trace="00-1-2-01",
        policy=7,
    )
    commit = replace(edit(0), revision=record, key=key("k", b'{"a":1}'), conflict=conflict("c1"))
    [result] = await store.commit([commit])
    assert isinstance(result, Committed)
    epoch = store.epoch
    store = await reopen()
    assert epoch == store.epoch
    loaded = await store.load(HERE)
    assert loaded is not None
    assert loaded.revisions == [replace(record, seq=result.seq)]
    assert (loaded.head, loaded.deleted, loaded.snapshot) == (1, False, None)
    assert (loaded.created, loaded.updated) == (NOW + 1, NOW + 1)
    stored = await store.key("acme", "ann-token", "k", NOW)
    assert stored is not None
    assert (stored.fingerprint, stored.answer) == ("fingerprint", b'{"a":1}')
    assert conflict("c1") == await store.conflict(HERE, "c1")


async def test_the_revision_at_a_moment_is_the_newest_made_until_then(store: Store) -> None:
    """By number: where the clock stepped back, moments come twice, and the later revision is meant."""
    moments = [100, 200, 50, 60, 60, 300]
    for n, at in enumerate(moments, 1):
        made = replace(revision(n, kind="edit" if n > 1 else "create"), at=at)
        await store.commit([replace(edit(n - 1), revision=made), replace(edit(n - 1, THERE))])
    for at in range(0, 310, 10):
        newest = max([n for n, made in enumerate(moments, 1) if made <= at], default=None)
        assert await store.revision_at(HERE, at) == newest
    assert await store.revision_at(Address("acme", "orders", "never"), 1_000) is None


async def test_a_batch_may_hold_a_chain_of_one_document_and_many_documents(store: Store) -> None:
    results = await store.commit([edit(0), edit(1), edit(0, THERE), edit(2), edit(1, THERE)])
    seqs = [result.seq for result in results if isinstance(result, Committed)]
    assert seqs == sorted(set(seqs))
    assert len(seqs) == 5
    assert await revisions_of(store) == [1, 2, 3]
    assert await revisions_of(store, THERE) == [1, 2]


async def test_the_feed_is_everything_in_order_a_page_at_a_time(store: Store) -> None:
    await store.commit([edit(0), edit(0, THERE), edit(1)])
    await store.commit([edit(2), edit(1, THERE)])
    told: list[tuple[str, int]] = []
    above = 0
    while page := await store.changes("acme", above=above, limit=2):
        assert len(page) <= 2
        told += [(row.id, row.revision.n) for row in page]
        above = page[-1].revision.seq
    assert [n for id, n in told if id == HERE.id] == [1, 2, 3]
    assert [n for id, n in told if id == THERE.id] == [1, 2]
    assert await store.changes("other", above=0, limit=2) == []
    (first,) = await store.changes("acme", above=0, limit=9, bytes_max=0)
    assert (first.collection, first.id, first.revision.n) == (HERE.collection, HERE.id, 1)


BAD: list[tuple[Any, type[Any]]] = [
    (edit(0), HeadMoved),
    (edit(1), HeadMoved),
    (edit(3), HeadMoved),
    (keeping(1, key=key("fresh")), HeadMoved),
    (keeping(3, conflict=conflict("c9")), HeadMoved),
    (edit(2, key=key("taken")), KeyTaken),
    (keeping(2, key=key("taken")), KeyTaken),
    (edit(2, settles="settled"), AlreadySettled),
    (edit(2, settles="none"), AlreadySettled),
]


@pytest.mark.parametrize(("bad", "expected"), BAD)
async def test_a_commit_that_does_not_hold_is_left_out_whole_and_disturbs_no_other(
    store: Store, bad: Any, expected: type[Any]
) -> None:
    await store.commit([edit(0, key=key("taken")), edit(1, conflict=conflict("settled"))])
    await store.commit([keeping(2, settles="settled")])
    before, bad_key = await store.load(HERE), bad.key
    results = await store.commit([edit(0, THERE, key=key("a")), bad, edit(1, THERE, key=key("b"))])
    assert [type(result) for result in results] == [Committed, expected, Committed]
    assert before == await store.load(HERE)
    assert await revisions_of(store, THERE) == [1, 2]
    assert await store.conflict(HERE, "c9") is None
    if bad_key is not None and bad_key.key == "fresh":
        assert await store.key("acme", "ann-token", "fresh", NOW) is None


async def test_what_was_built_on_a_commit_left_out_is_left_out_too(store: Store) -> None:
    """Even where the numbers would fit: revision 2 of the second was meant for another revision 1."""
    await store.commit([edit(0, THERE, key=key("taken"))])
    results = await store.commit([edit(0, key=key("taken")), edit(0), edit(1), edit(1, THERE)])
    assert [type(result) for result in results] == [KeyTaken, HeadMoved, HeadMoved, Committed]
    assert await store.load(HERE) is None


async def test_a_refusal_kept_under_a_key_leaves_what_follows_alone(store: Store) -> None:
    await store.commit([edit(0, key=key("taken"))])
    results = await store.commit([keeping(1, key=key("taken")), edit(1)])
    assert [type(result) for result in results] == [KeyTaken, Committed]


async def test_a_taken_key_comes_with_its_answer(store: Store) -> None:
    await store.commit([edit(0, key=key("k", b'{"n":1}'))])
    [result] = await store.commit([edit(1, key=key("k", b'{"n":2}'))])
    assert isinstance(result, KeyTaken)
    assert (result.record.answer, result.record.fingerprint) == (b'{"n":1}', "fingerprint")


async def test_a_key_belongs_to_its_tenant_and_caller(store: Store) -> None:
    elsewhere = Address("other", "orders", "1")
    results = await store.commit(
        [
            edit(0, key=key("k")),
            edit(0, elsewhere, key=key("k")),
            edit(0, THERE, key=replace(key("k"), caller="bob-token")),
        ]
    )
    assert [type(result) for result in results] == [Committed] * 3


async def test_an_expired_key_is_free_again(store: Store) -> None:
    await store.commit([edit(0, key=key("k", expires=NOW + 10))])
    assert await store.key("acme", "ann-token", "k", NOW + 10) is None
    [result] = await store.commit([edit(1, key=key("k", b'{"n":2}', stored=NOW + 10))])
    assert isinstance(result, Committed)
    stored = await store.key("acme", "ann-token", "k", NOW + 10)
    assert stored is not None
    assert stored.answer == b'{"n":2}'


async def test_of_two_who_saw_the_same_head_one_is_committed(store: Store) -> None:
    await store.commit([edit(0)])
    for head in range(1, 40):
        results = await asyncio.gather(*(store.commit([edit(head)]) for _ in range(4)))
        kinds = [type(result) for [result] in results]
        assert (kinds.count(Committed), kinds.count(HeadMoved)) == (1, 3)
    assert await revisions_of(store) == list(range(1, 41))


async def test_seq_orders_the_revisions_of_a_tenant(reopen: OpenStore) -> None:
    store = await reopen()
    elsewhere = Address("other", "orders", "1")
    first = await store.commit([edit(0), edit(0, elsewhere), edit(1)])
    await store.commit([edit(7)])
    store = await reopen()
    second = await store.commit([edit(0, THERE), edit(1, elsewhere)])
    seqs = [result.seq for result in [first[0], first[2], second[0]] if isinstance(result, Committed)]
    assert seqs == sorted(set(seqs))
    assert len(seqs) == 3


async def test_a_document_is_loaded_from_its_last_snapshot(store: Store) -> None:
    await store.commit([edit(n, patch=b"[%d]" % n) for n in range(6)])
    for n in (2, 4, 4):
        await store.snapshot(HERE, n, b"%d" % n)
    expected = {None: (4, [4, 5, 6]), 6: (4, [4, 5, 6]), 4: (4, [4]), 3: (2, [2, 3]), 1: (None, [1])}
    for at, (snapshot, numbers) in expected.items():
        loaded = await store.load(HERE, at)
        assert loaded is not None
        assert loaded.snapshot == (None if snapshot is None else SnapshotRecord(snapshot, b"%d" % snapshot))
        assert [each.n for each in loaded.revisions] == numbers
        assert loaded.head == 6


async def test_revisions_are_read_by_range_in_both_directions(store: Store) -> None:
    await store.commit([edit(n) for n in range(9)])

    async def read(**bounds: Any) -> list[int]:
        return [each.n for each in await store.revisions(HERE, **bounds)]

    assert await read(above=2, upto=5, limit=100) == [3, 4, 5]
    assert await read(above=2, upto=100, limit=2) == [3, 4]
    assert await read(above=0, upto=7, limit=3, newest_first=True) == [7, 6, 5]
    assert await read(above=9, upto=100, limit=3) == []


async def test_deleted_documents_are_not_listed(store: Store) -> None:
    for id in "cab":
        await store.commit([edit(0, Address("acme", "orders", id))])
    await store.commit([edit(1, Address("acme", "orders", "b"), kind="delete")])
    await store.commit([edit(0, Address("acme", "other", "d")), edit(0, Address("other", "orders", "e"))])
    rows = await store.documents("acme", "orders", after="", limit=10)
    assert [(row.id, row.head) for row in rows] == [("a", 1), ("c", 1)]
    assert [row.id for row in await store.documents("acme", "orders", after="a", limit=1)] == ["c"]
    loaded = await store.load(Address("acme", "orders", "b"))
    assert loaded is not None
    assert (loaded.deleted, loaded.created, loaded.updated) == (True, NOW + 1, NOW + 2)


async def test_a_conflict_is_settled_once(store: Store) -> None:
    await store.commit([edit(0), keeping(1, conflict=conflict("c1"))])
    results = await store.commit([edit(1, settles="c1"), edit(2, settles="c1"), edit(3, THERE)])
    assert [type(result) for result in results] == [Committed, AlreadySettled, HeadMoved]
    assert results[1] == AlreadySettled(2)
    settled = await store.conflict(HERE, "c1")
    assert settled is not None
    assert (settled.resolved, settled.resolved_revision) == (NOW, 2)
    assert await store.commit([keeping(2, settles="none")]) == [AlreadySettled(None)]


async def test_conflicts_are_listed_newest_first_and_bounded_per_document(store: Store) -> None:
    await store.commit([edit(0), edit(0, THERE)])
    for n in range(1, 6):
        await store.commit([keeping(1, conflict=conflict(f"c{n}"))])
    await store.commit([keeping(1, THERE, conflict=conflict("d1"))])
    await store.commit(
        [edit(0, Address("acme", "orders", "3")), keeping(1, conflict=conflict("c6", NOW + 1))]
    )

    async def listed(before: str | None, limit: int, now: int) -> list[str]:
        return [each.id for each in await store.conflicts(HERE, before=before, limit=limit, now=now)]

    assert await listed(None, 10, NOW) == ["c6", "c5", "c4"]
    assert await listed(None, 10, NOW + 1) == ["c5", "c4"]
    assert await listed("c6", 1, NOW) == ["c5"]


async def test_settled_conflicts_are_not_listed(store: Store) -> None:
    kept = [replace(edit(1), revision=None, conflict=conflict(f"c{n}")) for n in range(3)]
    await store.commit([edit(0), *kept])
    await store.commit([replace(edit(1), settles="c1")])
    assert [each.id for each in await store.conflicts(HERE, before=None, limit=9, now=NOW)] == ["c2", "c0"]
    settled = await store.conflict(HERE, "c1")
    assert settled is not None
    assert settled.resolved_revision == 2


async def test_conflicts_are_bounded_by_bytes_too_and_the_newest_stays(store: Store) -> None:
    for name, size in [("c1", 600), ("c2", 300), ("c3", 300), ("c4", 300), ("c5", 5_000)]:
        kept = replace(conflict(name), body=b"x" * size)
        await store.commit([replace(edit(0), revision=None, conflict=kept)])
        listed = [each.id for each in await store.conflicts(HERE, before=None, limit=9, now=NOW)]
        expected = {
            "c1": ["c1"],
            "c2": ["c2", "c1"],
            "c3": ["c3", "c2"],
            "c4": ["c4", "c3", "c2"],
            "c5": ["c5"],
        }
        assert expected[name] == listed


async def test_a_list_ends_with_what_makes_it_weigh_too_much(store: Store) -> None:
    await store.commit([edit(0), edit(1), edit(2)])
    weight = [each.weight for each in await store.revisions(HERE, above=0, upto=3, limit=9)]
    for count in (1, 2, 3):
        revisions = await store.revisions(
            HERE, above=0, upto=3, limit=9, bytes_max=sum(weight[:count]) - 1, newest_first=False
        )
        assert [each.n for each in revisions] == [1, 2, 3][:count]
    kept = [
        replace(edit(3), revision=None, conflict=replace(conflict(f"c{n}"), body=b"12345")) for n in range(3)
    ]
    await store.commit(kept)
    conflicts = await store.conflicts(HERE, before=None, limit=9, now=NOW, bytes_max=7)
    assert [each.id for each in conflicts] == ["c2", "c1"]


async def test_pruning_drops_what_expired_and_the_oldest_conflicts(store: Store) -> None:
    await store.commit(
        [
            edit(0, key=key("old", expires=NOW + 1)),
            keeping(1, key=key("new"), conflict=conflict("c1", NOW + 1)),
            keeping(1, conflict=conflict("c2", NOW + 5)),
            keeping(1, conflict=conflict("c3", NOW + 6)),
        ]
    )
    await store.prune(NOW + 1, conflicts_max=1)
    assert [each.id for each in await store.conflicts(HERE, before=None, limit=9, now=NOW)] == ["c3"]
    assert await store.key("acme", "ann-token", "new", NOW + 1) is not None
    assert await store.key("acme", "ann-token", "old", NOW) is None


async def test_a_store_knows_how_late_it_was_and_it_never_gets_earlier(reopen: OpenStore) -> None:
    store = await reopen()
    assert store.time == 0
    for now in (NOW, NOW - 1):
        await store.prune(now, conflicts_max=1)
        assert store.time == NOW
        store = await reopen()
        assert store.time == NOW


async def test_reads_go_on_during_a_write(store: Store) -> None:
    await store.commit([edit(0)])
    writes = asyncio.gather(*(store.commit([edit(n)]) for n in range(1, 30)))
    reads = await asyncio.gather(*(store.load(HERE) for _ in range(30)))
    for loaded in reads:
        assert loaded is not None
        assert [each.n for each in loaded.revisions] == list(range(1, loaded.head + 1))
    await writes


def settings(n: int, name: str = "orders", tenant: str = "acme", body: bytes = b"{}") -> CollectionRecord:
    return CollectionRecord(tenant, name, n, body, "ann", NOW + n)


async def test_settings_of_a_collection_are_kept_revision_by_revision(reopen: OpenStore) -> None:
    store = await reopen()
    written = [
        settings(1),
        settings(2, body='{"é":1}'.encode()),
        settings(1, "notes"),
        settings(1, tenant="other"),
    ]
    assert [await store.put_collection(record) for record in written] == [True] * 4
    store = await reopen()
    newest = {(each.tenant, each.name): each for each in await store.collections()}
    assert newest == {(each.tenant, each.name): each for each in written[1:]}
    assert await store.collection("acme", "orders", 1) == written[0]
    assert await store.collection("acme", "orders", 3) is None
    assert await store.collection("other", "notes", 1) is None


async def test_of_settings_only_the_next_revision_is_taken(store: Store) -> None:
    assert not await store.put_collection(settings(2))
    results = await asyncio.gather(*(store.put_collection(settings(1, body=b"%d" % n)) for n in range(4)))
    assert sorted(results) == [False, False, False, True]
    winner = b"%d" % results.index(True)
    assert await store.collections() == [settings(1, body=winner)]
    assert not await store.put_collection(settings(3))
    assert await store.put_collection(settings(2))


async def test_a_unit_holds_whole_or_not_at_all(store: Store) -> None:
    """Whichever of its commits does not hold; and those before and after it are not disturbed."""
    await store.commit([edit(0), edit(0, THERE)])
    whole = [edit(1, unit=7), edit(1, THERE, unit=7)]
    late = [edit(2, unit=8), edit(1, THERE, unit=8)]
    early = [edit(1, unit=9), edit(2, THERE, unit=9)]
    elsewhere = Address("acme", "orders", "3")
    assert await store.commit([*whole, edit(0, elsewhere)]) == [Committed(3), Committed(4), Committed(5)]
    results = await store.commit([edit(1, elsewhere), *late, *early, edit(2, elsewhere)])
    assert results == [Committed(6), *[HeadMoved()] * 4, Committed(7)]
    assert await revisions_of(store) == await revisions_of(store, THERE) == [1, 2]
    assert await store.commit([edit(2), edit(2, THERE)]) == [Committed(8), Committed(9)]


async def test_what_was_built_on_a_unit_left_out_is_left_out_too(store: Store) -> None:
    await store.commit([edit(0), edit(0, THERE), keeping(1, key=key("k"))])
    results = await store.commit(
        [edit(1, unit=1), edit(1, THERE, key=key("k"), unit=1), edit(2), edit(2, THERE), keeping(2, THERE)]
    )
    assert [type(result) for result in results] == [HeadMoved, KeyTaken, HeadMoved, HeadMoved, HeadMoved]
    assert await revisions_of(store) == await revisions_of(store, THERE) == [1]


async def test_a_commit_under_a_lease_that_does_not_stand_is_left_out(store: Store) -> None:
    results = await store.commit([edit(0), edit(1, held=(Hold("l", 1),)), edit(0, THERE)])
    assert results == [Committed(1), FenceStale("l"), Committed(2)]


def lock(id: str, address: Address = HERE, **rest: Any) -> LockRecord:
    granted = LockRecord(address, id, "/a", 1, "ann", "ann-token", ttl_ms=30_000, expires=NOW)
    return replace(granted, **rest)


async def test_fences_of_leases_only_grow_over_all_documents(reopen: OpenStore) -> None:
    store = await reopen()
    fences = [await store.put_lock(lock("a")), await store.put_lock(lock("b", THERE))]
    await store.drop_locks([(HERE, Hold("a", fences[0])), (THERE, Hold("b", fences[1]))])
    store = await reopen()
    fences.append(await store.put_lock(lock("c")))
    assert fences == sorted(set(fences))


async def test_leases_are_there_after_opening_it_again(reopen: OpenStore) -> None:
    store = await reopen()
    first = lock("b", pointer='/é~1"/0', holder="bob")
    second = lock("a", THERE, revision=7, ttl_ms=1)
    granted = [replace(each, fence=await store.put_lock(each)) for each in (first, second)]
    store = await reopen()
    assert await store.locks() == granted


async def test_a_lease_is_renewed_and_dropped_only_with_its_fence(store: Store) -> None:
    fence = await store.put_lock(lock("a"))
    renewed = lock("a", pointer="/b", revision=9, ttl_ms=5, expires=NOW + 5, fence=fence)
    assert not await store.renew_lock(replace(renewed, fence=fence + 1))
    assert not await store.renew_lock(replace(renewed, address=THERE))
    assert await store.renew_lock(renewed)
    await store.drop_locks([(HERE, Hold("a", fence + 1)), (THERE, Hold("a", fence))])
    assert await store.locks() == [renewed]
    await store.drop_locks([(HERE, Hold("a", fence)), (HERE, Hold("none", 1))])
    assert await store.locks() == []
    assert not await store.renew_lock(renewed)
    await store.drop_locks([])


async def test_where_leases_are_is_written_and_nothing_else_of_them(store: Store) -> None:
    fences = [await store.put_lock(lock("a")), await store.put_lock(lock("b"))]
    moved = lock("a", pointer="/c", revision=4, fence=fences[0])
    await store.move_locks([replace(moved, expires=0, ttl_ms=1), lock("b", pointer="/d", fence=9)])
    assert await store.locks() == [moved, lock("b", fence=fences[1])]


async def test_a_lease_takes_the_place_of_those_that_are_over(store: Store) -> None:
    over = Hold("a", await store.put_lock(lock("a")))
    fence = await store.put_lock(lock("b"), [(HERE, over)])
    assert await store.locks() == [lock("b", fence=fence)]


async def test_a_lease_takes_the_place_of_one_of_the_same_name(store: Store) -> None:
    """One that was written although nobody could say so is in nobody's way: its fence is stale."""
    lost = await store.put_lock(lock("a", pointer="/old", holder="?", caller="?", ttl_ms=1, expires=1))
    fence = await store.put_lock(lock("a"))
    assert (fence > lost, await store.locks()) == (True, [lock("a", fence=fence)])


async def test_a_commit_holds_only_while_the_leases_it_names_stand(store: Store) -> None:
    """Whatever else is in its batch, which it does not disturb."""
    await store.commit([edit(0), edit(0, THERE)])
    standing = Hold("a", await store.put_lock(lock("a")))
    for hold, holds in (
        (standing, True),
        (Hold("a", standing.fence + 1), False),
        (Hold("b", standing.fence), False),
    ):
        head = (await revisions_of(store))[-1]
        (there,) = (await revisions_of(store, THERE))[-1:]
        results = await store.commit([edit(there, THERE), edit(head, held=(hold,))])
        assert isinstance(results[0], Committed)
        assert isinstance(results[1], Committed) if holds else results[1] == FenceStale(hold.lock)
    foreign = await store.commit([edit(4, THERE, held=(standing,))])
    assert foreign == [FenceStale("a")]
    await store.drop_locks([(HERE, standing)])
    assert await store.commit([edit(2, held=(standing,))]) == [FenceStale("a")]


async def test_a_key_with_an_answer_has_it_also_after_the_lease(store: Store) -> None:
    hold = Hold("a", await store.put_lock(lock("a")))
    await store.commit([edit(0), edit(1, held=(hold,), key=key("k"))])
    await store.drop_locks([(HERE, hold)])
    (result,) = await store.commit([edit(2, held=(hold,), key=key("k"))])
    assert isinstance(result, KeyTaken)


ELSEWHERE = Address("acme", "orders", "3")
UNIT_BAD: list[tuple[Any, type[Any]]] = [
    (edit(0, ELSEWHERE, unit=2), HeadMoved),
    (edit(2, ELSEWHERE, unit=2), HeadMoved),
    (keeping(2, ELSEWHERE, unit=2), HeadMoved),
    (edit(1, ELSEWHERE, key=key("taken"), unit=2), KeyTaken),
    (keeping(1, ELSEWHERE, key=key("taken"), unit=2), KeyTaken),
    (edit(1, ELSEWHERE, settles="none", unit=2), AlreadySettled),
    (edit(1, ELSEWHERE, held=(Hold("l", 1),), unit=2), FenceStale),
]


@pytest.mark.parametrize(("bad", "expected"), UNIT_BAD)
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_of_units_and_single_commits_only_the_one_that_does_not_hold_is_left_out(
    store: Store, place: int, bad: Any, expected: type[Any]
) -> None:
    """Wherever in it the bad one stands, and though the others go on in the same documents."""
    await store.commit([edit(0, key=key("taken")), edit(0, THERE), edit(0, ELSEWHERE)])
    unit = [edit(2, unit=2), edit(2, THERE, key=key("of the unit"), unit=2)]
    unit.insert(place, bad)
    results = await store.commit(
        [
            *[edit(1, unit=1), edit(1, THERE, unit=1)],
            *unit,
            edit(1, ELSEWHERE, key=key("single")),
            *[edit(2, ELSEWHERE, unit=3), edit(0, Address("acme", "orders", "4"), unit=3)],
        ]
    )
    kinds = [type(result) for result in results]
    failed = [HeadMoved] * 3
    failed[place] = expected
    built_on_it = bad.revision is not None
    assert kinds[:5] == [Committed, Committed, *failed]
    assert kinds[5:] == ([HeadMoved] * 3 if built_on_it else [Committed] * 3)
    assert await revisions_of(store) == await revisions_of(store, THERE) == [1, 2]
    assert await revisions_of(store, ELSEWHERE) == ([1] if built_on_it else [1, 2, 3])
    assert await store.key("acme", "ann-token", "of the unit", NOW) is None


async def test_a_chain_of_a_document_may_go_through_several_units(store: Store) -> None:
    """What is built on a unit that holds holds; from one that does not on, nothing does."""
    await store.commit([edit(0, key=key("taken")), edit(0, THERE), edit(0, ELSEWHERE)])
    results = await store.commit(
        [
            *[edit(1, unit=1), edit(1, THERE, unit=1)],
            edit(2),
            *[edit(2, THERE, unit=2), edit(3, unit=2), keeping(1, ELSEWHERE, unit=2)],
            *[edit(4, unit=3), edit(1, ELSEWHERE, key=key("taken"), unit=3)],
            *[edit(3, THERE, unit=4), edit(5, unit=4)],
            edit(3, THERE),
            *[edit(4, unit=5), edit(4, THERE, unit=5)],
        ]
    )
    assert [type(result) for result in results] == [
        *[Committed] * 6,
        *[HeadMoved, KeyTaken],
        *[HeadMoved, HeadMoved],
        HeadMoved,
        *[HeadMoved, HeadMoved],
    ]
    assert await revisions_of(store) == [1, 2, 3, 4]
    assert await revisions_of(store, THERE) == [1, 2, 3]
    assert await revisions_of(store, ELSEWHERE) == [1]
    seqs = [result.seq for result in results if isinstance(result, Committed) and result.seq]
    assert seqs == sorted(seqs)


async def test_a_unit_may_create_what_a_unit_before_it_does_not(store: Store) -> None:
    new, newer = Address("acme", "orders", "new"), Address("acme", "orders", "newer")
    await store.commit([edit(0)])
    results = await store.commit(
        [edit(0, new, unit=1), edit(7, THERE, unit=1), edit(0, newer, unit=2), keeping(1, unit=2)]
    )
    assert [type(result) for result in results] == [HeadMoved, HeadMoved, Committed, Committed]
    assert await store.load(new) is None
    assert await revisions_of(store, newer) == [1]
    assert [type(each) for each in await store.commit([edit(0, new), edit(1, newer)])] == [Committed] * 2
