"""Read documents back over a connection: what a ledger is checked against."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Raw, Struct, json

from plait_server import wire
from plait_server.bench.connection import Answer, Connection
from plait_server.ledger import View

PAGE_ITEMS: Final = 500
ATTEMPTS_MAX: Final = 20


class Unread(Exception):
    """A document could not be read back; the message says what was answered."""


class _Page(Struct):
    revisions: list[Raw]
    cursor: str | None


_page = json.Decoder(_Page).decode


class Reading:
    """Whole histories, oldest first. Raises Unread, and OSError where nobody answers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def history(self, document: str) -> Iterator[Mapping[str, Any]]:
        """Read every revision. Keeps the bytes, and takes one revision after the other apart."""
        pages: list[list[Raw]] = []
        query = f"limit={PAGE_ITEMS}"
        while True:
            page = _page((await self._ask(f"/v1/docs/{document}/revisions?{query}")).content)
            pages.append(page.revisions)
            if page.cursor is None:
                break
            query = f"limit={PAGE_ITEMS}&cursor={page.cursor}"
        return _oldest_first(pages)

    async def read(self, document: str) -> View:
        answer = await self._ask(f"/v1/docs/{document}")
        return View(int(answer.header("Plait-Revision") or 0), wire.decode(answer.content))

    async def _ask(self, path: str) -> Answer:
        for _ in range(ATTEMPTS_MAX):
            answer = await self._connection.ask("GET", path)
            if not answer.may_be_sent_again:
                break
            await asyncio.sleep(answer.retry_after_s)
        if answer.status != 200:
            raise Unread(f"GET {path.partition('?')[0]} was answered with {answer.status} {answer.code}.")
        return answer


def _oldest_first(pages: list[list[Raw]]) -> Iterator[Mapping[str, Any]]:
    while pages:
        for revision in reversed(pages.pop()):
            read: Any = wire.decode(bytes(revision))
            yield read
