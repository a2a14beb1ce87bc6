"""Edits on the short road: answered as on the long one, in order, whoever comes and goes meanwhile."""

import asyncio
import gc
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from address import address_of
from plait_server.config import Settings
from plait_server.service import Begun, DocumentKey, Service
from plait_server.service.attempt import Attempt
from plait_server.store.sqlite import SqliteStore
from plait_server.web.application import create_app, service_limits
from plait_server.web.connections import Runner
from plait_server.web.documents import Documents
from plait_server.web.requests import Head
from plait_server.web.short_road import SHORT_ROAD, ShortRoad

Serve = Callable[..., Awaitable[ClientSession]]
JSON_PATCH = "application/json-patch+json"
EDIT = "application/vnd.plait.edit+json"
LONG = {"Prefer": "unheard-of"}
"""A preference that nobody knows changes nothing, but the short road has none at all."""
NAMED = {"X-Request-Id": "one-or-the-other"}
"""The ids that the server gives grow longer, and with them its answers."""
VARYING = re.compile(r'"epoch":"[^"]*"|"at":"[^"]*"|"request_id":"[^"]*"|[0-9A-Z]{26}|(?<=X-Request-Id: )\S*')


class Wire:
    """A connection, and what is sent over it as it is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def send(
        self,
        content: object,
        headers: Mapping[str, str] | None = None,
        method: str = "PATCH",
        path: str = "/v1/docs/c/1",
    ) -> None:
        self.writer.write(request(content, headers, method, path))

    async def receive(self) -> tuple[int, str, str]:
        """Read an answer: its status, its head without the date, its body."""
        async with asyncio.timeout(10):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"Content-Length: (\d+)", head)
            body = await self._reader.readexactly(int(length[1]) if length else 0)
        lines = sorted(line for line in head.split("\r\n")[1:] if not line.startswith("Date"))
        return int(head.split()[1]), "\n".join(lines), body.decode()

    async def ask(self, content: object, headers: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        self.send(content, headers)
        return await self.receive()

    async def ended(self) -> bool:
        """Wait until the server hangs up."""
        async with asyncio.timeout(10):
            return not await self._reader.read()


def request(
    content: object,
    headers: Mapping[str, str] | None = None,
    method: str = "PATCH",
    path: str = "/v1/docs/c/1",
) -> bytes:
    """Write a whole request."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    fields = {"Host": "x", "Content-Length": str(len(body)), "Content-Type": JSON_PATCH, **(headers or {})}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def replacing(pointer: str, value: object) -> list[dict[str, object]]:
    return [{"op": "replace", "path": pointer, "value": value}]


@asynccontextmanager
async def wire(client: ClientSession) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(*address_of(client))
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


