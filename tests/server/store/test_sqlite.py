"""What only a file can do: be killed, locked, full, of another version."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from plait_server.errors import OutcomeUnknown, StoreRefused, StoreUnavailable
from plait_server.store import Address, CollectionRecord, Committed, HeadMoved, LockRecord, SnapshotRecord
from plait_server.store.schema import Schema, load_schema, statements
from plait_server.store.sqlite import SqliteStore
from server.store.records import HERE, NOW, THERE, conflict, edit, keeping, key

WRITER = """
import asyncio, sys
from plait_server.store.sqlite import SqliteStore
from server.store.records import edit, key
from plait_server.store import Address

async def main():
    store = await SqliteStore.open(sys.argv[1])
    heads = [0] * 8
    for id in range(8):
        loaded = await store.load(Address("acme", "orders", str(id)))
        heads[id] = loaded.head if loaded else 0
    print("open", flush=True)
    while True:
        batch = [edit(head, Address("acme", "orders", str(id)), key=key(f"{id}-{head}"))
                 for id, head in enumerate(heads)]
        await store.commit(batch)
        for id in range(8):
            heads[id] += 1
            print(id, heads[id], flush=True)

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def open_store(path: Path, **options: Any) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, **options)
    try:
        yield store
    finally:
        await store.close()


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Five times over the same file, with no gap, and the key of every revision beside it."""
    path = tmp_path / "plait.db"
    acknowledged = dict.fromkeys(range(8), 0)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(5):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(path), stdout=asyncio.subprocess.PIPE, env=environment
        )
        assert writer.stdout is not None
        assert await writer.stdout.readline() == b"open\n"
        for line in [await writer.stdout.readline() for _ in range(300)]:
            id, n = map(int, line.split())
            acknowledged[id] = n
        writer.send_signal(signal.SIGKILL)
        for line in (await writer.stdout.read()).splitlines(keepends=True):
            if line.endswith(b"\n"):
                id, n = map(int, line.split())
                acknowledged[id] = n
        await writer.wait()
        async with open_store(path) as store:
            for id, n in acknowledged.items():
                address = Address("acme", "orders", str(id))
                loaded = await store.load(address)
                assert loaded is not None
                assert loaded.head >= n
                assert [each.n for each in loaded.revisions] == list(range(1, loaded.head + 1))
                assert await store.key("acme", "ann-token", f"{id}-{loaded.head - 1}", NOW) is not None
                assert await store.key("acme", "ann-token", f"{id}-{loaded.head}", NOW) is None


async def test_a_second_server_on_one_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plait.db"
    async with open_store(path) as store:
        with pytest.raises(StoreRefused, match="in use by another server"):
            await SqliteStore.open(path)
        assert [Committed(1)] == await store.commit([edit(0)])
    async with open_store(path):
        pass


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "plait.db"
    schema = load_schema()
    newer = Schema(schema.version + 1, schema.script)
    async with open_store(path, schema=newer) as store:
        await store.commit([edit(0)])
    with pytest.raises(StoreRefused, match="written by a newer version"):
        await SqliteStore.open(path)
    async with open_store(path, schema=newer) as store:
        assert await store.load(HERE) is not None


async def test_an_older_schema_is_brought_up_step_by_step_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "plait.db"
    schema = load_schema()
    async with open_store(path) as store:
        await store.commit([edit(0)])
        epoch = store.epoch
    steps = {
        **schema.steps,
        schema.version + 1: "CREATE TABLE a (x);",
        schema.version + 2: "CREATE TABLE b (x);",
    }
    broken = Schema(schema.version + 2, "", {**steps, schema.version + 2: "CREATE TABLE a (x);"})
    with pytest.raises(StoreRefused, match="already exists"):
        await SqliteStore.open(path, schema=broken)
    async with open_store(path, schema=Schema(schema.version + 2, "", steps)) as store:
        assert await store.load(HERE) is not None
        assert store.epoch == epoch
    with contextlib.closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        assert {"a", "b"} <= tables


def _first_version(path: Path) -> Path:
    """Lay down a database as the first version of the program wrote it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent / "version_1.sql").read_text())
    return path


def _tables(path: Path) -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


