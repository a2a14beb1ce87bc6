"""One edit over the wire: the same bytes under the same key, however often and however much later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing

from plait_client.context import Context
from plait_client.errors import NotFound, PlaitError
from plait_client.history import Revision, read_history
from plait_client.replica.edit import Flight
from plait_client.saved import Saved, saved_of
from plait_client.wire import request


class Delivery:
    """Sends the edits of one document, one at a time; `refresh` reads the document.

    An edit that may have arrived is looked for in the history before it is sent again: by then the server may
    have forgotten its key, and clocks that stand still while a computer sleeps cannot say.
    """

    def __init__(self, name: str, context: Context, refresh: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._context = context
        self._refresh = refresh
        self._doubtful: str | None = None

    def doubt(self, key: str) -> None:
        """The edit in flight may have been sent before."""
        self._doubtful = key

    async def answer(self, flight: Flight, body: bytes) -> Saved:
        """Send an edit, and give the answer. Raises what a request raises."""
        if self._doubtful == flight.key:
            found = await self._found(flight)
            if found is not None:
                return found
        await self._until_wanted()
        try:
            answer = await self._context.transport.send(request.edit(self._name, body, flight.key))
            return saved_of(answer, flight.key)
        except PlaitError as error:
            if error.outcome_unknown:
                self.doubt(flight.key)
            raise

    async def _found(self, flight: Flight) -> Saved | None:
        """Look for an edit in the history, as far as its base."""
        try:
            async with aclosing(read_history(self._context.transport, self._name)) as history:
                async for revision in history:
                    if revision.key == flight.key:
                        await self._refresh()
                        return _as_saved(revision, flight)
                    if revision.revision <= flight.base:
                        break
        except NotFound:
            pass
        return None

    async def _until_wanted(self) -> None:
        """Wait as long as the server asked for over a live connection."""
        transport = self._context.transport
        wait_s = self._context.live.throttled_until - transport.clock()
        if wait_s > 0:
            await transport.sleep(wait_s)


def _as_saved(revision: Revision, flight: Flight) -> Saved:
    """Read what became of an edit from the history."""
    is_next = revision.revision == flight.base + 1
    return Saved(
        outcome="applied" if is_next else "merged",
        revision=revision.revision,
        base=flight.base,
        patch=revision.patch,
        missed=None,
        key=flight.key,
    )
