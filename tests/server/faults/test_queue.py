"""The server is killed, or ended, while edits are queued: each accepted one ends exactly once, in order."""

import asyncio
import os
import resource
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import ClientError, ClientSession

from server.data.histories import findings
from server.faults.conftest import Start
from server.faults.history import check_history
from server.faults.ledger import DOCUMENTS, create_documents

KILLS = 8
WRITERS = 8
ACCEPTED_BEFORE_KILL = 120
END_S_MAX = 10.0
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
        if answer.status == 503:
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


async def test_what_was_accepted_ends_exactly_once_and_in_order_however_often_the_server_is_killed(
    start: Start, tmp_path: Path, thorough: int
) -> None:
    """Killed between accepting and deciding, in the middle of it and after it; also while it catches up.

    When to kill is drawn at random; PLAIT_TEST_SEED chooses the draws.
    """
    random, tokens, register = Random(int(os.environ.get("PLAIT_TEST_SEED", "1"))), count(1), Register()
    server, left = await start(), []
    async with server.client() as client:
        await create_documents(client)
    for _ in range(KILLS * thorough):
        async with server.client() as client, asyncio.timeout(30), asyncio.TaskGroup() as writers:
            for writer in range(WRITERS):
                writers.create_task(write(client, random, tokens, register, writer))
            await register.until(len(register.accepted) + random.randrange(1, ACCEPTED_BEFORE_KILL))
            await server.kill()
        left.append(waiting(tmp_path))
        server = await start()
        if random.random() < 0.3:
            await server.kill()
            server = await start()
        async with server.client() as client:
            if random.random() < 0.5:
                await check_ends(client, register)
            await send_the_lost_again(client, register)
    async with server.client() as client:
        await check_ends(client, register)
    assert await server.end() == 0
    assert findings(tmp_path / "plait.db") == []
    kinds = {"done" if isinstance(end, int) else end.rpartition(":")[2] for end in register.ends.values()}
    assert kinds == {"done", "merge-conflict", "patch-inapplicable"}, "the load proves too little"
    assert max(left) > 0, "the load proves too little"


async def test_a_full_queue_holds_up_no_end_and_loses_nothing(start: Start, tmp_path: Path) -> None:
    random, tokens, register = Random(1), count(1), Register()
    (tmp_path / "plait.toml").write_text("queue_document_edits_max = 20")
    server = await start()
    async with server.client() as client:
        await create_documents(client)
        async with asyncio.timeout(30), asyncio.TaskGroup() as writers:
            for writer in range(100):
                writers.create_task(write(client, random, tokens, register, writer))
            await register.until(60)
            began = time.perf_counter()
            assert await server.end() == 0
            assert time.perf_counter() - began < END_S_MAX
    assert "hot-document" in register.refusals
    server = await start()
    async with server.client() as client:
        await check_ends(client, register)


async def test_on_a_full_disk_nothing_is_accepted_and_what_was_waits_for_room(
    start: Start, tmp_path: Path
) -> None:
    """Whoever was refused may send it again under the same key; nobody has to help those who wait."""
    random, tokens, register = Random(1), count(1), Register()
    server = await start()
    async with server.client() as client:
        await create_documents(client)
        for _ in range(3):
            async with asyncio.timeout(30), asyncio.TaskGroup() as writers:
                for writer in range(WRITERS):
                    writers.create_task(write(client, random, tokens, register, writer))
                await register.until(len(register.accepted) + 60)
                server.limit_files((tmp_path / "plait.db").stat().st_size)
            async with client.patch(f"/v1/docs/{DOCUMENTS[0]}", json=[], headers=HEADERS) as answer:
                problem = await answer.json(content_type="application/problem+json")
            assert (answer.status, problem["type"]) == (503, "urn:plait:errors:store-unavailable")
            server.limit_files(resource.RLIM_INFINITY)
            await send_the_lost_again(client, register)
            await check_ends(client, register)
