"""Edits that were accepted to be decided later: plain functions over a connection, on the database's thread.

What is written stays in the order of its `place`. An edit that is finished keeps its answer until it expires;
what was submitted is dropped then: history has it, or the kept conflict.
"""

import sqlite3
from collections.abc import Sequence

from msgspec.structs import replace

from plait_server.errors import OutcomeUnknown
from plait_server.store import statements as sql
from plait_server.store.record import Address, KeyRecord, KeyTaken, OperationDone, OperationRecord

Row = tuple[object, ...]


def accept_operations(
    connection: sqlite3.Connection, operations: Sequence[OperationRecord], now: int
) -> list[OperationRecord | KeyTaken]:
    """Write operations in this order, within a transaction; give each as it is stored.

    Where there is one with the same id, not expired, that one stays and is given. One whose idempotency key
    has an answer is not written.
    """
    return [_accept(connection, operation, now) for operation in operations]


def _accept(
    connection: sqlite3.Connection, operation: OperationRecord, now: int
) -> OperationRecord | KeyTaken:
    address = operation.address
    if operation.key is not None:
        scope = (address.tenant, operation.caller, operation.key)
        row = connection.execute(sql.KEY, scope).fetchone()
        if row is not None and (record := KeyRecord(*row)).expires > now:
            return KeyTaken(record)
    connection.execute(sql.DROP_EXPIRED_OPERATION, (address.tenant, operation.id, now))
    row = (*address, operation.id, operation.caller, operation.author, operation.body, operation.accepted)
    inserted = connection.execute(sql.INSERT_OPERATION, row)
    if inserted.rowcount == 1:
        return replace(operation, place=inserted.lastrowid, key=None)
    stored = read_operation(connection, address.tenant, operation.id)
    assert stored is not None
    return stored


def accepted_operations(
    connection: sqlite3.Connection, operations: Sequence[OperationRecord], now: int
) -> list[OperationRecord | KeyTaken] | None:
    """Find out whether operations whose transaction failed are there after all; None: none of them is.
    One that has expired `now` is not.

    Raises OutcomeUnknown where only some are: those were there before, of the others nothing is known.
    """
    found = [read_operation(connection, each.address.tenant, each.id) for each in operations]
    stored = [
        record for record in found if record is not None and (record.expires is None or record.expires > now)
    ]
    if not stored:
        return None
    if len(stored) < len(operations):
        raise OutcomeUnknown("The commit failed, and some of it was there before.")
    return [*stored]


def read_operation(connection: sqlite3.Connection, tenant: str, id: str) -> OperationRecord | None:
    """Read an operation, whatever became of it."""
    row = connection.execute(sql.OPERATION, (tenant, id)).fetchone()
    return None if row is None else _read(row)


def waiting_operations(
    connection: sqlite3.Connection, above: int, limit: int, bytes_max: int
) -> list[OperationRecord]:
    """Read operations that wait, by place from the first one above; end with the one that makes them weigh
    over `bytes_max`."""
    waiting: list[OperationRecord] = []
    weight = 0
    for row in connection.execute(sql.WAITING_OPERATIONS, (above, limit)):
        waiting.append(_read(row))
        weight += len(waiting[-1].body)
        if weight > bytes_max:
            break
    return waiting


def finish_operation(connection: sqlite3.Connection, tenant: str, done: OperationDone) -> None:
    """Keep what came of an operation that wrote nothing. One that is finished stays as it is."""
    connection.execute(sql.FINISH_OPERATION, operation_row(tenant, done))


def operation_row(tenant: str, done: OperationDone) -> Row:
    """Give the row that finishes an operation."""
    return (done.answer, done.done, done.expires, tenant, done.id)


def prune_operations(connection: sqlite3.Connection, now: int, rows_max: int) -> None:
    """Drop finished operations that have expired."""
    connection.execute(sql.PRUNE_OPERATIONS, (now, rows_max))


def _read(row: tuple[object, ...]) -> OperationRecord:
    tenant, collection, document, *rest = row
    return OperationRecord(Address(str(tenant), str(collection), str(document)), *rest)  # type: ignore[arg-type]
