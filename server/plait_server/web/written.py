"""Responses written in one piece."""

import asyncio
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion, HttpVersion11

from plait_server.web.requests import Head, request_id_of

_NO_CONTENT: Final = HTTPStatus.NO_CONTENT.value  # a member of an enum is looked up slowly
_STATUS_LINES: Final = {
    status.value: f"{status.value} {status.phrase}\r\n" for status in HTTPStatus if status < 300
}


class WrittenAtOnce(web.StreamResponse):
    """A success whose head and body are known, written with one call.

    aiohttp's way to a head, which serves streams, cookies and compression too, costs half as much as an edit.
    `fields` are lines of the head, each with its end, written as they are: whoever gives them vouches that
    no value in them holds a line break. The request's id and what every head has are added here.
    """

    def __init__(self, status: int, fields: str, body: bytes) -> None:
        # Not aiohttp's own beginning: what it prepares is for the head it would write.
        self._status = status
        self._fields = fields
        self._content = body
        self._stays: bool | None = None

    def add(self, fields: str) -> None:
        """Put more lines into the head."""
        self._fields += fields

    @property
    def keep_alive(self) -> bool | None:
        return self._stays

    @property
    def body_length(self) -> int:
        return len(self._content)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write everything. Raises ConnectionResetError where nobody is there any more."""
        self._stays = request.keep_alive
        self._write(request.transport, request, request.version)
        return None

    def write_to(self, transport: asyncio.WriteTransport | None, head: Head) -> None:
        """Write everything, now, in answer to a request of HTTP/1.1 on a connection that stays. Raises
        ConnectionResetError where nobody is there any more."""
        self._stays = True
        self._write(transport, head, HttpVersion11)

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything is written."""

    def _write(self, transport: asyncio.WriteTransport | None, head: Head, version: HttpVersion) -> None:
        if transport is None or transport.is_closing():
            raise ConnectionResetError("The client has left.")
        transport.write(self._head(head, version).encode("ascii") + self._content)

    def _head(self, head: Head, version: HttpVersion) -> str:
        more = ""
        if self._status != _NO_CONTENT:
            more = f"Content-Length: {len(self._content)}\r\n"
        if not self._stays:
            more += "Connection: close\r\n"
        elif version.minor == 0:
            more += "Connection: keep-alive\r\n"
        return (
            f"HTTP/{version.major}.{version.minor} {_STATUS_LINES[self._status]}{self._fields}"
            f"X-Request-Id: {request_id_of(head)}\r\nServer: plait\r\nDate: {_date()}\r\n{more}\r\n"
        )


_second = 0
_written = ""


def _date() -> str:
    """Give the value of Date, which is written once a second."""
    global _second, _written
    now = int(time.time())
    if now != _second:
        _second, _written = now, formatdate(now, usegmt=True)
    return _written
