"""Hostile input over the wire: each gets its 4xx or is cut, and nobody else feels it."""

import asyncio
import contextlib
import json
import resource
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from io import BytesIO
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from server.faults.serving import Server, start_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEIGHBOUR = "/v1/docs/neighbours/1"
NEIGHBOUR_S_MAX = 2.0
GROWTH_BYTES_MAX = 50_000_000
TIMEOUTS = """
request_start_timeout_s = 1
body_timeout_s = 1
write_timeout_s = 1
"""
CONNECTIONS = 1_000
JSON = "application/json"
JSON_PATCH = {"Content-Type": "application/json-patch+json"}
PUT = b"PUT /v1/docs/orders/7 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIf-None-Match: *\r\n"
CHUNKED = PUT + b"Transfer-Encoding: chunked\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, many_files: None) -> AsyncIterator[Server]:
    """One server for everything here: it waits a second where it usually waits longer."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "plait.toml").write_text(TIMEOUTS)
    server = await start_server(folder, ("--port", "0"))
    try:
        yield server
    finally:
        assert await server.end() == 0
    assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def many_files() -> Iterator[None]:
    """Let this process, and servers it starts, have more connections than usual where that may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS + 200
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def nobody_feels_it(server: Server) -> AsyncIterator[ClientSession]:
    """Give a client; check that meanwhile a neighbour is answered in time and memory does not grow."""
    async with server.client() as client:
        async with client.put(NEIGHBOUR, json={"n": 1}, headers={"If-None-Match": "*"}) as made:
            assert made.status in (201, 412)
        over, before_bytes = asyncio.Event(), server.memory_bytes()
        server.forget_memory_peak()
        neighbour = asyncio.create_task(_slowest_read_s(client, over))
        try:
            async with asyncio.timeout(30):
                yield client
        finally:
            over.set()
            slowest_s = await neighbour
        assert slowest_s < NEIGHBOUR_S_MAX
        assert server.memory_peak_bytes() - before_bytes < GROWTH_BYTES_MAX


async def _slowest_read_s(client: ClientSession, over: asyncio.Event) -> float:
    slowest_s = 0.0
    while not over.is_set():
        began = time.perf_counter()
        async with client.get(NEIGHBOUR) as answer:
            assert (answer.status, await answer.json()) == (200, {"n": 1})
        slowest_s = max(slowest_s, time.perf_counter() - began)
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


DEEP = b"[" * 10_000 + b"]" * 10_000
PATCHES = {
    "a hundred thousand operations": (
        b"[" + b",".join([b'{"op":"test","path":"","value":1}'] * 100_000) + b"]",
        413,
    ),
    "a copy of a copy of a copy": (
        compact(
            [
                {"op": "add", "path": "/x", "value": ["y" * 100]},
                *[{"op": "copy", "from": "/x", "path": "/x/-"}] * 60,
            ]
        ),
        413,
    ),
    "the document into itself": (
        compact([{"op": "copy", "from": "", "path": f"/c{number}"} for number in range(5_000)]),
        413,
    ),
    "a deep value": (b'[{"op":"add","path":"/x","value":' + DEEP + b"}]", 413),
    "a deep pointer": (compact([{"op": "add", "path": "/a" * 2_000, "value": 1}] * 60), 422),
    "what is hardly JSON": (b"[" * 250_000, 413),
}


@pytest.mark.parametrize("name", PATCHES)
async def test_a_hostile_patch_is_refused(server: Server, name: str) -> None:
    body, expected = PATCHES[name]
    async with nobody_feels_it(server) as client:
        for _ in range(5):
            assert await status(client, "PATCH", NEIGHBOUR, body, **JSON_PATCH) == expected


async def test_much_work_on_a_large_document_is_done_aside(server: Server) -> None:
    """Allowed, and as much as fits in one patch: thousands of moves through one long array."""
    path = "/v1/docs/orders/7"
    patch = compact([{"op": "move", "from": "/l/499999", "path": "/l/0"}] * 5_000)
    async with nobody_feels_it(server) as client:
        document = compact({"l": [0] * 500_000})
        assert await status(client, "PUT", path, document, Content_Type=JSON, If_None_Match="*") == 201
        assert await status(client, "PATCH", path, patch, **JSON_PATCH) == 200


