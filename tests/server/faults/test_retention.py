"""A server that compacts all the time and is killed, or finds its disk full: what is kept is whole, and what
was acknowledged is in it."""

import asyncio
import json
import resource
import sys
from pathlib import Path
from random import Random
from typing import Any

import jsonpatch
from aiohttp import ClientError, ClientSession

from server.faults.conftest import Start
from server.faults.serving import Server

KILLS = 5
WRITERS = 6
KEPT = 20
DOCUMENTS = ("orders/1", "orders/2")
SETTINGS = "compaction_interval_s = 0.01\n"


class Load:
    """Writers who add a member of their own to a document each time; what was acknowledged is noted."""

    def __init__(self, client: ClientSession, acknowledged: dict[str, set[str]], random: Random) -> None:
        self._client = client
        self._acknowledged = acknowledged
        self._random = random

    async def write(self, edits: int) -> None:
        """Write so many edits, or until the server is gone or cannot take more."""
        for _ in range(edits):
            document = self._random.choice(DOCUMENTS)
            token = f"{self._random.getrandbits(64):016x}"
            patch = [{"op": "add", "path": f"/{token}", "value": 1}]
            headers = {"Content-Type": "application/json-patch+json"}
            path = f"/v1/docs/{document}"
            try:
                async with self._client.patch(path, data=json.dumps(patch), headers=headers) as answer:
                    if answer.status != 200:
                        return
                    self._acknowledged[document].add(token)
            except (ClientError, OSError):
                return


async def prepare(server: Server) -> dict[str, set[str]]:
    """Make the documents, one with a label on its first revision, and keep little of their history."""
    async with server.client() as client:
        for document in DOCUMENTS:
            async with client.put(f"/v1/docs/{document}", json={}, headers={"If-None-Match": "*"}) as answer:
                assert answer.status == 201
        async with client.put("/v1/docs/orders/1/labels/first", json={"revision": 1}) as answer:
            assert answer.status == 201
        settings = {"retention": {"revisions": KEPT}}
        headers = {"If-None-Match": "*"}
        async with client.put("/v1/collections/orders", json=settings, headers=headers) as answer:
            assert answer.status == 201
    return {document: set() for document in DOCUMENTS}


async def check(client: ClientSession, acknowledged: dict[str, set[str]]) -> dict[str, int]:
    """Check each document: from its oldest revision on, read by number, history folds to the head without a
    gap, everything acknowledged is there, and the feed leads to the same. Give the oldest revisions."""
    heads, oldest = {}, {}
    for document, tokens in acknowledged.items():
        listed, value = await _listed(client, document)
        oldest[document] = listed["oldest"]
        kept = [each for each in listed["revisions"][::-1] if each["revision"] >= oldest[document]]
        numbers = [each["revision"] for each in kept]
        assert numbers == list(range(oldest[document], numbers[-1] + 1))
        for revision in kept[1:]:
            value = jsonpatch.apply_patch(value, revision["patch"], in_place=True)
        heads[document] = await _get(client, f"/v1/docs/{document}")
        assert value == heads[document]
        assert tokens <= value.keys()
    assert await _get(client, "/v1/docs/orders/1?label=first") == {}
    read: dict[str, Any] = {}
    for change in (await _get(client, "/v1/changes?limit=500"))["changes"]:
        read[change["document"]] = jsonpatch.apply_patch(read.get(change["document"]), change["patch"])
    assert read == heads
    return oldest


async def _listed(client: ClientSession, document: str) -> tuple[Any, Any]:
    """Read the revisions of a document, and the value at the oldest of them unless it goes meanwhile."""
    while True:
        listed = await _get(client, f"/v1/docs/{document}/revisions?limit=500")
        parameters = {"revision": listed["oldest"]}
        async with client.get(f"/v1/docs/{document}", params=parameters) as answer:
            if answer.status != 410:
                assert answer.status == 200
                return listed, await answer.json()


async def _get(client: ClientSession, path: str) -> Any:
    async with client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def settled(client: ClientSession) -> None:
    """Wait until the histories are as short as they are to be."""
    async with asyncio.timeout(20):
        for document in DOCUMENTS:
            length = KEPT * 2
            while length > KEPT + KEPT // 10:
                listed = await _get(client, f"/v1/docs/{document}/revisions?limit=1")
                length = listed["revisions"][0]["revision"] - listed["oldest"] + 1


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
                await _get(client, "/readyz")
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
