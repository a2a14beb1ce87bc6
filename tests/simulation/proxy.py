"""A TCP proxy that cuts connections after a number of bytes, wherever in a frame that is."""

import asyncio
from collections.abc import Callable


class Proxy:
    """Stands before a server. `bytes_until_cut` gives, for each connection, what may come back through it."""

    def __init__(self, host: str, port: int, bytes_until_cut: Callable[[], int]) -> None:
        self._host = host
        self._port = port
        self._bytes_until_cut = bytes_until_cut
        self._server: asyncio.Server
        self._jobs: set[asyncio.Task[None]] = set()
        self.cuts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def close(self) -> None:
        self._server.close()
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        job = asyncio.create_task(self._relay(reader, writer))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        # Also where it is cancelled before its first step.
        job.add_done_callback(lambda _: writer.transport.abort())

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_server = await asyncio.open_connection(self._host, self._port)
        sending = asyncio.create_task(_carry(reader, to_server))
        try:
            await self._carry_back(upstream, writer)
        finally:
            sending.cancel()
            to_server.transport.abort()  # first: who is cut may be closed while this waits
            await asyncio.gather(sending, return_exceptions=True)

    async def _carry_back(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = self._bytes_until_cut()
        while left > 0 and (data := await upstream.read(min(left, 65_536))):
            left -= len(data)
            writer.write(data)
            await writer.drain()
        self.cuts += 1


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
