"""A disk without room: writes are refused and say so, reads go on, and room is all it takes to recover."""

import asyncio
import os
import resource
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

import pytest
from aiohttp import ClientSession

from server.faults.conftest import Start
from server.faults.history import check_history
from server.faults.ledger import DOCUMENTS, Ledger, create_documents, send
from server.faults.load import Load
from server.faults.serving import Server

DISK_BYTES = 2_000_000
INDEX_BYTES = 32_768
"""What SQLite needs to read a log that a crash left behind."""
WRITERS = 4
OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")
ON_A_SMALL_DISK = (
    *OWN_MOUNTS,
    "sh",
    "-c",
    f'mount -t tmpfs -o size={DISK_BYTES} tmpfs disk && exec "$0" "$@"',
)


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of a server, which can be filled to the last byte and emptied again."""

    server: Server
    fill: Callable[[], None]
    free: Callable[[], None]


@pytest.fixture(params=["small disk", "file size limit"])
async def disk(request: pytest.FixtureRequest, start: Start, tmp_path: Path) -> Disk:
    """A file system of its own that is really full; where nobody may mount one, files that cannot grow."""
    if request.param == "file size limit":
        server = await start()
        return Disk(
            server,
            fill=lambda: server.limit_files((tmp_path / "plait.db").stat().st_size),
            free=lambda: server.limit_files(resource.RLIM_INFINITY),
        )
    if not _may_mount():
        pytest.skip("nobody may mount a small disk here: a full one is tried by file size limit only")
    (tmp_path / "disk").mkdir()
    server = await start("--db", "disk/plait.db", prefix=ON_A_SMALL_DISK)
    # The mount is seen by the server only, and by others through its root.
    ballast = Path(f"/proc/{server.pid}/root{tmp_path}/disk/ballast")
    return Disk(server, fill=lambda: _fill(ballast), free=ballast.unlink)


def _may_mount() -> bool:
    return subprocess.run([*OWN_MOUNTS, "true"], capture_output=True, check=False).returncode == 0


def _fill(ballast: Path) -> None:
    file = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(file, b"x" * 4096)
    except OSError:
        return
    finally:
        os.close(file)


async def test_a_full_disk_refuses_writes_serves_reads_and_recovers(disk: Disk, thorough: int) -> None:
    ledger, random, tokens = Ledger(), Random(1), count(1)
    async with disk.server.client() as client:
        await create_documents(client)
        for _ in range(2 * thorough):
            await _write(client, ledger, random, tokens, answers=50)
            assert not ledger.lost
            disk.fill()
            await _write(client, ledger, random, tokens, answers=None)
            assert ledger.lost
            await _check_refusals(client, ledger)
            disk.free()
            await _check_recovery(client, ledger)


async def _write(
    client: ClientSession, ledger: Ledger, random: Random, tokens: "count[int]", answers: int | None
) -> None:
    """Write until so many answers came, or until every writer was told that nothing can be written."""
    load = Load(client, random, tokens, ledger)
    async with asyncio.timeout(20):
        writers = [asyncio.create_task(load.write()) for _ in range(WRITERS)]
        if answers is not None:
            await load.until(answers)
            load.stop()
        await asyncio.gather(*writers)


async def _check_refusals(client: ClientSession, ledger: Ledger) -> None:
    """A refused write is a problem that may be tried again, and left nothing; reads are as ever."""
    for sent in ledger.lost.values():
        async with client.request(sent.method, sent.path, headers=sent.headers, data=sent.body) as answer:
            problem = await answer.json(content_type="application/problem+json")
            assert (answer.status, problem["type"]) == (503, "urn:plait:errors:store-unavailable")
            assert answer.headers["Plait-Should-Retry"] == "true"
            assert int(answer.headers["Retry-After"]) > 0
    for document in DOCUMENTS:
        await check_history(client, document, ledger.acknowledged(document))
    async with client.get("/healthz") as answer:
        assert answer.status == 200
    async with client.get("/readyz") as answer:
        assert answer.status == 503


async def _check_recovery(client: ClientSession, ledger: Ledger) -> None:
    """Nobody has to help: what was refused is taken now, under the same keys."""
    for token, sent in list(ledger.lost.items()):
        told, replayed = await send(client, sent)
        assert not replayed
        assert told.status in (200, 201, 409, 412, 422)
        ledger.answered[token] = (sent, told)
        del ledger.lost[token]
    for document in DOCUMENTS:
        await check_history(client, document, ledger.acknowledged(document))
    async with client.get("/readyz") as answer:
        assert answer.status == 200


async def test_a_server_starts_on_a_full_disk_and_serves_reads(start: Start, tmp_path: Path) -> None:
    """Also after a crash, with everything still in the log."""
    server = await start()
    async with server.client() as client:
        await create_documents(client)
    await server.kill()
    assert (tmp_path / "plait.db-wal").stat().st_size > INDEX_BYTES
    server = await start(prefix=("prlimit", f"--fsize={INDEX_BYTES}"))
    async with server.client() as client:
        for document in DOCUMENTS:
            await check_history(client, document, {})
        async with client.post("/v1/docs/made", json={}) as answer:
            assert answer.status == 503
