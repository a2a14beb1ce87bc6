"""The server is killed, or ended, while edits are queued: each accepted one ends exactly once, in order."""

import asyncio
import resource
import time
from itertools import count
from pathlib import Path
from random import Random

from server.data.histories import findings
from server.faults.conftest import Start
from server.faults.ledger import create_documents
from server.faults.queued import DOCUMENTS, HEADERS, Register, check_ends, send_the_lost_again, waiting, write

KILLS = 4
WRITERS = 8
ACCEPTED_BEFORE_KILL = 120
END_S_MAX = 10.0


async def test_what_was_accepted_ends_exactly_once_and_in_order_however_often_the_server_is_killed(
    start: Start, tmp_path: Path, random: Random, thorough: int
) -> None:
    """Killed between accepting and deciding, in the middle of it and after it; also while it catches up.

    When to kill is drawn at random; PLAIT_TEST_SEED chooses the draws.
    """
    tokens, register = count(1), Register()
    server, left = await start(), []
    async with server.client() as client:
        await create_documents(client, DOCUMENTS)
    for _ in range(KILLS * thorough):
        async with server.client() as client, asyncio.timeout(30), asyncio.TaskGroup() as writers:
            for writer in range(WRITERS):
                writers.create_task(write(client, random, tokens, register, writer))
            await register.until(len(register.accepted) + random.randrange(1, ACCEPTED_BEFORE_KILL))
            await server.kill()
        left.append(waiting(tmp_path))
        server = await start()
        if random.random() < 0.3:
            await server.kill()
            server = await start()
        async with server.client() as client:
            if random.random() < 0.5:
                await check_ends(client, register)
            await send_the_lost_again(client, register)
    async with server.client() as client:
        await check_ends(client, register)
    assert await server.end() == 0
    assert findings(tmp_path / "plait.db") == []
    kinds = {"done" if isinstance(end, int) else end.rpartition(":")[2] for end in register.ends.values()}
    assert kinds == {"done", "merge-conflict", "patch-inapplicable"}, "the load proves too little"
    assert max(left) > 0, "the load proves too little"


async def test_a_full_queue_holds_up_no_end_and_loses_nothing(start: Start, tmp_path: Path) -> None:
    random, tokens, register = Random(1), count(1), Register()
    (tmp_path / "plait.toml").write_text("queue_document_edits_max = 20")
    server = await start()
    async with server.client() as client:
        await create_documents(client, DOCUMENTS)
        async with asyncio.timeout(30), asyncio.TaskGroup() as writers:
            for writer in range(100):
                writers.create_task(write(client, random, tokens, register, writer))
            await register.until(60)
            began = time.perf_counter()
            assert await server.end() == 0
            assert time.perf_counter() - began < END_S_MAX
    assert "hot-document" in register.refusals
    server = await start()
    async with server.client() as client:
        await check_ends(client, register)


async def test_on_a_full_disk_nothing_is_accepted_and_what_was_waits_for_room(
    start: Start, tmp_path: Path
) -> None:
    """Whoever was refused may send it again under the same key; nobody has to help those who wait."""
    random, tokens, register = Random(1), count(1), Register()
    server = await start()
    async with server.client() as client:
        await create_documents(client, DOCUMENTS)
        for _ in range(3):
            async with asyncio.timeout(30), asyncio.TaskGroup() as writers:
                for writer in range(WRITERS):
                    writers.create_task(write(client, random, tokens, register, writer))
                await register.until(len(register.accepted) + 60)
                server.limit_files((tmp_path / "plait.db").stat().st_size)
            async with client.patch(f"/v1/docs/{DOCUMENTS[0]}", json=[], headers=HEADERS) as answer:
                problem = await answer.json(content_type="application/problem+json")
            assert (answer.status, problem["type"]) == (503, "urn:plait:errors:store-unavailable")
            server.limit_files(resource.RLIM_INFINITY)
            await send_the_lost_again(client, register)
            await check_ends(client, register)
