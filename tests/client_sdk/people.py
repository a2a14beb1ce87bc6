"""What the tests of documents share: a network that can be off, and a look at what the server has."""

from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientSession

from plait_merge import Json, apply
from simulation.faulty_proxy import PROCESSED, Fault, Head

NAME = "orders/7"
ORDER: dict[str, Any] = {"title": "A", "n": 1, "tags": ["x"], "deep": {"a": {"b": 1}}, "log": []}


class Network:
    """Decides for a proxy: everything passes while `fault` is PASS; `next` comes before that, once each."""

    def __init__(self, fault: Fault = Fault.PASS) -> None:
        self.fault = fault
        self.next: list[Fault] = []
        self.only: str | None = None

    def __call__(self, head: Head) -> Fault:
        if self.only is not None and head.method != self.only:
            return Fault.PASS
        return self.next.pop(0) if self.next else self.fault

    def off(self) -> None:
        self.fault = Fault.CUT_BEFORE

    def on(self) -> None:
        self.fault = Fault.PASS


async def history(client: ClientSession, name: str = NAME) -> list[dict[str, Any]]:
    """Read all revisions, oldest first."""
    revisions: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        params = {"limit": "100", **({} if cursor is None else {"cursor": cursor})}
        async with client.get(f"/v1/docs/{name}/revisions", params=params) as answer:
            page = await answer.json()
        revisions += page["revisions"]
        cursor = page["cursor"]
        if cursor is None:
            return revisions[::-1]


async def keys(client: ClientSession, name: str = NAME) -> list[str]:
    """Name the edits that are in the history, in order."""
    return [each["key"] for each in await history(client, name) if each["key"] is not None]


async def head(client: ClientSession, name: str = NAME) -> Json:
    """Read the value by itself."""
    async with client.get(f"/v1/docs/{name}") as answer:
        return await answer.json()


async def taken(changes: AsyncIterator[Any], upto: int) -> list[Any]:
    """Take changes until one reaches a revision."""
    told = []
    async for change in changes:
        told.append(change)
        if change.revision >= upto:
            break
    return told


def replayed(value: Json, changes: list[Any]) -> Json:
    """Apply what was told, one after the other."""
    for change in changes:
        value = apply(value, change.patch) if change.reset is None else change.value
    return value


def was_processed(fault: Fault) -> bool:
    return fault in PROCESSED
