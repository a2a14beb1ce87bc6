"""What an outbox holds of one document, brought in step with its replica."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile

from plait_client.errors import PlaitError
from plait_client.replica.edit import Flight, Patch, State
from plait_client.replica.replica import Replica
from plait_client.saving.outbox import Outbox
from plait_client.saving.records import Stored
from plait_client.unsaved import UnsavedEdit
from plait_client.wire import request


class Journal:
    """Writes down the edits of one document; without an outbox it does nothing.

    Each write brings what is stored to what the replica is at that moment, with the failed edits in the same
    transaction; edits that are not admitted yet are left out. Only what differs from the last write is
    written. Writes happen one after the other; after one that failed, or that nobody waited for to its end,
    the next is whole.
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
                flight.patch,
                base=flight.base,
                epoch=flight.epoch,
                message=flight.message,
                hold=flight.hold,
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
        """Bring the outbox in step; see `Outbox.save` for what it costs.

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
            if failed or before != state:
                await self._outbox.save(
                    self._name,
                    state,
                    before=before,
                    step=self._step(before, state),
                    body=None if state.flight is None else self.body_of(state.flight),
                    failed=[each.as_stored() for each in failed],
                )
        except BaseException:
            self._failed[:0] = failed
            raise
        self._stored = state

    def _state(self, admitted: str | None) -> State:
        """Give what the replica is, up to the first edit that is not admitted."""
        state = self._replica.export()
        left_out = self._new - {admitted}
        if not left_out:
            return state
        if state.flight is not None and state.flight.key in left_out:
            return replace(state, flight=None, flight_shown=None, pending=())
        kept = takewhile(lambda edit: edit.key not in left_out, state.pending)
        return replace(state, pending=tuple(kept))

    def _step(self, before: State | None, state: State) -> Patch | None:
        """Give what leads from the value that is stored to the one that is there now, where it is known."""
        if before is None or before.epoch != state.epoch:
            return None
        operations = self._replica.since(before.revision)
        return None if operations is None else [operation.as_json() for operation in operations]
