"""Somebody who follows a document live, and checks that it is told each revision once and in order."""

import asyncio
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType
from msgspec import DecodeError, Struct, ValidationError, json

from plait_server.wire import encode

AGAIN_S = 0.5


class _Part(Struct):
    rev: int
    at: str = ""


class _Frame(Struct):
    """What matters here of any frame."""

    t: str
    rev: int = 0
    prev: int = 0
    parts: list[_Part] = []


_read = json.Decoder(_Frame).decode


@dataclass(slots=True)
class Delivery:
    """What all followers were told. `out_of_order`: frames that do not follow the one before, or leave out
    or repeat a revision; `behind`: followers who did not come to the head. Delays in seconds, from the moment
    the server gave the revision to its arrival, in steps of a millisecond."""

    subscribers: int = 0
    frames: int = 0
    revisions: int = 0
    resets: int = 0
    reconnects: int = 0
    out_of_order: int = 0
    behind: int = 0
    delays: "array[float]" = field(default_factory=lambda: array("d"))

    @property
    def holds(self) -> bool:
        return not (self.out_of_order or self.behind)


class Follower:
    """Follows one document, over as many connections as it takes."""

    def __init__(self, session: ClientSession, url: str, document: str, delivery: Delivery) -> None:
        self._session = session
        self._url = f"{url}/v1/live"
        self._document = document
        self._delivery = delivery
        self._last: int | None = None
        self._goal: tuple[int, asyncio.Future[None]] | None = None
        self.ready = asyncio.Event()
        delivery.subscribers += 1

    async def follow(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                async with self._session.ws_connect(
                    self._url, protocols=("plait.v1.json",), max_msg_size=0
                ) as socket:
                    await self._subscribe(socket)
                    await self._listen(socket)
            except (ClientError, OSError):
                pass
            self._delivery.reconnects += 1
            await asyncio.sleep(AGAIN_S)

    async def reach(self, revision: int) -> None:
        """Wait until it was told of a revision."""
        if (self._last or 0) < revision:
            self._goal = revision, asyncio.get_running_loop().create_future()
            await self._goal[1]

    async def _subscribe(self, socket: ClientWebSocketResponse) -> None:
        wanted: dict[str, object] = {"t": "sub", "id": 1, "doc": self._document}
        if self._last is not None:
            wanted["from"] = self._last
        await socket.send_str(encode({"t": "hello", "client": "plait bench"}).decode())
        await socket.send_str(encode(wanted).decode())

    async def _listen(self, socket: ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self._hear(message.data)

    def _hear(self, text: str) -> None:
        try:
            frame = _read(text)
        except (DecodeError, ValidationError):
            return
        if frame.t == "rev":
            self._take(frame)
        elif frame.t == "snapshot":
            self._move(frame.rev)
        elif frame.t == "caught_up":
            self.ready.set()
        elif frame.t == "reset":
            self._delivery.resets += 1

    def _take(self, frame: _Frame) -> None:
        delivery, now = self._delivery, time.time()
        told = [part.rev for part in frame.parts]
        expected = list(range(frame.prev + 1, frame.rev + 1))
        delivery.frames += 1
        delivery.revisions += len(told)
        delivery.out_of_order += frame.prev != self._last or told != expected
        if len(told) == 1 and frame.parts[0].at:
            delivery.delays.append(now - datetime.fromisoformat(frame.parts[0].at).timestamp())
        self._move(frame.rev)

    def _move(self, revision: int) -> None:
        self._last = revision
        if self._goal is not None and revision >= self._goal[0] and not self._goal[1].done():
            self._goal[1].set_result(None)


async def let_them_catch_up(
    followers: Sequence[tuple[Follower, int]], seconds: float, delivery: Delivery
) -> None:
    """Wait until each follower was told of the revision it is paired with; count those who are late."""
    waiting = [asyncio.ensure_future(follower.reach(head)) for follower, head in followers]
    if not waiting:
        return
    _, late = await asyncio.wait(waiting, timeout=seconds)
    for each in late:
        each.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    delivery.behind += len(late)
