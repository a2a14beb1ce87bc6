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

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

import aiosqlite
import msgspec

from plait_client.errors import OutboxFull, OutboxUnusable
from plait_client.replica.edit import Patch, State
from plait_client.saving.file import NAMES, Result, connect, fetch, hold, in_transaction, prepare
from plait_client.saving.records import (
    FailedEdit,
    Limits,
    Stored,
    discard,
    load,
    load_failed,
    save,
    save_failed,
)

BYTES_MAX: Final = 67_108_864
EDITS_MAX: Final = 10_000


class Outbox:
    """The unsaved edits of one client. Open it with `Outbox.open`.

    Everything raises OutboxUnusable where the file cannot be read or written; nothing has changed then.
    """

    def __init__(self, path: Path, limits: Limits, now: Callable[[], float], lock: IO[bytes]) -> None:
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
        outbox = cls(path, Limits(bytes_max, edits_max, age_max_s), now, hold(path))
        try:
            outbox._connection = await connect(path)
            await outbox._run(prepare)
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
        await self._act(save, name, before, state, step, body, failed, self._limits, self._now())

    async def load(self, name: str) -> Stored | None:
        """Give what is stored of a document, None where nothing is. O(value + edits)."""
        return await self._act(load, name)

    async def names(self) -> list[str]:
        """Name the documents that have edits which are not saved."""
        return [row[0] for row in await self._act(fetch, NAMES)]

    async def failed(self) -> list[FailedEdit]:
        """Give the edits that could not be saved, the first that failed first."""
        return await self._act(load_failed)

    async def keep(self, failed: FailedEdit) -> None:
        """Keep a failed edit, instead of what was kept under its key."""
        await self._act(save_failed, [failed], self._limits, self._now())

    async def discard(self, key: str) -> None:
        """Forget a failed edit. A key that is not there changes nothing."""
        await self._act(discard, key)

    async def _act(self, job: Callable[..., Result], *arguments: object) -> Result:
        """Run a job as one transaction."""
        return await self._run(in_transaction, job, *arguments)

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
