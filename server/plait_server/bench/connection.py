"""One connection to a server: HTTP/1.1 over an asyncio protocol, one request at a time.

A general client takes more CPU for a request than the server does, and a load that waits for its own client
measures that one. Reads what HTTP servers and proxies send: a body of a stated length, or in chunks.
"""

import asyncio
import re
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from plait_server import wire

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)[^\r\n]*\r\n")
HEAD_BYTES_MAX = 65_536


class BadUrl(ValueError):
    """What was given is not the address of a server; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens; `prefix` is what stands before `/v1`."""

    host: str
    port: int
    tls: bool
    prefix: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.prefix}"


def read_url(url: str) -> Target:
    """Take a URL apart. Raises BadUrl."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadUrl(f"{url} is no URL: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise BadUrl(f"{url} is no URL of a server; it is written like http://127.0.0.1:8080.")
    if parts.username is not None or not url.isprintable() or " " in url:
        raise BadUrl("A URL with a name, a password or blanks in it is not taken.")
    tls = parts.scheme == "https"
    prefix = parts.path.rstrip("/").removesuffix("/v1")
    return Target(parts.hostname, port or (443 if tls else 80), tls, prefix)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    head: bytes
    content: bytes

    def header(self, name: str) -> str | None:
        """Give a header field; None where it is not there."""
        found = re.search(rb"(?i)\r\n%b: *([^\r]*)" % re.escape(name.encode()), self.head)
        return None if found is None else found[1].decode("latin-1").strip()

    def body(self) -> Any:
        """Read the JSON; an empty object where there is none."""
        try:
            return wire.decode(self.content) if self.content else {}
        except ValueError:
            return {}

    @property
    def code(self) -> str:
        """The name of the problem, or the status where it is none."""
        body = self.body()
        name = str(body.get("type", "")) if isinstance(body, dict) else ""
        return name.rpartition(":")[2].rpartition("/")[2] or str(self.status)

    @property
    def retry_after_s(self) -> float:
        """How long to wait before it is sent again; a second where that is not said."""
        try:
            return max(0.0, float(self.header("Retry-After") or 1))
        except ValueError:
            return 1.0

    @property
    def may_be_sent_again(self) -> bool:
        return self.status in (429, 502, 503, 504) or self.header("Plait-Should-Retry") == "true"


class Connection(asyncio.Protocol):
    """Asks, and opens itself again where it was closed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._received = b""
        self._complete = 0
        self._asked_at = 0.0

    async def ask(
        self, method: str, path: str, content: bytes = b"", fields: tuple[tuple[str, str], ...] = ()
    ) -> Answer:
        """Send a request and give its answer. Raises OSError where there is none: nobody knows its effect.

        `path` begins with a slash and is sent below the prefix of the target. HEAD is not understood.
        """
        if self._transport is None or self._transport.is_closing():
            await self._open()
        assert self._transport is not None
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._asked_at = loop.time()
        self._transport.write(
            f"{method} {self._target.prefix}{path} HTTP/1.1\r\nHost: {self._target.authority}\r\n{lines}"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        try:
            return await self._answer
        finally:
            self._answer = None

    def cut_if_stuck(self, now: float, seconds: float) -> None:
        """Give a request up whose answer takes longer than that."""
        if self._answer is not None and now - self._asked_at > seconds and self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def _open(self) -> None:
        tls = ssl.create_default_context() if self._target.tls else None
        self._received, self._complete = b"", 0
        await asyncio.wait_for(
            asyncio.get_running_loop().create_connection(
                lambda: self, self._target.host, self._target.port, ssl=tls
            ),
            timeout=10,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data if self._received else data
        if len(received) < self._complete:
            return
        end = received.find(b"\r\n\r\n")
        if end < 0:
            if len(received) > HEAD_BYTES_MAX:
                self._fail("What answers is no HTTP server.")
            return
        if found := _LENGTH.search(received, 0, end + 2):
            self._complete = end + 4 + int(found[1])
            content = received[end + 4 :] if len(received) >= self._complete else None
        elif _CHUNKED.search(received, 0, end + 2):
            content = _joined(received, end + 4)
        else:
            content = b""
        if content is not None:
            self._answered(received[: end + 2], content)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("The server closed a connection."))

    def _answered(self, head: bytes, content: bytes) -> None:
        self._received, self._complete = b"", 0
        if not head.startswith(b"HTTP/1.") or not head[9:12].isdigit():
            self._fail("What answers is no HTTP server.")
        elif self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(int(head[9:12]), head, content))

    def _fail(self, sentence: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(sentence))
        if self._transport is not None:
            self._transport.abort()


def _joined(received: bytes, start: int) -> bytes | None:
    """Put chunks together; None where some are still to come."""
    chunks: list[bytes] = []
    while found := _CHUNK.match(received, start):
        size = int(found[1], 16)
        start = found.end() + size + 2
        if len(received) < start:
            return None
        if size == 0:
            return b"".join(chunks)
        chunks.append(received[found.end() : found.end() + size])
    return None
