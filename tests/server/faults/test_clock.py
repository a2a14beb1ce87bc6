"""The clock on the wall steps, an hour back or a month forward, while everybody works."""

import asyncio
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

from aiohttp import ClientSession

from plait_server.service.invariants import check as check_store
from plait_server.store.archive import open_archive
from server.faults import compacting, leased, queued
from server.faults.conftest import Start
from server.faults.faulty_system import FaultySystem
from server.faults.followers import Feed
from server.faults.leased import Holder
from server.faults.ledger import Ledger, check_documents, check_replays, create_documents, settle_the_lost
from server.faults.load import Load

HOUR_S, DAY_S = 3_600, 86_400
STEPS_S = (-HOUR_S, 30 * DAY_S, 0)
"""Where the clock is set to. Idempotency keys are kept for a day."""
WRITERS = 3
ANSWERS = 40


async def test_whatever_the_clock_is_set_to_nothing_is_lost_or_done_twice(
    start: Start, system: FaultySystem, tmp_path: Path, thorough: int
) -> None:
    """Set while edits, queued edits and counts under a lease are on their way; also over a crash. What was
    answered before is answered so again."""
    random = Random(int(os.environ.get("PLAIT_TEST_SEED", "1")))
    tokens: Iterator[int] = count(1)
    ledger, register, holders = (
        Ledger(),
        queued.Register(),
        [Holder(name, may_expire=True) for name in ("ann", "bob")],
    )
    (tmp_path / "plait.toml").write_text(compacting.SETTINGS)
    server = await start(prefix=system.prefix)
    compacted, feed = await compacting.prepare(server), Feed()
    async with server.client() as client:
        await create_documents(client)
        await create_documents(client, queued.DOCUMENTS)
        await leased.create(client)
    for offset_s in STEPS_S * thorough:
        async with server.client() as client, asyncio.timeout(30), asyncio.TaskGroup() as people:
            load = Load(client, random, tokens, ledger)
            for writer in range(WRITERS):
                people.create_task(load.write())
                people.create_task(queued.write(client, random, tokens, register, writer))
            for holder in holders:
                people.create_task(holder.count(client, tokens))
            people.create_task(compacting.Load(client, compacted, random).write(10_000))
            await load.until(ANSWERS)
            system["clock_offset_s"] = offset_s
            before = [*ledger.answered][-ANSWERS:]
            await load.until(2 * ANSWERS)
            await check_replays(client, ledger, before)
            await server.kill()
        with open_archive(tmp_path / "plait.db") as archive:
            assert list(check_store(archive)) == []
        server = await start(prefix=system.prefix)
        async with server.client() as client:
            present = await check_documents(client, ledger)
            await check_replays(client, ledger, [*ledger.answered][-2 * ANSWERS :])
            await settle_the_lost(client, ledger, present)
            await queued.check_ends(client, register)
            await queued.send_the_lost_again(client, register)
            await leased.check(client, holders)
            await compacting.check(client, compacted, feed)
    assert any(holder.counted for holder in holders)


async def test_a_lease_lasts_as_long_as_was_granted_whatever_the_clock_is_set_to(
    start: Start, system: FaultySystem
) -> None:
    server = await start(prefix=system.prefix)
    async with server.client() as client:
        await leased.create(client)
        assert await ask_for_the_lease(client, "ann", ttl_s=3_600) == 201
        for offset_s in (-HOUR_S, DAY_S, 0):
            system["clock_offset_s"] = offset_s
            assert await ask_for_the_lease(client, "bob") == 423
    await server.kill()
    # Over a restart it is not known how long it took: set back, nothing lasts longer than it was granted for.
    system["clock_offset_s"] = -DAY_S
    server = await start(prefix=system.prefix)
    async with server.client() as client:
        assert await ask_for_the_lease(client, "bob") == 423
    await server.kill()
    system["clock_offset_s"] = DAY_S
    server = await start(prefix=system.prefix)
    async with server.client() as client:
        assert await ask_for_the_lease(client, "bob") == 201


async def ask_for_the_lease(client: ClientSession, author: str, ttl_s: int = 30) -> int:
    headers, body = {"Plait-Author": author}, {"pointer": "/n", "ttl_s": ttl_s}
    async with client.post(f"/v1/docs/{leased.DOCUMENT}/locks", json=body, headers=headers) as answer:
        return answer.status


async def test_no_revision_gets_older_by_a_step_of_the_clock_and_none_is_the_head(
    start: Start, system: FaultySystem, tmp_path: Path
) -> None:
    """Days pass over a restart, where nobody knows better; what was written while the clock was ahead looks
    young for as long as it was ahead, and is kept."""
    (tmp_path / "plait.toml").write_text(compacting.SETTINGS)
    system["clock_offset_s"] = DAY_S
    server = await start(prefix=system.prefix)
    acknowledged = await compacting.prepare(server, {"days": 1})
    for offset_s in (DAY_S, -HOUR_S, 9 * DAY_S):
        system["clock_offset_s"] = offset_s
        async with server.client() as client:
            await compacting.Load(client, acknowledged, Random(offset_s)).write(40)
            assert set((await compacting.check(client, acknowledged)).values()) == {1}
    await server.kill()
    for offset_s in (12 * DAY_S, 15 * DAY_S):
        system["clock_offset_s"] = offset_s
        server = await start(prefix=system.prefix)
        async with server.client() as client, asyncio.timeout(10):
            while not await only_heads_are_kept(client, acknowledged):
                await compacting.check(client, acknowledged)
            await compacting.Load(client, acknowledged, Random(offset_s)).write(20)
        await server.kill()


async def only_heads_are_kept(client: ClientSession, documents: dict[str, set[str]]) -> bool:
    oldest = await compacting.check(client, documents)
    heads = {}
    for document in documents:
        async with client.get(f"/v1/docs/{document}") as answer:
            heads[document] = int(answer.headers["Plait-Revision"])
    return oldest == heads
