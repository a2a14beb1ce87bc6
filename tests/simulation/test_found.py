"""What the simulation found in the real code, each as the shortest story there is."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from random import Random
from typing import Any

import pytest

from plait_merge import Json
from plait_server import errors
from plait_server.service import (
    Caller,
    CollectionSettings,
    DocumentKey,
    Edit,
    IdempotencyKey,
    Retention,
    Service,
    ServiceLimits,
)
from plait_server.service.frame import Frame
from plait_server.service.hub import Follower
from plait_server.service.session import Publication
from plait_server.store import (
    Address,
    Commit,
    CommitResult,
    HeldLock,
    KeyTaken,
    LockRecord,
    OperationRecord,
)
from plait_server.wire import decode, encode
from simulation.loop import SimulatedLoop
from simulation.memory_store import Disk, MemoryStore

ANN = Caller("acme", "ann-token", "ann")
BOB = Caller("acme", "bob-token", "bob")
HERE = DocumentKey("orders", "1")
ADDRESS = Address("acme", "orders", "1")


def simulated(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test where time is a number."""

    @wraps(test)
    def run() -> None:
        loop = SimulatedLoop(Random(0))
        try:
            loop.run_until_complete(test())
        finally:
            loop.close()

    del run.__wrapped__  # pytest would await it
    return run


class Unsure(MemoryStore):
    """The next commit is durable, and the store cannot say so."""

    is_next = False

    async def commit(self, batch: Sequence[Commit]) -> list[CommitResult]:
        results = await super().commit(batch)
        if self.is_next:
            self.is_next = False
            raise errors.OutcomeUnknown("The commit failed.")
        return results


