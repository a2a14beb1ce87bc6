"""Many clients of one server over bad networks: in the end all see the same, and nothing is lost or doubled.

Hypothesis writes the story, and makes it short where it goes wrong. Waits are over when the story says so.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import ClientSession, web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from address import address_of
from client_sdk.people import Network, head, history
from plait_client import (
    AsyncPlait,
    Document,
    MergeConflict,
    NotFound,
    PlaitError,
    Retry,
    Settled,
    Surroundings,
)
from plait_client.unsaved import UnsavedEdit
from plait_server.config import Settings
from plait_server.service import Service
from plait_server.store.sqlite import SqliteStore
from plait_server.web.application import create_app, service_limits
from plait_server.web.connections import Runner
from simulation.faulty_proxy import Fault, FaultyProxy

NAMES = ("orders/1", "orders/2")
START: dict[str, Any] = {"title": "A", "n": 0, "log": [], "deep": {"a": {"b": 0}}}
PASSING_S = 0.3
FAULTS = (
    Fault.CUT_BEFORE,
    Fault.CUT_AFTER,
    Fault.CUT_ANSWER,
    Fault.TRUNCATED_JSON,
    Fault.HTML_502,
    Fault.PLAIN_503,
    Fault.PLAIN_429,
)
EDITS: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "append": lambda n: [{"op": "add", "path": "/log/-", "value": n}],
    "insert": lambda n: [{"op": "add", "path": "/log/0", "value": n}],
    "cut": lambda n: [{"op": "remove", "path": "/log/0"}],
    "title": lambda n: [{"op": "replace", "path": "/title", "value": f"title {n}"}],
    "deep": lambda n: [{"op": "add", "path": "/deep/a/b", "value": n}],
    "remove": lambda n: [{"op": "remove", "path": "/deep/a"}],
    "member": lambda n: [{"op": "add", "path": f"/m{n % 3}", "value": {"n": n}}],
    "move": lambda n: [{"op": "move", "from": "/deep", "path": "/moved"}],
    "guarded": lambda n: [
        {"op": "test", "path": "/n", "value": 0},
        {"op": "add", "path": "/log/-", "value": n},
    ],
    "nothing": lambda n: [{"op": "test", "path": "/title", "value": "A"}],
}

Step = tuple[Any, ...]
PEOPLE = 3
people = st.integers(0, PEOPLE - 1)
names = st.sampled_from(NAMES)
steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("edit"), people, names, st.sampled_from(sorted(EDITS))),
    st.tuples(st.just("edit"), people, names, st.sampled_from(sorted(EDITS))),
    st.tuples(st.just("update"), people, names),
    st.tuples(st.just("undo"), people, names),
    st.tuples(st.just("delete"), people, names),
    st.tuples(st.just("follow"), people, names),
    st.tuples(st.just("refresh"), people, names),
    st.tuples(st.just("network"), people, st.sampled_from(FAULTS)),
    st.tuples(st.just("hiccup"), people, st.lists(st.sampled_from(FAULTS), min_size=1, max_size=6)),
    st.tuples(st.just("on"), people),
    st.tuples(st.just("restart"), people),
    st.tuples(st.just("settle"), people, st.sampled_from(("yours", "theirs"))),
    st.tuples(st.just("turns"), st.integers(1, 60)),
)


class Waits:
    """Short waits are over at once, the others when the story goes on."""

    def __init__(self) -> None:
        self._sleepers: list[asyncio.Future[None]] = []

    async def sleep(self, seconds: float) -> None:
        if seconds < PASSING_S:
            await asyncio.sleep(0)
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append(over)
        await over

    def wake(self) -> None:
        sleepers, self._sleepers = self._sleepers, []
        for over in sleepers:
            if not over.done():
                over.set_result(None)

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(sleep=self.sleep, uniform=lambda low, high: high)


@dataclass
class Person:
    """Somebody with a client of their own; the even ones have an outbox."""

    number: int
    url: str
    folder: Path
    network: Network
    waits: Waits
    plait: AsyncPlait = field(init=False)
    documents: dict[str, Document] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    told: dict[str, str] = field(default_factory=dict)
    unsaved: dict[str, UnsavedEdit] = field(default_factory=dict)

    @property
    def has_outbox(self) -> bool:
        return self.number % 2 == 0

    async def open(self) -> None:
        self.plait = AsyncPlait(
            self.url,
            author=f"p{self.number}",
            outbox=self.folder / f"{self.number}.db" if self.has_outbox else None,
            retry=Retry(attempts=2),
            on_settled=self._settled,
            surroundings=self.waits.surroundings,
        )
        await self.plait.open()
        self.documents = {}

    def _settled(self, settled: Settled) -> None:
        self.told[settled.key] = settled.outcome

    def look(self) -> None:
        """Note what is reported as unsaved."""
        for each in self.plait.outbox.failed():
            self.unsaved[each.key] = each

    async def close(self) -> None:
        context = self.plait._opened()
        await self.plait.close()
        for each in context.unsaved.failed():
            self.unsaved[each.key] = each

    async def document(self, name: str) -> Document:
        if name not in self.documents:
            self.documents[name] = await self.plait.doc(name, default=START)
        return self.documents[name]


class Story:
    """Plays steps, one after the other; what takes long goes on beside what comes next."""

    def __init__(self, people: list[Person], waits: Waits) -> None:
        self._people = people
        self._waits = waits
        self._number = 0
        self._jobs: set[asyncio.Task[None]] = set()

    async def play(self, step: Step) -> None:
        if step[0] == "turns":
            for _ in range(step[1]):
                await asyncio.sleep(0)
            return
        act, who, *rest = step
        person = self._people[who]
        if act == "network":
            person.network.fault = rest[0]
        elif act == "hiccup":
            person.network.next = [*rest[0]]
        elif act == "on":
            person.network.on()
            person.plait.retry_now()
            self._waits.wake()
        elif act == "restart":
            await self.settled()
            await person.close()
            await person.open()
        elif act == "edit":
            self._begin(self._edit(person, *rest))
        else:
            self._begin(getattr(self, f"_{act}")(person, *rest))

    def _begin(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def settled(self) -> None:
        """Wait for everything that goes on."""
        while self._jobs:
            self._waits.wake()
            await asyncio.wait(set(self._jobs), timeout=0.002)

    async def _edit(self, person: Person, name: str, kind: str) -> None:
        self._number += 1
        patch = EDITS[kind](self._number)
        with suppress(PlaitError):
            document = await person.document(name)
            saved = await document.patch(patch, wait=False)
            person.made.add(saved.key)

    async def _update(self, person: Person, name: str) -> None:
        def count(draft: dict[str, Any]) -> None:
            draft["n"] = draft.get("n", 0) + 1

        with suppress(PlaitError):
            document = await person.document(name)
            await document.update(count, deadline_s=2)

    async def _undo(self, person: Person, name: str) -> None:
        with suppress(PlaitError):
            await (await person.document(name)).undo()

    async def _delete(self, person: Person, name: str) -> None:
        with suppress(PlaitError):
            document = await person.document(name)
            if not document.pending:
                await document.delete()

    async def _follow(self, person: Person, name: str) -> None:
        with suppress(PlaitError):
            person.documents[name] = await person.plait.doc(name, default=START, live=True)

    async def _refresh(self, person: Person, name: str) -> None:
        with suppress(PlaitError):
            await (await person.document(name)).refresh()

    async def _settle(self, person: Person, side: Any) -> None:
        person.look()
        for each in person.plait.outbox.failed()[:1]:
            if isinstance(each.error, MergeConflict):
                each.error.choose_all(side)
                with suppress(PlaitError, ValueError):
                    await each.error.save()


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[ClientSession]:
    config = Settings(port=0, db=folder / "plait.db")
    service = await Service.open(await SqliteStore.open(config.db), limits=service_limits(config))
    runner = Runner(create_app(service, config), config)
    await runner.setup()
    await web.TCPSite(runner, config.host, config.port).start()
    host, port = runner.addresses[0][:2]
    async with ClientSession(f"http://{host}:{port}") as session:
        yield session
    await runner.cleanup()


async def _told(story: list[Step], folder: Path) -> None:
    waits = Waits()
    async with AsyncExitStack() as ends:
        server = await ends.enter_async_context(_server(folder))
        people = []
        for number in range(PEOPLE):
            network = Network()
            proxy = FaultyProxy(*address_of(server), network)
            await proxy.open()
            ends.push_async_callback(proxy.close)
            person = Person(number, proxy.url, folder, network, waits)
            await person.open()
            people.append(person)
        teller = Story(people, waits)
        async with asyncio.timeout(60):
            for step in story:
                await teller.play(step)
            await _heal(people, teller, waits)
            await _check(people, server)
        for person in people:
            await person.close()


async def _heal(people: list[Person], teller: Story, waits: Waits) -> None:
    """Let all networks work, and wait until everybody has said everything."""
    for person in people:
        person.network.next = []
        person.network.on()
        person.plait.retry_now()
    await teller.settled()
    for person in people:
        for name in NAMES:
            document = await person.plait.doc(name, default=START)
            person.documents[name] = document
            saved = asyncio.ensure_future(document.saved())
            while not saved.done():
                waits.wake()
                await asyncio.wait([saved], timeout=0.002)
    for person in people:
        for document in person.documents.values():
            with suppress(NotFound):
                await document.refresh()


async def _check(people: list[Person], server: ClientSession) -> None:
    found: Counter[str] = Counter()
    for name in NAMES:
        value = await head(server, name)
        found.update(each["key"] for each in await history(server, name) if each["key"] is not None)
        for person in people:
            document = person.documents[name]
            assert document.value == value
            assert not document.pending
    assert set(found.values()) <= {1}, "each key once"
    for person in people:
        person.look()
        for key in person.made:
            outcome = person.told.get(key)
            if found[key]:
                continue
            is_known = outcome in ("noop", "conflict", "refused") or key in person.unsaved
            assert is_known, f"{key} of {person.number} is neither saved nor reported: {outcome}"
        for key, each in person.unsaved.items():
            assert not found[key] or each.error.outcome_unknown, "what is reported is not saved"


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, min_size=3, max_size=40))
def test_in_the_end_all_see_the_same_and_every_edit_is_saved_once_or_reported(story: list[Step]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(_told(story, Path(folder)))
