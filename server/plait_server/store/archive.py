"""A whole store file as it is at one moment, for those who only look: doctor, export, backup.

A server may be writing meanwhile. The file is opened read-only for the operating system too, so this
connection cannot checkpoint, not even by closing last: SQLite before 3.51.3 can damage a file when another
connection than the writer's does. One read transaction holds from beginning to end; so long the log of a busy
server cannot be emptied, and grows.
"""

import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import starmap
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from plait_server.errors import StoreRefused
from plait_server.store import statements as sql
from plait_server.store.chain import find_revisions
from plait_server.store.connection import BUSY_TIMEOUT_S
from plait_server.store.file import refuse_foreign_log
from plait_server.store.record import (
    Address,
    CollectionRecord,
    ConflictRecord,
    KeyRecord,
    LabelRecord,
    LockRecord,
    OperationRecord,
    RevisionRecord,
    SnapshotRecord,
    StoredDocument,
)
from plait_server.store.schema import load_schema

PAGE_REVISIONS: Final = 1_000
Unreadable: Final = sqlite3.Error


class HeadRecord(Struct, frozen=True):
    """The row of a document. `latest` is the seq of its head; revisions from `oldest` on are all there."""

    address: Address
    head: int
    latest: int
    deleted: bool
    created: int
    updated: int
    oldest: int


class LinkedRevision(Struct, frozen=True):
    """A revision with the seq of the one before it, and whose it says it is."""

    address: Address
    previous: int | None
    record: RevisionRecord


class StoredSnapshot(Struct, frozen=True):
    """A snapshot and the seq it is filed under."""

    seq: int
    snapshot: SnapshotRecord