class Heard(Follower):
    """Somebody who follows, and what they were told."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def published(self, publication: Publication) -> None:
        self.told.append(publication.revision.n)

    def overtaken(self, document: DocumentKey, n: int) -> None:
        self.told.append(n)

    def present(self, document: str, session: str, frame: Frame) -> None: ...

    def tick(self, now: float) -> None: ...

    async def go_away(self, reconnect_ms: tuple[int, int]) -> None: ...


def put(value: Json, **rest: Any) -> Edit:
    return Edit(kind="put", content=value, **rest)


def patched(*operations: dict[str, Json], **rest: Any) -> Edit:
    return Edit(kind="patch", content=list(operations), **rest)


@simulated
async def test_who_follows_is_told_of_what_is_durable_though_the_store_did_not_say_so() -> None:
    """Nobody edits the document any more, so nothing else tells of it."""
    store = Unsure(Disk())
    service = await Service.open(store)
    await service.edit(ANN, HERE, put({}, if_none_match=True))
    heard = Heard()
    service.hub.follow(ADDRESS, heard)
    store.is_next = True
    with pytest.raises(errors.OutcomeUnknown):
        await service.edit(ANN, HERE, put({"a": 1}, base=1))
    with service.hub.listening("acme") as change:
        await change
    assert heard.told == [2]
    await service.close()


@simulated
async def test_a_deleted_document_is_shown_to_who_begins_to_follow_it_however_large_it_was() -> None:
    store = MemoryStore(Disk())
    service = await Service.open(store, limits=ServiceLimits(offload_bytes_min=0))
    await service.edit(ANN, HERE, put({"text": "x" * 100}, if_none_match=True))
    await service.edit(ANN, HERE, Edit(kind="delete", base=1))
    backlog = await service.backlog(ANN, HERE, None, None)
    assert backlog.frame is not None
    assert b'"deleted":true' in backlog.frame.text
    await service.close()


@simulated
async def test_settling_again_is_answered_as_before_though_what_it_was_about_is_compacted_away() -> None:
    service = await Service.open(MemoryStore(Disk()))
    await service.edit(ANN, HERE, put({"a": 0}, if_none_match=True))
    await service.edit(ANN, HERE, put({"a": 1}, base=1))
    with pytest.raises(errors.MergeConflict) as conflict:
        await service.edit(BOB, HERE, put({"a": 2}, base=1))
    id = str(conflict.value.members["conflict"])
    parts = decode(encode(conflict.value.members["conflicts"]))
    choices: dict[str, Json] = {part["id"]: "yours" for part in parts}
    key = IdempotencyKey("k", "f")
    first = await service.resolve(BOB, HERE, id, choices=choices, key=key)
    await service.put_collection(ANN, "orders", CollectionSettings(retention=Retention(1)), None)
    for n in range(3, 6):
        await service.edit(ANN, HERE, put({"a": n}, base=n))
    await service.compactor.sweep()
    again = await service.resolve(BOB, HERE, id, choices=choices, key=key)
    assert (again.revision, again.outcome, again.replayed) == (first.revision, first.outcome, True)
    with pytest.raises(errors.BaseUnavailable):
        await service.resolve(BOB, HERE, id, choices=choices, key=IdempotencyKey("other", "f"))
    await service.close()


class Meddling(MemoryStore):
    """While a lease is written the document is given up and opened anew."""

    service: Service

    async def put_lock(self, record: LockRecord, gone: Sequence[HeldLock] = ()) -> int:
        fence = await super().put_lock(record, gone)
        documents = self.service._documents
        if (opened := documents.peek(record.address)) is not None and fence == 1:
            opened.give_up()
            documents.close(opened)
            await documents.open(record.address)
        return fence


@simulated
async def test_no_lease_is_granted_on_a_document_that_was_given_up_meanwhile() -> None:
    """Whoever opened it anew would not know of the lease."""
    store = Meddling(Disk())
    service = store.service = await Service.open(store)
    await service.edit(ANN, HERE, put({}, if_none_match=True))
    with pytest.raises(errors.HotDocument):
        await service.locks.acquire(ANN, HERE, "", key=IdempotencyKey("k", "f"))
    assert await store.locks() == []
    lock = await service.locks.acquire(ANN, HERE, "", key=IdempotencyKey("k", "f"))
    with pytest.raises(errors.Locked):
        await service.edit(BOB, HERE, put({"a": 1}, base=1))
    await service.edit(ANN, HERE, put({"a": 1}, base=1, lock=lock.hold))
    await service.close()


class UnsureOfQueued(MemoryStore):
    """The next queued edit is durable, and the store cannot say so; then it can take none."""

    troubles: list[errors.PlaitServerError]

    async def accept_operations(
        self, operations: Sequence[OperationRecord], now: int
    ) -> list[OperationRecord | KeyTaken]:
        trouble = self.troubles.pop(0) if self.troubles else None
        if isinstance(trouble, errors.StoreUnavailable):
            raise trouble
        accepted = await super().accept_operations(operations, now)
        if trouble is not None:
            raise trouble
        return accepted


@simulated
async def test_a_queued_edit_that_is_there_is_decided_though_it_could_not_be_accepted_again() -> None:
    store = UnsureOfQueued(Disk())
    store.troubles = [errors.OutcomeUnknown("It failed."), errors.StoreUnavailable("The disk is full.")]
    service = await Service.open(store)
    await service.edit(ANN, HERE, put({}, if_none_match=True))
    edit = patched({"op": "add", "path": "/a", "value": 1}, key=IdempotencyKey("k", "f"))
    for refusal in (errors.OutcomeUnknown, errors.StoreUnavailable):
        with pytest.raises(refusal):
            await service.queue.submit(ANN, HERE, edit)
    await asyncio.sleep(10)
    assert (await service.read(ANN, HERE)).value == {"a": 1}
    await service.close()


@simulated
async def test_an_empty_patch_on_a_late_base_changes_nothing() -> None:
    """Also where what came since is not in memory any more."""
    service = await Service.open(MemoryStore(Disk()), limits=ServiceLimits(recent_revisions_max=1))
    await service.edit(ANN, HERE, put({"a": 0}, if_none_match=True))
    for n in range(1, 4):
        await service.edit(ANN, HERE, put({"a": n}, base=n))
    assert (await service.edit(BOB, HERE, patched(base=1))).outcome == "noop"
    await service.close()
