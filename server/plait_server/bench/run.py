"""One run from start to end: a server, documents, writers and followers, the check, the report."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final
from uuid import uuid4

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from plait_server.bench import process
from plait_server.bench.connection import Connection, Target, read_url
from plait_server.bench.follower import Delivery, Follower, let_them_catch_up
from plait_server.bench.load import Load
from plait_server.bench.own import own_server
from plait_server.bench.reading import Reading, Unread
from plait_server.bench.report import Report
from plait_server.bench.workload import WORKLOADS, Workload, document
from plait_server.bench.writer import Writer
from plait_server.ledger import Ledger, Source

SHOWN_EVERY_S: Final = 0.25
STUCK_S: Final = 30.0
CATCH_UP_S: Final = 15.0
CREATED_AT_ONCE: Final = 16


class BenchRefused(Exception):
    """Nothing could be measured; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for. One of `duration_s` and `edits` is set; of the rest None is the workload's own."""

    workload: str
    url: str | None = None
    writers: int | None = None
    documents: int | None = None
    duration_s: float | None = None
    edits: int | None = None
    size_bytes: int | None = None
    subscribers: int | None = None
    collection: str | None = None
    keep: bool = False
    seed: int = 1
    pid: int | None = None


Shown = Callable[[Load, float], None]
"""Told from time to time how far it is: the load, and the seconds since it began."""


async def bench(plan: Plan, shown: Shown = lambda load, seconds: None) -> Report:
    """Run a plan. Raises BenchRefused, BadUrl and NotStarted before there is anything to report.

    SIGINT and SIGTERM end the writing; what was acknowledged is still checked and reported. The second one
    is as usual.
    """
    if plan.url is not None:
        return await Bench(plan, read_url(plan.url), plan.pid).run(shown)
    async with own_server() as own:
        return await Bench(plan, read_url(own.url), own.pid, is_own=True).run(shown)


