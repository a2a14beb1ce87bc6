"""kill -9 among batches: each is whole or absent, and what was acknowledged is whole."""

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from aiohttp import ClientError, ClientSession

from server.faults.conftest import Start
from server.faults.history import check_history

DOCUMENTS = tuple(f"stock/{n}" for n in range(6))
KILLS = 5
WRITERS = 8
ANSWERS_BEFORE_KILL = 60
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


async def test_after_every_kill_a_batch_is_whole_or_absent(start: Start, thorough: int) -> None:
    """Batches of one to four documents from many writers, killed again and again; PLAIT_TEST_SEED chooses
    the draws."""
    random = Random(int(os.environ.get("PLAIT_TEST_SEED", "1")))
    tokens, told = count(1), Told()
    server = await start()
    async with server.client() as client:
        for document in DOCUMENTS:
            value: dict[str, Any] = {"members": {}, "contested": None}
            async with client.put(
                f"/v1/docs/{document}", json=value, headers={"If-None-Match": "*"}
            ) as answer:
                assert answer.status == 201
    for _ in range(KILLS * thorough):
        async with server.client() as client, asyncio.timeout(30), asyncio.TaskGroup() as writers:
            answers = asyncio.Semaphore(0)
            for _ in range(WRITERS):
                writers.create_task(write(client, random, tokens, told, answers))
            for _ in range(random.randrange(1, ANSWERS_BEFORE_KILL)):
                await answers.acquire()
            await server.kill()
        server = await start()
        async with server.client() as client:
            await check(client, told)
            fresh = list(told.answered)[-REPLAYS:]
            for token in [*fresh, *random.sample(sorted(told.answered), min(len(told.answered), REPLAYS))]:
                sent, status, body = told.answered[token]
                assert await send(client, sent) == (status, essence(body), True)
            for token, sent in list(told.lost.items()):
                status, body, _ = await send(client, sent)
                assert await send(client, sent) == (status, body, True)
                told.answered[token] = (sent, status, body)
                del told.lost[token]
    async with server.client() as client:
        await check(client, told)
    assert await server.end() == 0
    statuses = {status for _, status, _ in told.answered.values()}
    assert statuses == {200, 409, 422}, "the load proves too little"


async def check(client: ClientSession, told: Told) -> None:
    """Check every document, and that what nobody was told of is in all its documents or in none."""
    found: dict[str, set[str]] = {}
    for document in DOCUMENTS:
        history = await check_history(client, document, told.acknowledged(document), told.lost)
        for token in history.tokens:
            found.setdefault(token, set()).add(document)
    for token, sent in told.lost.items():
        assert found.get(token, set()) in (set(), set(sent[1])), f"half of {token} is there"


async def write(
    client: ClientSession, random: Random, tokens: Iterator[int], told: Told, answers: asyncio.Semaphore
) -> None:
    """Be one writer, until the server is gone."""
    while True:
        sent = draw(random, f"edit-{next(tokens):016x}")
        try:
            status, body, _ = await send(client, sent)
        except (ClientError, OSError):
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
