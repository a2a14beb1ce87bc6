"""Documents in one SQLite file: one writer, readers beside it, every acknowledged edit synced.

WAL with `synchronous=FULL`: an acknowledgement survives kill -9 and a power cut. A whole batch is one
job on the writer's thread, so no other coroutine's statement can slip into its transaction; only the
writer commits, so only the writer checkpoints (SQLite before 3.51.3 can corrupt the file when another
connection does).
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import IO, Any, TypeVar

import aiosqlite

from plait_server.errors import OutcomeUnknown, StoreRefused, StoreUnavailable
from plait_server.store import statements as sql
from plait_server.store.archive import refuse_foreign_log
from plait_server.store.batch import BatchWriter, CommitFailed
from plait_server.store.chain import find_revisions, read_revisions
from plait_server.store.labels import drop_label, put_label
from plait_server.store.locks import drop_locks, move_locks, put_lock, read_locks, renew_lock
from plait_server.store.operations import (
    accept_operations,
    finish_operation,
    prune_operations,
    read_operation,
    waiting_operations,
)
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
    SnapshotRecord,
    StoredDocument,
)
from plait_server.store.retention import compact, find_floor
from plait_server.store.schema import Schema, load_schema, statements

BUSY_TIMEOUT_S = 5.0
PAGES_BETWEEN_CHECKPOINTS = 4_000
PRUNE_ROWS = 10_000

log = logging.getLogger(__name__)
Result = TypeVar("Result")
Record = TypeVar("Record", RevisionRecord, ConflictRecord, ChangeRow)


class SqliteStore:
    """A Store (see `protocol`) in one file. Open it with `SqliteStore.open`."""

    durability = "WAL, synchronous=FULL: survives a crash and a power cut"

    def __init__(self, path: Path, options: "_Options", lock: IO[str]) -> None:
        self._path = path
        self._options = options
        self._lock = lock
        self._writing = asyncio.Lock()
        self._writer: aiosqlite.Connection | None = None
        self._batches: BatchWriter
        self._readers: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        self._readers_open: list[aiosqlite.Connection] = []
        self.epoch = ""
        self.time = 0

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
        options = _Options(
            conflicts_open_max, conflicts_open_bytes_max, pages_max, schema or load_schema(), factory
        )
        is_new = not _lock_file(path).exists()
        store = cls(path, options, _hold(path))
        try:
            refuse_foreign_log(path)
            await store._open_writer()
            await store._open_readers(readers)
        except BaseException as error:
            if is_new:
                _lock_file(path).unlink(missing_ok=True)
            await store.close()
            if isinstance(error, sqlite3.Error | _Strange):
                raise StoreRefused(f"{path} cannot be opened: {error}.") from error
            raise
        log.info("%s holds %s", store.name, path)
        return store

    @property
    def name(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    async def commit(self, batch: Sequence[Commit]) -> list[CommitResult]:
        async with self._writing:
            writer = await self._ready_writer()
            try:
                return await _run(writer, self._batches.write, batch)
            except CommitFailed as failure:
                return await self._find_out(batch, failure)
            except sqlite3.Error as error:
                raise _unavailable(error) from error

    async def snapshot(self, address: Address, n: int, value: bytes) -> None:
        await self._write(lambda connection: _snapshot(connection, address, n, value))

    async def prune(self, now: int, conflicts_max: int) -> None:
        await self._write(lambda connection: _prune(connection, now, conflicts_max))
        self.time = max(self.time, now)

    async def load(self, address: Address, revision: int | None = None) -> StoredDocument | None:
        return await self._read(lambda connection: _load(connection, address, revision))

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
        return await self._read(
            lambda connection: _revisions(connection, address, above, upto, limit, newest_first, bytes_max)
        )

    async def revision_at(self, address: Address, at: int) -> int | None:
        rows = await self._fetch(sql.MOMENT, (*address, at))
        return rows[0][0] if rows else None

    async def documents(self, tenant: str, collection: str, *, after: str, limit: int) -> list[DocumentRow]:
        rows = await self._fetch(sql.DOCUMENTS, (tenant, collection, after, limit))
        return [DocumentRow(*row) for row in rows]

    async def changes(
        self, tenant: str, *, above: int, limit: int, bytes_max: int | None = None
    ) -> list[ChangeRow]:
        row = (above, tenant, limit)
        return await self._read(lambda connection: _bounded(_changes(connection, row), bytes_max))

    async def key(self, tenant: str, caller: str, key: str, now: int) -> KeyRecord | None:
        records = [KeyRecord(*row) for row in await self._fetch(sql.KEY, (tenant, caller, key))]
        return next((record for record in records if record.expires > now), None)

    async def conflict(self, address: Address, conflict: str) -> ConflictRecord | None:
        rows = await self._fetch(sql.CONFLICT, (*address, conflict))
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
        row = (*address, before, now, limit)
        return await self._read(
            lambda connection: _bounded(
                starmap(ConflictRecord, connection.execute(sql.CONFLICTS, row)), bytes_max
            )
        )

    async def put_collection(self, record: CollectionRecord) -> bool:
        async with self._writing:
            writer = await self._ready_writer()
            try:
                return await _run(
                    writer,
                    _in_transaction,
                    writer._conn,
                    lambda connection: _put_collection(connection, record),
                )
            except sqlite3.Error as error:
                if await self._stands(record, error):
                    return True
                raise _unavailable(error) from error

    async def collection(self, tenant: str, name: str, n: int) -> CollectionRecord | None:
        rows = await self._fetch(sql.COLLECTION, (tenant, name, n))
        return CollectionRecord(*rows[0]) if rows else None

    async def collections(self) -> list[CollectionRecord]:
        return [CollectionRecord(*row) for row in await self._fetch(sql.COLLECTIONS, ())]

    async def accept_operations(
        self, operations: Sequence[OperationRecord], now: int
    ) -> list[OperationRecord | KeyTaken]:
        async with self._writing:
            writer = await self._ready_writer()
            try:
                return await _run(
                    writer,
                    _in_transaction,
                    writer._conn,
                    lambda connection: accept_operations(connection, operations, now),
                )
            except sqlite3.Error as error:
                return await self._accepted(operations, error)

    async def operation(self, tenant: str, id: str) -> OperationRecord | None:
        return await self._read(lambda connection: read_operation(connection, tenant, id))

    async def waiting_operations(self, *, above: int, limit: int, bytes_max: int) -> list[OperationRecord]:
        return await self._read(lambda connection: waiting_operations(connection, above, limit, bytes_max))

    async def finish_operation(self, tenant: str, done: OperationDone) -> None:
        await self._write(lambda connection: finish_operation(connection, tenant, done))

    async def put_lock(self, record: LockRecord, gone: Sequence[HeldLock] = ()) -> int:
        return await self._write(lambda connection: put_lock(connection, record, gone))

    async def renew_lock(self, record: LockRecord) -> bool:
        return await self._write(lambda connection: renew_lock(connection, record))

    async def move_locks(self, records: Sequence[LockRecord]) -> None:
        await self._write(lambda connection: move_locks(connection, records))

    async def drop_locks(self, locks: Sequence[HeldLock]) -> None:
        await self._write(lambda connection: drop_locks(connection, locks))

    async def locks(self) -> list[LockRecord]:
        return await self._read(read_locks)

    async def extent(self, address: Address) -> Extent | None:
        rows = await self._fetch(sql.EXTENT, address)
        return _extent(*rows[0]) if rows else None

    async def extents(self, tenant: str, collection: str, *, after: str, limit: int) -> list[Extent]:
        rows = await self._fetch(sql.EXTENTS_AFTER, (tenant, collection, after, limit))
        return [_extent(*row) for row in rows]

    async def floor(self, address: Address, *, upto: int, young: int | None, rows_max: int) -> Floor | None:
        return await self._read(lambda connection: find_floor(connection, address, upto, young, rows_max))

    async def compact(
        self, address: Address, floor: Floor, value: bytes | None, *, spare_labelled: bool
    ) -> bool:
        return await self._write(
            lambda connection: compact(connection, address, floor, value, spare_labelled)
        )

    async def put_label(
        self, address: Address, label: LabelRecord, value: bytes | None, labels_max: int
    ) -> LabelResult:
        return await self._write(lambda connection: put_label(connection, address, label, value, labels_max))

    async def drop_label(self, address: Address, name: str) -> bool:
        return await self._write(lambda connection: drop_label(connection, address, name))

    async def label(self, address: Address, name: str) -> LabelRecord | None:
        rows = await self._fetch(sql.LABEL, (*address, name))
        return LabelRecord(*rows[0]) if rows else None

    async def labels(self, address: Address) -> list[LabelRecord]:
        return [LabelRecord(*row) for row in await self._fetch(sql.LABELS, address)]

    async def close(self) -> None:
        # Readers first: the last connection to close checkpoints, and that has to be the writer.
        for reader in self._readers_open:
            await reader.close()
        self._readers_open.clear()
        async with self._writing:
            await self._close_writer()
        self._lock.close()

    async def _open_writer(self) -> None:
        options = self._options
        writer = self._writer = await _connect(self._path, options.factory)
        self.epoch, self.time = await _run(writer, _prepare, writer._conn, options)
        self._batches = BatchWriter(
            writer._conn, options.conflicts_open_max, options.conflicts_open_bytes_max
        )

    async def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(sqlite3.Error):
                await writer.close()

    async def _open_readers(self, readers: int) -> None:
        for _ in range(readers):
            reader = await _connect(self._path)
            self._readers_open.append(reader)
            await _run(reader, reader._conn.execute, "PRAGMA query_only = ON")
            self._readers.put_nowait(reader)

    async def _ready_writer(self) -> aiosqlite.Connection:
        """The writer's connection, opened again where it was given up."""
        if self._writer is None:
            try:
                await self._reopen_writer()
            except sqlite3.Error as error:
                raise _unavailable(error) from error
            except _Strange as error:
                raise StoreUnavailable("The store cannot be opened again yet.") from error
        assert self._writer is not None
        return self._writer

    async def _reopen_writer(self) -> None:
        """Open the file anew and write everything in the log into it, synced.

        A failed fsync is never tried again: the kernel may have dropped the pages and call the next one
        a success. The checkpoint writes them afresh.
        """
        await self._close_writer()
        try:
            await self._open_writer()
            assert self._writer is not None
            await _run(self._writer, _checkpoint, self._writer._conn)
        except BaseException:
            await self._close_writer()
            raise

    async def _find_out(self, batch: Sequence[Commit], failure: CommitFailed) -> list[CommitResult]:
        """Settle a failed COMMIT: open the file anew and look whether the batch is there."""
        log.error("COMMIT failed, opening %s anew: %s", self._path, failure.__cause__)
        try:
            await self._reopen_writer()
            assert self._writer is not None
            stands = await _run(self._writer, self._batches.stands, batch, failure.results)
        except (sqlite3.Error, _Strange) as error:
            await self._close_writer()
            if _could_not_be_written(failure.__cause__):
                raise _unavailable(failure.__cause__) from error
            raise OutcomeUnknown("The commit failed and the store cannot be read.") from error
        if stands:
            return failure.results
        raise _unavailable(failure.__cause__) from failure

    async def _accepted(
        self, operations: Sequence[OperationRecord], failure: sqlite3.Error
    ) -> list[OperationRecord | KeyTaken]:
        """Find out whether operations whose transaction failed are there after all."""
        log.error("Accepting edits failed, opening %s anew: %s", self._path, failure)
        try:
            await self._reopen_writer()
            found = [await self.operation(each.address.tenant, each.id) for each in operations]
        except (sqlite3.Error, _Strange, StoreUnavailable) as error:
            await self._close_writer()
            if _could_not_be_written(failure):
                raise _unavailable(failure) from error
            raise OutcomeUnknown("The commit failed and the store cannot be read.") from error
        stored = [record for record in found if record is not None]
        if not stored:
            raise _unavailable(failure) from failure
        if len(stored) < len(operations):
            raise OutcomeUnknown("The commit failed, and some of it was there before.")
        return [*stored]

    async def _stands(self, record: CollectionRecord, failure: sqlite3.Error) -> bool:
        """Find out whether settings whose transaction failed are there after all."""
        log.error("Writing settings failed, opening %s anew: %s", self._path, failure)
        try:
            await self._reopen_writer()
            return await self.collection(record.tenant, record.name, record.n) == record
        except (sqlite3.Error, _Strange, StoreUnavailable) as error:
            await self._close_writer()
            if _could_not_be_written(failure):
                return False
            raise OutcomeUnknown("The commit failed and the store cannot be read.") from error

    async def _write(self, job: Callable[[sqlite3.Connection], Result]) -> Result:
        async with self._writing:
            writer = await self._ready_writer()
            try:
                return await _run(writer, _in_transaction, writer._conn, job)
            except sqlite3.Error as error:
                raise _unavailable(error) from error

    async def _read(self, job: Callable[[sqlite3.Connection], Result]) -> Result:
        async with self._reader() as reader:
            try:
                return await _run(reader, _in_snapshot, reader._conn, job)
            except sqlite3.Error as error:
                raise _unavailable(error) from error

    async def _fetch(self, statement: str, row: tuple[object, ...]) -> list[Any]:
        return await self._read(lambda connection: connection.execute(statement, row).fetchall())

    @contextlib.asynccontextmanager
    async def _reader(self) -> AsyncIterator[aiosqlite.Connection]:
        reader = await self._readers.get()
        try:
            yield reader
        finally:
            self._readers.put_nowait(reader)