class Bench:
    """A plan on a server. Without them, the workload is the one the plan names, and the ledger is checked
    against whole histories."""

    def __init__(
        self,
        plan: Plan,
        target: Target,
        pid: int | None = None,
        *,
        is_own: bool = False,
        workload: Workload | None = None,
        ledger: Ledger | None = None,
        source: Source | None = None,
    ) -> None:
        workload = workload or WORKLOADS[plan.workload]
        self.plan = plan
        self.target = target
        self.workload = workload
        run = uuid4().hex[:8]
        self.collection = plan.collection or f"bench-{run}"
        self.writers_total = plan.writers or workload.writers
        total = plan.documents or workload.documents or self.writers_total
        self.documents = [f"{self.collection}/{run}-{number}" for number in range(total)]
        self.size_bytes = workload.size_bytes if plan.size_bytes is None else plan.size_bytes
        subscribers = workload.subscribers if plan.subscribers is None else plan.subscribers
        self.subscribers_total = subscribers
        self.load = Load(run, ledger or Ledger("key"), plan.duration_s, plan.edits)
        self.delivery = Delivery()
        self.pid = pid
        self.is_own = is_own
        self._source = source
        self._connections: list[Connection] = []
        self._created: list[str] = []

    async def run(self, shown: Shown = lambda load, seconds: None) -> Report:
        """Do everything, and give the report."""
        try:
            version = await self._greet()
            self._find_process()
            writers = self.writers()
            with self._interruptible():
                await self._create(writers)
                async with self._following() as followers:
                    report = await self._measured(version, writers, shown)
                    async with self._watching():
                        report = await self._check(report)
                        await self._let_catch_up(followers)
            async with self._watching():
                return await self._clean_up(report)
        finally:
            for connection in self._connections:
                connection.close()

    def connection(self) -> Connection:
        connection = Connection(self.target)
        self._connections.append(connection)
        return connection

    def writers(self) -> list[Writer]:
        """Deal the documents out."""
        shared = round(len(self.documents) * self.workload.shared)
        shared = max(shared, 1) if self.workload.shared else 0
        common, rest = self.documents[:shared], self.documents[shared:]
        made = []
        for number in range(self.writers_total):
            own = rest[number :: self.writers_total] or (rest and [rest[number % len(rest)]]) or []
            random = Random(f"{self.plan.seed} {number}")
            made.append(Writer(number, self.connection(), self.load, random, own, common))
        return made

    async def _greet(self) -> str:
        """See that a Plait server answers; give its version. Raises BenchRefused."""
        try:
            answer = await self.connection().ask("GET", "/v1")
        except OSError as error:
            raise BenchRefused(f"No server answers at {self.target.url}: {_why(error)}.") from error
        told: Any = answer.body()
        if answer.status != 200 or not isinstance(told, dict) or told.get("name") != "plait":
            raise BenchRefused(
                f"What answers at {self.target.url} is no Plait server: GET /v1 gives {answer.status}."
            )
        largest = told.get("limits", {}).get("document_bytes_max", self.size_bytes)
        if self.size_bytes > largest:
            raise BenchRefused(f"The server takes documents of {largest} bytes; --size is {self.size_bytes}.")
        return str(told.get("version", "unknown"))

    def _find_process(self) -> None:
        if self.pid is None and process.is_here(self.target):
            self.pid = process.listener(self.target.port)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)

        def stop() -> None:
            self.load.stop("It was interrupted.")
            for each in signals:
                loop.remove_signal_handler(each)

        # Elsewhere than in the main thread nobody can press Ctrl-C.
        with suppress(ValueError, RuntimeError):
            for each in signals:
                loop.add_signal_handler(each, stop)
        yield
        with suppress(ValueError, RuntimeError):
            for each in signals:
                loop.remove_signal_handler(each)

    async def _create(self, writers: list[Writer]) -> None:
        """Create the documents. Raises BenchRefused where the first cannot be."""
        names: dict[str, list[str]] = {}
        for writer in writers:
            for each in (*writer.own, *writer.shared):
                names.setdefault(each, []).append(writer.name)
        waiting = iter(names.items())

        async def create_some(writer: Writer) -> None:
            for name, members in waiting:
                if self.load.is_over:
                    return
                if not await writer.create(name, document(members, self.size_bytes, self.load.run)):
                    self.load.stop("A document could not be created.")
                    return
                self._created.append(name)

        async with self._watching():
            await asyncio.gather(*(create_some(writer) for writer in writers[:CREATED_AT_ONCE]))
        if not self._created:
            refused = ", ".join(self.load.tally.refused) or self.load.stopped_by or "no answer"
            raise BenchRefused(f"{self.target.url} does not create documents in {self.collection}: {refused}")

    @asynccontextmanager
    async def _watching(self, shown: Shown = lambda load, seconds: None) -> AsyncIterator[None]:
        """Look from time to time: show how far it is, cut what is stuck."""
        loop = asyncio.get_running_loop()

        async def watch() -> None:
            begun = loop.time()
            while True:
                await asyncio.sleep(SHOWN_EVERY_S)
                shown(self.load, loop.time() - begun)
                for connection in self._connections:
                    connection.cut_if_stuck(loop.time(), STUCK_S)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    @asynccontextmanager
    async def _following(self) -> AsyncIterator[list[tuple[str, Follower]]]:
        """Let the followers follow; each one document, in turn."""
        if not self.subscribers_total:
            yield []
            return
        connector = TCPConnector(limit=0)
        async with ClientSession(connector=connector, timeout=ClientTimeout(total=None)) as session:
            followers = []
            for number in range(self.subscribers_total):
                name = self._created[number % len(self._created)]
                followers.append((name, Follower(session, self.target.url, name, self.delivery)))
            tasks = [asyncio.create_task(follower.follow()) for _, follower in followers]
            try:
                ready = asyncio.gather(*(follower.ready.wait() for _, follower in followers))
                try:
                    await asyncio.wait_for(ready, CATCH_UP_S)
                except TimeoutError as error:
                    raise BenchRefused("Not every subscriber could connect to /v1/live.") from error
                yield followers
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _measured(self, version: str, writers: list[Writer], shown: Shown) -> Report:
        """Let the writers write."""
        cpu_s = None if self.pid is None else process.cpu_s(self.pid)
        own_cpu_s, begun = time.process_time(), time.perf_counter()
        self.load.begin()
        async with self._watching(shown):
            await asyncio.gather(*(self._write(writer) for writer in writers))
        seconds = time.perf_counter() - begun
        later_s = None if self.pid is None else process.cpu_s(self.pid)
        is_known = cpu_s is not None and later_s is not None
        return Report(
            version=version,
            url=self.target.url,
            own=self.is_own,
            workload=self.plan.workload,
            writers=self.writers_total,
            documents=len(self.documents),
            size_bytes=self.size_bytes,
            seed=self.plan.seed,
            collection=self.collection,
            seconds=seconds,
            tally=self.load.tally,
            delivery=self.delivery,
            generator_cpu_s=time.process_time() - own_cpu_s,
            cpu_s=later_s - cpu_s if cpu_s is not None and later_s is not None else None,
            cpu_unknown=None if is_known else self._why_no_cpu(),
            stopped_by=self.load.stopped_by,
        )

    def _why_no_cpu(self) -> str:
        if self.pid is not None:
            return f"the process {self.pid} is not there, or ended meanwhile."
        if process.is_here(self.target):
            return "the server's process was not found; name it by --pid."
        return "the server is on another machine."

    async def _write(self, writer: Writer) -> None:
        habits, weights = zip(*self.workload.habits, strict=True)
        while self.load.take():
            (habit,) = writer.random.choices(habits, weights)
            await habit(writer)

    async def _check(self, report: Report) -> Report:
        """Read everything back, and compare."""
        if self.load.is_dead:
            return report.checked(None, "the server is gone.")
        try:
            verdict = await self.load.ledger.check(self._source or Reading(self.connection()))
        except (OSError, Unread) as error:
            return report.checked(None, str(error) or type(error).__name__)
        return report.checked(verdict)

    async def _let_catch_up(self, followers: list[tuple[str, Follower]]) -> None:
        if self.load.is_dead or not followers:
            return
        reading = Reading(self.connection())
        with suppress(OSError, Unread):
            heads = {name: (await reading.read(name)).revision for name in {name for name, _ in followers}}
            pairs = [(follower, heads[name]) for name, follower in followers]
            await let_them_catch_up(pairs, CATCH_UP_S, self.delivery)

    async def _clean_up(self, report: Report) -> Report:
        """Delete the documents, unless they are to be kept or go with the server."""
        if self.is_own:
            return report
        left = len(self._created)
        if not self.plan.keep and not self.load.is_dead:
            connection = self.connection()
            for name in self._created:
                with suppress(OSError):
                    read = await connection.ask("GET", f"/v1/docs/{name}?pointer=/run")
                    head = ("If-Match", f'"{read.header("Plait-Revision")}"')
                    answer = await connection.ask("DELETE", f"/v1/docs/{name}", b"", (head,))
                    left -= answer.status == 204
        return replace(report, documents_left=left)


def _why(error: OSError) -> str:
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error).rstrip(".") or "it takes too long"
