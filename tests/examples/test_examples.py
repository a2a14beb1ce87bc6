"""The examples, run as people run them."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

from aiohttp import ClientSession

from server.live.client import create, edit, replace

EXAMPLES = Path(__file__).parents[2] / "examples"


async def begin(name: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / name), *arguments, stdout=subprocess.PIPE
    )


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def test_live_tail_prints_every_revision(client: ClientSession) -> None:
    await create(client, "orders/1", {"n": 0})
    process = await begin("live_tail.py", str(client._base_url).rstrip("/"), "orders/1")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert json.loads(await process.stdout.readline())["t"] == "snapshot"
            for number in range(1, 4):
                await replace(client, "orders/1", "/n", number)
                frame = json.loads(await process.stdout.readline())
                assert (frame["t"], frame["rev"]) == ("rev", number + 1)
    finally:
        await end(process)


async def test_a_projection_that_is_killed_again_and_again_is_right_in_the_end(
    client: ClientSession, tmp_path: Path
) -> None:
    url, path = str(client._base_url).rstrip("/"), tmp_path / "projection.db"
    for number in range(20):
        await create(client, f"orders/{number}", {"state": "open", "n": 0})
    for round_ in range(6):
        process = await begin("projection.py", url, str(path))
        for number in range(20):
            await edit(client, f"orders/{number}", {"op": "replace", "path": "/n", "value": round_ + 1})
            await replace(client, f"orders/{number}", "/state", f"s{(number + round_) % 3}")
        await end(process)
    async with client.delete("/v1/docs/orders/0", headers={"If-Match": "*"}) as answer:
        assert answer.status == 204
    process = await begin("projection.py", url, str(path), "--once")
    async with asyncio.timeout(20):
        assert await process.wait() == 0
    await end(process)
    with sqlite3.connect(path) as database:
        counted = dict(database.execute("SELECT state, orders FROM orders_by_state"))
    database.close()
    expected: dict[str, int] = {}
    for number in range(1, 20):
        async with client.get(f"/v1/docs/orders/{number}") as answer:
            state = (await answer.json())["state"]
        expected[state] = expected.get(state, 0) + 1
    assert counted == expected