@contextlib.contextmanager
def hold_file(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold a file alone, made or migrated, and give the connection that may write to it.

    For work on a store that nobody serves meanwhile. Raises StoreRefused.
    """
    options = _Options(0, 0, None, load_schema(), sqlite3.Connection)
    with contextlib.closing(_hold(path)):
        refuse_foreign_log(path)
        with contextlib.closing(sqlite3.connect(path, BUSY_TIMEOUT_S, isolation_level=None)) as connection:
            try:
                _prepare(connection, options)
            except (sqlite3.Error, _Strange) as error:
                raise StoreRefused(f"{path} cannot be opened: {error}.") from error
            yield connection


@dataclass(frozen=True, slots=True)
class _Options:
    conflicts_open_max: int
    conflicts_open_bytes_max: int
    pages_max: int | None
    schema: Schema
    factory: type[sqlite3.Connection]


class _Strange(Exception):
    """The database is none that this program can use; the message ends a sentence about the file."""


async def _connect(
    path: Path, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> aiosqlite.Connection:
    connection = aiosqlite.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, factory=factory)
    try:
        return await connection
    except sqlite3.Error:
        # aiosqlite tells its thread to end and does not wait: the thread would find the loop closed.
        await asyncio.to_thread(connection._thread.join)
        raise


async def _run(connection: aiosqlite.Connection, job: Callable[..., Result], *arguments: object) -> Result:
    """Run a plain function on the connection's thread: one hop for a whole job.

    aiosqlite's public functions hop once per statement, which costs more than the statement.
    """
    result: Result = await connection._execute(job, *arguments)  # type: ignore[no-untyped-call]
    return result


def _lock_file(path: Path) -> Path:
    # Beside the file itself: a link to it is another way to the same file.
    return Path(f"{os.path.realpath(path)}.lock")


def _hold(path: Path) -> IO[str]:
    """Lock the file beside the database. The lock ends with the process, however that ends."""
    if path.exists() and not os.access(path, os.W_OK):
        raise StoreRefused(f"{path} is read-only.")
    try:
        lock = open(_lock_file(path), "a")  # noqa: SIM115 - held open as long as the store is
    except OSError as error:
        raise StoreRefused(f"{path} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise StoreRefused(f"{path} is in use by another server.") from error
    return lock


def _prepare(connection: sqlite3.Connection, options: _Options) -> tuple[str, int]:
    """Set a new connection of the writer up and bring the schema to its version; give epoch and time."""
    execute = connection.execute
    _version(connection, options.schema)  # before anything is changed in a file that is not ours
    execute("PRAGMA journal_mode = WAL")
    execute("PRAGMA synchronous = FULL")
    execute(f"PRAGMA wal_autocheckpoint = {PAGES_BETWEEN_CHECKPOINTS}")
    execute("PRAGMA journal_size_limit = 67108864")
    if options.pages_max is not None:
        execute(f"PRAGMA max_page_count = {options.pages_max}")
    _in_transaction(connection, lambda connection: _migrate(connection, options.schema))
    epoch, time = execute("SELECT epoch, time FROM store").fetchone()
    return epoch, time


def _migrate(connection: sqlite3.Connection, schema: Schema) -> None:
    version = _version(connection, schema)
    if version == 0:
        _execute_all(connection, schema.script)
        connection.execute(sql.INSERT_STORE, (secrets.token_hex(8), schema.version))
        return
    # Nothing is written where nothing is to be done: the disk may be full, and reads go on then.
    for step in range(version + 1, schema.version + 1):
        _execute_all(connection, schema.steps[step])
        connection.execute("UPDATE store SET schema_version = ?", (step,))
    # A backup has none: each time one is opened it goes a way of its own (docs/decisions/0018).
    connection.execute("UPDATE store SET epoch = ? WHERE epoch = ''", (secrets.token_hex(8),))


def _version(connection: sqlite3.Connection, schema: Schema) -> int:
    """Tell the version of the schema in the file, 0 when it is empty. Raises _Strange."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return 0
    if not {"store", "documents", "revisions"} <= tables:
        raise _Strange("it is an SQLite database of another program")
    row = connection.execute("SELECT schema_version FROM store").fetchone()
    if row is None:
        raise _Strange("it is a database without an epoch")
    version: int = row[0]
    if version > schema.version:
        raise _Strange(
            f"it was written by a newer version of plait, with schema version {version} "
            f"where this program knows {schema.version}; use that one"
        )
    return version


def _execute_all(connection: sqlite3.Connection, script: str) -> None:
    for statement in statements(script):
        connection.execute(statement)


def _checkpoint(connection: sqlite3.Connection) -> None:
    # Fetched, because a statement left open would be in the way of the next COMMIT.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _in_transaction(connection: sqlite3.Connection, job: Callable[[sqlite3.Connection], Result]) -> Result:
    connection.execute(sql.BEGIN)
    try:
        result = job(connection)
        connection.execute("COMMIT")
        return result
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _in_snapshot(connection: sqlite3.Connection, job: Callable[[sqlite3.Connection], Result]) -> Result:
    """Run reads that see one state of the database."""
    connection.execute("BEGIN")
    try:
        return job(connection)
    finally:
        connection.execute("COMMIT")


def _load(connection: sqlite3.Connection, address: Address, revision: int | None) -> StoredDocument | None:
    document = connection.execute(sql.DOCUMENT, address).fetchone()
    if document is None:
        return None
    head, deleted, created, updated, oldest = document
    upto = head if revision is None else revision
    # Before the oldest a revision stands for itself; from there on one leads to the next.
    first = min(oldest, upto)
    row = connection.execute(sql.SNAPSHOT, (*address, upto)).fetchone()
    snapshot = SnapshotRecord(*row) if row and row[0] >= first else None
    seqs = find_revisions(connection, address, (snapshot.n if snapshot else first) - 1, upto)
    return StoredDocument(
        head, bool(deleted), created, updated, snapshot, list(read_revisions(connection, seqs)), oldest
    )


def _revisions(
    connection: sqlite3.Connection,
    address: Address,
    above: int,
    upto: int,
    limit: int,
    newest_first: bool,
    bytes_max: int | None,
) -> list[RevisionRecord]:
    document = connection.execute(sql.RANGE, address).fetchone()
    if document is None:
        return []
    head, oldest = document
    upto = min(upto, head)
    # From the oldest on numbers have no gaps: so many revisions end so far away. Of those before it only
    # the labelled are left, and they are few.
    if not newest_first:
        upto = min(upto, max(above, oldest - 1) + limit)
    elif upto - limit >= oldest:
        above = max(above, upto - limit)
    seqs = find_revisions(connection, address, above, upto)
    if newest_first:
        seqs.reverse()
    return _bounded(read_revisions(connection, seqs[:limit]), bytes_max)


def _bounded(records: Iterator[Record], bytes_max: int | None) -> list[Record]:
    """Take records up to the one that makes them weigh more than `bytes_max`."""
    taken: list[Record] = []
    weight = 0
    for record in records:
        taken.append(record)
        weight += record.weight
        if bytes_max is not None and weight > bytes_max:
            break
    return taken


def _changes(connection: sqlite3.Connection, row: tuple[int, str, int]) -> Iterator[ChangeRow]:
    for collection, document, *record, compacted in connection.execute(sql.CHANGES, row):
        revision, value = RevisionRecord(*record), None
        if compacted:
            address = Address(row[1], collection, document)
            found = connection.execute(sql.SNAPSHOT_OF, (*address, revision.n)).fetchone()
            value = found[0] if found else None
        yield ChangeRow(collection, document, revision, bool(compacted), value)


def _extent(id: str, head: int, oldest: int, since: int | None, labelled: int) -> Extent:
    return Extent(id, head, oldest, since, bool(labelled))


def _snapshot(connection: sqlite3.Connection, address: Address, n: int, value: bytes) -> None:
    for seq in find_revisions(connection, address, n - 1, n):
        connection.execute(sql.INSERT_SNAPSHOT, (*address, n, seq, value))


def _put_collection(connection: sqlite3.Connection, record: CollectionRecord) -> bool:
    row = (record.tenant, record.name, record.n, record.body, record.author, record.at)
    return connection.execute(sql.INSERT_COLLECTION, row).rowcount == 1


def _prune(connection: sqlite3.Connection, now: int, conflicts_max: int) -> None:
    connection.execute(sql.PRUNE_KEYS, (now, PRUNE_ROWS))
    connection.execute(sql.PRUNE_CONFLICTS, (now, PRUNE_ROWS))
    connection.execute(sql.TRIM_CONFLICTS, (PRUNE_ROWS, conflicts_max))
    prune_operations(connection, now, PRUNE_ROWS)
    connection.execute(sql.NOTE_TIME, (now,))


_SENTENCES = {
    sqlite3.SQLITE_FULL: "The disk is full.",
    sqlite3.SQLITE_READONLY: "The database is read-only.",
    sqlite3.SQLITE_BUSY: "The database is busy.",
    sqlite3.SQLITE_LOCKED: "The database is busy.",
    sqlite3.SQLITE_IOERR: "The disk cannot be read or written.",
}


def _could_not_be_written(error: BaseException | None) -> bool:
    """Tell whether a COMMIT that failed like this is surely not there.

    What ends a transaction in the log is written last: where there was no room, it is missing. A failed
    sync says nothing.
    """
    return _code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)


def _unavailable(error: BaseException | None) -> StoreUnavailable:
    log.error("The store failed: %r", error)
    # Extended codes keep the plain one in their lowest byte.
    code = _code(error) & 0xFF
    return StoreUnavailable(_SENTENCES.get(code, "The store failed."))


def _code(error: BaseException | None) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code
