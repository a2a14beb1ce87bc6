"""kill -9 and power cuts under everything at once, with people who look on live and people who are offline.

A cycle: writers of edits, reverts, batches and queued edits, counters under a lease, documents that are
compacted meanwhile; subscribers; a program with an outbox, which is killed too. Then the server is killed, or
now and then asked to end; everything has to hold in its file, and after its start everybody has to find what
they were told.

PLAIT_FAULTS_CYCLES says how many cycles, PLAIT_TEST_SEED chooses the draws.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from errno import EIO, ENOSPC
from itertools import count
from pathlib import Path
from random import Random

from aiohttp import ClientSession

from client_sdk import offline_editor
from plait_server.service.invariants import check
from plait_server.store.archive import open_archive
from server.faults import batches, compacting, leased, ledger, queued
from server.faults.conftest import Start
from server.faults.faulty_system import FaultySystem
from server.faults.followers import Feed, Reader, Subscriber, client_of
from server.faults.leased import Holder
from server.faults.ledger import Ledger, check_documents, check_replays, create_documents, settle_the_lost
from server.faults.load import Load
from server.faults.serving import Server

CYCLES, POWER_CUTS = 10, 2
WRITERS, OTHERS = 5, 2
ANSWERS_BEFORE_KILL = 60
FAULTS = (("sync", EIO), ("write", EIO), ("write", ENOSPC))
ENDED = 0.2
"""How often the server is asked to end instead of being killed."""
EDITS_OF_AN_EDITOR = 12
REPLAYS = 20
FOLLOWED = (*ledger.DOCUMENTS, *batches.DOCUMENTS)
OFFLINE = offline_editor.NAME


async def test_after_every_kill_everything_holds_and_everybody_has_what_they_were_told(
    start: Start, tmp_path: Path, random: Random
) -> None:
    await run(start, tmp_path, random, cycles(CYCLES))


async def test_after_every_power_cut_everything_holds_and_everybody_has_what_they_were_told(
    start: Start, system: FaultySystem, tmp_path: Path, random: Random
) -> None:
    """The disk keeps what was synced, and of the rest what chance leaves. Now and then it failed before."""
    await run(start, tmp_path, random, cycles(POWER_CUTS), system)


def cycles(usual: int) -> int:
    return int(os.environ.get("PLAIT_FAULTS_CYCLES", usual))


async def run(
    start: Start, folder: Path, random: Random, cycles: int, system: FaultySystem | None = None
) -> None:
    """Go through so many cycles; with a system, the power goes after each."""
    prefix = () if system is None else system.prefix
    (folder / "plait.toml").write_text(compacting.SETTINGS)
    server = await start(prefix=prefix)
    crowd = Crowd(random, await compacting.prepare(server))
    async with server.client() as client:
        await crowd.begin(client)
    again = ("--port", str(server.address[1]))
    async with asyncio.TaskGroup() as lookers:
        looking = [lookers.create_task(each) for each in crowd.look_on(server.url)]
        editor = Editor(server.url, folder / "edits.db", random)
        await editor.edit()
        for number in range(cycles):
            async with asyncio.timeout(60):
                editing = asyncio.create_task(editor.edit())
                if system is not None and number % 2:
                    what, error = random.choice(FAULTS)
                    system.fail(what, error, before=random.randrange(30), times=random.randrange(1, 6))
                await crowd.work(server, system is None and random.random() < ENDED)
                if system is not None:
                    system.heal()
                    system.cut_power(random)
                check_file(folder)
                server = await start(*again, prefix=prefix)
                async with server.client() as client:
                    await crowd.check(client)
                await editing
        async with server.client() as client:
            await crowd.check(client)
            await editor.check(client)
        for task in looking:
            task.cancel()
    assert await server.end() == 0
    assert crowd.subscriber.connections > 1
    assert crowd.subscriber.copies.resets == 0


def check_file(folder: Path) -> None:
    """Check that everything holds in the file of a server that is gone."""
    with open_archive(folder / "plait.db") as archive:
        assert list(check(archive)) == []


class Crowd:
    """Everybody but the offline, with what they were told."""

    def __init__(self, random: Random, acknowledged: dict[str, set[str]]) -> None:
        self._random = random
        self._tokens: Iterator[int] = count(1)
        self._ledger = Ledger()
        self._batches = batches.Told()
        self._register = queued.Register()
        self._compacted = acknowledged
        self._holders = [Holder("ann"), Holder("bob")]
        self._is_ended = False
        self._feed = Feed()
        self._reader = Reader(ledger.DOCUMENTS[0])
        self.subscriber = Subscriber(FOLLOWED)

    async def begin(self, client: ClientSession) -> None:
        """Make the documents."""
        await create_documents(client)
        await create_documents(client, queued.DOCUMENTS)
        await batches.create(client)
        await leased.create(client)
        async with client.put(
            f"/v1/docs/{OFFLINE}", json={"log": []}, headers={"If-None-Match": "*"}
        ) as answer:
            assert answer.status == 201

    def look_on(self, url: str) -> list["asyncio._CoroutineLike[None]"]:
        return [self.subscriber.follow(url), self._reader.read(url)]

    async def work(self, server: Server, is_ended: bool) -> None:
        """Write until the server is killed at some moment, or asked to end."""
        random, tokens = self._random, self._tokens
        async with server.client() as client, asyncio.TaskGroup() as people:
            load = Load(client, random, tokens, self._ledger)
            compacted = compacting.Load(client, self._compacted, random)
            answers = asyncio.Semaphore(0)
            for _ in range(WRITERS):
                people.create_task(load.write())
            for writer in range(OTHERS):
                people.create_task(batches.write(client, random, tokens, self._batches, answers))
                people.create_task(queued.write(client, random, tokens, self._register, writer))
                people.create_task(compacted.write(10_000))
            for holder in self._holders:
                people.create_task(holder.count(client, tokens))
            await load.until(random.randrange(1, ANSWERS_BEFORE_KILL))
            self._is_ended = is_ended
            if is_ended:
                assert await server.end() == 0
            else:
                await server.kill()

    async def check(self, client: ClientSession) -> None:
        """Let everybody look for what they were told, and come to the end of what they began."""
        present = await check_documents(client, self._ledger)
        if self._is_ended:
            assert not present.keys() & self._ledger.lost.keys(), "it was taken, and not answered"
        await check_replays(client, self._ledger, [*self._ledger.answered][-REPLAYS:])
        await settle_the_lost(client, self._ledger, present)
        await batches.check(client, self._batches)
        await batches.check_replays(client, self._random, self._batches)
        await batches.settle_the_lost(client, self._batches)
        await queued.check_ends(client, self._register)
        await queued.send_the_lost_again(client, self._register)
        await leased.check(client, self._holders)
        await compacting.check(client, self._compacted, self._feed)
        await self._check_followers(client)

    async def _check_followers(self, client: ClientSession) -> None:
        """Wait until those who look on have been told of everything; they have it as it is."""
        await self._feed.catch_up(client)
        for document in FOLLOWED:
            async with client.get(f"/v1/docs/{document}") as answer:
                head, value = int(answer.headers["Plait-Revision"]), await answer.json()
            await self.subscriber.until(document, head)
            copies = self.subscriber.copies
            assert (copies.revisions[document], copies.values[document]) == (head, value)
            told = copies.told.get(document, [])
            assert told == list(range(head + 1 - len(told), head + 1))
            assert self._feed.values[document] == value
            if document == ledger.DOCUMENTS[0]:
                await self._reader.until(head)
                assert (self._reader.revision, self._reader.value) == (head, value)


class Editor:
    """A program that edits with an outbox whether the server is there or not, and is killed too."""

    def __init__(self, url: str, box: Path, random: Random) -> None:
        self._url = url
        self._box = box
        self._random = random
        self._said: list[int] = []
        self._first = 0

    async def edit(self) -> None:
        """Edit for a while; a call that returned is an edit that arrives."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, offline_editor.__file__, self._url, str(self._box), str(self._first)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        for _ in range(2 + self._random.randrange(EDITS_OF_AN_EDITOR)):
            if not (line := await process.stdout.readline()):
                break
            self._note(line)
        if process.returncode is None:
            process.kill()
        rest, _ = await process.communicate()
        for line in rest.splitlines(keepends=True):
            self._note(line)
        # What was made and not said has a number too: none is given again.
        self._first = max(self._first, *self._said[-1:]) + 1_000

    async def check(self, client: ClientSession) -> None:
        """Deliver what waits; check that everything that was said is there, in order, and once."""
        async with client_of(self._url, outbox=self._box) as plait:
            await (await plait.doc(OFFLINE)).saved(timeout_s=30)
            assert plait.outbox.failed() == ()
        async with client.get(f"/v1/docs/{OFFLINE}") as answer:
            log = (await answer.json())["log"]
        assert log == sorted(set(log))
        assert set(self._said) <= set(log)
        assert self._said, "the load proves too little"

    def _note(self, line: bytes) -> None:
        # The kill may cut a line off: that was not said.
        if line.startswith(b"made ") and line.endswith(b"\n"):
            self._said.append(int(line.split()[1]))
