"""Live updates from the real server: whatever happens to the connection, nothing is missed or told twice."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from address import address_of
from plait_client.errors import Forbidden, NotFound
from plait_client.live.follower import CaughtUp, Ended, Event, Lost, Moved, Replaced
from plait_client.live.live import Live
from plait_client.live.stream import EVENTS_MAX
from plait_client.wire.transport import Transport
from plait_merge import ABSENT, apply
from plait_server.web.connections import Runner
from server.live.client import connected, create, replace
from simulation.faulty_proxy import Decide, Fault, FaultyProxy, Head, end, reach
from simulation.proxy import Proxy

Serve = Callable[..., Awaitable[ClientSession]]
Through = Callable[[Decide], Awaitable[tuple[ClientSession, FaultyProxy]]]
SEED = int(os.environ.get("PLAIT_TEST_SEED", "7"))
Scripted = Callable[..., Awaitable[ClientSession]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PATHS = {"document": "", "revisions": "/revisions"}
PASSING_S = 2.0
Script = Callable[[web.WebSocketResponse], Awaitable[object]]


class Time:
    """A clock that is put forward by hand. Waits are drawn as short as they may be; short ones are over at
    once, the others when the clock has come so far."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.drawn: list[tuple[float, float]] = []
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._something_happened = asyncio.Event()

    def clock(self) -> float:
        return self.now

    def uniform(self, low: float, high: float) -> float:
        self.drawn.append((low, high))
        self._something_happened.set()
        return low

    async def sleep(self, seconds: float) -> None:
        if seconds < PASSING_S:
            await asyncio.sleep(0)
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, over))
        self._something_happened.set()
        await over

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        for until, over in self._sleepers:
            if until <= self.now and not over.done():
                over.set_result(None)

    async def until_waiting(self, seconds: float) -> None:
        """Wait until somebody sleeps for so long."""
        await self._until(
            lambda: (self.now + seconds) in [at for at, over in self._sleepers if not over.done()]
        )

    async def until_drawn(self, count: int) -> None:
        await self._until(lambda: len(self.drawn) >= count)

    async def _until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not happened():
                self._something_happened.clear()
                await self._something_happened.wait()


class Copy:
    """What one listener makes of what it is told. Fails where a revision is missing or comes twice."""

    def __init__(self, revision: int | None = None, value: Any = None) -> None:
        self.revision = revision
        self.value = value
        self.epoch: str | None = None
        self.told: list[int] = []
        self.events: list[Event] = []
        self._waiting: list[tuple[Callable[[Event], bool], asyncio.Future[None]]] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        match event:
            case Replaced():
                self.revision, self.value, self.epoch = event.revision, event.value, event.epoch
            case Moved():
                assert event.prev == self.revision
                self.told += [part.rev for part in event.parts]
                self.value = apply(self.value, list(event.patch))
                self.revision = event.revision
            case CaughtUp():
                assert event.revision == self.revision
        for wanted, future in self._waiting:
            if not future.done() and wanted(event):
                future.set_result(None)

    async def hears(self, kind: type[Event], revision: int | None = None) -> None:
        """Wait for an event, unless it has come already."""

        def wanted(event: Event) -> bool:
            return isinstance(event, kind) and revision in (None, getattr(event, "revision", None))

        if any(map(wanted, self.events)):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, future))
        async with asyncio.timeout(10):
            await future

    async def reaches(self, revision: int) -> None:
        if self.revision != revision:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((lambda _: self.revision == revision, future))
            async with asyncio.timeout(10):
                await future


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def live(client: ClientSession, time: Time) -> AsyncIterator[Live]:
    live = of(client, time)
    yield live
    await live.close()


def of(session: ClientSession, time: Time, **how: Any) -> Live:
    return Live(Transport(session, clock=time.clock, sleep=time.sleep, uniform=time.uniform), **how)


async def tasks_but_this() -> set[asyncio.Task[Any]]:
    """Tell who still runs, after everybody had some turns to end."""
    for _ in range(20):
        await asyncio.sleep(0)
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_a_document_is_followed_from_a_snapshot_on(client: ClientSession, live: Live) -> None:
    await create(client, "orders/1", {"n": 0})
    copy = Copy()
    live.follow("orders/1", listener=copy)
    await copy.hears(CaughtUp)
    assert (copy.revision, copy.value, live.state) == (1, {"n": 0}, "connected")
    await replace(client, "orders/1", "/n", 1)
    await copy.reaches(2)
    assert (copy.value, copy.told) == ({"n": 1}, [2])


