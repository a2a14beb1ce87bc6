"""What an outbox holds of one document, brought in step with its replica."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile

from plait_client.errors import PlaitError
from plait_client.replica.edit import Edit, Flight, State
from plait_client.replica.replica import Replica
from plait_client.saving.outbox import Outbox, Stored
from plait_client.unsaved import UnsavedEdit
from plait_client.wire import request


class Journal:
    """Writes down the edits of one document; without an outbox it does nothing.

    Each write brings what is stored to what the replica is at that moment, with the failed edits in the same
    transaction; edits that are not admitted yet are left out. It is written whole, unless all that happened
    is that an edit was added, or that the first one is in flight now. Writes happen one after the other;
    after one that failed, or that nobody waited for to its end, the next is whole.
    """

    def __init__(self, name: str, replica: Replica, outbox: Outbox | None) -> None:
        self._name = name
        self._replica = replica
        self._outbox = outbox
        self._lock = asyncio.Lock()
        self._stored: State | None = None
        self._new: set[str] = set()
        self._failed: list[UnsavedEdit] = []
        self._frozen: tuple[Flight, bytes] | None = None

    def restored(self, stored: Stored) -> None:
        """Begin with what the outbox holds: the replica is made of it."""
        self._stored = stored.state
        if stored.state.flight is not None and stored.body is not None:
            self._frozen = stored.state.flight, stored.body

    def body_of(self, flight: Flight) -> bytes:
        """Give the bytes that an edit is sent as: always the same."""
        if self._frozen is None or self._frozen[0] != flight:
            body = request.edit_body(
                flight.patch, base=flight.base, epoch=flight.epoch, message=flight.message
            )
            self._frozen = flight, body
        return self._frozen[1]

    def add_failed(self, unsaved: UnsavedEdit) -> None:
        """Note an edit that could not be saved, for the next write."""
        if self._outbox is not None:
            self._failed.append(unsaved)

    def add_new(self, key: str) -> None:
        """Note an edit that is not admitted yet; they are admitted in this order."""
        self._new.add(key)

    async def admit(self, key: str, refuse: Callable[[PlaitError], None]) -> bool:
        """Write down an edit that is new, or `refuse` it before anything else is written."""
        async with self._lock:
            try:
                await self._write(key)
            except PlaitError as error:  # OutboxFull, OutboxUnusable: nothing has changed
                refuse(error)
                return False
            finally:
                self._new.discard(key)
        return True

    async def write(self) -> None:
        """Bring the outbox in step; O(document and edits), unless it nearly is.

        Raises OutboxUnusable, and OutboxFull where the disk is full; nothing has changed then.
        """
        if self._outbox is None:
            return
        async with self._lock:
            await self._write()

    async def _write(self, admitted: str | None = None) -> None:
        if self._outbox is None:
            return
        failed, self._failed = self._failed, []
        state = self._state(admitted)
        before, self._stored = self._stored, None
        try:
            await self._put(self._outbox, before, state, failed)
        except BaseException:
            self._failed[:0] = failed
            raise
        self._stored = state

    def _state(self, admitted: str | None) -> State:
        """Give what the replica is, up to the first edit that is not admitted."""
        state = self._replica.export()
        if self._new <= {admitted}:
            return state
        kept = takewhile(lambda edit: edit.key == admitted or edit.key not in self._new, state.pending)
        return replace(state, pending=tuple(kept))

    async def _put(
        self, outbox: Outbox, before: State | None, state: State, failed: list[UnsavedEdit]
    ) -> None:
        if before == state and not failed:
            return
        if not failed and before is not None and _is_stored(before):
            if state.flight is not None and _is_frozen(before, state):
                await outbox.freeze(self._name, state.flight, self.body_of(state.flight))
                return
            added = _added(before, state)
            if added:
                for edit in added:
                    await outbox.append(self._name, edit)
                return
        body = None if state.flight is None else self.body_of(state.flight)
        await outbox.save(self._name, state, body=body, failed=[each.as_stored() for each in failed])


def _is_stored(state: State) -> bool:
    """Whether the outbox keeps a state: one without edits it does not."""
    return state.flight is not None or bool(state.pending)


def _added(before: State, state: State) -> tuple[Edit, ...]:
    """Give the edits that are new, if that is all there is."""
    known = len(before.pending)
    if _base(before) != _base(state) or state.pending[:known] != before.pending:
        return ()
    return state.pending[known:]


def _base(state: State) -> tuple[object, ...]:
    return state.revision, state.epoch, state.flight, state.flight_shown


def _is_frozen(before: State, state: State) -> bool:
    """Whether all there is is that the first edit is in flight now."""
    flight = state.flight
    return (
        flight is not None
        and before.flight is None
        and (before.revision, before.epoch) == (state.revision, state.epoch)
        and bool(before.pending)
        and before.pending[0] == Edit(flight.key, flight.patch, flight.message, flight.made_at)
        and state.pending == before.pending[1:]
    )
