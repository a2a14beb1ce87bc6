"""`GET …/events`: the frames of one document as server-sent events, for those who only listen."""

import asyncio
import contextlib
from typing import Final

from aiohttp import web

from plait_server import wire
from plait_server.config import Settings
from plait_server.errors import Overloaded
from plait_server.service import Service
from plait_server.service.connection import Connection
from plait_server.service.frame import Frame
from plait_server.web.conditions import single
from plait_server.web.edits import caller_of, document_of
from plait_server.web.live import describing, new_session_id
from plait_server.web.pages import only_query
from plait_server.web.problems import Problem
from plait_server.web.routes import EVENTS, Route

RETRY_MS: Final = 2_000
COMMENT: Final = b": still here\n\n"


class Events:
    """The events resource."""

    def __init__(self, service: Service, settings: Settings, comment_s: float = 15) -> None:
        self._service = service
        self._settings = settings
        self._comment_s = comment_s
        self._describe = describing(settings.problem_base)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                EVENTS,
                self.get,
                "Follow a document as server-sent events",
                {200: None},
                ("bad-header", "bad-query", "overloaded", "store-unavailable"),
                query=("from",),
                headers=("Last-Event-ID",),
                media_types=("text/event-stream",),
            ),
        )

    async def get(self, request: web.Request) -> web.StreamResponse:
        only_query(request, "from")
        after = _after(request)
        caller, document = caller_of(request), document_of(request)
        await self._service.revisions(caller, document, 1, None)
        if self._service.hub.closing or len(self._service.hub) >= self._settings.live_connections_max:
            raise Overloaded("Too many connections.")
        response = web.StreamResponse(headers=_HEADERS)
        stream = _Stream(request, response)
        connection = stream.connection = Connection(
            self._service, new_session_id(), stream, lambda token: None, self._describe
        )
        try:
            await response.prepare(request)
            await response.write(b"retry: %d\n\n" % RETRY_MS)
            connection.admit(caller)
            asked = {"t": "sub", "id": 0, "doc": document.name}
            connection.receive(wire.encode(asked if after is None else {**asked, "from": after}))
            await stream.run(self._comment_s)
        finally:
            connection.close()
            stream.over.set()
        return response


_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


def _after(request: web.Request) -> int | None:
    """Read where the client is: what a browser says when it comes back, or the query."""
    stated = single(request.headers, "Last-Event-ID") or request.query.get("from")
    if stated is None:
        return None
    if not (stated.isascii() and stated.isdigit() and len(stated) <= 15):
        raise Problem("bad-query", "Last-Event-ID and ?from= take a revision number such as 41.")
    return int(stated)


def event_of(frame: Frame) -> bytes:
    """Write a frame as an event; those about a revision can be resumed from."""
    head = b"" if frame.rev is None else b"id: %d\n" % frame.rev
    return b"%bevent: %b\ndata: %b\n\n" % (head, frame.kind.encode(), frame.text)


class _Stream:
    """Carries frames out, one at a time, as fast as they are taken."""

    connection: Connection

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self._woken = asyncio.Event()
        self._ending = False
        self.over = asyncio.Event()

    async def run(self, comment_s: float) -> None:
        outbox = self.connection.session.outbox
        while True:
            self._woken.clear()
            while (frame := outbox.take()) is not None:
                if frame.kind != "hb":
                    await self._response.write(event_of(frame))
                self.connection.relieved()
            if self._ending:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(comment_s):
                    await self._woken.wait()
            if not self._woken.is_set():
                await self._response.write(COMMENT)

    def carry(self, frame: Frame) -> None:
        self.connection.session.outbox.put(frame)
        self._woken.set()

    def wake(self) -> None:
        self._woken.set()

    def end(self, code: int, reason: str) -> None:
        self._ending = True
        self._woken.set()
        transport = self._request.transport
        if self.connection.session.outbox.crowded and transport is not None:
            transport.abort()

    async def ended(self) -> None:
        await self.over.wait()
