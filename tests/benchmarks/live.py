"""The live side: one edit to many subscribers, idle ones, one who never reads, edits over the socket."""

import asyncio
import gc
from collections.abc import Iterator, Sequence
from statistics import median, quantiles
from time import perf_counter

from . import quiet
from .load import Place
from .rounds import note
from .row import Row
from .scale import Scale
from .sockets import REVISION, Arrivals, Writer, close, deaf, follow, listen, masked, write, writers
from .subject import Subject, Talk, bare_loop, create, disk_folder, pinned, plait, talk

RATE_AIM = 1.25
"""Delivered messages a second: at least 0.8 of a bare loop's."""
LAST_MS_AIMS = {1_000: 10, 5_000: 60}
MESSAGE_US_AIM = 6
IDLE_BYTES_AIM = 20_000
DEAF_MB_AIM = 5
DEAF_P99_AIM = 1.5
SOCKET_AIM = 1 / 1.5
WRITERS = 64
AT_ONCE = 4
NAME = "live/one"
MESSAGE = (
    b'{"t":"rev","doc":"live/one","prev":1,"rev":2,"patch":[{"op":"replace","path":"/n","value":1000000}],'
    b'"parts":[{"rev":2,"author":"","at":"2026-11-20T13:10:06.013Z"}]}'
)
"""As long as what Plait sends for one of the edits."""
_PATCH = {"Content_Type": "application/json-patch+json"}


def live(scale: Scale) -> Iterator[Row]:
    """Live delivery against a bare loop over the same number of sockets; memory; the slowest reader."""
    yield from asyncio.run(_live(scale))


async def _live(scale: Scale) -> list[Row]:
    rows: list[Row] = []
    for count in scale.subscribers:
        rows += await _fan_out(scale, count)
    rows += await _never_reads(scale)
    gc.collect()  # thousands of listeners: not for the writers to be looked through for
    return rows + await _over_the_socket(scale)


async def _fan_out(scale: Scale, count: int) -> list[Row]:
    """One edit at a time to so many subscribers, in rounds that alternate with the bare loop's."""
    with disk_folder() as folder, pinned():
        # The listeners answer no ping.
        async with plait(folder, live_heartbeat_s=600) as subject, bare_loop(folder) as bare:
            await create(subject, {"warm/up": {"n": 0}, NAME: {"n": 0}})
            empty = subject.resident_bytes
            arrivals, from_bare = Arrivals(REVISION), Arrivals(REVISION)
            listeners = await follow(subject.port, count, arrivals, NAME)
            idle = (subject.resident_bytes - empty) / count
            bares = await listen(bare.port, count, from_bare, (b"hello",), b"ready")
            last_s: list[float] = []
            cpu: list[float] = []
            bare_cpu: list[float] = []
            async with talk(subject) as editor:
                number = 0
                for round_ in range(scale.server_rounds + 1):
                    note(".")
                    before = subject.cpu_s
                    for _ in range(scale.messages):
                        number += 1
                        await _edit(editor, number, arrivals, count)
                        last_s.append(arrivals.last - arrivals.first)
                    spent = subject.cpu_since(before) / scale.messages
                    alone = await _alone(subject, editor, number, scale)
                    before = bare.cpu_s
                    for _ in range(scale.messages):
                        bares[0].transport.write(masked(MESSAGE))
                        from_bare.read(count)
                    if round_:
                        cpu.append((spent - alone) / count)
                        bare_cpu.append(bare.cpu_since(before) / scale.messages / count)
            close(listeners)
            close(bares)
            arrivals.close()
            from_bare.close()
    to = f"{count:,} subscribers:"
    rows = [
        Row(
            f"{to} from the first to the last, p99",
            _p99(last_s[scale.messages :]) * 1e3,
            "ms",
            LAST_MS_AIMS.get(count),
        )
    ]
    if count >= 1_000:
        each = median(cpu) * 1e6
        rows += [
            Row(f"{to} CPU a message, to a bare loop", median(cpu) / median(bare_cpu), "x", RATE_AIM),
            Row(f"{to} CPU a message", each, "µs", MESSAGE_US_AIM if count == 1_000 else None),
            Row(f"{to} CPU a message, bare loop", median(bare_cpu) * 1e6, "µs"),
            Row(f"{to} memory of each", idle / 1e3, "kB", IDLE_BYTES_AIM / 1e3),
        ]
    return rows


async def _edit(editor: Talk, number: int, arrivals: Arrivals, count: int) -> float:
    """Commit one edit; give the time until everybody heard of it."""
    started = perf_counter()
    patch = [{"op": "replace", "path": "/n", "value": 1_000_000 + number}]
    asking = asyncio.create_task(editor.ask("PATCH", f"/v1/docs/{NAME}", patch, **_PATCH))
    await asyncio.sleep(0)  # it is sent
    arrivals.read(count)
    ended = perf_counter()
    answer = await asking
    assert answer.status == 200, answer
    return ended - started