async def test_the_steps_lead_to_the_schema(tmp_path: Path) -> None:
    """Migrating from the first version gives the same tables as making a new store."""
    schema = load_schema()
    assert list(schema.steps) == list(range(2, schema.version + 1))
    assert "".join(statements(schema.script)).strip() == schema.script.strip()
    async with open_store(_first_version(tmp_path / "old.db")), open_store(tmp_path / "new.db"):
        assert _tables(tmp_path / "old.db") == _tables(tmp_path / "new.db")


async def test_a_database_of_the_first_version_keeps_all_it_has(tmp_path: Path) -> None:
    """Documents written by turns, one deleted; a snapshot, keys, conflicts; and it goes on from there."""
    async with open_store(_first_version(tmp_path / "plait.db")) as store:
        assert store.epoch == "3934ab0a8795bf68"
        here, there = await store.load(HERE), await store.load(THERE)
        assert here is not None
        assert here.snapshot == SnapshotRecord(3, b'{"a":2}')
        assert [each.n for each in here.revisions] == [3, 4, 5, 6]
        assert (here.head, here.deleted) == (6, False)
        assert there is not None
        assert [(each.n, each.seq) for each in there.revisions] == [(1, 1), (2, 4), (3, 5), (4, 8), (5, 9)]
        assert (there.head, there.deleted) == (5, True)
        early = await store.revisions(HERE, above=0, upto=3, limit=2)
        assert [(each.n, each.seq, each.base) for each in early] == [(1, 2, None), (2, 3, 1)]
        assert [row.revision.seq for row in await store.changes("acme", above=0, limit=20)] == [*range(1, 12)]
        stored = await store.key("acme", "ann-token", "here-4", NOW)
        assert stored is not None
        assert [each.id for each in await store.conflicts(HERE, before=None, limit=9, now=NOW)] == ["c2"]
        assert await store.commit([edit(5, HERE)]) == [HeadMoved()]
        assert await store.commit([edit(6, HERE), edit(5, THERE)]) == [Committed(12), Committed(13)]
        assert [each.n for each in await store.revisions(HERE, above=0, upto=9, limit=9)] == [*range(1, 8)]


async def test_a_database_of_the_fourth_version_goes_on_with_its_fencing_numbers(tmp_path: Path) -> None:
    """A number that was given once is never given again, or an old holder could write."""
    path, schema = _first_version(tmp_path / "plait.db"), load_schema()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for version in (2, 3, 4):
            connection.executescript(schema.steps[version])
        connection.execute("UPDATE store SET schema_version = 4, fence = 7")
        connection.commit()
    async with open_store(path) as store:
        assert store.time == 0
        record = LockRecord(HERE, "lock", "/n", 1, "ann", "ann-token", 60_000, NOW + 60_000)
        assert await store.put_lock(record) == 8


async def test_a_database_without_collections_gets_them(tmp_path: Path) -> None:
    """As the second version of the program made it."""
    schema, path = load_schema(), tmp_path / "plait.db"
    second = Schema(2, schema.script.partition("-- What holds for the documents of a collection")[0])
    async with open_store(path, schema=second) as store:
        await store.commit([edit(0)])
    async with open_store(path) as store:
        assert await store.collections() == []
        assert await store.put_collection(CollectionRecord("acme", "orders", 1, b"{}", "ann", NOW))
        assert await store.commit([edit(1)]) == [Committed(2)]


async def test_a_revision_is_found_from_the_head_and_from_every_snapshot(tmp_path: Path) -> None:
    async with open_store(tmp_path / "plait.db") as store:
        for head in range(0, 40, 4):
            await store.commit([edit(n, at) for n in range(head, head + 4) for at in (HERE, THERE)])
            await store.snapshot(HERE, head + 3, b"{}")
        for address in (HERE, THERE):
            for above in range(41):
                for upto in (above, above + 1, above + 7, 40, 99):
                    ascending = [
                        each.n for each in await store.revisions(address, above=above, upto=upto, limit=5)
                    ]
                    assert ascending == [*range(above + 1, min(upto, 40, above + 5) + 1)]
                    descending = await store.revisions(
                        address, above=above, upto=upto, limit=5, newest_first=True
                    )
                    last = min(upto, 40)
                    assert [each.n for each in descending] == [*range(last, max(above, last - 5), -1)]
            for n in range(1, 41):
                loaded = await store.load(address, n)
                assert loaded is not None
                assert loaded.revisions[-1].n == n


