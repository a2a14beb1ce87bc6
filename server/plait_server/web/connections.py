"""Connections that guard themselves, and the runner that serves an application over them.

aiohttp waits for ever for the first request of a connection and answers what it cannot parse in
plain text. Here a connection that has sent no request in time is cut, and whatever goes wrong
before a handler is reached is a problem document like every other.
"""

import asyncio
import gc
import logging
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Final

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo

from plait_server.config import Settings
from plait_server.errors import Overloaded
from plait_server.web.problems import Problem, problem_response
from plait_server.web.requests import new_request_id, problem_of, request_id_of
from plait_server.web.short_road import SHORT_ROAD, ShortRoad, Way

LINGERING_S: Final = 2.0
REFUSED_START_S: Final = 1.0
ACCEPTING_TURNS: Final = 160
"""An event loop accepts one connection a turn or more, and the kernel holds 128 for it."""
READING_TURNS: Final = 8
"""From a connection's being accepted to its request's being handled, with some to spare."""
COLLECTOR_THRESHOLDS: Final = (10_000, 10, 100)
"""Revisions in memory are many objects and in no cycle: looking for cycles as often as Python does would
cost as much as the edits."""

_log = logging.getLogger("plait.web")


class Runner(web.AppRunner):
    """Serve an application as `settings` say: limits on every header, timeouts on every wait."""

    def __init__(self, app: web.Application, settings: Settings) -> None:
        super().__init__(
            app,
            shutdown_timeout=settings.shutdown_timeout_s,
            keepalive_timeout=settings.keepalive_timeout_s,
            access_log=logging.getLogger("plait.access") if settings.access_log else None,
            max_line_size=settings.header_bytes_max,
            max_field_size=settings.header_bytes_max,
            max_headers=settings.headers_max,
            lingering_time=LINGERING_S,
            auto_decompress=False,
        )
        self._settings = settings
        self._short_road = None if settings.access_log else app.get(SHORT_ROAD)
        self._thresholds = gc.get_threshold()

    async def setup(self) -> None:
        """Make everything ready. Meanwhile the garbage collector of this process is set for serving."""
        await super().setup()
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
        gc.freeze()

    async def cleanup(self) -> None:
        """Stop listening, answer what was sent before, end the application."""
        # Who connected may wait to be accepted, and what was sent to be read: that comes first, because
        # what is not accepted when listening stops is reset, and aiohttp closes what looks idle.
        await _take_turns(ACCEPTING_TURNS)
        for site in self.sites:
            await site.stop()
        await _take_turns(READING_TURNS)
        await super().cleanup()
        gc.unfreeze()
        gc.set_threshold(*self._thresholds)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Connections(made, self._settings, self._kwargs, self._short_road)


async def _take_turns(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


class _Connections(web.Server):
    def __init__(
        self, made: web.Server, settings: Settings, options: dict[str, Any], short_road: ShortRoad | None
    ) -> None:
        super().__init__(made.request_handler, request_factory=made.request_factory)
        self.short_road = short_road
        self._settings = settings
        self._options = options

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than may be, the newest counted."""
        return len(self._connections) > self._settings.connections_max

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._settings, self._options)


class _Connection(Way):
    __slots__ = ("_body", "_head_bytes", "_server", "_settings", "_silence", "_unread")

    def __init__(self, server: _Connections, settings: Settings, options: dict[str, Any]) -> None:
        super().__init__(server, server.short_road, **options)
        self._server = server
        self._settings = settings
        self._silence: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._body: StreamReader = EMPTY_PAYLOAD
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        wait_s = self._settings.request_start_timeout_s
        if self._server.is_full:
            # Its one request is refused in words; who says nothing has less time than others.
            self._request_handler, self._road = self._refuse, None
            wait_s = min(wait_s, REFUSED_START_S)
        self._silence = self._loop.call_later(wait_s, self._cut_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        for timer in (self._silence, self._unread):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        requests, of_a_head = self._request_count, self._body.is_eof()
        super().data_received(data)
        # aiohttp bounds each line and their number, which together is far more than anybody needs.
        if self._request_count != requests:
            self._body = self._messages[-1][1]
            self._head_bytes = 0
        elif of_a_head and not self._upgraded:
            self._head_bytes += len(data)
            if self._head_bytes > self._settings.head_bytes_max:
                self._refuse_head()

    def _refuse_head(self) -> None:
        if self._close or self._force_close:
            return
        error = LineTooLong(b"", self._settings.head_bytes_max)
        self._messages.append((_ErrInfo(status=400, exc=error, message=error.message), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._request_count += 1
        self._close = True

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 (aiohttp's name)
        """Let the request under way finish, for `timeout` seconds in all; aiohttp may take twice that."""
        self._force_close = True
        self._refuse_unread_body()
        try:
            async with asyncio.timeout(timeout):
                await super().shutdown(None)
        except TimeoutError:
            if self._task_handler is not None:
                self._task_handler.cancel()
            self.force_close()

    def _refuse_unread_body(self) -> None:
        # From now on aiohttp drops what arrives: a body under way would never be complete.
        request = self._current_request
        if request is not None and not request.content.is_eof():
            request.content.set_exception(Overloaded("The server is closing."))

    def _cut_if_silent(self) -> None:
        if self._request_count == 0:
            self.force_close()

    def pause_writing(self) -> None:
        # The peer does not read its answers; it has a while to go on before it costs more memory.
        super().pause_writing()
        if self.transport is not None:
            self._unread = self._loop.call_later(self._settings.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp asks for this after every read of a body; parsing nothing again costs as much as routing.
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        # What reaches no handler arrives as an exception: no such path, no such method, an odd Expect.
        if isinstance(resp, web.HTTPException):
            resp = self._answer(problem_of(resp, request.rel_url.raw_path), request_id_of(request))
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            raise exc  # the client is gone: nobody is to be told, and nothing is wrong here
        if request.writer.output_size > 0:
            raise ConnectionError("The answer was already begun.")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("a request failed outside its handler", exc_info=exc)
            answer = self._answer(Problem("internal", "The server could not answer."))
        elif isinstance(exc, LineTooLong) or (message or "").startswith("Too many headers"):
            detail = "The request head has too long a line, or too many."
            answer = self._answer(Problem("headers-too-large", detail))
        else:
            answer = self._answer(Problem("bad-request", "The request is not well-formed HTTP."))
        answer.force_close()
        return answer

    async def _refuse(self, request: web.BaseRequest) -> web.StreamResponse:
        detail = "The server has as many open connections as it may have."
        answer = self._answer(Problem("overloaded", detail), request_id_of(request))
        answer.force_close()
        return answer

    def _answer(self, problem: Problem, request_id: str | None = None) -> web.Response:
        return problem_response(problem, request_id or new_request_id(), self._settings.problem_base)
