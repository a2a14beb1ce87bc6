"""Edits that are not saved yet, in one SQLite file: they survive a crash and wait out days offline.

Of each document that has such edits the outbox keeps what the replica exports: the confirmed value, the
edit in flight as it was sent, and the pending edits in order. What a method returned for is synced to disk
(WAL, `synchronous=FULL`). Each act is one transaction, run as one job on the connection's own thread, so
acts happen in the order they were called in. One process at a time has the file.

Nothing is dropped to make room: a limit refuses the edit that would pass it. Edits that cannot be saved any
more are kept as `failed` until somebody discards them.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import aiosqlite
import msgspec

from plait_client.errors import OutboxFull, OutboxUnusable
from plait_client.replica.edit import Edit, Flight, Patch, State
from plait_merge import ABSENT, Absent, Json

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

BYTES_MAX: Final = 67_108_864
EDITS_MAX: Final = 10_000
BUSY_TIMEOUT_S: Final = 5.0
JOURNAL_BYTES_MAX: Final = 16_777_216
SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x504C4F42
"""Marks a file as an outbox ("PLOB"): no other program's database is touched."""

_SCHEMA: Final = (
    """
    CREATE TABLE documents (
        name TEXT PRIMARY KEY, revision INTEGER NOT NULL, epoch TEXT NOT NULL, value BLOB
    ) STRICT
    """,
    """
    CREATE TABLE flights (
        document TEXT PRIMARY KEY, key TEXT NOT NULL, base INTEGER NOT NULL, epoch TEXT NOT NULL,
        patch BLOB NOT NULL, message TEXT, made_at REAL NOT NULL, shown BLOB, body BLOB
    ) STRICT
    """,
    """
    CREATE TABLE edits (
        document TEXT NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL, patch BLOB NOT NULL,
        message TEXT, made_at REAL NOT NULL, PRIMARY KEY (document, position), UNIQUE (document, key)
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

_KEYS: Final = "SELECT key FROM edits WHERE document = ? UNION ALL SELECT key FROM flights WHERE document = ?"
_FIRST_EDIT: Final = "SELECT position, key, patch FROM edits WHERE document = ? ORDER BY position LIMIT 1"
_PENDING: Final = "SELECT key, patch, message, made_at FROM edits WHERE document = ? ORDER BY position"
_FLIGHT: Final = """
    SELECT key, base, epoch, patch, message, made_at, shown, body FROM flights WHERE document = ?
"""
_UNSAVED: Final = """
    SELECT COUNT(*), MIN(made_at) FROM (SELECT made_at FROM edits UNION ALL SELECT made_at FROM flights)
"""
_INSERT_EDIT: Final = "INSERT INTO edits VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_FAILED: Final = "INSERT OR REPLACE INTO failed VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

Result = TypeVar("Result")
_encode = msgspec.json.encode
_decode = msgspec.json.decode


@dataclass(frozen=True, slots=True)
class Stored:
    """What is kept of a document; `body` is what the flight was sent as, None if it never was."""

    state: State
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class FailedEdit:
    """An edit that cannot be saved as it is. Times are seconds since 1970.

    `reason` is a sentence, `conflict` whatever else there is to say, as JSON.
    """

    document: str
    key: str
    patch: Patch
    message: str | None
    made_at: float
    reason: str
    conflict: Json = None
    failed_at: float = 0.0


class Outbox:
    """The unsaved edits of one client. Open it with `Outbox.open`.

    Everything raises OutboxUnusable where the file cannot be read or written; nothing has changed then.
    """

    def __init__(self, path: Path, limits: _Limits, now: Callable[[], float], lock: IO[bytes]) -> None:
        self._path = path
        self._limits = limits
        self._now = now
        self._lock = lock
        self._connection: aiosqlite.Connection | None = None

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        bytes_max: int = BYTES_MAX,
        edits_max: int = EDITS_MAX,
        age_max_s: float | None = None,
        now: Callable[[], float] = time.time,
    ) -> Outbox:
        """Open the file, making it where there is none, and hold it until `close` or the end of the process.

        A new edit is refused where the file's content is more than `bytes_max`, where more than `edits_max`
        edits are not saved, and while the oldest of them is older than `age_max_s`. Raises OutboxUnusable
        for a file that another process has, that a newer version wrote, or that is none of ours.
        """
        path = Path(path)
        outbox = cls(path, _Limits(bytes_max, edits_max, age_max_s), now, _hold(path))
        try:
            outbox._connection = await _connect(path)
            await outbox._run(_prepare)
        except BaseException as error:
            await outbox.close()
            if isinstance(error, sqlite3.Error):
                raise OutboxUnusable(f"{path} cannot be opened: {error}.") from error
            raise
        return outbox

    async def close(self) -> None:
        """Let go of the file, after what was begun. Closing twice does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        self._lock.close()

    async def save(
        self, name: str, state: State, *, body: bytes | None = None, failed: Sequence[FailedEdit] = ()
    ) -> None:
        """Replace everything that is stored of a document, and keep `failed` with it.

        A flight that was stored before keeps the bytes it was frozen as; `body` is for a new one. A state
        without edits is not kept. Raises OutboxFull if it brings new edits for which there is no room. The
        value is written only where it is another revision than the one stored. O(value + edits).
        """
        await self._act(_save, name, state, body, failed, self._limits, self._now())

    async def append(self, name: str, edit: Edit) -> None:
        """Store one more pending edit on what is stored of the document. O(edit).

        Raises OutboxFull where there is no room, and ValueError where nothing is stored to put it on, or
        the key already is.
        """
        await self._act(_append, name, edit, self._limits, self._now())

    async def freeze(self, name: str, flight: Flight, body: bytes) -> None:
        """Store that the first pending edit is sent now, as `body`: to be called before it is. O(edit).

        Raises ValueError where another edit is first, or in flight.
        """
        await self._act(_freeze, name, flight, body)

    async def load(self, name: str) -> Stored | None:
        """Give what is stored of a document, None where nothing is. O(value + edits)."""
        return await self._act(_load, name)

    async def names(self) -> list[str]:
        """Name the documents that have edits which are not saved."""
        return [row[0] for row in await self._act(_fetch, "SELECT name FROM documents ORDER BY name")]

    async def failed(self) -> list[FailedEdit]:
        """Give the edits that could not be saved, the first that failed first."""
        rows = await self._act(_fetch, "SELECT * FROM failed ORDER BY failed_at, rowid")
        return [_failed_edit(*row) for row in rows]

    async def keep(self, failed: FailedEdit) -> None:
        """Keep a failed edit, instead of what was kept under its key."""
        await self._act(_keep, failed, self._now())

    async def discard(self, key: str) -> None:
        """Forget a failed edit. A key that is not there changes nothing."""
        await self._act(_discard, key)

    async def _act(self, job: Callable[..., Result], *arguments: object) -> Result:
        """Run a job as one transaction."""
        return await self._run(_in_transaction, job, *arguments)

    async def _run(self, job: Callable[..., Result], *arguments: object) -> Result:
        """Run a job on the connection's thread: one hop for the whole of it."""
        connection = self._connection
        if connection is None:
            raise OutboxUnusable(f"{self._path} is closed.")
        try:
            result: Result = await connection._execute(  # type: ignore[no-untyped-call]
                job, connection._conn, *arguments
            )
        except sqlite3.IntegrityError as error:
            raise ValueError(f"The edit is stored already: {error}.") from error
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
                raise OutboxFull("The disk is full.") from error
            raise OutboxUnusable(f"{self._path} cannot be read or written: {error}.") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise OutboxUnusable(f"{self._path} is damaged: {error}.") from error
        return result


@dataclass(frozen=True, slots=True)
class _Limits:
    bytes_max: int
    edits_max: int
    age_max_s: float | None


def _hold(path: Path) -> IO[bytes]:
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


async def _connect(path: Path) -> aiosqlite.Connection:
    connection = aiosqlite.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        return await connection
    except sqlite3.Error:
        # aiosqlite tells its thread to end and does not wait: the thread would find the loop closed.
        await asyncio.to_thread(connection._thread.join)
        raise


def _prepare(connection: sqlite3.Connection) -> None:
    """Look whose file this is before anything in it is changed; then set it up."""
    if _read_schema(connection) > SCHEMA_VERSION:
        raise sqlite3.DatabaseError("it was written by a newer version of plait; use that one")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}")
    _in_transaction(connection, _migrate)


