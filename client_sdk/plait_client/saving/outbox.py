"""Edits that are not saved yet, in one SQLite file: they survive a crash and wait out days offline.

Of each document that has such edits the outbox keeps what the replica exports: the confirmed value, the
edit in flight as it was sent, and the pending edits in order. The value is kept as it was once, and the steps
that led on from there, until these are the longer part. It is left there when all is saved, for the next
edit, until the file is opened anew or the room is needed. What a method returned for is synced to disk (WAL,
`synchronous=FULL`). Each act is one transaction, run as one job on the connection's own thread, so
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
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import aiosqlite
import msgspec

from plait_client.errors import OutboxFull, OutboxUnusable
from plait_client.replica.drift import ACCEPTED
from plait_client.replica.edit import Edit, Flight, Hold, Patch, State
from plait_merge import ABSENT, Absent, Json, apply

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

BYTES_MAX: Final = 67_108_864
EDITS_MAX: Final = 10_000
BUSY_TIMEOUT_S: Final = 5.0
JOURNAL_BYTES_MAX: Final = 16_777_216
STEPS_BYTES_MIN: Final = 65_536
"""The steps from a value are kept while they are shorter than this, or than the value."""
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

_NAMES: Final = "SELECT document FROM edits UNION SELECT document FROM flights ORDER BY document"
_REACHED: Final = """
    SELECT COALESCE(steps.revision, documents.revision), epoch,
        COALESCE(LENGTH(value), 0), COALESCE(bytes_so_far, 0)
    FROM documents LEFT JOIN steps ON document = name WHERE name = ? ORDER BY steps.revision DESC LIMIT 1
"""
_STEPS: Final = "SELECT revision, patch FROM steps WHERE document = ? ORDER BY revision"
_PENDING: Final = "SELECT key, patch, message, made_at, hold FROM edits WHERE document = ? ORDER BY position"
_FLIGHT: Final = """
    SELECT key, base, epoch, patch, message, made_at, shown, body, hold FROM flights WHERE document = ?
"""
_COUNT: Final = "SELECT (SELECT COUNT(*) FROM edits) + (SELECT COUNT(*) FROM flights)"
_OLDEST: Final = """
    SELECT MIN(made_at) FROM (SELECT made_at FROM edits UNION ALL SELECT made_at FROM flights)
"""
_INSERT_EDIT: Final = """
    INSERT INTO edits
    SELECT ?1, COALESCE(MAX(position), 0) + 1, ?2, ?3, ?4, ?5, ?6 FROM edits WHERE document = ?1
