"""Stores with histories of every kind, made by the service itself, or damaged on purpose."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

from msgspec.structs import replace

from plait_server.config import Settings
from plait_server.data.export import Export, export
from plait_server.data.import_ import Import, Imported
from plait_server.data.incoming import OnExisting
from plait_server.errors import BatchRefused, Deleted, Locked, MergeConflict, PatchInapplicable
from plait_server.service import Batch, Caller, CollectionSettings, DocumentKey, Edit, IdempotencyKey, Service
from plait_server.service.invariants import Finding, check
from plait_server.store import Address
from plait_server.store.archive import open_archive
from plait_server.store.file import hold_file
from plait_server.store.intake import Intake
from plait_server.store.sqlite import SqliteStore
from plait_server.wire import encode

ANN = Caller("default", "ann", "ann")
BOB = Caller("default", "bob-token", "Bob é")
COMMAND = (sys.executable, "-m", "plait_server")


def make_store(path: Path, seed: int = 1, edits: int = 60, documents: int = 4) -> None:
    """Make random edits, in a store that may be new: merged, conflicting, deletions and new beginnings."""
    heads = {}
    if path.exists():
        rows = sql(path, "SELECT collection, id, head FROM documents")
        heads = {DocumentKey(collection, id): head for collection, id, head in rows}
    asyncio.run(_make(path, seed, heads, edits, documents))


async def _make(path: Path, seed: int, heads: dict[DocumentKey, int], edits: int, documents: int) -> None:
    random = Random(seed)
    service = await Service.open(await SqliteStore.open(path))
    try:
        if not heads:
            settings = CollectionSettings(policy={"rules": {"/n": {"scalar": "sum"}}})
            await service.put_collection(ANN, "orders", settings, None)
        keys = [DocumentKey("orders" if number % 3 else "stock", f"d{number}") for number in range(documents)]
        for number in range(edits):
            key = random.choice(keys)
            edit = _edit(random, f"{seed}-{number}", heads.get(key))
            # What is refused is in the store too: as a conflict, and under its key.
            with suppress(MergeConflict, PatchInapplicable, Deleted, Locked):
                heads[key] = (await service.edit(random.choice((ANN, BOB)), key, edit)).revision
        await _make_the_rest(service, random, heads, seed)
    finally:
        await service.close()


async def _make_the_rest(
    service: Service, random: Random, heads: Mapping[DocumentKey, int], seed: int
) -> None:
    """Edit several documents at once, leave leases, and edits in the queue."""
    for number in range(5 if len(heads) > 1 else 0):
        key = IdempotencyKey(f"batch-{seed}-{number}", "f")
        edits = [
            (document, replace(_edit(random, f"{number}", heads[document]), key=key))
            for document in random.sample(list(heads), 2)
        ]
        with suppress(BatchRefused):
            await service.batch(ANN, Batch(edits=tuple(edits), key=key))
    for document, head in heads.items():
        with suppress(Deleted, Locked):
            await service.locks.acquire(ANN, document, "/f")
        for number in range(4):
            await service.queue.submit(BOB, document, _edit(random, f"{document.id}-{seed}-{number}", head))


def _edit(random: Random, name: str, head: int | None) -> Edit:
    key = IdempotencyKey(name, "f") if random.random() < 0.5 else None
    message = random.choice((None, "why not\n☃"))
    if head is None or random.random() < 0.1:
        value = {"n": random.randrange(10**20), "f": random.random(), "items": [None, True, "é\u0000"]}
        base = None if head is None else head
        return Edit(
            kind="put", content=value, base=base, if_none_match=head is None, key=key, message=message
        )
    base = random.randrange(max(1, head - 3), head + 1)
    if random.random() < 0.1:
        return Edit(kind="delete", base=base, key=key, message=message)
    operation = random.choice(
        (
            {"op": "replace", "path": "/n", "value": random.randrange(100)},
            {"op": "add", "path": f"/m{random.randrange(3)}", "value": {"x": [name]}},
            {"op": "add", "path": "/items/0", "value": random.random()},
            {"op": "inc", "path": "/n", "value": 1},
            {"op": "remove", "path": "/m1"},
        )
    )
    return Edit(kind="patch", content=[operation], base=base, extended=True, key=key, message=message)


def sql(path: Path, *statements: str, rows: Sequence[object] = ()) -> list[Any]:
    """Do something to the file behind everybody's back; give what the last statement gives."""
    found: list[Any] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            found = connection.execute(statement, rows).fetchall()
    return found


def label(path: Path, collection: str, id: str, name: str, n: int) -> None:
    """Give a revision a name."""

    async def work(service: Service, store: SqliteStore) -> None:
        await service.put_label(ANN, DocumentKey(collection, id), name, n)

    _with_service(path, work)


def compact(path: Path, collection: str, id: str, oldest: int) -> None:
    """Remove the revisions before `oldest`, except labelled ones, in small steps."""

    async def work(service: Service, store: SqliteStore) -> None:
        address = Address("default", collection, id)
        while floor := await store.floor(address, upto=oldest, young=None, rows_max=5):
            value = None
            if not floor.whole:
                value = (await service.read(ANN, DocumentKey(collection, id), floor.n)).body
            assert await store.compact(address, floor, value, spare_labelled=True)

    _with_service(path, work)


def _with_service(path: Path, work: Callable[[Service, SqliteStore], Awaitable[None]]) -> None:
    async def run() -> None:
        store = await SqliteStore.open(path)
        service = await Service.open(store)
        try:
            await work(service, store)
        finally:
            await service.close()

    asyncio.run(run())


def findings(path: Path) -> list[Finding]:
    """Ask for everything that does not hold."""
    with open_archive(path) as archive:
        return list(check(archive))


def exported(path: Path, **wanted: Any) -> list[bytes]:
    """Export a store; give the lines after the first, which says when it was."""
    output = path.with_suffix(".ndjson")
    export(path, Export(**wanted), output, resume=False, force=True)
    return output.read_bytes().splitlines(keepends=True)[1:]


def file_of(lines: Sequence[bytes | Mapping[str, Any]], header: bool = True) -> bytes:
    """Put lines together, JSON or bytes as they are."""
    first: list[Any] = [{"t": "export", "version": 1, "history": True}] if header else []
    return b"".join(line if isinstance(line, bytes) else encode(line) + b"\n" for line in [*first, *lines])


def import_bytes(
    path: Path, body: bytes, on_existing: OnExisting = OnExisting.FAIL, **settings: Any
) -> Imported:
    """Import into a store. Raises Refused."""
    with hold_file(path) as connection:
        importer = Import(Intake(connection), BytesIO(body), Settings(**settings), on_existing)
        importer.run()
        return importer.imported


def run(folder: Path, *arguments: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*prefix, *COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
