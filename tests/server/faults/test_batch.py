"""kill -9 among batches: each is whole or absent, and what was acknowledged is whole."""

import asyncio
from itertools import count
from random import Random

from server.faults.batches import Told, check, check_replays, create, settle_the_lost, write
from server.faults.conftest import Start

KILLS = 3
WRITERS = 8
ANSWERS_BEFORE_KILL = 60


async def test_after_every_kill_a_batch_is_whole_or_absent(
    start: Start, random: Random, thorough: int
) -> None:
    """Batches of one to four documents from many writers, killed again and again; PLAIT_TEST_SEED chooses
    the draws."""
    tokens, told = count(1), Told()
    server = await start()
    async with server.client() as client:
        await create(client)
    for _ in range(KILLS * thorough):
        async with server.client() as client, asyncio.timeout(30), asyncio.TaskGroup() as writers:
            answers = asyncio.Semaphore(0)
            for _ in range(WRITERS):
                writers.create_task(write(client, random, tokens, told, answers))
            for _ in range(random.randrange(1, ANSWERS_BEFORE_KILL)):
                await answers.acquire()
            await server.kill()
        server = await start()
        async with server.client() as client:
            await check(client, told)
            await check_replays(client, random, told)
            await settle_the_lost(client, told)
    async with server.client() as client:
        await check(client, told)
    assert await server.end() == 0
    statuses = {status for _, status, _ in told.answered.values()}
    assert statuses == {200, 409, 422}, "the load proves too little"
