"""Writing whole histories into a store that nobody serves: each in one piece, many of them in one sync."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from plait_server.store import statements as sql
from plait_server.store.archive import Archive, HeadRecord
from plait_server.store.record import Address, CollectionRecord, LabelRecord, RevisionRecord, SnapshotRecord


class Intake:
    """Writes to a held file (see `file.hold_file`). Every function raises sqlite3.Error.

    What is written is durable after `commit`; `archive` sees it at once.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.archive = Archive(connection)
        connection.execute(sql.BEGIN)
        self._seq = self.archive.last_seq()

    def commit(self) -> None:
        """Make what was written durable."""
        self._connection.execute("COMMIT")
        self._connection.execute(sql.BEGIN)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Let what is written meanwhile be there in full, or not at all where an error ends it."""
        self._connection.execute("SAVEPOINT whole")
        seq = self._seq
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO whole")
                self._connection.execute("RELEASE whole")
            self._seq = seq
            raise
        self._connection.execute("RELEASE whole")

    def add_revision(self, address: Address, previous: int | None, record: RevisionRecord) -> int:
        """Write a revision behind all others; give its seq. `previous` is the seq of the one before it."""
        self._seq += 1
        row = (
            self._seq,
            previous,
            *address,
            record.n,
            record.kind,
            record.patch,
            record.base,
            record.submitted,
            record.author,
            record.caller,
            record.key,
            record.at,
            record.message,
            record.trace,
            record.policy,
        )
        self._connection.execute(_INSERT_REVISION, row)
        return self._seq

    def add_snapshot(self, address: Address, seq: int, snapshot: SnapshotRecord) -> None:
        self._connection.execute(sql.INSERT_SNAPSHOT, (*address, snapshot.n, seq, snapshot.value))

    def put_head(self, head: HeadRecord) -> None:
        """Write the row of a document, or move its head."""
        row = (
            *head.address,
            head.head,
            head.latest,
            head.oldest,
            head.deleted,
            head.created,
            head.updated,
        )
        self._connection.execute(_PUT_HEAD, row)

    def add_label(self, address: Address, label: LabelRecord) -> None:
        """Write a label; one of the same name stays as it is."""
        self._connection.execute(_ADD_LABEL, (*address, label.name, label.n, label.author, label.at))

    def count_collections(self, tenant: str) -> int:
        """Count the collections of a tenant that have settings."""
        row = self._connection.execute(_COUNT_COLLECTIONS, (tenant,)).fetchone()
        return int(row[0])

    def add_collection(self, record: CollectionRecord) -> None:
        row = (record.tenant, record.name, record.n, record.body, record.author, record.at)
        self._connection.execute(sql.INSERT_COLLECTION, row)


_INSERT_REVISION = sql.of_rows(sql.INSERT_REVISION, columns=17, rows=1)
_PUT_HEAD = """
INSERT INTO documents (tenant, collection, id, head, latest, oldest, deleted, created, updated)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
SET head = excluded.head, latest = excluded.latest, deleted = excluded.deleted, updated = excluded.updated
"""
_ADD_LABEL = "INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_COUNT_COLLECTIONS = "SELECT count(DISTINCT name) FROM collections WHERE tenant = ?"
