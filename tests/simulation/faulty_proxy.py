"""An HTTP proxy that goes wrong on purpose, request by request, as a script or seeded chance decides.

By hand, before a server on port 8080:

    python tests/simulation/faulty_proxy.py --listen 9000 --server 127.0.0.1:8080 \\
        --faults cut-after,delay --rate 0.1 --seed 7

It reads each request to its end before it decides, so that "was it processed?" has an answer for each
fault. Upgraded connections (WebSocket) are carried through as bytes; `cut-answer` cuts them somewhere.
"""

import argparse
import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

TURNS: Final = 5
HEAD_BYTES_MAX: Final = 131_072
TUNNEL_BYTES_MAX: Final = 6_000
"""An upgraded connection that is to be cut is cut before this many bytes came back."""
SEEN_MAX: Final = 10_000


class Fault(Enum):
    """What happens to a request. Named after what is cut, or after what is answered."""

    PASS = "pass"
    DELAY = "delay"
    """Carried through, late."""
    CUT_BEFORE = "cut-before"
    """Cut before the server sees anything of it."""
    CUT_AFTER = "cut-after"
    """Processed; cut before anything of the answer comes back."""
    CUT_ANSWER = "cut-answer"
    """Processed; cut somewhere in the answer."""
    SWALLOW = "swallow"
    """Processed; the answer never comes, and the connection stays open."""
    HALF_OPEN = "half-open"
    """Not processed; nothing ever comes, and the connection stays open."""
    TRUNCATED_JSON = "truncated-json"
    """Processed; the answer ends too early, and its Content-Length says that this is all."""
    HTML_502 = "502-html"
    PLAIN_429 = "429"
    LATER_429 = "429-later"
    """With Retry-After, as `503-later`."""
    PLAIN_503 = "503"
    LATER_503 = "503-later"


PROCESSED: Final = frozenset(
    (Fault.PASS, Fault.DELAY, Fault.CUT_AFTER, Fault.CUT_ANSWER, Fault.SWALLOW, Fault.TRUNCATED_JSON)
)


