"""What the tests of documents share: a network that can be off, and a look at what the server has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Self

from aiohttp import ClientSession, web

from address import address_of
from plait_merge import Json, apply
from simulation.faulty_proxy import Fault, Head, end

NAME = "orders/7"
ORDER: dict[str, Any] = {"title": "A", "n": 1, "tags": ["x"], "deep": {"a": {"b": 1}}, "log": []}


class Network:
    """Decides for a proxy: everything passes while `fault` is PASS; `next` comes before that, once each."""

    def __init__(self, fault: Fault = Fault.PASS) -> None:
        self.fault = fault
        self.next: list[Fault] = []
        self.only: str | None = None

    def __call__(self, head: Head) -> Fault:
        if self.only is not None and head.method != self.only:
            return Fault.PASS
        return self.next.pop(0) if self.next else self.fault

    def off(self) -> None:
        self.fault = Fault.CUT_BEFORE

    def on(self) -> None:
        self.fault = Fault.PASS


async def history(client: ClientSession, name: str = NAME) -> list[dict[str, Any]]:
    """Read all revisions, oldest first."""
    revisions: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        params = {"limit": "100", **({} if cursor is None else {"cursor": cursor})}
        async with client.get(f"/v1/docs/{name}/revisions", params=params) as answer:
            page = await answer.json()
        revisions += page["revisions"]
        cursor = page["cursor"]
        if cursor is None:
            return revisions[::-1]


async def keys(client: ClientSession, name: str = NAME) -> list[str]:
    """Name the edits that are in the history, in order."""
    return [each["key"] for each in await history(client, name) if each["key"] is not None]


async def head(client: ClientSession, name: str = NAME) -> Json:
    """Read the value by itself."""
    async with client.get(f"/v1/docs/{name}") as answer:
        return await answer.json()


async def taken(changes: AsyncIterator[Any], upto: int) -> list[Any]:
    """Take changes until one reaches a revision."""
    told = []
    async for change in changes:
        told.append(change)
        if change.revision >= upto:
            break
    return told


def replayed(value: Json, changes: list[Any]) -> Json:
    """Apply what was told, one after the other."""
    for change in changes:
        value = apply(value, change.patch) if change.reset is None else change.value
    return value


class Relay:
    """An address that stays while the server behind it is replaced by another."""

    def __init__(self, server: ClientSession) -> None:
        self._server = server
        self._jobs: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = self._listening.sockets[0].getsockname()[1]
        self.session = ClientSession(f"http://127.0.0.1:{port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        await end(self._listening, self._jobs)

    async def replace(self, server: ClientSession) -> None:
        """Lead to another server from now on; who is connected is cut off."""
        self._server = server
        await self._cut()

    async def _cut(self) -> None:
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        job = asyncio.current_task()
        assert job is not None
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        with suppress(OSError, asyncio.CancelledError):
            await self._carry(reader, writer)
        await _closed(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_server = await asyncio.open_connection(*address_of(self._server))
        ways = [
            asyncio.ensure_future(_pipe(reader, to_server)),
            asyncio.ensure_future(_pipe(upstream, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await _closed(to_server)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


class Doorkeeper:
    """Stands before a server: answers for it while there is a `status`, loses its answers to a `method`."""

    def __init__(self, server: ClientSession) -> None:
        self._server = server
        self.status: int | None = None
        self.code = "barred"
        self.passing: tuple[str, ...] = ()
        self.method: str | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._carry)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.session = ClientSession(f"http://{host}:{port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        await self._runner.cleanup()

    async def _carry(self, request: web.Request) -> web.Response:
        if self.status is not None and request.method not in self.passing:
            problem = {"type": f"urn:plait:errors:{self.code}", "status": self.status, "title": "No"}
            return web.json_response(problem, status=self.status, headers={"Plait-Should-Retry": "false"})
        body = await request.read()
        named = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        async with self._server.request(request.method, request.rel_url, data=body, headers=named) as answer:
            content = await answer.read()
        if request.method == self.method:
            assert request.transport is not None
            request.transport.abort()
        wanted = ("Content-Type", "Plait-Revision", "Plait-Epoch", "Plait-Should-Retry", "ETag")
        headers = {name: answer.headers[name] for name in wanted if name in answer.headers}
        return web.Response(status=answer.status, body=content, headers=headers)
