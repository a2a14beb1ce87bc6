"""Batches from many writers, with what they were told, and whether the server stands by it."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aiohttp import ClientError, ClientSession

from server.faults.history import check_history
from server.faults.ledger import UNDECIDED

DOCUMENTS = tuple(f"stock/{n}" for n in range(6))
REPLAYS = 10

Sent = tuple[str, list[str], dict[str, Any]]
"""The token of a batch, which is its key too, its documents and its body."""


@dataclass(slots=True)
class Told:
    """What was sent with which answer, and what without one."""

    answered: dict[str, tuple[Sent, int, Any]] = field(default_factory=dict)
    lost: dict[str, Sent] = field(default_factory=dict)

    def acknowledged(self, document: str) -> dict[str, int]:
        """Tell which tokens of a document were acknowledged, each with its revision."""
        return {
            token: result["revision"]
            for token, (_, status, body) in self.answered.items()
            if status == 200
            for result in body["results"]
            if result["document"] == document
        }


async def create(client: ClientSession) -> None:
    """Make the documents that batches are about."""
    for document in DOCUMENTS:
        value: dict[str, Any] = {"members": {}, "contested": None}
        headers = {"If-None-Match": "*"}
        async with client.put(f"/v1/docs/{document}", json=value, headers=headers) as answer:
            assert answer.status == 201


async def check(client: ClientSession, told: Told) -> None:
    """Check every document, and that what nobody was told of is in all its documents or in none."""
    found: dict[str, set[str]] = {}
    for document in DOCUMENTS:
        history = await check_history(client, document, told.acknowledged(document), told.lost)
        for token in history.tokens:
            found.setdefault(token, set()).add(document)
    for token, sent in told.lost.items():
        assert found.get(token, set()) in (set(), set(sent[1])), f"half of {token} is there"


async def check_replays(client: ClientSession, random: Random, told: Told) -> None:
    """Send again what was answered, the newest and some others: the answer is the same."""
    fresh = list(told.answered)[-REPLAYS:]
    for token in [*fresh, *random.sample(sorted(told.answered), min(len(told.answered), REPLAYS))]:
        sent, status, body = told.answered[token]
        assert await send(client, sent) == (status, essence(body), True)


async def settle_the_lost(client: ClientSession, told: Told) -> None:
    """Send again what had no answer: it is answered now, and from then on in the same way."""
    for token, sent in list(told.lost.items()):
        status, body, _ = await send(client, sent)
        assert await send(client, sent) == (status, body, True)
        told.answered[token] = (sent, status, body)
        del told.lost[token]


async def write(
    client: ClientSession, random: Random, tokens: Iterator[int], told: Told, answers: asyncio.Semaphore
) -> None:
    """Be one writer, until the server is gone or cannot take more."""
    while True:
        sent = draw(random, f"edit-{next(tokens):016x}")
        try:
            status, body, _ = await send(client, sent)
        except (ClientError, OSError):
            told.lost[sent[0]] = sent
            return
        if status in UNDECIDED:
            told.lost[sent[0]] = sent
            return
        assert status in (200, 409, 422), body
        told.answered[sent[0]] = (sent, status, body)
        answers.release()


def draw(random: Random, token: str) -> Sent:
    documents = random.sample(DOCUMENTS, random.choice((1, 2, 2, 3, 4)))
    edits: list[dict[str, Any]] = []
    for document in documents:
        patch: list[dict[str, Any]] = [{"op": "add", "path": f"/members/{token}", "value": token}]
        if random.random() < 0.1:
            patch.append({"op": "replace", "path": "/contested", "value": [random.random()]})
        if random.random() < 0.03:
            patch.append({"op": "remove", "path": "/nothing"})
        edits.append({"document": document, "patch": patch, "base": 1})
    return token, documents, {"edits": edits}


async def send(client: ClientSession, sent: Sent) -> tuple[int, Any, bool]:
    """Send a batch; give the status, what of the body has to be the same each time, and whether it is old."""
    token, _, body = sent
    headers = {"Idempotency-Key": f'"{token}"', "Content-Type": "application/json"}
    async with client.post("/v1/batch", data=json.dumps(body), headers=headers) as answer:
        told = json.loads(await answer.read())
        return answer.status, essence(told), "Idempotency-Replayed" in answer.headers


def essence(body: Any) -> Any:
    """Leave out of an answer what may be another the next time."""
    if isinstance(body, dict):
        passing = ("missed", "request_id")
        return {name: essence(part) for name, part in body.items() if name not in passing}
    return [essence(part) for part in body] if isinstance(body, list) else body
