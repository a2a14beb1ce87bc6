"""Pages of what may be long: each ends with the record that makes it weigh more than it may."""

import sqlite3
from collections.abc import Iterator
from itertools import starmap
from typing import TypeVar

from plait_server.store import statements as sql
from plait_server.store.chain import find_revisions, read_revisions
from plait_server.store.record import Address, ChangeRow, ConflictRecord, RevisionRecord

Record = TypeVar("Record", RevisionRecord, ConflictRecord, ChangeRow)


def read_history(
    connection: sqlite3.Connection,
    address: Address,
    above: int,
    upto: int,
    limit: int,
    newest_first: bool,
    bytes_max: int | None,
) -> list[RevisionRecord]:
    """Read some revisions of a document: see `Store.revisions`."""
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


def read_changes(
    connection: sqlite3.Connection, tenant: str, above: int, limit: int, bytes_max: int | None
) -> list[ChangeRow]:
    """Read revisions of all documents of a tenant: see `Store.changes`."""
    return _bounded(_changes(connection, tenant, above, limit), bytes_max)


def _changes(connection: sqlite3.Connection, tenant: str, above: int, limit: int) -> Iterator[ChangeRow]:
    for collection, document, *record, compacted in connection.execute(sql.CHANGES, (above, tenant, limit)):
        revision, value = RevisionRecord(*record), None
        if compacted:
            address = Address(tenant, collection, document)
            found = connection.execute(sql.SNAPSHOT_OF, (*address, revision.n)).fetchone()
            value = found[0] if found else None
        yield ChangeRow(collection, document, revision, bool(compacted), value)


def read_conflicts(
    connection: sqlite3.Connection,
    address: Address,
    before: str | None,
    now: int,
    limit: int,
    bytes_max: int | None,
) -> list[ConflictRecord]:
    """Read open conflicts of a document: see `Store.conflicts`."""
    rows = connection.execute(sql.CONFLICTS, (*address, before, now, limit))
    return _bounded(starmap(ConflictRecord, rows), bytes_max)


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
