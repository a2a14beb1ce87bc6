"""The live side on real sockets: who may come in, what is bounded, and how it ends."""

import asyncio
import base64
import json
import os
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientSession

from address import address_of
from plait_server.web.connections import Runner
from server.live.client import Copies, Live, connected, create, edit, opened, replace

Serve = Callable[..., Awaitable[ClientSession]]


def jwt(subject: str) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"sub": subject}).encode()).decode().rstrip("=")
    return f"e30.{claims}.x"


def coded(token: str) -> str:
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


async def author_seen(client: ClientSession, live: Live) -> str:
    """Edit over the connection, and give the author that history names."""
    await create(client, "orders/1", {"n": 0})
    patch = [{"op": "replace", "path": "/n", "value": 1}]
    await live.say(t="edit", id=1, doc="orders/1", base=1, patch=patch)
    await live.hear_until("applied", id=1)
    async with client.get("/v1/docs/orders/1/revisions/2") as answer:
        author: str = (await answer.json())["author"]
    return author


async def test_a_header_says_who_it_is(client: ClientSession) -> None:
    async with opened(client, headers={"Authorization": f"Bearer {jwt('ann')}"}) as live:
        await live.hear_until("welcome")
        assert await author_seen(client, live) == "ann"


async def test_a_subprotocol_says_who_it_is_and_is_not_repeated(client: ClientSession) -> None:
    offered = ["plait.v1.json", f"plait.bearer.{coded(jwt('ann'))}"]
    async with opened(client, protocols=offered) as live:
        assert live.websocket.protocol == "plait.v1.json"
        await live.hear_until("welcome")
        assert await author_seen(client, live) == "ann"


async def test_a_ticket_says_who_it_is_once(client: ClientSession) -> None:
    async with client.post("/v1/tickets", headers={"Plait-Author": "ann"}) as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (201, "no-store")
        ticket = (await answer.json())["ticket"]
    async with opened(client, path=f"/v1/live?ticket={ticket}") as live:
        await live.hear_until("welcome")
        assert await author_seen(client, live) == "ann"
    async with opened(client, path=f"/v1/live?ticket={ticket}") as live:
        assert await live.closed() == 4401


async def test_hello_says_who_it_is(client: ClientSession) -> None:
    async with opened(client) as live:
        await live.say(t="hello", token=jwt("ann"))
        await live.hear_until("welcome")
        assert await author_seen(client, live) == "ann"


async def test_a_token_in_the_subprotocol_that_is_none_is_not_let_in(client: ClientSession) -> None:
    async with opened(client, protocols=["plait.v1.json", "plait.bearer.*"]) as live:
        assert await live.closed() == 4401


async def test_a_page_of_another_site_needs_a_token(serve: Serve) -> None:
    client = await serve(live_origins="https://other.example, https://friend.example")
    for origin, let_in in (("https://evil.example", False), ("https://friend.example", True)):
        async with opened(client, headers={"Origin": origin}) as live:
            await live.say(t="hello")
            if let_in:
                await live.hear_until("welcome")
            else:
                assert await live.closed() == 4401
    async with opened(client, headers={"Origin": "https://evil.example"}) as live:
        await live.say(t="hello", token=jwt("ann"))
        await live.hear_until("welcome")


async def test_what_is_no_upgrade_is_a_problem(client: ClientSession) -> None:
    async with client.get("/v1/live") as answer:
        assert (answer.status, answer.content_type) == (400, "application/problem+json")


async def test_who_says_no_hello_is_cut(serve: Serve) -> None:
    client = await serve(live_hello_timeout_s=0.1)
    async with opened(client) as live:
        assert await live.closed() == 4408


async def test_half_a_first_frame_is_cut_too(serve: Serve) -> None:
    client = await serve(live_hello_timeout_s=0.1)
    reader, writer = await raw(client)
    writer.write(b"\x81\xfe\x40")
    assert await close_code(reader) == 4408
    writer.close()


