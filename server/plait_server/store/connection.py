"""Connections that each have a thread of their own, and whole jobs to run there."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import aiosqlite

from plait_server.store import statements as sql

BUSY_TIMEOUT_S: Final = 5.0

Result = TypeVar("Result")
Job = Callable[[sqlite3.Connection], Result]
"""A plain function over a connection, for the thread of that connection."""


async def connect(path: Path, factory: type[sqlite3.Connection] = sqlite3.Connection) -> aiosqlite.Connection:
    connection = aiosqlite.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, factory=factory)
    try:
        return await connection
    except sqlite3.Error:
        # aiosqlite tells its thread to end and does not wait: the thread would find the loop closed.
        await asyncio.to_thread(connection._thread.join)
        raise


async def run(connection: aiosqlite.Connection, job: Callable[..., Result], *arguments: object) -> Result:
    """Run a plain function on the connection's thread: one hop for a whole job.

    aiosqlite's public functions hop once per statement, which costs more than the statement.
    """
    result: Result = await connection._execute(job, *arguments)  # type: ignore[no-untyped-call]
    return result


def in_transaction(connection: sqlite3.Connection, job: Job[Result]) -> Result:
    connection.execute(sql.BEGIN)
    try:
        result = job(connection)
        connection.execute("COMMIT")
        return result
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def in_snapshot(connection: sqlite3.Connection, job: Job[Result]) -> Result:
    """Run reads that see one state of the database."""
    connection.execute("BEGIN")
    try:
        return job(connection)
    finally:
        connection.execute("COMMIT")
