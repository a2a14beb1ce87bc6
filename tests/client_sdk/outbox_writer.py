"""Writes to an outbox for ever, saying each act once it is on disk: to be killed at any moment."""

import asyncio
import sys

from plait_client.replica.edit import Edit, Flight, State
from plait_client.saving.outbox import Outbox, Stored

DOCUMENT = "orders/7"
PENDING_MAX = 3


def edit_of(number: int) -> Edit:
    patch = [
        {"op": "add", "path": "/log/-", "value": {"number": number, "text": "x" * (number * 37 % 5_000)}}
    ]
    return Edit(f"k{number}", patch, f"edit {number}", float(number))


def flight_of(edit: Edit) -> Flight:
    return Flight(edit.key, 1, "e1", edit.patch, edit.message, edit.made_at)


def body_of(edit: Edit) -> bytes:
    return b"the bytes of " + edit.key.encode()


async def write(path: str, first: int) -> None:
    outbox = await Outbox.open(path)
    stored = await outbox.load(DOCUMENT)
    if stored is None:
        stored = Stored(State(1, {"log": []}, "e1", pending=(edit_of(first),)))
        await outbox.save(DOCUMENT, stored.state)
        say("append", stored.state.pending[0].key)
    flight, pending = stored.state.flight, list(stored.state.pending)
    keys = [*([flight.key] if flight else []), *(edit.key for edit in pending)]
    number = int(keys[-1][1:]) + 1
    while True:
        await outbox.append(DOCUMENT, edit_of(number))
        say("append", f"k{number}")
        pending.append(edit_of(number))
        number += 1
        if flight is None:
            flight = flight_of(pending[0])
            await outbox.freeze(DOCUMENT, flight, body_of(pending.pop(0)))
            say("freeze", flight.key)
        if len(pending) > PENDING_MAX:
            settled, flight = flight.key, None
            await outbox.save(DOCUMENT, State(1, {"log": []}, "e1", pending=tuple(pending)))
            say("settle", settled)


def say(act: str, key: str) -> None:
    print(act, key, flush=True)


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], int(sys.argv[2])))
