"""One document's edits on their way to the server: in order, one at a time, each until it is decided.

The replica knows what to send and what to show; the saver sends it, has it written to the outbox first, and
tells those who wait. A caller that is cancelled takes nothing back: an edit that was entered goes its way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, Literal, TypeAlias

from plait_client.conflict import MergeConflict
from plait_client.context import Context
from plait_client.errors import (
    BaseUnknown,
    DeadlineExceeded,
    Forbidden,
    NotFound,
    OutboxFull,
    OutboxUnusable,
    Overlapped,
    PlaitError,
    RateLimited,
    RetryQuotaSpent,
    TransportError,
)
from plait_client.replica.edit import Edit, Flight
from plait_client.replica.replica import Progress, Replica
from plait_client.saved import Saved
from plait_client.saving.delivery import Delivery
from plait_client.saving.entries import Entries
from plait_client.saving.entry import Entry
from plait_client.saving.journal import Journal
from plait_client.saving.records import Stored
from plait_client.settlement import Settlement
from plait_client.wire.retry import full_jitter

log = logging.getLogger(__name__)

UNREACHABLE: Final = (
    TransportError,
    DeadlineExceeded,
    RateLimited,
    RetryQuotaSpent,
    Forbidden,
    OutboxFull,
    OutboxUnusable,
)
"""What says nothing about the edit: with an outbox it waits."""
RETURN_BASE_S: Final = 0.5
RETURN_CAP_S: Final = 30.0
"""What waits in an outbox is tried again after up to that long, whatever happens."""

SyncState: TypeAlias = Literal["saved", "saving", "reconnecting", "unsaved"]


class Saver:
    """Sends one document's edits.

    `settlement` makes its conflicts, `refresh` reads the document anew where the replica is behind.
    """

    def __init__(
        self,
        name: str,
        replica: Replica,
        context: Context,
        settlement: Settlement,
        refresh: Callable[[], Awaitable[None]],
    ) -> None:
        self.name = name
        self.trouble: PlaitError | None = None
        """Why the server cannot be reached; None: it can, as far as is known."""
        self._replica = replica
        self._context = context
        self._settlement = settlement
        self._refresh = refresh
        self._journal = Journal(name, replica, context.outbox)
        self._delivery = Delivery(name, context, refresh)
        self.entries = Entries(name, context, self._journal, self._store)
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._losses = 0
        self._is_stale = False
        self._sending: str | None = None
        self._echo: Saved | None = None
        self._thawed: str | None = None

    @property
    def state(self) -> SyncState:
        """What to tell the person who types."""
        if not self.entries:
            is_kept = any(each.document == self.name for each in self._context.unsaved.failed())
            return "unsaved" if is_kept else "saved"
        if self.trouble is None:
            return "saving"
        is_offline = not isinstance(self.trouble, Forbidden | OutboxFull | OutboxUnusable)
        return "reconnecting" if is_offline else "unsaved"

    # Edits come in

    def enter(self, edit: Edit, **how: Any) -> Entry:
        """Show an edit, and have it kept and sent; the entry tells what becomes of it, `how` is as there.

        Raises what the replica refuses; nothing has changed then.
        """
        self._replica.edit(edit)
        entry = self.entries.add(edit, **how)
        if self._context.outbox is None:
            entry.kept.set_result(None)
            self.go_on()
        else:
            self._journal.add_new(edit.key)
            if self._task is None and self._replica.first == edit.key:
                self._replica.next()  # it is kept in the form in which it is sent: one write less
            self._context.begin(self._keep(entry))
        return entry

    def clash(self, edit: Edit, conflict: MergeConflict, **how: Any) -> Entry:
        """Take an edit that the document moved away under: it fails as any other does."""
        entry = self.entries.add(edit, **how)
        entry.kept.set_result(None)
        self.entries.failed(edit, conflict)
        self.entries.store_soon()
        return entry

    def restored(self, stored: Stored) -> None:
        """Go on with what an outbox held; the replica is made of it."""
        self._journal.restored(stored)
        for edit in self._waiting():
            self.entries.restore(edit)
        if stored.state.flight is not None:
            self._delivery.doubt(stored.state.flight.key)
        self.go_on()

    # Others' edits come in

    def heard(self, progress: Progress, landed: Mapping[str, int] | None = None) -> None:
        """Take what a live frame or a fresh copy of the document changed; `landed` tells keys' revisions."""
        for key in progress.saved:
            saved = Saved(outcome="applied", revision=(landed or {}).get(key), key=key)
            if key == self._sending:
                self._echo = saved
            else:
                self.entries.arrived(saved)
        self._take(progress)
        if progress.saved or progress.failed:
            self.entries.store_soon()
        self.go_on()

    def read_again(self) -> None:
        """What was heard makes no sense: have the document read."""
        self._is_stale = True
        self.go_on()

    # The way to the server

    def go_on(self) -> None:
        """See to it that what there is to send is being sent."""
        if self._task is None and self._has_work() and not self._context.is_closed:
            self._task = self._context.begin(self._run())

    def retry_now(self) -> None:
        """Try at once: the server may be reached again."""
        self._woken.set()
        self.go_on()

    async def stop(self) -> None:
        """Stop sending. What is in an outbox stays there; for anything else this is the end."""
        closed = TransportError("The client was closed.", outcome_unknown=self._replica.flight is not None)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.entries.stop_settling()
        if self._context.outbox is None:
            self._give_up(closed)
            return
        with suppress(PlaitError):
            await self._journal.write()  # the last one: what was begun before is done then
        self.entries.stop()

    async def _run(self) -> None:
        try:
            while self._has_work():
                try:
                    await self._step()
                except UNREACHABLE as error:
                    if self._context.outbox is None:
                        self._give_up(error)
                        return
                    await self._hold(error)
                except PlaitError as error:  # the document cannot be read any more: it is not there
                    self._give_up(error)
                    return
                else:
                    self.trouble, self._losses = None, 0
        except Exception as error:
            log.exception("Saving %s failed in a way it should not", self.name)
            self._give_up(TransportError(f"The client failed: {error!r}", outcome_unknown=True))
        finally:
            self._task = None
            if not self._has_work():
                self.trouble, self._losses = None, 0

    def _has_work(self) -> bool:
        return self._replica.behind or self._is_stale or self._first_is_kept()

    def _first_is_kept(self) -> bool:
        """Whether the first edit that is not saved is in the outbox, and may be sent."""
        first = self._replica.first
        return first is not None and self.entries.is_kept(first)

    async def _step(self) -> None:
        """Do the next thing there is to do. Raises UNREACHABLE."""
        replica = self._replica
        if replica.behind or self._is_stale:
            await self._catch_up()
        if not self._first_is_kept():
            return
        flight = replica.flight or replica.next()
        if flight is not None:
            await self._deliver(flight)

    async def _catch_up(self) -> None:
        await self._refresh()
        self._is_stale = False
        if self._replica.behind:
            raise TransportError("The server shows an older revision than it told of.")

    async def _deliver(self, flight: Flight) -> None:
        """Send an edit until it is decided. Raises UNREACHABLE."""
        self._sending = flight.key
        try:
            body = self._journal.body_of(flight)
            await self._journal.write()
            saved = await self._delivery.answer(flight, body)
        except PlaitError as error:
            if self._echo is not None:
                await self._succeed(self._echo)
            else:
                await self._not_saved(flight, error)
        else:
            await self._accepted(saved)
        finally:
            self._sending = self._echo = None

    async def _accepted(self, saved: Saved) -> None:
        assert saved.revision is not None
        replica = self._replica
        self._take(replica.accepted(saved.key, saved.revision, saved.patch, saved.missed, saved.epoch))
        flight = replica.flight
        if flight is not None and flight.key == saved.key:
            return  # it is of another epoch: the document is read, and the edit sent again
        if replica.behind:
            with suppress(PlaitError):  # it is saved, whatever becomes of that
                await self._refresh()
        await self._succeed(saved)

    async def _not_saved(self, flight: Flight, error: PlaitError) -> None:
        """Take the answer that an edit was not saved. Raises UNREACHABLE."""
        if isinstance(error, UNREACHABLE):
            raise error
        if isinstance(error, BaseUnknown):
            await self._rebase(flight, error)
            return
        if isinstance(error, Overlapped | NotFound):
            with suppress(PlaitError):  # who tries again is to begin with what is there now
                await self._refresh()
        if isinstance(error, Overlapped):
            error = self._settlement.of_problem(error, flight.message, flight.key)
        await self._end(flight.key, error)

    async def _rebase(self, flight: Flight, error: BaseUnknown) -> None:
        """Send an edit anew, once, whose base the server does not have (any more). Raises UNREACHABLE."""
        await self._refresh()
        if self._replica.flight is None:
            return  # reading the document told that it is saved
        if flight.key == self._thawed or not self._replica.thaw(flight.key):
            await self._end(flight.key, error)
            return
        self._thawed = flight.key

    async def _hold(self, error: PlaitError) -> None:
        """The server cannot be reached: say so, and wait a while, or until it may be there again."""
        self.trouble = error
        self.entries.queue()
        transport = self._context.transport
        wait_s = full_jitter(RETURN_BASE_S, self._losses, RETURN_CAP_S, transport.uniform)
        self._losses += 1
        self._woken.clear()
        waits = [asyncio.ensure_future(wait) for wait in (self._woken.wait(), transport.sleep(wait_s))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    # The outbox

    async def _keep(self, entry: Entry) -> None:
        """Have an edit written down before it may be sent, or refuse it."""
        key = entry.edit.key
        if not await self._journal.admit(key, lambda error: self._withdraw([entry.edit], lambda: error)):
            await self._store()
            return
        if entry.over.done():
            return
        entry.kept.set_result(None)
        if self.trouble is not None:
            self.entries.queue()
        self.go_on()

    async def _store(self) -> None:
        """Bring the outbox in step, as far as it takes that: what is missing comes with the next write."""
        try:
            await self._journal.write()
        except OutboxFull as error:
            log.info("The outbox is full: %s", error.detail)
        except OutboxUnusable as error:
            log.error("%s", error.detail)

    # What became of an edit

    async def _succeed(self, saved: Saved) -> None:
        self._thawed = None
        if not self._replica.pending:  # else it is written with the next one that is sent
            await self._store()
        self.entries.arrived(saved)

    async def _end(self, key: str, error: PlaitError) -> None:
        """An edit will not be saved as it is; those that stand on it may fail with it."""
        self._thawed = None
        ended = [edit for edit in self._waiting() if edit.key == key]
        self._withdraw(ended, lambda: error)
        await self._store()

    def _give_up(self, error: PlaitError) -> None:
        """Send nothing of what waits. Only the edit in flight can have arrived."""
        flight = self._replica.flight
        waiting = self._waiting()
        self._withdraw(waiting if flight is None else waiting[1:], lambda: _unsent(error))
        if flight is not None:
            self._withdraw(waiting[:1], lambda: error)
        self._is_stale = False
        self.entries.store_soon()

    def _withdraw(self, edits: Iterable[Edit], error: Callable[[], PlaitError]) -> None:
        """Take edits out that will not be sent, the newest first: none of them fails for want of another."""
        withdrawn = [edit for edit in edits if edit.key in self.entries]
        others = [self._replica.refused(edit.key) for edit in reversed(withdrawn)]
        for edit in withdrawn:
            self.entries.failed(edit, error())
        for progress in others:
            self._take(progress)

    def _waiting(self) -> list[Edit]:
        """Give the edits that are not saved, the one in flight first."""
        flight = self._replica.flight
        sent = [] if flight is None else [Edit(flight.key, flight.patch, flight.message, flight.made_at)]
        return [*sent, *self._replica.pending]

    def _take(self, progress: Progress) -> None:
        for failed in progress.failed:
            self.entries.failed(failed.edit, self._settlement.of_failed(failed))


def _unsent(error: PlaitError) -> PlaitError:
    """Say of an edit that it was not sent, because of what befell another; one error for each that waits."""
    unsent = type(error)(error.detail, problem=error.problem, request_id=error.request_id)
    unsent.__cause__ = error
    return unsent
