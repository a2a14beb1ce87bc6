"""Every public call of the client as a program writes it: never run, but checked by `mypy --strict`."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, assert_type

from aiohttp import ClientSession

from plait_client import (
    ABSENT,
    AsyncPlait,
    BaseUnknown,
    Batch,
    BatchConflict,
    Change,
    Choice,
    Counters,
    DeadlineExceeded,
    Deleted,
    Document,
    Edit,
    Entry,
    Facet,
    Field,
    Forbidden,
    InvalidPatch,
    Label,
    Leaf,
    Lease,
    Lock,
    Locked,
    MergeConflict,
    NotFound,
    Operation,
    Outbox,
    OutboxFull,
    Plait,
    PlaitError,
    PreconditionFailed,
    RateLimited,
    Resolver,
    Retry,
    Retrying,
    RetryQuotaSpent,
    Revision,
    Saved,
    Server,
    Settled,
    StaleFence,
    TestFailed,
    TransportError,
    UnsavedEdit,
    Value,
    Version,
    add,
    both,
    by_pointer,
    sync,
    theirs,
    yours,
)
from plait_client.live.live import State
from plait_client.saving.saver import SyncState
from plait_merge import Absent, Json


def on_retry(retrying: Retrying) -> None:
    assert_type(retrying.error, PlaitError)
    assert_type(retrying.wait_s, float)


def on_settled(settled: Settled) -> None:
    assert_type(settled.document, str)
    assert_type(settled.revision, int | None)


def on_conflict(conflict: PlaitError) -> None:
    assert_type(conflict.request_id, str | None)
    assert_type(conflict.attempts, int)
    assert_type(conflict.outcome_unknown, bool)
    assert_type(conflict.code, str)


async def clients(session: ClientSession) -> None:
    retry = Retry(attempts=4, deadline_s=30, attempt_timeout_s=10, cap_s=8.0)
    outbox = await Outbox.open("edits.db", bytes_max=1_000_000, edits_max=100, age_max_s=86_400.0)
    plait = AsyncPlait(
        "http://localhost:8080",
        token="secret",
        author="ann",
        retry=retry,
        outbox=outbox,
        on_retry=on_retry,
        on_conflict=on_conflict,
        on_settled=on_settled,
    )
    assert_type(await plait.open(), AsyncPlait)
    await plait.close()
    async with AsyncPlait("http://localhost:8080", session=session, outbox="edits.db") as plait:
        assert_type(await plait.doc("orders/7", default={"n": 1}, live=True), Document)
        assert_type(await plait.create("orders", {"n": 1}), Document)
        assert_type(plait.documents("orders"), AsyncIterator[Entry])
        assert_type(await plait.server(), Server)
        assert_type(plait.live_state, State)
        assert_type(plait.counters, Counters)
        assert_type(plait.counters.saved, int)
        assert_type(plait.outbox.failed(), tuple[UnsavedEdit, ...])
        await plait.outbox.discard("key")
        plait.retry_now()


async def documents(order: Document) -> None:
    assert_type(order.name, str)
    value: Json | Absent = order.value
    assert value is not None
    assert_type(order.exists, bool)
    assert_type(order.revision, int)
    assert_type(order.etag, str)
    assert_type(order.author, str | None)
    assert_type(order.updated_at, str | None)
    assert_type(order.last_save, Saved | None)
    assert_type(order.pending, tuple[Edit, ...])
    assert_type(order.sync_state, SyncState)
    assert_type(order.trouble, PlaitError | None)
    assert_type(order.unsaved, tuple[UnsavedEdit, ...])
    if order.value is ABSENT:
        await order.put({"n": 1}, if_match="missing")
    await order.saved(timeout_s=5)
    await order.refresh()


async def edits(order: Document) -> None:
    async with order.edit(message="more", on_conflict=yours, wait=False) as draft:
        assert_type(draft, Any)
        draft["n"] = 2
    patch = [{"op": "replace", "path": "/n", "value": 3}]
    assert_type(await order.patch(patch, base=3, message="m", on_conflict=both, wait=True), Saved)
    assert_type(await order.set("/tags/-", "x", message="m", on_conflict=theirs, wait=False), Saved)
    assert_type(await order.remove("/tags/0", message="m", on_conflict=None, wait=True), Saved)
    assert_type(await order.put({}, if_match=3, message="m", on_conflict=yours), Saved)
    assert_type(await order.delete(if_match='"3"'), Saved)
    assert_type(await order.update(lambda draft: draft.update(n=1), message="m", deadline_s=1.0), Saved)
    assert_type(await order.undo(on_conflict=yours), Saved | None)
    assert_type(await order.redo(), Saved | None)


async def readings(order: Document) -> None:
    async for change in order.changes(since=order.revision):
        assert_type(change, Change)
        assert_type(change.author, str | None)
        assert_type(change.reset, str | None)
        assert_type(change.value, Json | Absent)
    async for revision in order.history("/title"):
        assert_type(revision, Revision)
        assert_type(revision.key, str | None)

    assert_type(order.history("/title", labelled=True), AsyncIterator[Revision])
    assert_type(await order.at("2026-11-20T12:00:00Z"), Version)
    assert_type(await order.at(datetime.now(UTC)), Version)
    version = await order.at(label="sent")
    assert_type((version.revision, version.author), tuple[int, str | None])
    assert_type(await order.at(revision=3), Version)
    assert_type(await order.blame("/lines", revision=3), list[Leaf])
    patch: list[dict[str, Any]] = await order.diff(3, 5)
    assert patch
    await order.label("sent", 3)
    assert_type(await order.labels(), list[Label])
    await order.unlabel("sent")
    assert_type(await order.revert(revision=3, message="m", on_conflict=yours), Saved)
    assert_type(await order.revert(revisions=(3, 5)), Saved)
    assert_type(await order.restore(revision=3, message="m", on_conflict=yours), Saved)


async def leases(order: Document) -> None:
    try:
        async with order.lock("/lines/3", ttl_s=30, wait_s=5) as lease:
            assert_type(lease, Lease)
            assert_type(lease.lost, bool)
            assert_type(lease.fence, int)
            assert_type(lease.expires, str)
    except Locked as error:
        assert_type((error.holder, error.pointer), tuple[str | None, str | None])
        assert_type(error.expires, str | None)
    except StaleFence:
        assert_type(await order.locks(), list[Lock])


async def batches(plait: AsyncPlait, order: Document) -> None:
    try:
        async with plait.batch(message="m", on_conflict=yours) as batch:
            assert_type(batch, Batch)
            assert_type(await batch.edit(order), Any)
            await batch.patch("stock/9", [{"op": "remove", "path": "/a"}])
            await batch.inc("stock/10", "/n", -2.5)
            await batch.create("parcels/1", {})
            await batch.delete("carts/1")
        assert_type(batch.saved, dict[str, Saved])
    except BatchConflict as conflict:
        assert_type(conflict.conflicts, tuple[MergeConflict, ...])
        for field in conflict:
            assert_type(field, Field)
        conflict.choose_all("yours")
        assert_type(await conflict.save("m"), dict[str, Saved])


async def handed_in(plait: AsyncPlait, order: Document) -> None:
    operation = await order.submit(lambda draft: draft.update(n=1), message="m")
    assert_type(operation, Operation)
    assert_type(operation.finished, str | None)
    assert_type(await operation.result(timeout_s=5, on_conflict=yours), Saved)
    assert_type(await order.submit([{"op": "remove", "path": "/a"}]), Operation)
    assert_type(await plait.submit("orders/7", [{"op": "remove", "path": "/a"}], base=3), Operation)
    again = await plait.operation(operation.id)
    await again.refresh()


async def ask(field: Field) -> Choice | None:
    assert_type(field.base, Facet)
    assert_type(field.theirs.author, str | None)
    assert_type(field.pointer, str)
    assert_type(field.decided, bool)
    return Value(1) if field.kind == "edit_edit" else "theirs"


async def conflicts(order: Document) -> None:
    rules: Resolver = by_pointer({"/counters/**": add, "/notes": both, "**": ask})
    try:
        await order.set("/n", 1, on_conflict=rules)
    except MergeConflict as conflict:
        for field in conflict:
            field.choose("yours")
            field.choose(value={"n": 1})
            field.undecide()
        conflict.choose_all("theirs")
        assert_type(conflict.undecided, tuple[Field, ...])
        assert_type(conflict.base_revision, int | None)
        assert_type(await conflict.save("settled"), Saved)
    except (TransportError, DeadlineExceeded, RateLimited, RetryQuotaSpent, Forbidden) as error:
        assert_type(error.outcome_unknown, bool)
    except (NotFound, Deleted, InvalidPatch, TestFailed, PreconditionFailed, BaseUnknown, Locked, OutboxFull):
        raise


def without_a_loop() -> None:
    with Plait("http://localhost:8080", author="ann", outbox="edits.db") as plait:
        order = plait.doc("orders/7", default={})
        with order.edit(message="more") as draft:
            draft["n"] = 1
        assert_type(order.set("/n", 2), Saved)
        assert_type(order.update(lambda draft: draft.update(n=1)), Saved)
        assert_type(order.changes(), Iterator[Change])
        assert_type(order.undo(), Saved | None)
        order.saved(timeout_s=1.0)
        with order.lock("/lines", wait_s=5) as lease:
            assert_type(lease, Lease)
        with plait.batch() as batch:
            assert_type(batch, sync.Batch)
            batch.inc(order, "/n")
            batch.edit("stock/9")
        assert_type(order.submit(lambda draft: draft.update(n=1)).result(5), Saved)
        assert_type(plait.operation("id"), sync.Operation)
        assert_type(order.blame(), list[Leaf])
        assert_type(order.history(labelled=True), Iterator[Revision])
        assert_type(order.name, str)
