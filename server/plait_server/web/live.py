"""`GET /v1/live`: a WebSocket around a live connection. What its frames mean is said in `service/session`."""

import asyncio
import base64
import binascii
import itertools
import logging
import secrets
import struct
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from plait_server.config import Settings
from plait_server.errors import PlaitServerError
from plait_server.service import Caller, DocumentKey, Service
from plait_server.service.connection import Connection
from plait_server.service.frame import Frame
from plait_server.service.session import BAD_FRAME, Describe
from plait_server.web.conditions import BadHeader
from plait_server.web.edits import TENANT, caller_of
from plait_server.web.pages import only_query
from plait_server.web.problems import Problem, problem_of_refusal
from plait_server.web.requests import author_of_token, peer_of
from plait_server.web.routes import Route
from plait_server.web.tickets import Tickets

SUBPROTOCOL: Final = "plait.v1.json"
BEARER: Final = "plait.bearer."
OVERLOADED: Final = 1013
FAILED: Final = 1011
UNSENT_BYTES_MAX: Final = 32_768
"""What the operating system has not taken of the frames sent; what comes then waits in the outbox."""
SHORT_BYTES_MAX: Final = 16_384
CLOSE_TIMEOUT_S: Final = 2.0

_log = logging.getLogger("plait.web")
_process = secrets.token_hex(6)
_sessions = itertools.count(1)


def new_session_id() -> str:
    """Name a session: unique over processes."""
    return f"s{_process}-{next(_sessions):x}"


def describing(problem_base: str) -> Describe:
    """Make what describes refusals as over HTTP."""

    def describe(error: PlaitServerError, document: DocumentKey | None) -> Mapping[str, object]:
        named = {} if document is None else {"collection": document.collection, "id": document.id}
        problem = problem_of_refusal(error, named)
        kind = problem.kind
        return {
            "type": problem_base + kind.code,
            "title": kind.title,
            "status": kind.status,
            "detail": problem.detail,
            "retry": kind.retry,
            **{name: value for name, value in problem.members.items() if name != "id"},
        }

    return describe


class Live:
    """The live resource."""

    def __init__(self, service: Service, settings: Settings, tickets: Tickets) -> None:
        self._service = service
        self._settings = settings
        self._tickets = tickets
        self._describe = describing(settings.problem_base)
        self._friends = {origin.strip() for origin in settings.live_origins.split(",")}

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                "/v1/live",
                self.get,
                "Follow and edit documents over a WebSocket; /asyncapi.json describes its frames",
                {101: None},
                ("bad-query", "bad-header", "malformed-frame", "base-refused"),
                query=("ticket",),
                headers=("Authorization", "Plait-Author", "Sec-WebSocket-Protocol"),
            ),
        )

    async def get(self, request: web.Request) -> web.StreamResponse:
        only_query(request, "ticket")
        limits = self._service.limits.live
        websocket = web.WebSocketResponse(
            timeout=CLOSE_TIMEOUT_S,
            heartbeat=limits.heartbeat_s,
            protocols=(SUBPROTOCOL,),
            compress=False,
            max_msg_size=limits.frame_bytes_max,
            writer_limit=UNSENT_BYTES_MAX,
            decode_text=False,
        )
        offered = _offered(request)
        if not _is_upgrade(request) or (offered and SUBPROTOCOL not in offered):
            raise Problem("bad-request", f"Open a WebSocket of the subprotocol {SUBPROTOCOL} here.")
        caller, known = self._who(request, offered)
        await websocket.prepare(request)
        if self._service.hub.closing or len(self._service.hub) >= self._settings.live_connections_max:
            await websocket.close(code=OVERLOADED, message=b"Too many connections.", drain=False)
            return websocket
        socket = _Socket(request, websocket)
        connection = socket.connection = Connection(
            self._service,
            new_session_id(),
            socket,
            self._authenticating(request),
            self._describe,
            peer_of(request),
        )
        try:
            if caller is not None:
                connection.admit(caller)
            elif known:
                connection.turn_away()
            await socket.listen()
        except Exception:
            # No problem document can follow an upgrade.
            _log.exception("session %s failed", connection.session.id)
            await websocket.close(code=FAILED, message=b"The server failed.", drain=False)
        finally:
            connection.close()
        return websocket

    def _who(self, request: web.Request, offered: list[str]) -> tuple[Caller | None, bool]:
        """Say who connects, and whether that was said at all; if not, hello has to."""
        if "ticket" in request.query:
            return self._tickets.redeem(request.query["ticket"]), True
        bearer = next((each for each in offered if each.startswith(BEARER)), None)
        if bearer is not None:
            return _caller_of_token(_decoded(bearer.removeprefix(BEARER))), True
        if "Authorization" in request.headers or "Plait-Author" in request.headers:
            return caller_of(request), True
        return None, False

    def _authenticating(self, request: web.Request) -> "_Authenticating":
        origin = request.headers.get("Origin")
        foreign = origin is not None and urlsplit(origin).netloc != request.host
        return _Authenticating(may_be_nobody=not foreign or origin in self._friends)


