"""Stores that do not do what a store has to: what the invariants of the simulation are there to catch."""

from collections.abc import Sequence

from msgspec.structs import replace

from plait_server.store import (
    Address,
    CollectionRecord,
    Commit,
    CommitResult,
    Committed,
    HeldLock,
    KeyRecord,
    LockRecord,
)
from plait_server.wire import decode, encode
from simulation.memory_store import Disk, MemoryStore


class Forgetting(MemoryStore):
    """What was committed last is gone when the disk is opened again: nobody waited for it to be durable."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        if disk.feed:
            address, n = disk.feed.pop(max(disk.feed))
            kept = disk.documents[address]
            del kept.revisions[n]
            kept.head = n - 1
            if not kept.revisions:
                del disk.documents[address]


class WithoutKeys(MemoryStore):
    """Idempotency keys are not kept with the edits."""

    async def commit(self, batch: Sequence[Commit]) -> list[CommitResult]:
        return await super().commit([replace(commit, key=None) for commit in batch])


class WithoutUnits(MemoryStore):
    """What has to hold together is written one by one."""

    async def commit(self, batch: Sequence[Commit]) -> list[CommitResult]:
        return await super().commit([replace(commit, unit=0) for commit in batch])


class Halving(MemoryStore):
    """Of a batch only the first half is written; all of it is said to be."""

    async def commit(self, batch: Sequence[Commit]) -> list[CommitResult]:
        half = (len(batch) + 1) // 2
        results = await super().commit(batch[:half])
        return [*results, *[Committed(0) for _ in batch[half:]]]


class WithoutLeases(MemoryStore):
    """Leases are gone after a restart."""

    async def locks(self) -> list[LockRecord]:
        return []


class Refencing(MemoryStore):
    """Fencing numbers begin anew."""

    async def put_lock(self, record: LockRecord, gone: Sequence[HeldLock] = ()) -> int:
        self.disk.fence = 0
        return await super().put_lock(record, gone)


class Rewriting(MemoryStore):
    """A later revision changes an earlier one."""

    async def commit(self, batch: Sequence[Commit]) -> list[CommitResult]:
        results = await super().commit(batch)
        for kept in self.disk.documents.values():
            if kept.head > 3 and 2 in kept.revisions:
                kept.revisions[2] = replace(kept.revisions[2], patch=b"[]")
        return results


class Unsnapped(MemoryStore):
    """Snapshots are of another revision than they say."""

    async def snapshot(self, address: Address, n: int, value: bytes) -> None:
        await super().snapshot(address, max(1, n - 1), value)


class Misremembering(MemoryStore):
    """The answer under a key is somebody else's."""

    async def key(self, tenant: str, caller: str, key: str, now: int) -> KeyRecord | None:
        record = await super().key(tenant, caller, key, now)
        others = [each for each in self.disk.keys.values() if each.caller == caller]
        return record if record is None else replace(record, answer=others[0].answer)


class Impatient(MemoryStore):
    """What is kept for a time goes before that is over."""

    async def prune(self, now: int, conflicts_max: int) -> None:
        await super().prune(now + 86_400_000 * 8, conflicts_max)
        self.disk.time = now


class Timeless(MemoryStore):
    """How late it was is not kept: each process goes by the clock on the wall at its start."""

    @property
    def time(self) -> int:
        return 0


class Lenient(MemoryStore):
    """The settings of a collection lose their schema in a restart."""

    async def collections(self) -> list[CollectionRecord]:
        return [
            replace(record, body=encode({**decode(record.body), "schema": None}))
            for record in await super().collections()
        ]


LYING = (
    Forgetting,
    WithoutKeys,
    WithoutUnits,
    Halving,
    WithoutLeases,
    Refencing,
    Rewriting,
    Unsnapped,
    Misremembering,
    Impatient,
    Timeless,
    Lenient,
)
