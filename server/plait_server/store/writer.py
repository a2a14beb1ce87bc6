"""The one connection that writes: given up where a transaction failed strangely, and opened anew.

One job at a time, each a whole transaction on the connection's thread, so no other coroutine's statement can
slip into it; only this connection commits, so only this one checkpoints (SQLite before 3.51.3 can corrupt the
file when another one does).
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiosqlite

from plait_server.errors import OutcomeUnknown, StoreUnavailable
from plait_server.store.batch import BatchWriter, CommitFailed
from plait_server.store.connection import Job, Result, connect, in_transaction, run
from plait_server.store.failure import could_not_be_written, unavailable
from plait_server.store.file import Strange, prepare
from plait_server.store.record import Commit, CommitResult
from plait_server.store.schema import Schema

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """See `SqliteStore.open`."""

    conflicts_open_max: int
    conflicts_open_bytes_max: int
    pages_max: int | None
    schema: Schema
    factory: type[sqlite3.Connection]


class Writer:
    """Every function raises StoreUnavailable where nothing was written, OutcomeUnknown where that is open."""

    def __init__(self, path: Path, options: Options) -> None:
        self._path = path
        self._options = options
        self._writing = asyncio.Lock()
        self._connection: aiosqlite.Connection | None = None
        self._batches: BatchWriter
        self.epoch = ""
        self.time = 0

    async def open(self) -> None:
        """Open the file, making or migrating it. Raises sqlite3.Error and Strange."""
        options = self._options
        connection = self._connection = await connect(self._path, options.factory)
        self.epoch, self.time = await run(
            connection, prepare, connection._conn, options.schema, options.pages_max
        )
        self._batches = BatchWriter(
            connection._conn, options.conflicts_open_max, options.conflicts_open_bytes_max
        )

    async def close(self) -> None:
        """Wait for what is being written, and close the connection."""
        async with self._writing:
            await self._give_up()

    async def commit(self, batch: Sequence[Commit]) -> list[CommitResult]:
        """Write a batch: see `Store.commit`."""
        async with self._writing:
            connection = await self._ready()
            try:
                return await run(connection, self._batches.write, batch)
            except CommitFailed as failure:
                results = failure.results
                return await self._find_out(
                    lambda _: results if self._batches.stands(batch, results) else None, failure.__cause__
                )
            except sqlite3.Error as error:
                raise unavailable(error) from error

    async def write(self, job: Job[Result], written: Job[Result | None] | None = None) -> Result:
        """Run a job in a transaction.

        `written` is for what must be known to be there or not: it looks, where the transaction failed, and
        gives what the job would have given, or None where nothing was written.
        """
        async with self._writing:
            connection = await self._ready()
            try:
                return await run(connection, in_transaction, connection._conn, job)
            except sqlite3.Error as error:
                if written is None:
                    raise unavailable(error) from error
                return await self._find_out(written, error)

    async def _ready(self) -> aiosqlite.Connection:
        """The connection, opened again where it was given up."""
        if self._connection is not None:
            return self._connection
        try:
            return await self._reopen()
        except sqlite3.Error as error:
            raise unavailable(error) from error
        except Strange as error:
            raise StoreUnavailable("The store cannot be opened again yet.") from error

    async def _reopen(self) -> aiosqlite.Connection:
        """Open the file anew and write everything in the log into it, synced.

        A failed fsync is never tried again: the kernel may have dropped the pages and call the next one
        a success. The checkpoint writes them afresh.
        """
        await self._give_up()
        try:
            await self.open()
            assert self._connection is not None
            await run(self._connection, _checkpoint, self._connection._conn)
        except BaseException:
            await self._give_up()
            raise
        return self._connection

    async def _find_out(self, written: Job[Result | None], failure: BaseException | None) -> Result:
        """Settle a transaction that failed: open the file anew and look what of it is there."""
        log.error("A transaction failed, opening %s anew: %r", self._path, failure)
        try:
            connection = await self._reopen()
            result = await run(connection, written, connection._conn)
        except (sqlite3.Error, Strange) as error:
            await self._give_up()
            if could_not_be_written(failure):
                raise unavailable(failure) from error
            raise OutcomeUnknown("The commit failed and the store cannot be read.") from error
        if result is None:
            raise unavailable(failure) from failure
        return result

    async def _give_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                await connection.close()


def _checkpoint(connection: sqlite3.Connection) -> None:
    # Fetched, because a statement left open would be in the way of the next COMMIT.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
