"""A start that cannot be: one clear sentence, exit code 1, nothing changed."""

import asyncio
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from server.faults.conftest import Start
from server.faults.serving import refused_start, start_server

# Root may write to what is read-only; without its privileges it may not.
AS_ANYBODY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()


def _text(folder: Path) -> None:
    (folder / "plait.db").write_text("These are my notes, and no database. " * 100)


def _noise(folder: Path) -> None:
    (folder / "plait.db").write_bytes(os.urandom(8192))


def _folder(folder: Path) -> None:
    (folder / "plait.db").mkdir()


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "plait.db")


def _another_program(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "plait.db")) as database:
        database.execute("CREATE TABLE bookmarks (url)")


def _half_made(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "plait.db")) as database:
        database.executescript(
            "CREATE TABLE store (one, epoch, schema_version);"
            "CREATE TABLE documents (x); CREATE TABLE revisions (x);"
        )


@pytest.mark.parametrize("make", [_text, _noise, _folder, _pipe, _another_program, _half_made])
def test_what_is_no_database_of_ours_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path)
    file = tmp_path / "plait.db"
    before = file.read_bytes() if file.is_file() else None
    assert "plait.db cannot be opened" in sentence_of_a_refused_start(tmp_path)
    assert (file.read_bytes() if file.is_file() else None) == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a server that has ended."""
    folder = tmp_path_factory.mktemp("used")

    async def make() -> None:
        assert await (await start_server(folder, ("--port", "0"))).end() == 0

    asyncio.run(make())
    return folder / "plait.db"


@pytest.fixture
def used(database: Path, tmp_path: Path) -> Path:
    """A folder with such a database."""
    shutil.copy(database, tmp_path)
    return tmp_path


def test_a_newer_schema_is_refused(used: Path) -> None:
    with closing(sqlite3.connect(used / "plait.db")) as database:
        database.execute("UPDATE store SET schema_version = 999")
        database.commit()
    assert "written by a newer version of plait" in sentence_of_a_refused_start(used)


@pytest.mark.parametrize("cut_at", [0.9, 0.1])
def test_a_damaged_database_is_refused(used: Path, cut_at: float) -> None:
    file = used / "plait.db"
    os.truncate(file, int(file.stat().st_size * cut_at))
    assert "plait.db cannot be opened" in sentence_of_a_refused_start(used)


@pytest.mark.parametrize("folder", ["nowhere", "notes.txt"])
def test_a_folder_that_is_none_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "notes.txt").touch()
    told = sentence_of_a_refused_start(tmp_path, "--db", f"{folder}/plait.db")
    assert f"{folder}/plait.db cannot be written" in told


needs_setpriv = pytest.mark.skipif(
    bool(AS_ANYBODY) and shutil.which("setpriv") is None,
    reason="root may write to what is read-only, and there is no setpriv to drop that",
)


@needs_setpriv
def test_a_read_only_database_is_refused(used: Path) -> None:
    (used / "plait.db").chmod(0o400)
    assert "plait.db is read-only" in sentence_of_a_refused_start(used, prefix=AS_ANYBODY)


@needs_setpriv
def test_a_read_only_folder_is_refused(used: Path) -> None:
    """Also with the database in it: what belongs beside it cannot be made there."""
    used.chmod(0o500)
    try:
        told = sentence_of_a_refused_start(used, prefix=AS_ANYBODY)
        assert "plait.db cannot be written" in told
        told = sentence_of_a_refused_start(used, "--db", "other.db", prefix=AS_ANYBODY)
        assert "other.db cannot be written" in told
    finally:
        used.chmod(0o700)


async def test_a_second_server_on_one_file_is_refused_and_does_not_disturb_the_first(
    start: Start, tmp_path: Path
) -> None:
    server = await start()
    told = sentence_of_a_refused_start(tmp_path)
    assert "in use by another server" in told
    async with server.client() as client, client.post("/v1/docs/made", json={}) as answer:
        assert answer.status == 201
    await server.kill()
    # Who was killed holds nothing: the next one starts at once.
    await start()


async def test_a_second_server_is_refused_by_whatever_path_it_finds_the_file(
    start: Start, tmp_path: Path
) -> None:
    await start()
    (tmp_path / "other.db").symlink_to("plait.db")
    assert "in use by another server" in sentence_of_a_refused_start(tmp_path, "--db", "other.db")


async def test_a_server_that_was_killed_starts_again_on_its_port(start: Start) -> None:
    server = await start()
    async with server.client() as client:
        async with client.post("/v1/docs/made", json={}) as answer:
            assert answer.status == 201
        await server.kill()
    again = await start("--port", str(server.address[1]))
    assert again.url == server.url


def sentence_of_a_refused_start(folder: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> str:
    """Check that the server ends with code 1 and nothing but one sentence; give that."""
    done = refused_start(folder, *arguments, prefix=prefix)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"plait: [^\n]+\.\n", done.stderr), done.stderr
    return done.stderr
