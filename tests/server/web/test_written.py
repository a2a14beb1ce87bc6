"""Answers to edits on the wire: their heads are written by the server itself, not by aiohttp."""

import asyncio

from aiohttp import ClientSession

from address import address_of

BODY = b'{"n": 1}'


def put(name: str, *fields: str, version: str = "1.1") -> bytes:
    """A request that creates a document."""
    head = [
        f"PUT /v1/docs/c/{name} HTTP/{version}",
        *("Host: x", "Content-Type: application/json", "If-None-Match: *", f"Content-Length: {len(BODY)}"),
        *fields,
    ]
    return "\r\n".join([*head, "", ""]).encode() + BODY


async def exchange(client: ClientSession, *requests: bytes) -> tuple[list[list[str]], bytes]:
    """Send requests at once; give the lines of each head, and what is left when the server hangs up."""
    reader, writer = await asyncio.open_connection(*address_of(client))
    heads = []
    try:
        writer.write(b"".join(requests))
        async with asyncio.timeout(10):
            for _ in requests:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                heads.append(lines)
                fields = dict(line.lower().split(": ", 1) for line in lines[1:-2])
                await reader.readexactly(int(fields.get("content-length", 0)))
            return heads, await reader.read()
    finally:
        writer.close()


async def test_who_asks_for_it_is_answered_and_left(client: ClientSession) -> None:
    (lines,), rest = await exchange(client, put("1", "Connection: close"))
    assert lines[0] == "HTTP/1.1 201 Created"
    assert "Connection: close" in lines
    assert rest == b""


async def test_a_connection_of_http_1_0_ends_with_its_answer(client: ClientSession) -> None:
    (lines,), rest = await exchange(client, put("1", version="1.0"))
    assert lines[0] == "HTTP/1.0 201 Created"
    assert rest == b""


async def test_a_connection_of_http_1_0_goes_on_where_that_was_asked_for(client: ClientSession) -> None:
    first = put("1", "Connection: keep-alive", version="1.0")
    (lines, last), rest = await exchange(client, first, put("2", version="1.0"))
    assert "Connection: keep-alive" in lines
    assert last[0] == "HTTP/1.0 201 Created"
    assert rest == b""


async def test_pipelined_edits_are_answered_in_order(client: ClientSession) -> None:
    heads, rest = await exchange(client, put("1"), put("2"), put("3", "Connection: close"))
    assert [line for lines in heads for line in lines if line.startswith("Location")] == [
        f"Location: /v1/docs/c/{n}" for n in (1, 2, 3)
    ]
    assert rest == b""


async def test_an_answer_without_a_body_says_so(client: ClientSession) -> None:
    """A 201 by its length, which is zero; a 204 by its status, beside which a length is forbidden."""
    delete = b'DELETE /v1/docs/c/1 HTTP/1.1\r\nHost: x\r\nIf-Match: "1"\r\nConnection: close\r\n\r\n'
    (created, deleted), rest = await exchange(client, put("1", "Prefer: return=minimal"), delete)
    assert "Content-Length: 0" in created
    assert deleted[0] == "HTTP/1.1 204 No Content"
    assert not any(line.startswith("Content-") for line in deleted)
    assert rest == b""


async def test_every_head_has_its_date_and_its_request(client: ClientSession) -> None:
    (lines,), _ = await exchange(client, put("1", "X-Request-Id: tea-1", "Connection: close"))
    assert "X-Request-Id: tea-1" in lines
    assert "Server: plait" in lines
    assert any(line.startswith("Date: ") and line.endswith(" GMT") for line in lines)
