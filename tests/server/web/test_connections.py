"""What happens below HTTP: silence, slowness, and requests that are none."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import ClientSession

from address import address_of
from plait_server.web.connections import Runner

Serve = Callable[..., Awaitable[ClientSession]]
BASE = "urn:plait:errors:"
PUT = b"PUT /v1/docs/c/1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


async def talk(client: ClientSession, *sent: bytes, until_closed: bool = True) -> bytes:
    """Send bytes over a fresh connection and read until the server hangs up."""
    reader, writer = await asyncio.open_connection(*address_of(client))
    try:
        for piece in sent:
            writer.write(piece)
        await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read() if until_closed else await reader.readuntil(b"}")
    finally:
        writer.close()


async def turn(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    while not condition():  # noqa: ASYNC110 (aiohttp tells nobody of it)
        await asyncio.sleep(0)


def problem(answer: bytes) -> tuple[int, str, dict[str, str]]:
    """Take status, code and headers of a problem document apart."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    document = json.loads(body)
    status = int(lines[0].split()[1])
    assert headers["content-type"] == "application/problem+json"
    assert headers["cache-control"] == "no-store"
    assert headers["plait-should-retry"] in ("true", "false")
    assert headers["server"] == "plait"
    assert document["status"] == status
    assert document["request_id"] == headers["x-request-id"]
    return status, document["type"].removeprefix(BASE), headers


@pytest.mark.parametrize("sent", [b"", b"GET /v1 HT", b"GET /v1 HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_connection_that_sends_no_request_in_time_is_cut(serve: Serve, sent: bytes) -> None:
    client = await serve(request_start_timeout_s=0.2)
    assert await talk(client, sent) == b""


async def test_a_connection_at_work_is_not_cut(serve: Serve) -> None:
    """Only the first request has to come in time; what follows may take as long as keep-alive says."""
    client = await serve(request_start_timeout_s=0.2, keepalive_timeout_s=0.6)
    answer = await talk(client, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


async def test_a_connection_too_many_is_refused_in_words_and_the_others_go_on(serve: Serve) -> None:
    client = await serve(connections_max=1)
    async with client.get("/v1") as first:
        assert first.status == 200
    request = b"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n"
    status, code, headers = problem(await talk(client, request))
    assert (status, code, headers["connection"]) == (503, "overloaded", "close")
    assert int(headers["retry-after"]) > 0
    async with client.get("/v1") as again:
        assert again.status == 200


async def test_bodies_on_their_way_share_a_bound_and_give_it_back(serve: Serve) -> None:
    """A slow body is refused when others hold the room; when they are gone, there is room again."""
    client = await serve(bodies_bytes_max=6, body_timeout_s=5)
    head = PUT + b"Content-Length: 100\r\n\r\n"
    status, code, headers = problem(await talk(client, head, b"[1, 2, 3, "))
    assert (status, code) == (503, "overloaded")
    assert int(headers["retry-after"]) > 0
    async with client.put(
        "/v1/docs/c/2", data=b"[1]", headers={"If-None-Match": "*", "Content-Type": "application/json"}
    ) as answer:
        assert answer.status == 201


async def test_a_body_that_does_not_come_is_a_problem_and_ends_the_connection(serve: Serve) -> None:
    client = await serve(body_timeout_s=0.2)
    head = PUT + b"Content-Length: 10\r\n\r\n"
    status, code, headers = problem(await talk(client, head, b"[1,"))
    assert (status, code) == (408, "request-timeout")
    assert headers["plait-should-retry"] == "true"


@pytest.mark.parametrize(
    "sent",
    [
        b"HELLO\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PUT /v1/docs/c/1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_not_http_is_a_problem(client: ClientSession, sent: bytes) -> None:
    status, code, _ = problem(await talk(client, sent))
    assert (status, code) == (400, "bad-request")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /v1/" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: x\r\nX-Huge: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: x\r\n" + b"X-Many: 1\r\n" * 10_000 + b"\r\n",
    ],
)
async def test_a_request_head_over_its_limits_is_a_problem(client: ClientSession, sent: bytes) -> None:
    status, code, _ = problem(await talk(client, sent))
    assert (status, code) == (431, "headers-too-large")


@pytest.mark.parametrize("path", [b"/v1", b"/nowhere"])
async def test_an_odd_expectation_is_a_problem(client: ClientSession, path: bytes) -> None:
    request = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\nConnection: close\r\n\r\n"
    status, code, _ = problem(await talk(client, request))
    assert (status, code) == (417, "expectation-failed")


async def test_a_body_over_the_limit_is_refused_before_it_is_sent(serve: Serve) -> None:
    client = await serve(document_bytes_max=1_000)
    head = PUT + b"Content-Length: 1001\r\n\r\n"
    status, code, _ = problem(await talk(client, head, until_closed=False))
    assert (status, code) == (413, "too-large")


async def test_a_chunked_body_over_the_limit_is_refused(serve: Serve) -> None:
    client = await serve(document_bytes_max=1_000)
    head = PUT + b"Transfer-Encoding: chunked\r\n\r\n"
    status, code, _ = problem(
        await talk(
            client, head, b"300\r\n" + b" " * 0x300 + b"\r\n", b"300\r\n" + b" " * 0x300, until_closed=False
        )
    )
    assert (status, code) == (413, "too-large")


async def test_a_client_that_does_not_read_is_cut(serve: Serve, runners: list[Runner]) -> None:
    """It asks for far more than the kernel buffers; the server neither waits for it nor keeps it all."""
    client = await serve(write_timeout_s=0.2)
    value = {"value": "x" * 1_000_000}
    async with client.put("/v1/docs/c/1", json=value, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    (server,) = [runner.server for runner in runners]
    assert server is not None
    _, port = runners[0].addresses[0][:2]
    with contextlib.closing(socket.create_connection(("127.0.0.1", port))) as deaf:
        before = len(server.connections)
        deaf.sendall(b"GET /v1/docs/c/1 HTTP/1.1\r\nHost: x\r\n\r\n" * 30)
        async with asyncio.timeout(10):
            await turn(lambda: len(server.connections) > before)
            await turn(lambda: len(server.connections) == before)


async def test_pipelined_requests_are_answered_in_order(client: ClientSession) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: one\r\n\r\n"
    two = b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Request-Id: two\r\nConnection: close\r\n\r\n"
    answer = await talk(client, one + two)
    assert answer.index(b"X-Request-Id: one") < answer.index(b"X-Request-Id: two")


async def test_an_upgrade_that_nobody_serves_is_an_ordinary_request(client: ClientSession) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    follow = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await talk(client, request, follow)
    assert answer.count(b"HTTP/1.1 200") == 2