"""
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
        self,
        name: str,
        state: State,
        *,
        before: State | None = None,
        step: Patch | None = None,
        body: bytes | None = None,
        failed: Sequence[FailedEdit] = (),
    ) -> None:
        """Bring what is stored of a document to `state`, and keep `failed` with it.

        `before` is what was saved last: only what differs is written, or everything where it is None. `step`
        leads from its value to that of `state`, and is stored instead of the value as long as that saves
        space. `body` is what a new flight is sent as; one that is stored keeps the bytes it has. A state
        without edits is not kept. Where the file is full, a failed edit is kept without its conflict. Raises
        OutboxFull if there are new edits for which there is no room. O(what differs, number of edits), and
        now and then O(value).
        """
        await self._act(_save, name, before, state, step, body, failed, self._limits, self._now())

    async def load(self, name: str) -> Stored | None:
        """Give what is stored of a document, None where nothing is. O(value + edits)."""
        return await self._act(_load, name)

    async def names(self) -> list[str]:
        """Name the documents that have edits which are not saved."""
        return [row[0] for row in await self._act(_fetch, _NAMES)]

    async def failed(self) -> list[FailedEdit]:
        """Give the edits that could not be saved, the first that failed first."""
        rows = await self._act(_fetch, "SELECT * FROM failed ORDER BY failed_at, rowid")
        return [_failed_edit(*row) for row in rows]

    async def keep(self, failed: FailedEdit) -> None:
        """Keep a failed edit, instead of what was kept under its key."""
        await self._act(_save_failed, [failed], self._limits, self._now())

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
    while (version := _read_schema(connection)) < SCHEMA_VERSION:
        for statement in _MIGRATIONS[version]:
            connection.execute(statement)
    _drop_idle(connection)


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
    before: State | None,
    state: State,
    step: Patch | None,
    body: bytes | None,
    failed: Sequence[FailedEdit],
    limits: _Limits,
    now: float,
) -> None:
    went, came = _save_pending(connection, name, before, state.pending)
    if before is None or _sent(before) != _sent(state):
        went |= _save_flight(connection, name, state.flight, state.flight_shown, body)
        came |= set() if state.flight is None else {state.flight.key}
    _save_document(connection, name, before, state, step)
    if failed:
        _save_failed(connection, failed, limits, now)
    if came - went:
        _check_limits(connection, limits, now)


def _sent(state: State) -> tuple[object, ...]:
    return state.flight, state.flight_shown


def _save_pending(
    connection: sqlite3.Connection, name: str, before: State | None, pending: Sequence[Edit]
) -> tuple[set[str], set[str]]:
    """Write what differs, and give the keys of the edits that went and that came."""
    moved: Sequence[Edit] = ()
    if before is None:
        came = pending
        went = {row[0] for row in _fetch(connection, "SELECT key FROM edits WHERE document = ?", (name,))}
    else:
        went, moved, came = _difference(before.pending, pending)
    connection.executemany("DELETE FROM edits WHERE document = ? AND key = ?", [(name, key) for key in went])
    connection.executemany(
        "UPDATE edits SET patch = ? WHERE document = ? AND key = ?",
        [(_encode(edit.patch), name, edit.key) for edit in moved],
    )
    connection.executemany(
        _INSERT_EDIT,
        [
            (name, edit.key, _encode(edit.patch), edit.message, edit.made_at, _hold_row(edit.hold))
            for edit in came
        ],
    )
    return went, {edit.key for edit in came}


def _difference(
    before: Sequence[Edit], after: Sequence[Edit]
) -> tuple[set[str], Sequence[Edit], Sequence[Edit]]:
    """Give the keys of the edits that went, the edits in another form, and those that came, at the end.

    As a rule edits went at the front and came at the end, and the others are not looked at one by one.
    """
    first = after[0].key if after else None
    went = {edit.key for edit in takewhile(lambda edit: edit.key != first, before)}
    left = before[len(went) :]
    if after[: len(left)] == left:
        return went, (), after[len(left) :]
    stored = {edit.key: edit for edit in before}
    kept = [edit for edit in after if edit.key in stored]
    if kept != list(after[: len(kept)]):
        return {*stored}, (), after
    moved = [edit for edit in kept if edit is not stored[edit.key]]
    return stored.keys() - {edit.key for edit in kept}, moved, after[len(kept) :]


def _save_document(
    connection: sqlite3.Connection, name: str, before: State | None, state: State, step: Patch | None
) -> None:
    """Write the value that the edits are stacked on, or the step that leads to it from what is stored."""
    reached = _fetch(connection, _REACHED, (name,))
    if reached and reached[0][:2] == (state.revision, state.epoch):
        return  # a revision never changes
    if reached and before is not None and step is not None:
        *stored, value_bytes, steps_bytes = reached[0]
        patch = _encode(step)
        steps_bytes += len(patch)
        leads_on = stored == [before.revision, before.epoch] and before.epoch == state.epoch
        if leads_on and steps_bytes <= max(value_bytes, STEPS_BYTES_MIN):
            connection.execute(
                "INSERT INTO steps VALUES (?, ?, ?, ?)", (name, state.revision, patch, steps_bytes)
            )
            return
    connection.execute("DELETE FROM steps WHERE document = ?", (name,))
    connection.execute("DELETE FROM documents WHERE name = ?", (name,))
    if state.flight is not None or state.pending:
        value = None if isinstance(state.value, Absent) else _encode(state.value)
        connection.execute(
            "INSERT INTO documents VALUES (?, ?, ?, ?)", (name, state.revision, state.epoch, value)
        )


def _save_flight(
    connection: sqlite3.Connection, name: str, flight: Flight | None, shown: Patch | None, body: bytes | None
) -> set[str]:
    """Write the edit in flight, and give the key of the one that was."""
    stored = _fetch(connection, "SELECT key, base, epoch, body FROM flights WHERE document = ?", (name,))
    connection.execute("DELETE FROM flights WHERE document = ?", (name,))
    if flight is not None:
        is_stored = stored and stored[0][:3] == (flight.key, flight.base, flight.epoch)
        _insert_flight(connection, name, flight, shown, stored[0][3] if is_stored else body)
    return {row[0] for row in stored}


def _insert_flight(
    connection: sqlite3.Connection, name: str, flight: Flight, shown: Patch | None, body: bytes | None
) -> None:
    connection.execute(
        "INSERT INTO flights VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            name,
            flight.key,
            flight.base,
            flight.epoch,
            _encode(flight.patch),
            flight.message,
            flight.made_at,
            None if shown is None else _encode(shown),
            body,
            _hold_row(flight.hold),
        ),
    )


def _save_failed(
    connection: sqlite3.Connection, failed: Sequence[FailedEdit], limits: _Limits, now: float
) -> None:
    """Keep failed edits; where the file is full without their conflicts, which may hold whole documents."""
    connection.executemany(_INSERT_FAILED, [_failed_row(edit, now) for edit in failed])
    if _is_too_large(connection, limits):
        keys = [(edit.key,) for edit in failed]
        connection.executemany("UPDATE failed SET conflict = CAST('null' AS BLOB) WHERE key = ?", keys)


def _check_limits(connection: sqlite3.Connection, limits: _Limits, now: float) -> None:
    """Refuse what was just written, inside its transaction, where it brought the outbox over a limit."""
    if _is_too_large(connection, limits):
        raise OutboxFull(f"The outbox would hold more than bytes_max ({limits.bytes_max}) allows.")
    if _number(connection, _COUNT) > limits.edits_max:
        raise OutboxFull(f"{limits.edits_max} edits wait already; edits_max allows no more.")
    oldest = now if limits.age_max_s is None else _fetch(connection, _OLDEST)[0][0]
    if limits.age_max_s is not None and now - oldest > limits.age_max_s:
        age = timedelta(seconds=int(now - oldest))
        raise OutboxFull(f"The oldest unsent edit is {age} old; age_max_s allows no more until it is sent.")


def _is_too_large(connection: sqlite3.Connection, limits: _Limits) -> bool:
    """Say whether there is more than may be, after what is not needed has made room."""
    if _size(connection) <= limits.bytes_max:
        return False
    _drop_idle(connection)
    return _size(connection) > limits.bytes_max


def _size(connection: sqlite3.Connection) -> int:
    pages = _number(connection, "PRAGMA page_count") - _number(connection, "PRAGMA freelist_count")
    return pages * _number(connection, "PRAGMA page_size")


def _drop_idle(connection: sqlite3.Connection) -> None:
    """Forget the values of documents without edits."""
    connection.execute(f"DELETE FROM documents WHERE name NOT IN ({_NAMES})")
    connection.execute("DELETE FROM steps WHERE document NOT IN (SELECT name FROM documents)")


def _load(connection: sqlite3.Connection, name: str) -> Stored | None:
    documents = _fetch(connection, "SELECT revision, epoch, value FROM documents WHERE name = ?", (name,))
    if not documents:
        return None
    revision, epoch, written = documents[0]
    value = ABSENT if written is None else _decode(written)
    for upto, patch in _fetch(connection, _STEPS, (name,)):
        revision, value = upto, apply(value, _decode(patch), ACCEPTED)
    flight, shown, body = None, None, None
    for row in _fetch(connection, _FLIGHT, (name,)):
        key, base, of_epoch, patch, message, made_at, shown, body, hold = row
        flight = Flight(key, base, of_epoch, _decode(patch), message, made_at, _hold_of(hold))
    pending = [
        Edit(key, _decode(patch), message, made_at, _hold_of(hold))
        for key, patch, message, made_at, hold in _fetch(connection, _PENDING, (name,))
    ]
    if flight is None and not pending:
        return None
    state = State(
        revision,
        value,
        epoch,
        flight,
        None if shown is None else _decode(shown),
        tuple(pending),
    )
    return Stored(state, body)


def _discard(connection: sqlite3.Connection, key: str) -> None:
    connection.execute("DELETE FROM failed WHERE key = ?", (key,))


def _hold_row(hold: Hold | None) -> bytes | None:
    return None if hold is None else _encode(hold)


def _hold_of(stored: bytes | None) -> Hold | None:
    return None if stored is None else msgspec.json.decode(stored, type=Hold)


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
