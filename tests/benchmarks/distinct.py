"""The server on documents of everybody's own: CPU for each acknowledged edit, and throughput."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

from .documents import document
from .load import Place
from .quiet import DOCUMENT_BYTES, PLACE, documents, places
from .rounds import note
from .row import Row
from .scale import Scale
from .subject import (
    FAST_LOOP,
    RAM,
    Answer,
    Sample,
    Subject,
    bare,
    cpu_ratio,
    create,
    disk_folder,
    fsync_s,
    plait,
    talk,
)

CPU_AIMS = {16: 2.5, 64: 2.0}
"""By the number of connections."""
P99_AIM = 3


def distinct(scale: Scale) -> Iterator[Row]:
    """One-operation edits of many documents, against a bare handler on the same loop."""
    yield from asyncio.run(_distinct(scale))


async def _distinct(scale: Scale) -> list[Row]:
    samples: dict[tuple[str, int], list[Sample]] = {}
    syncs = []
    async with _subjects(scale.documents_each) as (folder, subjects):
        for _ in range(scale.server_rounds):
            note(".")
            syncs.append(fsync_s(folder))
            for connections in CPU_AIMS:
                for name, (subject, mine) in subjects.items():
                    sample = await subject.measure(mine[:connections], scale.edits)
                    samples.setdefault((name, connections), []).append(sample)
    figure = "write and fdatasync of one page, this disk"
    rows = [Row(figure, median(syncs) * 1e3, "ms")]
    for connections in CPU_AIMS:
        rows += _rows(connections, {name: samples[name, connections] for name in subjects})
    return rows


def _rows(connections: int, samples: Mapping[str, list[Sample]]) -> Iterator[Row]:
    at = f"{connections} connections:"
    cpu = {name: median(sample.cpu_us for sample in taken) for name, taken in samples.items()}
    rate = {name: median(sample.rate for sample in taken) for name, taken in samples.items()}
    yield Row(
        f"{at} CPU an edit, to a bare handler",
        cpu_ratio(samples["plait"], samples["bare"]),
        "x",
        CPU_AIMS[connections],
    )
    yield Row(f"{at} CPU an edit", cpu["plait"], "µs")
    yield Row(f"{at} CPU a request, bare handler", cpu["bare"], "µs")
    yield Row(f"{at} throughput", rate["plait"], "edits/s")
    p50_s = median(median(sample.took_s) for sample in samples["plait"])
    p99_s = median(sample.p99_s for sample in samples["plait"])
    yield Row(f"{at} p99 of an edit, to p50", p99_s / p50_s, "x", P99_AIM)
    yield Row(f"{at} p50 of an edit", p50_s * 1e3, "ms")
    ratio = cpu_ratio(samples["plait, keyed"], samples["plait"])
    yield Row(f"{at} CPU an edit with an idempotency key, to one without", ratio, "x")
    if "plait in memory" in rate:
        ratio = rate["plait in memory"] / rate["plait"]
        yield Row(f"{at} throughput, database in memory to on disk", ratio, "x")
    if "plait on asyncio" in cpu:
        ratio = cpu_ratio(samples["plait on asyncio"], samples["bare on asyncio"])
        yield Row(f"{at} CPU an edit, to a bare handler, both without uvloop", ratio, "x")
        yield Row(
            f"{at} CPU an edit, without uvloop to with",
            cpu_ratio(samples["plait on asyncio"], samples["plait"]),
            "x",
        )


_Subjects = Mapping[str, tuple[Subject, list[list[Place]]]]


@asynccontextmanager
async def _subjects(documents_each: int) -> AsyncIterator[tuple[Path, _Subjects]]:
    """Start Plait and the bare handler in all their variants, each with documents and places of its own."""
    async with AsyncExitStack() as ends:
        folder = ends.enter_context(disk_folder())
        homes = {"plait": (folder / "plait", FAST_LOOP), "plait, keyed": (folder / "keyed", FAST_LOOP)}
        loops = {"": FAST_LOOP}
        if FAST_LOOP != "asyncio":
            homes["plait on asyncio"] = folder / "asyncio", "asyncio"
            loops[" on asyncio"] = "asyncio"
        if RAM.is_dir():
            ram = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="plait-", dir=RAM)))
            homes["plait in memory"] = ram / "plait", FAST_LOOP
        started = await asyncio.gather(
            *(ends.enter_async_context(plait(home, loop)) for home, loop in homes.values())
        )
        plaits = dict(zip(homes, started, strict=True))
        answer = await _sample_answer(plaits["plait"])
        started = await asyncio.gather(
            *(ends.enter_async_context(bare(folder / loop, answer, loop)) for loop in loops.values())
        )
        references = {f"bare{name}": each for name, each in zip(loops, started, strict=True)}
        await asyncio.gather(*(create(each, documents(documents_each)) for each in plaits.values()))
        subjects = {}
        for name, each in plaits.items():
            subjects[name] = each, places(documents_each, keyed=name == "plait, keyed")
            # Beside it in every round, so that both meet the same moment.
            reference = name.replace("plait", "bare")
            if reference in references:
                subjects[reference] = references[reference], places(documents_each)
        yield folder, subjects


async def _sample_answer(subject: Subject) -> Answer:
    """Take an answer of Plait: what the bare handler is to say, byte for byte."""
    await create(subject, {"bench/sample": document(DOCUMENT_BYTES)})
    edit = [{"op": "replace", "path": PLACE, "value": 1_000_000}]
    async with talk(subject) as connection:
        answer = await connection.ask(
            *("PATCH", "/v1/docs/bench/sample", edit),
            Plait_Base="1",
            Content_Type="application/json-patch+json",
        )
    if answer.status != 200:
        raise RuntimeError(answer)
    del answer.headers["Date"]
    return answer
