"""Names of revisions. A labelled revision can be read by itself, so that those around it may go."""

import sqlite3

from plait_server.store import statements as sql
from plait_server.store.chain import find_revisions
from plait_server.store.record import Address, Labelled, LabelRecord, LabelResult, NoRevision, NoRoom
from plait_server.store.retention import drop_before


def put_label(
    connection: sqlite3.Connection, address: Address, label: LabelRecord, value: bytes | None, labels_max: int
) -> LabelResult:
    """Name a revision, inside the writer's transaction: see `Store.put_label`."""
    seqs = find_revisions(connection, address, label.n - 1, label.n)
    if not seqs:
        return NoRevision()
    row = connection.execute(sql.LABEL, (*address, label.name)).fetchone()
    before = LabelRecord(*row) if row else None
    if before is not None and before.n == label.n:
        return Labelled(before)
    if before is None and connection.execute(sql.COUNT_LABELS, address).fetchone()[0] >= labels_max:
        return NoRoom()
    if value is not None:
        connection.execute(sql.INSERT_SNAPSHOT, (*address, label.n, seqs[0], value))
    connection.execute(sql.PUT_LABEL, (*address, label.name, label.n, label.author, label.at))
    if before is not None:
        _release(connection, address, before.n)
    return Labelled(before)


def drop_label(connection: sqlite3.Connection, address: Address, name: str) -> bool:
    """Take a label away, inside the writer's transaction: see `Store.drop_label`."""
    row = connection.execute(sql.LABEL, (*address, name)).fetchone()
    if row is None:
        return False
    connection.execute(sql.DROP_LABEL, (*address, name))
    _release(connection, address, LabelRecord(*row).n)
    return True


def _release(connection: sqlite3.Connection, address: Address, n: int) -> None:
    """Remove a revision that only its label kept."""
    _, oldest = connection.execute(sql.RANGE, address).fetchone()
    if n < oldest:
        [seq] = find_revisions(connection, address, oldest - 1, oldest)
        drop_before(connection, address, oldest, seq)
