"""A fuzzer of the live side: whatever comes over a socket, others do not feel it."""

import asyncio
import base64
import json
import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType
from hypothesis import given, settings
from hypothesis import strategies as st

from server.faults.serving import Server
from server.hostile.oddities import (
    DOCUMENTS,
    START,
    bases,
    documents,
    keys,
    mostly,
    numbers,
    patches,
    spoiled,
    texts,
    values,
)
from server.live.client import Copies, Live, connected

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

BURSTS = 100
RAW_BURSTS = 100
HEALTH_S_MAX = 2.0
PATIENCE_S = 10.0
GROWTH_BYTES_MAX = 60_000_000
LAST = 9_007_199_254_740_991
"""The number of the ping that ends a burst: the largest there is."""
CLOSED = {1000, 1002, 1003, 1007, 1009, 4400, 4401, 4408, 4429, None}
"""Ways to be turned away. 1011 would be a failure of the server's own; None: it was just cut."""

hellos = st.fixed_dictionaries({"t": st.just("hello")}, optional={"client": st.just("fuzz")})
subs = st.fixed_dictionaries(
    {"t": st.just("sub"), "id": numbers, "doc": documents}, optional={"from": numbers, "epoch": st.just("e")}
)
unsubs = st.fixed_dictionaries({"t": st.just("unsub"), "doc": documents}, optional={"id": numbers})
plain_edits = st.fixed_dictionaries({"t": st.just("edit"), "id": numbers, "doc": documents, "patch": patches})
edits = mostly(
    plain_edits,
    st.fixed_dictionaries(
        {"t": st.just("edit"), "id": numbers, "doc": documents, "patch": patches},
        optional={
            "base": bases | st.fixed_dictionaries({"key": keys}),
            "merge": st.sampled_from(["auto", "strict", "theirs", "yours"]),
            "key": keys,
            "message": st.just("m"),
            "lock": st.fixed_dictionaries({"id": st.just("l"), "fence": numbers}),
        },
    ),
    of=2,
)
presences = st.fixed_dictionaries(
    {"t": st.just("presence"), "doc": documents, "state": st.none() | st.dictionaries(keys, values)},
    optional={"rev": numbers},
)
pings = st.fixed_dictionaries({"t": st.just("ping")}, optional={"id": numbers})
frames = texts(spoiled(mostly(edits, subs, subs, subs, unsubs, presences, presences, pings, hellos)))
bursts = st.lists(
    mostly(
        frames.map(lambda frame: (WSMsgType.TEXT, frame)),
        st.binary(max_size=50).map(lambda frame: (WSMsgType.TEXT, frame)),
        st.binary(max_size=50).map(lambda frame: (WSMsgType.BINARY, frame)),
        st.binary(max_size=125).map(lambda frame: (WSMsgType.PING, frame)),
        of=40,
    ),
    min_size=3,
    max_size=25,
)


def test_bursts_of_odd_frames_are_nobodys_trouble(server: Server, tries: settings, rounds: int) -> None:
    """Spoiled frames in any order, with a hello before them or without one."""
    with asyncio.Runner() as runner:
        before_bytes = server.memory_bytes()

        @settings(tries, max_examples=BURSTS * rounds)
        @given(bursts, mostly(st.just(True), st.just(False), of=8))
        def trouble(burst: list[tuple[WSMsgType, bytes]], polite: bool) -> None:
            runner.run(_endured(server, burst, polite))

        trouble()
        assert server.memory_bytes() - before_bytes < GROWTH_BYTES_MAX
        assert runner.run(_revisions(server)) > BURSTS / 25


async def _revisions(server: Server) -> int:
    """Count what the bursts committed: one that is always turned away at the door proves little."""
    async with server.client() as client:
        heads = [await client.get(f"/v1/docs/{name}") for name in DOCUMENTS]
        return sum(int(answer.headers["Plait-Revision"]) for answer in heads)


async def _endured(server: Server, burst: list[tuple[WSMsgType, bytes]], polite: bool) -> None:
    async with server.client() as client, bystander(client) as live:
        async with client.ws_connect("/v1/live", protocols=["plait.v1.json"], max_msg_size=0) as websocket:
            if polite:
                await websocket.send_str('{"t":"hello"}')
            with suppress(OSError):
                for kind, frame in burst:
                    await websocket.send_frame(frame, kind)
                await websocket.send_str(json.dumps({"t": "ping", "id": LAST}))
            await _heard_out(websocket)
        await health(client)
        await _sees_all(client, live)


