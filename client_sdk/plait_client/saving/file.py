"""The file of an outbox: one process has it, and makes it or brings it up to date before it is used."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import aiosqlite

from plait_client.errors import OutboxUnusable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

BUSY_TIMEOUT_S: Final = 5.0
JOURNAL_BYTES_MAX: Final = 16_777_216
SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x504C4F42
"""Marks a file as an outbox ("PLOB"): no other program's database is touched."""

_SCHEMA: Final = (
    """
    CREATE TABLE documents (
        name TEXT PRIMARY KEY, revision INTEGER NOT NULL, epoch TEXT NOT NULL, value BLOB
    ) STRICT
    """,
    """
    CREATE TABLE steps (
        document TEXT NOT NULL, revision INTEGER NOT NULL, patch BLOB NOT NULL, bytes_so_far INTEGER NOT NULL,
        PRIMARY KEY (document, revision)
    ) STRICT
    """,
    """
    CREATE TABLE flights (
        document TEXT PRIMARY KEY, key TEXT NOT NULL, base INTEGER NOT NULL, epoch TEXT NOT NULL,
        patch BLOB NOT NULL, message TEXT, made_at REAL NOT NULL, shown BLOB, body BLOB, hold BLOB
    ) STRICT
    """,
    """
    CREATE TABLE edits (
        document TEXT NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL, patch BLOB NOT NULL,
        message TEXT, made_at REAL NOT NULL, hold BLOB,
        PRIMARY KEY (document, position), UNIQUE (document, key)
    ) STRICT
    """,
    """
    CREATE TABLE failed (
        key TEXT PRIMARY KEY, document TEXT NOT NULL, patch BLOB NOT NULL, message TEXT,
        made_at REAL NOT NULL, reason TEXT NOT NULL, conflict BLOB NOT NULL, failed_at REAL NOT NULL
    ) STRICT
    """,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_MIGRATIONS: Final = {
    0: _SCHEMA,
    1: (
        "ALTER TABLE flights ADD COLUMN hold BLOB",
        "ALTER TABLE edits ADD COLUMN hold BLOB",
        "PRAGMA user_version = 2",
    ),
}
"""What leads from a version of the schema to a later one."""

NAMES: Final = "SELECT document FROM edits UNION SELECT document FROM flights ORDER BY document"

Result = TypeVar("Result")


def hold(path: Path) -> IO[bytes]:
    """Lock the file beside the database. The lock ends with the process, however that ends."""
    try:
        path.touch(mode=0o600)  # other people's documents are nobody's business
        lock = open(f"{path}.lock", "ab")  # noqa: SIM115 - held open as long as the outbox is
    except OSError as error:
        raise OutboxUnusable(f"{path} cannot be written: {error.strerror}.") from error
    try:
        if sys.platform == "win32":
            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise OutboxUnusable(f"{path} is in use by another process, or open here already.") from error
    return lock


async def connect(path: Path) -> aiosqlite.Connection:
    connection = aiosqlite.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        return await connection
    except sqlite3.Error:
        # aiosqlite tells its thread to end and does not wait: the thread would find the loop closed.
        await asyncio.to_thread(connection._thread.join)
        raise


def prepare(connection: sqlite3.Connection) -> None:
    """Look whose file this is before anything in it is changed; then set it up."""
    if _read_schema(connection) > SCHEMA_VERSION:
        raise sqlite3.DatabaseError("it was written by a newer version of plait; use that one")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}")
    in_transaction(connection, _migrate)


def _read_schema(connection: sqlite3.Connection) -> int:
    """Tell the version of the schema in the file, 0 when it is empty."""
    version = number(connection, "PRAGMA user_version")
    if number(connection, "PRAGMA application_id") == APPLICATION_ID:
        return version
    if version or number(connection, "SELECT COUNT(*) FROM sqlite_master"):
        raise sqlite3.DatabaseError("it is a database of another program")
    return 0


def _migrate(connection: sqlite3.Connection) -> None:
    while (version := _read_schema(connection)) < SCHEMA_VERSION:
        for statement in _MIGRATIONS[version]:
            connection.execute(statement)
    drop_idle(connection)


def in_transaction(connection: sqlite3.Connection, job: Callable[..., Result], *arguments: object) -> Result:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = job(connection, *arguments)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def drop_idle(connection: sqlite3.Connection) -> None:
    """Forget the values of documents without edits."""
    connection.execute(f"DELETE FROM documents WHERE name NOT IN ({NAMES})")
    connection.execute("DELETE FROM steps WHERE document NOT IN (SELECT name FROM documents)")


def fetch(
    connection: sqlite3.Connection, statement: str, row: tuple[object, ...] = ()
) -> list[tuple[Any, ...]]:
    return connection.execute(statement, row).fetchall()


def number(connection: sqlite3.Connection, statement: str) -> int:
    number: int = connection.execute(statement).fetchone()[0]
    return number
