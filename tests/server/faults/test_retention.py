"""A server that compacts all the time and is killed, or finds its disk full: what is kept is whole, and what
was acknowledged is in it."""

import asyncio
import resource
import sys
from pathlib import Path
from random import Random

from server.faults.compacting import SETTINGS, Load, check, get, prepare, settled
from server.faults.conftest import Start

KILLS = 3
WRITERS = 6


async def examine(folder: Path) -> None:
    """Let the doctor look at the database of a server that has ended."""
    doctor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "plait_server", "doctor"), cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    found, _ = await doctor.communicate()
    assert doctor.returncode == 0, found.decode()


async def test_killed_while_it_compacts_it_loses_nothing_that_is_kept(
    start: Start, tmp_path: Path, thorough: int
) -> None:
    (tmp_path / "plait.toml").write_text(SETTINGS)
    random = Random(1)
    server = await start()
    acknowledged = await prepare(server)
    oldest: list[int] = []
    # Where the machine is busy, more is to be done before there is something to compact.
    while len(oldest) < KILLS * thorough or (oldest[-1] == 1 and len(oldest) < 5 * KILLS * thorough):
        async with server.client() as client, asyncio.timeout(30), asyncio.TaskGroup() as writers:
            load = Load(client, acknowledged, random)
            tasks = [writers.create_task(load.write(10_000)) for _ in range(WRITERS)]
            before = sum(map(len, acknowledged.values()))
            while sum(map(len, acknowledged.values())) < before + random.randrange(50, 250):
                await get(client, "/readyz")
            await server.kill()
            await asyncio.gather(*tasks)
        server = await start()
        async with server.client() as client:
            oldest.append(max((await check(client, acknowledged)).values()))
    assert oldest[-1] > 1, "the load proves too little"
    async with server.client() as client:
        await settled(client)
        await check(client, acknowledged)
    assert await server.end() == 0
    await examine(tmp_path)


async def test_a_full_disk_stops_compaction_and_room_lets_it_go_on(start: Start, tmp_path: Path) -> None:
    (tmp_path / "plait.toml").write_text(SETTINGS)
    server = await start()
    acknowledged = await prepare(server)
    async with server.client() as client:
        load = Load(client, acknowledged, Random(1))
        await load.write(200)
        server.limit_files((tmp_path / "plait.db").stat().st_size)
        await load.write(10_000)
        await check(client, acknowledged)
        server.limit_files(resource.RLIM_INFINITY)
        async with asyncio.timeout(20):
            before = sum(map(len, acknowledged.values()))
            while sum(map(len, acknowledged.values())) < before + 100:
                await load.write(100)
        await settled(client)
        await check(client, acknowledged)
    assert await server.end() == 0
    await examine(tmp_path)
