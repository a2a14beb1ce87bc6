"""Connections that are cut at random points while edits flow."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

from aiohttp import ClientError, ClientSession

from address import address_of
from plait_merge import Json
from server.live.client import Closed, Copies, connected, create, edit
from simulation.proxy import Proxy

Serve = Callable[..., Awaitable[ClientSession]]
SUBSCRIBERS = 8
CUTS = 1_000
SEED = int(os.environ.get("PLAIT_TEST_SEED", "7"))


async def test_every_copy_is_the_head_and_was_told_each_revision_once(serve: Serve) -> None:
    """However often and wherever its connection is cut. Print the seed to see it again."""
    chance = random.Random(SEED)
    print(f"PLAIT_TEST_SEED={SEED}")
    client = await serve(live_queue_frames_max=16)
    proxy = Proxy(*address_of(client), lambda: chance.randrange(1, 6_000))
    await proxy.open()
    names = [f"orders/{number}" for number in range(3)]
    for name in names:
        await create(client, name, {"n": 0, "log": []})
    over = asyncio.Event()

    async def edits() -> dict[str, int]:
        heads: dict[str, int] = {}
        while proxy.cuts < CUTS:
            name = chance.choice(names)
            operation: dict[str, Json] = {"op": "replace", "path": "/n", "value": chance.random()}
            if chance.random() < 0.1:
                operation = {"op": "add", "path": "/log/-", "value": chance.random()}
            heads[name] = await edit(client, name, operation)
        over.set()
        return heads

    async def follows(copies: Copies) -> None:
        async with ClientSession(proxy.url) as through:
            while not over.is_set():
                try:
                    async with connected(through, copies) as live:
                        for number, name in enumerate(names):
                            await live.follow(name, number)
                        while not over.is_set():
                            await live.hear()
                except (Closed, ClientError, ConnectionError, TimeoutError):
                    pass

    everybody = [Copies() for _ in range(SUBSCRIBERS)]
    async with asyncio.timeout(300):
        following = [asyncio.create_task(follows(copies)) for copies in everybody]
        heads = await edits()
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    await proxy.close()
    for copies in everybody:
        async with connected(client, copies) as live:
            for name in names:
                await live.follow(name)
        for name in names:
            async with client.get(f"/v1/docs/{name}") as answer:
                assert copies.values[name] == await answer.json()
            assert copies.revisions[name] == heads[name]
            told = copies.told.get(name, [])
            assert told == sorted(set(told))
            if not copies.resets:
                assert told == list(range(told[0], heads[name] + 1))
