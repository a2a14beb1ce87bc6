"""Leases in SQLite, as plain functions on the database's thread. Each is a whole transaction of its own."""

import sqlite3
from collections.abc import Sequence

from plait_server.store import statements as sql
from plait_server.store.record import Address, HeldLock, LockRecord


def put_lock(connection: sqlite3.Connection, record: LockRecord, gone: Sequence[HeldLock]) -> int:
    drop_locks(connection, gone)
    fence: int = connection.execute(sql.NEXT_FENCE).fetchone()[0]
    row = (
        *record.address,
        record.id,
        record.pointer,
        record.revision,
        record.holder,
        record.caller,
        record.ttl_ms,
        record.expires,
        fence,
    )
    connection.execute(sql.INSERT_LOCK, row)
    return fence


def renew_lock(connection: sqlite3.Connection, record: LockRecord) -> bool:
    row = (record.pointer, record.revision, record.ttl_ms, record.expires, *_key(record.held))
    return connection.execute(sql.RENEW_LOCK, row).rowcount == 1


def move_locks(connection: sqlite3.Connection, records: Sequence[LockRecord]) -> None:
    rows = [(record.pointer, record.revision, *_key(record.held)) for record in records]
    connection.executemany(sql.MOVE_LOCK, rows)


def drop_locks(connection: sqlite3.Connection, locks: Sequence[HeldLock]) -> None:
    connection.executemany(sql.DELETE_LOCK, map(_key, locks))


def read_locks(connection: sqlite3.Connection) -> list[LockRecord]:
    return [
        LockRecord(Address(tenant, collection, document), *rest)
        for tenant, collection, document, *rest in connection.execute(sql.LOCKS)
    ]


def _key(lock: HeldLock) -> tuple[object, ...]:
    address, hold = lock
    return (*address, hold.lock, hold.fence)
