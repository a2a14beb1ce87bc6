"""Those who look on while the server is killed: live, by the client's stream of changes, and by the feed."""

import asyncio
from collections.abc import Sequence
from typing import Any

import jsonpatch
from aiohttp import ClientError, ClientSession

from plait_client import AsyncPlait, Retry, Surroundings
from plait_merge import Absent, Json, apply
from server.live.client import Closed, Copies, connected

HASTE = 0.02
PATIENT = Retry(attempts=1_000, deadline_s=60)


def hasty(low: float, high: float) -> float:
    """Draw a wait near the shortest: the server is back soon, and nobody else waits for it."""
    return low + (high - low) * HASTE


def client_of(url: str, **how: Any) -> AsyncPlait:
    """Make a client that comes back soon, and does not give up."""
    return AsyncPlait(url, retry=PATIENT, surroundings=Surroundings(uniform=hasty), **how)


class Subscriber:
    """Follows documents over one connection after the other, each from where the one before ended.

    What it is told makes its copies, which fail on a gap and on a revision that is told twice.
    """

    def __init__(self, documents: Sequence[str]) -> None:
        self._documents = documents
        self._told = asyncio.Condition()
        self.copies = Copies()
        self.connections = 0

    async def follow(self, url: str) -> None:
        """Follow until cancelled."""
        async with ClientSession(url) as session:
            while True:
                try:
                    async with connected(session, self.copies) as live:
                        self.connections += 1
                        for number, document in enumerate(self._documents):
                            await live.follow(document, number)
                        while True:
                            async with self._told:
                                self._told.notify_all()
                            await live.hear()
                except (ClientError, OSError, Closed, TimeoutError):
                    # The server is gone. Let others run: one of them starts it again.
                    await asyncio.sleep(HASTE)

    async def until(self, document: str, revision: int) -> None:
        """Wait until it has been told of a revision."""
        async with self._told:
            await self._told.wait_for(lambda: self.copies.revisions.get(document, 0) >= revision)


class Reader:
    """Reads one document's changes from the client, which connects again by itself."""

    def __init__(self, document: str) -> None:
        self._document = document
        self._told = asyncio.Condition()
        self.revision = 0
        self.value: Json | Absent = None

    async def read(self, url: str) -> None:
        """Read until cancelled; fails where a revision is missing, or is told twice."""
        async with client_of(url) as plait:
            document = await plait.doc(self._document)
            self.revision, self.value = document.revision, document.value
            async for change in document.changes(since=self.revision):
                assert (change.reset, change.prev) == (None, self.revision)
                assert [part.rev for part in change.parts] == [*range(change.prev + 1, change.revision + 1)]
                self.revision, self.value = change.revision, apply(self.value, change.patch)
                async with self._told:
                    self._told.notify_all()

    async def until(self, revision: int) -> None:
        """Wait until it has been told of a revision."""
        async with self._told:
            await self._told.wait_for(lambda: self.revision >= revision)


class Feed:
    """Keeps copies of all documents by the feed, from a cursor that outlives the server."""

    def __init__(self) -> None:
        self._cursor: str | None = None
        self.values: dict[str, Any] = {}

    async def catch_up(self, client: ClientSession) -> None:
        """Read on to the end."""
        while True:
            parameters = {"limit": "500", **({} if self._cursor is None else {"since": self._cursor})}
            async with client.get("/v1/changes", params=parameters) as answer:
                assert answer.status == 200, await answer.text()
                page = await answer.json()
            for change in page["changes"]:
                name = change["document"]
                self.values[name] = jsonpatch.apply_patch(
                    self.values.get(name), change["patch"], in_place=True
                )
            if not page["changes"]:
                return
            self._cursor = page["cursor"]