def _read_schema(connection: sqlite3.Connection) -> int:
    """Tell the version of the schema in the file, 0 when it is empty."""
    version = _number(connection, "PRAGMA user_version")
    if _number(connection, "PRAGMA application_id") == APPLICATION_ID:
        return version
    if version or _number(connection, "SELECT COUNT(*) FROM sqlite_master"):
        raise sqlite3.DatabaseError("it is a database of another program")
    return 0


def _migrate(connection: sqlite3.Connection) -> None:
    if _read_schema(connection) == 0:
        for statement in _SCHEMA:
            connection.execute(statement)


def _in_transaction(connection: sqlite3.Connection, job: Callable[..., Result], *arguments: object) -> Result:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = job(connection, *arguments)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _save(
    connection: sqlite3.Connection,
    name: str,
    state: State,
    body: bytes | None,
    failed: Sequence[FailedEdit],
    limits: _Limits,
    now: float,
) -> None:
    execute = connection.execute
    known = {row[0] for row in _fetch(connection, _KEYS, (name, name))}
    _save_flight(connection, name, state, body)
    execute("DELETE FROM edits WHERE document = ?", (name,))
    connection.executemany(
        _INSERT_EDIT, [_edit_row(name, position, edit) for position, edit in enumerate(state.pending)]
    )
    if state.flight is None and not state.pending:
        execute("DELETE FROM documents WHERE name = ?", (name,))
    else:
        _save_document(connection, name, state)
    connection.executemany(_INSERT_FAILED, [_failed_row(edit, now) for edit in failed])
    if {edit.key for edit in state.pending} - known:
        _check_limits(connection, limits, now)