async def test_a_document_is_followed_from_a_revision_on(client: ClientSession, live: Live) -> None:
    await create(client, "orders/1", {"n": 0})
    await replace(client, "orders/1", "/n", 1)
    await replace(client, "orders/1", "/n", 2)
    copy = Copy(1, {"n": 0})
    live.follow("orders/1", 1, listener=copy)
    await copy.hears(CaughtUp)
    assert (copy.value, copy.told) == ({"n": 2}, [2, 3])


async def test_deleting_is_a_revision_and_so_is_creating_again(client: ClientSession, live: Live) -> None:
    await create(client, "orders/1", {"n": 0})
    copy = Copy()
    live.follow("orders/1", listener=copy)
    await copy.hears(CaughtUp)
    async with client.delete("/v1/docs/orders/1", headers={"If-Match": "*"}):
        await copy.reaches(2)
    assert copy.value == ABSENT
    await create(client, "orders/1", {"n": 5})
    await copy.reaches(3)
    assert (copy.value, copy.told) == ({"n": 5}, [2, 3])


async def test_a_document_that_never_was_ends_alone(client: ClientSession, live: Live) -> None:
    await create(client, "orders/1", {"n": 0})
    copy, none = Copy(), Copy()
    live.follow("orders/1", listener=copy)
    following = live.follow("orders/none", listener=none)
    await none.hears(Ended)
    (ended,) = none.events
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, NotFound)
    assert following.closed
    await replace(client, "orders/1", "/n", 1)
    await copy.reaches(2)


async def test_there_is_a_connection_only_while_something_is_followed(
    client: ClientSession, time: Time
) -> None:
    states: list[str] = []
    live = of(client, time, on_state=states.append)
    await create(client, "orders/1", {"n": 0})
    assert live.state == "offline"
    for _ in range(2):
        copy = Copy()
        following = live.follow("orders/1", listener=copy)
        await copy.hears(CaughtUp)
        following.close()
    assert states == ["reconnecting", "connected", "offline"] * 2
    await live.close()


# Several listeners


async def test_two_listeners_share_one_subscription(client: ClientSession, live: Live) -> None:
    await create(client, "orders/1", {"n": 0})
    first, second, gone = Copy(), Copy(1, {"n": 0}), Copy(1, {"n": 0})
    live.follow("orders/1", listener=first)
    await first.hears(CaughtUp)
    live.follow("orders/1", 1, first.epoch, listener=second)
    live.follow("orders/1", 1, listener=gone).close()
    await second.hears(CaughtUp)
    await replace(client, "orders/1", "/n", 1)
    await first.reaches(2)
    await second.reaches(2)
    assert (first.told, second.told, gone.events) == ([2], [2], [])


@pytest.mark.parametrize("revision", [1, None, 9])
async def test_a_late_listener_is_led_to_where_the_others_are(
    client: ClientSession, live: Live, revision: int | None
) -> None:
    """From the revision it has, or by a snapshot; while the document goes on."""
    await create(client, "orders/1", {"n": 0})
    first = Copy()
    live.follow("orders/1", listener=first)
    await first.hears(CaughtUp)
    for n in range(1, 4):
        await replace(client, "orders/1", "/n", n)
    await first.reaches(4)
    late = Copy(revision, {"n": 0})
    live.follow("orders/1", revision, listener=late)
    for n in range(4, 10):
        await replace(client, "orders/1", "/n", n)
    await first.reaches(10)
    await late.reaches(10)
    assert late.value == first.value == {"n": 9}
    assert first.told == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    if revision == 1:
        assert late.told == first.told