async def create(client: ClientSession, value: object) -> None:
    async with client.put("/v1/docs/c/1", json=value, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201


@asynccontextmanager
async def held(file: Path) -> AsyncIterator[None]:
    """Keep the database from being written: what is committed meanwhile waits."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


async def taken(client: ClientSession, *sent: Wire) -> None:
    """Wait until the server has what was sent: it does when it has answered what was sent later."""
    for ends in sent:
        await ends.writer.drain()
    async with client.get("/healthz") as answer:
        assert answer.status == 200


@asynccontextmanager
async def meddled(file: Path, meddle: Callable[[Runner, Begun | None], Begun | None]) -> AsyncIterator[Wire]:
    """Connect to a server with a document, whose edits somebody meddles with once they are begun."""
    settings = Settings(port=0, db=file, shutdown_timeout_s=3_600)
    service = await Service.open(await SqliteStore.open(settings.db), limits=service_limits(settings))
    application, documents = create_app(service, settings), Documents(service, settings)

    def begin(head: Head, document: DocumentKey, body: bytes) -> Begun | None:
        return meddle(runner, documents.begin_patch(head, document, body))

    application[SHORT_ROAD] = ShortRoad(service, begin)
    runner = Runner(application, settings)
    try:
        await runner.setup()
        await web.TCPSite(runner, settings.host, settings.port).start()
        host, port = runner.addresses[0][:2]
        async with ClientSession(f"http://{host}:{port}") as client:
            await create(client, {"a": 0})
            async with wire(client) as ends:
                yield ends
    finally:
        async with asyncio.timeout(10):
            await runner.cleanup()


@asynccontextmanager
async def left_under_way(client: ClientSession, file: Path, conflicts: bool) -> AsyncIterator[None]:
    """An edit is under way, of somebody who has left."""
    async with wire(client) as ends:
        assert (await ends.ask(replacing("/a", 1)))[0] == 200
        async with held(file):
            ends.send(replacing("/a", 2), {"Plait-Base": "1"} if conflicts else {})
            await taken(client, ends)
            ends.writer.transport.abort()
            await taken(client)
            yield


async def head_of(client: ClientSession) -> tuple[str, Any]:
    async with client.get("/v1/docs/c/1") as answer:
        return answer.headers["Plait-Revision"], await answer.json()


def counted(runner: Runner) -> int:
    """Say how many requests aiohttp's own road had."""
    assert runner.server is not None
    return runner.server.requests_count


SHORT = [
    ({"Plait-Base": "2"}, replacing("/a", 5), 200),
    ({}, replacing("/a", 5), 200),
    ({"Plait-Base": "1"}, replacing("/a", 5), 200),
    ({"Idempotency-Key": "k", "Plait-Author": "ann"}, replacing("/a", 5), 200),
    ({"If-Match": '"2"'}, replacing("/a", 5), 200),
    ({"X-Request-Id": "mine"}, replacing("/a", 5), 200),
    ({"Content-Type": "application/merge-patch+json", "Plait-Base": "2"}, {"a": 5}, 200),
    ({"Content-Type": EDIT}, {"patch": replacing("/a", 5), "message": "why", "base": 1}, 200),
]
LONGER = [
    ({"Plait-Base": "1"}, replacing("/b", 5), 409),
    ({"Plait-Base": "1"}, replacing("/b", 1), 200),
    ({"Plait-Base": "9"}, replacing("/b", 1), 409),
    ({"Plait-Base": "x"}, replacing("/b", 1), 400),
    ({"If-Match": '"1"'}, replacing("/b", 1), 412),
    ({}, replacing("/x", 5), 422),
    ({}, [{"op": "test", "path": "/a", "value": 7}], 409),
    ({}, {"op": "test"}, 400),
    ({}, b"[{", 400),
    ({}, b"", 400),
    ({"Content-Type": "text/plain"}, replacing("/a", 5), 415),
    ({"Content-Encoding": "gzip"}, replacing("/a", 5), 415),
    ({"Expect": "miracles"}, replacing("/a", 5), 417),
    ({"Content-Type": EDIT}, {"patch": replacing("/a", 5), "dry_run": True}, 200),
    ({"Content-Type": EDIT}, {"patch": replacing("/a", 5), "whatever": True}, 400),
    ({}, replacing("/a", "x" * 1_000), 413),
]


@pytest.mark.parametrize(
    ("headers", "content", "status", "short"),
    [(*case, True) for case in SHORT] + [(*case, False) for case in LONGER],
)
async def test_either_road_gives_the_same_answer(
    serve: Serve,
    runners: list[Runner],
    tmp_path: Path,
    headers: dict[str, str],
    content: object,
    status: int,
    short: bool,
) -> None:
    """Twice, so that it is also the same where it is sent again."""
    answers, heads = [], []
    for road in ({}, LONG):
        client = await serve(db=tmp_path / f"{len(road)}.db", patch_bytes_max=500)
        await create(client, {"a": 0, "b": 0})
        async with wire(client) as ends:
            assert (await ends.ask(replacing("/b", 1)))[0] == 200
            before = counted(runners[-1])
            first = await ends.ask(content, {**NAMED, **headers, **road})
            assert counted(runners[-1]) == before + (0 if short and not road else 1)
            second = await ends.ask(content, {**NAMED, **headers, **road})
        answers.append([VARYING.sub("…", "\n".join(map(str, answer))) for answer in (first, second)])
        heads.append(await head_of(client))
        assert first[0] == status
    assert answers[0] == answers[1]
    assert heads[0] == heads[1]


@pytest.mark.parametrize("roads", [({}, LONG), (LONG, {})])
async def test_a_request_that_takes_the_other_road_is_the_same_request(
    client: ClientSession, roads: tuple[dict[str, str], dict[str, str]]
) -> None:
    """An idempotency key is one, whichever road it came first."""
    await create(client, {"a": 0})
    async with wire(client) as ends:
        assert (await ends.ask(replacing("/a", 1)))[0] == 200
        first, again = [
            await ends.ask(replacing("/a", 2), {"Idempotency-Key": "k", **road}) for road in roads
        ]
        assert (first[0], again[0]) == (200, 200)
        assert ("Idempotency-Replayed" in first[1], "Idempotency-Replayed" in again[1]) == (False, True)
        assert json.loads(first[2])["revision"] == json.loads(again[2])["revision"]


async def test_requests_sent_together_are_answered_in_their_order(client: ClientSession) -> None:
    await create(client, {"a": 0})
    async with wire(client) as ends:
        ends.writer.write(b"".join(request(replacing("/a", n)) for n in range(1, 8)))
        ends.send(b"", method="GET")
        revisions = [json.loads((await ends.receive())[2])["revision"] for _ in range(7)]
        assert revisions == [2, 3, 4, 5, 6, 7, 8]
        assert json.loads((await ends.receive())[2]) == {"a": 7}


async def test_requests_sent_together_are_answered_after_however_many(client: ClientSession) -> None:
    """aiohttp parses so many requests ahead: those that went the short road are none of them."""
    await create(client, {"a": 0})
    async with wire(client) as ends:
        for number in range(1, 100):
            assert (await ends.ask(replacing("/a", number)))[0] == 200
        ends.writer.write(request(b"", method="GET") * 40)
        for _ in range(40):
            assert json.loads((await ends.receive())[2]) == {"a": 99}


async def test_an_upgrade_that_is_declined_ends_nothing(client: ClientSession) -> None:
    """What comes behind it is no part of it."""
    await create(client, {"a": 0})
    async with wire(client) as ends:
        for number in range(1, 4):
            ends.send(replacing("/a", number), {"Connection": "Upgrade", "Upgrade": "websocket"})
            ends.send(b"", method="GET")
            assert (await ends.receive())[0] == 200
            assert json.loads((await ends.receive())[2]) == {"a": number}


async def test_what_comes_while_an_edit_is_under_way_waits_for_its_answer(
    client: ClientSession, tmp_path: Path
) -> None:
    """A read, an edit that conflicts, and rubbish."""
    await create(client, {"a": 0})
    async with wire(client) as ends:
        for number in range(1, 5):
            async with held(tmp_path / "plait.db"):
                ends.send(replacing("/a", number))
                await taken(client, ends)
                ends.send(b"", method="GET")
                ends.send(replacing("/a", -1), {"Plait-Base": "1"})
                await taken(client, ends)
            assert (await ends.receive())[0] == 200
            assert json.loads((await ends.receive())[2]) == {"a": number}
            assert (await ends.receive())[0] == 409
        async with held(tmp_path / "plait.db"):
            ends.send(replacing("/a", 99))
            await taken(client, ends)
            ends.writer.write(b"NONSENSE\r\n\r\n")
            await taken(client, ends)
        assert json.loads((await ends.receive())[2])["outcome"] == "applied"
        assert (await ends.receive())[0] == 400
        assert await ends.ended()


@pytest.mark.parametrize("road", [{}, LONG])
async def test_a_head_without_end_is_cut_off_behind_an_edit_under_way(
    serve: Serve, tmp_path: Path, road: dict[str, str]
) -> None:
    client = await serve(head_bytes_max=5_000)
    await create(client, {"a": 0})
    async with wire(client) as ends:
        assert (await ends.ask(replacing("/a", 1)))[0] == 200
        async with held(tmp_path / "plait.db"):
            ends.send(replacing("/a", 2), road)
            await taken(client, ends)
            ends.writer.write(b"GET /v1 HTTP/1.1\r\n")
            for number in range(6):
                ends.writer.write(b"X-%d: %b\r\n" % (number, bytes(1_000).replace(b"\0", b"1")))
                await taken(client, ends)
        assert (await ends.receive())[0] == 200
        assert await ends.ended()


@pytest.mark.parametrize("conflicts", [False, True])
async def test_who_leaves_before_the_answer_leaves_the_edit(
    serve: Serve, runners: list[Runner], tmp_path: Path, caplog: pytest.LogCaptureFixture, conflicts: bool
) -> None:
    """It is made, or kept as a conflict, and the server ends as if nobody had been there."""
    client = await serve()
    await create(client, {"a": 0, "b": 0})
    async with left_under_way(client, tmp_path / "plait.db", conflicts):
        pass
    async with client.patch(
        "/v1/docs/c/1", json=replacing("/b", 1), headers={"Content-Type": JSON_PATCH}
    ) as answer:
        assert (await answer.json())["revision"] == (3 if conflicts else 4)
    async with client.get("/v1/docs/c/1/conflicts") as answer:
        assert len((await answer.json())["conflicts"]) == conflicts
    await client.close()
    async with asyncio.timeout(10):
        await runners[-1].cleanup()
    gc.collect()
    assert not caplog.records


@pytest.mark.parametrize("conflicts", [False, True])
async def test_a_server_that_stops_does_not_wait_for_who_has_left(
    serve: Serve, runners: list[Runner], tmp_path: Path, conflicts: bool
) -> None:
    """Nor for what would have been the answer: only for the edit."""
    client = await serve(shutdown_timeout_s=3_600)
    await create(client, {"a": 0})
    async with left_under_way(client, tmp_path / "plait.db", conflicts):
        stopping = asyncio.create_task(runners[-1].cleanup())
        await client.close()
        await asyncio.wait([stopping], timeout=0.2)
    async with asyncio.timeout(10):
        await stopping


async def test_a_connection_lost_in_the_turn_it_is_woken_in_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The task that was woken finds nothing any more to serve with."""

    def begin(runner: Runner, _: Begun | None) -> Begun | None:
        assert runner.server is not None
        for connection in runner.server.connections:
            assert connection.transport is not None
            connection.transport.abort()
        return None

    async with meddled(tmp_path / "plait.db", begin) as ends:
        ends.send(replacing("/a", 1), path="/v1/docs/c/unheard-of")
        assert await ends.ended()
    gc.collect()
    assert not caplog.records


async def test_an_edit_that_cannot_be_concluded_is_let_go(tmp_path: Path) -> None:
    """Whatever goes wrong then is answered, the connection goes on, and the server can stop."""

    def begin(_: Runner, begun: Begun | None) -> Begun | None:
        if begun is not None and begun.edit.message == "fail":
            begun.attempt.since = [None]  # type: ignore[list-item]
        return begun

    async with meddled(tmp_path / "plait.db", begin) as ends:
        assert (await ends.ask({"patch": replacing("/a", 1), "message": "fail"}, {"Content-Type": EDIT}))[
            0
        ] == 500
        assert (await ends.ask(replacing("/a", 2)))[0] == 200


@pytest.mark.parametrize("road", [{}, LONG])
async def test_a_refusal_leaves_nothing_in_memory(client: ClientSession, road: dict[str, str]) -> None:
    """Not even until somebody looks for cycles."""
    await create(client, {"a": 0})
    async with wire(client) as ends:
        assert (await ends.ask(replacing("/a", 1)))[0] == 200
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                assert (await ends.ask(replacing("/a", 2), {"Plait-Base": "1", **road}))[0] == 409
            assert (await ends.ask(replacing("/a", 3)))[0] == 200
            attempts = [each for each in gc.get_objects() if type(each) is Attempt]
        finally:
            gc.enable()
        assert len(attempts) <= 1


@pytest.mark.parametrize("road", [{}, LONG])
async def test_a_connection_too_many_is_refused_on_either_road(serve: Serve, road: dict[str, str]) -> None:
    client = await serve(connections_max=1)
    await create(client, {"a": 0})
    async with wire(client) as ends:
        assert (await ends.ask(replacing("/a", 1), road))[0] == 503
        assert await ends.ended()
    assert await head_of(client) == ("1", {"a": 0})


async def test_a_silent_connection_is_closed_after_its_edit(serve: Serve) -> None:
    client = await serve(keepalive_timeout_s=0.3)
    await create(client, {"a": 0})
    async with wire(client) as ends:
        assert (await ends.ask(replacing("/a", 1)))[0] == 200
        assert (await ends.ask(replacing("/a", 2)))[0] == 200
        assert await ends.ended()


async def test_a_connection_is_silent_only_from_its_answer_on(serve: Serve, tmp_path: Path) -> None:
    """However long that took."""
    client = await serve(keepalive_timeout_s=0.5)
    await create(client, {"a": 0})
    async with wire(client) as ends:
        async with held(tmp_path / "plait.db"):
            answer = asyncio.create_task(ends.ask(replacing("/a", 1)))
            await asyncio.wait([answer], timeout=0.7)
            assert not answer.done()
        assert (await answer)[0] == 200
        assert (await ends.ask(replacing("/a", 2)))[0] == 200
        assert await ends.ended()


async def test_an_edit_that_comes_in_pieces_is_whole(client: ClientSession) -> None:
    """Wherever it is cut."""
    await create(client, {"a": 0})
    async with wire(client) as ends:
        sent = request(replacing("/a", 1))
        for cut in range(1, len(sent), 9):
            ends.writer.write(sent[:cut])
            await taken(client, ends)
            ends.writer.write(sent[cut:])
            assert (await ends.receive())[0] == 200


async def test_who_waits_to_be_told_to_go_on_is_told(client: ClientSession) -> None:
    await create(client, {"a": 0})
    async with wire(client) as ends:
        assert (await ends.ask(replacing("/a", 1)))[0] == 200
        assert (await ends.ask(replacing("/a", 2), {"Expect": "100-continue"}))[0] == 100
        assert (await ends.receive())[0] == 200


async def test_who_speaks_an_older_http_is_told_that_the_connection_stays(client: ClientSession) -> None:
    await create(client, {"a": 0})
    async with wire(client) as ends:
        for number in range(1, 4):
            sent = request(replacing("/a", number), {"Connection": "keep-alive"})
            ends.writer.write(sent.replace(b"HTTP/1.1", b"HTTP/1.0"))
            status, head, _ = await ends.receive()
            assert (status, "Connection: keep-alive" in head) == (200, True)


async def test_a_connection_that_is_to_close_is_closed(client: ClientSession) -> None:
    await create(client, {"a": 0})
    async with wire(client) as ends:
        assert (await ends.ask(replacing("/a", 1)))[0] == 200
        status, head, _ = await ends.ask(replacing("/a", 2), {"Connection": "close"})
        assert (status, "Connection: close" in head) == (200, True)
        assert await ends.ended()


async def test_edits_under_way_are_answered_when_the_server_stops(
    serve: Serve, runners: list[Runner], tmp_path: Path
) -> None:
    """Those that are applied, and those that conflict and go the long road in the end. Nothing is left."""
    client = await serve(shutdown_timeout_s=3_600)
    await create(client, {"a": 0})
    async with wire(client) as one, wire(client) as other, wire(client) as idle:
        for ends in (one, other, idle):
            assert (await ends.ask(replacing("/a", 1)))[0] == 200
        async with held(tmp_path / "plait.db"):
            one.send(replacing("/a", 2))
            other.send(replacing("/a", 3), {"Plait-Base": "1"})
            await taken(client, one, other)
            stopping = asyncio.create_task(runners[-1].cleanup())
            assert await idle.ended()
        assert (await one.receive())[0] == 200
        assert (await other.receive())[0] == 409
        assert await one.ended()
        assert await other.ended()
        await client.close()
        async with asyncio.timeout(10):
            await stopping


async def test_nothing_goes_short_where_requests_are_logged_or_counted(
    serve: Serve, runners: list[Runner], tmp_path: Path
) -> None:
    """Neither the log nor the quotas would know of it."""
    for given in ({"access_log": True}, {"rate_limit_caller": "100/minute"}):
        client = await serve(db=tmp_path / f"{next(iter(given))}.db", **given)
        await create(client, {"a": 0})
        async with wire(client) as ends:
            before = counted(runners[-1])
            assert (await ends.ask(replacing("/a", 1)))[0] == 200
            assert counted(runners[-1]) == before + 1
