"""Moving data while a server is under load, is killed, or there is no room."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest
from aiohttp import ClientError, ClientSession

from plait_server.errors import StoreRefused
from plait_server.store.archive import open_archive
from server.data.histories import COMMAND, exported, file_of, findings, import_bytes, run, sql
from server.faults.serving import Server, start_server

AT = "2026-11-20T12:00:00.000Z"
DOCUMENTS = 60
REVISIONS = 400
MOVES = (["doctor"], ["backup", "--force", "copy.db"], ["export", "--force", "-o", "all.ndjson"])


def lines() -> list[bytes]:
    """Histories large enough that there is time to kill whoever works on them."""
    written: list[bytes] = []
    for document in range(DOCUMENTS):
        written.append(b'{"t":"history","document":"orders/%03d","head":%d}\n' % (document, REVISIONS))
        for n in range(1, REVISIONS + 1):
            kind, path = (b"edit", b"/n") if n > 1 else (b"create", b"")
            value = b'"%d %s"' % (n, b"x" * 200) if n > 1 else b"{}"
            written.append(
                b'{"t":"revision","revision":%d,"kind":"%s","at":"%s","patch":[{"op":"add","path":"%s","value":%s}]}\n'
                % (n, kind, AT.encode(), path, value)
            )
    return [*written, b'{"t":"end"}\n']


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lines") / "all.ndjson"
    path.write_bytes(file_of(lines()))
    return path


@pytest.fixture(scope="module")
def database(file: Path) -> Path:
    path = file.with_name("full.db")
    import_bytes(path, file.read_bytes())
    return path


def kill(folder: Path, *arguments: str, when: Callable[[], bool]) -> bool:
    """Run a command and kill it as soon as something is so; False where it was faster."""
    with subprocess.Popen([*COMMAND, *arguments], cwd=folder) as process:
        until(lambda: when() or process.poll() is not None)
        process.kill()
        return process.wait() != 0


def until(when: Callable[[], bool]) -> None:
    """Wait until something is so that nobody tells."""
    ends = time.monotonic() + 30
    while not when():
        assert time.monotonic() < ends
        Event().wait(0.0005)


def documents(path: Path) -> int:
    """Count the documents that are durable; -1 where there is no store yet."""
    with suppress(StoreRefused), open_archive(path) as archive:
        return archive.count("documents")
    return -1


def identity(path: Path) -> tuple[int, int]:
    """Tell one file of a name from the next."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def test_a_killed_import_leaves_whole_documents_and_goes_on(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "plait.db"
    there = [-1]
    for _ in range(3):
        assert kill(tmp_path, "import", str(file), when=lambda: documents(path) > there[-1])
        assert findings(path) == []
        there.append(documents(path))
    assert 0 < there[-1] < DOCUMENTS
    done = run(tmp_path, "import", str(file))
    assert done.returncode == 0
    assert f"{there[-1]} there already" in done.stdout
    assert exported(path) == [*lines()[:-1], exported(path)[-1]]
    assert findings(path) == []