@dataclass(frozen=True, slots=True)
class Head:
    """A request line and its fields; `headers` have lower-case names. `raw` is what came, byte for byte."""

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body_bytes(self) -> int:
        return int(self.headers.get("content-length", "0"))


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came to the proxy, and what became of it."""

    head: Head
    body: bytes
    fault: Fault


Decide = Callable[[Head], Fault]


def scripted(*faults: Fault) -> Decide:
    """Meet each request with the next fault; those after the last one pass."""
    left = deque(faults)
    return lambda _: left.popleft() if left else Fault.PASS


def by_chance(faults: Sequence[Fault], rate: float, seed: int) -> Decide:
    """Meet a part `rate` of the requests with one of these faults."""
    chance = random.Random(seed)
    return lambda _: chance.choice(faults) if chance.random() < rate else Fault.PASS


class FaultyProxy:
    """Stands before a server. `decide` says what happens to each request; `seen` keeps them."""

    def __init__(
        self,
        host: str,
        port: int,
        decide: Decide,
        *,
        seed: int = 7,
        delay_s: float = 0.2,
        retry_after_s: int = 1,
    ) -> None:
        self._host = host
        self._port = port
        self._decide = decide
        self._chance = random.Random(seed)
        self._delay_s = delay_s
        self._retry_after_s = retry_after_s
        self._server: asyncio.Server
        self._jobs: set[asyncio.Task[None]] = set()
        self.seen: deque[Seen] = deque(maxlen=SEEN_MAX)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def open(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port, limit=HEAD_BYTES_MAX)

    async def close(self) -> None:
        await end(self._server, self._jobs)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        job = asyncio.current_task()
        assert job is not None
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        with contextlib.suppress(OSError, EOFError, _Cut, asyncio.CancelledError):  # only `close` cancels
            async with _End(writer):
                await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of a client, with one to the server behind it once that is needed."""
        server: _Server | None = None
        try:
            while True:
                head = _head(await reader.readuntil(b"\r\n\r\n"))
                body = await reader.readexactly(head.body_bytes)
                fault = self._decide(head)
                self.seen.append(Seen(head, body, fault))
                if fault in PROCESSED:
                    if fault is Fault.DELAY:
                        await asyncio.sleep(self._delay_s)
                    server = server or _Server(*await reach(self._host, self._port))
                    server.writer.write(head.raw + body)
                    await self._carry_answer(fault, head, server, reader, writer)
                else:
                    await self._fail(fault, reader, writer)
        finally:
            if server is not None:
                server.writer.transport.abort()

    async def _fail(self, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do to a request what the server does not see."""
        if fault is Fault.CUT_BEFORE:
            raise _Cut
        if fault is Fault.HALF_OPEN:
            await _wait_for_end(reader)
        writer.write(self._canned(fault))
        await writer.drain()

    def _canned(self, fault: Fault) -> bytes:
        status = int(fault.value[:3])
        body = b"<html><body><h1>%d</h1></body></html>" % status
        later = b""
        if fault in (Fault.LATER_429, Fault.LATER_503):
            later = b"Retry-After: %d\r\n" % self._retry_after_s
        return b"HTTP/1.1 %d Failed\r\nContent-Type: text/html\r\n%bContent-Length: %d\r\n\r\n%b" % (
            status,
            later,
            len(body),
            body,
        )

    async def _carry_answer(
        self,
        fault: Fault,
        head: Head,
        server: "_Server",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        answer = await server.answer_head()
        if answer.status == 101:
            await self._tunnel(fault, answer, server, reader, writer)
        if fault in (Fault.PASS, Fault.DELAY):
            writer.write(answer.raw)
            async for part in server.answer_body(answer, head.method):
                writer.write(part)
                await writer.drain()
            return
        body = b"".join([part async for part in server.answer_body(answer, head.method)])
        if fault is Fault.SWALLOW:
            await _wait_for_end(reader)
        if fault is Fault.TRUNCATED_JSON and body and answer.length is not None:
            writer.write(answer.with_length(len(body) // 2) + body[: len(body) // 2])
            await writer.drain()
            return
        if fault is not Fault.CUT_AFTER:
            whole = answer.raw + body
            writer.write(whole[: self._chance.randrange(1, len(whole))])
            await writer.drain()
        raise _Cut

    async def _tunnel(
        self,
        fault: Fault,
        answer: "_AnswerHead",
        server: "_Server",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Carry an upgraded connection to its end."""
        if fault is Fault.CUT_AFTER:
            raise _Cut
        if fault is Fault.SWALLOW:
            await _wait_for_end(reader)
        left = None if fault in (Fault.PASS, Fault.DELAY) else self._chance.randrange(1, TUNNEL_BYTES_MAX)
        writer.write(answer.raw)
        there = asyncio.create_task(_carry(reader, server.writer, None))
        back = asyncio.create_task(_carry(server.reader, writer, left))
        try:
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in (there, back):
                way.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
        raise _Cut


class _Cut(Exception):
    """The client's connection ends here."""


class _End:
    """Cuts a connection at the end, after what was written has left."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


@dataclass(frozen=True, slots=True)
class _AnswerHead:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def length(self) -> int | None:
        length = self.headers.get("content-length")
        return None if length is None else int(length)

    def with_length(self, length: int) -> bytes:
        lines = [line for line in self.raw.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
        return b"\r\n".join([lines[0], b"Content-Length: %d" % length, *lines[1:]])


class _Server:
    """The connection to the server behind one connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer_head(self) -> _AnswerHead:
        while True:
            raw = await self.reader.readuntil(b"\r\n\r\n")
            first, headers = _fields(raw)
            status = int(first.split(" ")[1])
            if status == 101 or status >= 200:  # a 100 Continue is not asked for here
                return _AnswerHead(status, headers, raw)

    async def answer_body(self, answer: _AnswerHead, method: str) -> AsyncIterator[bytes]:
        """Give the body's bytes as they are on the wire, part by part."""
        if method == "HEAD" or answer.status in (204, 304):
            return
        if answer.headers.get("transfer-encoding", "").lower() == "chunked":
            async for part in self._chunks():
                yield part
            return
        left = answer.length
        while (left is None or left > 0) and (part := await self.reader.read(min(left or 65_536, 65_536))):
            left = None if left is None else left - len(part)
            yield part
        if left != 0:
            raise _Cut  # the server ended its answer by closing, or too early

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            size = await self.reader.readuntil(b"\r\n")
            chunk = await self.reader.readexactly(int(size.split(b";")[0], 16) + 2)
            yield size + chunk
            if chunk == b"\r\n":
                return


def _head(raw: bytes) -> Head:
    first, headers = _fields(raw)
    method, path, _ = first.split(" ")
    return Head(method, path, headers, raw)


def _fields(raw: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = raw.decode("latin-1").strip().split("\r\n")
    fields = (line.partition(":") for line in lines)
    return first, {name.lower(): value.strip() for name, _, value in fields}


async def _wait_for_end(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass
    raise _Cut


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
    """Carry bytes until the end, or until so many have passed."""
    while left != 0 and (data := await reader.read(65_536 if left is None else min(left, 65_536))):
        left = None if left is None else left - len(data)
        writer.write(data)
        await writer.drain()


async def reach(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection; whoever is cancelled meanwhile leaves none behind."""
    connecting = asyncio.ensure_future(asyncio.open_connection(host, port))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            _, writer = await connecting
            writer.transport.abort()
        raise


async def end(listening: asyncio.Server, jobs: Collection[asyncio.Task[None]]) -> None:
    """Stop listening and cancel what serves connections, those too that were accepted a moment ago.

    No socket is left open: what is accepted gets its task, and what is aborted closes, in later turns of the
    loop. `jobs` is looked at after the first of these.
    """
    listening.close()
    await _turns()
    for job in list(jobs):
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    await _turns()


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def main() -> None:
    """Run until interrupted, and say of each request what became of it."""
    parser = argparse.ArgumentParser(description="An HTTP proxy that goes wrong on purpose.")
    parser.add_argument("--listen", type=int, default=9000, metavar="PORT")
    parser.add_argument("--server", default="127.0.0.1:8080", metavar="HOST:PORT")
    parser.add_argument(
        "--faults", default="cut-after,delay", help="some of: " + ", ".join(fault.value for fault in Fault)
    )
    parser.add_argument("--rate", type=float, default=0.1, help="part of the requests that a fault meets")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    host, _, port = given.server.rpartition(":")
    decide = by_chance([Fault(name) for name in given.faults.split(",")], given.rate, given.seed)

    def told(head: Head) -> Fault:
        fault = decide(head)
        print(f"{fault.value:>15}  {head.method} {head.path}", flush=True)
        return fault

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(FaultyProxy(host, int(port), told, seed=given.seed), given.listen))


async def _run(proxy: FaultyProxy, port: int) -> None:
    await proxy.open(port)
    print(f"Listening on {proxy.url}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
