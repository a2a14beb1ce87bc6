"""The conversation of a follower over one WebSocket."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from aiohttp import ClientSession, ClientWebSocketResponse, ClientWSTimeout, WSMsgType

from plait_client.live.follower import Follower, Signal, Welcomed
from plait_client.live.pulse import Pulse

PATH: Final = "/v1/live"
SUBPROTOCOL: Final = "plait.v1.json"
FRAME_BYTES_MAX: Final = 67_108_864
"""The largest frame is a snapshot of the largest document that a server takes."""
CLOSE_TIMEOUT_S: Final = 1.0
HEARTBEATS: Final = 2.5
"""After the time of so many heartbeats without a sign of life a connection is lost."""


class Conversation:
    """One connection."""

    def __init__(self, follower: Follower, pulse: Pulse, deliver: Callable[[Signal], None]) -> None:
        self._follower = follower
        self._pulse = pulse
        self._deliver = deliver
        self._speaking = asyncio.Event()

    def ask(self, document: str) -> None:
        """Subscribe to a document, now or as soon as that can be."""
        self._follower.ask(document)
        self._speaking.set()

    def leave(self, document: str) -> None:
        """End the subscription to a document."""
        self._follower.leave(document)
        self._speaking.set()

    async def hold(self, session: ClientSession, *, hello: bool) -> int | None:
        """Connect, and listen to the end; give its close code.

        Raises what aiohttp raises where there is no connection, and MalformedFrame.
        """
        async with session.ws_connect(
            PATH,
            protocols=(SUBPROTOCOL,),
            timeout=ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
            max_msg_size=FRAME_BYTES_MAX,
            compress=0,
            decode_text=False,
        ) as socket:
            if hello:
                self._follower.opened()
            self._speaking.set()
            sending = asyncio.create_task(self._send(socket))
            try:
                await self._listen(socket)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        return socket.close_code

    async def _listen(self, socket: "ClientWebSocketResponse[bool]") -> None:
        async for message in socket:
            self._pulse.beat()
            if message.type is not WSMsgType.TEXT:
                return
            signal = self._follower.receive(message.data)
            if isinstance(signal, Welcomed):
                self._pulse.silence_s = HEARTBEATS * signal.heartbeat_s
            if self._follower.has_frames:
                self._speaking.set()
            if signal is not None:
                self._deliver(signal)

    async def _send(self, socket: "ClientWebSocketResponse[bool]") -> None:
        with contextlib.suppress(ConnectionError):  # who listens hears of it
            while True:
                await self._speaking.wait()
                self._speaking.clear()
                for frame in self._follower.take_frames():
                    await socket.send_frame(frame, WSMsgType.TEXT)
