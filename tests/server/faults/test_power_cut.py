"""The power goes: whatever the disk has of what was not synced, what was acknowledged is there."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random

from plait_server.service.invariants import check
from plait_server.store.archive import open_archive
from plait_server.store.file import hold_file
from server.faults import careless_server
from server.faults.conftest import Start
from server.faults.faulty_system import FaultySystem, write_files
from server.faults.ledger import (
    DOCUMENTS,
    Ledger,
    check_documents,
    check_ledger,
    create_documents,
)
from server.faults.load import Load
from server.faults.serving import Server

POWER_CUTS = 3
EARLIER_CUTS = 5
WRITERS = 8
ANSWERS_BEFORE_CUT = 120
CARELESS = (sys.executable, careless_server.__file__)


@asynccontextmanager
async def writing(
    server: Server, random: Random, tokens: "count[int]", ledger: Ledger
) -> AsyncIterator[Load]:
    """Let writers write meanwhile, and after it until the server is gone."""
    async with server.client() as client, asyncio.timeout(30), asyncio.TaskGroup() as writers:
        load = Load(client, random, tokens, ledger)
        for _ in range(WRITERS):
            writers.create_task(load.write())
        yield load


async def test_what_was_acknowledged_survives_a_power_cut(
    start: Start, system: FaultySystem, tmp_path: Path, random: Random, thorough: int
) -> None:
    """Of what was not synced any sector is old or new. Had the power gone earlier, everything holds too."""
    tokens, ledger = count(1), Ledger()
    server = await start(prefix=system.prefix)
    async with server.client() as client:
        await create_documents(client)
    for _ in range(POWER_CUTS * thorough):
        before = len(ledger.answered)
        async with writing(server, random, tokens, ledger) as load:
            await load.until(random.randrange(1, ANSWERS_BEFORE_CUT))
            await server.kill()
        for contents in system.cuts(random, EARLIER_CUTS):
            check_files(tmp_path / "earlier", contents)
        system.cut_power(random)
        server = await start(prefix=system.prefix)
        async with server.client() as client:
            await check_ledger(client, ledger, [*ledger.answered][before:])
    async with server.client() as client:
        await check_documents(client, ledger)


def check_files(folder: Path, contents: dict[str, bytes]) -> None:
    """Check that what a power cut left is a store, or becomes one, in which everything holds."""
    folder.mkdir()
    write_files(folder, "plait.db", contents)
    with hold_file(folder / "plait.db"):
        pass
    with open_archive(folder / "plait.db") as archive:
        assert list(check(archive)) == []
    shutil.rmtree(folder)


async def test_a_server_that_does_not_wait_for_the_disk_is_found_out(
    start: Start, system: FaultySystem
) -> None:
    """So the test above proves something: with `synchronous=NORMAL` it would fail."""
    assert await lost_by_a_power_cut(start, system, CARELESS) > 0


async def test_a_disk_that_lies_about_syncs_is_found_out(start: Start, system: FaultySystem) -> None:
    """No program can stand by its word on such a disk; this is how the layer itself is tested."""
    system["sync_lies"] = 1
    assert await lost_by_a_power_cut(start, system) > 0
    assert system["lies"] > 0


async def lost_by_a_power_cut(
    start: Start, system: FaultySystem, command: tuple[str, ...] | None = None
) -> int:
    """Count the acknowledged edits that a power cut leaves nothing of."""
    random, ledger = Random(1), Ledger()
    server = await start()
    async with server.client() as client:
        await create_documents(client)
    assert await server.end() == 0
    system.begin()
    server = await start(prefix=system.prefix, **({} if command is None else {"command": command}))
    async with writing(server, random, count(1), ledger) as load:
        await load.until(ANSWERS_BEFORE_CUT)
        await server.kill()
    system.cut_power(random)
    server = await start()
    kept: set[str] = set()
    async with server.client() as client:
        for document in DOCUMENTS:
            async with client.get(f"/v1/docs/{document}/revisions", params={"limit": "500"}) as answer:
                text = await answer.text()
            kept.update(token for token in ledger.answered if token in text)
    told = {token for document in DOCUMENTS for token in ledger.acknowledged(document)}
    print(f"{len(told - kept)} of {len(told)} acknowledged edits are lost")
    return len(told - kept)
