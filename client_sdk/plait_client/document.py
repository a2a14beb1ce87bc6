"""One document: what it is now, and every way to change it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from itertools import count
from typing import Any

from plait_client.changes import Change, Changes
from plait_client.conflict import MergeConflict
from plait_client.context import Context
from plait_client.draft import UNFIT, changed, draft_of, own_patch, own_value, unfit
from plait_client.errors import (
    BaseUnknown,
    DeadlineExceeded,
    Deleted,
    InvalidPatch,
    NotFound,
    Overlapped,
    PlaitError,
    PreconditionFailed,
    TransportError,
)
from plait_client.history import History, Label, Leaf, Revision, Version
from plait_client.lease import TTL_S, Lease, Leases, Lock
from plait_client.live.follower import Event, Moved, Replaced
from plait_client.operation import Operation, submit
from plait_client.replica.drift import ACCEPTED, between
from plait_client.replica.edit import Edit, Patch
from plait_client.replica.replica import Progress, Replica
from plait_client.resolvers import Resolver
from plait_client.saved import Saved, saved_of
from plait_client.saving.records import Stored
from plait_client.saving.saver import Saver, SyncState
from plait_client.settlement import Settlement, settle_by_rule
from plait_client.undo import Done, UndoStack
from plait_client.unsaved import UnsavedEdit
from plait_client.wire import request
from plait_client.wire.transport import Answer, Request
from plait_merge import ABSENT, Absent, Conflicted, Inapplicable, Json, Rebased, apply, rebase
from plait_merge.pointer import array_index, parse_pointer


class Document:
    """A document as this client has it. `AsyncPlait.doc` opens one; it stays the same object.

    What is shown is what the server has confirmed with your own edits on top, so an edit is there as soon as
    it is made. Others' edits arrive with every save of yours, by `refresh`, and by themselves while somebody
    iterates over `changes` or where the document was opened with `live=True`.
    """

    def __init__(self, name: str, replica: Replica, context: Context) -> None:
        self._name = name
        self._replica = replica
        self._context = context
        self._leases = Leases(name, context, self.refresh, self.saved)
        self._settlement = Settlement(
            name, context.transport, context.unsaved, self._learn, self._save_on, self._leases.current
        )
        self._saver = Saver(name, replica, context, self._settlement, self.refresh)
        self._changes = Changes(name, replica, context, self._hear, self.refresh)
        self._history = History(name, context.transport)
        self._undo = UndoStack()
        self._strictly = asyncio.Lock()
        self._written: tuple[int, str | None, str | None] = (0, None, None)

    def __repr__(self) -> str:
        return f"<Document {self.name} at revision {self.revision}, {self.sync_state}>"

    # What it is

    @property
    def name(self) -> str:
        return self._name

    @property
    def value(self) -> Json:
        """The document as it is shown; ABSENT where it is deleted, or not there yet.

        It is shared with what will be shown later: do not change it, use `edit`.
        """
        return self._replica.shown

    @property
    def exists(self) -> bool:
        return self._replica.shown is not ABSENT

    @property
    def revision(self) -> int:
        """The newest revision that is known here; your edits that are not saved are on top of it."""
        return self._replica.confirmed.revision

    @property
    def etag(self) -> str:
        """The entity tag of that revision, for If-Match."""
        return f'"{self.revision}"'

    @property
    def author(self) -> str | None:
        """Who wrote that revision; None where that was not told, as after a save of your own."""
        return self._written[1] if self._written[0] == self.revision else None

    @property
    def updated_at(self) -> str | None:
        """When it was written, as RFC 3339; None where that was not told."""
        return self._written[2] if self._written[0] == self.revision else None

    # Whether it is saved

    @property
    def last_save(self) -> Saved | None:
        """What became of the last edit that was saved."""
        return self._saver.entries.last

    @property
    def pending(self) -> tuple[Edit, ...]:
        """Your edits that are shown and not saved yet, the oldest first."""
        flight = self._replica.flight
        if flight is None:
            return self._replica.pending
        sent = Edit(flight.key, flight.patch, flight.message, flight.made_at, flight.hold)
        return (sent, *self._replica.pending)

    @property
    def sync_state(self) -> SyncState:
        """ "saved", "saving", "reconnecting" (your edits wait in the outbox) or "unsaved" (they wait because
        the server refuses who you are, or for a decision of yours: see `unsaved`)."""
        return self._saver.state

    @property
    def trouble(self) -> PlaitError | None:
        """Why the server cannot be reached; None: it can, as far as is known."""
        return self._saver.trouble

    @property
    def unsaved(self) -> tuple[UnsavedEdit, ...]:
        """Edits that are not in the document and wait for a decision: conflicts, refusals."""
        return tuple([each for each in self._context.unsaved.failed() if each.document == self.name])

    async def saved(self, timeout_s: float | None = None) -> None:
        """Wait until everything typed so far is saved, or has failed (see `unsaved`).

        Raises DeadlineExceeded after `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._saver.entries.over()
        except TimeoutError as error:
            raise DeadlineExceeded(f"{len(self.pending)} edits of {self.name} are not saved.") from error

    # Editing by merge

    @asynccontextmanager
    async def edit(
        self, *, message: str | None = None, on_conflict: Resolver | None = None, wait: bool = True
    ) -> AsyncGenerator[Any]:
        """Change a plain copy of the document; on leaving, what changed is saved, merged with others' edits.

        An exception inside discards the copy; without a change nothing is sent. With `wait=False` leaving
        does not wait: what goes wrong is then told to `on_conflict`, the client's listeners and `unsaved`.

        Raises MergeConflict (with `draft`, your copy) where others changed the same places, unless a resolver
        decides; InvalidPatch for what is no JSON or beyond a limit; Deleted, NotFound; TransportError,
        DeadlineExceeded, RateLimited, RetryQuotaSpent where the server cannot be reached and there is no
        outbox: the edit is then given up, and `outcome_unknown` says if it may have arrived. Costs a copy
        and a comparison of the document; `set` and `patch` cost what the edit does.
        """
        view = self._existing()
        draft = draft_of(view)
        yield draft
        await self._save(view, changed(view, draft), message, on_conflict, wait, draft)

    async def patch(
        self,
        patch: Patch,
        *,
        base: int | None = None,
        message: str | None = None,
        on_conflict: Resolver | None = None,
        wait: bool = True,
    ) -> Saved:
        """Save a JSON Patch, made on what is shown, or on revision `base`. O(edit).

        Raises as `edit` does, TestFailed too. Made on an older revision it goes straight to the server, after
        what is pending, and never to the outbox; BaseUnknown where the server has no such revision.
        """
        patch = own_patch(patch)
        if base is None or (base == self.revision and not self.pending):
            return await self._save(self._existing(), patch, message, on_conflict, wait)
        await self._all_sent()
        body = self._body(patch, base, message)
        return await self._decided(request.edit(self.name, body, request.new_key()), message, on_conflict)

    async def set(
        self,
        pointer: str,
        value: Json,
        *,
        message: str | None = None,
        on_conflict: Resolver | None = None,
        wait: bool = True,
    ) -> Saved:
        """Set one place: a member that is new or there, an element that is there, or "-" for the end of an
        array. O(edit). Raises as `edit` does, ValueError for what is no pointer."""
        view = self._existing()
        op = "replace" if _is_there(view, pointer) else "add"
        patch = own_patch([{"op": op, "path": pointer, "value": value}])
        return await self._save(view, patch, message, on_conflict, wait)

    async def remove(
        self,
        pointer: str,
        *,
        message: str | None = None,
        on_conflict: Resolver | None = None,
        wait: bool = True,
    ) -> Saved:
        """Remove a member or an element. O(edit). Raises as `edit` does."""
        patch = own_patch([{"op": "remove", "path": pointer}])
        return await self._save(self._existing(), patch, message, on_conflict, wait)

    async def inc(
        self,
        pointer: str,
        by: int | float = 1,
        *,
        message: str | None = None,
        on_conflict: Resolver | None = None,
    ) -> Saved:
        """Add to a number, whatever others add to it meanwhile: all of it counts, and nobody tries again.

        Goes straight to the server, after what is pending; it is shown once it is saved. Raises InvalidPatch
        where there is no number, MergeConflict where others removed it since, and as any request does.
        """
        self._existing()
        patch = [{"op": "inc", "path": pointer, "value": own_value(by)}]
        await self._all_sent()
        body = self._body(patch, self.revision, message)
        return await self._decided(request.edit(self.name, body, request.new_key()), message, on_conflict)

    async def put(
        self,
        value: Json,
        *,
        if_match: int | str | None = None,
        message: str | None = None,
        on_conflict: Resolver | None = None,
    ) -> Saved:
        """Make the document this value.

        What differs from what is shown is merged with others' edits, as `edit` does. With `if_match` nothing
        is merged: a revision or an entity tag insists on it, "missing" on there being no document. A document
        that is not there is created, if nobody else does so first. These two go straight to the server, after
        what is pending, never to the outbox, and leave no message. Raises PreconditionFailed and as `edit`
        does.
        """
        if if_match is None and self.exists:
            view = self._existing()
            return await self._save(view, changed(view, value), message, on_conflict, wait=True)
        condition = request.only("missing" if if_match is None else if_match)
        write = request.put(self.name, own_value(value), condition, self._leases.current())
        await self._all_sent()
        return await self._decided(write, message, on_conflict)

    async def delete(self, *, if_match: int | str | None = None) -> Saved:
        """Delete the document; its history stays. Goes straight to the server, after what is pending.

        Raises MergeConflict where others changed it since, and PreconditionFailed if `if_match` (a revision
        or an entity tag) is not what is there.
        """
        await self._all_sent()
        confirmed = self._replica.confirmed
        if if_match is None:
            condition = request.since(confirmed.revision, confirmed.epoch)
        else:
            condition = request.only(if_match)
        write = request.delete(self.name, condition, self._leases.current())
        return await self._decided(write, None, None)

    async def submit(
        self, change: Patch | Callable[[Any], object], *, message: str | None = None
    ) -> Operation:
        """Hand an edit in and go on: the server decides it later, those of a document in the order they came.

        `change` is a JSON Patch (with `inc` if need be) made on what is shown, or a function that is run
        once, on a copy of that.
        Once this returns the edit is on the server's disk; it is shown when it is decided and told, by
        `Operation.result` or live. Goes after what is pending. Raises InvalidPatch, and as any request does.
        """
        await self._all_sent()
        view = self._existing()
        if callable(change):
            draft = draft_of(view)
            change(draft)
            patch = changed(view, draft)
        else:
            patch = own_patch(change, extended=True)
        body = self._body(patch, self.revision, message)
        return await submit(self._context, self.name, body, message)

    # Holding it

    @asynccontextmanager
    async def lock(
        self, pointer: str = "", *, ttl_s: float = TTL_S, wait_s: float = 0.0
    ) -> AsyncGenerator[Lease]:
        """Hold a lease on a place, or on all of the document: nobody else changes what is there meanwhile.

        Edits of the document that this task makes inside are made under the lease; others' there raise
        `Locked`, elsewhere in the document they go on. The document is read anew first. The lease renews
        itself three times in each `ttl_s`, and is given back on leaving, after the edits made inside. Where
        it could not be renewed it ends after `ttl_s`: `lease.lost` then, and edits inside raise StaleFence.

        An edit is made under one lease: of several the innermost that it is about. Who changes two places
        at once takes one lease on what is above both.

        Raises Locked (`holder`, `expires`) where a lease overlaps it, also one of your own, after waiting up
        to `wait_s` for its end; ValueError for what is no pointer, NotFound where there is nothing.
        """
        async with self._leases.held(pointer, ttl_s, wait_s) as lease:
            yield lease

    async def locks(self) -> list[Lock]:
        """Read which leases anybody holds on the document."""
        return await self._leases.list()

    # Editing strictly

    async def update(
        self, change: Callable[[Any], object], *, message: str | None = None, deadline_s: float | None = None
    ) -> Saved:
        """Run a function on a copy of the newest value and save what it did, only if nobody was faster.

        Where somebody was, it runs again on fresh data, so what it read is what it changed (serialisable):
        it must be pure. What it returns is ignored. Waits between two runs are drawn from 0 to 10 ms, doubled
        each time, a second at most. Raises DeadlineExceeded after `deadline_s` (that of the client's Retry if
        None), and what any edit raises but MergeConflict.
        """
        transport = self._context.transport
        retry = transport.retry
        deadline = transport.clock() + (retry.deadline_s if deadline_s is None else deadline_s)
        async with self._strictly:
            for attempt in count(1):
                await self.saved(max(0.0, deadline - transport.clock()))
                confirmed = self._replica.confirmed
                view = self._present(confirmed.value)
                draft = draft_of(view)
                change(draft)
                patch = changed(view, draft)
                if not patch:
                    return self._nothing_to_save()
                strict = request.strict_edit(
                    self.name,
                    patch,
                    confirmed.revision,
                    confirmed.epoch,
                    message,
                    self._leases.current(patch),
                )
                try:
                    return await self._write(strict, max(0.0, deadline - transport.clock()))
                except (PreconditionFailed, BaseUnknown) as error:
                    wait_s = retry.contention_wait_s(attempt, transport.uniform)
                    if transport.clock() + wait_s >= deadline:
                        raise DeadlineExceeded(f"Others were faster {attempt} times.") from error
                await transport.sleep(wait_s)
                await self.refresh()
        raise AssertionError("unreachable")

    # Undo and redo

    async def undo(self, *, on_conflict: Resolver | None = None) -> Saved | None:
        """Take your last edit back, keeping everything that came after it; None: there is none.

        The last hundred edits of this object that came to something can be taken back, one by one; not
        creating and deleting the document. Raises as `edit` does.
        """
        return await self._back(self._undo.undoable, "Undo", on_conflict)

    async def redo(self, *, on_conflict: Resolver | None = None) -> Saved | None:
        """Take your last undo back; None: there is none, or you made another edit since."""
        return await self._back(self._undo.redoable, "Redo", on_conflict)

    async def _back(self, source: deque[Done], message: str, resolver: Resolver | None) -> Saved | None:
        if not source:
            return None
        view, done = self._existing(), source[-1]
        found = done.inverse_on(view)
        if isinstance(found, Conflicted):
            edit = self._edit(done.inverse(), message)
            conflict = self._settlement.of_engine(found, edit, done.after, view, self.revision)
            saved = await self._saver.clash(edit, conflict, resolver=resolver).outcome()
            with suppress(ValueError):
                source.remove(done)
            return saved
        if not isinstance(found, Rebased):
            raise InvalidPatch(f"It cannot be taken back any more: {found}.")
        if not found.patch:
            source.pop()
            return self._nothing_to_save()
        return await self._enter(self._edit(found.patch, message), taken=done, resolver=resolver)

    # Reading

    async def refresh(self) -> None:
        """Read the document as it is now. Raises NotFound where there never was one, and as any request."""
        self._context.check_open()
        replica = self._replica
        known = None if replica.behind or not self.revision or not self.exists else self.etag
        try:
            answer = await self._read(known)
        except NotFound as error:
            revision = (error.problem or {}).get("revision") if isinstance(error, Deleted) else 0
            if not isinstance(revision, int):
                raise
            epoch = await self._epoch()
            self._saver.heard(replica.reset(revision, ABSENT, epoch))
            if not isinstance(error, Deleted):
                raise
        else:
            if answer.status != 304:
                self._took(answer)

    def changes(self, since: int | None = None) -> AsyncIterator[Change]:
        """Iterate over what happens to the document after a revision, from now on if None; it never ends.

        Each revision comes exactly once, in order, however often the connection is lost. `value` has moved
        already when a change comes. Raises NotFound or Forbidden where that ends it; closing the client does,
        too.
        """
        self._context.check_open()
        return self._changes.read(self.revision if since is None else since)

    # What it was

    async def history(self, pointer: str = "", *, labelled: bool = False) -> AsyncIterator[Revision]:
        """Iterate over the revisions, newest first; with a pointer, those that touched that place; with
        `labelled=True` those that have labels.

        Indices of arrays are taken as they were at each revision.
        """
        async for revision in self._history.revisions(pointer, labelled):
            yield revision

    async def at(
        self,
        moment: str | datetime | None = None,
        *,
        revision: int | None = None,
        label: str | None = None,
    ) -> Version:
        """Read the document as it was: at a moment (RFC 3339, or a datetime), a revision or a label.

        Raises NotFound where there was no document yet, Deleted where there was none any more, Compacted
        where that is kept no longer; TypeError unless it is said in exactly one way.
        """
        return await self._history.version(moment, revision=revision, label=label)

    async def blame(self, pointer: str = "", *, revision: int | None = None) -> list[Leaf]:
        """Tell who set what: each scalar, `{}` and `[]` at a place and in it, in order of the document, with
        the revision that made it so. What was moved since keeps its author. `revision`: as it was then."""
        return await self._history.blame(pointer, revision)

    async def diff(self, start: int, end: int | None = None) -> Patch:
        """Give a JSON Patch that leads from one revision to another, the newest if None."""
        return await self._history.diff(start, end)

    async def labels(self) -> list[Label]:
        """Read the labels of the document's revisions."""
        return await self._history.labels()

    async def label(self, name: str, revision: int | None = None) -> None:
        """Give a revision a name, the newest known one if None: 1 to 64 of A-Z a-z 0-9 . _ and -.

        A label that is there moves. A labelled revision outlives others where the collection says so.
        Raises ValueError for what is no label.
        """
        await self._history.label(name, self.revision if revision is None else revision)

    async def unlabel(self, name: str) -> None:
        """Take a label away. Raises NotFound where there is none."""
        await self._history.unlabel(name)

    async def revert(
        self,
        *,
        revision: int | None = None,
        revisions: tuple[int, int] | None = None,
        message: str | None = None,
        on_conflict: Resolver | None = None,
    ) -> Saved:
        """Take back what a revision did, whoever made it, or what all of them did from one to another,
        keeping everything that came after. It is a new edit, and can conflict as any other.

        Goes straight to the server, after what is pending. Raises MergeConflict where it was changed since,
        InvalidPatch for what cannot be taken back; TypeError unless exactly one of the two is said.
        """
        if (revision is None) == (revisions is None):
            raise TypeError("say one revision, or the first and the last of some")
        if revisions is not None:
            what = {"from": revisions[0], "through": revisions[1]}
        else:
            what = {"revision": revision or 0}
        return await self._reverted(what, message, on_conflict)

    async def restore(
        self, *, revision: int, message: str | None = None, on_conflict: Resolver | None = None
    ) -> Saved:
        """Make the document what it was at a revision, also where it is deleted now; else as `revert`."""
        return await self._reverted({"to": revision}, message, on_conflict)

    async def _reverted(self, what: dict[str, int], message: str | None, resolver: Resolver | None) -> Saved:
        await self._all_sent()
        write = request.revert(self.name, what, message, self._leases.current())
        return await self._decided(write, message, resolver)

    # Inside: edits that wait in line

    def _existing(self) -> Json:
        return self._present(self._replica.shown)

    def _present(self, value: Json | Absent) -> Json:
        if isinstance(value, Absent):
            if self.revision:
                raise Deleted(f"{self.name} is deleted.")
            raise NotFound(f"{self.name} is not there yet: put a value.")
        return value

    def _edit(self, patch: Patch, message: str | None) -> Edit:
        hold = self._leases.current(patch)
        return Edit(request.new_key(), patch, message, self._context.now(), hold)

    def _body(self, patch: Patch, base: int, message: str | None) -> bytes:
        """Write an edit that does not wait in line."""
        epoch, hold = self._replica.confirmed.epoch, self._leases.current(patch)
        return request.edit_body(patch, base=base, epoch=epoch, message=message, hold=hold)

    async def _save(
        self,
        view: Json | Absent,
        patch: Patch,
        message: str | None,
        resolver: Resolver | None,
        wait: bool,
        draft: Json | Absent = ABSENT,
    ) -> Saved:
        """Save a patch that was made on `view`, which was shown a moment ago, perhaps in a draft."""
        self._context.check_open()
        how: dict[str, Any] = {"resolver": resolver, "waits": wait, "draft": draft}
        shown = self._replica.shown
        if patch and shown is not view:
            found = rebase(view, [between(view, shown)], patch)
            if isinstance(found, Conflicted):
                edit = self._edit(patch, message)
                conflict = self._settlement.of_engine(found, edit, view, shown, self.revision)
                return await self._saver.clash(edit, conflict, **how).outcome()
            if not isinstance(found, Rebased):
                raise unfit(found)
            patch = found.patch
        if not patch:
            return self._nothing_to_save()
        return await self._enter(self._edit(patch, message), **how)

    async def _enter(self, edit: Edit, *, taken: Done | None = None, **how: Any) -> Saved:
        """Have an edit shown and sent; `taken` is what it takes back, `how` is for its entry."""
        done = Done(edit.key, self._replica.shown, edit.patch)

        def if_failed() -> None:
            self._undo.forget(done, taken)

        try:
            entry = self._saver.enter(edit, if_failed=if_failed, **how)
        except UNFIT as error:
            raise unfit(error) from error
        if taken is None:
            self._undo.did(done)
        else:
            self._undo.took_back(taken, done)
        return await entry.outcome()

    async def _save_on(self, view: Json | Absent, patch: Patch, message: str | None) -> Saved:
        return await self._save(view, patch, message, None, wait=True)

    def _nothing_to_save(self) -> Saved:
        self._saver.entries.last = Saved(outcome="noop", revision=self.revision)
        return self._saver.entries.last

    # Inside: writes that go straight to the server

    async def _all_sent(self) -> None:
        """Wait for what is in line, no longer than any request may take."""
        self._context.check_open()
        await self.saved(self._context.transport.retry.deadline_s)

    async def _decided(self, write: Request, message: str | None, resolver: Resolver | None) -> Saved:
        """Send a write that does not wait in line; a resolver may settle its conflict."""
        try:
            return await self._write(write)
        except Overlapped as error:
            return await self._overlapped(error, message, resolver)

    async def _overlapped(self, error: Overlapped, message: str | None, resolver: Resolver | None) -> Saved:
        """Let a resolver settle the conflict of a write that did not wait in line, or raise it."""
        conflict = self._settlement.of_problem(error, message)
        self._context.counters.conflicts += 1
        await self._look_again()
        try:
            if resolver is not None:
                return await settle_by_rule(conflict, resolver)
        except MergeConflict as left:
            conflict = left
        self._context.events.conflict(conflict)
        raise conflict

    async def _look_again(self) -> None:
        """Read the document after a conflict, if that can be: who tries again begins with what is there."""
        with suppress(PlaitError):
            await self.refresh()

    async def _write(self, write: Request, deadline_s: float | None = None) -> Saved:
        """Send a write, and take its answer in."""
        self._context.check_open()
        answer = await self._context.transport.send(write, deadline_s=deadline_s)
        return await self._learn(saved_of(answer, request.key_of(write)))

    async def _learn(self, saved: Saved) -> Saved:
        """Take the result of a write that was not in line."""
        if saved.revision is None:
            raise TransportError("The answer names no revision.", outcome_unknown=True)
        before = self._value_before(saved)
        self._saver.heard(self._learned(saved, saved.revision))
        if before is not ABSENT and saved.patch and saved.outcome in ("applied", "merged"):
            self._undo.did(Done(saved.key, before, saved.patch))
        self._saver.entries.noted(saved)
        if self._replica.behind:
            with suppress(PlaitError):  # it is saved, whatever becomes of that
                await self.refresh()
        return saved

    def _learned(self, saved: Saved, revision: int) -> Progress:
        replica = self._replica
        if saved.outcome == "deleted":
            return replica.reset(revision, ABSENT, replica.confirmed.epoch)
        if saved.outcome == "created" and saved.patch is not None and saved.epoch is not None:
            return replica.reset(revision, apply(ABSENT, saved.patch, ACCEPTED), saved.epoch)
        return replica.learned(revision, saved.patch, saved.missed, saved.epoch)

    def _value_before(self, saved: Saved) -> Json | Absent:
        """Work out what a write was applied to; ABSENT where that is not told."""
        at, value = self.revision, self._replica.confirmed.value
        try:
            for missed in saved.missed or ():
                if missed.revision == at + 1:
                    at, value = missed.revision, apply(value, missed.patch, ACCEPTED)
        except Inapplicable:
            return ABSENT
        return value if at + 1 == saved.revision else ABSENT

    # Inside: what is heard

    async def _read(self, known: str | None) -> Answer:
        """Read the document, unless it is what is known; a revision of another epoch is not."""
        answer = await self._context.transport.send(request.read(self.name, known))
        if answer.status == 304 and answer.headers.get("Plait-Epoch") != self._replica.confirmed.epoch:
            return await self._context.transport.send(request.read(self.name))
        return answer

    async def _epoch(self) -> str:
        """Ask for the epoch, which the server does not name where there is no document."""
        features: Any = (await self._context.transport.send(request.features())).json()
        epoch = features.get("epoch") if isinstance(features, dict) else None
        if not isinstance(epoch, str):
            raise TransportError("The server does not name its epoch.")
        return epoch

    def _took(self, answer: Answer) -> None:
        """Take a fresh copy of the document."""
        if answer.revision is None or "Plait-Epoch" not in answer.headers:
            raise TransportError("The answer does not say what revision it is.")
        revision, headers = answer.revision, answer.headers
        self._note(revision, headers.get("Plait-Author"), headers.get("Plait-At"))
        self._saver.heard(self._replica.reset(revision, answer.json(), headers["Plait-Epoch"]))

    def _note(self, revision: int, author: str | None, at: str | None) -> None:
        """Note who wrote a revision, and when."""
        self._written = (revision, author, at)

    def _hear(self, event: Event) -> None:
        """Take what is told live."""
        if isinstance(event, Moved):
            if event.parts:
                newest = event.parts[-1]
                self._note(newest.rev, newest.author, newest.at)
            try:
                progress = self._replica.received(event.prev, event.revision, event.patch, event.parts)
            except UNFIT:
                self._saver.read_again()
            else:
                self._saver.heard(progress, {part.key: part.rev for part in event.parts if part.key})
        elif isinstance(event, Replaced):
            self._saver.heard(self._replica.reset(event.revision, event.value, event.epoch))

    def _restored(self, stored: Stored) -> None:
        """Go on with what an outbox held."""
        self._saver.restored(stored)

    def _retry_now(self) -> None:
        self._saver.retry_now()

    def _follow(self) -> None:
        self._changes.keep_open()

    async def _close(self) -> None:
        await self._leases.close()
        self._changes.close()
        await self._saver.stop()


def _is_there(value: Json, pointer: str) -> bool:
    """Tell whether something is at a place that `replace` can take."""
    for token in parse_pointer(pointer):
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list) and (index := array_index(token)) is not None and index < len(value):
            value = value[index]
        else:
            return False
    return True
