"""Many clients that want the same at once: what jitter is worth."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from heapq import heapify, heappop, heappush
from statistics import median
from typing import Any

from plait_client import AsyncPlait, PlaitError, Retry, Surroundings
from plait_client.errors import TransportError
from plait_client.wire.retry import Failed, Kind, Uniform

from .rounds import note
from .row import Row
from .scale import Scale
from .subject import Subject, create, disk_folder, pinned, plait

CLIENTS = 2_000
NOTICED_S = 0.2
OUTAGE_S = 20.0
BIN_S = 0.1
PEAK_AIM = 0.1
"""Relative to the peak without jitter."""
WRITERS = 50
UPDATE_DEADLINE_S = 300.0
UPDATE_TIME_AIM = 0.5


def herd(scale: Scale) -> Iterator[Row]:
    """Clients that come back after an outage (simulated), and 50 that update one document (real)."""
    yield from _outage()
    yield from asyncio.run(_updates(scale))


def _outage() -> Iterator[Row]:
    """Simulate the waits of `Retry` after faults on a clock that is not real. No request is made."""
    jittered, alike = _arrivals(random.Random(7).uniform), _arrivals(_latest)
    what = f"{CLIENTS:,} clients after {OUTAGE_S:.0f} s without a server, simulated:"
    yield Row(
        f"{what} peak of arrivals in 100 ms, to no jitter", _peak(jittered) / _peak(alike), "x", PEAK_AIM
    )
    yield Row(f"{what} peak of arrivals in 100 ms", _peak(jittered), "")
    yield Row(f"{what} the same, without jitter", _peak(alike), "")
    yield Row(f"{what} median wait after its return", median(jittered), "s")
    yield Row(f"{what} the same, without jitter", median(alike), "s")


def _latest(low: float, high: float) -> float:
    """What waits are without jitter: as long as they may be."""
    return high


def _arrivals(uniform: Uniform) -> list[float]:
    """Tell how long after the server's return each client arrives, all having lost it within a moment."""
    retry, failed = Retry(), Failed(TransportError("No server."), Kind.FAULT)
    begin = random.Random(11)
    waiting = [(begin.uniform(0, NOTICED_S), 0) for _ in range(CLIENTS)]
    heapify(waiting)
    arrived: list[float] = []
    while waiting:
        at, attempt = heappop(waiting)
        if at >= OUTAGE_S:
            arrived.append(at - OUTAGE_S)
        else:
            heappush(waiting, (at + retry.wait_s(failed, attempt + 1, uniform), attempt + 1))
    return arrived


def _peak(arrivals: list[float]) -> int:
    return max(Counter(int(at / BIN_S) for at in arrivals).values())


async def _updates(scale: Scale) -> list[Row]:
    """Let many clients count in one document with `update`, in rounds with and without jitter."""
    writers = WRITERS if scale.server_rounds > 1 else 5
    kinds: dict[str, Uniform] = {"jitter": random.uniform, "no jitter": _latest}
    requests: dict[str, list[float]] = {kind: [] for kind in kinds}
    taken_s: dict[str, list[float]] = {kind: [] for kind in kinds}
    with disk_folder() as folder, pinned():
        async with plait(folder) as subject:
            for round_ in range(max(1, scale.server_rounds // 2)):
                note(".")
                for kind, uniform in kinds.items():
                    sent, elapsed_s = await _round(subject, f"hot/{round_}-{len(kind)}", writers, uniform)
                    requests[kind].append(sent / writers)
                    taken_s[kind].append(elapsed_s)
    with_, without = median(taken_s["jitter"]), median(taken_s["no jitter"])
    what = f"{writers} writers of one document with `update`:"
    return [
        Row(f"{what} time until all are done, to no jitter", with_ / without, "x", UPDATE_TIME_AIM),
        Row(f"{what} time until all are done", with_, "s"),
        Row(f"{what} the same, without jitter", without, "s"),
        Row(f"{what} requests a committed edit", median(requests["jitter"]), ""),
        Row(f"{what} the same, without jitter", median(requests["no jitter"]), ""),
    ]


async def _round(subject: Subject, name: str, writers: int, uniform: Uniform) -> tuple[int, float]:
    """Have each writer count once; give the requests it took, reads too, and the time in seconds.

    Ends the run where an update failed or is not in the document.
    """
    await create(subject, {name: {"n": 0}})
    url = f"http://127.0.0.1:{subject.port}"
    async with AsyncExitStack() as ends:
        clients = [
            await ends.enter_async_context(AsyncPlait(url, surroundings=Surroundings(uniform=uniform)))
            for _ in range(writers)
        ]
        documents = await asyncio.gather(*[client.doc(name) for client in clients])
        before = sum(client.counters.attempts for client in clients)
        started = time.perf_counter()
        try:
            await asyncio.gather(*[each.update(_count, deadline_s=UPDATE_DEADLINE_S) for each in documents])
        except PlaitError as error:
            raise RuntimeError("an update was not made") from error
        elapsed_s = time.perf_counter() - started
        sent = sum(client.counters.attempts for client in clients) - before
        await documents[0].refresh()
        if documents[0].value != {"n": writers}:
            raise RuntimeError(f"{writers} updates made {documents[0].value}")
    return sent, elapsed_s


def _count(draft: Any) -> None:
    draft["n"] += 1
