"""Documents in one SQLite file: one writer, readers beside it, every acknowledged edit synced.

WAL with `synchronous=FULL`: an acknowledgement survives kill -9 and a power cut. Every function here is one
job for the thread of a connection.
"""

import logging
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from plait_server.errors import StoreRefused
from plait_server.store import statements as sql
from plait_server.store.chain import find_revisions, load_document
from plait_server.store.file import Strange, hold, lock_file, refuse_foreign_log
from plait_server.store.labels import drop_label, put_label
from plait_server.store.locks import drop_locks, move_locks, put_lock, read_locks, renew_lock
from plait_server.store.operations import (
    accept_operations,
    accepted_operations,
    finish_operation,
    prune_operations,
    read_operation,
    waiting_operations,
)
from plait_server.store.pages import read_changes, read_conflicts, read_history
from plait_server.store.readers import Readers
from plait_server.store.record import (
    Address,
    ChangeRow,
    CollectionRecord,
    Commit,
    CommitResult,
    ConflictRecord,
    DocumentRow,
    Extent,
    Floor,
    HeldLock,
    KeyRecord,
    KeyTaken,
    LabelRecord,
    LabelResult,
    LockRecord,
    OperationDone,
    OperationRecord,
    RevisionRecord,
    StoredDocument,
)
from plait_server.store.retention import compact, find_floor
from plait_server.store.schema import Schema, load_schema
from plait_server.store.writer import Options, Writer

PRUNE_ROWS: Final = 10_000

log = logging.getLogger(__name__)


