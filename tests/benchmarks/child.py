"""A server in a process of its own, for the benchmarks: Plait, or a bare aiohttp handler.

    python -m tests.benchmarks.child plait SETTINGS.json
    python -m tests.benchmarks.child bare  ANSWER.json
    python -m tests.benchmarks.child loop  ANYTHING.json

Prints its port, and ends when its standard input does. Each runs on the loop and the core it is told, and
collects garbage as `plait serve` does.
"""

import asyncio
import gc
import importlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from plait_server.config import Settings
from plait_server.service import Service
from plait_server.store.sqlite import SqliteStore
from plait_server.web.application import create_app, service_limits
from plait_server.web.connections import COLLECTOR_THRESHOLDS, Runner


def main() -> None:
    """Serve until nobody holds the other end of standard input."""
    kind, loop, core, file = sys.argv[1:]
    if int(core) >= 0:
        os.sched_setaffinity(0, {int(core)})
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    given = msgspec.json.decode(Path(file).read_bytes())
    serving = {"plait": _plait, "bare": _bare, "loop": _loop}[kind](given)
    with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
        runner.run(_serve(serving))


def _loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop == "asyncio":
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(loop).new_event_loop
    return factory


async def _serve(serving: "_Serving") -> None:
    async with serving as runner:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@asynccontextmanager
async def _plait(given: dict[str, Any]) -> AsyncIterator[web.AppRunner]:
    """Serve Plait as `plait serve` does."""
    settings = Settings(**given)
    service = await Service.open(await SqliteStore.open(settings.db), limits=service_limits(settings))
    runner = Runner(create_app(service, settings), settings)
    await runner.setup()
    yield runner
    await runner.cleanup()


@asynccontextmanager
async def _bare(given: dict[str, Any]) -> AsyncIterator[web.AppRunner]:
    """Serve the least a handler can do: read the body, parse it, answer with bytes known beforehand."""
    headers, body = given["headers"], given["body"].encode()
    decode = msgspec.json.Decoder().decode

    async def answer(request: web.Request) -> web.Response:
        decode(await request.read())
        return web.Response(body=body, headers=headers)

    application = web.Application()
    application.router.add_patch("/v1/docs/{collection}/{id}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    yield runner
    await runner.cleanup()


@asynccontextmanager
async def _loop(given: dict[str, Any]) -> AsyncIterator[web.AppRunner]:
    """Serve the least that tells many of something: a loop that sends them all the same text."""
    sockets: list[web.WebSocketResponse] = []

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("plait.v1.json",), compress=False)
        await socket.prepare(request)
        sockets.append(socket)
        async for message in socket:
            if message.data == "hello":
                await socket.send_str("ready")
                continue
            for each in sockets:
                await each.send_str(message.data)
        return socket

    application = web.Application()
    application.router.add_get("/v1/live", serve)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    yield runner
    await runner.cleanup()


_Serving = Any

if __name__ == "__main__":
    main()
