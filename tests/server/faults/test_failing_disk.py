"""Syncs and writes that fail, once or for a while: nothing acknowledged is lost, and nobody has to help."""

import asyncio
from errno import EIO, ENOSPC
from itertools import count
from random import Random

from aiohttp import ClientSession

from server.faults.conftest import Start
from server.faults.faulty_system import FaultySystem
from server.faults.ledger import Ledger, check_documents, check_ledger, create_documents
from server.faults.load import Load

ROUNDS = 2
WRITERS = 8
ANSWERS = 40
FAULTS = (("sync", EIO), ("write", EIO), ("write", ENOSPC))


async def write(
    client: ClientSession, random: Random, tokens: "count[int]", ledger: Ledger, answers: int | None = None
) -> None:
    """Write until so many answers came, or until every writer was told that nothing can be written."""
    load = Load(client, random, tokens, ledger)
    async with asyncio.timeout(30):
        writers = [asyncio.create_task(load.write()) for _ in range(WRITERS)]
        if answers is not None:
            await load.until(answers)
            load.stop()
        await asyncio.gather(*writers)


async def test_a_fault_now_and_then_and_a_power_cut_after_it_lose_nothing(
    start: Start, system: FaultySystem, random: Random, thorough: int
) -> None:
    """What a failed sync was to keep is not kept by the next one that goes well: see `faulty_system`."""
    tokens, ledger = count(1), Ledger()
    server = await start(prefix=system.prefix)
    async with server.client() as client:
        await create_documents(client)
    for _ in range(ROUNDS * thorough):
        since = len(ledger.answered)
        async with server.client() as client:
            for _ in range(random.randrange(1, 4)):
                what, error = random.choice(FAULTS)
                system.fail(what, error, before=random.randrange(20), times=random.randrange(1, 4))
                await write(client, random, tokens, ledger, random.randrange(1, ANSWERS))
                system.heal()
            await check_ledger(client, ledger, [*ledger.answered][since:])
            await write(client, random, tokens, ledger, random.randrange(1, ANSWERS))
        await server.kill()
        system.cut_power(random)
        server = await start(prefix=system.prefix)
        async with server.client() as client:
            await check_ledger(client, ledger, [*ledger.answered][since:])
    assert system["injected"] > 0, "the load proves too little"


async def test_while_every_write_fails_reads_go_on_and_health_is_enough_to_recover(
    start: Start, system: FaultySystem
) -> None:
    random, tokens, ledger = Random(1), count(1), Ledger()
    server = await start(prefix=system.prefix)
    async with server.client() as client:
        await create_documents(client)
        for what, error in FAULTS:
            since = len(ledger.answered)
            await write(client, random, tokens, ledger, ANSWERS)
            system.fail(what, error, before=random.randrange(10))
            await write(client, random, tokens, ledger)
            assert ledger.lost
            async with client.get("/readyz") as answer:
                assert answer.status == 503
            await check_documents(client, ledger)
            system.heal()
            await check_ledger(client, ledger, [*ledger.answered][since:])
            async with client.get("/readyz") as answer:
                assert answer.status == 200
    await server.kill()
    system.cut_power(random)
    server = await start(prefix=system.prefix)
    async with server.client() as client:
        await check_ledger(client, ledger, [*ledger.answered])


async def test_writes_that_take_half_are_completed(start: Start, system: FaultySystem) -> None:
    random, tokens, ledger = Random(1), count(1), Ledger()
    system["short_every"] = 3
    server = await start(prefix=system.prefix)
    async with server.client() as client:
        await create_documents(client)
        await write(client, random, tokens, ledger, ANSWERS)
    assert not ledger.lost
    assert system["short_writes"] > 0
    await server.kill()
    system.cut_power(random)
    server = await start(prefix=system.prefix)
    async with server.client() as client:
        await check_ledger(client, ledger, [*ledger.answered])
