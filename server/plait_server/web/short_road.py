"""The short road of an edit over HTTP: begun with others, answered without a task.

The long road is aiohttp's: the task of the connection is woken, makes a request and a task for its handler,
and waits for that; it costs half as much as the edit. Here the edits that came in one turn of the event loop
are begun one after the other, which finds the code of a decision in the processor's caches, and each is
answered from the callback of its commit.

Only what every small edit has in common is done here. Whatever else a request is, wants or meets, a problem
among it, goes the long road: the handler of PATCH then begins anew, or goes on with what was begun.
"""

import asyncio
import contextlib
from functools import partial
from typing import Any, Final, Protocol

from aiohttp import StreamReader, web
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.web_protocol import _ErrInfo
from msgspec import Struct
from multidict import istr

from plait_server.service import Answer, Begun, Caller, CommitResult, DocumentKey, Edit, Service
from plait_server.web.edits import knows_its_base, write_answer
from plait_server.web.requests import Head
from plait_server.web.routes import document_at
from plait_server.web.written import WrittenAtOnce

# Who sends these wants more than the short road has.
EXPECT: Final = istr("Expect")
CONTENT_ENCODING: Final = istr("Content-Encoding")
PREFER: Final = istr("Prefer")


class UnderWay(Struct, frozen=True):
    """An edit that was begun on the short road, and is answered on the long one."""

    caller: Caller
    edit: Edit
    answer: asyncio.Task[Answer]
    """Raises what the edit is refused with."""


class BodyAgain(StreamReader):
    """A body that was read already, and what was begun with it: then nobody has to read it again."""

    __slots__ = ("under_way",)
    under_way: UnderWay | None


def take_under_way(request: web.BaseRequest) -> UnderWay | None:
    """Take what was begun of a request on the short road, once: whoever has it has to let it go."""
    body = request.content
    if not isinstance(body, BodyAgain):
        return None
    under_way, body.under_way = body.under_way, None
    return under_way


class Beginner(Protocol):
    """What begins an edit: see `Documents.begin_patch`."""

    def __call__(self, head: Head, document: DocumentKey, body: bytes) -> Begun | None: ...


class ShortRoad:
    """The edits that go it, of all connections."""

    def __init__(self, service: Service, begin: Beginner) -> None:
        self._service = service
        self._begin = begin
        self._arrived: list[tuple[Way, Head, DocumentKey, StreamReader]] = []
        self._handed_over: set[asyncio.Task[Answer]] = set()

    def takes(self, way: "Way", message: RawRequestMessage, body: StreamReader) -> bool:
        """Take a request, if it looks like one for this road. Cost: 1 µs."""
        if message.method != "PATCH" or message.should_close or not body.is_eof():
            return False
        headers = message.headers
        if EXPECT in headers or CONTENT_ENCODING in headers or PREFER in headers:
            return False
        named = document_at(message.path)
        if named is None or message.version != HttpVersion11 or body.exception() is not None:
            return False
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._begin_all)
        self._arrived.append((way, message, DocumentKey(*named), body))
        return True

    def _begin_all(self) -> None:
        arrived, self._arrived = self._arrived, []
        for way, head, document, body in arrived:
            self._begin_one(way, head, document, body.read_nowait())

    def _begin_one(self, way: "Way", head: Head, document: DocumentKey, body: bytes) -> None:
        try:
            begun = self._begin(head, document, body)
        except Exception:
            begun = None  # the long road meets it too, and says what it is
        if begun is None:
            way.hand_over(body, None)
        elif begun.result is None:
            self._hand_over(way, begun)
        else:
            begun.result.add_done_callback(partial(self._conclude, way, head, begun))

    def _conclude(self, way: "Way", head: Head, begun: Begun, _: asyncio.Future[CommitResult]) -> None:
        try:
            answer = self._service.conclude_edit(begun)
        except Exception:
            answer = None  # who goes on with it meets it too, and says what it is
        if answer is None:
            self._hand_over(way, begun)
        else:
            way.answer(head, write_answer(answer, known_base=knows_its_base(begun.edit)))

    def _hand_over(self, way: "Way", begun: Begun) -> None:
        # A task of its own: the edit is seen to its end though the caller may leave.
        task = asyncio.get_running_loop().create_task(self._service.go_on_with(begun))
        self._handed_over.add(task)
        task.add_done_callback(self._ended)
        way.hand_over(b"", UnderWay(begun.caller, begun.edit, task))

    def _ended(self, task: asyncio.Task[Answer]) -> None:
        self._handed_over.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits has it too; if nobody does, nobody needs it


class Way(web.RequestHandler):
    """A connection whose requests may go the short road, where nothing else is under way on it.

    A request that does is answered or handed over, once. What comes meanwhile waits, as it does behind any
    request.
    """

    __slots__ = ("_idle", "_road")

    def __init__(self, server: web.Server, road: ShortRoad | None, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._road = road
        self._idle: asyncio.Future[None] | None = None
        """What aiohttp's task waits for, kept from it while a request goes the short road."""

    def data_received(self, data: bytes) -> None:
        # Nobody is woken by aiohttp: the request may go the short road.
        idle, self._waiter = self._waiter, None
        super().data_received(data)
        self._waiter = idle
        if self._messages and idle is not None and not idle.done() and not self._goes_short():
            idle.set_result(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        task, is_waiting = self._task_handler, self._waiter is not None or self._idle is not None
        super().connection_lost(exc)
        if task is not None and is_waiting:
            task.cancel()  # it may have been woken in this very turn, and has nothing left to serve with

    def _goes_short(self) -> bool:
        if self._road is None or len(self._messages) > 1 or self._upgraded:
            return False
        message, body = self._messages[0]
        if isinstance(message, _ErrInfo) or not self._road.takes(self, message, body):
            return False
        self._idle, self._waiter = self._waiter, None
        return True

    def answer(self, head: Head, response: WrittenAtOnce) -> None:
        """Answer the request with this head, and be there for the next one."""
        self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        with contextlib.suppress(ConnectionResetError):
            response.write_to(self.transport, head)
        self._leave_short_road()

    def hand_over(self, body: bytes, under_way: UnderWay | None) -> None:
        """Let the request go the long road: with this body, or with what was begun."""
        idle, self._idle = self._idle, None
        if idle is None or idle.done():
            return
        again = BodyAgain(self, self._read_bufsize, loop=self._loop)
        again.under_way = under_way
        again.feed_data(body)
        again.feed_eof()
        self._messages[0] = (self._messages[0][0], again)
        self._waiter = idle
        idle.set_result(None)

    def _leave_short_road(self) -> None:
        """Do what aiohttp does after each request."""
        idle, self._idle = self._idle, None
        if idle is None:
            return
        if self._close or self._force_close:
            idle.cancel()
            if self.transport is not None and not self._force_close:
                self.transport.close()
            return
        self._waiter = idle
        if self._messages:
            idle.set_result(None)
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )


SHORT_ROAD: Final = web.AppKey("short_road", ShortRoad)