@asynccontextmanager
async def bystander(client: ClientSession) -> AsyncIterator[Live]:
    """Follow every document that is edited."""
    for name in DOCUMENTS:
        headers = {"If-None-Match": "*"}
        async with client.put(f"/v1/docs/{name}", json=START, headers=headers) as answer:
            assert answer.status in (201, 412)
    async with connected(client, Copies()) as live:
        for name in DOCUMENTS:
            await live.follow(name)
        yield live


async def _heard_out(websocket: ClientWebSocketResponse) -> None:
    """Listen until the last ping is answered, or the server has closed, in a way that is no failure."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            message = await websocket.receive()
            if message.type is not WSMsgType.TEXT:
                assert websocket.close_code in CLOSED or websocket.close_code == 1006
                return
            frame = json.loads(message.data)
            assert frame["t"] != "problem" or 400 <= frame["status"] < 500, frame
            if frame["t"] == "pong" and frame.get("id") == LAST:
                return


async def health(client: ClientSession) -> None:
    began = time.perf_counter()
    async with client.get("/healthz") as answer:
        assert answer.status == 200
    assert time.perf_counter() - began < HEALTH_S_MAX


async def _sees_all(client: ClientSession, live: Live) -> None:
    """Check that who follows has every revision, in order, once, and the value that is read."""
    for name in DOCUMENTS:
        async with client.get(f"/v1/docs/{name}") as answer:
            head, value = int(answer.headers["Plait-Revision"]), await answer.json()
        while live.copies.revisions[name] < head:
            await live.hear()
        assert (live.copies.revisions[name], live.copies.values[name]) == (head, value)


def raw(
    opcode: int, payload: bytes, final: bool = True, reserved: int = 0, mask: bytes | None = b"\1\2\3\4"
) -> bytes:
    """Write a frame of RFC 6455, as no client would."""
    first = (0x80 if final else 0) | reserved << 4 | opcode
    masked = 0 if mask is None else 0x80
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", first, masked | length)
    elif length < 65_536:
        head = struct.pack("!BBH", first, masked | 126, length)
    else:
        head = struct.pack("!BBQ", first, masked | 127, length)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


payloads = mostly(frames, st.binary(max_size=200), st.just(b"x" * 70_000), of=8)
raw_frames = mostly(
    st.builds(
        raw,
        st.integers(0, 15),
        payloads,
        st.booleans(),
        st.sampled_from([0, 0, 0, 1, 4, 7]),
        st.sampled_from([b"\1\2\3\4", b"\1\2\3\4", b"\0\0\0\0", None]),
    ),
    # A length that lies: exabytes, negative, or longer than it need be.
    st.sampled_from(
        [b"\x81\xff" + b"\x7f" + b"\xff" * 7, b"\x81\xff" + b"\xff" * 8, b"\x81\xfe\x00\x01\0\0\0\0x"]
    ),
    st.integers(0, 65_535).map(lambda code: raw(8, struct.pack("!H", code) + b"bye")),
    st.sampled_from([raw(8, b"\x03"), raw(8, b"\x03\xe8\xff\xfe"), raw(9, b"x" * 126), raw(0, b"x")]),
    st.binary(max_size=100),
)


def test_so_are_bytes_that_are_no_frames(server: Server, tries: settings, rounds: int) -> None:
    """After a good handshake: wrong masks, reserved bits, lengths that lie, pieces of nothing."""
    with asyncio.Runner() as runner:
        before_bytes = server.memory_bytes()

        @settings(tries, max_examples=RAW_BURSTS * rounds)
        @given(st.lists(raw_frames, min_size=1, max_size=8))
        def trouble(burst: list[bytes]) -> None:
            runner.run(_endured_raw(server, burst))

        trouble()
        assert server.memory_bytes() - before_bytes < GROWTH_BYTES_MAX


async def _endured_raw(server: Server, burst: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection(*server.address)
    key = base64.b64encode(os.urandom(16))
    writer.write(
        b"GET /v1/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: plait.v1.json\r\n"
        b"Sec-WebSocket-Key: " + key + b"\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    with suppress(OSError):
        writer.write(raw(1, b'{"t":"hello"}') + b"".join(burst))
        await writer.drain()
        writer.write_eof()
    told = b""
    with suppress(OSError):
        async with asyncio.timeout(PATIENCE_S):
            told = await reader.read()
    writer.close()
    assert struct.pack("!H", 1011) not in told[-40:]
    async with server.client() as client:
        await health(client)
