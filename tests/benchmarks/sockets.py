"""Cheap ends of live connections: raw protocols that count what comes instead of reading it.

Frames of the client are masked with zeros, which a server cannot tell from any other mask.
"""

import asyncio
import os
import re
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

_HANDSHAKE = (
    b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: plait.v1.json\r\n\r\n"
)
_APPLIED = re.compile(rb'\{"t":"applied","id":(\d+),"doc":"[^"]*","rev":(\d+)')
HELLO = b'{"t":"hello"}'
REVISION = b'{"t":"rev"'
READ_BYTES = 65_536
SILENCE_S_MAX = 60


def masked(text: bytes) -> bytes:
    """Write a text frame as a client does."""
    length = len(text)
    head = struct.pack("!BB", 0x81, 0x80 | length)
    if length > 125:
        head = struct.pack("!BBH", 0x81, 0x80 | 126, length)
    return head + bytes(4) + text


class Arrivals:
    """When messages came to those who listen. They are read without the event loop, which would take longer
    for a message than the server does, and so be what is measured."""

    def __init__(self, marker: bytes) -> None:
        self._marker = marker
        self._ends = select.epoll()
        self.first = self.last = 0.0

    def add(self, listener: "Listener") -> None:
        """Read from now on what comes to a listener, who has nothing under way."""
        listener.transport.pause_reading()
        self._ends.register(listener.transport.get_extra_info("socket").fileno(), select.EPOLLIN)

    def read(self, count: int) -> None:
        """Block until so many messages have come. Raises TimeoutError where nothing comes any more."""
        ends, marker, came = self._ends, self._marker, 0
        latest = time.perf_counter() + SILENCE_S_MAX
        while came < count:
            ready = ends.poll(0)
            if not ready:
                if time.perf_counter() > latest:
                    raise TimeoutError(f"{came} of {count} messages came.")
                continue
            if not came:
                self.first = time.perf_counter()
            for end, _ in ready:
                received = os.read(end, READ_BYTES)
                if not received:
                    raise ConnectionError("The server closed a connection.")
                # A frame that is cut in two by the network is counted where its beginning is.
                came += received.count(marker)
        self.last = time.perf_counter()

    def close(self) -> None:
        self._ends.close()


class Listener(asyncio.Protocol):
    """A connection that is followed as soon as `ready` came on it."""

    def __init__(self, ready: bytes) -> None:
        self._ready = ready
        self._begun = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._begun += data
        if self._ready in self._begun and not self.ready.done():
            self.ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("The server closed a connection."))


async def listen(
    port: int, count: int, arrivals: Arrivals, first: Sequence[bytes], ready: bytes
) -> list[Listener]:
    """Open connections that send `first` and are read from when they were sent `ready`."""
    listeners: list[Listener] = []
    for start in range(0, count, 100):
        some = [await _open(port, ready) for _ in range(min(100, count - start))]
        for listener in some:
            listener.transport.write(_HANDSHAKE + b"".join(map(masked, first)))
        for listener in some:
            await listener.ready
            arrivals.add(listener)
        listeners += some
    return listeners


async def _open(port: int, ready: bytes) -> Listener:
    loop = asyncio.get_running_loop()
    _, listener = await loop.create_connection(lambda: Listener(ready), "127.0.0.1", port)
    return listener


async def follow(port: int, count: int, arrivals: Arrivals, document: str) -> list[Listener]:
    """Open connections that follow one document."""
    sub = b'{"t":"sub","id":1,"doc":"%b"}' % document.encode()
    return await listen(port, count, arrivals, (HELLO, sub), b'"t":"caught_up"')


def deaf(port: int, document: str) -> socket.socket:
    """Open a connection that follows a document and never reads."""
    ends = socket.create_connection(("127.0.0.1", port))
    ends.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sub = b'{"t":"sub","id":1,"doc":"%b"}' % document.encode()
    ends.sendall(_HANDSHAKE + masked(HELLO) + masked(sub))
    return ends


class Writer(asyncio.Protocol):
    """Edits some documents over one live connection, each again when its last edit is applied."""

    def __init__(self, documents: Sequence[str]) -> None:
        self._templates = [
            b'{"t":"edit","id":%d,"doc":"%b","base":%%d,"patch":[{"op":"replace","path":"/n","value":%%d}]}'
            % (number, document.encode())
            for number, document in enumerate(documents)
        ]
        self._revisions = [1] * len(documents)
        self._value = 1_000_000
        self._applied: Callable[[], bool] | None = None
        self._under_way = 0
        self.welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.idle: asyncio.Future[None]
        self.transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        transport.write(_HANDSHAKE + masked(HELLO))

    def data_received(self, data: bytes) -> None:
        if b'"t":"problem"' in data:
            raise RuntimeError(data)
        if not self.welcome.done():
            if b'{"t":"welcome"' in data:
                self.welcome.set_result(None)
            return
        # Answers are short: the network does not cut them in two on one machine.
        for found in _APPLIED.finditer(data):
            self._answered(int(found[1]), int(found[2]))

    def _answered(self, number: int, revision: int) -> None:
        assert self._applied is not None
        self._revisions[number] = revision
        if self._applied():
            self._send(number)
            return
        self._under_way -= 1
        if not self._under_way:
            self.idle.set_result(None)

    def begin(self, applied: Callable[[], bool], at_once: int) -> asyncio.Future[None]:
        """Edit the first documents until `applied`, told of each edit, says that it is enough."""
        self._applied, self.idle = applied, asyncio.get_running_loop().create_future()
        self._under_way = at_once
        for number in range(at_once):
            self._send(number)
        return self.idle

    def _send(self, number: int) -> None:
        self._value += 1
        self.transport.write(masked(self._templates[number] % (self._revisions[number], self._value)))


async def writers(port: int, documents: Sequence[Sequence[str]]) -> list[Writer]:
    """Open a connection for each group of documents."""
    loop = asyncio.get_running_loop()
    opened: list[Writer] = []
    for group in documents:
        _, writer = await loop.create_connection(lambda group=group: Writer(group), "127.0.0.1", port)  # type: ignore[misc]
        await writer.welcome
        opened.append(writer)
    return opened


async def write(opened: Sequence[Writer], edits: int, at_once: int) -> None:
    """Have so many edits applied, over all connections together, some at once on each."""
    left = edits

    def applied() -> bool:
        nonlocal left
        left -= 1
        return left > 0

    await asyncio.gather(*(writer.begin(applied, at_once) for writer in opened))


def close(ends: Sequence[Any]) -> None:
    for each in ends:
        each.transport.abort()
