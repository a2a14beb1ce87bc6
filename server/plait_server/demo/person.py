"""Somebody with a view of each document, often an old one, who edits from what they see."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final
from uuid import uuid4

from plait_merge import apply
from plait_server.demo.cast import Intent, intent
from plait_server.demo.client import Client, Reply
from plait_server.ledger import Ledger, View

TYPING_S: Final = 0.03
LOOKS_FIRST: Final = 0.3
SENDS_TWICE: Final = 0.15
SETTLEMENTS_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the story: who sent what from which revision, and the answer."""

    number: int
    person: str
    document: str
    says: str
    base: int
    reply: Reply
    again: bool = False
    """True where the same bytes were sent a second time under the same key."""


Told = Callable[[Event], None]


class Person:
    """Edits until the common count of edits is used up. Same seed, same habits; who comes first is chance."""

    def __init__(
        self, client: Client, random: Random, views: dict[str, View], ledger: Ledger, told: Told
    ) -> None:
        self.views = views
        self._client = client
        self._random = random
        self._ledger = ledger
        self._told = told

    async def work(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            document = self._random.choice(list(self.views))
            if self._random.random() < LOOKS_FIRST:
                self.views[document] = await self._client.read(document)
            wanted = intent(self._random, document, self.views[document].value)
            await asyncio.sleep(self._random.uniform(0, TYPING_S))
            await self._edit(number, document, wanted)

    async def _edit(self, number: int, document: str, wanted: Intent) -> None:
        base, message, key = self.views[document].revision, f"{wanted.says} ({number})", str(uuid4())
        reply = await self._client.edit(document, base, wanted.patch, message, key)
        self._answered(Event(number, self._client.author, document, wanted.says, base, reply), message)
        if reply.status == 409:
            await self._settle(number, document, wanted, reply)
        elif self._random.random() < SENDS_TWICE:
            # As somebody does whose answer was lost on the way.
            reply = await self._client.edit(document, base, wanted.patch, message, key)
            event = Event(number, self._client.author, document, wanted.says, base, reply, again=True)
            self._told(event)
            self._ledger.note(self._client.author, message, reply.acknowledged)

    async def _settle(self, number: int, document: str, wanted: Intent, reply: Reply) -> None:
        """Choose a side for every conflict, at random, until nobody is faster."""
        for attempt in range(1, SETTLEMENTS_MAX + 1):
            conflict = reply.body
            if "instance" not in conflict:
                return
            choices = {
                one["id"]: self._random.choice(sorted(one["resolutions"])) for one in conflict["conflicts"]
            }
            says = "settles: " + ", ".join(choices.values())
            message = f"{wanted.says} ({number}), settled, attempt {attempt}"
            base = conflict["head_revision"]
            self.views[document] = await self._client.read(document, base)
            reply = await self._client.settle(conflict["instance"], choices, message)
            self._answered(Event(number, self._client.author, document, says, base, reply), message)
            if reply.status != 409:
                return

    def _answered(self, event: Event, message: str) -> None:
        self._told(event)
        self._ledger.note(event.person, message, event.reply.acknowledged)
        if event.reply.status == 200 and event.reply.body["missed"] is not None:
            self.views[event.document] = _caught_up(self.views[event.document], event.reply.body)


def _caught_up(view: View, body: dict[str, Any]) -> View:
    """Fold an answer into the view the edit was made from: what was missed, then the edit as committed."""
    value = view.value
    for revision in body["missed"]:
        value = apply(value, revision["patch"])
    return View(body["revision"], apply(value, body["patch"]))
