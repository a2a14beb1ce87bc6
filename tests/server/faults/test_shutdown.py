"""SIGTERM in the middle of the work: what was taken is answered and durable, and the end comes soon."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from random import Random

from server.faults.conftest import Start
from server.faults.history import check_history
from server.faults.ledger import Ledger, check_ledger, create_documents
from server.faults.load import Load
from server.faults.serving import Server

BURST = 100
WRITERS = 8
END_S_MAX = 10.0
DOCUMENT = "notes/hot"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(server: Server, connections: int = 1) -> AsyncIterator[list[Stream]]:
    async with AsyncExitStack() as stack:
        streams = []
        for _ in range(connections):
            streams.append(await asyncio.open_connection(*server.address))
            stack.callback(streams[-1][1].close)
        yield streams


def edit(token: str) -> bytes:
    body = json.dumps([{"op": "add", "path": f"/members/{token}", "value": token}]).encode()
    return (
        b"PATCH /v1/docs/%b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json-patch+json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (DOCUMENT.encode(), len(body), body)
    )


async def answer(stream: Stream) -> tuple[int, bytes]:
    """Read one answer; give its status and its body."""
    reader, _ = stream
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        return int(head.split()[1]), await reader.readexactly(int(length.partition(b":")[2]))


async def test_a_burst_is_answered_to_its_last_request(start: Start) -> None:
    """All of it lies in the server's hands when the signal comes, some of it not even read."""
    server = await start()
    async with server.client() as client:
        await create_documents(client)
    tokens = [f"edit-{number:016x}" for number in range(BURST)]
    async with connected(server, BURST) as streams:
        for token, (_, writer) in zip(tokens, streams, strict=True):
            writer.write(edit(token))
        answers = [await answer(streams[0])]
        server.process.terminate()
        answers += [await answer(stream) for stream in streams[1:]]
    assert await server.ended() == 0
    assert [status for status, _ in answers] == [200] * BURST
    told = {token: json.loads(body)["revision"] for token, (_, body) in zip(tokens, answers, strict=True)}
    server = await start()
    async with server.client() as client:
        await check_history(client, DOCUMENT, told)


async def test_writers_who_go_on_lose_nothing(start: Start, thorough: int) -> None:
    random, tokens, ledger = Random(1), count(1), Ledger()
    server = await start()
    async with server.client() as client:
        await create_documents(client)
    for _ in range(3 * thorough):
        answered = len(ledger.answered)
        async with server.client() as client, asyncio.timeout(30), asyncio.TaskGroup() as writers:
            load = Load(client, random, tokens, ledger)
            for _ in range(WRITERS):
                writers.create_task(load.write())
            await load.until(100)
            began = time.perf_counter()
            assert await server.end() == 0
            assert time.perf_counter() - began < END_S_MAX
        server = await start()
        async with server.client() as client:
            await check_ledger(client, ledger, [*ledger.answered][answered:])


async def test_a_request_that_is_not_complete_is_told_to_come_back(start: Start) -> None:
    server = await start()
    async with server.client() as client:
        await create_documents(client)
    async with connected(server) as (slow,):
        slow[1].write(edit("edit-0000000000000001")[:-1])
        await taken(server)
        began = time.perf_counter()
        server.process.terminate()
        status, body = await answer(slow)
    assert (status, json.loads(body)["type"]) == (503, "urn:plait:errors:overloaded")
    assert await server.ended() == 0
    assert time.perf_counter() - began < END_S_MAX / 2
    server = await start()
    async with server.client() as client:
        await check_history(client, DOCUMENT, {})


async def test_nobody_new_is_let_in_and_who_does_not_read_is_not_waited_for(start: Start) -> None:
    server = await start("--shutdown-timeout-s", "1")
    async with server.client() as client:
        headers = {"If-None-Match": "*"}
        async with client.put("/v1/docs/c/1", json="x" * 1_000_000, headers=headers) as made:
            assert made.status == 201
    async with connected(server) as (deaf,):
        deaf[1].transport.pause_reading()  # type: ignore[attr-defined]
        deaf[1].write(b"GET /v1/docs/c/1 HTTP/1.1\r\nHost: x\r\n\r\n" * 30)
        await taken(server)
        server.process.terminate()
        await refused(server)
        assert server.process.returncode is None
        assert await server.ended() == 0


async def taken(server: Server) -> None:
    """Wait until the server has read what was sent before, by asking for something after it."""
    async with server.client() as client:
        for _ in range(20):
            async with client.get("/healthz") as alive:
                assert alive.status == 200


async def refused(server: Server) -> None:
    """Wait until new connections are refused."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            while True:
                _, writer = await asyncio.open_connection(*server.address)
                writer.close()
