"""The short road of an edit over HTTP: begun with others, answered without a task.

The long road is aiohttp's: the task of the connection is woken, makes a request and a task for its handler,
and waits for that; it costs half as much as the edit. Here the edits that came in one turn of the event loop
are begun one after the other, which finds the code of a decision in the processor's caches, and each is
answered from the callback of its commit.

Only what every small edit has in common is done here. Whatever else a request is, wants or meets, a problem
among it, goes the long road: the handler of PATCH then begins anew, or goes on with what was begun.
"""

import asyncio
from functools import partial
from typing import Final, Protocol

from aiohttp import StreamReader, web
from aiohttp.http import HttpVersion11, RawRequestMessage
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


class Way(Protocol):
    """A connection on which one request has arrived whole, and nothing else is under way.

    Either it is answered, or handed over, once.
    """

    def answer(self, head: Head, response: WrittenAtOnce) -> None:
        """Answer the request with this head, and be there for the next one."""

    def hand_over(self, body: bytes, under_way: UnderWay | None) -> None:
        """Let the request go the long road."""


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

    def takes(self, way: Way, message: RawRequestMessage, body: StreamReader) -> bool:
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

    def _begin_one(self, way: Way, head: Head, document: DocumentKey, body: bytes) -> None:
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

    def _conclude(self, way: Way, head: Head, begun: Begun, _: asyncio.Future[CommitResult]) -> None:
        try:
            answer = self._service.conclude_edit(begun)
        except Exception:
            answer = None  # who goes on with it meets it too, and says what it is
        if answer is None:
            self._hand_over(way, begun)
        else:
            way.answer(head, write_answer(answer, known_base=knows_its_base(begun.edit)))

    def _hand_over(self, way: Way, begun: Begun) -> None:
        # A task of its own: the edit is seen to its end though the caller may leave.
        task = asyncio.get_running_loop().create_task(self._service.go_on_with(begun))
        self._handed_over.add(task)
        task.add_done_callback(self._ended)
        way.hand_over(b"", UnderWay(begun.caller, begun.edit, task))

    def _ended(self, task: asyncio.Task[Answer]) -> None:
        self._handed_over.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits has it too; if nobody does, nobody needs it


SHORT_ROAD: Final = web.AppKey("short_road", ShortRoad)
