"""Servers under measurement: started on a core of their own, watched from outside."""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from .load import Place, connect, run

ROOT = Path(__file__).parents[2]
RAM = Path("/dev/shm")
WARM_UP = 10
"""A tenth of the edits of a round come before it, unmeasured."""
FAST_LOOP = "uvloop" if find_spec("uvloop") is not None else "asyncio"
"""The loop `plait serve` takes."""
CPU_SEEN_S = 1e-6
"""A process on another core is charged at its switches and ticks: a run of no time at all may show none."""
CORES = sorted(os.sched_getaffinity(0))
"""The first is the servers', the last the load generator's; on a machine with one core nothing is pinned."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What some edits took."""

    acknowledged: int
    attempts: int
    cpu_s: float
    elapsed_s: float
    took_s: Sequence[float]
    """From each request to its answer."""

    @property
    def p99_s(self) -> float:
        return quantiles(self.took_s, n=100)[98]

    @property
    def cpu_us(self) -> float:
        """Server CPU, user and system, for each acknowledged edit, in microseconds."""
        return self.cpu_s / self.acknowledged * 1e6

    @property
    def rate(self) -> float:
        """Acknowledged edits a second."""
        return self.acknowledged / self.elapsed_s


def cpu_ratio(samples: Sequence[Sample], references: Sequence[Sample]) -> float:
    """Compare the CPU an edit of samples with that of what was measured next to each: the median ratio."""
    return median(one.cpu_us / other.cpu_us for one, other in zip(samples, references, strict=True))


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Subject:
    """A running server."""

    port: int
    pid: int
    database: Path | None

    @property
    def cpu_s(self) -> float:
        """CPU time of the process so far, user and system: what clock_getcpuclockid(3) names."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def cpu_since(self, before_s: float) -> float:
        """CPU time since `cpu_s` was `before_s`, never none at all."""
        return max(self.cpu_s - before_s, CPU_SEEN_S)

    @property
    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    @property
    def written_bytes(self) -> int:
        """What the process made dirty on the disk so far; 0 where the kernel does not tell."""
        with suppress(OSError):
            for line in Path(f"/proc/{self.pid}/io").read_text().splitlines():
                if line.startswith("write_bytes:"):
                    return int(line.split()[1])
        return 0

    async def measure(self, places: Sequence[Sequence[Place]], edits: int) -> Sample:
        """Have edits made, one connection for each group of places, and see what they took."""
        everything = [place for group in places for place in group]
        with pinned():
            connections = await connect(self.port, places)
            await run(connections, max(len(connections), edits // WARM_UP))
            attempts, acknowledged = _made(everything)
            cpu_s, started = self.cpu_s, time.perf_counter()
            took_s = await run(connections, edits)
            elapsed_s, cpu_s = time.perf_counter() - started, self.cpu_since(cpu_s)
            for connection in connections:
                connection.close()
        attempts_now, acknowledged_now = _made(everything)
        return Sample(acknowledged_now - acknowledged, attempts_now - attempts, cpu_s, elapsed_s, took_s)


def _made(places: Sequence[Place]) -> tuple[int, int]:
    return sum(place.attempts for place in places), sum(place.acknowledged for place in places)


@contextmanager
def pinned() -> Iterator[None]:
    """Keep to the last core for the time."""
    os.sched_setaffinity(0, CORES[-1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, CORES)


@asynccontextmanager
async def plait(folder: Path, loop: str = FAST_LOOP, **settings: object) -> AsyncIterator[Subject]:
    """Run Plait with its database in `folder`."""
    database = folder / "plait.db"
    async with _child("plait", loop, folder, {"db": str(database), **settings}) as (port, pid):
        yield Subject(port, pid, database)


@asynccontextmanager
async def bare(folder: Path, answer: Answer, loop: str = FAST_LOOP) -> AsyncIterator[Subject]:
    """Run the bare handler, which gives one answer to everything."""
    given = {"headers": answer.headers, "body": answer.body.decode()}
    async with _child("bare", loop, folder, given) as (port, pid):
        yield Subject(port, pid, None)


@asynccontextmanager
async def bare_loop(folder: Path, loop: str = FAST_LOOP) -> AsyncIterator[Subject]:
    """Run the bare sockets: what one sends is sent to all, one after the other."""
    async with _child("loop", loop, folder, {}) as (port, pid):
        yield Subject(port, pid, None)


@asynccontextmanager
async def _child(kind: str, loop: str, folder: Path, given: Any) -> AsyncIterator[tuple[int, int]]:
    file = await asyncio.to_thread(_note_down, folder, kind, given)
    core = CORES[0] if len(CORES) > 1 else -1
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"{__package__}.child", kind, loop, str(core), str(file)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline()), process.pid
    finally:
        process.stdin.close()
        await process.wait()


def _note_down(folder: Path, kind: str, given: object) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"{kind}.json"
    file.write_text(json.dumps(given))
    return file


class Talk:
    """One connection for requests that are not measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request and read its answer. In names of headers `_` stands for `-`."""
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        lines = {"Host": "localhost", "Content-Length": str(len(content))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        status, *fields = (await self._reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        named = dict(field.split(": ", 1) for field in fields)
        length = int(named.pop("Content-Length", 0))
        return Answer(int(status.split()[1]), named, await self._reader.readexactly(length))


@asynccontextmanager
async def talk(subject: Subject) -> AsyncIterator[Talk]:
    """Open a connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", subject.port)
    yield Talk(reader, writer)
    writer.close()


async def create(subject: Subject, documents: Mapping[str, object], at_once: int = 32) -> None:
    """Create documents by PUT."""
    waiting = iter(documents.items())
    how = {"If_None_Match": "*", "Content_Type": "application/json"}

    async def create_some() -> None:
        async with talk(subject) as connection:
            for document, value in waiting:
                answer = await connection.ask("PUT", f"/v1/docs/{document}", value, **how)
                if answer.status != 201:
                    raise RuntimeError(answer)

    await asyncio.gather(*(create_some() for _ in range(min(at_once, len(documents)))))


@contextmanager
def disk_folder() -> Iterator[Path]:
    """Give a temporary folder on a disk: below the usual place, or where that is in memory, right here."""
    with tempfile.TemporaryDirectory(prefix="plait-", dir=_disk()) as folder:
        yield Path(folder)


def _disk() -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    for folder in (tempfile.gettempdir(), str(Path.cwd())):
        _, kind = max((m for m in mounts if Path(folder).is_relative_to(m[0])), key=lambda m: len(m[0]))
        if kind not in ("tmpfs", "ramfs"):
            return folder
    raise OSError("Neither the temporary folder nor the current one is on a disk.")


def fsync_s(folder: Path, times: int = 60) -> float:
    """Time the disk: the median of a write of one page and its fdatasync, in seconds."""
    taken = []
    with open(folder / "probe", "wb", buffering=0) as file:
        for _ in range(times):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    return median(taken)