def _save_document(connection: sqlite3.Connection, name: str, state: State) -> None:
    at = (state.revision, state.epoch)
    if _fetch(connection, "SELECT revision, epoch FROM documents WHERE name = ?", (name,)) == [at]:
        return  # a revision never changes
    value = None if isinstance(state.value, Absent) else _encode(state.value)
    connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)", (name, *at, value))


def _save_flight(connection: sqlite3.Connection, name: str, state: State, body: bytes | None) -> None:
    flight = state.flight
    stored = _fetch(connection, "SELECT key, body FROM flights WHERE document = ?", (name,))
    connection.execute("DELETE FROM flights WHERE document = ?", (name,))
    if flight is not None:
        frozen = stored[0][1] if stored and stored[0][0] == flight.key else body
        shown = None if state.flight_shown is None else _encode(state.flight_shown)
        _insert_flight(connection, name, flight, shown, frozen)


def _insert_flight(
    connection: sqlite3.Connection, name: str, flight: Flight, shown: bytes | None, body: bytes | None
) -> None:
    connection.execute(
        "INSERT INTO flights VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            name,
            flight.key,
            flight.base,
            flight.epoch,
            _encode(flight.patch),
            flight.message,
            flight.made_at,
            shown,
            body,
        ),
    )


def _append(connection: sqlite3.Connection, name: str, edit: Edit, limits: _Limits, now: float) -> None:
    if not _fetch(connection, "SELECT 1 FROM documents WHERE name = ?", (name,)):
        raise ValueError(f"Nothing is stored of {name}: save the state that the edit is made on.")
    if (edit.key,) in _fetch(connection, _KEYS, (name, name)):
        raise ValueError(f"The key {edit.key!r} is stored already.")
    last = _fetch(connection, "SELECT MAX(position) FROM edits WHERE document = ?", (name,))[0][0]
    position = 0 if last is None else last + 1
    connection.execute(_INSERT_EDIT, _edit_row(name, position, edit))
    _check_limits(connection, limits, now)