async def test_a_listener_that_fails_is_told_nothing_any_more(
    client: ClientSession, live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    await create(client, "orders/1", {"n": 0})
    heard: list[Event] = []

    def fails(event: Event) -> None:
        heard.append(event)
        raise ValueError("as it may")

    copy = Copy()
    following = live.follow("orders/1", listener=fails)
    live.follow("orders/1", listener=copy)
    await copy.hears(CaughtUp)
    assert (len(heard), following.closed) == (1, True)
    assert "as it may" in caplog.text


async def test_a_listener_may_close_and_follow_again(client: ClientSession, live: Live) -> None:
    """Also the last one, in the middle of being told."""
    await create(client, "orders/1", {"n": 0})
    copy = Copy()

    def once(event: Event) -> None:
        following.close()
        live.follow("orders/1", listener=copy)

    following = live.follow("orders/1", listener=once)
    await copy.hears(CaughtUp)
    await replace(client, "orders/1", "/n", 1)
    await copy.reaches(2)


async def test_following_and_leaving_quickly_leaves_nothing(client: ClientSession, time: Time) -> None:
    await create(client, "orders/1", {"n": 0})
    before = await tasks_but_this()
    live = of(client, time)
    for turns in range(100):
        following = live.follow("orders/1", listener=Copy())
        for _ in range(turns % 30):
            await asyncio.sleep(0)
        following.close()
    copy = Copy()
    live.follow("orders/1", listener=copy)
    await copy.hears(CaughtUp)
    await live.close()
    assert len(await tasks_but_this()) <= len(before)


async def test_what_is_left_and_followed_again_misses_nothing(client: ClientSession, live: Live) -> None:
    """While another document keeps the connection, and edits flow."""
    await create(client, "orders/1", {"n": 0})
    await create(client, "orders/2", {"n": 0})
    live.follow("orders/2", listener=Copy())
    copy = Copy(1, {"n": 0})
    for n in range(1, 60):
        following = live.follow("orders/1", copy.revision, listener=copy)
        await replace(client, "orders/1", "/n", n)
        following.close()
    live.follow("orders/1", copy.revision, listener=copy)
    await copy.reaches(60)
    assert copy.told == list(range(2, 61))


async def test_a_name_that_is_none_is_refused(live: Live) -> None:
    for name in ("orders", "orders/..", "orders/1?x", "../orders", "orders/1\n", ""):
        with pytest.raises(ValueError, match="no name"):
            live.follow(name, listener=Copy())


# The connection is lost


async def test_cut_connections_cost_no_revision_and_double_none(client: ClientSession, time: Time) -> None:
    chance = random.Random(SEED)
    print(f"PLAIT_TEST_SEED={SEED}")
    proxy = Proxy(*address_of(client), lambda: chance.randrange(1, 4_000))
    await proxy.open()
    names = ["orders/1", "orders/2"]
    copies = [Copy(1, {"n": 0}) for _ in names]
    async with ClientSession(proxy.url) as through:
        live = of(through, time)
        for name, copy in zip(names, copies, strict=True):
            await create(client, name, {"n": 0})
            live.follow(name, 1, listener=copy)
        heads = dict.fromkeys(names, 1)
        async with asyncio.timeout(120):
            while proxy.cuts < 150:
                name = chance.choice(names)
                heads[name] = await replace(client, name, "/n", chance.random())
        for name, copy in zip(names, copies, strict=True):
            await copy.reaches(heads[name])
            assert copy.told == list(range(2, heads[name] + 1))
            async with client.get(f"/v1/docs/{name}") as answer:
                assert copy.value == await answer.json()
        assert live._transport.counters.reconnects > 10
        await live.close()
    await proxy.close()


async def test_a_restart_is_waited_out_as_the_server_says(
    serve: Serve, runners: list[Runner], time: Time
) -> None:
    client = await serve()
    await create(client, "orders/1", {"n": 0})
    states: list[str] = []
    live = of(client, time, on_state=states.append)
    copy = Copy()
    live.follow("orders/1", listener=copy)
    await copy.hears(CaughtUp)
    await runners[0].cleanup()
    await copy.hears(Lost)
    await serve(port=address_of(client)[1])
    await replace(client, "orders/1", "/n", 1)
    await copy.reaches(2)
    await live.close()
    assert (copy.told, states) == ([2], ["reconnecting", "connected", "reconnecting", "connected", "offline"])
    assert time.drawn[0][0] == 0.5, "what goaway says"


async def test_a_restored_server_replaces_the_copy(
    serve: Serve, runners: list[Runner], time: Time, tmp_path: Path
) -> None:
    client = await serve()
    await create(client, "orders/1", {"n": 0})
    await replace(client, "orders/1", "/n", 1)
    live = of(client, time)
    copy = Copy()
    live.follow("orders/1", listener=copy)
    await copy.hears(CaughtUp, 2)
    copy.events.clear()
    await runners[0].cleanup()
    await restored(serve, runners, tmp_path / "other.db", address_of(client)[1])
    await copy.hears(CaughtUp, 2)
    await live.close()
    assert copy.value == {"n": "went on"}
    replaced = [event for event in copy.events if isinstance(event, Replaced)]
    assert [event.reason for event in replaced] == ["epoch"]


async def restored(serve: Serve, runners: list[Runner], db: Path, port: int) -> None:
    """Start a server of another epoch whose document is at revision 2 too, but is another one."""
    client = await serve(db=db)
    await create(client, "orders/1", {"n": "restored"})
    await replace(client, "orders/1", "/n", "went on")
    await runners[-1].cleanup()
    await serve(db=db, port=port)


async def test_who_cannot_connect_waits_longer_each_time(time: Time) -> None:
    async with ClientSession("http://127.0.0.1:9") as nowhere:
        live = of(nowhere, time)
        live.follow("orders/1", listener=Copy())
        await time.until_drawn(8)
        assert live.state == "reconnecting"
        await live.close()
    assert time.drawn[:8] == [(0, 0.5), (0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (0, 30), (0, 30)]


async def test_closing_while_reconnecting_leaves_no_task(time: Time) -> None:
    """At whatever point it is."""
    for turns in range(40):
        async with ClientSession("http://127.0.0.1:9") as nowhere:
            live = of(nowhere, time)
            live.follow("orders/1", listener=Copy())
            for _ in range(turns):
                await asyncio.sleep(0)
            await live.close()
            assert live.state == "offline"
    assert await tasks_but_this() == set()


async def test_a_cancelled_program_leaves_no_task(client: ClientSession, time: Time) -> None:
    await create(client, "orders/1", {"n": 0})
    before = await tasks_but_this()
    copy = Copy()

    async def program() -> None:
        live = of(client, time)
        try:
            live.follow("orders/1", listener=copy)
            await asyncio.Event().wait()
        finally:
            await live.close()

    task = asyncio.create_task(program())
    await copy.hears(CaughtUp)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await tasks_but_this()) <= len(before)


async def test_a_client_that_cannot_read_for_a_while_misses_nothing(
    serve: Serve, runners: list[Runner], time: Time
) -> None:
    """Whether the server cuts it meanwhile, tells it several revisions at once, or the network holds them."""
    client = await serve(live_slow_timeout_s=0.1, live_queue_frames_max=8, live_queue_bytes_max=100_000)
    await create(client, "orders/1", {"text": ""})
    copy = Copy(1, {"text": ""})
    async with Gate(*address_of(client)) as gate, ClientSession(gate.url) as through:
        live = of(through, time)
        live.follow("orders/1", 1, listener=copy)
        await copy.hears(CaughtUp)
        gate.open.clear()
        for n in range(60):
            await replace(client, "orders/1", "/text", f"{n:02}" * 50_000)
        gate.open.set()
        await copy.reaches(61)
        await live.close()
    assert copy.value == {"text": "59" * 50_000}
    assert copy.told == sorted(set(copy.told))


class Gate:
    """A TCP proxy that lets nothing back as long as it is not `open`."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._tasks: list[asyncio.Task[None]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def __aenter__(self) -> "Gate":
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._server, self._tasks)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, to_server = await reach(*self._to)
        except BaseException:
            writer.transport.abort()
            raise
        there = asyncio.create_task(self._carry(reader, to_server))
        back = asyncio.create_task(self._carry(upstream, writer, self.open))
        self._tasks += [there, back]

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event | None = None
    ) -> None:
        try:
            while data := await reader.read(65_536):
                if gate is not None:
                    await gate.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()


async def test_who_it_is_is_said_in_the_headers(client: ClientSession, time: Time) -> None:
    """And then hello is not said, which would be a bad frame."""
    await create(client, "orders/1", {"n": 0})
    async with ClientSession(client._base_url, headers={"plait-author": "ann"}) as session:
        live = of(session, time)
        copy = Copy()
        live.follow("orders/1", listener=copy)
        await copy.hears(CaughtUp)
        await live.close()


async def test_a_token_that_is_none_ends_what_is_followed(client: ClientSession, time: Time) -> None:
    await create(client, "orders/1", {"n": 0})
    async with ClientSession(client._base_url, headers={"Authorization": "Bearer nonsense"}) as session:
        live = of(session, time)
        copy = Copy()
        live.follow("orders/1", listener=copy)
        await copy.hears(Ended)
        assert live.state == "offline"
        await live.close()


async def test_more_documents_than_one_connection_may_follow_are_refused(serve: Serve, time: Time) -> None:
    client = await serve(live_subscriptions_max=2)
    live = of(client, time)
    copies = [Copy() for _ in range(3)]
    for number, copy in enumerate(copies):
        await create(client, f"orders/{number}", {"n": 0})
        live.follow(f"orders/{number}", listener=copy)
        await copy.hears(CaughtUp if number < 2 else Ended)
    ended = copies[2].events[-1]
    assert isinstance(ended, Ended)
    assert ended.error.code == "too-large"
    await live.close()


async def test_a_late_listener_is_led_once_the_server_is_back(
    serve: Serve, runners: list[Runner], time: Time
) -> None:
    client = await serve()
    await create(client, "orders/1", {"n": 0})
    await replace(client, "orders/1", "/n", 1)
    live = of(client, time)
    first, late = Copy(), Copy(1, {"n": 0})
    live.follow("orders/1", listener=first)
    await first.hears(CaughtUp)
    await runners[0].cleanup()
    await first.hears(Lost)
    live.follow("orders/1", 1, first.epoch, listener=late)
    await serve(port=address_of(client)[1])
    await late.reaches(2)
    await replace(client, "orders/1", "/n", 2)
    await late.reaches(3)
    assert (late.told, late.value) == ([2, 3], {"n": 2})
    await live.close()


# A server that does what a test wants


WELCOME = {"t": "welcome", "session": "s", "epoch": "e", "limits": {"heartbeat_s": 25}}


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    """Give a client of a server that meets each connection with the next script."""
    async with AsyncExitStack() as ends:

        async def started(*scripts: Script, **documents: Handler) -> ClientSession:
            left = iter(scripts)

            async def meet(request: web.Request) -> web.WebSocketResponse:
                websocket = web.WebSocketResponse(protocols=("plait.v1.json",))
                await websocket.prepare(request)
                script = next(left, silent)
                await script(websocket)
                return websocket

            app = web.Application()
            app.router.add_get("/v1/live", meet)
            for path, handler in documents.items():
                app.router.add_get(f"/v1/docs/orders/1{PATHS[path]}", handler)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            ends.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            return await ends.enter_async_context(ClientSession(f"http://{host}:{port}"))

        yield started


async def silent(websocket: web.WebSocketResponse) -> None:
    await websocket.receive()
    await websocket.receive()


def says(*frames: dict[str, Any], code: int | None = None) -> Script:
    """Welcome the client, say something once it has subscribed, and close with a code, or wait."""

    async def script(websocket: web.WebSocketResponse) -> None:
        await websocket.receive()
        await websocket.send_json(WELCOME)
        await websocket.receive()
        for frame in frames:
            await websocket.send_json(frame)
        if code is not None:
            await websocket.close(code=code)
        await websocket.receive()

    return script


def snapshot(rev: int) -> dict[str, Any]:
    return {"t": "snapshot", "doc": "orders/1", "rev": rev, "value": rev}


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 4013, 4408])
async def test_it_comes_back_after(code: int, scripted: Scripted) -> None:
    time, copy = Time(), Copy()
    live = of(await scripted(says(snapshot(1), code=code), says(snapshot(2))), time)
    live.follow("orders/1", listener=copy)
    await copy.hears(Replaced, 2)
    assert time.drawn == [(0, 0.5)]
    assert [type(event) for event in copy.events] == [Replaced, Lost, Replaced]
    await live.close()


@pytest.mark.parametrize("code", [4400, 4429])
async def test_it_comes_back_with_care_after(code: int, scripted: Scripted) -> None:
    """It did something wrong: doing it again at once would not be better."""
    time, copy = Time(), Copy()
    live = of(await scripted(says(code=code), says(snapshot(1))), time)
    live.follow("orders/1", listener=copy)
    await time.until_waiting(15)
    assert time.drawn == [(15, 30)]
    time.go_on(15)
    await copy.hears(Replaced)
    await live.close()


async def test_nonsense_ends_the_connection_with_care(
    scripted: Scripted,
) -> None:
    time, copy = Time(), Copy()
    live = of(await scripted(says({"t": "rev", "doc": "orders/1", "rev": 0}), says(snapshot(1))), time)
    live.follow("orders/1", listener=copy)
    await time.until_waiting(15)
    time.go_on(15)
    await copy.hears(Replaced)
    await live.close()


@pytest.mark.parametrize("code", [4401, 4403])
async def test_who_is_not_let_in_does_not_come_back(code: int, scripted: Scripted) -> None:
    copies = Copy(), Copy()
    live = of(await scripted(says(snapshot(1), code=code)), Time())
    for number, copy in enumerate(copies, 1):
        live.follow(f"orders/{number}", listener=copy)
    for copy in copies:
        await copy.hears(Ended)
        ended = copy.events[-1]
        assert isinstance(ended, Ended)
        assert isinstance(ended.error, Forbidden)
    assert live.state == "offline"
    await live.close()


async def test_silence_is_a_loss(scripted: Scripted) -> None:
    """After two and a half heartbeats, whatever the network says."""
    time, copy = Time(), Copy()
    live = of(await scripted(says(snapshot(1)), says(snapshot(2))), time)
    live.follow("orders/1", listener=copy)
    await copy.hears(Replaced, 1)
    await time.until_waiting(10)
    time.go_on(10)
    await time.until_waiting(52.5)
    time.go_on(52.4)
    assert live.state == "connected"
    time.go_on(0.1)
    await copy.hears(Replaced, 2)
    assert [type(event) for event in copy.events] == [Replaced, Lost, Replaced]
    await live.close()


async def test_a_heartbeat_is_a_sign_of_life(scripted: Scripted) -> None:
    time, copy, beat = Time(), Copy(), asyncio.Event()

    async def script(websocket: web.WebSocketResponse) -> None:
        await websocket.receive()
        await websocket.send_json(WELCOME)
        await websocket.receive()
        await websocket.send_json(snapshot(1))
        await beat.wait()
        await websocket.send_json({"t": "hb", "heads": {}})
        await websocket.send_json({"t": "caught_up", "doc": "orders/1", "rev": 1})
        await websocket.receive()

    live = of(await scripted(script), time)
    live.follow("orders/1", listener=copy)
    await copy.hears(Replaced)
    time.go_on(60)
    beat.set()
    await copy.hears(CaughtUp)
    time.go_on(60)
    await time.until_waiting(2.5)
    assert live.state == "connected"
    await live.close()


@pytest.mark.parametrize("composed", [False, True])
async def test_what_is_told_while_a_late_listener_is_led_is_not_lost(
    scripted: Scripted, composed: bool
) -> None:
    """Nor told twice, also where it comes as one frame that begins before what it was led to."""
    time, first, late = Time(), Copy(), Copy(3)
    asked, more, answer = asyncio.Event(), asyncio.Event(), asyncio.Event()
    heads = iter([(6, [6, 5, 4]), (7, [7])] if composed else [(5, [5, 4])])
    pages: list[list[int]] = []

    async def script(websocket: web.WebSocketResponse) -> None:
        await websocket.receive()
        await websocket.send_json(WELCOME)
        await websocket.receive()
        await websocket.send_json(snapshot(5))
        await websocket.send_json({"t": "caught_up", "doc": "orders/1", "rev": 5})
        await more.wait()
        for prev, rev in [(5, 7)] if composed else [(5, 6), (6, 7)]:
            parts = [{"rev": n, "author": "", "at": ""} for n in range(prev + 1, rev + 1)]
            await websocket.send_json(
                {"t": "rev", "doc": "orders/1", "prev": prev, "rev": rev, "patch": [], "parts": parts}
            )
        await websocket.receive()

    async def document(_: web.Request) -> web.StreamResponse:
        asked.set()
        await answer.wait()
        head, page = next(heads)
        pages.append(page)
        return web.json_response(0, headers={"Plait-Revision": f"{head}", "Plait-Epoch": "e"})

    async def revisions(_: web.Request) -> web.StreamResponse:
        entries = [{"revision": n, "author": "", "at": "", "patch": []} for n in pages.pop()]
        return web.json_response({"revisions": entries, "cursor": None})

    live = of(await scripted(script, document=document, revisions=revisions), time)
    live.follow("orders/1", listener=first)
    await first.hears(CaughtUp)
    live.follow("orders/1", 3, "e", listener=late)
    await asked.wait()
    more.set()
    await first.reaches(7)
    answer.set()
    await late.reaches(7)
    assert (first.told, late.told) == ([6, 7], [4, 5, 6, 7])
    await live.close()


async def test_only_a_stable_connection_makes_up_for_losses(
    scripted: Scripted,
) -> None:
    time, copy = Time(), Copy()
    losing = says(code=1012)

    async def lasting(websocket: web.WebSocketResponse) -> None:
        await websocket.receive()
        await websocket.send_json(WELCOME)
        await websocket.receive()
        time.go_on(10)
        await websocket.close(code=1012)

    live = of(await scripted(losing, losing, losing, lasting, losing, says(snapshot(1))), time)
    live.follow("orders/1", listener=copy)
    await copy.hears(Replaced)
    assert time.drawn == [(0, 0.5), (0, 1), (0, 2), (0, 0.5), (0, 1)]
    assert live._transport.counters.reconnects == 5
    await live.close()


async def test_a_throttle_is_passed_on(scripted: Scripted) -> None:
    time, copy = Time(), Copy()
    live = of(await scripted(says({"t": "throttle", "retry_after_ms": 500}, snapshot(1))), time)
    live.follow("orders/1", listener=copy)
    await copy.hears(Replaced)
    assert live.throttled_until == time.now + 0.5
    await live.close()


async def test_a_document_that_cannot_be_told_of_now_is_asked_for_later(
    scripted: Scripted,
) -> None:
    """Without losing the connection, which others use too."""

    async def script(websocket: web.WebSocketResponse) -> None:
        await websocket.receive()
        await websocket.send_json(WELCOME)
        for _ in range(2):
            sub = await websocket.receive_json()
            problem = {"type": "x", "status": 503, "title": "", "detail": "", "retry": True}
            await websocket.send_json({"t": "problem", "id": sub["id"], "doc": "orders/1", **problem})
        await websocket.receive()
        await websocket.send_json(snapshot(1))
        await websocket.receive()

    time, copy = Time(), Copy()
    live = of(await scripted(script), time)
    live.follow("orders/1", listener=copy)
    await copy.hears(Replaced)
    assert time.drawn == [(0, 0.5), (0, 1)]
    await live.close()


@pytest.mark.parametrize("status", [401, 403])
async def test_who_is_turned_away_at_the_door_does_not_come_back(status: int) -> None:
    """Where the server says so itself; something in between that says so only blocks sockets."""

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({}, status=status, headers={"Plait-Should-Retry": "false"})

    app = web.Application()
    app.router.add_get("/v1/live", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with ClientSession(f"http://{host}:{port}") as session:
        live, copy = of(session, Time()), Copy()
        live.follow("orders/1", listener=copy)
        await copy.hears(Ended)
        ended = copy.events[-1]
        assert isinstance(ended, Ended)
        assert isinstance(ended.error, Forbidden)
        await live.close()
    await runner.cleanup()


# Sockets are blocked


def blocking(*faults: tuple[str, Fault]) -> Decide:
    """Do something to the requests whose path ends like this."""
    return lambda head: next((fault for end, fault in faults if head.path.endswith(end)), Fault.PASS)


async def test_where_sockets_are_blocked_events_are_heard(
    client: ClientSession, through: Through, time: Time
) -> None:
    await create(client, "orders/1", {"n": 0})
    session, proxy = await through(blocking(("/live", Fault.HTML_502)))
    live = of(session, time)
    copy = Copy()
    live.follow("orders/1", listener=copy)
    await copy.hears(CaughtUp)
    assert live.state == "connected"
    await replace(client, "orders/1", "/n", 1)
    await copy.reaches(2)
    late = Copy()
    live.follow("orders/2", listener=late)
    await late.hears(Ended)
    assert [type(event) for event in late.events] == [Ended]
    assert copy.told == [2]
    assert not [seen for seen in proxy.seen if seen.head.path.endswith("/orders/1")], "nothing is polled"
    await live.close()


async def test_events_of_many_documents_leave_connections_for_edits(
    client: ClientSession, through: Through, time: Time
) -> None:
    """Those of a session are limited: so some documents are polled."""
    session, proxy = await through(blocking(("/live", Fault.HTML_502)))
    live = of(session, time)
    copies = {f"orders/{number}": Copy() for number in range(EVENTS_MAX + 5)}
    for name, copy in copies.items():
        await create(client, name, {"n": 0})
        live.follow(name, listener=copy)
    for name, copy in copies.items():
        await copy.hears(CaughtUp)
        await replace(session, name, "/n", 1)
        await copy.reaches(2)
    assert sum(seen.head.path.endswith("/events") for seen in proxy.seen) <= EVENTS_MAX
    assert live.state == "connected"
    await live.close()


async def test_where_events_are_kept_back_the_document_is_polled(
    client: ClientSession, through: Through, time: Time
) -> None:
    await create(client, "orders/1", {"n": 0})
    session, _ = await through(blocking(("/live", Fault.HTML_502), ("/events", Fault.SWALLOW)))
    live = of(session, time)
    copy = Copy()
    live.follow("orders/1", listener=copy)
    await time.until_waiting(5)
    time.go_on(5)
    await copy.hears(CaughtUp)
    for n in range(1, 130):
        await replace(client, "orders/1", "/n", n)
    await copy.reaches(130)
    async with client.delete("/v1/docs/orders/1", headers={"If-Match": "*"}):
        await copy.reaches(131)
    assert (copy.value, live.state) == (ABSENT, "connected")
    assert copy.told == list(range(2, 132))
    await live.close()


async def test_the_better_way_is_tried_again(client: ClientSession, through: Through, time: Time) -> None:
    """And nothing is missed or told twice when ways are changed."""
    await create(client, "orders/1", {"n": 0})
    blocked = True
    session, proxy = await through(lambda head: Fault.HTML_502 if blocked and is_live(head) else Fault.PASS)
    live = of(session, time)
    copy = Copy()
    live.follow("orders/1", listener=copy)
    await copy.hears(CaughtUp)
    await time.until_waiting(300)
    copy.events.clear()
    time.go_on(300)
    await time.until_waiting(300)
    assert sum(is_live(seen.head) for seen in proxy.seen) == 3
    await copy.hears(Lost)
    await copy.hears(CaughtUp)
    assert live.state == "connected"
    blocked = False
    time.go_on(300)
    head = 1
    async with asyncio.timeout(10):
        while live._streams:
            head = await replace(client, "orders/1", "/n", head)
    head = await replace(client, "orders/1", "/n", "by socket")
    await copy.reaches(head)
    assert copy.told == list(range(2, head + 1))
    await live.close()


def is_live(head: Head) -> bool:
    return head.path == "/v1/live"


async def test_cut_events_cost_no_revision_and_double_none(client: ClientSession, through: Through) -> None:
    chance = random.Random(SEED)
    print(f"PLAIT_TEST_SEED={SEED}")
    proxy = Proxy(*address_of(client), lambda: chance.randrange(400, 4_000))
    await proxy.open()
    await create(client, "orders/1", {"n": 0})
    copy = Copy()
    async with ClientSession(proxy.url) as session:
        live = of(session, Time())
        live._streams = True
        live._running = asyncio.create_task(asyncio.sleep(0))
        live.follow("orders/1", listener=copy)
        head = 1
        async with asyncio.timeout(60):
            while proxy.cuts < 60:
                head = await replace(client, "orders/1", "/n", chance.random())
        await copy.reaches(head)
        assert copy.told == list(range(copy.told[0], head + 1))
        await live.close()
    await proxy.close()


async def test_events_come_back_after_a_restart(
    serve: Serve, runners: list[Runner], time: Time, tmp_path: Path
) -> None:
    """Of another epoch, which a stream of events cannot say that it knows."""
    client = await serve()
    await create(client, "orders/1", {"n": 0})
    await replace(client, "orders/1", "/n", 1)
    proxy = FaultyProxy(*address_of(client), blocking(("/live", Fault.HTML_502)))
    await proxy.open()
    async with ClientSession(proxy.url) as session:
        live = of(session, time)
        copy = Copy()
        live.follow("orders/1", listener=copy)
        await copy.hears(CaughtUp, 2)
        copy.events.clear()
        await runners[0].cleanup()
        await copy.hears(Lost)
        assert live.state == "reconnecting"
        await restored(serve, runners, tmp_path / "other.db", address_of(client)[1])
        await copy.hears(Replaced)
        await copy.reaches(2)
        assert copy.value == {"n": "went on"}
        await live.close()
    await proxy.close()


async def test_a_server_with_too_much_to_do_is_not_asked_more_often_instead(serve: Serve, time: Time) -> None:
    """That events are refused for now does not mean that they do not come through."""
    client = await serve(live_connections_max=1)
    await create(client, "orders/1", {"n": 0})
    proxy = FaultyProxy(*address_of(client), blocking(("/live", Fault.HTML_502)))
    await proxy.open()
    async with connected(client), ClientSession(proxy.url) as session:
        live = of(session, time)
        live.follow("orders/1", listener=Copy())
        await time.until_drawn(8)
        await live.close()
    assert sum(seen.head.path.endswith("/events") for seen in proxy.seen) >= 3
    assert not [seen for seen in proxy.seen if seen.head.path.endswith("/orders/1")]
    await proxy.close()
