"""The documents of one client, as long as somebody holds them: one name is one object."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from plait_client.context import Context
from plait_client.document import Document
from plait_client.errors import NotFound, PreconditionFailed
from plait_client.replica.edit import Patch
from plait_client.replica.replica import Replica
from plait_client.saved import Saved
from plait_client.settlement import Settlement
from plait_client.wire import request
from plait_merge import ABSENT, Absent, Json


class Documents:
    """Opens documents and finds them again. `context` knows them from now on."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._documents: WeakValueDictionary[str, Document] = WeakValueDictionary()
        self._opening: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        context.documents = self

    def __len__(self) -> int:
        return max(len(self._documents), len(self._opening))

    def all(self) -> list[Document]:
        return list(self._documents.values())

    def find(self, name: str) -> Document | None:
        """Give a document that is open."""
        return self._documents.get(name)

    def new(self, name: str, replica: Replica | None = None) -> Document:
        """Make a document of which nothing is known, or what a replica knows. `keep` makes it the one."""
        return Document(name, replica or Replica(0, ABSENT, ""), self._context)

    def keep(self, document: Document) -> None:
        self._documents[document.name] = document

    @asynccontextmanager
    async def opening(self, name: str) -> AsyncIterator[Document]:
        """Be the only one who opens a document; it is kept on leaving, unless that failed."""
        lock = self._opening.get(name)
        if lock is None:
            lock = self._opening[name] = asyncio.Lock()
        async with lock:
            document = self.find(name) or self.new(name)
            yield document
            self.keep(document)

    async def open(self, name: str, default: Json | Absent = ABSENT) -> Document:
        """Open a document as it is now, or have it created as `default`. Raises NotFound, Deleted."""
        async with self.opening(request.check_name(name)) as document:
            if not document.pending:  # else it is on its way there, or the server cannot be reached
                await _bring(document, default)
        return document

    def settlement_of(self, name: str) -> Settlement:
        """Settle conflicts of a document that is not open (yet)."""

        async def learn(saved: Saved) -> Saved:
            return await (self.find(name) or self.new(name))._learn(saved)

        async def save_on(view: Json | Absent, patch: Patch, message: str | None) -> Saved:
            async with self.opening(name) as document:
                if not document.pending:
                    await document.refresh()
            return await document._save_on(view, patch, message)

        context = self._context
        return Settlement(name, context.transport, context.unsaved, learn, save_on, lambda: None)


async def _bring(document: Document, default: Json | Absent) -> None:
    """Bring a document to what it is now, and have it created if it is not there."""
    try:
        await document.refresh()
    except NotFound:
        if default is ABSENT:
            raise
    if document.exists:
        return
    if default is ABSENT:
        document._existing()
    try:
        await document.put(default, if_match="missing")
    except PreconditionFailed:  # somebody else has just created it
        await document.refresh()
