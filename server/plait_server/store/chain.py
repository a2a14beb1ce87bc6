"""The way to the revisions of a document: each names the one before it."""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import starmap

from plait_server.store import statements as sql
from plait_server.store.record import Address, RevisionRecord, SnapshotRecord, StoredDocument


def find_revisions(connection: sqlite3.Connection, address: Address, above: int, upto: int) -> list[int]:
    """Give the seqs of the revisions with above < n <= upto, oldest first.

    Cost: about a microsecond for each, and for each between the last of them and the next snapshot.
    """
    return sorted(seq for (seq,) in connection.execute(sql.CHAIN, (*address, above, upto)))


def read_revisions(connection: sqlite3.Connection, seqs: Iterable[int]) -> Iterator[RevisionRecord]:
    """Read revisions one by one, in the order of `seqs`."""
    wanted = f"[{','.join(map(str, seqs))}]"
    return starmap(RevisionRecord, connection.execute(sql.REVISIONS, (wanted,)))


def load_document(
    connection: sqlite3.Connection, address: Address, revision: int | None
) -> StoredDocument | None:
    """Read what a value is made from: see `Store.load`."""
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
