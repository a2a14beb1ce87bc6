"""What it takes to see from outside whether somebody's doing is felt by others."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from io import BytesIO
from typing import Any

from aiohttp import ClientSession

from server.faults.serving import Server

NEIGHBOUR = "/v1/docs/neighbours/1"
NEIGHBOUR_S_MAX = 2.0
GROWTH_BYTES_MAX = 50_000_000
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def nobody_feels_it(
    server: Server, cpu_s_max: float = 30.0, growth_bytes_max: int = GROWTH_BYTES_MAX
) -> AsyncIterator[ClientSession]:
    """Give a client; check that meanwhile a neighbour is answered in time, that memory does not grow, and
    what the server computed. All is measured from outside."""
    async with server.client() as client:
        async with client.put(NEIGHBOUR, json={"n": 1}, headers={"If-None-Match": "*"}) as made:
            assert made.status in (201, 412)
        over, before_bytes, before_s = asyncio.Event(), server.memory_bytes(), server.cpu_s()
        server.forget_memory_peak()
        neighbour = asyncio.create_task(_slowest_read_s(client, over))
        try:
            async with asyncio.timeout(60):
                yield client
        finally:
            over.set()
            slowest_s = await neighbour
        growth_bytes, cpu_s = server.memory_peak_bytes() - before_bytes, server.cpu_s() - before_s
        print(f"{slowest_s:.2f} s waited, {cpu_s:.2f} s computed, {growth_bytes / 1e6:.0f} MB more")
        assert slowest_s < NEIGHBOUR_S_MAX
        assert cpu_s < cpu_s_max
        assert growth_bytes < growth_bytes_max


async def _slowest_read_s(client: ClientSession, over: asyncio.Event) -> float:
    slowest_s = 0.0
    while not over.is_set():
        began = time.perf_counter()
        async with client.get(NEIGHBOUR) as answer:
            assert (answer.status, await answer.json()) == (200, {"n": 1})
        slowest_s = max(slowest_s, time.perf_counter() - began)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), 0.005)
    return slowest_s


async def status(client: ClientSession, method: str, path: str, body: bytes, **headers: str) -> int:
    """Send a request; give its status, having checked that a refusal is a problem document."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.request(method, path, data=BytesIO(body), headers=named) as answer:
        text = await answer.read()
        if answer.status >= 400:
            assert json.loads(text)["status"] == answer.status
        return answer.status


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


async def first_line(stream: Stream) -> bytes:
    """Give the first line of what the server says, having waited until it closes or cuts."""
    line = b""
    with contextlib.suppress(ConnectionError):
        line = await stream[0].readline()
        await stream[0].read()
    return line.rstrip()


async def send(stream: Stream, pieces: Iterable[bytes]) -> None:
    """Send as much as the server takes."""
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            stream[1].write(piece)
            await stream[1].drain()


@asynccontextmanager
async def connected(server: Server, connections: int = 1) -> AsyncIterator[list[Stream]]:
    """Open connections, a hundred at a time: the kernel holds no more until they are accepted."""
    async with AsyncExitStack() as stack:
        streams: list[Stream] = []
        while len(streams) < connections:
            some = min(100, connections - len(streams))
            streams += await asyncio.gather(*(asyncio.open_connection(*server.address) for _ in range(some)))
        for _, writer in streams:
            stack.callback(writer.close)
        yield streams
