"""Edits that were accepted to be decided later, as every store keeps them."""

from typing import Any

from msgspec.structs import replace

from plait_server.store import (
    Address,
    AlreadyDone,
    Committed,
    KeyTaken,
    OperationDone,
    OperationRecord,
    Store,
)
from server.store.conftest import OpenStore
from server.store.records import HERE, NOW, THERE, edit, keeping, key


def operation(id: str, address: Address = HERE, **rest: Any) -> OperationRecord:
    return OperationRecord(address, id, "ann-token", "ann", b'{"n":1}', NOW, **rest)


def done(id: str, answer: bytes = b"{}", expires: int = NOW + 1_000) -> OperationDone:
    return OperationDone(id, answer, NOW + 1, expires)


async def accept(store: Store, *operations: OperationRecord, now: int = NOW) -> list[OperationRecord]:
    accepted = await store.accept_operations(operations, now)
    return [each for each in accepted if isinstance(each, OperationRecord)]


async def waiting(store: Store, above: int = 0, limit: int = 100, bytes_max: int = 10**6) -> list[str]:
    found = await store.waiting_operations(above=above, limit=limit, bytes_max=bytes_max)
    return [each.id for each in found]


async def test_accepted_edits_wait_in_the_order_they_were_accepted_in(reopen: OpenStore) -> None:
    store = await reopen()
    first = await accept(store, operation("b"), operation("a", THERE))
    store = await reopen()
    second = await accept(store, operation("c"))
    places = [each.place for each in (*first, *second)]
    assert places == sorted(set(places))
    assert [operation("b", place=places[0]), operation("a", THERE, place=places[1])] == first
    assert await store.operation("acme", "a") == first[1]
    assert await store.operation("other", "a") is None
    assert await waiting(store) == ["b", "a", "c"]
    assert await waiting(store, above=places[0], limit=1) == ["a"]
    assert await waiting(store, bytes_max=0) == ["b"]


async def test_an_edit_is_accepted_once_for_each_id_of_a_tenant(store: Store) -> None:
    [first] = await accept(store, operation("a"))
    other = operation("a", Address("other", "orders", "1"))
    same, elsewhere = await accept(store, replace(operation("a"), body=b"{}"), other)
    assert first == same
    assert elsewhere.place > first.place
    await store.finish_operation("acme", done("a"))
    [late] = await accept(store, operation("a"), now=NOW + 999)
    assert (late.place, late.answer) == (first.place, b"{}")
    [again] = await accept(store, operation("a"), now=NOW + 1_000)
    assert (again.place > elsewhere.place, again.done) == (True, None)


async def test_a_commit_finishes_an_accepted_edit_once(store: Store) -> None:
    """Whichever way it came first; what is finished drops what was submitted and keeps its answer."""
    await accept(store, operation("a"), operation("b"), operation("c"))
    results = await store.commit(
        [edit(0, operation=done("a", b"1")), edit(1, operation=done("a", b"2")), edit(0, THERE)]
    )
    assert results == [Committed(1), AlreadyDone(b"1"), Committed(2)]
    assert len(await store.revisions(HERE, above=0, upto=9, limit=9)) == 1
    assert await store.commit([keeping(1, operation=done("b", b"3"))]) == [Committed(0)]
    await store.finish_operation("acme", done("b", b"4"))
    await store.finish_operation("acme", done("c", b"5"))
    assert await store.commit([keeping(1, operation=done("c", b"6"))]) == [AlreadyDone(b"5")]
    finished = [await store.operation("acme", id) for id in "abc"]
    assert [each and (each.body, each.done, each.answer, each.expires) for each in finished] == [
        (b"", NOW + 1, answer, NOW + 1_000) for answer in (b"1", b"3", b"5")
    ]
    assert await waiting(store) == []


async def test_an_edit_that_was_never_accepted_is_not_finished(store: Store) -> None:
    assert await store.commit([edit(0, operation=done("a"))]) == [AlreadyDone(b"")]
    assert await store.load(HERE) is None


async def test_finished_edits_are_forgotten_when_they_expire_and_waiting_ones_never(store: Store) -> None:
    await accept(store, operation("a"), operation("b"), operation("c"))
    await store.finish_operation("acme", done("a"))
    await store.finish_operation("acme", done("b", expires=NOW + 2_000))
    await store.prune(NOW + 1_000, 100)
    assert [await store.operation("acme", id) is not None for id in "abc"] == [False, True, True]


async def test_an_edit_whose_key_has_an_answer_is_not_accepted(store: Store) -> None:
    await store.commit([edit(0, key=key("k", b"1")), edit(1, key=key("old", expires=NOW))])
    keyed = [replace(operation(name), key=name) for name in ("k", "old", "new")]
    stranger = replace(operation("b", Address("other", "orders", "1")), key="k")
    taken, *accepted = await store.accept_operations([*keyed, stranger], NOW)
    assert isinstance(taken, KeyTaken)
    assert taken.record.answer == b"1"
    assert await waiting(store) == ["old", "new", "b"]
    assert [replace(each, place=0) for each in accepted] == [
        replace(each, key=None) for each in (*keyed[1:], stranger)
    ]