async def _alone(subject: Subject, editor: Talk, number: int, scale: Scale) -> float:
    """Measure the CPU of an edit that nobody hears of."""
    before = subject.cpu_s
    for each in range(scale.messages):
        patch = [{"op": "replace", "path": "/n", "value": 1_000_000 + number * 1_000 + each}]
        answer = await editor.ask("PATCH", "/v1/docs/warm/up", patch, **_PATCH)
        assert answer.status == 200, answer
    return subject.cpu_since(before) / scale.messages


async def _never_reads(scale: Scale) -> list[Row]:
    """Many edits with ten who read, then as many with one more who does not."""
    with disk_folder() as folder, pinned():
        async with plait(folder) as subject:
            await create(subject, {NAME: {"n": 0}})
            arrivals = Arrivals(REVISION)
            listeners = await follow(subject.port, 10, arrivals, NAME)
            async with talk(subject) as editor:
                note(".")
                without = [await _edit(editor, number, arrivals, 10) for number in range(scale.deaf_edits)]
                before = subject.resident_bytes
                ends = deaf(subject.port, NAME)
                note(".")
                first = scale.deaf_edits
                beside = [
                    await _edit(editor, number, arrivals, 10)
                    for number in range(first, first + scale.deaf_edits)
                ]
                grown = subject.resident_bytes - before
            ends.close()
            close(listeners)
            arrivals.close()
    by = f"one who never reads, {scale.deaf_edits:,} edits:"
    return [
        Row(f"{by} memory the server grew by", grown / 1e6, "MB", DEAF_MB_AIM),
        Row(f"{by} p99 of the others, to before", _p99(beside) / _p99(without), "x", DEAF_P99_AIM),
    ]


def _p99(samples: list[float]) -> float:
    return quantiles(samples, n=100)[98] if len(samples) > 1 else samples[0]


async def _over_the_socket(scale: Scale) -> list[Row]:
    """As many connections as over HTTP, each with documents of its own. A request waits for its answer; over
    a socket several edits can be under way. One connection: one writer, and the server mostly waits for the
    disk; many: it is at its limit, whichever way the edits come."""
    rows: list[Row] = []
    with disk_folder() as folder:
        async with plait(folder) as subject:
            groups = [[f"socket/{number}-{each}" for each in range(AT_ONCE)] for number in range(1 + WRITERS)]
            await create(subject, quiet.documents(1))
            await create(subject, {name: {"n": 0} for group in groups for name in group})
            places = quiet.places(1)
            for mine in (groups[:1], groups[1:]):
                with pinned():
                    opened = await writers(subject.port, mine)
                rows += await _against_http(scale, subject, places[: len(mine)], opened)
                close(opened)
    return rows


async def _against_http(
    scale: Scale, subject: Subject, places: list[list[Place]], opened: Sequence[Writer]
) -> list[Row]:
    """Edit over as many connections of either kind, by turns."""
    count = len(opened)
    edits = scale.edits if count > 1 else scale.edits // 8
    samples: dict[int, list[tuple[float, float]]] = {0: [], 1: [], AT_ONCE: []}
    for _ in range(scale.server_rounds):
        note(".")
        sample = await subject.measure(places, edits)
        samples[0].append((sample.rate, sample.cpu_us))
        for at_once in (1, AT_ONCE):
            samples[at_once].append(await _written(subject, opened, edits, at_once))
    rate = {way: median(rate for rate, _ in taken) for way, taken in samples.items()}
    cpu_us = {way: median(cpu for _, cpu in taken) for way, taken in samples.items()}
    by = "1 connection" if count == 1 else f"{count} connections"
    several = f"{by}, {AT_ONCE} edits under way on each socket:"
    single = f"{by}, 1 under way:"
    slower = rate[0] / rate[AT_ONCE]
    return [
        Row(f"{by}: edits over HTTP", rate[0], "/s"),
        Row(f"{several} edits over HTTP a second, to those over sockets", slower, "x", SOCKET_AIM),
        Row(f"{several} CPU an edit, to HTTP", cpu_us[AT_ONCE] / cpu_us[0], "x"),
        Row(f"{single} edits over HTTP a second, to those over sockets", rate[0] / rate[1], "x"),
        Row(f"{single} CPU an edit, to HTTP", cpu_us[1] / cpu_us[0], "x"),
    ]


async def _written(
    subject: Subject, opened: Sequence[Writer], edits: int, at_once: int
) -> tuple[float, float]:
    """Have edits made over sockets; give how many a second, and the CPU of each in microseconds."""
    with pinned():
        await write(opened, max(len(opened), edits // 10), at_once)
        cpu_s, started = subject.cpu_s, perf_counter()
        await write(opened, edits, at_once)
        return edits / (perf_counter() - started), subject.cpu_since(cpu_s) / edits * 1e6