def _freeze(connection: sqlite3.Connection, name: str, flight: Flight, body: bytes) -> None:
    first = _fetch(connection, _FIRST_EDIT, (name,))
    if not first or first[0][1] != flight.key:
        raise ValueError(f"{flight.key!r} is not the first pending edit of {name}.")
    if _fetch(connection, "SELECT 1 FROM flights WHERE document = ?", (name,)):
        raise ValueError(f"Another edit of {name} is in flight.")
    position, _, shown = first[0]
    connection.execute("DELETE FROM edits WHERE document = ? AND position = ?", (name, position))
    _insert_flight(connection, name, flight, shown, body)


def _check_limits(connection: sqlite3.Connection, limits: _Limits, now: float) -> None:
    """Refuse what was just written, inside its transaction, where it brought the outbox over a limit."""
    pages = _number(connection, "PRAGMA page_count") - _number(connection, "PRAGMA freelist_count")
    if pages * _number(connection, "PRAGMA page_size") > limits.bytes_max:
        raise OutboxFull(f"The outbox would hold more than bytes_max ({limits.bytes_max}) allows.")
    edits, oldest = _fetch(connection, _UNSAVED)[0]
    if edits > limits.edits_max:
        raise OutboxFull(f"{limits.edits_max} edits wait already; edits_max allows no more.")
    if limits.age_max_s is not None and now - oldest > limits.age_max_s:
        age = timedelta(seconds=int(now - oldest))
        raise OutboxFull(f"The oldest unsent edit is {age} old; age_max_s allows no more until it is sent.")


def _load(connection: sqlite3.Connection, name: str) -> Stored | None:
    documents = _fetch(connection, "SELECT revision, epoch, value FROM documents WHERE name = ?", (name,))
    if not documents:
        return None
    revision, epoch, value = documents[0]
    flight, shown, body = None, None, None
    for row in _fetch(connection, _FLIGHT, (name,)):
        key, base, of_epoch, patch, message, made_at, shown, body = row
        flight = Flight(key, base, of_epoch, _decode(patch), message, made_at)
    pending = [
        Edit(key, _decode(patch), message, made_at)
        for key, patch, message, made_at in _fetch(connection, _PENDING, (name,))
    ]
    state = State(
        revision,
        ABSENT if value is None else _decode(value),
        epoch,
        flight,
        None if shown is None else _decode(shown),
        tuple(pending),
    )
    return Stored(state, body)


def _keep(connection: sqlite3.Connection, failed: FailedEdit, now: float) -> None:
    connection.execute(_INSERT_FAILED, _failed_row(failed, now))


def _discard(connection: sqlite3.Connection, key: str) -> None:
    connection.execute("DELETE FROM failed WHERE key = ?", (key,))


def _edit_row(name: str, position: int, edit: Edit) -> tuple[object, ...]:
    return (name, position, edit.key, _encode(edit.patch), edit.message, edit.made_at)


def _failed_row(edit: FailedEdit, now: float) -> tuple[object, ...]:
    patch, conflict = _encode(edit.patch), _encode(edit.conflict)
    return (edit.key, edit.document, patch, edit.message, edit.made_at, edit.reason, conflict, now)


def _failed_edit(
    key: str,
    document: str,
    patch: bytes,
    message: str | None,
    made_at: float,
    reason: str,
    conflict: bytes,
    failed_at: float,
) -> FailedEdit:
    return FailedEdit(document, key, _decode(patch), message, made_at, reason, _decode(conflict), failed_at)


def _fetch(
    connection: sqlite3.Connection, statement: str, row: tuple[object, ...] = ()
) -> list[tuple[Any, ...]]:
    return connection.execute(statement, row).fetchall()


def _number(connection: sqlite3.Connection, statement: str) -> int:
    number: int = connection.execute(statement).fetchone()[0]
    return number