async def test_half_a_later_frame_holds_up_nobody(serve: Serve) -> None:
    client = await serve()
    await create(client, "orders/1", {"n": 0})
    reader, writer = await raw(client)
    for frame in (b'{"t":"hello"}', b'{"t":"sub","id":1,"doc":"orders/1"}'):
        writer.write(masked(frame))
    half, rest = (whole := masked(b'{"t":"ping","id":7}'))[:9], whole[9:]
    writer.write(half)
    async with connected(client) as other:
        await other.follow("orders/1")
        await replace(client, "orders/1", "/n", 1)
        await other.hear_until("rev", rev=2)
    await heard(reader, b'"rev":2,"patch"')
    writer.write(rest)
    await heard(reader, b'{"t":"pong","id":7}')
    writer.close()


async def test_answers_to_edits_that_are_written_together_are_sent_together(client: ClientSession) -> None:
    for name in ("orders/1", "orders/2"):
        await create(client, name, {"n": 0})
    reader, writer = await raw(client)
    writer.write(masked(b'{"t":"hello"}'))
    await heard(reader, b'"t":"welcome"')
    edit = b'{"t":"edit","id":%d,"doc":"orders/%d","patch":[{"op":"replace","path":"/n","value":1}]}'
    writer.write(masked(edit % (1, 1)) + masked(edit % (2, 2)))
    await heard(reader, b'{"t":"applied","id":1')
    assert b'{"t":"applied","id":2' in await reader.read(1_000)
    writer.close()


async def test_revisions_that_are_committed_together_are_sent_together(client: ClientSession) -> None:
    await create(client, "orders/1", {"n": 0})
    reader, writer = await raw(client)
    for frame in (b'{"t":"hello"}', b'{"t":"sub","id":1,"doc":"orders/1"}'):
        writer.write(masked(frame))
    await heard(reader, b'"t":"caught_up"')
    _, other = await raw(client)
    edit = b'{"t":"edit","id":1,"doc":"orders/1","patch":[{"op":"replace","path":"/n","value":%d}]}'
    other.write(masked(b'{"t":"hello"}') + b"".join(masked(edit % n) for n in (1, 2, 3)))
    await heard(reader, b'{"t":"rev","doc":"orders/1","prev":2,')
    assert b'{"t":"rev","doc":"orders/1","prev":3,' in await reader.read(1_000)
    for each in (writer, other):
        each.close()


async def test_a_first_frame_that_is_too_large_is_cut(client: ClientSession) -> None:
    async with opened(client) as live:
        await live.websocket.send_str('{"t":"hello","client":"%s"}' % ("x" * 20_000))
        assert await live.closed() == 4400


async def test_a_frame_that_is_too_large_ends_only_its_own_connection(serve: Serve) -> None:
    client = await serve(live_frame_bytes_max=1_000)
    async with connected(client) as other, connected(client) as live:
        await live.websocket.send_str("x" * 1_001)
        assert await live.closed() == 1009
        await other.say(t="ping", id=1)
        await other.hear_until("pong")


async def test_a_connection_may_send_as_much_as_it_likes_in_the_long_run(client: ClientSession) -> None:
    """What comes after the upgrade is no request head, which is bounded."""
    async with connected(client) as live:
        for number in range(40):
            await live.say(t="ping", id=number, **{"x" * 5_000: 0})
            await live.hear_until("problem", id=number)
        await live.say(t="ping", id=1)
        await live.hear_until("pong")


async def test_frames_are_text(client: ClientSession) -> None:
    async with connected(client) as live:
        await live.websocket.send_bytes(b"{}")
        assert await live.closed() == 4400


async def test_a_compressed_bomb_is_not_unpacked(client: ClientSession) -> None:
    """Compression is not offered, so a compressed frame is a violation of the protocol."""
    reader, writer = await raw(client)
    deflate = zlib.compressobj(wbits=-15)
    bomb = deflate.compress(b" " * 50_000_000) + deflate.flush(zlib.Z_SYNC_FLUSH)
    head = struct.pack("!BBH", 0xC1, 0x80 | 126, len(bomb[:60_000])) + b"\0\0\0\0"
    writer.write(head + bomb[:60_000])
    assert await close_code(reader) == 1002
    writer.close()


async def test_many_documents_over_one_connection(client: ClientSession) -> None:
    for number in range(50):
        await create(client, f"orders/{number}", {"n": 0})
    async with connected(client) as live:
        for number in range(50):
            await live.say(t="sub", id=number, doc=f"orders/{number}")
        for number in range(50):
            await live.hear_until("caught_up", doc=f"orders/{number}")
        for number in range(50):
            await replace(client, f"orders/{number}", "/n", number + 1)
        for number in range(50):
            await live.hear_until("rev", doc=f"orders/{number}")
        assert [live.copies.values[f"orders/{number}"] for number in range(50)] == [
            {"n": number + 1} for number in range(50)
        ]


