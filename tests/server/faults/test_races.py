"""The race that breaks a well-known store, with the writers in two processes of their own."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from server.faults.agent import Request
from server.faults.history import check_history
from server.faults.serving import start_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
AGENTS = 2
ROUNDS = pytest.mark.parametrize(("writers", "rounds"), [(2, 200), (8, 100)])


class Agents:
    """Two clients in processes of their own, told at the same moment what to send."""

    def __init__(self, processes: Sequence[asyncio.subprocess.Process]) -> None:
        self._processes = processes
        self._round = 0

    async def at_once(self, requests: Sequence[Request]) -> list[tuple[int, dict[str, str], Any]]:
        """Send all requests at once, half of them from each process; give the answers in order."""
        self._round += 1
        shares = [requests[number::AGENTS] for number in range(AGENTS)]
        # Whoever is told first has a head start, so they take turns.
        for number in sorted(range(AGENTS), reverse=self._round % 2 == 0):
            _stdin(self._processes[number]).write(json.dumps(shares[number]).encode() + b"\n")
        answers: list[Any] = [None] * len(requests)
        for number, process in enumerate(self._processes):
            async with asyncio.timeout(20):
                answers[number::AGENTS] = json.loads(await _stdout(process).readline())
        return answers


@asynccontextmanager
async def starting(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("agent.py")),
        url,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        limit=2**24,
    )
    try:
        assert await _stdout(process).readline() == b"ready\n"
        yield process
    finally:
        _stdin(process).close()
        await process.wait()
        await _stdout(process).read()
        process._transport.close()  # type: ignore[attr-defined]


def _stdin(process: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    assert process.stdin is not None
    return process.stdin


def _stdout(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    assert process.stdout is not None
    return process.stdout


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def race(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[ClientSession, Agents]]:
    """One server for all races: a client of it, and the agents."""
    server = await start_server(tmp_path_factory.mktemp("race"), ("--port", "0"))
    try:
        async with server.client() as client, AsyncExitStack() as stack:
            processes = [stack.enter_async_context(starting(server.url)) for _ in range(AGENTS)]
            yield client, Agents(await asyncio.gather(*processes))
    finally:
        assert await server.end() == 0
    assert "Traceback" not in server.log.read_text()


async def create(client: ClientSession, document: str, value: Any) -> None:
    async with client.put(f"/v1/docs/{document}", json=value, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201


def token(revision: int, writer: int) -> str:
    return f"edit-{revision:012x}{writer:04x}"


def edit(document: str, pointer: str, name: str, condition: str, value: str) -> Request:
    headers = {"Content-Type": "application/json-patch+json", condition: value}
    return "PATCH", f"/v1/docs/{document}", headers, [{"op": "add", "path": pointer, "value": name}]


@ROUNDS
async def test_of_writers_with_one_tag_exactly_one_is_let_through(
    race: tuple[ClientSession, Agents], writers: int, rounds: int, thorough: int
) -> None:
    client, agents = race
    document = f"strict/{writers}"
    await create(client, document, {"n": 0})
    acknowledged: dict[str, int] = {}
    for revision in range(1, rounds * thorough + 1):
        names = [token(revision, writer) for writer in range(writers)]
        answers = await agents.at_once(
            [edit(document, "/n", name, "If-Match", f'"{revision}"') for name in names]
        )
        assert sorted(status for status, _, _ in answers) == [200] + [412] * (writers - 1)
        for name, (status, headers, body) in zip(names, answers, strict=True):
            if status == 200:
                acknowledged[name] = body["revision"]
                assert headers["etag"] == f'"{revision + 1}"'
            else:
                assert body["head_revision"] == revision + 1
    history = await check_history(client, document, acknowledged)
    assert history.head == 1 + rounds * thorough


@ROUNDS
async def test_of_writers_with_one_base_who_touch_different_fields_nobody_is_lost(
    race: tuple[ClientSession, Agents], writers: int, rounds: int, thorough: int
) -> None:
    client, agents = race
    document = f"apart/{writers}"
    await create(client, document, {})
    acknowledged: dict[str, int] = {}
    for base in range(1, rounds * thorough * writers, writers):
        names = [token(base, writer) for writer in range(writers)]
        answers = await agents.at_once(
            [edit(document, f"/{name}", name, "Plait-Base", str(base)) for name in names]
        )
        assert [status for status, _, _ in answers] == [200] * writers
        told = {name: body["revision"] for name, (_, _, body) in zip(names, answers, strict=True)}
        assert sorted(told.values()) == list(range(base + 1, base + 1 + writers))
        for _, headers, body in answers:
            assert body["outcome"] == ("applied" if body["revision"] == base + 1 else "merged")
            assert [missed["revision"] for missed in body["missed"]] == list(
                range(base + 1, body["revision"])
            )
            assert ("etag" in headers) == (body["outcome"] == "applied")
        acknowledged |= told
    history = await check_history(client, document, acknowledged)
    assert history.value == {name: name for name in acknowledged}


@ROUNDS
async def test_of_writers_with_one_base_who_touch_one_field_one_passes_and_the_others_see_the_conflict(
    race: tuple[ClientSession, Agents], writers: int, rounds: int, thorough: int
) -> None:
    client, agents = race
    document = f"contested/{writers}"
    await create(client, document, {"n": 0})
    acknowledged: dict[str, int] = {}
    for base in range(1, rounds * thorough + 1):
        names = [token(base, writer) for writer in range(writers)]
        answers = await agents.at_once(
            [edit(document, "/n", name, "Plait-Base", str(base)) for name in names]
        )
        assert sorted(status for status, _, _ in answers) == [200] + [409] * (writers - 1)
        (winner,) = [name for name, (status, _, _) in zip(names, answers, strict=True) if status == 200]
        acknowledged[winner] = base + 1
        for name, (status, _, body) in zip(names, answers, strict=True):
            if status == 409:
                assert body["type"].endswith("merge-conflict")
                (conflict,) = body["conflicts"]
                assert (conflict["theirs"]["value"], conflict["yours"]["value"]) == (winner, name)
    history = await check_history(client, document, acknowledged)
    assert history.head == 1 + rounds * thorough
