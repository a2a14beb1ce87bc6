"""The server: CPU for each acknowledged edit against a bare handler, throughput, a hot document, memory."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from plait_merge import apply

from .documents import document, pointers
from .load import Place
from .rounds import note
from .row import Row
from .scale import Scale
from .subject import FAST_LOOP, RAM, Sample, Subject, ask, bare, create, fsync_s, load_generator, plait

CONNECTIONS = (16, 64)
DOCUMENTS_EACH = 4
DOCUMENT_BYTES = 2_000
CPU_AIMS = {16: 2.5, 64: 2.0}
HOT_AIMS = {16: 1.15, 64: 1.3}
SIZES = {"2 kB": 2_000, "100 kB": 100_000, "1 MB": 1_000_000}
SIZE_AIMS = {"100 kB": 1.2, "1 MB": 1.5}
PLACE = pointers(DOCUMENT_BYTES)[0]


def distinct(scale: Scale) -> Iterator[Row]:
    """One-operation edits of many documents, against a bare handler on the same loop."""
    yield from asyncio.run(_distinct(scale))


def hot(scale: Scale) -> Iterator[Row]:
    """Many writers of one document, each on a stale base, against the same writers on documents of their own."""
    yield from asyncio.run(_hot(scale))


def sizes(scale: Scale) -> Iterator[Row]:
    """An edit of one member of documents of 2 kB, 100 kB and 1 MB: the patch counts, not the document."""
    yield from asyncio.run(_sizes(scale))


def memory(scale: Scale) -> Iterator[Row]:
    """What thousands of open documents take, and that closing them gives it back for others."""
    yield from asyncio.run(_memory(scale))


async def _distinct(scale: Scale) -> list[Row]:
    rows = []
    samples: dict[tuple[str, int], list[Sample]] = {}
    syncs = []
    async with _distinct_subjects() as (folder, subjects):
        for _ in range(scale.server_rounds):
            note(".")
            syncs.append(fsync_s(folder))
            for connections in CONNECTIONS:
                for name, (subject, places) in subjects.items():
                    sample = await subject.measure(places[:connections], scale.edits)
                    samples.setdefault((name, connections), []).append(sample)
    say = partial(Row, "distinct documents")
    for connections in CONNECTIONS:
        at = f"{connections} connections"
        cpu = {name: _cpu_us(samples[name, connections]) for name in subjects}
        rates = {name: median(s.rate for s in samples[name, connections]) for name in subjects}
        rows.append(say(f"{at}: CPU an edit, to a bare handler", cpu["plait"] / cpu["bare"], "x", CPU_AIMS[connections]))
        rows.append(say(f"{at}: CPU an edit", cpu["plait"], "µs"))
        rows.append(say(f"{at}: CPU a request of the bare handler", cpu["bare"], "µs"))
        rows.append(say(f"{at}: throughput", rates["plait"], "edits/s"))
        if "plait in memory" in rates:
            rows.append(say(f"{at}: throughput, in memory to on disk", rates["plait in memory"] / rates["plait"], "x"))
        if "plait on asyncio" in cpu:
            ratio = cpu["plait on asyncio"] / cpu["bare on asyncio"]
            rows.append(say(f"{at}: CPU to a bare handler, both without uvloop", ratio, "x"))
            ratio = cpu["plait on asyncio"] / cpu["plait"]
            rows.append(say(f"{at}: CPU an edit, without uvloop to with", ratio, "x"))
    rows.append(say("write and fdatasync of one page, this disk", median(syncs) * 1e3, "ms"))
    return rows


_Subjects = Mapping[str, tuple[Subject, list[list[Place]]]]


@asynccontextmanager
async def _distinct_subjects() -> AsyncIterator[tuple[Path, _Subjects]]:
    """Start Plait and the bare handler in all their variants, each with documents and places of its own."""
    async with load_generator() as folder, AsyncExitStack() as ends:
        subjects: dict[str, tuple[Subject, list[list[Place]]]] = {}

        async def add_plait(name: str, home: Path, loop: str) -> None:
            home.mkdir()
            subject = await ends.enter_async_context(plait(home, loop))
            await create(subject, {place: document(DOCUMENT_BYTES) for place in _names()})
            subjects[name] = subject, _places()

        await add_plait("plait", folder / "plait", FAST_LOOP)
        answer = await _sample_answer(subjects["plait"][0])
        loops = {"": FAST_LOOP}
        if FAST_LOOP != "asyncio":
            await add_plait("plait on asyncio", folder / "asyncio", "asyncio")
            loops[" on asyncio"] = "asyncio"
        for name, loop in loops.items():
            subjects[f"bare{name}"] = await ends.enter_async_context(bare(folder, answer, loop)), _places()
        if RAM.is_dir():
            ram = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="plait-", dir=RAM)))
            await add_plait("plait in memory", ram / "plait", FAST_LOOP)
        yield folder, subjects


async def _sample_answer(subject: Subject) -> Any:
    """Take an answer of Plait: what the bare handler is to say, byte for byte."""
    edit = [{"op": "replace", "path": PLACE, "value": 1}]
    await create(subject, {"bench/sample": document(DOCUMENT_BYTES)})
    answer = await ask(
        subject,
        "PATCH",
        "/v1/docs/bench/sample",
        edit,
        Plait_Base="1",
        Content_Type="application/json-patch+json",
    )
    assert answer.status == 200, answer
    for name in ("Date", "Content-Length", "Connection"):
        answer.headers.pop(name, None)
    return answer


def _names() -> list[str]:
    return [f"bench/{number:05}" for number in range(max(CONNECTIONS) * DOCUMENTS_EACH)]


def _places() -> list[list[Place]]:
    """Give each connection the documents it edits in turn."""
    names = _names()
    return [
        [Place(name, PLACE) for name in names[first : first + DOCUMENTS_EACH]]
        for first in range(0, len(names), DOCUMENTS_EACH)
    ]


def _cpu_us(samples: list[Sample]) -> float:
    return median(sample.cpu_us for sample in samples)


async def _hot(scale: Scale) -> list[Row]:
    rows = []
    say = partial(Row, "hot document")
    async with load_generator() as folder, plait(folder) as subject:
        await create(subject, {name: document(DOCUMENT_BYTES) for name in _names()})
        hot_documents = {connections: f"hot/{connections}" for connections in CONNECTIONS}
        await create(subject, {name: _hot_document() for name in hot_documents.values()})
        quiet = _places()
        crowds = {
            connections: [[Place(hot_documents[connections], f"/writers/w{n:02}/count")] for n in range(connections)]
            for connections in CONNECTIONS
        }
        samples: dict[tuple[str, int], list[Sample]] = {}
        for _ in range(scale.server_rounds):
            note(".")
            for connections in CONNECTIONS:
                for name, places in (("quiet", quiet[:connections]), ("hot", crowds[connections])):
                    sample = await subject.measure(places, scale.edits)
                    samples.setdefault((name, connections), []).append(sample)
        for connections in CONNECTIONS:
            writers, ratio_aim = f"{connections} writers", HOT_AIMS[connections]
            crowd = [place for (place,) in crowds[connections]]
            hot_us, quiet_us = _cpu_us(samples["hot", connections]), _cpu_us(samples["quiet", connections])
            attempts = sum(place.attempts for place in crowd) / sum(place.acknowledged for place in crowd)
            shares = [place.acknowledged for place in crowd]
            lost = await _lost(subject, hot_documents[connections], crowd)
            rows.append(say(f"{writers}: CPU an edit, to distinct documents", hot_us / quiet_us, "x", ratio_aim))
            rows.append(say(f"{writers}: CPU an edit", hot_us, "µs"))
            rows.append(say(f"{writers}: attempts an acknowledged edit", attempts, "", 1.0))
            rows.append(say(f"{writers}: edits of the busiest to the slowest writer", max(shares) / min(shares), "x", 2))
            rows.append(say(f"{writers}: acknowledged edits lost or doubled", lost, "", 0))
        rows += await _compare_and_set(subject, scale, _cpu_us(samples["quiet", 16]))
    return rows


def _hot_document() -> dict[str, Any]:
    writers = {f"w{number:02}": {"count": 0, "note": "x"} for number in range(max(CONNECTIONS))}
    return {"title": "hot", "writers": writers}


async def _lost(subject: Subject, name: str, crowd: list[Place]) -> int:
    """Count the acknowledged edits that are not in the history exactly once, or not in the document."""
    history = await _history(subject, name)
    acknowledged = sum(place.acknowledged for place in crowd)
    wrong = abs(len(history) - 1 - acknowledged)
    value: Any = None
    for patch in history:
        value = apply(value, patch)
    head = json.loads((await ask(subject, "GET", f"/v1/docs/{name}")).body)
    wrong += value != head
    return wrong + sum(
        head["writers"][f"w{number:02}"]["count"] != place.last_acknowledged
        for number, place in enumerate(crowd)
    )


async def _history(subject: Subject, name: str) -> list[Any]:
    """Read all patches of a document, oldest first."""
    patches: list[Any] = []
    cursor = ""
    while True:
        answer = await ask(subject, "GET", f"/v1/docs/{name}/revisions?limit=500{cursor}")
        page = json.loads(answer.body)
        patches += [revision["patch"] for revision in page["revisions"]]
        if page["cursor"] is None:
            return patches[::-1]
        cursor = f"&cursor={page['cursor']}"


async def _compare_and_set(subject: Subject, scale: Scale, quiet_us: float) -> list[Row]:
    """The same writers with If-Match, trying again: what a server that does not merge costs."""
    await create(subject, {"hot/strict": _hot_document()})
    crowd = [[Place("hot/strict", f"/writers/w{n:02}/count", strict=True)] for n in range(16)]
    sample = await subject.measure(crowd, scale.edits // 4)
    say = partial(Row, "hot document")
    return [
        say("16 writers with If-Match and retries: CPU, to distinct", sample.cpu_us / quiet_us, "x"),
        say("16 writers with If-Match and retries: attempts", sample.attempts / sample.acknowledged, ""),
    ]


async def _sizes(scale: Scale) -> list[Row]:
    writers = 4
    samples: dict[str, list[Sample]] = {name: [] for name in SIZES}
    grown: dict[str, int] = dict.fromkeys(SIZES, 0)
    dirtied: dict[str, int] = dict.fromkeys(SIZES, 0)
    async with AsyncExitStack() as ends:
        folder = await ends.enter_async_context(load_generator())
        subjects = {}
        for name, size in SIZES.items():
            home = folder / name.replace(" ", "")
            home.mkdir()
            subject = await ends.enter_async_context(plait(home))
            names = [f"bench/{number}" for number in range(writers)]
            await create(subject, {each: document(size) for each in names})
            subjects[name] = subject, [[Place(each, pointers(size)[0])] for each in names]
        edits = max(writers, scale.size_edits * writers // scale.server_rounds)
        for _ in range(scale.server_rounds):
            note(".")
            for name, (subject, places) in subjects.items():
                size_before, dirty_before = _size(subject), subject.written_bytes
                made = sum(place.acknowledged for (place,) in places)
                samples[name].append(await subject.measure(places, edits))
                made = sum(place.acknowledged for (place,) in places) - made
                grown[name] += (_size(subject) - size_before) // made
                dirtied[name] += (subject.written_bytes - dirty_before) // made
    return list(_size_rows(samples, grown, dirtied, scale.server_rounds))


def _size_rows(
    samples: Mapping[str, list[Sample]], grown: Mapping[str, int], dirtied: Mapping[str, int], rounds: int
) -> Iterator[Row]:
    say = partial(Row, "document sizes")
    # Of everything together, not of the median round: a snapshot falls into one round of many.
    cpu = {
        name: sum(s.cpu_s for s in taken) / sum(s.acknowledged for s in taken) for name, taken in samples.items()
    }
    for name, aim in SIZE_AIMS.items():
        yield say(f"CPU an edit, {name} to 2 kB", cpu[name] / cpu["2 kB"], "x", aim)
    for name in SIZES:
        yield say(f"CPU an edit, {name}", cpu[name] * 1e6, "µs")
    for name in SIZES:
        yield say(f"growth of the database an edit, {name}", grown[name] / rounds, "bytes")
    for name in SIZES:
        yield say(f"written to the disk an edit, log and checkpoints, {name}", dirtied[name] / rounds / 1000, "kB")


def _size(subject: Subject) -> int:
    """Tell how large the database is, with what its log holds of it."""
    import sqlite3

    connection = sqlite3.connect(f"file:{subject.database}?mode=ro", uri=True)
    try:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        return int(pages * connection.execute("PRAGMA page_size").fetchone()[0])
    finally:
        connection.close()


async def _memory(scale: Scale) -> list[Row]:
    count, value = scale.open_documents, document(1_000)
    say = partial(Row, "memory")
    async with load_generator() as folder, plait(folder, open_idle_s=5) as subject:
        await create(subject, {"warm/up": value})
        empty = subject.resident_bytes
        await create(subject, {f"first/{number:05}": value for number in range(count)})
        first = subject.resident_bytes - empty
        note(".")
        rows = [say(f"{count:,} open documents of 1 kB", first / 1e6, "MB", 200)]
        if scale.waits_for_closing:
            await asyncio.sleep(16)
            await create(subject, {f"second/{number:05}": value for number in range(count)})
            both = subject.resident_bytes - empty
            rows.append(say(f"{count:,} more, once nobody used the first: in all, to before", both / first, "x", 1.25))
    return rows
