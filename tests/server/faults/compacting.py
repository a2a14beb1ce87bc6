"""Writers on documents of which little history is kept, and what has to hold of them nevertheless."""

import asyncio
import json
from collections.abc import Mapping
from random import Random
from typing import Any

import jsonpatch
from aiohttp import ClientError, ClientSession

from server.faults.followers import Feed
from server.faults.serving import Server

KEPT = 20
FEW = {"revisions": KEPT}
DOCUMENTS = ("logs/1", "logs/2")
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


async def prepare(server: Server, retention: Mapping[str, int] = FEW) -> dict[str, set[str]]:
    """Make the documents, one with a label on its first revision, and keep little of their history."""
    async with server.client() as client:
        for document in DOCUMENTS:
            async with client.put(f"/v1/docs/{document}", json={}, headers={"If-None-Match": "*"}) as answer:
                assert answer.status == 201
        async with client.put("/v1/docs/logs/1/labels/first", json={"revision": 1}) as answer:
            assert answer.status == 201
        settings = {"retention": dict(retention)}
        headers = {"If-None-Match": "*"}
        async with client.put("/v1/collections/logs", json=settings, headers=headers) as answer:
            assert answer.status == 201
    return {document: set() for document in DOCUMENTS}


async def check(
    client: ClientSession, acknowledged: dict[str, set[str]], feed: Feed | None = None
) -> dict[str, int]:
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
        heads[document] = await get(client, f"/v1/docs/{document}")
        assert value == heads[document]
        assert tokens <= value.keys()
    assert await get(client, "/v1/docs/logs/1?label=first") == {}
    feed = feed or Feed()
    await feed.catch_up(client)
    assert {document: feed.values[document] for document in heads} == heads
    return oldest


async def _listed(client: ClientSession, document: str) -> tuple[Any, Any]:
    """Read the revisions of a document, and the value at the oldest of them unless it goes meanwhile."""
    while True:
        listed = await get(client, f"/v1/docs/{document}/revisions?limit=500")
        parameters = {"revision": listed["oldest"]}
        async with client.get(f"/v1/docs/{document}", params=parameters) as answer:
            if answer.status != 410:
                assert answer.status == 200
                return listed, await answer.json()


async def get(client: ClientSession, path: str) -> Any:
    async with client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def settled(client: ClientSession) -> None:
    """Wait until the histories are as short as they are to be."""
    async with asyncio.timeout(20):
        for document in DOCUMENTS:
            length = KEPT * 2
            while length > KEPT + KEPT // 10:
                listed = await get(client, f"/v1/docs/{document}/revisions?limit=1")
                length = listed["revisions"][0]["revision"] - listed["oldest"] + 1
