"""What clients sent and what they were told, and whether the server stands by it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession

from server.faults.history import check_history

DOCUMENTS = ("notes/hot", "notes/1", "notes/2", "notes/3")
UNDECIDED = (503, 504)
"""Answers to what can be sent again under its key."""
START: dict[str, Any] = {"members": {}, "log": [], "contested": None, "strict": None}


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it was sent, and as it can be sent again."""

    token: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What of an answer must be the same when the request is sent again."""

    status: int
    document: str | None
    revision: int
    outcome: str
    patch: Any
    conflict: str | None


@dataclass(slots=True)
class Ledger:
    """What was sent with which answer, and what was sent without one; by token, which is the key too."""

    answered: dict[str, tuple[Sent, Answer]] = field(default_factory=dict)
    lost: dict[str, Sent] = field(default_factory=dict)

    def acknowledged(self, document: str) -> dict[str, int]:
        """Tell which tokens of a document were acknowledged, each with its revision."""
        return {
            token: answer.revision
            for token, (_, answer) in self.answered.items()
            if answer.status < 300 and answer.document == document
        }


async def create_documents(client: ClientSession, documents: Sequence[str] = DOCUMENTS) -> None:
    for document in documents:
        headers = {"If-None-Match": "*"}
        async with client.put(f"/v1/docs/{document}", json=START, headers=headers) as answer:
            assert answer.status == 201


async def send(client: ClientSession, sent: Sent) -> tuple[Answer, bool]:
    """Send a request; give its answer and whether it is that of an earlier sending."""
    async with client.request(sent.method, sent.path, headers=sent.headers, data=sent.body) as answer:
        body = json.loads(await answer.read())
        return _read(answer.status, body, answer.headers.get("Plait-Revision")), (
            "Idempotency-Replayed" in answer.headers
        )


def _read(status: int, body: Any, revision: str | None) -> Answer:
    if status < 300:
        return Answer(status, body["document"], body["revision"], body["outcome"], body["patch"], None)
    return Answer(
        status, None, int(revision or 0), body["type"], body.get("clean_patch"), body.get("instance")
    )


async def check_ledger(client: ClientSession, ledger: Ledger, again: list[str]) -> None:
    """Check that what was acknowledged is there once, and that some of it, and what had no answer, may be
    sent again."""
    present = await check_documents(client, ledger)
    await check_replays(client, ledger, again)
    await settle_the_lost(client, ledger, present)


async def check_documents(client: ClientSession, ledger: Ledger) -> dict[str, int]:
    """Check every document that is written on; give the revisions in which the tokens stand."""
    present: dict[str, int] = {}
    for document in DOCUMENTS:
        history = await check_history(client, document, ledger.acknowledged(document), ledger.lost)
        present |= history.tokens
    return present


async def check_replays(client: ClientSession, ledger: Ledger, tokens: list[str]) -> None:
    """Send again what was answered: the answer is the same, and says that it is an old one."""
    for token in tokens:
        sent, answer = ledger.answered[token]
        assert await send(client, sent) == (answer, True)


async def settle_the_lost(client: ClientSession, ledger: Ledger, present: dict[str, int]) -> None:
    """Send again what had no answer: what is in the history is acknowledged with its revision, what is
    not is done now, and from then on the answer is the same."""
    for token, sent in list(ledger.lost.items()):
        answer, replayed = await send(client, sent)
        if token in present:
            assert (answer.status, answer.revision, replayed) == (200, present[token], True)
        elif sent.method == "PATCH" and answer.status == 200:
            assert not replayed
        assert await send(client, sent) == (answer, True)
        del ledger.lost[token]
        ledger.answered[token] = (sent, answer)
