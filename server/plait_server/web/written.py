"""Responses written in one piece."""

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from plait_server.web.requests import request_id_of

_STATUS_LINES: Final = {
    status.value: f"{status.value} {status.phrase}\r\n" for status in HTTPStatus if status < 300
}


class WrittenAtOnce(web.StreamResponse):
    """A success whose head and body are known, written with one call.

    aiohttp's way to a head, which serves streams, cookies and compression too, costs half as much as an edit.
    `fields` are written as they are: whoever gives them vouches that they hold no line break. The request's
    id and what every head has are added here.
    """

    def __init__(self, status: int, fields: dict[str, str], body: bytes) -> None:
        super().__init__(status=status)
        self._fields = fields
        self._content = body
        self._stays: bool | None = None

    @property
    def keep_alive(self) -> bool | None:
        return self._stays

    @property
    def body_length(self) -> int:
        return len(self._content)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write everything. Raises ConnectionResetError where nobody is there any more."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("The client has left.")
        self._stays = request.keep_alive
        transport.write(self._head(request).encode("ascii") + self._content)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything is written."""

    def _head(self, request: web.BaseRequest) -> str:
        major, minor = request.version
        fields = self._fields
        fields["X-Request-Id"] = request_id_of(request)
        fields["Server"] = "plait"
        fields["Date"] = _date()
        if self.status != HTTPStatus.NO_CONTENT:
            fields["Content-Length"] = str(len(self._content))
        if not self._stays:
            fields["Connection"] = "close"
        elif minor == 0:
            fields["Connection"] = "keep-alive"
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        return f"HTTP/{major}.{minor} {_STATUS_LINES[self.status]}{lines}\r\n"


_second = 0
_written = ""


def _date() -> str:
    """Give the value of Date, which is written once a second."""
    global _second, _written
    now = int(time.time())
    if now != _second:
        _second, _written = now, formatdate(now, usegmt=True)
    return _written
