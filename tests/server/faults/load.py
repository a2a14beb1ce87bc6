"""Writers who write as fast as they are answered, and note in a ledger what they were told."""

import asyncio
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from aiohttp import ClientError, ClientSession

from server.faults.ledger import DOCUMENTS, UNDECIDED, Answer, Ledger, Sent, send

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"


class Load:
    """Writers who send edits of every kind, each with a key, until the server is gone or cannot take more."""

    def __init__(self, client: ClientSession, random: Random, tokens: Iterator[int], ledger: Ledger) -> None:
        self._client = client
        self._random = random
        self._tokens = tokens
        self._ledger = ledger
        self._seen = dict.fromkeys(DOCUMENTS, 1)
        self._added: set[str] = set()
        self._revertible: list[tuple[str, int]] = []
        self._answers = 0
        self._writing = 0
        self._stopped = False
        self._changed = asyncio.Condition()

    async def write(self) -> None:
        """Be one writer."""
        self._writing += 1
        try:
            await self._write()
        finally:
            self._writing -= 1
        async with self._changed:
            self._changed.notify_all()

    async def _write(self) -> None:
        while not self._stopped:
            sent = self._next()
            try:
                answer, _ = await send(self._client, sent)
            except (ClientError, OSError):
                self._ledger.lost[sent.token] = sent
                return
            await self._note(sent, answer)
            if answer.status in UNDECIDED:
                return

    async def until(self, answers: int) -> None:
        """Wait until so many answers came, or nobody writes any more."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._answers >= answers or (self._answers > 0 and self._writing == 0)
            )

    def stop(self) -> None:
        """Let every writer end after its next answer."""
        self._stopped = True

    async def _note(self, sent: Sent, answer: Answer) -> None:
        if answer.status in UNDECIDED:
            self._ledger.lost[sent.token] = sent
        else:
            self._ledger.answered[sent.token] = (sent, answer)
            if answer.status == 200 and answer.document is not None:
                self._learn(sent.token, answer.document, answer.revision)
        async with self._changed:
            self._answers += 1
            self._changed.notify_all()

    def _learn(self, token: str, document: str, revision: int) -> None:
        if token in self._added:
            self._revertible.append((document, revision))
        if self._random.random() < 0.5:
            # The other half of the time the writer goes on from what it saw before.
            self._seen[document] = max(self._seen[document], revision)

    def _next(self) -> Sent:
        token = f"edit-{next(self._tokens):016x}"
        if self._revertible and self._random.random() < 0.1:
            return _revert(token, *self._revertible.pop())
        document = self._random.choice((*DOCUMENTS[:1] * 3, *DOCUMENTS[1:]))
        kind = self._random.choice(KINDS)
        if kind is _member:
            self._added.add(token)
        method, path, headers, body = kind(document, token, self._seen[document])
        return Sent(
            token, method, path, {"Idempotency-Key": f'"{token}"', **headers}, json.dumps(body).encode()
        )


def _revert(token: str, document: str, revision: int) -> Sent:
    """Undo one revision; each is undone once. The message names the edit: what it writes does not."""
    headers = {"Idempotency-Key": f'"{token}"', "Content-Type": "application/json"}
    body = json.dumps({"revision": revision, "message": token}).encode()
    return Sent(token, "POST", f"/v1/docs/{document}/revert", headers, body)


Request = tuple[str, str, dict[str, str], Any]


def _patch(document: str, operations: list[dict[str, Any]], condition: str, value: str) -> Request:
    return "PATCH", f"/v1/docs/{document}", {"Content-Type": JSON_PATCH, condition: value}, operations


def _member(document: str, token: str, seen: int) -> Request:
    operation = {"op": "add", "path": f"/members/{token}", "value": token}
    return _patch(document, [operation], "Plait-Base", str(seen))


def _append(document: str, token: str, seen: int) -> Request:
    return _patch(document, [{"op": "add", "path": "/log/-", "value": token}], "Plait-Base", str(seen))


def _contested(document: str, token: str, seen: int) -> Request:
    return _patch(
        document, [{"op": "replace", "path": "/contested", "value": token}], "Plait-Base", str(seen)
    )


def _strict(document: str, token: str, seen: int) -> Request:
    return _patch(document, [{"op": "replace", "path": "/strict", "value": token}], "If-Match", f'"{seen}"')


def _half(document: str, token: str, seen: int) -> Request:
    """Fail in the second operation: the first must not be seen either."""
    operations = [
        {"op": "add", "path": f"/members/{token}", "value": token},
        {"op": "remove", "path": "/nothing"},
    ]
    return _patch(document, operations, "Plait-Base", str(seen))


def _merged(document: str, token: str, seen: int) -> Request:
    headers = {"Content-Type": MERGE_PATCH}
    return "PATCH", f"/v1/docs/{document}", headers, {"members": {token: token}}


def _made(document: str, token: str, seen: int) -> Request:
    return "POST", "/v1/docs/made", {"Content-Type": "application/json"}, {"token": token}


KINDS: tuple[Callable[[str, str, int], Request], ...] = (
    _member,
    _member,
    _append,
    _append,
    _contested,
    _strict,
    _half,
    _merged,
    _made,
)