@pytest.mark.parametrize("body", [DEEP, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b"[" * 1_000_000])
async def test_a_deep_document_is_refused(server: Server, body: bytes) -> None:
    async with nobody_feels_it(server) as client:
        path = "/v1/docs/deep/1"
        assert await status(client, "PUT", path, body, Content_Type=JSON, If_None_Match="*") == 413


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


@pytest.mark.parametrize("sent", [b"", b"GET /v1 HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_thousand_connections_that_send_no_request_are_cut(server: Server, sent: bytes) -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files < CONNECTIONS + 100:
        pytest.skip(f"only {files} files may be open here: a thousand connections cannot be tried")
    async with nobody_feels_it(server), connected(server, CONNECTIONS) as streams:
        await asyncio.gather(*(send(stream, [sent]) for stream in streams))
        assert set(await asyncio.gather(*map(first_line, streams))) == {b""}


async def test_a_hundred_bodies_that_drip_are_told_so(server: Server) -> None:
    """A byte now and then does not keep a request alive."""
    head = PUT + b"Content-Length: 100000\r\n\r\n"
    async with nobody_feels_it(server) as client, connected(server, 100) as streams:
        await asyncio.gather(*(send(stream, [head]) for stream in streams))
        answers = asyncio.gather(*map(first_line, streams))
        while not answers.done():
            await asyncio.gather(*(send(stream, [b" "]) for stream in streams))
            assert await status(client, "GET", "/healthz", b"") == 200
        told = await answers
        assert set(told) <= {b"HTTP/1.1 408 Request Timeout", b""}
        assert b"HTTP/1.1 408 Request Timeout" in told


async def test_heads_without_end_are_refused(server: Server) -> None:
    """Each line is short enough and they are not too many; together they are too much."""
    head = b"GET /v1 HTTP/1.1\r\nHost: x\r\n" + b"X-Long: %b\r\n" % (b"x" * 8_000) * 95
    async with nobody_feels_it(server), connected(server, 100) as streams:
        await asyncio.gather(*(send(stream, [head]) for stream in streams))
        told = await asyncio.gather(*map(first_line, streams))
        assert {line[9:12] for line in told} <= {b"431", b""}


ENDLESS = (
    [b"10000\r\n" + b" " * 65_536 + b"\r\n"] * 1_000,
    [b"1\r\n \r\n" * 10_000] * 110,
    [b"1;" + b"x" * 65_536] * 1_000,
    [b"1\r\n1\r\n0\r\n", *[b"X-Trailer: x\r\n" * 5_000] * 500],
)
"""Large chunks, tiny chunks, one chunk with a long extension, trailers."""


async def test_a_chunked_body_without_end_is_refused(server: Server) -> None:
    async with nobody_feels_it(server), connected(server, 5 * len(ENDLESS)) as streams:
        kinds = ENDLESS * 5
        sending = [
            asyncio.create_task(send(stream, [CHUNKED, *pieces]))
            for stream, pieces in zip(streams, kinds, strict=True)
        ]
        told = await asyncio.gather(*map(first_line, streams))
        assert {line[9:12] for line in told} <= {b"400", b"408", b"413", b"431", b""}
        for task in sending:
            task.cancel()


async def test_who_asks_on_and_on_without_reading_is_cut(server: Server) -> None:
    request = b"GET /v1/docs/large/1 HTTP/1.1\r\nHost: x\r\n\r\n"
    async with nobody_feels_it(server) as client, connected(server, 5) as streams:
        value = compact("x" * 100_000)
        assert (
            await status(client, "PUT", "/v1/docs/large/1", value, Content_Type=JSON, If_None_Match="*")
            == 201
        )
        for _, writer in streams:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        # Asked for are terabytes: this ends because the server ends it.
        await asyncio.gather(*(send(stream, [request * 2_000] * 10_000) for stream in streams))


async def test_garbage_after_requests_spoils_none_of_them(server: Server) -> None:
    async with nobody_feels_it(server), connected(server, 20) as streams:
        for reader, writer in streams:
            writer.write(HEALTH * 5)
            for _ in range(5):
                assert (await reader.readuntil(b'"ok"}')).startswith(b"HTTP/1.1 200 OK")
            writer.write(b"\x00\xff\x16\x03 garbage\r\n\r\n" + HEALTH * 5)
            told = await reader.read()
            assert told.count(b"HTTP/1.") == 1
            assert b" 400 Bad Request" in told
            assert b"application/problem+json" in told
