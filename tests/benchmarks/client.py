"""The Python client: what an edit costs beyond its HTTP call, by the size of the document."""

import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import uuid4

import msgspec
from aiohttp import ClientSession

from plait_client import AsyncPlait, Document, Plait, sync
from plait_client.draft import draft_of
from plait_client.replica.edit import Edit
from plait_client.replica.replica import Replica
from plait_merge import diff

from .documents import document, pointers, replacing
from .load import FIRST_VALUE
from .rounds import medians_s, note
from .row import Row
from .scale import Scale
from .subject import RAM, Subject, create, pinned, plait, talk

SIZES = {"1 kB": 1_000, "1 MB": 1_000_000}
EDIT_US_AIM = 150
LARGE_EDIT_MS_AIM = 15
CHANGE_AIM = 1.5
"""Of `set` and `patch` in the large document, to the small one."""
SYNC_US_AIM = 200

DRAIN_AIM = 1.5
"""Of an edit among ten times as many that wait in an outbox."""

BLOCK = 13
WARM_UP = 3
"""Changes in a row, and how many of them are not timed."""
KEPT = {"1 kB": 1_000, "500 kB": 500_000}
"""Documents that are edited with an outbox."""

Change = Callable[[int], Awaitable[object]]
"""Writes a number at a place."""
Call = Callable[[range], Awaitable[float]]
"""Writes these numbers one after the other, and gives the CPU seconds it took."""


def client(scale: Scale) -> Iterator[Row]:
    """CPU of the client beyond its HTTP call: edit, set and patch, small and large documents, no loop."""
    yield from _parts(scale)
    yield from asyncio.run(_calls(scale))
    yield from asyncio.run(_kept(scale))


def _parts(scale: Scale) -> Iterator[Row]:
    """Where an edit of one field of a large document goes."""
    size = scale.document_bytes
    value, place = document(size), pointers(size)[0]
    changed = draft_of(value)
    _put(changed, place, 1)
    cases = {
        "copy": lambda: draft_of(value),
        "compare": lambda: diff(value, changed),
        "apply": lambda: Replica(1, value, "e").edit(Edit("k", [replacing(place, 1)])),
    }
    for name, taken_s in medians_s(cases, scale.rounds, scale.sample_s).items():
        yield Row(f"part of an edit of one field, {_size_name(size)}: {name}", taken_s * 1e3, "ms")


