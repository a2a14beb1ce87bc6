"""Long histories: what it takes to open a document that has one, and what edits notice while it goes."""

import asyncio
import gc
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from plait_merge import Json, apply
from plait_server.service import (
    Caller,
    CollectionSettings,
    DocumentKey,
    Edit,
    IfMatch,
    Retention,
    Service,
    ServiceLimits,
)
from plait_server.service.documents import Documents
from plait_server.store import Address, Commit, RevisionKind, RevisionRecord
from plait_server.store.sqlite import SqliteStore

from .documents import document, pointers, replacing
from .rounds import note
from .row import Row
from .scale import Scale

SMALL_BYTES = 2_000
OPEN_MS_MAX = 20
SNAPSHOT_REVISIONS = 1_000
WRITERS = 16
KEPT = 1_000
HERE = Address("default", "long", "1")
CALLER = Caller("default", "bench", "bench")


def retention(scale: Scale) -> Iterator[Row]:
    """Open a document with a long history from its snapshot; edit others while that history is compacted."""
    yield from asyncio.run(_retention(scale))


async def _retention(scale: Scale) -> list[Row]:
    rows = []
    for size in (SMALL_BYTES, scale.document_bytes):
        with TemporaryDirectory() as folder:
            store = await SqliteStore.open(Path(folder) / "plait.db")
            await _build(store, size, scale.history)
            opened = [await _open(store) for _ in range(max(3, scale.rounds))]
            named = f"opening {size:,} bytes with {scale.history:,} revisions"
            rows.append(Row(f"{named}, CPU", median(each.cpu_ms for each in opened), "ms", OPEN_MS_MAX))
            rows.append(Row("the same, by the clock", median(each.wall_ms for each in opened), "ms"))
            if size == SMALL_BYTES:
                rows += await _while_it_goes(store, scale)
            else:
                await store.close()
    return rows


async def _build(store: SqliteStore, size: int, revisions: int) -> None:
    """Write a history as the service would: with a snapshot now and then, as far from the head as can be."""
    note(".")
    value: Json = document(size)
    places = pointers(size)
    creation = [{"op": "add", "path": "", "value": value}]
    await store.commit([_commit(1, "create", creation)])
    for first in range(2, revisions + 1, SNAPSHOT_REVISIONS):
        last = min(first + SNAPSHOT_REVISIONS - 1, revisions)
        patches = {n: [replacing(places[n % len(places)], n)] for n in range(first, last + 1)}
        await store.commit([_commit(n, "edit", patch) for n, patch in patches.items()])
        value = apply(value, [operation for patch in patches.values() for operation in patch])
        if last < revisions:
            await store.snapshot(HERE, last, json.dumps(value).encode())


def _commit(n: int, kind: RevisionKind, patch: Sequence[Json]) -> Commit:
    written = json.dumps(patch).encode()
    record = RevisionRecord(n, kind, written, n - 1 or None, None, "ann", "ann", None, n, None, None)
    return Commit(HERE, n - 1, n, record)


@dataclass(frozen=True, slots=True)
class _Opened:
    wall_ms: float
    cpu_ms: float


async def _open(store: SqliteStore) -> _Opened:
    """Open the document as a server does that has just been started."""
    gc.collect()
    documents = Documents(store, ServiceLimits(), {})
    started, cpu = time.perf_counter(), time.process_time()
    await documents.open(HERE)
    return _Opened((time.perf_counter() - started) * 1e3, (time.process_time() - cpu) * 1e3)


async def _while_it_goes(store: SqliteStore, scale: Scale) -> list[Row]:
    """Edit other documents, with and without compaction beside it, by turns."""
    service = await Service.open(store)
    try:
        documents = [DocumentKey("short", str(number)) for number in range(WRITERS)]
        for each in documents:
            edit = Edit(kind="put", content=document(SMALL_BYTES), if_none_match=True)
            await service.edit(CALLER, each, edit)
        taken_ms: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(scale.server_rounds):
            note(".")
            for compacting in (False, True):
                await _retain(service, Retention(revisions=KEPT) if compacting else None)
                taken_ms[compacting] += await _edit(service, documents, scale.edits)
        left = await store.extent(HERE)
        assert left is not None
        quiet, busy = (quantiles(taken_ms[compacting], n=100)[98] for compacting in (False, True))
        return [
            Row("p99 of edits while history is compacted, beside p99 without", busy / quiet, "x"),
            Row("p99 of edits while history is compacted", busy, "ms"),
            Row("median of edits while history is compacted", median(taken_ms[True]), "ms"),
            Row("revisions compacted meanwhile", left.oldest - 1, ""),
        ]
    finally:
        await service.close()


async def _retain(service: Service, kept: Retention | None) -> None:
    revision = (await service.collection(CALLER, "long")).revision
    settings = CollectionSettings(retention=kept)
    await service.put_collection(CALLER, "long", settings, IfMatch(revisions=(revision,)))


async def _edit(service: Service, documents: Sequence[DocumentKey], edits: int) -> list[float]:
    """Edit every document, one edit after the other; give how long each took."""
    place = pointers(SMALL_BYTES)[0]
    taken_ms: list[float] = []

    async def write(document: DocumentKey) -> None:
        for number in range(edits // len(documents)):
            started = time.perf_counter()
            await service.edit(CALLER, document, Edit(kind="patch", content=[replacing(place, number)]))
            taken_ms.append((time.perf_counter() - started) * 1e3)

    await asyncio.gather(*(write(each) for each in documents))
    return taken_ms
