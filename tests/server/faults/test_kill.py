"""kill -9 in the middle of the work: what was acknowledged is there, what was not is there once or never."""

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random

from aiohttp import ClientSession

from server.faults.conftest import Start
from server.faults.ledger import Ledger, check_documents, check_ledger, create_documents
from server.faults.load import Load

KILLS = 20
WRITERS = 8
ANSWERS_BEFORE_KILL = 80
REPLAYS_FRESH = 30
REPLAYS_OLDER = 10
RESTART_S_MAX = 5.0


async def test_nothing_acknowledged_is_lost_and_nothing_is_done_twice(
    start: Start, tmp_path: Path, random: Random, thorough: int
) -> None:
    """Writers of every kind, killed again and again over one growing database.

    When to kill and what to send again is drawn at random; PLAIT_TEST_SEED chooses the draws.
    """
    tokens, ledger, restarts_s = count(1), Ledger(), []
    server = await start()
    async with server.client() as client:
        await create_documents(client)
    for _ in range(KILLS * thorough):
        older = sorted(ledger.answered)
        async with server.client() as client, asyncio.timeout(30), asyncio.TaskGroup() as writers:
            load = Load(client, random, tokens, ledger)
            for _ in range(WRITERS):
                writers.create_task(load.write())
            await load.until(random.randrange(1, ANSWERS_BEFORE_KILL))
            await server.kill()
        server = await start()
        restarts_s.append(server.start_s)
        async with server.client() as client:
            again = [*ledger.answered][len(older) :][-REPLAYS_FRESH:]
            again += random.sample(older, min(len(older), REPLAYS_OLDER))
            await check_ledger(client, ledger, again)
    async with server.client() as client:
        await check_documents(client, ledger)
        await check_made(client, ledger)
    assert await server.end() == 0
    told = Counter(answer.status for _, answer in ledger.answered.values())
    assert told.keys() == {200, 201, 409, 412, 422}, "the load proves too little"
    assert max(restarts_s) < RESTART_S_MAX
    with closing(sqlite3.connect(tmp_path / "plait.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def check_made(client: ClientSession, ledger: Ledger) -> None:
    """Check that what was created is there once, also where it was sent twice."""
    made = [answer.document for _, answer in ledger.answered.values() if answer.status == 201]
    listed: list[str] = []
    parameters = {"limit": "500"}
    while parameters.get("cursor") != "":
        async with client.get("/v1/docs/made", params=parameters) as answer:
            page = await answer.json()
        listed += [entry["document"] for entry in page["documents"]]
        parameters["cursor"] = page["cursor"] or ""
    assert sorted(listed) == sorted(filter(None, made))
    assert len(set(made)) == len(made)