async def _calls(scale: Scale) -> list[Row]:
    """Time all calls in turn, a few at a time. The server's database is in memory where there is such a
    folder: a client that waits long for a disk finds its caches cold. The first quartile is taken: what other
    programs do to the caches only ever adds."""
    sizes = {name: min(size, scale.document_bytes) for name, size in SIZES.items()}
    samples: dict[str, list[float]] = {}
    async with AsyncExitStack() as ends:
        ends.enter_context(pinned())
        folder = ends.enter_context(tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else None))
        subject = await ends.enter_async_context(plait(Path(folder)))
        calls = await _all_calls(subject, sizes, ends)
        value = FIRST_VALUE
        for round_ in range(max(2, scale.server_rounds * scale.edits // (40 * BLOCK))):
            note("." if round_ % 10 == 0 else "")
            for name, call in calls.items():
                samples.setdefault(name, []).append(await _cpu_s(call, value))
                value += BLOCK
    return list(_rows({name: quantiles(taken, n=4)[0] * 1e6 for name, taken in samples.items()}))


async def _kept(scale: Scale) -> list[Row]:
    """Time edits that are kept in an outbox, in memory where there is such a folder, against those that are
    not; and many that wait in one, against a tenth of them."""
    samples: dict[str, list[float]] = {}
    async with AsyncExitStack() as ends:
        ends.enter_context(pinned())
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else None)))
        subject = await ends.enter_async_context(plait(folder))
        url = f"http://127.0.0.1:{subject.port}"
        clients = {
            "alone": await ends.enter_async_context(AsyncPlait(url)),
            "kept": await ends.enter_async_context(AsyncPlait(url, outbox=folder / "edits.db")),
        }
        calls: dict[str, Call] = {}
        for way, opened in clients.items():
            for name, size in KEPT.items():
                doc = await opened.create("bench", document(min(size, scale.document_bytes)))
                calls[f"{way} {name}"] = _each(_setting(doc, pointers(min(size, scale.document_bytes))[0]))
        waiting = await clients["kept"].create("bench", document(SIZES["1 kB"]))
        value = FIRST_VALUE
        for round_ in range(scale.rounds):
            note("." if round_ % 5 == 0 else "")
            for name, call in calls.items():
                samples.setdefault(name, []).append(await _cpu_s(call, value))
                value += BLOCK
            for name, edits in {"few": scale.lag // 10, "many": scale.lag}.items():
                samples.setdefault(name, []).append(await _drained_cpu_s(waiting, edits))
    us = {name: median(taken) * 1e6 for name, taken in samples.items()}
    return [
        *(
            Row(
                f"CPU of `set` with an outbox beyond one without, {name}",
                us[f"kept {name}"] - us[f"alone {name}"],
                "µs",
            )
            for name in KEPT
        ),
        Row(f"CPU of an edit of {scale.lag:,} that wait in an outbox, 1 kB", us["many"], "µs"),
        Row(
            f"CPU of an edit of {scale.lag:,} that wait, to one of a tenth",
            us["many"] / us["few"],
            "x",
            DRAIN_AIM,
        ),
    ]


async def _drained_cpu_s(doc: Document, edits: int) -> float:
    """CPU of an edit of so many that are made at once, kept, and sent one after the other."""
    place = pointers(SIZES["1 kB"])[0]
    gc.collect()
    started = time.process_time()
    await asyncio.gather(*[doc.set(place, started + number, wait=False) for number in range(edits)])
    await doc.saved()
    return (time.process_time() - started) / edits


async def _all_calls(subject: Subject, sizes: Mapping[str, int], ends: AsyncExitStack) -> dict[str, Call]:
    """Make every call that is timed, each on a document of its own."""
    url = f"http://127.0.0.1:{subject.port}"
    opened = await ends.enter_async_context(AsyncPlait(url))
    calls: dict[str, Call] = {}
    for way, make in {"set": _setting, "patch": _patching, "edit": _editing}.items():
        for name, size in sizes.items():
            doc = await opened.create("bench", document(size))
            calls[f"{way} {name}"] = _each(make(doc, pointers(size)[0]))
    small, place = document(SIZES["1 kB"]), pointers(SIZES["1 kB"])[0]
    await create(subject, {"bench/http": small, "bench/sync": small})
    calls["http"] = _each(await _bare(subject, await ends.enter_async_context(ClientSession(url)), place))
    blocking = await asyncio.to_thread(Plait(url).open)
    ends.push_async_callback(asyncio.to_thread, blocking.close)
    calls["sync"] = _through(await asyncio.to_thread(blocking.doc, "bench/sync"), place)
    return calls


def _editing(doc: Document, place: str) -> Change:
    async def edit(value: int) -> None:
        async with doc.edit() as draft:
            _put(draft, place, value)

    return edit


def _setting(doc: Document, place: str) -> Change:
    return lambda value: doc.set(place, value)


def _patching(doc: Document, place: str) -> Change:
    return lambda value: doc.patch([replacing(place, value)])


async def _bare(subject: Subject, session: ClientSession, place: str) -> Change:
    """The same request without the client: sent, read and decoded."""
    async with talk(subject) as connection:
        epoch = (await connection.ask("GET", "/v1/docs/bench/http")).headers["Plait-Epoch"]
    revision = 1

    async def send(value: int) -> None:
        nonlocal revision
        data = msgspec.json.encode({"base": revision, "epoch": epoch, "patch": [replacing(place, value)]})
        headers = {"Content-Type": "application/vnd.plait.edit+json", "Idempotency-Key": uuid4().hex}
        async with session.patch("/v1/docs/bench/http", data=data, headers=headers) as answer:
            revision = msgspec.json.decode(await answer.read())["revision"]

    return send


def _each(change: Change) -> Call:
    async def call(values: range) -> float:
        started = time.process_time()
        for value in values:
            await change(value)
        return time.process_time() - started

    return call


def _through(doc: sync.Document, place: str) -> Call:
    """Setting a place through the synchronous client; the CPU of its loop's thread is in it."""

    def set_all(values: range) -> float:
        started = time.process_time()
        for value in values:
            doc.set(place, value)
        return time.process_time() - started

    return lambda values: asyncio.to_thread(set_all, values)


def _put(value: Any, place: str, new: int) -> None:
    *tokens, last = place.split("/")[1:]
    for token in tokens:
        value = value[token]
    value[last] = new


async def _cpu_s(call: Call, first: int) -> float:
    """CPU of this process for one change; the server is another process."""
    gc.collect()
    await call(range(first, first + WARM_UP))
    return await call(range(first + WARM_UP, first + BLOCK)) / (BLOCK - WARM_UP)


def _rows(us: dict[str, float]) -> Iterator[Row]:
    http = us["http"]
    yield Row("CPU of `edit` beyond its HTTP call, 1 kB", us["edit 1 kB"] - http, "µs", EDIT_US_AIM)
    large_ms = (us["edit 1 MB"] - http) / 1e3
    yield Row("CPU of `edit` of one field beyond its HTTP call, 1 MB", large_ms, "ms", LARGE_EDIT_MS_AIM)
    for way in ("set", "patch"):
        yield Row(f"CPU of `{way}`, 1 MB to 1 kB", us[f"{way} 1 MB"] / us[f"{way} 1 kB"], "x", CHANGE_AIM)
        yield Row(f"CPU of `{way}` beyond its HTTP call, 1 kB", us[f"{way} 1 kB"] - http, "µs")
    yield Row("CPU of the same HTTP call by itself", http, "µs")
    yield Row(
        "CPU of a synchronous `set`, beyond an asynchronous one",
        us["sync"] - us["set 1 kB"],
        "µs",
        SYNC_US_AIM,
    )


def _size_name(size: int) -> str:
    return next((name for name, known in SIZES.items() if known == size), f"{size / 1000:g} kB")