class Archive:
    """Everything in the file, streamed: no more of it is in memory than the row at hand.

    Except the seqs of one document's revisions, eight bytes each. Every function raises Unreadable where the
    file is damaged. Open it with `open_archive`.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.epoch: str = self._one("SELECT epoch FROM store")
        """Empty in a backup, until a server opens it."""

    def faults(self) -> Iterator[str]:
        """Ask SQLite itself what is wrong with the file; nothing where all is well. Reads all of it."""
        for (said,) in self.connection.execute("PRAGMA integrity_check"):
            if said != "ok":
                yield said

    def mistyped(self) -> Iterator[tuple[str, str, str, int]]:
        """Give the columns that hold something else than they are declared to: table, column, type, rows.

        SQLite lets any value into any column. Reads all of the file.
        """
        tables = self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            columns = self.connection.execute(f'PRAGMA table_info("{table}")').fetchall()
            known = [(name, type_, notnull or key) for _, name, type_, notnull, _, key in columns if type_]
            sums = ", ".join(
                f"coalesce(sum(typeof(\"{name}\") NOT IN ('{type_.lower()}'{'' if needed else _OR_NULL})), 0)"
                for name, type_, needed in known
            )
            if sums:
                found = self.connection.execute(f'SELECT {sums} FROM "{table}"').fetchone()
                for (name, type_, _), count in zip(known, found, strict=True):
                    if count:
                        yield table, name, type_, count

    def count(self, table: str) -> int:
        """Count the rows of a table. Cost: about ten million a second."""
        return int(self._one(f'SELECT count(*) FROM "{table}"'))

    def last_seq(self) -> int:
        return int(self._one(sql.LAST_SEQ))

    def document(self, address: Address) -> HeadRecord | None:
        row = self.connection.execute(f"{_HEADS} WHERE {_ADDRESS} = (?, ?, ?)", address).fetchone()
        return None if row is None else _head(*row)

    def documents(self, after: Address | None = None, collection: str | None = None) -> Iterator[HeadRecord]:
        """Give all documents, deleted ones too, by address, from the first one after `after`."""
        where: list[str] = []
        row: list[str] = []
        if after is not None:
            where.append(f"{_ADDRESS} > (?, ?, ?)")
            row += after
        if collection is not None:
            where.append("collection = ?")
            row.append(collection)
        condition = f"WHERE {' AND '.join(where)}" if where else ""
        statement = f"{_HEADS} {condition} ORDER BY tenant, collection, id"
        return starmap(_head, self.connection.execute(statement, row))

    def chain(self, latest: int) -> "array[int]":
        """Give the seqs of a document's revisions, oldest first, by going back from its head.

        Ends where a link leads nowhere, or not back. Cost: about a microsecond for each.
        """
        seqs = array("q", [seq for (seq,) in self.connection.execute(_CHAIN, (latest,))])
        seqs.reverse()
        return seqs

    def revisions(self, seqs: "array[int]") -> Iterator[LinkedRevision]:
        """Read revisions in the order of their seqs."""
        for first in range(0, len(seqs), PAGE_REVISIONS):
            wanted = f"[{','.join(map(str, seqs[first : first + PAGE_REVISIONS]))}]"
            yield from starmap(_linked, self.connection.execute(_REVISIONS, (wanted,)).fetchall())

    def snapshots(self, address: Address) -> Iterator[StoredSnapshot]:
        """Give the snapshots of a document, oldest first."""
        statement = f"SELECT seq, n, value FROM snapshots WHERE {_OF_DOCUMENT} ORDER BY n"
        for seq, n, value in self.connection.execute(statement, address):
            yield StoredSnapshot(seq, SnapshotRecord(n, value))

    def snapshot(self, address: Address, n: int) -> SnapshotRecord | None:
        """Give the newest snapshot up to revision `n`."""
        row = self.connection.execute(sql.SNAPSHOT, (*address, n)).fetchone()
        return None if row is None else SnapshotRecord(*row)

    def stored(self, head: HeadRecord, n: int) -> StoredDocument:
        """Read what the value at revision `n`, from `oldest` to the head, is made from."""
        snapshot = self.snapshot(head.address, n)
        above = snapshot.n - 1 if snapshot else 0
        seqs = array("q", find_revisions(self.connection, head.address, above, n))
        records = [linked.record for linked in self.revisions(seqs)]
        return StoredDocument(
            head.head, head.deleted, head.created, head.updated, snapshot, records, head.oldest
        )

    def collections(self, name: str | None = None) -> Iterator[CollectionRecord]:
        """Give every revision of the settings of all collections, or of one, in order."""
        condition = "" if name is None else "WHERE name = ?"
        statement = (
            f"SELECT tenant, name, n, body, author, at FROM collections {condition} ORDER BY tenant, name, n"
        )
        return starmap(CollectionRecord, self.connection.execute(statement, () if name is None else (name,)))

    def labels(self, address: Address) -> list[LabelRecord]:
        return list(starmap(LabelRecord, self.connection.execute(sql.LABELS, address)))

    def conflicts(self) -> Iterator[tuple[Address, ConflictRecord]]:
        statement = (
            "SELECT tenant, collection, document, id, author, base, head, body, opened, expires, resolved, "
            "resolved_revision FROM conflicts"
        )
        for tenant, collection, document, *record in self.connection.execute(statement):
            yield Address(tenant, collection, document), ConflictRecord(*record)

    def idempotency_keys(self) -> Iterator[tuple[str, KeyRecord]]:
        """Give all idempotency keys, each with its tenant."""
        statement = "SELECT tenant, caller, key, fingerprint, answer, 0, expires FROM idempotency"
        for tenant, *record in self.connection.execute(statement):
            yield tenant, KeyRecord(*record)

    def locks(self, address: Address | None = None) -> Iterator[LockRecord]:
        """Give all leases, or those of one document."""
        statement, row = (sql.LOCKS, ()) if address is None else (_LOCKS_OF_DOCUMENT, address)
        for tenant, collection, document, *rest in self.connection.execute(statement, row):
            yield LockRecord(Address(tenant, collection, document), *rest)

    def fence(self) -> int:
        """Give the newest fencing number."""
        return int(self._one("SELECT fence FROM store"))

    def operations(self) -> Iterator[OperationRecord]:
        """Give queued edits and finished ones, in their order."""
        for tenant, collection, document, *record in self.connection.execute(_OPERATIONS):
            yield OperationRecord(Address(tenant, collection, document), *record)

    def unlinked(self) -> Iterator[tuple[Address, int, int]]:
        """Give revisions that nothing leads to, the newest of each such chain: whose, which, and its seq."""
        for tenant, collection, document, n, seq in self.connection.execute(_UNLINKED):
            yield Address(tenant, collection, document), n, seq

    def strays(self, table: str) -> Iterator[Address]:
        """Give the documents that are not there, and have rows in a table."""
        return starmap(Address, self.connection.execute(_STRAYS.format(table=table)))

    def _one(self, statement: str) -> Any:
        row = self.connection.execute(statement).fetchone()
        return row[0] if row else ""


@contextmanager
def open_archive(path: Path, *, any_version: bool = False) -> Iterator[Archive]:
    """Open a store file to look at it. Raises StoreRefused with a message for the operator.

    `any_version` is for those who do not look into the rows: then its schema may be older or newer.
    """
    if not path.is_file():
        raise StoreRefused(f"There is no database at {path}.")
    refuse_foreign_log(path)
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", BUSY_TIMEOUT_S, isolation_level=None, uri=True
        )
    except sqlite3.Error as error:
        raise StoreRefused(f"{path} cannot be opened: {error}.") from error
    with closing(connection):
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            _check_version(connection, path, any_version)
            archive = Archive(connection)
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise StoreRefused(f"{path} cannot be opened: {error}.") from error
        yield archive


def _check_version(connection: sqlite3.Connection, path: Path, any_version: bool) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"store", "documents", "revisions"} <= tables:
        raise StoreRefused(f"{path} is not a database of plait.")
    found, known = connection.execute("SELECT schema_version FROM store").fetchone(), load_schema().version
    if found is None:
        raise StoreRefused(f"{path} is a database without an epoch.")
    if any_version:
        return
    if found[0] > known:
        raise StoreRefused(
            f"{path} was written by a newer version of plait, with schema version {found[0]} "
            f"where this program knows {known}; use that one."
        )
    if found[0] < known:
        raise StoreRefused(
            f"{path} has schema version {found[0]}, of an earlier version of plait; "
            "start `plait serve` on it once, which brings it up to date."
        )


def _head(
    tenant: str,
    collection: str,
    id: str,
    head: int,
    latest: int,
    deleted: int,
    created: int,
    updated: int,
    oldest: int,
) -> HeadRecord:
    return HeadRecord(Address(tenant, collection, id), head, latest, bool(deleted), created, updated, oldest)


def _linked(
    tenant: str, collection: str, document: str, previous: int | None, *record: Any
) -> LinkedRevision:
    return LinkedRevision(Address(tenant, collection, document), previous, RevisionRecord(*record))


_OR_NULL = ", 'null'"
_ADDRESS = "(tenant, collection, id)"
_OF_DOCUMENT = "tenant = ? AND collection = ? AND document = ?"
_LOCKS_OF_DOCUMENT = f"SELECT * FROM ({sql.LOCKS}) WHERE {_OF_DOCUMENT}"
_HEADS = "SELECT tenant, collection, id, head, latest, deleted, created, updated, oldest FROM documents"
_OPERATIONS = """
SELECT tenant, collection, document, id, caller, author, body, accepted, place, done, answer, expires
FROM operations ORDER BY place
"""
_UNLINKED = """
SELECT tenant, collection, document, n, seq FROM revisions
WHERE seq NOT IN (SELECT previous FROM revisions WHERE previous IS NOT NULL)
AND seq NOT IN (SELECT latest FROM documents) ORDER BY seq
"""
_STRAYS = """
SELECT DISTINCT tenant, collection, document FROM {table} AS stray WHERE NOT EXISTS (
    SELECT 1 FROM documents AS d
    WHERE (d.tenant, d.collection, d.id) = (stray.tenant, stray.collection, stray.document))
"""
# A link that does not lead back ends the chain: whatever the file holds, this comes to an end.
_CHAIN = """
WITH RECURSIVE chain (seq, previous) AS (
    SELECT seq, previous FROM revisions WHERE seq = ?
    UNION ALL
    SELECT r.seq, r.previous FROM chain JOIN revisions AS r ON r.seq = chain.previous
    WHERE r.seq < chain.seq
)
SELECT seq FROM chain
"""
_REVISIONS = """
SELECT tenant, collection, document, previous, n, kind, patch, base, submitted, author, caller, revisions.key,
       at, message, trace, policy, seq
FROM json_each(?) AS wanted CROSS JOIN revisions ON seq = wanted.value
"""
