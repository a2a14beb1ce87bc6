"""Compaction of a document's history: the oldest revisions go, a step at a time.

Each step is one small transaction after which everything holds again: the oldest revision can be read by
itself, every one after it is there, and of those before it only labelled ones, each readable by itself.
"""

import sqlite3

from plait_server.store import statements as sql
from plait_server.store.chain import find_revisions
from plait_server.store.record import Address, Floor
from plait_server.wire import encode


def find_floor(
    connection: sqlite3.Connection, address: Address, upto: int, young: int | None, rows_max: int
) -> Floor | None:
    """Find the revision that one step may make the oldest: see `Store.floor`.

    Where the step ends only because it would be too long, it ends at a snapshot if there is one on the way.
    """
    document = connection.execute(sql.RANGE, address).fetchone()
    if document is None:
        return None
    head, oldest = document
    last = min(upto, head)
    n = min(last, oldest + rows_max)
    if young is not None:
        n = _first_young(connection, address, oldest, n, young)
    if n <= oldest:
        return None
    whole = {n for (n,) in connection.execute(sql.SNAPSHOTS_BETWEEN, (*address, oldest + 1, n))}
    if oldest + rows_max == n < last and whole:
        n = max(whole)
    return Floor(oldest, n, n in whole or _stands_alone(connection, address, n))


def _first_young(connection: sqlite3.Connection, address: Address, oldest: int, upto: int, young: int) -> int:
    """Give the first revision that is young, `upto` where there is none before."""
    seqs = find_revisions(connection, address, oldest - 1, upto)
    moments = connection.execute(sql.MOMENTS, (encode(seqs).decode(),))
    return next((n for n, at in moments if at >= young), upto)


def _stands_alone(connection: sqlite3.Connection, address: Address, n: int) -> bool:
    """Say whether the patch of a revision leads to its value from anything: it creates or deletes."""
    return any(
        connection.execute(sql.KIND, (seq,)).fetchone()[0] != "edit"
        for seq in find_revisions(connection, address, n - 1, n)
    )


def compact(
    connection: sqlite3.Connection, address: Address, floor: Floor, value: bytes | None, spare_labelled: bool
) -> bool:
    """Make `floor` the oldest revision: see `Store.compact`.

    Runs inside the writer's transaction. Cost: about 2 us for each revision that goes, and a page of the log
    for each page of the file they are on.
    """
    seqs = find_revisions(connection, address, floor.n - 1, floor.n)
    if not seqs or not connection.execute(sql.MOVE_OLDEST, (floor.n, *address, floor.oldest)).rowcount:
        return False
    if value is not None:
        connection.execute(sql.INSERT_SNAPSHOT, (*address, floor.n, seqs[0], value))
    if not spare_labelled:
        connection.execute(sql.DROP_LABELS_BEFORE, (*address, floor.n))
    drop_before(connection, address, floor.n, seqs[0])
    return True


def drop_before(connection: sqlite3.Connection, address: Address, oldest: int, seq: int) -> None:
    """Remove the revisions before number `oldest`, which is `seq`, except labelled ones."""
    labelled = {n for (n,) in connection.execute(sql.LABELLED_BEFORE, (*address, oldest))}
    older = connection.execute(sql.BEFORE, (seq,)).fetchall()
    kept = [(each, n) for each, n in older if n in labelled]
    gone = [each for each, n in older if n not in labelled]
    connection.execute(sql.DROP_REVISIONS, (encode(gone).decode(),))
    connection.execute(sql.DROP_SNAPSHOTS, (*address, oldest, encode([n for _, n in kept]).decode()))
    chain = [seq, *(each for each, _ in kept)]
    connection.executemany(sql.RELINK, list(zip([*chain[1:], None], chain, strict=True)))
