"""Documents in memory: opened once, closed when nobody needs them, never beyond their bounds."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from plait_server.service.document import OpenDocument
from plait_server.service.documents import Documents
from plait_server.service.limits import ServiceLimits
from plait_server.service.revision import Revision, read_revision, replay
from plait_server.store import Address, Commit, RevisionRecord, Store, StoredDocument
from plait_server.store.sqlite import SqliteStore


def address(id: str) -> Address:
    return Address("acme", "orders", id)


def record(n: int) -> RevisionRecord:
    patch = b'[{"op":"add","path":"","value":{"n":%d}}]' % n
    return RevisionRecord(
        n, "edit" if n > 1 else "create", patch, None, None, "ann", "ann", None, n, None, None
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await SqliteStore.open(tmp_path / "plait.db")
    await store.commit([Commit(address(id), 0, 1, record(1)) for id in "abcdef"])
    yield store
    await store.close()


async def test_a_document_is_loaded_once_however_many_ask(store: Store) -> None:
    documents = Documents(store, ServiceLimits(), {})
    opened = await asyncio.gather(*(documents.open(address("a")) for _ in range(20)))
    assert len(set(map(id, opened))) == 1
    assert opened[0].head.value == {"n": 1}


async def test_a_document_that_never_was_is_kept_only_while_used(store: Store) -> None:
    documents = Documents(store, ServiceLimits(), {})
    document = await documents.open(address("none"))
    assert (document.head.n, document.head.live, len(documents)) == (0, False, 1)
    documents.release(document)
    await asyncio.sleep(0)
    assert len(documents) == 0


async def test_many_who_ask_for_what_never_was_are_all_told_so(store: Store) -> None:
    """Whoever comes just as it is found not to be there must not wait for that again, for ever."""
    documents = Documents(store, ServiceLimits(), {})

    async def asks(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        document = await documents.open(address("none"))
        documents.release(document)
        return document.head.n

    assert set(await asyncio.gather(*(asks(turns % 40) for turns in range(400)))) == {0}
    await asyncio.sleep(0)
    assert len(documents) == 0


async def test_idle_documents_are_closed(store: Store) -> None:
    documents = Documents(store, ServiceLimits(), {})
    for id in "abc":
        await documents.open(address(id))
    for _ in range(3):
        documents.sweep(idle_ticks=3)
        documents.get(address("b"))
    documents.sweep(idle_ticks=3)
    assert documents.get(address("a")) is None
    assert documents.get(address("b")) is not None
    assert len(documents) == 1


async def test_the_least_recently_used_make_room_unless_they_are_busy(store: Store) -> None:
    documents = Documents(store, ServiceLimits(open_documents_max=3), {})
    busy = await documents.open(address("a"))
    busy.users = 1
    for id in "bcd":
        await documents.open(address(id))
    assert documents.get(address("a")) is busy
    assert documents.get(address("b")) is None
    assert len(documents) == 3


async def test_documents_that_weigh_too_much_are_closed(store: Store) -> None:
    documents = Documents(store, ServiceLimits(open_bytes_max=4_000), {})
    for id in "abcdef":
        await documents.open(address(id))
    documents.sweep(idle_ticks=100)
    assert 1 <= len(documents) < 4
    assert documents.get(address("f")) is not None


def opened(revisions: int) -> OpenDocument:
    stored = StoredDocument(revisions, False, 1, 1, None, [record(n) for n in range(1, revisions + 1)])
    return OpenDocument(address("a"), replay(stored), 10, 10)


async def test_what_is_kept_of_the_past_is_bounded_by_number_and_by_weight() -> None:
    for limits in (ServiceLimits(recent_revisions_max=50), ServiceLimits(recent_bytes_max=20_000)):
        document = opened(100)
        document.trim(limits)
        assert document.recent_bytes <= limits.recent_bytes_max
        assert 100 - document.floor < limits.recent_revisions_max
        assert document.floor > 1
        assert document.at(document.floor) is not None
        assert document.at(document.floor - 1) is None
        assert [each.n for each in document.since(document.floor, 100)] == list(
            range(document.floor + 1, 101)
        )


async def test_operations_are_never_more_than_their_bound() -> None:
    """Whatever was loaded, made or read back; and it is a close one where revisions are alike."""
    document, limits = opened(10), ServiceLimits()
    document.append(several(11, 3), 10)
    document.append(several(12, 2), 10)
    assert document.operations_bound(11) == 3
    document.forget(9)
    older = [several(n, 5 if n == 4 else 1) for n in range(2, document.floor + 1)]
    document.prepend(several(1, 1), older, limits)
    for n in range(1, 13):
        since = document.since(n, document.tip.n)
        assert sum(len(each.operations) for each in since) <= document.operations_bound(n)
    assert document.operations_bound(12) == 0
    assert document.operations_bound(1) == 11 * 5


def several(n: int, operations: int) -> Revision:
    """A revision of so many operations."""
    made = read_revision(record(n), {"n": n})
    return msgspec.structs.replace(made, operations=made.operations * operations)


async def test_what_was_forgotten_counts_as_touched() -> None:
    """Or a late edit whose base is forgotten would silently overwrite what came since."""
    document = opened(100)
    operations = document.head.operations
    document.index(None)
    document.trim(ServiceLimits(recent_revisions_max=50))
    assert document.touched_since(operations, 100) is False
    for n in (1, document.floor - 1, document.floor, 99):
        assert document.touched_since(operations, n)
