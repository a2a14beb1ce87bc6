"""What an outbox holds, as rows: plain functions over a connection, each inside somebody's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile
from typing import Final

import msgspec

from plait_client.errors import OutboxFull
from plait_client.replica.drift import ACCEPTED
from plait_client.replica.edit import Edit, Flight, Hold, Patch, State
from plait_client.saving.file import drop_idle, fetch, number
from plait_merge import ABSENT, Absent, Json, apply

STEPS_BYTES_MIN: Final = 65_536
"""The steps from a value are kept while they are shorter than this, or than the value."""

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
_FAILED: Final = "SELECT * FROM failed ORDER BY failed_at, rowid"
_INSERT_FAILED: Final = "INSERT OR REPLACE INTO failed VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

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


@dataclass(frozen=True, slots=True)
class Limits:
    """See `Outbox.open`."""

    bytes_max: int
    edits_max: int
    age_max_s: float | None


def save(
    connection: sqlite3.Connection,
    name: str,
    before: State | None,
    state: State,
    step: Patch | None,
    body: bytes | None,
    failed: Sequence[FailedEdit],
    limits: Limits,
    now: float,
) -> None:
    went, came = _save_pending(connection, name, before, state.pending)
    if before is None or _sent(before) != _sent(state):
        went |= _save_flight(connection, name, state.flight, state.flight_shown, body)
        came |= set() if state.flight is None else {state.flight.key}
    _save_document(connection, name, before, state, step)
    if failed:
        save_failed(connection, failed, limits, now)
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
        went = {row[0] for row in fetch(connection, "SELECT key FROM edits WHERE document = ?", (name,))}
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
    reached = fetch(connection, _REACHED, (name,))
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
    stored = fetch(connection, "SELECT key, base, epoch, body FROM flights WHERE document = ?", (name,))
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


def save_failed(
    connection: sqlite3.Connection, failed: Sequence[FailedEdit], limits: Limits, now: float
) -> None:
    """Keep failed edits; where the file is full without their conflicts, which may hold whole documents."""
    connection.executemany(_INSERT_FAILED, [_failed_row(edit, now) for edit in failed])
    if _is_too_large(connection, limits):
        keys = [(edit.key,) for edit in failed]
        connection.executemany("UPDATE failed SET conflict = CAST('null' AS BLOB) WHERE key = ?", keys)


def _check_limits(connection: sqlite3.Connection, limits: Limits, now: float) -> None:
    """Refuse what was just written, inside its transaction, where it brought the outbox over a limit."""
    if _is_too_large(connection, limits):
        raise OutboxFull(f"The outbox would hold more than bytes_max ({limits.bytes_max}) allows.")
    if number(connection, _COUNT) > limits.edits_max:
        raise OutboxFull(f"{limits.edits_max} edits wait already; edits_max allows no more.")
    oldest = now if limits.age_max_s is None else fetch(connection, _OLDEST)[0][0]
    if limits.age_max_s is not None and now - oldest > limits.age_max_s:
        age = timedelta(seconds=int(now - oldest))
        raise OutboxFull(f"The oldest unsent edit is {age} old; age_max_s allows no more until it is sent.")


def _is_too_large(connection: sqlite3.Connection, limits: Limits) -> bool:
    """Say whether there is more than may be, after what is not needed has made room."""
    if _size(connection) <= limits.bytes_max:
        return False
    drop_idle(connection)
    return _size(connection) > limits.bytes_max


def _size(connection: sqlite3.Connection) -> int:
    pages = number(connection, "PRAGMA page_count") - number(connection, "PRAGMA freelist_count")
    return pages * number(connection, "PRAGMA page_size")


def load(connection: sqlite3.Connection, name: str) -> Stored | None:
    documents = fetch(connection, "SELECT revision, epoch, value FROM documents WHERE name = ?", (name,))
    if not documents:
        return None
    revision, epoch, written = documents[0]
    value = ABSENT if written is None else _decode(written)
    for upto, patch in fetch(connection, _STEPS, (name,)):
        revision, value = upto, apply(value, _decode(patch), ACCEPTED)
    flight, shown, body = None, None, None
    for row in fetch(connection, _FLIGHT, (name,)):
        key, base, of_epoch, patch, message, made_at, shown, body, hold = row
        flight = Flight(key, base, of_epoch, _decode(patch), message, made_at, _hold_of(hold))
    pending = [
        Edit(key, _decode(patch), message, made_at, _hold_of(hold))
        for key, patch, message, made_at, hold in fetch(connection, _PENDING, (name,))
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


def load_failed(connection: sqlite3.Connection) -> list[FailedEdit]:
    return [_failed_edit(*row) for row in fetch(connection, _FAILED)]


def discard(connection: sqlite3.Connection, key: str) -> None:
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