class SqliteStore:
    """A Store (see `protocol`) in one file. Open it with `SqliteStore.open`."""

    durability = "WAL, synchronous=FULL: survives a crash and a power cut"

    def __init__(self, lock: IO[str], writer: Writer) -> None:
        self._lock = lock
        self._writer = writer
        self._readers = Readers()

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        readers: int = 2,
        conflicts_open_max: int = 1_000,
        conflicts_open_bytes_max: int = 16_777_216,
        pages_max: int | None = None,
        schema: Schema | None = None,
        factory: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> "SqliteStore":
        """Open the file, making or migrating it, and hold it until `close` or the end of the process.

        Of the conflicts of a document the oldest go where they are more, or take more, than may be kept; the
        newest stays. `pages_max` bounds the file's size in pages; `schema` and `factory` (of the writer's
        connection) are for those who know better. Raises StoreRefused with a message for the operator.
        """
        path = Path(path)
        options = Options(
            conflicts_open_max, conflicts_open_bytes_max, pages_max, schema or load_schema(), factory
        )
        is_new = not lock_file(path).exists()
        store = cls(hold(path), Writer(path, options))
        try:
            refuse_foreign_log(path)
            await store._writer.open()
            await store._readers.open(path, readers)
        except BaseException as error:
            if is_new:
                lock_file(path).unlink(missing_ok=True)
            await store.close()
            if isinstance(error, sqlite3.Error | Strange):
                raise StoreRefused(f"{path} cannot be opened: {error}.") from error
            raise
        log.info("%s holds %s", store.name, path)
        return store

    @property
    def epoch(self) -> str:
        return self._writer.epoch

    @property
    def time(self) -> int:
        return self._writer.time

    @property
    def name(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    async def commit(self, batch: Sequence[Commit]) -> list[CommitResult]:
        return await self._writer.commit(batch)

    async def snapshot(self, address: Address, n: int, value: bytes) -> None:
        await self._writer.write(lambda connection: _snapshot(connection, address, n, value))

    async def prune(self, now: int, conflicts_max: int) -> None:
        await self._writer.write(lambda connection: _prune(connection, now, conflicts_max))
        self._writer.time = max(self._writer.time, now)

    async def load(self, address: Address, revision: int | None = None) -> StoredDocument | None:
        return await self._readers.read(lambda connection: load_document(connection, address, revision))

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
        return await self._readers.read(
            lambda connection: read_history(connection, address, above, upto, limit, newest_first, bytes_max)
        )

    async def revision_at(self, address: Address, at: int) -> int | None:
        rows = await self._readers.fetch(sql.MOMENT, (*address, at))
        return rows[0][0] if rows else None

    async def documents(self, tenant: str, collection: str, *, after: str, limit: int) -> list[DocumentRow]:
        rows = await self._readers.fetch(sql.DOCUMENTS, (tenant, collection, after, limit))
        return [DocumentRow(*row) for row in rows]

    async def changes(
        self, tenant: str, *, above: int, limit: int, bytes_max: int | None = None
    ) -> list[ChangeRow]:
        return await self._readers.read(
            lambda connection: read_changes(connection, tenant, above, limit, bytes_max)
        )

    async def key(self, tenant: str, caller: str, key: str, now: int) -> KeyRecord | None:
        records = [KeyRecord(*row) for row in await self._readers.fetch(sql.KEY, (tenant, caller, key))]
        return next((record for record in records if record.expires > now), None)

    async def conflict(self, address: Address, conflict: str) -> ConflictRecord | None:
        rows = await self._readers.fetch(sql.CONFLICT, (*address, conflict))
        return ConflictRecord(*rows[0]) if rows else None

    async def conflicts(
        self,
        address: Address,
        *,
        before: str | None,
        limit: int,
        now: int,
        bytes_max: int | None = None,
    ) -> list[ConflictRecord]:
        return await self._readers.read(
            lambda connection: read_conflicts(connection, address, before, now, limit, bytes_max)
        )

    async def put_collection(self, record: CollectionRecord) -> bool:
        return await self._writer.write(
            lambda connection: _put_collection(connection, record),
            written=lambda connection: _collection_stands(connection, record),
        )

    async def collection(self, tenant: str, name: str, n: int) -> CollectionRecord | None:
        rows = await self._readers.fetch(sql.COLLECTION, (tenant, name, n))
        return CollectionRecord(*rows[0]) if rows else None

    async def collections(self) -> list[CollectionRecord]:
        return [CollectionRecord(*row) for row in await self._readers.fetch(sql.COLLECTIONS, ())]

    async def accept_operations(
        self, operations: Sequence[OperationRecord], now: int
    ) -> list[OperationRecord | KeyTaken]:
        return await self._writer.write(
            lambda connection: accept_operations(connection, operations, now),
            written=lambda connection: accepted_operations(connection, operations, now),
        )

    async def operation(self, tenant: str, id: str) -> OperationRecord | None:
        return await self._readers.read(lambda connection: read_operation(connection, tenant, id))

    async def waiting_operations(self, *, above: int, limit: int, bytes_max: int) -> list[OperationRecord]:
        return await self._readers.read(
            lambda connection: waiting_operations(connection, above, limit, bytes_max)
        )

    async def finish_operation(self, tenant: str, done: OperationDone) -> None:
        await self._writer.write(lambda connection: finish_operation(connection, tenant, done))

    async def put_lock(self, record: LockRecord, gone: Sequence[HeldLock] = ()) -> int:
        return await self._writer.write(lambda connection: put_lock(connection, record, gone))

    async def renew_lock(self, record: LockRecord) -> bool:
        return await self._writer.write(lambda connection: renew_lock(connection, record))

    async def move_locks(self, records: Sequence[LockRecord]) -> None:
        await self._writer.write(lambda connection: move_locks(connection, records))

    async def drop_locks(self, locks: Sequence[HeldLock]) -> None:
        await self._writer.write(lambda connection: drop_locks(connection, locks))

    async def locks(self) -> list[LockRecord]:
        return await self._readers.read(read_locks)

    async def extent(self, address: Address) -> Extent | None:
        rows = await self._readers.fetch(sql.EXTENT, address)
        return _extent(*rows[0]) if rows else None

    async def extents(self, tenant: str, collection: str, *, after: str, limit: int) -> list[Extent]:
        rows = await self._readers.fetch(sql.EXTENTS_AFTER, (tenant, collection, after, limit))
        return [_extent(*row) for row in rows]

    async def floor(self, address: Address, *, upto: int, young: int | None, rows_max: int) -> Floor | None:
        return await self._readers.read(
            lambda connection: find_floor(connection, address, upto, young, rows_max)
        )

    async def compact(
        self, address: Address, floor: Floor, value: bytes | None, *, spare_labelled: bool
    ) -> bool:
        return await self._writer.write(
            lambda connection: compact(connection, address, floor, value, spare_labelled)
        )

    async def put_label(
        self, address: Address, label: LabelRecord, value: bytes | None, labels_max: int
    ) -> LabelResult:
        return await self._writer.write(
            lambda connection: put_label(connection, address, label, value, labels_max)
        )

    async def drop_label(self, address: Address, name: str) -> bool:
        return await self._writer.write(lambda connection: drop_label(connection, address, name))

    async def label(self, address: Address, name: str) -> LabelRecord | None:
        rows = await self._readers.fetch(sql.LABEL, (*address, name))
        return LabelRecord(*rows[0]) if rows else None

    async def labels(self, address: Address) -> list[LabelRecord]:
        return [LabelRecord(*row) for row in await self._readers.fetch(sql.LABELS, address)]

    async def close(self) -> None:
        # Readers first: the last connection to close checkpoints, and that has to be the writer.
        await self._readers.close()
        await self._writer.close()
        self._lock.close()


def _snapshot(connection: sqlite3.Connection, address: Address, n: int, value: bytes) -> None:
    for seq in find_revisions(connection, address, n - 1, n):
        connection.execute(sql.INSERT_SNAPSHOT, (*address, n, seq, value))


def _prune(connection: sqlite3.Connection, now: int, conflicts_max: int) -> None:
    connection.execute(sql.PRUNE_KEYS, (now, PRUNE_ROWS))
    connection.execute(sql.PRUNE_CONFLICTS, (now, PRUNE_ROWS))
    connection.execute(sql.TRIM_CONFLICTS, (PRUNE_ROWS, conflicts_max))
    prune_operations(connection, now, PRUNE_ROWS)
    connection.execute(sql.NOTE_TIME, (now,))


def _put_collection(connection: sqlite3.Connection, record: CollectionRecord) -> bool:
    row = (record.tenant, record.name, record.n, record.body, record.author, record.at)
    return connection.execute(sql.INSERT_COLLECTION, row).rowcount == 1


def _collection_stands(connection: sqlite3.Connection, record: CollectionRecord) -> bool | None:
    row = connection.execute(sql.COLLECTION, (record.tenant, record.name, record.n)).fetchone()
    return True if row is not None and CollectionRecord(*row) == record else None


def _extent(id: str, head: int, oldest: int, since: int | None, labelled: int) -> Extent:
    return Extent(id, head, oldest, since, bool(labelled))
