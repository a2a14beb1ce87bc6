"""What compaction leaves: a history that is whole from its oldest revision on, whatever happens meanwhile."""

import json
from random import Random

import pytest

from plait_merge import ABSENT, Absent, Json, apply
from plait_server.store import Address, Committed, Floor, Labelled, LabelRecord, NoRevision, NoRoom, Store
from server.store.histories import Values, body, check, compact, delete, grow, snapshot, value_at
from server.store.records import HERE, NOW, THERE


async def label(store: Store, values: Values, name: str, n: int, labels_max: int = 99) -> object:
    record = LabelRecord(name, n, "ann", NOW)
    return await store.put_label(HERE, record, body(values[n]), labels_max)


async def grown(store: Store, count: int) -> Values:
    """Make a history of so many revisions."""
    values: Values = [ABSENT]
    await store.commit(grow(values, count))
    return values


async def test_what_is_before_the_new_oldest_revision_is_gone_and_the_rest_is_as_it_was(store: Store) -> None:
    values = await grown(store, 40)
    others: Values = [ABSENT]
    await store.commit(grow(others, 7, THERE))
    await check(store, values, 1)
    assert await compact(store, values, 30) == Floor(1, 30, whole=False)
    await check(store, values, 30)
    await check(store, others, 1, THERE)
    assert await store.commit(grow(values, 1)) == [Committed(48)]
    await check(store, values, 30)
    assert await compact(store, values, 30) is None
    await compact(store, values, 41)
    await check(store, values, 41)


async def test_a_step_passes_so_many_revisions_and_ends_at_a_snapshot_where_one_is_on_the_way(
    store: Store,
) -> None:
    values = await grown(store, 40)
    for n in (7, 12, 33):
        await snapshot(store, values, n)
    steps = []
    while (floor := await compact(store, values, 35, rows_max=10)) is not None:
        await check(store, values, floor.n)
        steps.append((floor.n, floor.whole))
    assert steps == [(7, True), (12, True), (22, False), (32, False), (35, False)]


async def test_no_step_passes_a_young_revision(store: Store) -> None:
    """The first was made at NOW, each later one a millisecond after the one before."""
    values = await grown(store, 20)
    for young, expected in ((NOW, None), (NOW + 4, 5), (NOW + 99, 9)):
        floor = await store.floor(HERE, upto=9, young=young, rows_max=99)
        assert (None if floor is None else floor.n) == expected
    await check(store, values, 1)


async def test_the_head_stays_whatever_is_asked(store: Store) -> None:
    values = await grown(store, 5)
    await compact(store, values, 99)
    await check(store, values, 5)
    assert not await store.compact(HERE, Floor(5, 6, whole=True), None, spare_labelled=True)
    assert await store.floor(THERE, upto=9, young=None, rows_max=9) is None


async def test_of_two_steps_at_once_one_is_taken(store: Store) -> None:
    values = await grown(store, 20)
    first = await store.floor(HERE, upto=10, young=None, rows_max=99)
    assert first is not None
    await compact(store, values, 15)
    assert not await store.compact(HERE, first, body(values[10]), spare_labelled=True)
    await check(store, values, 15)


async def test_a_history_may_begin_with_a_deletion_or_with_what_came_after(store: Store) -> None:
    values = await grown(store, 3)
    await store.commit([delete(values), *grow(values, 3), delete(values), *grow(values, 2)])
    for oldest in (4, 5, 8, 9):
        await compact(store, values, oldest)
        await check(store, values, oldest)


async def test_a_deleted_document_is_compacted_to_its_tombstone(store: Store) -> None:
    values = await grown(store, 3)
    await store.commit([delete(values)])
    await compact(store, values, 4)
    await check(store, values, 4)
    await store.commit(grow(values, 2))
    await check(store, values, 4)


async def test_labelled_revisions_stay_readable_and_nothing_else_does(store: Store) -> None:
    values = await grown(store, 30)
    for name, n in (("a", 3), ("b", 12), ("also-b", 12), ("c", 25)):
        assert await label(store, values, name, n) == Labelled(None)
    for oldest in (10, 20, 28):
        await compact(store, values, oldest)
        await check(store, values, oldest)
    assert await store.drop_label(HERE, "b")
    await check(store, values, 28)
    assert await value_at(store, 12) == values[12]
    assert await store.drop_label(HERE, "also-b")
    assert await value_at(store, 12) is None
    await check(store, values, 28)
    assert await label(store, values, "a", 29) == Labelled(LabelRecord("a", 3, "ann", NOW))
    assert await value_at(store, 3) is None
    await check(store, values, 28)


