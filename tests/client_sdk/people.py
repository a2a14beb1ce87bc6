"""What the tests of documents share: a network that can be off, and a look at what the server has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Self

from aiohttp import ClientSession

from plait_merge import Json, apply
from simulation.faulty_proxy import Fault, Head

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
        self._open: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.Server

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port = self._listening.sockets[0].getsockname()[1]
        self.session = ClientSession(f"http://127.0.0.1:{port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        self._listening.close()
        self._cut()

    def replace(self, server: ClientSession) -> None:
        """Lead to another server from now on; who is connected is cut off."""
        self._server = server
        self._cut()

    def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        url = self._server._base_url
        assert url is not None
        with suppress(OSError):
            upstream, to_server = await asyncio.open_connection(url.host, url.port)
            ends = (writer, to_server)
            self._open.update(ends)
            with suppress(asyncio.CancelledError):
                await asyncio.wait(
                    [
                        asyncio.ensure_future(_pipe(reader, to_server)),
                        asyncio.ensure_future(_pipe(upstream, writer)),
                    ]
                )
            self._open.difference_update(ends)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
