"""Servers under measurement: started on a core of their own, watched from outside."""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from .load import Connection, Place, connect, run

ROOT = Path(__file__).parents[2]
RAM = Path("/dev/shm")
WARM_UP = 10
"""A tenth of the edits of a round come before it, unmeasured."""
FAST_LOOP = "uvloop" if find_spec("uvloop") is not None else "asyncio"
"""The loop `plait serve` takes."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What some edits took."""

    acknowledged: int
    attempts: int
    cpu_s: float
    elapsed_s: float

    @property
    def cpu_us(self) -> float:
        """Server CPU, user and system, for each acknowledged edit, in microseconds."""
        return self.cpu_s / self.acknowledged * 1e6

    @property
    def rate(self) -> float:
        """Acknowledged edits a second."""
        return self.acknowledged / self.elapsed_s


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
        connections: list[Connection] = await connect(self.port, places)
        await run(connections, max(len(connections), edits // WARM_UP))
        everything = [place for group in places for place in group]
        before = sum(place.attempts for place in everything), sum(p.acknowledged for p in everything)
        cpu_s, started = self.cpu_s, time.perf_counter()
        await run(connections, edits)
        elapsed_s, cpu_s = time.perf_counter() - started, self.cpu_s - cpu_s
        for connection in connections:
            connection.close()
        attempts = sum(place.attempts for place in everything) - before[0]
        acknowledged = sum(place.acknowledged for place in everything) - before[1]
        return Sample(acknowledged, attempts, cpu_s, elapsed_s)


@asynccontextmanager
async def plait(folder: Path, loop: str = FAST_LOOP, **settings: object) -> AsyncIterator[Subject]:
    """Run Plait with its database in `folder`."""
    database = folder / "plait.db"
    async with _child("plait", loop, folder, {"db": str(database), **settings}) as (port, pid):
        yield Subject(port, pid, database)


@asynccontextmanager
async def bare(folder: Path, answer: "Answer", loop: str = FAST_LOOP) -> AsyncIterator[Subject]:
    """Run the bare handler, which gives one answer to everything."""
    given = {"headers": answer.headers, "body": answer.body.decode()}
    async with _child("bare", loop, folder, given) as (port, pid):
        yield Subject(port, pid, None)


@asynccontextmanager
async def _child(kind: str, loop: str, folder: Path, given: Any) -> AsyncIterator[tuple[int, int]]:
    file = folder / f"{kind}.json"
    file.write_text(json.dumps(given))
    core = cores()[0] if len(cores()) > 1 else -1
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


def cores() -> list[int]:
    """List the cores there are: the first is the servers', the last the load generator's."""
    return _CORES


_CORES = sorted(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask(subject: Subject, method: str, path: str, body: object = None, **headers: str) -> Answer:
    """Send one request over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", subject.port, limit=2**26)
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    lines = {"Host": "localhost", "Content-Length": str(len(content)), "Connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(head.encode() + b"\r\n" + content)
    head_read, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    status, *fields = head_read.decode().split("\r\n")
    named = dict(line.split(": ", 1) for line in fields)
    return Answer(int(status.split()[1]), named, rest)


async def create(subject: Subject, documents: dict[str, object], at_once: int = 32) -> None:
    """Create documents by PUT."""
    waiting = iter(documents.items())

    async def put_some() -> None:
        for document, value in waiting:
            path = f"/v1/docs/{document}"
            answer = await ask(
                subject, "PUT", path, value, If_None_Match="*", Content_Type="application/json"
            )
            assert answer.status == 201, answer

    await asyncio.gather(*(put_some() for _ in range(at_once)))


@asynccontextmanager
async def load_generator() -> AsyncIterator[Path]:
    """Move to the last core for the time; give a temporary folder on a disk."""
    before = os.sched_getaffinity(0)
    if len(cores()) > 1:
        os.sched_setaffinity(0, {cores()[-1]})
    try:
        with tempfile.TemporaryDirectory(prefix="plait-", dir=_disk()) as folder:
            yield Path(folder)
    finally:
        os.sched_setaffinity(0, before)


def _disk() -> str:
    """Find a folder that is not in memory: the temporary one, or else the current one."""
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