async def test_labels_go_with_their_revisions_where_they_are_not_spared(store: Store) -> None:
    values = await grown(store, 30)
    for name, n in (("a", 3), ("b", 12), ("c", 25)):
        await label(store, values, name, n)
    await compact(store, values, 10)
    extent = await store.extent(HERE)
    assert extent is not None
    assert extent.labelled
    await compact(store, values, 20, spare_labelled=False)
    assert [each.name for each in await store.labels(HERE)] == ["c"]
    await check(store, values, 20)


async def test_a_label_names_only_what_is_there(store: Store) -> None:
    values = await grown(store, 9)
    await compact(store, values, 5)
    assert await label(store, values, "a", 4) == NoRevision()
    assert await store.put_label(HERE, LabelRecord("a", 10, "ann", NOW), None, 9) == NoRevision()
    assert await store.put_label(THERE, LabelRecord("a", 1, "ann", NOW), None, 9) == NoRevision()
    assert not await store.drop_label(HERE, "a")
    assert await label(store, values, "a", 5) == Labelled(None)
    assert await store.label(HERE, "a") == LabelRecord("a", 5, "ann", NOW)
    assert await store.label(THERE, "a") is None


async def test_a_document_has_so_many_labels_and_they_may_move(store: Store) -> None:
    values = await grown(store, 9)
    assert [await label(store, values, name, 1, 2) for name in "abc"] == [
        Labelled(None),
        Labelled(None),
        NoRoom(),
    ]
    before = LabelRecord("a", 1, "ann", NOW)
    assert await label(store, values, "a", 1, 2) == Labelled(before)
    assert await label(store, values, "a", 2, 2) == Labelled(before)
    assert [(each.name, each.n) for each in await store.labels(HERE)] == [("a", 2), ("b", 1)]


async def test_a_deleted_revision_can_be_labelled(store: Store) -> None:
    values = await grown(store, 3)
    await store.commit([delete(values), *grow(values, 3)])
    await label(store, values, "gone", 4)
    await compact(store, values, 7)
    await check(store, values, 7)


async def test_the_extent_says_since_when_history_is_kept(store: Store) -> None:
    values = await grown(store, 9)
    await compact(store, values, 5)
    extents = await store.extents("acme", "orders", after="", limit=9)
    assert [(each.id, each.head, each.oldest, each.since) for each in extents] == [("1", 9, 5, NOW + 4)]
    assert await store.extents("acme", "orders", after="1", limit=9) == []


async def follow(store: Store, seen: dict[str, Json | Absent], above: int, limit: int) -> int:
    """Take a page of the feed into what a reader has, as the service tells it; give its new place."""
    for change in await store.changes("acme", above=above, limit=limit):
        value = seen.get(change.id, ABSENT)
        patch = json.loads(change.revision.patch)
        if not change.compacted:
            value = apply(value, patch)
        elif change.value is not None:
            value = json.loads(change.value)
        else:
            value = ABSENT if change.revision.kind == "delete" else apply(ABSENT, patch)
        seen[change.id] = value
        above = change.revision.seq
    return above


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_in_whatever_order_history_is_right(store: Store, seed: int) -> None:
    """Two documents grow, are deleted, labelled and compacted; readers of the feed begin at any time and
    read on from whatever place they are at."""
    random = Random(seed)
    addresses = [HERE, THERE]
    histories: dict[Address, Values] = {address: [ABSENT] for address in addresses}
    readers: list[tuple[dict[str, Json | Absent], int]] = []
    for turn in range(60):
        address = random.choice(addresses)
        values = histories[address]
        extent = await store.extent(address)
        act = random.random()
        if extent is None or act < 0.3:
            await store.commit(grow(values, random.randrange(1, 6), address))
        elif act < 0.36 and values[-1] is not ABSENT:
            await store.commit([delete(values, address)])
        elif act < 0.5:
            await snapshot(store, values, random.randrange(extent.oldest, extent.head + 1), address)
        elif act < 0.62:
            n = random.randrange(1, extent.head + 1)
            record = LabelRecord(random.choice("abc"), n, "ann", NOW + turn)
            await store.put_label(address, record, body(values[n]), 9)
        elif act < 0.68:
            await store.drop_label(address, random.choice("abc"))
        elif act < 0.84:
            await compact(
                store,
                values,
                random.randrange(extent.oldest, extent.head + 1),
                rows_max=random.choice([3, 99]),
                spare_labelled=random.random() < 0.7,
                address=address,
            )
        else:
            if not readers or random.random() < 0.4:
                readers.append(({}, 0))
            place = random.randrange(len(readers))
            seen, above = readers[place]
            readers[place] = seen, await follow(store, seen, above, random.randrange(1, 9))
        for each in addresses:
            if (there := await store.extent(each)) is not None:
                await check(store, histories[each], there.oldest, each)
    heads = {each.id: histories[each][-1] for each in addresses if len(histories[each]) > 1}
    for seen, above in [*readers, ({}, 0)]:
        await follow(store, seen, above, 10_000)
        assert seen == heads
