"""The connections that read, beside the one that writes: a job goes to whichever is free."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite

from plait_server.store.connection import Job, Result, connect, in_snapshot, run
from plait_server.store.failure import unavailable


class Readers:
    """Every read is one job in a transaction of its own, so that it sees one state of the file."""

    def __init__(self) -> None:
        self._open: list[aiosqlite.Connection] = []
        self._free: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()

    async def open(self, path: Path, count: int) -> None:
        """Open so many connections. Raises sqlite3.Error; what was opened until then is for `close`."""
        for _ in range(count):
            reader = await connect(path)
            self._open.append(reader)
            await run(reader, reader._conn.execute, "PRAGMA query_only = ON")
            self._free.put_nowait(reader)

    async def close(self) -> None:
        for reader in self._open:
            await reader.close()
        self._open.clear()

    async def read(self, job: Job[Result]) -> Result:
        """Run a job that only reads. Raises StoreUnavailable."""
        async with self._reader() as reader:
            try:
                return await run(reader, in_snapshot, reader._conn, job)
            except sqlite3.Error as error:
                raise unavailable(error) from error

    async def fetch(self, statement: str, row: tuple[object, ...]) -> list[Any]:
        """Give all rows of one statement. Raises StoreUnavailable."""
        return await self.read(lambda connection: connection.execute(statement, row).fetchall())

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[aiosqlite.Connection]:
        reader = await self._free.get()
        try:
            yield reader
        finally:
            self._free.put_nowait(reader)
