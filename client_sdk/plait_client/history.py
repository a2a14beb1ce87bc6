"""What a document was: its revisions, the value at any of them, who wrote what, and names for revisions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from plait_client.errors import NotFound, TransportError
from plait_client.replica.edit import Patch, touches
from plait_client.wire import request
from plait_client.wire.transport import Answer, Request, Transport
from plait_merge import Json
from plait_merge.pointer import parse_pointer


class Revision(Struct, frozen=True):
    """One revision, as history keeps it. `patch` is as committed, `submitted` as sent where that differs.

    `labels` are the names that were given to it, in order of the alphabet.
    """

    revision: int
    kind: Literal["create", "edit", "delete"]
    author: str
    at: str
    message: str | None
    key: str | None
    base: int | None
    patch: list[dict[str, Any]]
    submitted: list[dict[str, Any]] | None = None
    labels: tuple[str, ...] = ()


class Version(Struct, frozen=True):
    """The document as it was at a revision, who made that, and when (RFC 3339)."""

    revision: int
    value: Json
    author: str | None = None
    at: str | None = None


class Leaf(Struct, frozen=True):
    """A scalar, `{}` or `[]` in a document, and the revision that made it what it is."""

    pointer: str
    revision: int
    author: str
    at: str


class Label(Struct, frozen=True):
    """A name for a revision, who gave it, and when (RFC 3339)."""

    label: str
    revision: int
    author: str
    at: str


class History:
    """Reads what one document was."""

    def __init__(self, name: str, transport: Transport) -> None:
        self._name = name
        self._transport = transport

    async def revisions(self, pointer: str, labelled: bool) -> AsyncIterator[Revision]:
        """Give the revisions that touched a place, newest first; or only those of them that have labels."""
        place = parse_pointer(pointer)
        names: dict[int, tuple[str, ...]] = {}
        for label in await self.labels():
            names[label.revision] = (*names.get(label.revision, ()), label.label)
        async with aclosing(read_history(self._transport, self._name)) as history:
            async for revision in history:
                if (revision.revision in names or not labelled) and touches(revision.patch, place):
                    yield msgspec.structs.replace(revision, labels=names.get(revision.revision, ()))

    async def version(
        self, moment: str | datetime | None, *, revision: int | None, label: str | None
    ) -> Version:
        """Give the document as it was, said in one of three ways. Raises TypeError for none, or for two."""
        if [moment, revision, label].count(None) != 2:
            raise TypeError("say when in one way: a moment, a revision or a label")
        at = _written(moment) if isinstance(moment, datetime) else moment
        answer = await self._send(request.version(self._name, revision=revision, at=at, label=label))
        if answer.revision is None:
            raise TransportError("The answer does not say what revision it is.")
        author, written = answer.headers.get("Plait-Author"), answer.headers.get("Plait-At")
        return Version(answer.revision, answer.json(), author, written)

    async def blame(self, pointer: str, revision: int | None) -> list[Leaf]:
        """Give who wrote what is at a place and in it, as it was at a revision, the newest if None."""
        parse_pointer(pointer)
        leaves: list[Leaf] = []
        cursor: str | None = None
        while True:
            answer = await self._send(request.blame(self._name, pointer, revision, cursor))
            page = answer.read_as(_Blame)
            leaves += page.leaves
            if page.cursor is None:
                return leaves
            revision, cursor = page.revision, page.cursor

    async def diff(self, start: int, end: int | None) -> Patch:
        """Give a patch that leads from one revision to another, the newest if None."""
        answer = await self._send(request.diff(self._name, start, end))
        return answer.read_as(list[dict[str, Any]])

    async def labels(self) -> list[Label]:
        answer = await self._send(request.labels(self._name))
        return answer.read_as(_Labels).labels

    async def label(self, name: str, revision: int) -> None:
        await self._send(request.set_label(self._name, name, revision))

    async def unlabel(self, name: str) -> None:
        try:
            await self._send(request.remove_label(self._name, name))
        except NotFound as error:
            if error.attempts == 1:  # else the first attempt may have taken it away
                raise

    async def _send(self, asked: Request) -> Answer:
        return await self._transport.send(asked)


async def read_history(
    transport: Transport, name: str, items: int = request.PAGE_ITEMS
) -> AsyncGenerator[Revision]:
    """Give a document's revisions, newest first, a page of so many at a time."""
    cursor: str | None = None
    while True:
        answer = await transport.send(request.history(name, cursor, items))
        page = answer.read_as(_Page)
        for revision in page.revisions:
            yield revision
        cursor = page.cursor
        if cursor is None:
            return


class _Page(Struct, frozen=True):
    revisions: list[Revision]
    cursor: str | None = None


class _Blame(Struct, frozen=True):
    revision: int
    leaves: list[Leaf]
    cursor: str | None = None


class _Labels(Struct, frozen=True):
    labels: list[Label]


def _written(moment: datetime) -> str:
    """Write a moment as RFC 3339. Raises ValueError for one without a time zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone: nobody can tell when that is")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