def test_a_killed_export_is_continued_to_the_same_file(database: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.ndjson"
    arguments = "export", "--db", str(database), "--resume", "-o", str(output)
    for megabytes in (1, 3, 5):
        assert kill(tmp_path, *arguments, when=lambda: size(output) > megabytes * 10**6)  # noqa: B023
    assert run(tmp_path, *arguments).returncode == 0
    assert output.read_bytes().splitlines(keepends=True)[1:] == exported(database)


def test_a_killed_backup_has_no_name(database: Path, tmp_path: Path) -> None:
    partial = tmp_path / "copy.db.partial"
    arguments = "backup", "copy.db", "--db", str(database)
    for bytes_ in (0, 10**6):
        while not kill(tmp_path, *arguments, when=lambda: size(partial) > bytes_):  # noqa: B023
            (tmp_path / "copy.db").unlink()
        assert not (tmp_path / "copy.db").exists()
    assert run(tmp_path, *arguments).returncode == 0
    assert [each.name for each in tmp_path.iterdir()] == ["copy.db"]
    assert findings(tmp_path / "copy.db") == []


def test_without_room_an_import_leaves_whole_documents_and_goes_on_later(file: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "import", str(file), prefix=("prlimit", "--fsize=5000000"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "plait.db cannot be written" in done.stderr
    assert findings(tmp_path / "plait.db") == []
    assert run(tmp_path, "import", str(file)).returncode == 0
    assert exported(tmp_path / "plait.db")[:-1] == lines()[:-1]


def test_without_room_an_export_says_so_and_is_continued_later(database: Path, tmp_path: Path) -> None:
    arguments = "export", "--db", str(database), "--resume", "-o", "out.ndjson"
    done = run(tmp_path, *arguments, prefix=("prlimit", "--fsize=1000000"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "out.ndjson cannot be written" in done.stderr
    assert run(tmp_path, *arguments).returncode == 0
    assert (tmp_path / "out.ndjson").read_bytes().splitlines(keepends=True)[1:] == exported(database)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = await start_server(tmp_path, ("--port", "0"))
    yield server
    await server.kill()


async def write(client: ClientSession, document: str, heads: dict[str, int]) -> None:
    """Edit a document as long as there is a server; note what was acknowledged."""
    with suppress(ClientError):
        while True:
            async with client.patch(
                f"/v1/docs/{document}",
                json=[{"op": "add", "path": "/n", "value": f"{heads[document]} {'x' * 500}"}],
                headers={"Content-Type": "application/json-patch+json"},
            ) as answer:
                heads[document] = (await answer.json())["revision"]


async def create(client: ClientSession, count: int) -> dict[str, int]:
    heads = {}
    for number in range(count):
        async with client.put(f"/v1/docs/made/{number}", json={}, headers={"If-None-Match": "*"}) as answer:
            heads[f"made/{number}"] = (await answer.json())["revision"]
    return heads


async def move(folder: Path, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, cwd=folder, stdout=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(60):
        assert await process.wait() == 0, arguments


def check_copy(path: Path, heads: dict[str, int]) -> None:
    """Check that a copy is sound and has at least these revisions."""
    assert findings(path) == []
    there = dict(sql(path, "SELECT collection || '/' || id, head FROM documents"))
    assert all(there[document] >= head for document, head in heads.items())


async def test_a_server_under_load_is_copied_exported_and_checked_and_killed_meanwhile(
    server: Server, tmp_path: Path
) -> None:
    """What was acknowledged before is in the copy; nothing is wrong with either, nor after the next start."""
    partial = tmp_path / "copy.db.partial"
    async with server.client() as client:
        heads = await create(client, 8)
        async with asyncio.TaskGroup() as writers:
            for document in heads:
                writers.create_task(write(client, document, heads))
            before = dict(heads)
            for arguments in MOVES:
                await move(tmp_path, *arguments)
            check_copy(tmp_path / "copy.db", before)
            last = identity(tmp_path / "copy.db")
            moves = [asyncio.create_task(move(tmp_path, *arguments)) for arguments in MOVES]
            # Under way, or over already where this was slower to look than it to copy.
            await asyncio.to_thread(
                until, lambda: size(partial) > 0 or identity(tmp_path / "copy.db") != last
            )
            await server.kill()
            await asyncio.gather(*moves)
    assert min(heads.values()) > 10, "the load proves too little"
    assert findings(tmp_path / "copy.db") == []
    again = await start_server(tmp_path, ("--port", "0"))
    moves = [asyncio.create_task(move(tmp_path, *arguments)) for arguments in MOVES]
    async with again.client() as client:
        for document, head in heads.items():
            async with client.get(f"/v1/docs/{document}") as answer:
                assert int(answer.headers["Plait-Revision"]) >= head
    await asyncio.gather(*moves)
    assert await again.end() == 0
    assert findings(tmp_path / "plait.db") == []