async def test_subscriptions_have_an_end(serve: Serve) -> None:
    client = await serve(live_subscriptions_max=3)
    await create(client, "orders/1", {})
    async with connected(client) as live:
        for number in range(4):
            await live.say(t="sub", id=number, doc=f"orders/{number}")
        assert (await live.hear_until("problem", id=3))["type"].endswith("too-large")


async def test_a_document_larger_than_the_outbox_is_sent(serve: Serve) -> None:
    client = await serve(live_queue_bytes_max=10_000)
    await create(client, "orders/1", {"text": "x" * 300_000})
    async with connected(client) as live:
        await live.follow("orders/1")
        assert live.copies.values["orders/1"] == {"text": "x" * 300_000}
        await replace(client, "orders/1", "/text", "y" * 200_000)
        await live.hear_until("rev")
        assert live.copies.values["orders/1"] == {"text": "y" * 200_000}


async def test_edits_beyond_the_window_wait_and_all_are_answered(client: ClientSession) -> None:
    await create(client, "orders/1", {str(number): 0 for number in range(200)})
    async with connected(client) as live:
        for number in range(200):
            patch = [{"op": "replace", "path": f"/{number}", "value": 1}]
            await live.say(t="edit", id=number, doc="orders/1", base=1, patch=patch)
        answered = {(await live.hear_until("applied"))["id"] for _ in range(200)}
        assert answered == set(range(200))


async def test_a_fast_typist_is_never_in_his_own_way(client: ClientSession) -> None:
    """Every edit is made on the one before, unanswered, while somebody else edits around it."""
    await create(client, "orders/1", {"text": "", "others": []})
    async with connected(client) as live:
        await live.follow("orders/1")
        base: Any = 1
        for number in range(100):
            patch = [{"op": "replace", "path": "/text", "value": "x" * number}]
            await live.say(t="edit", id=number, doc="orders/1", base=base, key=f"k{number}", patch=patch)
            base = {"key": f"k{number}"}
            if number % 10 == 0:
                await edit(client, "orders/1", {"op": "add", "path": "/others/0", "value": number})
        await live.hear_until("applied", id=99)
        await live.say(t="ping")
        await live.hear_until("pong")
        assert live.copies.values["orders/1"] == {"text": "x" * 99, "others": list(range(90, -1, -10))}


async def test_who_is_slow_is_told_everything_in_fewer_frames(serve: Serve) -> None:
    """And nobody else waits for him."""
    client = await serve(live_queue_frames_max=8)
    await create(client, "orders/1", {"n": 0, "text": ""})
    async with connected(client) as slow, connected(client) as quick:
        await slow.follow("orders/1")
        await quick.follow("orders/1")
        narrow(slow)
        text = "x" * 20_000
        for number in range(1, 301):
            patch: list[dict[str, Any]] = [
                {"op": "replace", "path": "/n", "value": number},
                {"op": "replace", "path": "/text", "value": text},
            ]
            await edit(client, "orders/1", *patch)
            await quick.hear_until("rev", rev=number + 1)
        frames = 0
        while slow.copies.revisions.get("orders/1") != 301:
            await slow.hear()
            frames += 1
        assert frames < 300
        assert slow.copies.values["orders/1"] == {"n": 300, "text": text}


async def test_who_never_reads_is_cut_and_comes_back(serve: Serve, runners: list[Runner]) -> None:
    client = await serve(live_slow_timeout_s=0.4, live_queue_frames_max=8)
    await create(client, "orders/1", {"n": 0, "text": ""})
    copies = Copies()
    async with connected(client, copies) as slow:
        await slow.follow("orders/1")
        narrow(slow)
        number = 0
        hub = await hub_of(runners)
        while len(hub):
            number += 1
            await edit(
                client,
                "orders/1",
                {"op": "replace", "path": "/n", "value": number},
                {"op": "replace", "path": "/text", "value": "x" * 100_000 + str(number)},
            )
    # What it had read by then still counts.
    async with connected(client, copies) as again:
        await again.follow("orders/1")
        assert copies.values["orders/1"]["n"] == number


