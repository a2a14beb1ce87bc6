"""One document's edits on their way to the server: in order, one at a time, each until it is decided.

The replica knows what to send and what to show; the saver sends it, keeps the outbox in step, and tells
those who wait. A caller that is cancelled takes nothing back: an edit that was entered goes its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from plait_client import request
from plait_client.conflict import MergeConflict
from plait_client.context import Context
from plait_client.edit import Edit, Flight
from plait_client.errors import (
    BaseUnknown,
    DeadlineExceeded,
    Forbidden,
    Overlapped,
    PlaitError,
    RateLimited,
    RetryQuotaSpent,
    TransportError,
)
from plait_client.events import Settled
from plait_client.outbox import Stored
from plait_client.replica import Progress, Replica
from plait_client.resolvers import Resolver, decide
from plait_client.retry import full_jitter
from plait_client.saved import Saved, saved_of
from plait_client.settlement import Settlement
from plait_client.unsaved import UnsavedEdit
from plait_merge import Json

UNREACHABLE: Final = (TransportError, DeadlineExceeded, RateLimited, RetryQuotaSpent, Forbidden)
RETURN_BASE_S: Final = 0.5
RETURN_CAP_S: Final = 30.0
"""What waits in an outbox is tried again after up to that long, whatever happens."""
SETTLED_BY_RULE_MAX: Final = 5
"""So often a resolver settles one edit that others keep overtaking."""

KEPT_S: Final = 80_000
"""Servers remember keys for a day. An answer that is missing for longer is looked for in the history."""

SyncState: TypeAlias = Literal["saved", "saving", "reconnecting", "unsaved"]


@dataclass(slots=True, eq=False)
class _Entered:
    """An edit of this process: who waits for it, and what settles its conflicts."""

    edit: Edit
    outcome: asyncio.Future[Saved]
    resolver: Resolver | None


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
        self.last: Saved | None = None
        self.trouble: PlaitError | None = None
        """Why the server cannot be reached; None: it can, as far as is known."""
        self._replica = replica
        self._context = context
        self._settlement = settlement
        self._refresh = refresh
        self._entered: dict[str, _Entered] = {}
        self._echoes: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._settling = 0
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._losses = 0
        self._in_step = False
        self._frozen: Stored | None = None
        self._stored_flight: str | None = None
        self._rebased: set[str] = set()
        self._failed: list[UnsavedEdit] = []

    @property
    def state(self) -> SyncState:
        """What to tell the person who types."""
        if self._is_done():
            return "saved"
        if isinstance(self.trouble, Forbidden):
            return "unsaved"
        return "saving" if self.trouble is None else "reconnecting"

    async def enter(self, edit: Edit, resolver: Resolver | None = None) -> asyncio.Future[Saved]:
        """Show an edit, keep it, and have it sent. The future is what becomes of it.

        Raises what the replica refuses, and OutboxFull; nothing has changed then.
        """
        self._replica.edit(edit)
        outcome: asyncio.Future[Saved] = asyncio.get_running_loop().create_future()
        outcome.add_done_callback(_look_at)
        self._entered[edit.key] = _Entered(edit, outcome, resolver)
        self._idle.clear()
        try:
            await self._keep(edit)
        except BaseException:
            del self._entered[edit.key]
            self._take(self._replica.refused(edit.key))
            self._rest()
            raise
        if self.trouble is None:
            self.go_on()
        else:
            self._queue(edit.key)
        return outcome

    def go_on(self) -> None:
        """Send what there is to send, now: the server may be reached (again)."""
        self._woken.set()
        if self._task is None and not self._is_done():
            self._idle.clear()
            self._task = self._context.begin(self._run())

    async def idle(self) -> None:
        """Wait until nothing is on its way any more."""
        await self._idle.wait()

    def heard(self, progress: Progress, landed: Mapping[str, int]) -> None:
        """Take what a live frame or a fresh copy of the document changed; `landed` tells keys' revisions."""
        self._in_step = False
        self._echoes.update({key: landed[key] for key in progress.saved if key in landed})
        self._take(progress)
        if progress.saved or progress.failed:
            self._context.begin(self._store())
        if progress.saved or self.trouble is None:
            self.go_on()

    def restored(self, stored: Stored) -> None:
        """Go on with what an outbox held; the replica is made of it."""
        if stored.body is not None and stored.state.flight is not None:
            self._frozen, self._stored_flight = stored, stored.state.flight.key
        self._in_step = stored.state.flight is None or stored.body is not None
        self.go_on()

    async def stop(self) -> None:
        """Stop sending. What is in an outbox stays there; for anything else this is the end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        gone = TransportError("The client was closed before the edit was saved.", outcome_unknown=True)
        for entered in self._entered.values():
            if not entered.outcome.done():
                entered.outcome.set_exception(gone)
        self._entered.clear()

    async def _run(self) -> None:
        try:
            while not self._is_done():
                try:
                    await self._step()
                except UNREACHABLE as error:
                    if not await self._hold(error):
                        return
                else:
                    self.trouble, self._losses = None, 0
        finally:
            self._task = None
            self._rest()

    async def _step(self) -> None:
        """Do the next thing there is to do. Raises UNREACHABLE."""
        if self._replica.behind:
            await self._refresh()
        flight = self._replica.flight or self._replica.next()
        if flight is not None:
            await self._deliver(flight)

    async def _deliver(self, flight: Flight) -> None:
        """Send an edit until it is decided. Raises UNREACHABLE."""
        body = await self._freeze(flight)
        try:
            saved = await self._found(flight) or saved_of(
                await self._context.transport.send(request.edit(self.name, body, flight.key)), flight.key
            )
        except Overlapped as error:
            await self._end(flight.key, self._settlement.of_problem(error, flight.message, flight.key))
        except BaseUnknown as error:
            await self._rebase(flight, error)
        except UNREACHABLE:
            if flight.key not in self._echoes:
                raise
            await self._succeed(Saved(outcome="applied", revision=self._echoes[flight.key], key=flight.key))
        except PlaitError as error:
            await self._end(flight.key, error)
        else:
            await self._accepted(saved)

    async def _accepted(self, saved: Saved) -> None:
        assert saved.revision is not None
        self._in_step = False
        progress = self._replica.accepted(saved.key, saved.revision, saved.patch, saved.missed, saved.epoch)
        self._take(progress)
        flight = self._replica.flight
        if flight is None or flight.key != saved.key:  # else it is of another epoch: it is sent again
            await self._succeed(saved)

    async def _found(self, flight: Flight) -> Saved | None:
        """Look for an edit in the history that was sent so long ago that its key may be forgotten."""
        if self._frozen is None or self._context.now() - flight.made_at < KEPT_S:
            return None
        cursor: str | None = None
        while True:
            answer = await self._context.transport.send(request.history(self.name, cursor))
            page: Json = answer.json()
            for revision in page["revisions"]:
                if revision["key"] == flight.key:
                    return Saved(
                        outcome="applied", revision=revision["revision"], key=flight.key, missed=None
                    )
                if revision["revision"] <= flight.base:
                    return None
            cursor = page["cursor"]
            if cursor is None:
                return None

    async def _rebase(self, flight: Flight, error: BaseUnknown) -> None:
        """Send an edit anew, once, whose base the server does not have (any more). Raises UNREACHABLE."""
        await self._refresh()
        if flight.key in self._rebased or not self._replica.thaw(flight.key):
            await self._end(flight.key, error)
            return
        self._rebased.add(flight.key)
        self._in_step = False

    async def _hold(self, error: PlaitError) -> bool:
        """The server cannot be reached: without an outbox that is the end, with one a matter of time.

        Says whether to go on.
        """
        flight = self._replica.flight
        if self._context.outbox is None:
            keys = [edit.key for edit in self._replica.pending]
            for key in keys if flight is None else [flight.key, *keys]:
                await self._end(key, error)
            return False
        self.trouble = error
        for key in list(self._entered):
            self._queue(key)
        await self._nap()
        return True

    async def _nap(self) -> None:
        """Wait a while, or until somebody says that the server may be there."""
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

    def _is_done(self) -> bool:
        replica = self._replica
        return replica.flight is None and not replica.pending and not replica.behind

    def _rest(self) -> None:
        if self._task is None and not self._settling:
            self._idle.set()

    # The outbox

    async def _keep(self, edit: Edit) -> None:
        """Store an edit that was entered. Raises OutboxFull."""
        outbox = self._context.outbox
        if outbox is None:
            return
        if self._in_step:
            await outbox.append(self.name, edit)
        else:
            self._in_step = True
            await outbox.save(self.name, self._replica.export())

    async def _freeze(self, flight: Flight) -> bytes:
        """Give the bytes an edit is sent as, always the same, and store them before the first time."""
        if self._stored_flight == flight.key and self._frozen is not None and self._frozen.body is not None:
            return self._frozen.body
        self._frozen = None
        body = request.edit_body(flight.patch, base=flight.base, epoch=flight.epoch, message=flight.message)
        outbox = self._context.outbox
        if outbox is not None and self._stored_flight != flight.key:
            self._stored_flight = flight.key
            if self._in_step:
                await outbox.freeze(self.name, flight, body)
            else:
                self._in_step = True
                await outbox.save(self.name, self._replica.export(), body=body)
        return body

    async def _store(self) -> None:
        """Bring the outbox in step with the replica, and what failed into it."""
        failed, self._failed = self._failed, []
        outbox = self._context.outbox
        if outbox is not None:
            self._in_step = not self._replica.is_idle
            await outbox.save(self.name, self._replica.export(), failed=[each.as_stored() for each in failed])

    # What became of an edit

    def _queue(self, key: str) -> None:
        """Tell who waits that the edit is in the outbox, and that it may take a while."""
        outcome = self._entered[key].outcome
        if not outcome.done():
            self._context.counters.queued += 1
            outcome.set_result(Saved(outcome="queued", key=key))

    async def _succeed(self, saved: Saved) -> None:
        self.last = saved
        counters = self._context.counters
        counters.saved += 1
        counters.merged += saved.outcome == "merged"
        counters.noop += saved.outcome == "noop"
        self._echoes.pop(saved.key, None)
        self._rebased.discard(saved.key)
        await self._store()
        self._tell(self._entered.pop(saved.key, None), saved)
        self._context.events.settled(Settled(self.name, saved.key, saved.outcome, saved.revision))

    async def _end(self, key: str, error: PlaitError) -> None:
        """An edit will not be saved as it is."""
        self._in_step = False
        edit = self._edit(key)
        self._take(self._replica.refused(key))
        self._fail(edit, error)
        await self._store()

    def _edit(self, key: str) -> Edit:
        flight = self._replica.flight
        if flight is not None and flight.key == key:
            return Edit(key, flight.patch, flight.message, flight.made_at)
        return next(edit for edit in self._replica.pending if edit.key == key)

    def _take(self, progress: Progress) -> None:
        for failed in progress.failed:
            self._fail(failed.edit, self._settlement.of_failed(failed))

    def _fail(self, edit: Edit, error: PlaitError) -> None:
        """Hand an edit to what settles it by rule, to who waits for it, or to what is unsaved."""
        entered = self._entered.pop(edit.key, None)
        waited_for = entered is not None and not entered.outcome.done()
        counters = self._context.counters
        if isinstance(error, MergeConflict):
            counters.conflicts += 1
            if entered is not None and entered.resolver is not None:
                self._keep_unsaved(edit, error)
                self._settling += 1
                self._context.begin(self._settle(entered, error, entered.resolver))
                return
            self._context.events.conflict(error)
            if self._context.outbox is not None or not waited_for:
                self._keep_unsaved(edit, error)
        else:
            counters.refused += 1
            if not waited_for:
                self._keep_unsaved(edit, error)
        self._tell(entered, error)
        self._context.events.settled(
            Settled(self.name, edit.key, "conflict" if isinstance(error, MergeConflict) else "refused")
        )

    def _keep_unsaved(self, edit: Edit, error: PlaitError) -> None:
        unsaved = UnsavedEdit(self.name, edit.key, edit.patch, edit.message, edit.made_at, error)
        self._context.unsaved.add(unsaved)
        self._failed.append(unsaved)

    async def _settle(self, entered: _Entered, conflict: MergeConflict, resolver: Resolver) -> None:
        """Let a resolver decide, as often as others are faster. What it leaves open is a conflict."""
        try:
            for _ in range(SETTLED_BY_RULE_MAX):
                if not await decide(conflict, resolver):
                    break
                try:
                    saved = await conflict.save()
                except MergeConflict as again:
                    conflict = again
                    continue
                self._tell(entered, saved)
                return
            self._context.events.conflict(conflict)
            self._tell(entered, conflict)
        except Exception as error:  # the resolver's own mistakes, too, belong to whoever waits
            self._tell(entered, error)
        finally:
            self._settling -= 1
            self._rest()

    def _tell(self, entered: _Entered | None, outcome: Saved | Exception) -> None:
        if entered is None or entered.outcome.done():
            return
        if isinstance(outcome, Saved):
            entered.outcome.set_result(outcome)
        else:
            entered.outcome.set_exception(outcome)


def _look_at(outcome: asyncio.Future[Saved]) -> None:
    """Nobody has to wait: what is not waited for is kept as unsaved."""
    if not outcome.cancelled():
        outcome.exception()
