"""The file of a store: one process holds it, and makes it or brings it up to date before it is used."""

import contextlib
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from plait_server.errors import StoreRefused
from plait_server.store import statements as sql
from plait_server.store.connection import BUSY_TIMEOUT_S, in_transaction
from plait_server.store.schema import Schema, load_schema, statements

PAGES_BETWEEN_CHECKPOINTS: Final = 4_000
WITHOUT_LOG: Final = b"\x01\x01"
"""What the header of a database says at its 18th byte that has no write-ahead log."""


class Strange(Exception):
    """The database is none that this program can use; the message ends a sentence about the file."""


@contextlib.contextmanager
def hold_file(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold a file alone, made or migrated, and give the connection that may write to it.

    For work on a store that nobody serves meanwhile. Raises StoreRefused.
    """
    with contextlib.closing(hold(path)):
        refuse_foreign_log(path)
        with contextlib.closing(sqlite3.connect(path, BUSY_TIMEOUT_S, isolation_level=None)) as connection:
            try:
                prepare(connection, load_schema())
            except (sqlite3.Error, Strange) as error:
                raise StoreRefused(f"{path} cannot be opened: {error}.") from error
            yield connection


def hold(path: Path) -> IO[str]:
    """Lock the file beside the database; the lock ends with the process, however that ends.

    Raises StoreRefused.
    """
    if path.exists() and not os.access(path, os.W_OK):
        raise StoreRefused(f"{path} is read-only.")
    try:
        lock = open(lock_file(path), "a")  # noqa: SIM115 - held open as long as the store is
    except OSError as error:
        raise StoreRefused(f"{path} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise StoreRefused(f"{path} is in use by another server.") from error
    return lock


def lock_file(path: Path) -> Path:
    # Beside the file itself: a link to it is another way to the same file.
    return Path(f"{os.path.realpath(path)}.lock")


def refuse_foreign_log(path: Path) -> None:
    """Refuse a backup beside the log of the database that was there before it.

    SQLite would write that log into it. The header of a backup says that it has no log; that of a database
    that a server opened says otherwise, before there is one. Raises StoreRefused.
    """
    log = Path(f"{path}-wal")
    if not path.is_file():
        return  # to open something else, a pipe say, may take for ever
    try:
        with path.open("rb") as file:
            versions = file.read(20)[18:]
        is_foreign = versions == WITHOUT_LOG and log.stat().st_size > 0
    except OSError:
        return
    if is_foreign:
        raise StoreRefused(
            f"{log} is the log of another database that was here before; move it away, "
            f"and {path}-shm with it."
        )


def prepare(connection: sqlite3.Connection, schema: Schema, pages_max: int | None = None) -> tuple[str, int]:
    """Set a new connection of the writer up and bring the schema to its version; give epoch and time.

    `pages_max` bounds the size of the file. Raises Strange and sqlite3.Error.
    """
    execute = connection.execute
    _version(connection, schema)  # before anything is changed in a file that is not ours
    execute("PRAGMA journal_mode = WAL")
    execute("PRAGMA synchronous = FULL")
    execute(f"PRAGMA wal_autocheckpoint = {PAGES_BETWEEN_CHECKPOINTS}")
    execute("PRAGMA journal_size_limit = 67108864")
    if pages_max is not None:
        execute(f"PRAGMA max_page_count = {pages_max}")
    in_transaction(connection, lambda connection: _migrate(connection, schema))
    epoch, time = execute("SELECT epoch, time FROM store").fetchone()
    return epoch, time


def _migrate(connection: sqlite3.Connection, schema: Schema) -> None:
    version = _version(connection, schema)
    if version == 0:
        _execute_all(connection, schema.script)
        connection.execute(sql.INSERT_STORE, (secrets.token_hex(8), schema.version))
        return
    # Nothing is written where nothing is to be done: the disk may be full, and reads go on then.
    for step in range(version + 1, schema.version + 1):
        _execute_all(connection, schema.steps[step])
        connection.execute("UPDATE store SET schema_version = ?", (step,))
    # A backup has none: each time one is opened it goes a way of its own (docs/decisions/0018).
    connection.execute("UPDATE store SET epoch = ? WHERE epoch = ''", (secrets.token_hex(8),))


def _version(connection: sqlite3.Connection, schema: Schema) -> int:
    """Tell the version of the schema in the file, 0 when it is empty. Raises Strange."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return 0
    if not {"store", "documents", "revisions"} <= tables:
        raise Strange("it is an SQLite database of another program")
    row = connection.execute("SELECT schema_version FROM store").fetchone()
    if row is None:
        raise Strange("it is a database without an epoch")
    version: int = row[0]
    if version > schema.version:
        raise Strange(
            f"it was written by a newer version of plait, with schema version {version} "
            f"where this program knows {schema.version}; use that one"
        )
    return version


def _execute_all(connection: sqlite3.Connection, script: str) -> None:
    for statement in statements(script):
        connection.execute(statement)
