"""Documents of several sizes: an edit costs what the edit weighs, not what the document does."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field

from .documents import document, pointers
from .load import Place
from .rounds import note
from .row import Row
from .scale import Scale
from .subject import Sample, Subject, create, disk_folder, plait

SIZES = {"2 kB": 2_000, "100 kB": 100_000, "1 MB": 1_000_000}
CPU_AIMS = {"100 kB": 1.2, "1 MB": 1.5}
"""Relative to the smallest."""
WRITERS = 16


def sizes(scale: Scale) -> Iterator[Row]:
    """Edits of one member in documents of 2 kB, 100 kB and 1 MB: CPU and bytes written."""
    yield from asyncio.run(_sizes(scale))


@dataclass(slots=True)
class _Measured:
    """One size: its server, what is edited there, and what came of it."""

    subject: Subject
    places: list[list[Place]]
    samples: list[Sample] = field(default_factory=list)
    made: int = 0
    grown_bytes: int = 0
    written_bytes: int = 0

    async def measure(self, edits: int) -> None:
        subject = self.subject
        size, written, made = _database_bytes(subject), subject.written_bytes, self._acknowledged()
        self.samples.append(await subject.measure(self.places, edits))
        self.grown_bytes += _database_bytes(subject) - size
        self.written_bytes += subject.written_bytes - written
        self.made += self._acknowledged() - made

    def _acknowledged(self) -> int:
        return sum(place.acknowledged for (place,) in self.places)

    @property
    def cpu_us(self) -> float:
        """CPU an edit of all rounds together: a snapshot, though it belongs to all edits, falls into one."""
        acknowledged = sum(sample.acknowledged for sample in self.samples)
        return sum(sample.cpu_s for sample in self.samples) / acknowledged * 1e6


async def _sizes(scale: Scale) -> list[Row]:
    edits = max(WRITERS, scale.size_edits * WRITERS // scale.server_rounds)
    async with AsyncExitStack() as ends:
        folder = ends.enter_context(disk_folder())
        subjects = await asyncio.gather(
            *(ends.enter_async_context(plait(folder / str(size))) for size in SIZES.values())
        )
        measured = {}
        for (name, size), subject in zip(SIZES.items(), subjects, strict=True):
            documents = [f"bench/{number}" for number in range(WRITERS)]
            await create(subject, dict.fromkeys(documents, document(size)))
            measured[name] = _Measured(subject, [[Place(each, pointers(size)[0])] for each in documents])
        for _ in range(scale.server_rounds):
            note(".")
            for each in measured.values():
                await each.measure(edits)
    return list(_rows(measured))


def _rows(measured: dict[str, _Measured]) -> Iterator[Row]:
    smallest = measured["2 kB"]
    for name, aim in CPU_AIMS.items():
        yield Row(f"CPU an edit, {name} to 2 kB", measured[name].cpu_us / smallest.cpu_us, "x", aim)
    for name, each in measured.items():
        yield Row(f"CPU an edit, {name}", each.cpu_us, "µs")
    for name, each in measured.items():
        yield Row(f"growth of the database an edit, {name}", each.grown_bytes / each.made, "bytes")
    for name, each in measured.items():
        figure = f"written to the disk an edit, with log and checkpoints, {name}"
        yield Row(figure, each.written_bytes / each.made / 1000, "kB")


def _database_bytes(subject: Subject) -> int:
    """Tell how large the database is, with what only its log has yet."""
    with closing(sqlite3.connect(f"file:{subject.database}?mode=ro", uri=True)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        return int(pages) * int(page_bytes)
