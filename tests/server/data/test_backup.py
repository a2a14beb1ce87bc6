"""`plait backup`: a copy that is whole, or none; and a store of its own each time it is opened."""

import asyncio
import fcntl
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from plait_server.data.backup import BackupFailed, back_up
from plait_server.errors import StoreRefused
from plait_server.store.archive import open_archive
from plait_server.store.sqlite import SqliteStore
from server.data.histories import exported, findings, make_store, run, sql


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "plait.db"
    make_store(path, seed=8)
    return path


@pytest.fixture
def copy(path: Path) -> Path:
    return back_up(path, path.with_name("copy.db")).path


def epoch(path: Path) -> str:
    """Open a store as a server does, and give its epoch."""

    async def opened() -> str:
        store = await SqliteStore.open(path)
        await store.close()
        return store.epoch

    return asyncio.run(opened())


def test_a_copy_has_everything(path: Path, copy: Path) -> None:
    for (table,) in sql(path, "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'store'"):
        assert sql(path, f"SELECT * FROM {table}") == sql(copy, f"SELECT * FROM {table}")
    assert exported(path) == exported(copy)
    assert findings(copy) == []


def test_a_copy_is_one_file(copy: Path) -> None:
    """It can be carried away, and looked at where nothing can be written."""
    with open_archive(copy) as archive:
        assert archive.count("documents")
    assert {each.name for each in copy.parent.iterdir()} - {"plait.db", "plait.db-wal", "plait.db-shm"} == {
        "copy.db",
        "plait.db.lock",
    }


def test_each_time_a_copy_is_restored_it_is_a_store_of_its_own(path: Path, copy: Path) -> None:
    """Else a client could take what was edited after the first restoration for what came after the second."""
    first, second = path.with_name("first.db"), path.with_name("second.db")
    shutil.copy(copy, first)
    shutil.copy(copy, second)
    epochs = {epoch(each) for each in (path, copy, first, second)}
    assert len(epochs - {""}) == 4
    assert epoch(first) == epoch(first)


def test_a_copy_of_a_copy_is_a_copy(copy: Path) -> None:
    again = back_up(copy, copy.with_name("again.db")).path
    assert exported(again) == exported(copy)
    assert findings(again) == []


def test_a_file_that_is_there_is_replaced_only_where_that_is_asked_for(path: Path, copy: Path) -> None:
    make_store(path, seed=9)
    before = copy.read_bytes()
    with pytest.raises(BackupFailed, match="--force"):
        back_up(path, copy)
    assert copy.read_bytes() == before
    back_up(path, copy, force=True)
    assert exported(copy) == exported(path)


@pytest.mark.parametrize("destination", ["plait.db", ".", "nowhere/copy.db", "link.db"])
def test_what_cannot_be_a_copy_is_refused(path: Path, destination: str) -> None:
    (path.parent / "link.db").symlink_to(path)
    before = exported(path)
    with pytest.raises(BackupFailed):
        back_up(path, path.parent / destination, force=True)
    assert exported(path) == before


@pytest.mark.parametrize("ending", ["-wal", "-journal"])
def test_a_log_beside_the_destination_is_not_written_into_the_copy(path: Path, ending: str) -> None:
    Path(f"{path.parent}/copy.db{ending}").write_bytes(b"something")
    with pytest.raises(BackupFailed, match="move it away"):
        back_up(path, path.with_name("copy.db"))


def test_one_backup_to_a_destination_at_a_time_and_a_killed_one_is_in_nobodys_way(path: Path) -> None:
    destination, partial = path.with_name("copy.db"), path.with_name("copy.db.partial")
    with partial.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BackupFailed, match="under way"):
            back_up(path, destination)
        other.write(b"half a page")
    assert partial.read_bytes() == b"half a page"
    Path(f"{partial}-wal").write_bytes(b"a log")
    back_up(path, destination)
    assert [each.name for each in path.parent.glob("copy.db*")] == ["copy.db"]


def test_who_may_not_read_the_database_may_not_read_its_copy(path: Path) -> None:
    path.chmod(0o600)
    copy = back_up(path, path.with_name("copy.db")).path
    assert copy.stat().st_mode & 0o777 == 0o600


def test_an_older_or_newer_database_can_be_copied(path: Path) -> None:
    """Before an upgrade, say."""
    for version in (2, 99):
        sql(path, f"UPDATE store SET schema_version = {version}")
        copy = back_up(path, path.with_name(f"copy-{version}.db")).path
        assert sql(copy, "SELECT schema_version FROM store") == [(version,)]


def test_a_damaged_database_gives_no_copy(path: Path) -> None:
    sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    (root,) = sql(path, "SELECT rootpage FROM sqlite_master WHERE name = 'idempotency'")[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(BackupFailed):
        back_up(path, path.with_name("copy.db"))
    assert not list(path.parent.glob("copy.db*"))


def test_a_copy_put_beside_the_log_of_another_database_is_not_opened(path: Path, copy: Path) -> None:
    """SQLite would write that log into it, page by page."""
    with closing(sqlite3.connect(path)) as crashed:
        crashed.execute("CREATE TABLE not_checkpointed (x)")
        shutil.copy(f"{path}-wal", path.with_name("restored.db-wal"))
    restored = path.with_name("restored.db")
    shutil.copy(copy, restored)
    with pytest.raises(StoreRefused, match="another database"):
        epoch(restored)
    assert run(path.parent, "doctor", "--db", "restored.db").returncode == 2
    Path(f"{restored}-wal").unlink()
    assert epoch(restored)
    assert findings(restored) == []


def test_no_room_gives_no_copy_and_one_sentence(path: Path) -> None:
    size = path.stat().st_size
    done = run(path.parent, "backup", "copy.db", prefix=("prlimit", f"--fsize={size // 2}"))
    assert done.returncode == 1
    assert done.stderr.startswith("plait: copy.db cannot be written: ")
    assert done.stderr.count("\n") == 1
    assert not list(path.parent.glob("copy.db*"))
