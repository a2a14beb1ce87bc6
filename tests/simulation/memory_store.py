"""A store in memory, behind the protocol of all stores: the disk of the simulation.

Plain dictionaries, and every function is one step of the event loop. What a `Disk` holds is durable: it is
there for the next store that is opened on it, whatever became of the one before.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeVar

from msgspec.structs import replace

from plait_server.store import (
    Address,
    AlreadyDone,
    AlreadySettled,
    ChangeRow,
    CollectionRecord,
    Commit,
    CommitResult,
    Committed,
    ConflictRecord,
    DocumentRow,
    Extent,
    FenceStale,
    Floor,
    HeadMoved,
    HeldLock,
    KeyRecord,
    KeyTaken,
    Labelled,
    LabelRecord,
    LabelResult,
    LockRecord,
    NoRevision,
    NoRoom,
    OperationDone,
    OperationRecord,
    RevisionRecord,
    SnapshotRecord,
    StoredDocument,
)

Record = TypeVar("Record", RevisionRecord, ConflictRecord, ChangeRow)
Undo = list[Callable[[], object]]


@dataclass(slots=True)
class Kept:
    """A document: its row, its revisions, and what belongs to them."""

    head: int = 0
    oldest: int = 1
    deleted: bool = False
    created: int = 0
    updated: int = 0
    revisions: dict[int, RevisionRecord] = field(default_factory=dict)
    snapshots: dict[int, bytes] = field(default_factory=dict)
    labels: dict[str, LabelRecord] = field(default_factory=dict)


@dataclass(slots=True)
class Disk:
    """Everything that is durable."""

    epoch: str = "epoch-1"
    time: int = 0
    seq: int = 0
    fence: int = 0
    documents: dict[Address, Kept] = field(default_factory=dict)
    feed: dict[int, tuple[Address, int]] = field(default_factory=dict)
    """Whose revision a seq is; in order."""
    keys: dict[tuple[str, str, str], KeyRecord] = field(default_factory=dict)
    conflicts: dict[Address, dict[str, ConflictRecord]] = field(default_factory=dict)
    collections: dict[tuple[str, str], list[CollectionRecord]] = field(default_factory=dict)
    locks: dict[tuple[Address, str], LockRecord] = field(default_factory=dict)
    place: int = 0
    operations: dict[tuple[str, str], OperationRecord] = field(default_factory=dict)


class MemoryStore:
    """A Store (see `plait_server.store.protocol`) over a Disk."""

    name = "memory"
    durability = "none: it is gone with the process"

    def __init__(
        self, disk: Disk, *, conflicts_open_max: int = 1_000, conflicts_open_bytes_max: int = 16_777_216
    ) -> None:
        self.disk = disk
        self._conflicts_open_max = conflicts_open_max
        self._conflicts_open_bytes_max = conflicts_open_bytes_max

    @property
    def epoch(self) -> str:
        return self.disk.epoch

    @property
    def time(self) -> int:
        return self.disk.time

    # Commits

    async def commit(self, batch: Sequence[Commit]) -> list[CommitResult]:
        refused: set[Address] = set()
        results: list[CommitResult] = []
        for unit in _units(batch):
            outcome = self._unit(unit, refused)
            for commit, result in zip(unit, outcome, strict=True):
                if commit.revision is not None and not isinstance(result, Committed):
                    refused.add(commit.address)
            results += outcome
        return results

    def _unit(self, unit: Sequence[Commit], refused: set[Address]) -> list[CommitResult]:
        """Write a unit, or nothing of it: then the one that does not hold says why."""
        if any(commit.address in refused for commit in unit):
            return [HeadMoved()] * len(unit)
        undo: Undo = []
        results: list[CommitResult] = []
        for commit in unit:
            result = self._refusal(commit)
            if result is not None:
                for step in reversed(undo):
                    step()
                after = len(unit) - len(results) - 1
                return [*[HeadMoved()] * len(results), result, *[HeadMoved()] * after]
            results.append(self._write(commit, undo))
        return results

    def _refusal(self, commit: Commit) -> CommitResult | None:
        """Say why a commit does not hold, if it does not."""
        address, disk = commit.address, self.disk
        if commit.operation is not None:
            queued = disk.operations.get((address.tenant, commit.operation.id))
            if queued is None or queued.done is not None:
                return AlreadyDone(b"" if queued is None else queued.answer or b"")
        if commit.key is not None:
            taken = disk.keys.get(_scope(address.tenant, commit.key))
            if taken is not None and taken.expires > commit.key.stored:
                return KeyTaken(taken)
        kept = disk.documents.get(address)
        if commit.head != (0 if kept is None else kept.head):
            return HeadMoved()
        for hold in commit.held:
            standing = disk.locks.get((address, hold.lock))
            if standing is None or standing.fence != hold.fence:
                return FenceStale(hold.lock)
        if commit.settles is not None:
            conflict = disk.conflicts.get(address, {}).get(commit.settles)
            if conflict is None or conflict.resolved is not None:
                return AlreadySettled(None if conflict is None else conflict.resolved_revision)
        return None

    def _write(self, commit: Commit, undo: Undo) -> Committed:
        """Write a commit that holds."""
        address, disk = commit.address, self.disk
        result = Committed(0)
        if commit.revision is not None:
            result = Committed(self._append(address, commit.revision, undo))
        if commit.key is not None:
            scope = _scope(address.tenant, commit.key)
            _put(disk.keys, scope, commit.key, undo)
        if commit.operation is not None:
            name = address.tenant, commit.operation.id
            _put(disk.operations, name, _finished(disk.operations[name], commit.operation), undo)
        conflicts = disk.conflicts.setdefault(address, {})
        if commit.settles is not None:
            n = commit.head + (commit.revision is not None)
            settled = replace(conflicts[commit.settles], resolved=commit.at, resolved_revision=n)
            _put(conflicts, settled.id, settled, undo)
        if commit.conflict is not None:
            before = dict(conflicts)
            undo.append(lambda: disk.conflicts.__setitem__(address, before))
            conflicts[commit.conflict.id] = commit.conflict
            self._make_room(conflicts)
        return result

    def _append(self, address: Address, revision: RevisionRecord, undo: Undo) -> int:
        disk = self.disk
        kept = disk.documents.get(address)
        if kept is None:
            kept = disk.documents[address] = Kept(created=revision.at)
            undo.append(lambda: disk.documents.pop(address))
        before = kept.head, kept.deleted, kept.updated
        seq = disk.seq = disk.seq + 1
        kept.head, kept.deleted, kept.updated = revision.n, revision.kind == "delete", revision.at
        kept.revisions[revision.n] = replace(revision, seq=seq)
        disk.feed[seq] = address, revision.n

        def take_back() -> None:
            kept.head, kept.deleted, kept.updated = before
            del kept.revisions[revision.n], disk.feed[seq]
            disk.seq = seq - 1

        undo.append(take_back)
        return seq

    def _make_room(self, conflicts: dict[str, ConflictRecord]) -> None:
        weight = 0
        for place, id in enumerate(sorted(conflicts, reverse=True)):
            weight += conflicts[id].weight
            if place >= self._conflicts_open_max or (place and weight > self._conflicts_open_bytes_max):
                del conflicts[id]

    async def key(self, tenant: str, caller: str, key: str, now: int) -> KeyRecord | None:
        record = self.disk.keys.get((tenant, caller, key))
        return record if record is not None and record.expires > now else None

    # Documents and their revisions

    async def snapshot(self, address: Address, n: int, value: bytes) -> None:
        kept = self.disk.documents.get(address)
        if kept is not None and n in kept.revisions:
            kept.snapshots.setdefault(n, value)

    async def load(self, address: Address, revision: int | None = None) -> StoredDocument | None:
        kept = self.disk.documents.get(address)
        if kept is None:
            return None
        upto = kept.head if revision is None else revision
        # Before the oldest a revision stands for itself; from there on one leads to the next.
        first = min(kept.oldest, upto)
        n = max((n for n in kept.snapshots if first <= n <= upto), default=None)
        snapshot = None if n is None else SnapshotRecord(n, kept.snapshots[n])
        numbers = range(first if n is None else n, upto + 1)
        revisions = [kept.revisions[n] for n in numbers if n in kept.revisions]
        return StoredDocument(
            kept.head, kept.deleted, kept.created, kept.updated, snapshot, revisions, kept.oldest
        )

    async def revisions(
        self,
        address: Address,
        *,
        above: int,
        upto: int,
        limit: int,
        newest_first: bool = False,
        bytes_max: int | None = None,
    ) -> list[RevisionRecord]:
        kept = self.disk.documents.get(address, Kept())
        numbers = sorted((n for n in kept.revisions if above < n <= upto), reverse=newest_first)
        return _bounded((kept.revisions[n] for n in numbers[:limit]), bytes_max)

    async def revision_at(self, address: Address, at: int) -> int | None:
        kept = self.disk.documents.get(address, Kept())
        return max((n for n, each in kept.revisions.items() if each.at <= at), default=None)

    async def documents(self, tenant: str, collection: str, *, after: str, limit: int) -> list[DocumentRow]:
        found = [(id, kept) for id, kept in self._collection(tenant, collection, after) if not kept.deleted]
        return [DocumentRow(id, kept.head, kept.created, kept.updated) for id, kept in found[:limit]]

    def _collection(self, tenant: str, collection: str, after: str) -> list[tuple[str, Kept]]:
        return sorted(
            ((address.id, kept) for address, kept in self.disk.documents.items()
             if address[:2] == (tenant, collection) and address.id > after),
            key=lambda entry: entry[0],
        )  # fmt: skip

    async def changes(
        self, tenant: str, *, above: int, limit: int, bytes_max: int | None = None
    ) -> list[ChangeRow]:
        found = [place for seq, place in self.disk.feed.items() if seq > above and place[0].tenant == tenant]
        return _bounded((self._change(address, n) for address, n in found[:limit]), bytes_max)

    def _change(self, address: Address, n: int) -> ChangeRow:
        kept = self.disk.documents[address]
        is_compacted = 1 < kept.oldest >= n
        value = kept.snapshots.get(n) if is_compacted else None
        return ChangeRow(address.collection, address.id, kept.revisions[n], is_compacted, value)

    # Conflicts

    async def conflict(self, address: Address, conflict: str) -> ConflictRecord | None:
        return self.disk.conflicts.get(address, {}).get(conflict)

    async def conflicts(
        self,
        address: Address,
        *,
        before: str | None,
        limit: int,
        now: int,
        bytes_max: int | None = None,
    ) -> list[ConflictRecord]:
        found = [
            record
            for id, record in sorted(self.disk.conflicts.get(address, {}).items(), reverse=True)
            if (before is None or id < before) and record.expires > now and record.resolved is None
        ]
        return _bounded(found[:limit], bytes_max)

    async def prune(self, now: int, conflicts_max: int) -> None:
        self.disk.time = max(self.disk.time, now)
        keys = self.disk.keys
        for scope in [scope for scope, record in keys.items() if record.expires <= now]:
            del keys[scope]
        operations = self.disk.operations
        for name, operation in list(operations.items()):
            if operation.expires is not None and operation.expires <= now:
                del operations[name]
        every = [
            (record.expires, address, id)
            for address, conflicts in self.disk.conflicts.items()
            for id, record in conflicts.items()
        ]
        for place, (expires, address, id) in enumerate(sorted(every, reverse=True)):
            if expires <= now or place >= conflicts_max:
                del self.disk.conflicts[address][id]

    # Collections

    async def put_collection(self, record: CollectionRecord) -> bool:
        records = self.disk.collections.setdefault((record.tenant, record.name), [])
        if record.n != len(records) + 1:
            return False
        records.append(record)
        return True

    async def collection(self, tenant: str, name: str, n: int) -> CollectionRecord | None:
        records = self.disk.collections.get((tenant, name), [])
        return records[n - 1] if 1 <= n <= len(records) else None

    async def collections(self) -> list[CollectionRecord]:
        return [records[-1] for records in self.disk.collections.values() if records]

    # Leases

    async def put_lock(self, record: LockRecord, gone: Sequence[HeldLock] = ()) -> int:
        await self.drop_locks(gone)
        disk = self.disk
        disk.fence += 1
        disk.locks[record.address, record.id] = replace(record, fence=disk.fence)
        return disk.fence

    async def renew_lock(self, record: LockRecord) -> bool:
        before = self._standing(record.held)
        if before is None:
            return False
        self.disk.locks[record.address, record.id] = replace(
            before,
            pointer=record.pointer,
            revision=record.revision,
            ttl_ms=record.ttl_ms,
            expires=record.expires,
        )
        return True

    async def move_locks(self, records: Sequence[LockRecord]) -> None:
        for record in records:
            before = self._standing(record.held)
            if before is not None:
                moved = replace(before, pointer=record.pointer, revision=record.revision)
                self.disk.locks[record.address, record.id] = moved

    async def drop_locks(self, locks: Sequence[HeldLock]) -> None:
        for held in locks:
            if self._standing(held) is not None:
                del self.disk.locks[held[0], held[1].lock]

    async def locks(self) -> list[LockRecord]:
        return sorted(self.disk.locks.values(), key=lambda record: record.fence)

    def _standing(self, held: HeldLock) -> LockRecord | None:
        address, hold = held
        record = self.disk.locks.get((address, hold.lock))
        return record if record is not None and record.fence == hold.fence else None

    # Queued edits

    async def accept_operations(
        self, operations: Sequence[OperationRecord], now: int
    ) -> list[OperationRecord | KeyTaken]:
        return [self._accept(operation, now) for operation in operations]

    def _accept(self, operation: OperationRecord, now: int) -> OperationRecord | KeyTaken:
        disk, tenant = self.disk, operation.address.tenant
        if operation.key is not None:
            taken = disk.keys.get((tenant, operation.caller, operation.key))
            if taken is not None and taken.expires > now:
                return KeyTaken(taken)
        stored = disk.operations.get((tenant, operation.id))
        if stored is None or (stored.expires is not None and stored.expires <= now):
            disk.place += 1
            stored = replace(operation, place=disk.place, key=None)
            disk.operations[tenant, operation.id] = stored
        return stored

    async def operation(self, tenant: str, id: str) -> OperationRecord | None:
        return self.disk.operations.get((tenant, id))

    async def waiting_operations(self, *, above: int, limit: int, bytes_max: int) -> list[OperationRecord]:
        waiting = [each for each in self.disk.operations.values() if each.done is None and each.place > above]
        waiting.sort(key=lambda operation: operation.place)
        taken: list[OperationRecord] = []
        for operation in waiting[:limit]:
            taken.append(operation)
            if sum(len(each.body) for each in taken) > bytes_max:
                break
        return taken

    async def finish_operation(self, tenant: str, done: OperationDone) -> None:
        stored = self.disk.operations.get((tenant, done.id))
        if stored is not None and stored.done is None:
            self.disk.operations[tenant, done.id] = _finished(stored, done)

    # Retention and labels

    async def extent(self, address: Address) -> Extent | None:
        kept = self.disk.documents.get(address)
        return None if kept is None else _extent(address.id, kept)

    async def extents(self, tenant: str, collection: str, *, after: str, limit: int) -> list[Extent]:
        return [_extent(id, kept) for id, kept in self._collection(tenant, collection, after)[:limit]]

    async def floor(self, address: Address, *, upto: int, young: int | None, rows_max: int) -> Floor | None:
        kept = self.disk.documents.get(address)
        if kept is None:
            return None
        oldest, last = kept.oldest, min(upto, kept.head)
        n = min(last, oldest + rows_max)
        if young is not None:
            n = next((m for m in range(oldest, n + 1) if kept.revisions[m].at >= young), n)
        if n <= oldest:
            return None
        whole = {m for m in kept.snapshots if oldest < m <= n}
        if oldest + rows_max == n < last and whole:
            n = max(whole)
        return Floor(oldest, n, n in whole or kept.revisions[n].kind != "edit")

    async def compact(
        self, address: Address, floor: Floor, value: bytes | None, *, spare_labelled: bool
    ) -> bool:
        kept = self.disk.documents.get(address)
        if kept is None or kept.oldest != floor.oldest or floor.n not in kept.revisions:
            return False
        kept.oldest = floor.n
        if value is not None:
            kept.snapshots.setdefault(floor.n, value)
        if not spare_labelled:
            for name in [label.name for label in kept.labels.values() if label.n < floor.n]:
                del kept.labels[name]
        self._drop_before_oldest(kept)
        return True

    def _drop_before_oldest(self, kept: Kept) -> None:
        """Remove the revisions before the oldest, except labelled ones."""
        labelled = {label.n for label in kept.labels.values()}
        for n in [n for n in kept.revisions if n < kept.oldest and n not in labelled]:
            del self.disk.feed[kept.revisions.pop(n).seq]
            kept.snapshots.pop(n, None)

    async def put_label(
        self, address: Address, label: LabelRecord, value: bytes | None, labels_max: int
    ) -> LabelResult:
        kept = self.disk.documents.get(address)
        if kept is None or label.n not in kept.revisions:
            return NoRevision()
        before = kept.labels.get(label.name)
        if before is not None and before.n == label.n:
            return Labelled(before)
        if before is None and len(kept.labels) >= labels_max:
            return NoRoom()
        if value is not None:
            kept.snapshots.setdefault(label.n, value)
        kept.labels[label.name] = label
        self._drop_before_oldest(kept)
        return Labelled(before)

    async def drop_label(self, address: Address, name: str) -> bool:
        kept = self.disk.documents.get(address)
        if kept is None or kept.labels.pop(name, None) is None:
            return False
        self._drop_before_oldest(kept)
        return True

    async def label(self, address: Address, name: str) -> LabelRecord | None:
        return self.disk.documents.get(address, Kept()).labels.get(name)

    async def labels(self, address: Address) -> list[LabelRecord]:
        labels = self.disk.documents.get(address, Kept()).labels
        return [labels[name] for name in sorted(labels)]

    async def close(self) -> None:
        """Nothing is held."""


def _units(batch: Sequence[Commit]) -> Iterable[list[Commit]]:
    for unit, commits in groupby(batch, lambda commit: commit.unit):
        if unit:
            yield list(commits)
        else:
            for commit in commits:
                yield [commit]


Name = TypeVar("Name")
Value = TypeVar("Value")


def _put(table: dict[Name, Value], name: Name, value: Value, undo: Undo) -> None:
    """Write a row, and note how to take it back."""
    if name in table:
        before = table[name]
        undo.append(lambda: table.__setitem__(name, before))
    else:
        undo.append(lambda: table.pop(name))
    table[name] = value


def _scope(tenant: str, key: KeyRecord) -> tuple[str, str, str]:
    return tenant, key.caller, key.key


def _finished(operation: OperationRecord, done: OperationDone) -> OperationRecord:
    return replace(operation, answer=done.answer, done=done.done, expires=done.expires, body=b"")


def _extent(id: str, kept: Kept) -> Extent:
    since: int | None = kept.created
    if kept.oldest > 1:
        since = kept.revisions[kept.oldest].at if kept.oldest in kept.snapshots else None
    labelled = any(label.n < kept.oldest for label in kept.labels.values())
    return Extent(id, kept.head, kept.oldest, since, labelled)


def _bounded(records: Iterable[Record], bytes_max: int | None) -> list[Record]:
    """Take records up to the one that makes them weigh more than `bytes_max`."""
    taken: list[Record] = []
    weight = 0
    for record in records:
        taken.append(record)
        weight += record.weight
        if bytes_max is not None and weight > bytes_max:
            break
    return taken
