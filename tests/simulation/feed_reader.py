"""Somebody who reads the feed of all changes, and builds documents of his own from it."""

import asyncio

from plait_merge import ABSENT, Absent, Json, apply, same
from plait_server import errors
from plait_server.service import Page, RevisionView
from plait_server.store import Address
from plait_server.wire import decode
from simulation.chronicle import Violation
from simulation.client import Client
from simulation.world import TENANT


class FeedReader:
    """Reads the feed from its beginning, page by page, into documents of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._cursor: str | None = None
        self._reading = asyncio.Lock()
        self.at: dict[Address, int] = {}
        self.values: dict[Address, Json | Absent] = {}

    async def read(self, limit: int, wait_s: float) -> bool:
        """Read a page; False where there was nothing new."""
        client, found = self._client, False

        def look(page: Page[RevisionView] | errors.PlaitServerError) -> None:
            """It is looked at where it is read."""

        async with self._reading:
            cursor = self._cursor
            page = await client.ask(
                lambda service: service.changes(client.caller, cursor, limit, wait_s), look
            )
            if not isinstance(page, Page):
                return True
            for change in page.items:
                found = True
                self._take(change)
            self._cursor = page.cursor
        return found

    def _take(self, change: RevisionView) -> None:
        address = Address(TENANT, change.document.collection, change.document.id)
        n, last = change.revision, self.at.get(address, 0)
        chronicle = self._client.world.chronicle
        chronicle.record(address, n)
        if n <= last or (n != last + 1 and not change.compacted):
            raise Violation("feed", f"{address.id} was at {last}, and the feed went on with {n}")
        value = ABSENT if change.compacted else self.values.get(address, ABSENT)
        self.values[address] = value = apply(value, decode(change.patch))
        self.at[address] = n
        if not same(value, chronicle.value(address, n)):
            raise Violation("feed", f"{address.id} {n} comes to something else than it is")

    def check(self) -> None:
        chronicle = self._client.world.chronicle
        heads = {address: chronicle.head(address) for address in chronicle.histories}
        if self._cursor is not None and self.at != heads:
            raise Violation("feed", f"it was read to its end, to {self.at}, and there is {heads}")
