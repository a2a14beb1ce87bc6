"""The disk of the simulation as the file it would be, for the invariants that are asked of files."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache

from plait_server.store import statements as sql
from plait_server.store.archive import HeadRecord
from plait_server.store.intake import Intake
from plait_server.store.record import SnapshotRecord
from plait_server.store.schema import load_schema
from simulation.memory_store import Disk, Kept


@contextmanager
def empty_archive() -> Iterator[sqlite3.Connection]:
    """Open an empty store in memory, of the schema that files have."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(_empty())
        yield connection


@cache
def _empty() -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema = load_schema()
        connection.executescript(schema.script)
        connection.execute(sql.INSERT_STORE, ("epoch-1", schema.version))
        return connection.serialize()


def fill(connection: sqlite3.Connection, disk: Disk) -> None:
    """Write everything that is on a disk."""
    intake = Intake(connection)
    for address, kept in disk.documents.items():
        intake.put_head(
            HeadRecord(
                address,
                kept.head,
                kept.revisions[kept.head].seq,
                kept.deleted,
                kept.created,
                kept.updated,
                kept.oldest,
            )
        )
        for label in kept.labels.values():
            connection.execute(sql.PUT_LABEL, (*address, label.name, label.n, label.author, label.at))
        for n, value in kept.snapshots.items():
            intake.add_snapshot(address, kept.revisions[n].seq, SnapshotRecord(n, value))
    _fill_revisions(connection, disk)
    for (tenant, _, _), key in disk.keys.items():
        kept_key = (tenant, key.caller, key.key, key.fingerprint, key.answer, key.expires)
        connection.execute(sql.of_rows(sql.INSERT_KEY, len(kept_key), 1), (*kept_key, key.stored))
    _fill_rest(connection, disk)


def _fill_revisions(connection: sqlite3.Connection, disk: Disk) -> None:
    previous: dict[int, int | None] = {}
    for kept in disk.documents.values():
        previous |= _links(kept)
    for seq, (address, n) in disk.feed.items():
        record = disk.documents[address].revisions[n]
        row = (
            *(seq, previous[seq], *address, n, record.kind, record.patch, record.base, record.submitted),
            *(record.author, record.caller, record.key, record.at, record.message, record.trace),
            record.policy,
        )
        connection.execute(sql.of_rows(sql.INSERT_REVISION, len(row), 1), row)


def _links(kept: Kept) -> dict[int, int | None]:
    """Give the seq before each, by the seqs of a document."""
    seqs = [kept.revisions[n].seq for n in sorted(kept.revisions)]
    return dict(zip(seqs, [None, *seqs], strict=False))


def _fill_rest(connection: sqlite3.Connection, disk: Disk) -> None:
    for address, conflicts in disk.conflicts.items():
        for c in conflicts.values():
            row = (*address, c.id, c.author, c.base, c.head, c.body, c.opened, c.expires)
            connection.execute(sql.INSERT_CONFLICT, row)
            if c.resolved is not None:
                connection.execute(sql.SETTLE_CONFLICT, (c.resolved, c.resolved_revision, *address, c.id))
    for records in disk.collections.values():
        for r in records:
            connection.execute(sql.INSERT_COLLECTION, (r.tenant, r.name, r.n, r.body, r.author, r.at))
    for o in sorted(disk.operations.values(), key=lambda operation: operation.place):
        accepted = (*o.address, o.id, o.caller, o.author, o.body, o.accepted)
        connection.execute(sql.INSERT_OPERATION, accepted)
        if o.done is not None:
            done = (o.answer, o.done, o.expires, o.address.tenant, o.id)
            connection.execute(sql.FINISH_OPERATION, done)
    connection.execute("UPDATE store SET fence = ?, time = ?", (disk.fence, disk.time))
    for lock in disk.locks.values():
        place = (lock.pointer, lock.revision, lock.holder, lock.caller, lock.ttl_ms, lock.expires)
        connection.execute(sql.INSERT_LOCK, (*lock.address, lock.id, *place, lock.fence))
