"""One document that everybody edits at once, on stale bases."""

import asyncio
import json
from collections.abc import Iterator
from statistics import median
from typing import Any

from plait_server.bench.connection import Connection, read_url
from plait_server.bench.reading import Reading
from plait_server.ledger import Book

from . import quiet
from .load import Place
from .rounds import note
from .row import Row
from .scale import Scale
from .subject import Sample, Subject, cpu_ratio, create, disk_folder, plait, talk

CPU_AIMS = {16: 1.15, 64: 1.3}
"""By the number of writers."""
COUNTER_WRITERS = 50
COUNTER_AIM = 1 / 0.8
SHARE_AIM = 2
"""How many times the edits of the slowest writer the busiest may make."""


def hot(scale: Scale) -> Iterator[Row]:
    """Many writers of one document, each on a stale base, against as many on documents of their own."""
    yield from asyncio.run(_hot(scale))


async def _hot(scale: Scale) -> list[Row]:
    with disk_folder() as folder:
        async with plait(folder) as subject:
            alone = quiet.places(scale.documents_each)
            crowds = {writers: _crowd(f"hot/{writers}", writers) for writers in CPU_AIMS}
            await create(subject, quiet.documents(scale.documents_each))
            await create(subject, {f"hot/{writers}": _document(writers) for writers in CPU_AIMS})
            samples: dict[tuple[str, int], list[Sample]] = {}
            for _ in range(scale.server_rounds):
                note(".")
                for writers, crowd in crowds.items():
                    for name, mine in (("quiet", alone[:writers]), ("hot", crowd)):
                        sample = await subject.measure(mine, scale.edits)
                        samples.setdefault((name, writers), []).append(sample)
            rows: list[Row] = []
            for writers, crowd in crowds.items():
                lost = await _lost(subject, f"hot/{writers}", crowd)
                rows += _rows(crowd, samples["hot", writers], samples["quiet", writers], lost)
            rows += await _counter(subject, scale)
            return [*rows, *await _compare_and_set(subject, scale, _cpu_us(samples["quiet", 16]))]


def _crowd(name: str, writers: int, *, strict: bool = False) -> list[list[Place]]:
    """Give each writer a member of its own, deep in one document."""
    return [[Place(name, f"/writers/{writer}/count", strict=strict)] for writer in range(writers)]


def _document(writers: int) -> dict[str, Any]:
    return {"title": "hot", "writers": {str(writer): {"count": 0, "note": ""} for writer in range(writers)}}


def _rows(crowd: list[list[Place]], hot: list[Sample], alone: list[Sample], lost: int) -> Iterator[Row]:
    by = f"{len(crowd)} writers:"
    acknowledged = [place.acknowledged for (place,) in crowd]
    attempts = sum(place.attempts for (place,) in crowd) / sum(acknowledged)
    share = max(acknowledged) / max(1, min(acknowledged))
    aim = CPU_AIMS[len(crowd)]
    yield Row(f"{by} CPU an edit, to distinct documents", cpu_ratio(hot, alone), "x", aim)
    yield Row(f"{by} CPU an edit", _cpu_us(hot), "µs")
    yield Row(f"{by} attempts an acknowledged edit", attempts, "", 1)
    yield Row(f"{by} edits of the busiest to those of the slowest", share, "x", SHARE_AIM)
    yield Row(f"{by} acknowledged edits lost or doubled", lost, "", 0)


def _cpu_us(samples: list[Sample]) -> float:
    return median(sample.cpu_us for sample in samples)


async def _lost(subject: Subject, name: str, crowd: list[list[Place]]) -> int:
    """Count what is wrong: edits not in the history exactly once, members without the last one.

    The head must also be what all patches come to, one after the other.
    """
    connection = Connection(read_url(f"http://127.0.0.1:{subject.port}"))
    reading, book = Reading(connection), Book()
    for revision in await reading.history(name):
        book.find(revision)
    head = await reading.read(name)
    connection.close()
    verdict = book.close(head)
    edits = abs(verdict.revisions - 1 - sum(place.acknowledged for (place,) in crowd))
    members: Any = head.value
    stale: int = sum(
        members["writers"][str(writer)]["count"] != place.last_acknowledged
        for writer, (place,) in enumerate(crowd)
    )
    return edits + stale + verdict.gaps + verdict.misfolded


async def _counter(subject: Subject, scale: Scale) -> list[Row]:
    """Let everybody add to one number, by turns with everybody writing a member of his own."""
    await create(subject, {"hot/counter": {"n": 0}, "hot/crowd": _document(COUNTER_WRITERS)})
    adding = [[Place("hot/counter", "/n", adds=True)] for _ in range(COUNTER_WRITERS)]
    writing = _crowd("hot/crowd", COUNTER_WRITERS)
    slower: list[float] = []
    for _ in range(scale.server_rounds):
        note(".")
        hot = await subject.measure(writing, scale.edits)
        slower.append(hot.rate / (await subject.measure(adding, scale.edits)).rate)
    async with talk(subject) as connection:
        total = json.loads((await connection.ask("GET", "/v1/docs/hot/counter")).body)["n"]
    by = f"{COUNTER_WRITERS} writers of one counter:"
    return [
        Row(f"{by} rate of a hot document, to theirs", median(slower), "x", COUNTER_AIM),
        Row(
            f"{by} missing from the sum",
            abs(total - sum(place.sum_acknowledged for (place,) in adding)),
            "",
            0,
        ),
    ]


async def _compare_and_set(subject: Subject, scale: Scale, alone_us: float) -> list[Row]:
    """Let the same writers send If-Match and try again: what a server that does not merge costs."""
    await create(subject, {"hot/strict": _document(16)})
    sample = await subject.measure(_crowd("hot/strict", 16, strict=True), scale.edits // 4)
    by = "16 writers with If-Match, trying again:"
    return [
        Row(f"{by} CPU an edit, to distinct documents", sample.cpu_us / alone_us, "x"),
        Row(f"{by} attempts an acknowledged edit", sample.attempts / sample.acknowledged, ""),
    ]