async def test_goaway_comes_before_the_end(serve: Serve, runners: list[Runner]) -> None:
    client = await serve()
    await create(client, "orders/1", {})
    async with connected(client) as live:
        ending = asyncio.create_task(runners[0].cleanup())
        earliest, latest = (await live.hear_until("goaway"))["reconnect_ms"]
        assert 0 < earliest < latest
        assert await live.closed() == 1012
        await ending


async def test_signs_of_life_say_where_one_is(serve: Serve) -> None:
    client = await serve(live_heartbeat_s=0.2)
    await create(client, "orders/1", {})
    async with connected(client) as live:
        await live.follow("orders/1")
        assert (await live.hear_until("hb"))["heads"] == {"orders/1": 1}


async def test_too_many_connections_are_turned_away(serve: Serve) -> None:
    client = await serve(live_connections_max=2)
    async with connected(client), connected(client), opened(client) as third:
        assert await third.closed() == 1013


async def test_a_thousand_sockets_at_once_are_all_served(serve: Serve) -> None:
    client = await serve()
    await create(client, "orders/1", {"n": 0})
    await edit(client, "orders/1", {"op": "replace", "path": "/n", "value": 1})
    sockets = await asyncio.gather(*(raw(client) for _ in range(1_000)))
    async with connected(client) as live:
        await live.follow("orders/1")
        await replace(client, "orders/1", "/n", 2)
        await live.hear_until("rev", rev=3)
    for _, writer in sockets:
        writer.close()


async def test_presence_is_told_to_the_others_moves_with_edits_and_ends(client: ClientSession) -> None:
    await create(client, "orders/1", {"lines": ["a", "b"]})
    async with connected(client) as watcher:
        await watcher.follow("orders/1")
        async with connected(client) as mover:
            await mover.follow("orders/1")
            await mover.say(t="presence", doc="orders/1", rev=1, state={"pointer": "/lines/1", "name": "m"})
            first = await watcher.hear_until("presence")
            assert first["state"] == {"pointer": "/lines/1", "name": "m"}
            async with connected(client) as late:
                await late.say(t="sub", id=1, doc="orders/1")
                assert (await late.hear_until("presence"))["session"] == first["session"]
            await edit(client, "orders/1", {"op": "add", "path": "/lines/0", "value": "new"})
            moved = await watcher.hear_until("presence")
            assert moved["state"]["pointer"] == "/lines/2"
        assert (await watcher.hear_until("presence"))["state"] is None


async def raw(client: ClientSession) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket by hand, to send what no library would."""
    host, port = address_of(client)
    reader, writer = await asyncio.open_connection(host, port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        (
            f"GET /v1/live HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate\r\n"
            "Sec-WebSocket-Protocol: plait.v1.json\r\n\r\n"
        ).encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    assert b"deflate" not in head
    return reader, writer


def masked(text: bytes) -> bytes:
    """Make a text frame as a client sends it; a mask of zeros masks nothing."""
    assert len(text) < 126
    return struct.pack("!BB", 0x81, 0x80 | len(text)) + b"\0\0\0\0" + text


async def heard(reader: asyncio.StreamReader, text: bytes) -> None:
    """Read up to some text."""
    async with asyncio.timeout(10):
        await reader.readuntil(text)


async def close_code(reader: asyncio.StreamReader) -> int:
    """Read up to the close frame and give its code."""
    async with asyncio.timeout(10):
        while True:
            first, length = await reader.readexactly(2)
            body = await reader.readexactly(length)
            if first & 0x0F == 8:
                return int.from_bytes(body[:2], "big")


def narrow(live: Live) -> None:
    """Stop the client from taking more of what it does not read than it must."""
    connection = live.websocket._response.connection
    assert connection is not None
    assert connection.transport is not None
    connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    connection.transport.pause_reading()
    receive = live.websocket.receive

    async def resumed(*arguments: Any, **named: Any) -> Any:
        connection.transport.resume_reading()  # type: ignore[union-attr]
        live.websocket.receive = receive  # type: ignore[method-assign]
        return await receive(*arguments, **named)

    live.websocket.receive = resumed  # type: ignore[method-assign]


async def hub_of(runners: list[Runner]) -> Any:
    from plait_server.web.application import SERVICE

    return runners[0].app[SERVICE].hub
