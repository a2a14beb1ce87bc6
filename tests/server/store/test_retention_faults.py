"""Compaction that is killed at any statement, that fails at COMMIT, that finds the disk full; and how much
room a long history takes."""

import asyncio
import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from plait_merge import ABSENT
from plait_server.errors import StoreUnavailable
from plait_server.store import Floor, LabelRecord, Store
from server.store.histories import Values, body, check, compact, grow, snapshot
from server.store.records import HERE, NOW
from server.store.test_sqlite import open_store

REVISIONS = 30
LABELLED = (3, 12)

DYING = """
import asyncio, os, signal, sqlite3, sys
from plait_merge import ABSENT
from plait_server.store.sqlite import SqliteStore
from server.store.histories import compact, grow

class Dying(sqlite3.Connection):
    left = None

    def execute(self, *arguments):
        self.count()
        return super().execute(*arguments)

    def executemany(self, *arguments):
        self.count()
        return super().executemany(*arguments)

    def count(self):
        if Dying.left is not None:
            Dying.left -= 1
            if Dying.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

async def main():
    values = [ABSENT]
    grow(values, int(sys.argv[2]))
    store = await SqliteStore.open(sys.argv[1], factory=Dying)
    Dying.left = int(sys.argv[3])
    await compact(store, values, 10)
    await compact(store, values, 20)
    print("done", flush=True)
    Dying.left = None
    await store.close()

asyncio.run(main())
"""


async def prepare(store: Store) -> Values:
    """Make a history with labels and a snapshot."""
    values: Values = [ABSENT]
    await store.commit(grow(values, REVISIONS))
    await snapshot(store, values, 15)
    for n in LABELLED:
        await store.put_label(HERE, LabelRecord(f"v{n}", n, "ann", NOW), body(values[n]), 9)
    return values


async def test_killed_at_any_statement_it_has_done_a_step_or_not(tmp_path: Path) -> None:
    """Two steps, killed before each statement of both; whatever is found afterwards is whole."""
    async with open_store(tmp_path / "before.db") as store:
        values = await prepare(store)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = []
    for statements in range(40):
        path = tmp_path / f"{statements}.db"
        shutil.copy(tmp_path / "before.db", path)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", DYING, str(path), str(REVISIONS), str(statements)),
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        out, _ = await process.communicate()
        assert process.returncode == (0 if out else -signal.SIGKILL)
        async with open_store(path) as store:
            extent = await store.extent(HERE)
            assert extent is not None
            await check(store, values, extent.oldest)
            await compact(store, values, 25)
            await check(store, values, 25)
        found.append(extent.oldest)
        if out:
            break
    assert sorted(found) == found
    assert set(found) == {1, 10, 20}


class Failing(sqlite3.Connection):
    """A connection that fails at the next COMMIT: before it, or after it was done."""

    failure: ClassVar[str | None] = None

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        failure = Failing.failure if statement == "COMMIT" else None
        if failure is None:
            return super().execute(statement, *arguments)
        Failing.failure = None
        super().execute("ROLLBACK" if failure == "before" else statement)
        raise sqlite3.OperationalError("disk I/O error")


@pytest.mark.parametrize(("failure", "oldest"), [("before", 1), ("after", 10)])
async def test_after_a_failed_commit_the_next_step_goes_on_from_what_is_there(
    tmp_path: Path, failure: str, oldest: int
) -> None:
    async with open_store(tmp_path / "plait.db", factory=Failing) as store:
        values = await prepare(store)
        Failing.failure = failure
        with pytest.raises(StoreUnavailable):
            await compact(store, values, 10)
        await check(store, values, oldest)
        await compact(store, values, 20)
        await check(store, values, 20)
        await store.commit(grow(values, 3))
        await check(store, values, 20)


async def test_a_full_disk_leaves_history_as_it_was(tmp_path: Path) -> None:
    """The value of the new oldest revision has no room; when it has some, the same step is taken."""
    path = tmp_path / "plait.db"
    async with open_store(path) as store:
        values = await prepare(store)
    async with open_store(path, pages_max=60) as store:
        with pytest.raises(StoreUnavailable, match="full"):
            await store.compact(HERE, Floor(1, 10, whole=False), b"x" * 1_000_000, spare_labelled=True)
        await check(store, values, 1)
        await compact(store, values, 10)
        await check(store, values, 10)


async def test_a_hundred_thousand_edits_under_keep_a_thousand_leave_a_bounded_file(tmp_path: Path) -> None:
    """Pages that compaction frees are used again: the file is little larger than what is kept needs."""
    path = tmp_path / "plait.db"
    history: Values = [ABSENT]
    async with open_store(path) as store:
        for _ in range(100):
            await store.commit(grow(history, 1_000))
            head = len(history) - 1
            await snapshot(store, history, head)
            while await compact(store, history, head - 999) is not None:
                pass
        extent = await store.extent(HERE)
        assert extent is not None
        assert (extent.head, extent.oldest) == (100_000, 99_001)
        assert len(await store.revisions(HERE, above=0, upto=100_000, limit=100_000)) == 1_000
    short = tmp_path / "short.db"
    async with open_store(short) as store:
        await store.commit(grow([ABSENT], 2_000))
    assert path.stat().st_size < 2 * short.stat().st_size
