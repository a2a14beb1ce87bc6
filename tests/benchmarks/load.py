"""A cheap load generator: raw HTTP over asyncio protocols, requests that are nearly ready beforehand.

Its own cost falls on another core, but a slow generator would leave the server waiting, and a server
that waits makes smaller commits.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from plait_client.wire.request import new_key

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_REVISION = re.compile(rb"(?i)\r\nplait-revision: *(\d+)")
FIRST_VALUE = 1_000_000
"""Values count from here, so that all requests of a place are equally long."""


class Place:
    """One place of one document, and what its writer knows: the last revision that was acknowledged to it.

    Its edits replace the value, or add to it with *adds*, and name what he knows: *strict* ones insist on it.
    *keyed* ones have an idempotency key, as those of the client do.
    """

    def __init__(
        self,
        document: str,
        pointer: str,
        revision: int = 1,
        *,
        strict: bool = False,
        adds: bool = False,
        keyed: bool = False,
    ) -> None:
        kind, patch = "json-patch", b'[{"op":"replace","path":"%b","value":%%d}]'
        if adds:
            kind, patch = "vnd.plait.edit", b'{"patch":[{"op":"inc","path":"%b","value":%%d}]}'
        body = patch % pointer.encode()
        head = (
            "PATCH /v1/docs/%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/%s+json\r\n"
            "%s%s\r\nContent-Length: %d\r\n\r\n"
        )
        states = 'If-Match: "%d"' if strict else "Plait-Base: %d"
        key = "Idempotency-Key: %b\r\n" if keyed else ""
        self._template = (head % (quote(document), kind, key, states, len(body) + 5)).encode() + body
        self._keyed = keyed
        self.revision = revision
        self.value = FIRST_VALUE
        self.attempts = self.acknowledged = self.last_acknowledged = self.sum_acknowledged = 0

    def request(self) -> bytes:
        self.attempts += 1
        self.value += 1
        if self._keyed:
            return self._template % (new_key().encode(), self.revision, self.value)
        return self._template % (self.revision, self.value)

    def answered(self, status: int, revision: int) -> bool:
        """Take an answer; whether the edit is acknowledged. A 412 names the revision to try on."""
        self.revision = revision
        if status != 200:
            return False
        self.acknowledged += 1
        self.last_acknowledged = self.value
        self.sum_acknowledged += self.value
        return True


@dataclass(slots=True)
class Quota:
    """How many more edits shall be acknowledged, to whomever, and how long each request took."""

    left: int
    took_s: list[float] = field(default_factory=list)
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def count(self) -> None:
        self.left -= 1
        if self.left <= 0 and not self.done.done():
            self.done.set_result(None)


class Connection(asyncio.Protocol):
    """One writer: edits its places in turn, the next when the last is answered."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._turn = 0
        self._quota: Quota | None = None
        self._received = b""
        self._expected = 0
        self._sent = 0.0
        self._transport: asyncio.WriteTransport
        self._idle = asyncio.Event()
        self._idle.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def begin(self, quota: Quota) -> None:
        self._quota = quota
        self._idle.clear()
        self._send()

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        await self._idle.wait()

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data if self._received else data
        if not self._expected:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(received, 0, end)
            self._expected = end + 4 + (int(length[1]) if length else 0)
        if len(received) >= self._expected:
            self._answered(received)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._quota is not None and not self._quota.done.done():
            self._quota.done.set_exception(ConnectionError("The server closed a connection."))

    def _answered(self, answer: bytes) -> None:
        self._received, self._expected = b"", 0
        quota, status, revision = self._quota, int(answer[9:12]), _REVISION.search(answer)
        assert quota is not None
        quota.took_s.append(time.perf_counter() - self._sent)
        if status not in (200, 412):
            quota.done.set_exception(RuntimeError(answer.decode(errors="replace")))
            return
        if self._places[self._turn].answered(status, int(revision[1]) if revision else 0):
            self._turn = (self._turn + 1) % len(self._places)
            quota.count()
        if quota.left > 0:
            self._send()
        else:
            self._idle.set()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._places[self._turn].request())


async def connect(port: int, places: Sequence[Sequence[Place]]) -> list[Connection]:
    """Open a connection for each group of places."""
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda group=group: Connection(group), "127.0.0.1", port)  # type: ignore[misc]
        for group in places
    ]
    return [connection for _, connection in opened]


async def run(connections: Sequence[Connection], edits: int) -> list[float]:
    """Have so many edits acknowledged, over all connections together; give how long each request took."""
    quota = Quota(edits)
    for connection in connections:
        connection.begin(quota)
    await quota.done
    for connection in connections:
        await connection.idle()
    return quota.took_s
