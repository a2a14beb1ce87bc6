"""One document: what it is now, and every way to change it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from plait_client import request
from plait_client.changes import Change, Changes, Revision, read_history
from plait_client.conflict import MergeConflict
from plait_client.context import Context
from plait_client.draft import draft_of
from plait_client.edit import Edit, Patch
from plait_client.errors import (
    DeadlineExceeded,
    Deleted,
    InvalidPatch,
    NotFound,
    Overlapped,
    PlaitError,
    PreconditionFailed,
    TransportError,
)
from plait_client.follower import Event, Moved, Replaced
from plait_client.outbox import Stored
from plait_client.replica import Replica
from plait_client.resolvers import Resolver, decide
from plait_client.saved import Saved, saved_of
from plait_client.saver import Saver, SyncState
from plait_client.settlement import Settlement
from plait_client.transport import Answer, Request
from plait_client.undo import Done, UndoStack
from plait_client.unsaved import UnsavedEdit
from plait_merge import (
    ABSENT,
    Absent,
    Conflicted,
    Inapplicable,
    InvalidValue,
    Json,
    LimitExceeded,
    MalformedPatch,
    Rebased,
    diff,
    rebase,
)
from plait_merge.pointer import array_index, parse_pointer

_UNFIT = (Inapplicable, InvalidValue, LimitExceeded, MalformedPatch)


class Document:
    """A document as this client has it. `AsyncPlait.doc` opens one; it stays the same object.

    What is shown is what the server has confirmed with your own edits on top, so an edit is there as soon as
    it is made. Others' edits arrive with every save of yours, by `refresh`, and by themselves while somebody
    iterates over `changes` or where the document was opened with `live=True`.
    """

    def __init__(self, name: str, replica: Replica, context: Context) -> None:
        self.name = name
        self._replica = replica
        self._context = context
        self._settlement = Settlement(name, context.transport, context.unsaved, self._learn, self._save_on)
        self._saver = Saver(name, replica, context, self._settlement, self.refresh)
        self._changes = Changes(name, replica, context, self._hear)
        self._undo = UndoStack()
        self._strictly = asyncio.Lock()
        self._written: tuple[int, str | None, str | None] = (0, None, None)

    def __repr__(self) -> str:
        return f"<Document {self.name} at revision {self.revision}, {self.sync_state}>"

    # What it is

    @property
    def value(self) -> Json | Absent:
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
        return self._saver.last

    @property
    def pending(self) -> tuple[Edit, ...]:
        """Your edits that are shown and not saved yet, the oldest first."""
        flight = self._replica.flight
        if flight is None:
            return self._replica.pending
        sent = Edit(flight.key, flight.patch, flight.message, flight.made_at)
        return (sent, *self._replica.pending)

    @property
    def sync_state(self) -> SyncState:
        """ "saved", "saving", "reconnecting" (your edits wait in the outbox) or "unsaved" (the server refuses
        who you are; they wait, too)."""
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
                await self._saver.idle()
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
        patch = self._difference(view, draft)
        try:
            await self._save(view, patch, message, on_conflict, wait)
        except MergeConflict as conflict:
            conflict.draft = draft
            raise

    async def patch(
        self,
        patch: Patch,
        *,
        base: int | None = None,
        message: str | None = None,
        on_conflict: Resolver | None = None,
        wait: bool = True,
    ) -> Saved:
        """Save a JSON Patch, made on what is shown, or on revision `base`. O(edit). Raises as `edit` does,
        TestFailed too."""
        if base is None or (base == self.revision and not self.pending):
            return await self._save(self._existing(), patch, message, on_conflict, wait)
        await self.saved()
        confirmed = self._replica.confirmed
        body = request.edit_body(patch, base=base, epoch=confirmed.epoch, message=message)
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
        return await self._save(
            view, [{"op": op, "path": pointer, "value": value}], message, on_conflict, wait
        )

    async def remove(
        self,
        pointer: str,
        *,
        message: str | None = None,
        on_conflict: Resolver | None = None,
        wait: bool = True,
    ) -> Saved:
        """Remove a member or an element. O(edit). Raises as `edit` does."""
        return await self._save(
            self._existing(), [{"op": "remove", "path": pointer}], message, on_conflict, wait
        )

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
        that is not there is created. Raises PreconditionFailed and as `edit` does.
        """
        if if_match is None and self.exists:
            view = self._existing()
            return await self._save(view, self._difference(view, value), message, on_conflict, wait=True)
        await self.saved()
        if if_match is None or if_match == "missing":
            condition = {"If-None-Match": "*"}
        else:
            condition = {"If-Match": f'"{if_match}"' if isinstance(if_match, int) else if_match}
        return await self._decided(self._put(value, condition), message, on_conflict)

    async def delete(self, *, if_match: int | str | None = None) -> Saved:
        """Delete the document; its history stays. Raises MergeConflict where others changed it since, and
        PreconditionFailed if `if_match` (a revision or an entity tag) is not what is there."""
        await self.saved()
        if if_match is None:
            confirmed = self._replica.confirmed
            condition = {"Plait-Base": str(confirmed.revision)}
        else:
            condition = {"If-Match": f'"{if_match}"' if isinstance(if_match, int) else if_match}
        return await self._decided(request.delete(self.name, condition), None, None)

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
                view = self._existing()
                draft = draft_of(view)
                change(draft)
                patch = self._difference(view, draft)
                if not patch:
                    return self._nothing_to_save()
                strict = request.strict_edit(self.name, patch, confirmed.revision, message)
                try:
                    answer = await transport.send(strict, deadline_s=max(0.0, deadline - transport.clock()))
                except PreconditionFailed as error:
                    wait_s = retry.contention_wait_s(attempt, transport.uniform)
                    if transport.clock() + wait_s >= deadline:
                        raise DeadlineExceeded(f"Others were faster {attempt} times.") from error
                    await transport.sleep(wait_s)
                    await self.refresh()
                else:
                    self._saver.last = await self._learn(answer)
                    return self._saver.last
        raise AssertionError("unreachable")

    # Undo and redo

    async def undo(self, *, on_conflict: Resolver | None = None) -> Saved | None:
        """Take your last edit back, keeping everything that came after it; None: there is none.

        The last hundred edits of this object can be taken back, one by one. Raises as `edit` does.
        """
        return await self._back(self._undo.undoable, self._undo.redoable, "Undo", on_conflict)

    async def redo(self, *, on_conflict: Resolver | None = None) -> Saved | None:
        """Take your last undo back; None: there is none, or you made another edit since."""
        return await self._back(self._undo.redoable, self._undo.undoable, "Redo", on_conflict)

    async def _back(
        self, source: Any, target: Any, message: str, on_conflict: Resolver | None
    ) -> Saved | None:
        if not source:
            return None
        done: Done = source.pop()
        view = self._existing()
        found = done.inverse_on(view)
        if not isinstance(found, Rebased):
            source.append(done)
            if isinstance(found, Conflicted):
                return await self._clash(
                    self._settlement.of_engine(found, view, message=message), on_conflict
                )
            raise InvalidPatch(f"It cannot be taken back any more: {found}.") from None
        try:
            saved = await self._save(view, found.patch, message, on_conflict, wait=True, is_new=False)
        except MergeConflict:
            source.append(done)
            raise
        target.append(Done(view, found.patch))
        return saved

    # Reading

    async def refresh(self) -> None:
        """Read the document as it is now. Raises NotFound where there never was one, and as any request."""
        replica = self._replica
        known = None if replica.behind or not self.revision or not self.exists else self.etag
        try:
            answer = await self._context.transport.send(request.read(self.name, known))
        except Deleted as error:
            revision = (error.problem or {}).get("revision")
            if not isinstance(revision, int):
                raise
            self._saver.heard(replica.reset(revision, ABSENT, replica.confirmed.epoch), {})
            return
        if answer.status != 304:
            self._took(answer)

    def changes(self, since: int | None = None) -> AsyncIterator[Change]:
        """Iterate over what happens to the document after a revision, from now on if None; it never ends.

        Each revision comes exactly once, in order, however often the connection is lost. `value` has moved
        already when a change comes. Raises NotFound or Forbidden where that ends it.
        """
        return self._changes.read(since)

    async def history(self, pointer: str = "") -> AsyncIterator[Revision]:
        """Iterate over the revisions, newest first; with a pointer, those that touched that place.

        Indices of arrays are taken as they were at each revision.
        """
        place = parse_pointer(pointer)
        async for revision in read_history(self._context.transport, self.name):
            if not place or _touches(revision.patch, place):
                yield revision

    # Inside

    def _existing(self) -> Json:
        if isinstance(self._replica.shown, Absent):
            if self.revision:
                raise Deleted(f"{self.name} is deleted.")
            raise NotFound(f"{self.name} is not there yet: put a value.")
        return self._replica.shown

    def _difference(self, view: Json, value: Json) -> Patch:
        try:
            return diff(view, value)
        except (LimitExceeded, TypeError, AttributeError) as error:
            raise InvalidPatch(f"That is no JSON value for a document: {error}.") from error

    async def _save(
        self,
        view: Json | Absent,
        patch: Patch,
        message: str | None,
        resolver: Resolver | None,
        wait: bool,
        is_new: bool = True,
    ) -> Saved:
        """Save a patch that was made on `view`, which was shown a moment ago."""
        if not patch:
            return self._nothing_to_save()
        shown = self._replica.shown
        if shown is not view:
            moved = rebase(view, [diff(view, shown)], patch)
            if isinstance(moved, Conflicted):
                conflict = self._settlement.of_engine(moved, shown, message=message)
                return await self._clash(conflict, resolver)
            if not isinstance(moved, Rebased):
                raise InvalidPatch(str(moved))
            patch = moved.patch
        edit = Edit(request.new_key(), patch, message, self._context.now())
        try:
            outcome = await self._saver.enter(edit, resolver)
        except _UNFIT as error:
            raise InvalidPatch(f"The edit does not fit the document: {error}.") from error
        if is_new:
            self._undo.did(Done(shown, patch))
        if not wait:
            return Saved(outcome="pending", key=edit.key)
        return await asyncio.shield(outcome)

    async def _save_on(self, view: Json | Absent, patch: Patch, message: str | None) -> Saved:
        return await self._save(view, patch, message, None, wait=True)

    def _nothing_to_save(self) -> Saved:
        self._saver.last = Saved(outcome="noop", revision=self.revision)
        return self._saver.last

    async def _clash(self, conflict: MergeConflict, resolver: Resolver | None) -> Saved:
        """Let a resolver settle a conflict, or raise it."""
        self._context.counters.conflicts += 1
        while resolver is not None and await decide(conflict, resolver):
            try:
                return await conflict.save()
            except MergeConflict as again:
                conflict = again
        self._context.events.conflict(conflict)
        raise conflict

    def _put(self, value: Json, condition: dict[str, str]) -> Request:
        try:
            return request.put(self.name, value, condition)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidPatch(f"That is no JSON value for a document: {error}.") from error

    async def _decided(self, write: Request, message: str | None, resolver: Resolver | None) -> Saved:
        """Send a write that does not wait in line, and take its answer in."""
        try:
            answer = await self._context.transport.send(write)
        except Overlapped as error:
            return await self._clash(self._settlement.of_problem(error, message), resolver)
        self._saver.last = await self._learn(answer)
        return self._saver.last

    async def _learn(self, answer: Answer) -> Saved:
        """Take the answer to a write that was not in line."""
        replica = self._replica
        if answer.status == 204:
            revision = answer.revision or self.revision
            self._saver.heard(replica.reset(revision, ABSENT, replica.confirmed.epoch), {})
            return Saved(outcome="deleted", revision=revision, attempts=answer.attempts)
        saved = saved_of(answer)
        assert saved.revision is not None
        if saved.outcome == "created" and saved.epoch is not None:
            progress = replica.reset(saved.revision, saved.patch[0]["value"], saved.epoch)
        else:
            progress = replica.learned(saved.revision, saved.patch, saved.missed, saved.epoch)
        self._saver.heard(progress, {})
        if replica.behind:
            await self.refresh()
        return saved

    def _took(self, answer: Answer) -> None:
        """Take a fresh copy of the document."""
        if answer.revision is None or "Plait-Epoch" not in answer.headers:
            raise TransportError("The answer does not say what revision it is.")
        revision, headers = answer.revision, answer.headers
        self._note(revision, headers.get("Plait-Author"), headers.get("Plait-At"))
        self._saver.heard(self._replica.reset(revision, answer.json(), headers["Plait-Epoch"]), {})

    def _note(self, revision: int, author: str | None, at: str | None) -> None:
        """Note who wrote a revision, and when."""
        self._written = (revision, author, at)

    def _hear(self, event: Event) -> None:
        """Take what is told live."""
        if isinstance(event, Moved):
            newest = event.parts[-1]
            self._note(newest.rev, newest.author, newest.at)
            progress = self._replica.received(event.prev, event.revision, event.patch, event.parts)
            self._saver.heard(progress, {part.key: part.rev for part in event.parts if part.key})
        elif isinstance(event, Replaced):
            self._saver.heard(self._replica.reset(event.revision, event.value, event.epoch), {})

    def _restored(self, stored: Stored) -> None:
        """Go on with what an outbox held."""
        self._saver.restored(stored)

    def _go_on(self) -> None:
        self._saver.go_on()

    def _follow(self) -> None:
        self._changes.keep_open()

    async def _close(self) -> None:
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


def _touches(patch: Patch, place: tuple[str, ...]) -> bool:
    """Tell whether a patch is about a place: at it, above it or inside it."""
    for operation in patch:
        for member in ("path", "from"):
            at = parse_pointer(operation[member]) if member in operation else None
            if at is not None and at[: len(place)] == place[: len(at)]:
                return True
    return False