async def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("these are my notes, and no database\n" * 100)
    with pytest.raises(StoreRefused, match="not a database"):
        await SqliteStore.open(text)
    assert text.read_text().startswith("these are my notes")
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    with pytest.raises(StoreRefused, match="another program"):
        await SqliteStore.open(other)


async def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="cannot be written"):
        await SqliteStore.open(tmp_path / "nowhere" / "plait.db")


async def test_a_full_disk_refuses_writes_serves_reads_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "plait.db"
    async with open_store(path) as store:
        await store.commit([edit(0)])
    async with open_store(path, pages_max=40) as store:
        with pytest.raises(StoreUnavailable, match="full"):
            await store.commit([edit(0, THERE), edit(1, patch=b"x" * 1_000_000)])
        assert await store.load(THERE) is None
        assert [type(result) for result in await store.commit([edit(1)])] == [Committed]
        with pytest.raises(StoreUnavailable, match="full"):
            await store.snapshot(HERE, 2, b"x" * 1_000_000)
        loaded = await store.load(HERE)
        assert loaded is not None
        assert loaded.head == 2
    async with open_store(path) as store:
        assert [type(r) for r in await store.commit([edit(2, patch=b"x" * 1_000_000)])] == [Committed]


class Failing(sqlite3.Connection):
    """A connection that fails at COMMIT as told: before it, or after it was done."""

    failures: ClassVar[list[str]] = []

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        failure = self.failures.pop(0) if statement == "COMMIT" and self.failures else None
        if failure == "before":
            super().execute("ROLLBACK")
        elif failure is not None:
            super().execute(statement, *arguments)
        if failure is not None:
            raise sqlite3.OperationalError("disk I/O error")
        if statement.startswith("PRAGMA journal_mode") and self.failures[:1] == ["opening"]:
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(statement, *arguments)


EVERYTHING = [
    edit(1, key=key("k"), conflict=conflict("c2")),
    keeping(1, key=key("k")),
    keeping(1, conflict=conflict("c2")),
    keeping(1, settles="c1"),
]


@pytest.mark.parametrize("commit", EVERYTHING)
async def test_after_a_failed_commit_the_truth_is_what_is_there(tmp_path: Path, commit: Any) -> None:
    """Nothing of it there: it may be sent again. All of it there: it is acknowledged."""
    async with open_store(tmp_path / "plait.db", factory=Failing) as store:
        await store.commit([edit(0, conflict=conflict("c1"))])
        Failing.failures[:] = ["before"]
        with pytest.raises(StoreUnavailable):
            await store.commit([commit])
        Failing.failures[:] = ["after"]
        assert [type(result) for result in await store.commit([commit])] == [Committed]
        head = 1 if commit.revision is None else 2
        assert [type(result) for result in await store.commit([edit(head)])] == [Committed]


async def test_a_store_that_cannot_be_opened_again_says_that_nobody_knows_and_tries_later(
    tmp_path: Path,
) -> None:
    async with open_store(tmp_path / "plait.db", factory=Failing) as store:
        await store.commit([edit(0)])
        Failing.failures[:] = ["after", "opening"]
        with pytest.raises(OutcomeUnknown):
            await store.commit([edit(1)])
        with pytest.raises(StoreUnavailable):
            await store.commit([edit(2)])
        loaded = await store.load(HERE)
        assert loaded is not None
        assert loaded.head == 2
        Failing.failures.clear()
        assert [type(result) for result in await store.commit([edit(2)])] == [Committed]


async def test_settings_whose_commit_failed_are_what_is_there(tmp_path: Path) -> None:
    async with open_store(tmp_path / "plait.db", factory=Failing) as store:
        first = CollectionRecord("acme", "orders", 1, b"{}", "ann", NOW)
        Failing.failures[:] = ["before"]
        with pytest.raises(StoreUnavailable):
            await store.put_collection(first)
        assert await store.collections() == []
        Failing.failures[:] = ["after"]
        assert await store.put_collection(first)
        Failing.failures[:] = ["after", "opening"]
        with pytest.raises(OutcomeUnknown):
            await store.put_collection(replace(first, n=2))
        Failing.failures.clear()
        assert not await store.put_collection(replace(first, n=2))


async def test_it_syncs_every_acknowledgement(tmp_path: Path) -> None:
    async with open_store(tmp_path / "plait.db") as store:
        assert "FULL" in store.durability
        assert sqlite3.sqlite_version in store.name
        with contextlib.closing(sqlite3.connect(tmp_path / "plait.db")) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
