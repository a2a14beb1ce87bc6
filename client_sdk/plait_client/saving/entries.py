"""The edits of one document that are on their way, and where each of them ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from plait_client.conflict import MergeConflict
from plait_client.context import Context
from plait_client.errors import PlaitError, TransportError
from plait_client.events import Settled
from plait_client.replica.edit import Edit
from plait_client.resolvers import Resolver
from plait_client.saved import Saved
from plait_client.saving.entry import Entry
from plait_client.saving.journal import Journal
from plait_client.settlement import settle_by_rule
from plait_client.unsaved import UnsavedEdit

log = logging.getLogger(__name__)


class Entries:
    """What is told of the edits of one document, each to its end: saved, or failed for good.

    An edit that fails goes to what settles it by rule, to who waits for it, or to what is unsaved: one of
    these, always. `store` brings the outbox in step.
    """

    def __init__(
        self, name: str, context: Context, journal: Journal, store: Callable[[], Awaitable[None]]
    ) -> None:
        self.name = name
        self.last: Saved | None = None
        self._context = context
        self._journal = journal
        self._store = store
        self._entries: dict[str, Entry] = {}
        self._settling: dict[Entry, asyncio.Task[None]] = {}

    def __bool__(self) -> bool:
        return bool(self._entries or self._settling)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def add(self, edit: Edit, **how: Any) -> Entry:
        """Take an edit; `how` is what an `Entry` takes."""

        def unheard(error: PlaitError) -> None:
            self._keep_unsaved(edit, error)
            self.store_soon()

        entry = self._entries[edit.key] = Entry(edit, unheard, **how)
        return entry

    def restore(self, edit: Edit) -> None:
        """Take an edit that an earlier process made."""
        entry = self.add(edit)
        entry.kept.set_result(None)
        entry.tell(Saved(outcome="queued", key=edit.key))

    def is_kept(self, key: str) -> bool:
        """Whether an edit may be sent."""
        entry = self._entries.get(key)
        return entry is not None and entry.kept.done()

    def store_soon(self) -> None:
        if self._context.outbox is not None:
            self._context.begin(self._store_now())

    async def over(self) -> None:
        """Wait until all that was taken so far is saved, or has failed."""
        waits = [entry.over for entry in (*self._entries.values(), *self._settling)]
        if waits:
            await asyncio.wait(waits)

    def queue(self) -> None:
        """Tell who waits that their edits are in the outbox, and that it may take a while."""
        for entry in self._entries.values():
            if entry.kept.done() and not entry.told.done():
                self._context.counters.queued += 1
                entry.tell(Saved(outcome="queued", key=entry.edit.key))

    def arrived(self, saved: Saved) -> None:
        """An edit is saved."""
        self.noted(saved)
        entry = self._entries.pop(saved.key, None)
        if entry is not None:
            entry.tell(saved)
            entry.finish()

    def noted(self, saved: Saved) -> None:
        """Count and tell of a write that was saved, whichever way it went."""
        self.last = saved
        counters = self._context.counters
        counters.saved += 1
        counters.merged += saved.outcome == "merged"
        counters.noop += saved.outcome == "noop"
        self._context.events.settled(Settled(self.name, saved.key, saved.outcome, saved.revision))

    def failed(self, edit: Edit, error: PlaitError) -> None:
        """An edit will not be saved as it is."""
        entry = self._entries.pop(edit.key)
        if entry.if_failed is not None:
            entry.if_failed()
        if not isinstance(error, MergeConflict):
            self._context.counters.refused += 1
            self._end(entry, edit, error)
            return
        self._context.counters.conflicts += 1
        error.draft = entry.draft
        if entry.resolver is None:
            self._end(entry, edit, error)
        else:
            self._keep_unsaved(edit, error)
            job = self._settle(entry, edit, error, entry.resolver)
            self._settling[entry] = self._context.begin(job, entry.surrounding)

    async def stop_settling(self) -> None:
        """Settle nothing more: what is not settled yet is kept."""
        for task in self._settling.values():
            task.cancel()
        await asyncio.gather(*self._settling.values(), return_exceptions=True)
        for entry in self._settling:  # those that had not even begun
            entry.tell(TransportError("The client was closed; the conflict is kept."))
            entry.finish()
        self._settling.clear()

    def stop(self) -> None:
        """Wait for nothing more: what is here is in the outbox."""
        for entry in self._entries.values():
            entry.tell(Saved(outcome="queued", key=entry.edit.key))
            entry.finish()

    def _end(self, entry: Entry, edit: Edit, error: PlaitError) -> None:
        """It is over with an edit: tell everybody."""
        is_conflict = isinstance(error, MergeConflict)
        is_stored = is_conflict and self._context.outbox is not None
        if is_stored or not entry.is_waited_for:
            self._keep_unsaved(edit, error)
        if is_conflict:
            self._context.events.conflict(error)
        entry.tell(error)
        entry.finish()
        outcome = "conflict" if is_conflict else "refused"
        self._context.events.settled(Settled(self.name, edit.key, outcome))

    def _keep_unsaved(self, edit: Edit, error: PlaitError) -> None:
        unsaved = UnsavedEdit(self.name, edit.key, edit.patch, edit.message, edit.made_at, error)
        self._context.unsaved.add(unsaved)
        self._journal.add_failed(unsaved)

    async def _settle(self, entry: Entry, edit: Edit, conflict: MergeConflict, resolver: Resolver) -> None:
        """Let a resolver decide; what it leaves open is a conflict like any other."""
        try:
            await self._store()
            saved = await settle_by_rule(conflict, resolver)
        except MergeConflict as left:
            if entry.is_waited_for and self._context.outbox is None:
                await self._context.unsaved.discard(edit.key)
            self._end(entry, edit, left)
        except asyncio.CancelledError:
            entry.tell(conflict)
            raise
        except Exception as error:  # the resolver's own mistakes, too, belong to whoever waits
            if not entry.is_waited_for:
                log.exception("A resolver failed for an edit of %s; its conflict is kept", self.name)
            self._context.events.conflict(conflict)
            entry.tell(error)
        else:
            entry.tell(saved)
        finally:
            self._settling.pop(entry, None)
            entry.finish()

    async def _store_now(self) -> None:
        await self._store()
