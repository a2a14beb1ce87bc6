"""Server-sent events: the format (`EventParser`), and one document followed in it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import ClientSession, ClientTimeout

from plait_client.live.follower import OneWay, Signal
from plait_client.live.frame import MalformedFrame
from plait_client.live.pulse import Pulse
from plait_client.live.websocket import FRAME_BYTES_MAX

COMMENT_S: Final = 15.0
SILENCE_S: Final = 2.5 * COMMENT_S

_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """`id` is that of the last event that had one."""

    kind: str
    data: bytes
    id: str | None


class EventParser:
    """text/event-stream, as the HTML standard has it: bytes in, in any pieces, events out."""

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._left = self._bytes_max = bytes_max
        self._piece: list[bytes] = []
        self._after_return = False
        self._is_first = True
        self._kind = ""
        self._data: list[bytes] = []
        self._id: str | None = None
        self.retry_ms: int | None = None

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take what came. Raises MalformedFrame for an event longer than about `bytes_max`."""
        if not chunk:
            return []
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_return = chunk.endswith(b"\r")
        *lines, rest = _LINE_END.split(chunk)
        events = []
        for line in lines:
            event = self._take(self._whole(line))
            if event is not None:
                events.append(event)
        self._keep(self._piece, rest)
        return events

    def _take(self, line: bytes) -> ServerSentEvent | None:
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._finish()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._keep(self._data, value)
            case b"event":
                self._kind = value.decode(errors="replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode(errors="replace")
            case b"retry" if re.fullmatch(rb"[0-9]{1,9}", value):
                self.retry_ms = int(value)
        return None

    def _finish(self) -> ServerSentEvent | None:
        kind, data = self._kind or "message", self._data
        self._kind, self._data, self._left = "", [], self._bytes_max
        return ServerSentEvent(kind, b"\n".join(data), self._id) if data else None

    def _whole(self, end: bytes) -> bytes:
        """Put a line together, of which the last piece has come."""
        pieces, self._piece = self._piece, []
        self._left += sum(map(len, pieces)) + len(pieces)
        return b"".join((*pieces, end))

    def _keep(self, where: list[bytes], piece: bytes) -> None:
        self._left -= len(piece) + 1
        if self._left < 0:
            raise MalformedFrame("An event is too long.")
        where.append(piece)


class NoEvents(Exception):
    """Something answered, but not with events."""

    def __init__(self, status: int, *, is_own: bool) -> None:
        super().__init__(f"The server answered with status {status} instead of events.")
        self.status = status
        self.is_own = is_own
        """Whether it was the server, and not something in between."""


async def hear_events(
    session: ClientSession, document: OneWay, pulse: Pulse, deliver: Callable[[Signal], None]
) -> None:
    """Listen to the events of a document until they end, or do not lead on from where it is.

    Raises NoEvents, MalformedFrame, and what aiohttp raises.
    """
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-store"}
    if document.subscription.revision is not None:
        headers["Last-Event-ID"] = str(document.subscription.revision)
    document.opened()
    async with session.get(
        f"/v1/docs/{document.name}/events",
        headers=headers,
        timeout=ClientTimeout(total=None),
        allow_redirects=False,
    ) as response:
        if response.status != 200 or response.content_type != "text/event-stream":
            raise NoEvents(response.status, is_own="Plait-Should-Retry" in response.headers)
        parser = EventParser()
        async for chunk in response.content.iter_any():
            pulse.beat()
            for event in parser.feed(chunk):
                pulse.silence_s = SILENCE_S
                signal = document.receive(event.data)
                if signal is not None:
                    deliver(signal)
                if document.is_over:
                    return
