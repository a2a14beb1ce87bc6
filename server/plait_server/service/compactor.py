"""Compaction: what the retention of a collection does not keep goes, in the background, in small steps.

A document is looked at when it has grown by some revisions, and in a slow walk over all documents of the
collections that do not keep everything: time passes for those that do not grow, and settings change. What
is to be done is seen from the documents alone, so a restart forgets nothing.

It begins where a document is beyond its retention by a tenth and ends within it. After each step it rests for
much longer than that took: most of the writer's time is everybody else's.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Final

from plait_server import errors
from plait_server.service.collections import Collections
from plait_server.service.documents import Documents
from plait_server.service.rules import Retention
from plait_server.service.store_time import StoreTime
from plait_server.store import Address, Extent, Floor, Store

STEP_ROWS: Final = 250
"""Revisions that go in one transaction: a millisecond, or some where each is on a page of its own."""
REST_TIMES: Final = 10
"""How many times as long as a step took the writer is left alone after it."""
REST_MIN_S: Final = 0.01
REST_MAX_S: Final = 1.0
GROWN_BY: Final = 128
"""A document is looked at whenever it has grown by so many revisions."""
GROWN_MAX: Final = 10_000
"""So many wait to be looked at; the walk finds the others."""
PAGE_DOCUMENTS: Final = 500
PAGE_REST_S: Final = 0.25
DAY_MS: Final = 86_400_000

log = logging.getLogger(__name__)


class Compactor:
    """Keeps histories to what their collections retain. `run` does it until it is cancelled."""

    def __init__(
        self,
        store: Store,
        documents: Documents,
        collections: Collections,
        interval_s: float,
        clock: Callable[[], float],
        time: StoreTime,
    ) -> None:
        self._store = store
        self._documents = documents
        self._collections = collections
        self._interval_s = interval_s
        self._clock = clock
        self._time = time
        self._grown: dict[Address, None] = {}
        self._changed = False
        self._woken = asyncio.Event()
        self._tending = asyncio.Lock()
        self._removing = asyncio.Lock()

    def committed(self, address: Address, n: int) -> None:
        """Hear of revision `n` of a document. Cost: next to nothing but for one in some."""
        if n % GROWN_BY or self._collections.of(address.tenant, address.collection).retention is None:
            return
        if len(self._grown) < GROWN_MAX:
            self._grown[address] = None
            self._woken.set()

    async def settings_changed(self) -> None:
        """Look at everything soon. From the return on nothing goes that earlier settings let go."""
        self._changed = True
        self._woken.set()
        async with self._removing:
            pass

    async def run(self) -> None:
        """Walk, and tend what has grown between two walks."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed = False
            await self._unless_troubled(self.sweep())
            next_walk = loop.time() + self._interval_s
            while not self._changed and loop.time() < next_walk:
                self._woken.clear()
                await self._unless_troubled(self._tend_grown())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(next_walk):
                        await self._woken.wait()

    async def _unless_troubled(self, work: Coroutine[None, None, None]) -> None:
        """Leave work for later where the store cannot do it now: the next walk finds what is left."""
        try:
            await work
        except errors.StoreUnavailable as error:
            log.warning("Compaction waits: %s", error.detail)

    async def sweep(self) -> None:
        """Compact whatever is beyond its retention now. Raises StoreUnavailable."""
        for tenant, name in self._collections.with_retention():
            await self._walk(tenant, name)

    async def _walk(self, tenant: str, collection: str) -> None:
        after: str | None = ""
        while after is not None:
            retention = self._collections.of(tenant, collection).retention
            if retention is None:
                return
            page = await self._store.extents(tenant, collection, after=after, limit=PAGE_DOCUMENTS)
            for extent in page:
                if is_due(retention, extent, self._now()):
                    await self._tend(Address(tenant, collection, extent.id))
            await self._tend_grown()
            after = page[-1].id if len(page) == PAGE_DOCUMENTS else None
            if after is not None:
                await asyncio.sleep(PAGE_REST_S)

    async def _tend_grown(self) -> None:
        while self._grown:
            address = next(iter(self._grown))
            del self._grown[address]
            await self._tend(address)

    async def _tend(self, address: Address) -> None:
        """Compact a document as far as it may be, if it is worth it. Raises StoreUnavailable."""
        try:
            async with self._tending:
                await self._steps(address)
        except errors.StoreUnavailable:
            raise
        except Exception:  # a bug must not keep the other documents from being compacted
            log.exception("Compaction of %s failed", address)

    async def _steps(self, address: Address) -> None:
        while True:
            taken_s = await self._step(address)
            if taken_s is None:
                return
            await asyncio.sleep(min(max(REST_TIMES * taken_s, REST_MIN_S), REST_MAX_S))

    async def _step(self, address: Address) -> float | None:
        """Let some revisions go; give how long the writer took for it, None where none may go."""
        rules = self._collections.of(address.tenant, address.collection)
        retention = rules.retention
        extent = await self._store.extent(address)
        if retention is None or extent is None or not is_due(retention, extent, self._now()):
            return None
        floor = await self._floor(address, retention, extent)
        if floor is None:
            return None
        value = None if floor.whole else await self._documents.body(address, floor.n)
        async with self._removing:
            if self._collections.of(address.tenant, address.collection) is not rules:
                return None
            started = self._time.monotonic()
            moved = await self._store.compact(address, floor, value, spare_labelled=retention.labelled)
        if not moved:
            return None
        self._documents.forget(address, floor.n)
        return self._time.monotonic() - started

    async def _floor(self, address: Address, retention: Retention, extent: Extent) -> Floor | None:
        floor = await self._store.floor(
            address,
            upto=extent.head - (retention.revisions or 1) + 1,
            young=None if retention.days is None else self._now() - _age_ms(retention.days),
            rows_max=STEP_ROWS,
        )
        if floor is None and extent.labelled and not retention.labelled:
            # Only those that were kept for their labels are to go.
            return Floor(extent.oldest, extent.oldest, whole=True)
        return floor

    def _now(self) -> int:
        """Give the time that revisions are old by: a clock that steps forward makes none of them older."""
        return min(int(self._clock() * 1000), self._time.on_the_wall(self._time.now()))


def is_due(retention: Retention, extent: Extent, now: int) -> bool:
    """Say whether a history is beyond its retention by a tenth: at each revision would be too often."""
    if extent.labelled and not retention.labelled:
        return True
    most = retention.revisions or 1
    if extent.head - extent.oldest < most + most // 10:
        return False
    if retention.days is None or extent.since is None:
        return True
    return extent.since < now - _age_ms(retention.days * 1.1)


def _age_ms(days: float) -> int:
    return int(days * DAY_MS)
