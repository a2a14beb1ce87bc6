"""Everything at once, for long: does memory or latency grow, and is anything lost?

    python -m tests.benchmarks.soak [--minutes 20] [--every-s 10] [--json soak.json] [--svg soak.svg]

The mixed load of `plait bench` at full rate, with followers, new documents all the time, and a retention
that compacts history beside it. What is compacted cannot be read back in the end, so every revision is read
along, over `/v1/changes`, and crossed out against what was acknowledged. Afterwards the file is looked at as
`plait doctor` does. Exit code 1 where something was lost, found or grew.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from plait_server.bench.connection import Connection, Target, read_url
from plait_server.bench.load import Load
from plait_server.bench.process import cpu_s as cpu_of
from plait_server.bench.process import resident_bytes
from plait_server.bench.reading import Reading, Unread
from plait_server.bench.report import Report, percentile_ms, told
from plait_server.bench.run import Bench, Plan
from plait_server.bench.workload import WORKLOADS, document
from plait_server.bench.writer import Writer
from plait_server.ledger import Ledger
from plait_server.service.invariants import check
from plait_server.store.archive import open_archive
from plait_server.wire import decode, encode

from .graph import graph
from .subject import ROOT, disk_folder

KEPT_REVISIONS = 500
SETTINGS: dict[str, object] = {"port": 0, "open_idle_s": 60, "compaction_interval_s": 5}
DOCUMENTS = 100
WRITERS = 24
FOLLOWERS = 30
GROWTH_MAX = {"resident_mb": 0.10, "cpu_us": 0.10, "p50_ms": 0.25, "p99_ms": 0.50}
"""By so much of its mean a figure may grow over the second half, along the line of least squares."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one moment, and what was done in the seconds before it.

    `cpu_us` is its CPU time for each acknowledged edit, `machine_load` how many want to run on this machine,
    others too: times grow with it, CPU time much less.
    """

    at_s: float
    edits_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    machine_load: float
    resident_mb: float
    open_documents: int
    tasks: int
    queued: int
    leases: int
    sockets: int
    file_mb: float
    log_mb: float


class Server:
    """The watched server: its process, its database, and what it says it keeps."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, database: Path) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{port}"
        self.pid = process.pid
        self.database = database

    async def counts(self) -> dict[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        read: dict[str, int] = json.loads(await self._process.stdout.readline())
        return read

    def sizes_mb(self) -> tuple[float, float]:
        """The database and its log."""
        log = self.database.with_name(f"{self.database.name}-wal")
        return _mb(self.database.stat().st_size), _mb(log.stat().st_size if log.exists() else 0)


@asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[Server]:
    database = folder / "plait.db"
    settings = folder / "settings.json"
    settings.write_text(json.dumps({**SETTINGS, "db": str(database)}))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"{__package__}.watched", str(settings)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Server(process, int(await process.stdout.readline()), database)
    finally:
        process.stdin.close()
        await process.wait()


class Feed(Reading):
    """History as it is made: what comes is found in the ledger at once, and nothing is left to be read."""

    def __init__(self, target: Target, ledger: Ledger) -> None:
        super().__init__(Connection(target))
        self._target = target
        self._feed = Connection(target)
        self._ledger = ledger
        self._cursor = ""
        self._following: asyncio.Task[None] | None = None
        self.compacted = 0

    def follow(self) -> None:
        """Read along from now on."""
        self._following = asyncio.create_task(self._follow())

    async def history(self, document: str) -> Iterator[Mapping[str, Any]]:
        """Read the rest of the feed the first time; there is nothing else to read."""
        if self._following is not None:
            await self.stop()
            self._feed = Connection(self._target)
            while await self._page(wait_s=0):
                pass
        return iter(())

    async def stop(self) -> None:
        """Read along no longer. Raises what ended it before."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
        self._feed.close()

    async def _follow(self) -> None:
        while True:
            await self._page(wait_s=5)

    async def _page(self, wait_s: int) -> int:
        since = f"&since={self._cursor}" if self._cursor else ""
        answer = await self._feed.ask("GET", f"/v1/changes?limit=500&wait={wait_s}{since}")
        if answer.status != 200:
            raise Unread(f"The feed was answered with {answer.status} {answer.code}.")
        page: Any = decode(answer.content)
        for change in page["changes"]:
            # Whoever reads along so far behind reads whole values, and cannot tell one edit from another.
            self.compacted += "compacted" in change
            self._ledger.book(change["document"]).find(change)
        self._cursor = page["cursor"]
        return len(page["changes"])


class Soak:
    """One soak."""

    def __init__(self, server: Server, minutes: float, every_s: float) -> None:
        self._server = server
        self._ledger = Ledger(None)
        self.feed = Feed(read_url(server.url), self._ledger)
        self._minutes = minutes
        self.samples: list[Sample] = []
        self._sampling: asyncio.Task[None] | None = None
        self._begun = time.perf_counter()
        self._every_s = self._next_s = every_s
        self._edits = self._times = 0
        self._cpu_s = 0.0

    async def run(self) -> Report:
        workload = WORKLOADS["mixed"]
        workload = replace(workload, habits=(*workload.habits, (_new_document, 1)))
        plan = Plan(
            "mixed",
            collection="soak",
            writers=WRITERS,
            documents=DOCUMENTS,
            subscribers=FOLLOWERS,
            duration_s=self._minutes * 60,
        )
        target = read_url(self._server.url)
        bench = Bench(
            plan,
            target,
            self._server.pid,
            is_own=True,
            workload=workload,
            ledger=self._ledger,
            source=self.feed,
        )
        await self._retain(Connection(target))
        self.feed.follow()
        try:
            return await bench.run(self._shown)
        finally:
            await self.feed.stop()

    async def _retain(self, connection: Connection) -> None:
        fields = (("Content-Type", "application/json"), ("If-None-Match", "*"))
        wanted = encode({"retention": {"revisions": KEPT_REVISIONS}})
        answer = await connection.ask("PUT", "/v1/collections/soak", wanted, fields)
        if answer.status not in (200, 201):
            raise Unread(f"The retention was answered with {answer.status} {answer.code}.")

    def _shown(self, load: Load, seconds: float) -> None:
        late = self._sampling is not None and not self._sampling.done()
        if seconds >= self._next_s and not late and not load.is_over:
            self._next_s += self._every_s
            self._sampling = asyncio.create_task(self._sample(load, seconds))

    async def _sample(self, load: Load, seconds: float) -> None:
        tally, server = load.tally, self._server
        before_s = self.samples[-1].at_s if self.samples else 0.0
        recent = sorted(tally.times[self._times :])
        done = tally.acknowledged - self._edits
        cpu_s = cpu_of(server.pid) or 0.0
        spent_s, self._cpu_s = cpu_s - self._cpu_s, cpu_s
        self._edits, self._times = tally.acknowledged, len(tally.times)
        file_mb, log_mb = server.sizes_mb()
        sample = Sample(
            at_s=round(seconds, 1),
            edits_per_second=round(done / (seconds - before_s), 1),
            p50_ms=percentile_ms(recent, 0.50) or 0.0,
            p99_ms=percentile_ms(recent, 0.99) or 0.0,
            cpu_us=round(spent_s / max(1, done) * 1e6, 1),
            machine_load=round(os.getloadavg()[0], 2),
            resident_mb=_mb(resident_bytes(server.pid) or 0),
            file_mb=file_mb,
            log_mb=log_mb,
            **await server.counts(),
        )
        self.samples.append(sample)
        _say(
            f"{sample.at_s:7.0f} s  {sample.edits_per_second:7.0f} edits/s  p50 {sample.p50_ms:6.1f}  "
            f"p99 {sample.p99_ms:6.1f} ms  {sample.cpu_us:5.0f} µs  load {sample.machine_load:4.1f}  "
            f"{sample.resident_mb:6.1f} MB resident  "
            f"{sample.open_documents:5} open  file {sample.file_mb:7.1f} + {sample.log_mb:.1f} MB"
        )


async def _new_document(writer: Writer) -> None:
    """Make a document that nobody comes back to."""
    name = f"soak/{writer.load.run}-{writer.name}-{writer.value()}"
    await writer.create(name, document([writer.name], 1_000, writer.load.run))


@dataclass(frozen=True, slots=True)
class Trend:
    """How a figure went in the second half: `growth` is what the line of least squares gains over it, to the
    mean."""

    figure: str
    mean: float
    growth: float
    growth_max: float

    @property
    def is_flat(self) -> bool:
        return self.growth <= self.growth_max


def trend(figure: str, points: Sequence[tuple[float, float]]) -> Trend:
    """Lay a line through the second half of points (seconds, value)."""
    late = points[len(points) // 2 :]
    if len(late) < 2:
        return Trend(figure, late[0][1] if late else 0.0, 0.0, GROWTH_MAX[figure])
    mean_at = sum(at for at, _ in late) / len(late)
    mean = sum(value for _, value in late) / len(late)
    spread = sum((at - mean_at) ** 2 for at, _ in late)
    slope = sum((at - mean_at) * (value - mean) for at, value in late) / spread
    growth = slope * (late[-1][0] - late[0][0]) / mean if mean else 0.0
    return Trend(figure, round(mean, 2), round(growth, 4), GROWTH_MAX[figure])


def main() -> int:
    """Soak, and say what came of it."""
    asked = _arguments()
    with disk_folder() as folder:
        soak, report = asyncio.run(_soak(folder, asked.minutes, asked.every_s))
        _say("Looking at the file, as `plait doctor` does …")
        with open_archive(folder / "plait.db") as archive:
            findings = [str(finding) for finding in check(archive)]
    trends = [
        trend(figure, [(sample.at_s, getattr(sample, figure)) for sample in soak.samples])
        for figure in GROWTH_MAX
    ]
    whole = {
        "report": report.as_json(),
        "doctor": findings,
        "read_too_late": soak.feed.compacted,
        "trends": [{**asdict(each), "flat": each.is_flat} for each in trends],
        "samples": [asdict(sample) for sample in soak.samples],
    }
    if asked.json is not None:
        asked.json.write_text(json.dumps(whole, indent=1) + "\n")
    if asked.svg is not None:
        asked.svg.write_text(graph("at_s", [asdict(sample) for sample in soak.samples], FIGURES))
    print(told(report))
    print(f"  doctor               {len(findings)} findings")
    for each in trends:
        print(
            f"  {each.figure:20} mean {each.mean:g} in the second half, grew by {each.growth:+.1%} over it, "
            f"at most {each.growth_max:.0%}: {'flat' if each.is_flat else 'NOT FLAT'}"
        )
    is_good = report.holds and report.is_complete and not findings and not soak.feed.compacted
    return 0 if is_good and all(each.is_flat for each in trends) else 1


FIGURES = {
    "edits_per_second": "edits a second",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "cpu_us": "CPU an edit, µs",
    "machine_load": "load of machine",
    "resident_mb": "resident, MB",
    "open_documents": "open documents",
    "file_mb": "file, MB",
}


async def _soak(folder: Path, minutes: float, every_s: float) -> tuple[Soak, Report]:
    async with _served(folder) as server:
        soak = Soak(server, minutes, every_s)
        return soak, await soak.run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.soak", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--minutes", type=float, default=20, help="how long, 20 without")
    parser.add_argument("--every-s", type=float, default=10, help="seconds between two samples, 10 without")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw them there")
    return parser.parse_args()


def _mb(size: int) -> float:
    return round(size / 1e6, 2)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
