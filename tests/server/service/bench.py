"""What the tests of the service share: a store that can be held back and broken, a service over it."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest

from plait_server.errors import PlaitServerError, StoreUnavailable
from plait_server.service import Answer, Caller, DocumentKey, Edit, Service, ServiceLimits
from plait_server.store import Commit, CommitResult, HeldLock, KeyTaken, LockRecord, OperationRecord, Store
from plait_server.store.sqlite import SqliteStore
from plait_server.wire import decode, encode

ANN = Caller("acme", "ann-token", "ann")
BOB = Caller("acme", "bob-token", "bob")
Result = TypeVar("Result")
ORDER = DocumentKey("orders", "1")


class Clock:
    """Seconds since 1970 that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Passing:
    """Seconds that go forward by themselves, and further when told to."""

    def __init__(self) -> None:
        self.skipped_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.skipped_s


class TroubledStore:
    """A store whose commits can be held back and made to fail; everything else is the real one's.

    While `gate` is closed commits wait before they reach the disk. `failures` are raised by the next
    commits, one each, before anything is written, and `losses` after everything is; the same for edits
    that are accepted to be decided later. While it is `full` no lease can be written.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: list[PlaitServerError] = []
        self.losses: list[PlaitServerError] = []
        self.acceptance_failures: list[PlaitServerError] = []
        self.acceptance_losses: list[PlaitServerError] = []
        self.batches: list[int] = []
        self.commits: list[Commit] = []
        self.acceptances: list[int] = []
        self.full = False

    async def commit(self, batch: Sequence[Commit]) -> list[CommitResult]:
        self.batches.append(len(batch))
        self.commits += batch
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        results = await self._store.commit(batch)
        if self.losses:
            raise self.losses.pop(0)
        return results

    async def accept_operations(
        self, operations: Sequence[OperationRecord], now: int
    ) -> list[OperationRecord | KeyTaken]:
        self.acceptances.append(len(operations))
        if self.acceptance_failures:
            raise self.acceptance_failures.pop(0)
        accepted = await self._store.accept_operations(operations, now)
        if self.acceptance_losses:
            raise self.acceptance_losses.pop(0)
        return accepted

    async def put_lock(self, record: LockRecord, gone: Sequence[HeldLock] = ()) -> int:
        self._refuse_when_full()
        return await self._store.put_lock(record, gone)

    async def renew_lock(self, record: LockRecord) -> bool:
        self._refuse_when_full()
        return await self._store.renew_lock(record)

    async def drop_locks(self, locks: Sequence[HeldLock]) -> None:
        self._refuse_when_full()
        await self._store.drop_locks(locks)

    def _refuse_when_full(self) -> None:
        if self.full:
            raise StoreUnavailable("The disk is full.")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Bench:
    """A service on a database file, which can be closed and opened again."""

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        self.path = path
        self.clock = Clock()
        self.passing = Passing()
        self.store: TroubledStore
        self.service: Service
        self.committed: list[tuple[str, int]] = []
        self._stack = stack
        self._counter = itertools.count(1)

    def let_pass(self, seconds: float) -> None:
        """Let time pass, on the wall too."""
        self.clock.now += seconds
        self.passing.skipped_s += seconds

    async def open(
        self, limits: ServiceLimits | None = None, monotonic: Callable[[], float] | None = None
    ) -> Service:
        self.store = TroubledStore(await SqliteStore.open(self.path))
        self.service = await Service.open(
            self.store,
            limits=limits or ServiceLimits(),
            clock=self.clock,
            random_bytes=lambda count: next(self._counter).to_bytes(count, "big"),
            on_committed=lambda each: self.committed.append((each.address.id, each.revision.n)),
            monotonic=monotonic or self.passing,
        )
        self._stack.push_async_callback(self.service.close)
        return self.service

    async def reopen(
        self, limits: ServiceLimits | None = None, monotonic: Callable[[], float] | None = None
    ) -> Service:
        await self.service.close()
        return await self.open(limits, monotonic)


async def put(service: Service, value: object, key: DocumentKey = ORDER) -> Answer:
    """Create a document."""
    return await service.edit(ANN, key, Edit(kind="put", content=value, if_none_match=True))


def replacing(pointer: str, value: object, **rest: Any) -> Edit:
    """An edit of one place."""
    return Edit(kind="patch", content=[{"op": "replace", "path": pointer, "value": value}], **rest)


def begin(coroutine: Coroutine[None, None, Result]) -> asyncio.Task[Result]:
    """Let something begin, without waiting for it."""
    return asyncio.create_task(coroutine)


async def turns(count: int = 50) -> None:
    """Let everything that can go on without the disk go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def reverted(
    service: Service, caller: Caller, document: DocumentKey, making: Awaitable[Edit | Answer]
) -> Answer:
    """Make the edit that history gives to take something back; or give the answer to it, made before."""
    made = await making
    return made if isinstance(made, Answer) else await service.edit(caller, document, made)


async def decided(awaitable: Awaitable[Answer]) -> str:
    """Give the outcome of an edit, or the code of what it was refused with."""
    try:
        return (await awaitable).outcome
    except PlaitServerError as error:
        return error.code


async def refusal(awaitable: Awaitable[object]) -> PlaitServerError:
    """Give the refusal that something ends in."""
    with pytest.raises(PlaitServerError) as caught:
        await awaitable
    return caught.value


def as_json(members: Mapping[str, object]) -> dict[str, Any]:
    """Give the members of a refusal as a caller reads them."""
    read: dict[str, Any] = decode(encode(members))
    return read


def conflicts_of(error: PlaitServerError) -> list[dict[str, Any]]:
    """Give the conflicts a refusal shows."""
    return list(as_json(error.members)["conflicts"])
