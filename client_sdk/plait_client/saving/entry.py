"""An edit of this process on its way: who waits for it, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context

from plait_client.errors import PlaitError
from plait_client.replica.edit import Edit
from plait_client.resolvers import Resolver
from plait_client.saved import Saved
from plait_merge import ABSENT, Absent, Json


class Entry:
    """One edit from the moment it is made until it is saved, or has failed for good.

    `kept` is done once the edit may be sent: it is in the outbox, if there is one. `told` is what its caller
    is told, which may be that it is queued; `over` is done at its very end. `resolver` settles its conflicts,
    which get the `draft` it was made in; `if_failed` is called when it comes to nothing. `unheard` gets the
    error that its caller did not live to hear. Without `waits` nobody hears what becomes of it after it was
    kept. `surrounding` has the context variables of its caller, the leases it is inside of among them.
    """

    __slots__ = (
        "_is_abandoned",
        "_unheard",
        "_waits",
        "draft",
        "edit",
        "if_failed",
        "kept",
        "over",
        "resolver",
        "surrounding",
        "told",
    )

    def __init__(
        self,
        edit: Edit,
        unheard: Callable[[PlaitError], None],
        *,
        resolver: Resolver | None = None,
        draft: Json | Absent = ABSENT,
        if_failed: Callable[[], None] | None = None,
        waits: bool = True,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.edit = edit
        self.resolver = resolver
        self.draft = draft
        self.if_failed = if_failed
        self.kept: asyncio.Future[None] = loop.create_future()
        self.told: asyncio.Future[Saved] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        self.surrounding = copy_context()
        self._unheard = unheard
        self._waits = waits
        self._is_abandoned = False

    @property
    def is_waited_for(self) -> bool:
        """Whether its caller will hear what becomes of it."""
        is_heard = self._waits or not self.kept.done()
        return is_heard and not self._is_abandoned and not self.told.done()

    async def outcome(self) -> Saved:
        """Wait for what becomes of it; or, if that was not wanted, until it will not be lost.

        Raises what refuses it. Who is cancelled here waits no longer; the edit goes its way.
        """
        try:
            if not self._waits:
                await asyncio.wait((self.kept, self.told), return_when=asyncio.FIRST_COMPLETED)
                if self.kept.done():
                    return Saved(outcome="pending", key=self.edit.key)
            return await self.told
        except asyncio.CancelledError:
            self._abandon()
            raise

    def tell(self, outcome: Saved | Exception) -> None:
        """Tell who waits; only the first time counts."""
        if self.told.done():
            return
        if isinstance(outcome, Saved):
            self.told.set_result(outcome)
        else:
            self.told.set_exception(outcome)
            self.told.exception()  # nobody has to wait: what is not waited for is kept as unsaved

    def finish(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def _abandon(self) -> None:
        is_told = self.told.done() and not self.told.cancelled()
        error = self.told.exception() if is_told else None
        if isinstance(error, PlaitError) and not self._is_abandoned:
            self._unheard(error)  # it was told in the very moment in which nobody listened any more
        self._is_abandoned = True