class _Authenticating:
    """Judges the token of a hello. Without access control nobody in particular may come in too, unless
    a page of another site brought him here: he does not know of it."""

    __slots__ = ("_may_be_nobody",)

    def __init__(self, *, may_be_nobody: bool) -> None:
        self._may_be_nobody = may_be_nobody

    def __call__(self, token: str | None) -> Caller | None:
        if token is not None:
            return _caller_of_token(token)
        return Caller(TENANT, "", "") if self._may_be_nobody else None


def _caller_of_token(token: str | None) -> Caller | None:
    if token is None:
        return None
    try:
        author = author_of_token(token)
    except BadHeader:
        return None
    return Caller(TENANT, author, author)


def _decoded(coded: str) -> str | None:
    try:
        return base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        return None


def _offered(request: web.Request) -> list[str]:
    stated = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ()))
    return [each.strip() for each in stated.split(",") if each.strip()]


def _is_upgrade(request: web.Request) -> bool:
    headers = request.headers
    return (
        headers.get("Upgrade", "").lower() == "websocket"
        and "upgrade" in headers.get("Connection", "").lower()
        and headers.get("Sec-WebSocket-Version") == "13"
        and len(headers.get("Sec-WebSocket-Key", "")) == 24
    )


def framed(frame: Frame) -> bytes:
    """Write a frame as an unmasked text frame of RFC 6455, once for everybody."""
    if frame.framed is None:
        length = len(frame.text)
        head = struct.pack("!BB", 0x81, length) if length < 126 else struct.pack("!BBH", 0x81, 126, length)
        frame.framed = head + frame.text
    return frame.framed


class _Socket:
    """Carries frames in and out. While the operating system takes them, what a turn of the event loop brings
    is handed over together; when it does not, one task waits for it and sends what is in the outbox then."""

    __slots__ = (
        "_ending",
        "_finishing",
        "_handing_over",
        "_loop",
        "_room",
        "_transport",
        "_websocket",
        "_writing",
        "connection",
    )
    connection: Connection

    def __init__(self, request: web.Request, websocket: "web.WebSocketResponse[bool]") -> None:
        assert request.transport is not None
        self._transport = request.transport
        self._websocket = websocket
        self._loop = asyncio.get_running_loop()
        self._handing_over = False
        self._ending: tuple[int, str] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None

    async def listen(self) -> None:
        """Take frames until the connection ends."""
        session = self.connection.session
        while self._ending is None:
            message = await self._websocket.receive()
            if message.type is WSMsgType.TEXT:
                self.connection.receive(message.data)
            elif message.type is WSMsgType.BINARY:
                self.end(BAD_FRAME, "Frames are text.")
            else:
                break
            if not session.receptive and self._ending is None:
                self._room = self._loop.create_future()
                await self._room
                self._room = None
        if self._ending is None:
            self._ending = (1000, "")
        if self._writing is not None:
            self._writing.cancel()
        if self._finishing is not None:
            await self._finishing

    def carry(self, frame: Frame) -> None:
        transport = self._transport
        if (
            self._handing_over
            or self._writing is not None
            or self._ending is not None
            or len(frame.text) > SHORT_BYTES_MAX
            or transport.get_write_buffer_size() > UNSENT_BYTES_MAX
        ):
            self.connection.session.outbox.put(frame)
            self.wake()
        elif not transport.is_closing():
            transport.write(frame.framed or framed(frame))  # one call less for each of thousands

    def wake(self) -> None:
        session = self.connection.session
        if self._handing_over or self._writing is not None or self._ending is not None:
            return
        if not session.outbox.empty or session.behind or self._room is not None:
            self._handing_over = True
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        try:
            self._pump()
        finally:
            self._handing_over = False
        if self._room is not None and self.connection.session.receptive and not self._room.done():
            self._room.set_result(None)

    def _pump(self) -> None:
        transport, session = self._transport, self.connection.session
        outbox = session.outbox
        while self._ending is None and not transport.is_closing():
            if transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
                self._writing = asyncio.create_task(self._write())
                return
            frames = outbox.take_together(SHORT_BYTES_MAX)
            if not frames:
                if not session.behind:
                    return
                self.connection.relieved()
                if outbox.empty:
                    return
            elif len(frames[0].text) <= SHORT_BYTES_MAX:
                transport.write(b"".join([framed(frame) for frame in frames]))
            else:
                self._writing = asyncio.create_task(self._write(frames[0]))
                return

    async def _write(self, frame: Frame | None = None) -> None:
        """Send what waits, as fast as it is taken."""
        outbox = self.connection.session.outbox
        try:
            while frame is not None or (frame := outbox.take()) is not None:
                await self._websocket.send_frame(frame.text, WSMsgType.TEXT)
                frame = None
                self.connection.relieved()
        except ConnectionError:
            self._transport.abort()
        finally:
            self._writing = None
        self.wake()

    def end(self, code: int, reason: str) -> None:
        if self._ending is not None:
            return
        if self._writing is None:
            self._pump()
        self._ending = (code, reason)
        self._finishing = asyncio.create_task(self._finish(code, reason))
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def _finish(self, code: int, reason: str) -> None:
        """Say why, wait a little for the other side to agree, and drop what it does not take."""
        if self._writing is not None:
            self._writing.cancel()
        try:
            await self._websocket.close(code=code, message=reason.encode(), drain=False)
        except ConnectionError:
            pass
        finally:
            self._transport.abort()

    async def ended(self) -> None:
        if self._finishing is not None:
            await asyncio.wait({self._finishing})
