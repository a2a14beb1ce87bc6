"""Hostile input over the wire: each gets its 4xx or is cut, and nobody else feels it."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from server.faults.serving import Server, start_server
from server.hostile.neighbour import NEIGHBOUR, compact, connected, first_line, nobody_feels_it, send, status

pytestmark = pytest.mark.asyncio(loop_scope="module")

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
