"""The way to the revisions of a document: each names the one before it."""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import starmap

from plait_server.store import statements as sql
from plait_server.store.record import Address, RevisionRecord


def find_revisions(connection: sqlite3.Connection, address: Address, above: int, upto: int) -> list[int]:
    """Give the seqs of the revisions with above < n <= upto, oldest first.

    Cost: about a microsecond for each, and for each between the last of them and the next snapshot.
    """
    return sorted(seq for (seq,) in connection.execute(sql.CHAIN, (*address, above, upto)))


def read_revisions(connection: sqlite3.Connection, seqs: Iterable[int]) -> Iterator[RevisionRecord]:
    """Read revisions one by one, in the order of `seqs`."""
    wanted = f"[{','.join(map(str, seqs))}]"
    return starmap(RevisionRecord, connection.execute(sql.REVISIONS, (wanted,)))
