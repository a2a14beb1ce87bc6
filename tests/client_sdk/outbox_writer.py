"""Writes to an outbox for ever, saying each act once it is on disk: to be killed at any moment.

    python outbox_writer.py OUTBOX FIRST

Its edits are numbered, from FIRST on where nothing is stored. They are settled in order, and revision n + 2
holds edit n. Now few wait and now many, and now and then none at all.
"""

import asyncio
import sys
from dataclasses import replace

from plait_client.replica.edit import Edit, Flight, Patch, State
from plait_client.saving.outbox import Outbox
from plait_merge import apply

DOCUMENT = "orders/7"


def edit_of(number: int) -> Edit:
    patch = [
        {"op": "add", "path": "/log/-", "value": {"number": number, "text": "x" * (number * 37 % 5_000)}}
    ]
    return Edit(f"k{number}", patch, f"edit {number}", float(number))


def flight_of(edit: Edit, base: int = 1) -> Flight:
    return Flight(edit.key, base, "e1", edit.patch, edit.message, edit.made_at)


def body_of(edit: Edit | Flight) -> bytes:
    return b"the bytes of " + edit.key.encode()


class Writer:
    """Changes what is stored of a document act by act, as a journal does."""

    def __init__(self, outbox: Outbox, state: State) -> None:
        self._outbox = outbox
        self.state = state

    async def append(self, edit: Edit) -> None:
        """Another edit, kept as it is sent where none is before it."""
        state = self.state
        if state.flight is None and not state.pending:
            await self._save(self._sent(state, edit))
            say("append", edit.key)
            say("freeze", edit.key)
        else:
            await self._save(replace(state, pending=(*state.pending, edit)))
            say("append", edit.key)

    async def freeze(self) -> None:
        """The first edit is to be sent."""
        first, *others = self.state.pending
        await self._save(self._sent(replace(self.state, pending=tuple(others)), first))
        say("freeze", first.key)

    async def settle(self, at_once: bool) -> None:
        """The edit in flight is saved; the next one is frozen in the same act, or is not yet."""
        state, flight = self.state, self.state.flight
        assert flight is not None
        value = apply(state.value, flight.patch)
        settled = State(state.revision + 1, value, "e1", pending=state.pending)
        if state.pending and at_once:
            settled = self._sent(replace(settled, pending=state.pending[1:]), state.pending[0])
        await self._save(settled, flight.patch)
        say("settle", flight.key)
        if settled.flight is not None:
            say("freeze", settled.flight.key)

    def _sent(self, state: State, edit: Edit) -> State:
        return replace(state, flight=flight_of(edit, state.revision), flight_shown=edit.patch)

    async def _save(self, state: State, step: Patch | None = None) -> None:
        body = None if state.flight is None else body_of(state.flight)
        await self._outbox.save(DOCUMENT, state, before=self.state, step=step, body=body)
        self.state = state


async def write(path: str, first: int) -> None:
    outbox = await Outbox.open(path)
    stored = await outbox.load(DOCUMENT)
    writer = Writer(outbox, State(first + 1, {"log": []}, "e1") if stored is None else stored.state)
    number = writer.state.revision - 1 + len(_unsaved(writer.state))
    while True:
        await writer.append(edit_of(number))
        if writer.state.flight is None:
            await writer.freeze()
        while len(_unsaved(writer.state)) > number % 7:
            await writer.settle(at_once=number % 2 == 0)
            if writer.state.flight is None and writer.state.pending:
                await writer.freeze()
        number += 1


def _unsaved(state: State) -> list[Edit | Flight]:
    return [*([] if state.flight is None else [state.flight]), *state.pending]


def say(act: str, key: str) -> None:
    print(act, key, flush=True)


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], int(sys.argv[2])))
