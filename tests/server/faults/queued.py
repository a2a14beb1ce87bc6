"""Queued edits from many writers, what came of each, and whether the server stands by it."""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import ClientError, ClientSession

from server.faults.history import check_history
from server.faults.ledger import UNDECIDED

DOCUMENTS = ("queue/hot", "queue/1", "queue/2", "queue/3")
HEADERS = {"Content-Type": "application/json-patch+json", "Prefer": "respond-async"}


@dataclass(slots=True)
class Register:
    """Which token went into which document by which operation, and what came of it; and what had no answer.

    `rows` are the tokens of each writer in the order they were accepted in.
    """

    accepted: dict[str, tuple[str, str]] = field(default_factory=dict)
    ends: dict[str, Any] = field(default_factory=dict)
    lost: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[tuple[int, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    refusals: set[str] = field(default_factory=set)
    grown: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def accept(self, writer: int, token: str, operation: str, document: str) -> None:
        self.accepted[token] = operation, document
        self.rows[writer, document].append(token)
        async with self.grown:
            self.grown.notify_all()

    async def until(self, accepted: int) -> None:
        """Wait until so many were accepted."""
        async with self.grown:
            await self.grown.wait_for(lambda: len(self.accepted) >= accepted)


def request(random: Random, token: str) -> dict[str, Any]:
    """An edit of some kind: one that merges, one that conflicts or not, one that is refused."""
    document = random.choice((*DOCUMENTS[:1] * 3, *DOCUMENTS[1:]))
    operations: list[dict[str, Any]] = random.choice(
        (
            [{"op": "add", "path": f"/members/{token}", "value": token}],
            [{"op": "add", "path": "/log/-", "value": token}],
            [{"op": "replace", "path": "/contested", "value": token}],
            [{"op": "add", "path": "/log/-", "value": token}, {"op": "remove", "path": "/nothing"}],
        )
    )
    headers = dict(HEADERS)
    if random.random() < 0.5:
        headers["Plait-Base"] = "1"
    if random.random() < 0.5:
        headers["Idempotency-Key"] = f'"{token}"'
    return {"method": "PATCH", "url": f"/v1/docs/{document}", "json": operations, "headers": headers}


async def write(
    client: ClientSession, random: Random, tokens: Iterator[int], register: Register, writer: int
) -> None:
    """Queue edits until the server is gone, or takes no more."""
    while True:
        token = f"edit-{next(tokens):016x}"
        sent = request(random, token)
        try:
            async with client.request(**sent) as answer:
                body = await answer.json(content_type=None)
        except (ClientError, OSError):
            register.lost[token] = sent
            return
        if answer.status in UNDECIDED:
            register.lost[token] = sent
            register.refusals.add(body["type"].rpartition(":")[2])
            return
        assert answer.status == 202, body
        await register.accept(writer, token, body["operation"], body["document"])


def waiting(folder: Path) -> int:
    """Count what is queued in the store of a server that is gone."""
    with closing(sqlite3.connect(folder / "plait.db")) as database:
        count: int = database.execute("SELECT count(*) FROM operations WHERE done IS NULL").fetchone()[0]
        return count


async def check_ends(client: ClientSession, register: Register) -> None:
    """Check that all that was accepted ends, as it did when it was asked for before, and that the documents
    are what came of it."""
    told: dict[str, dict[str, int]] = {document: {} for document in DOCUMENTS}
    for token, (operation, document) in register.accepted.items():
        async with client.get(f"/v1/operations/{operation}", params={"wait": "20"}) as answer:
            assert answer.status == 200
            end = await answer.json()
        assert end["status"] in ("done", "refused")
        what = end["result"]["revision"] if end["status"] == "done" else end["problem"]["type"]
        assert register.ends.setdefault(token, what) == what
        if end["status"] == "done":
            told[document][token] = what
    for document, tokens in told.items():
        await check_history(client, document, tokens, register.lost)
    for (_, document), row in register.rows.items():
        revisions = [told[document][token] for token in row if token in told[document]]
        assert revisions == sorted(revisions)


async def send_the_lost_again(client: ClientSession, register: Register) -> None:
    """Send again what had no answer and has a key: it is one operation, whether it was accepted or not."""
    for token, sent in list(register.lost.items()):
        if "Idempotency-Key" not in sent["headers"]:
            continue
        operations = set()
        for _ in range(2):
            async with client.request(**sent) as answer:
                body = await answer.json(content_type=None)
            if answer.status == 202:
                operations.add(body["operation"])
        assert len(operations) <= 1
        for operation in operations:
            register.accepted[token] = operation, sent["url"].removeprefix("/v1/docs/")
            del register.lost[token]
