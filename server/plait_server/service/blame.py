"""Who set what in a document, worked out once and led on from there.

The first time every revision is read and followed, some at a time, off the event loop. What came of it is
kept: the next one who asks follows the revisions since. Who leaves early leaves what was done to the next.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from msgspec import Struct

from plait_merge import ABSENT, Absent, Blame, Json
from plait_server.errors import RevisionCompacted, StoreUnavailable
from plait_server.service.document import OpenDocument
from plait_server.service.documents import Documents
from plait_server.service.limits import ServiceLimits
from plait_server.service.revision import Revision, read_revision
from plait_server.store import Address, RevisionRecord, Store

STEP_REVISIONS = 1_000
"""How many revisions are read and followed at a time."""
KEPT_PER_DOCUMENT = 4
KEPT_BYTES = 1_000
"""About what one takes besides its marks."""


class Setter(Struct, frozen=True, gc=False):
    """The revision that set something, by whom and when."""

    revision: int
    author: str
    at: int


class Blames:
    """Who set what, of the documents asked about last, at some of their revisions."""

    def __init__(
        self,
        documents: Documents,
        store: Store,
        limits: ServiceLimits,
        aside: Callable[..., Awaitable[Any]],
    ) -> None:
        """`aside` runs a function, which takes long, with its arguments off the event loop."""
        self._documents = documents
        self._store = store
        self._limits = limits
        self._aside = aside
        # Least recently used first, documents and their revisions.
        self._kept: OrderedDict[Address, OrderedDict[int, Blame[Setter]]] = OrderedDict()
        self._weight = 0
        # One follows the revisions of a document; whoever else asks finds what came of it.
        self._turns: WeakValueDictionary[Address, asyncio.Lock] = WeakValueDictionary()

    async def at(self, document: OpenDocument, n: int) -> Blame[Setter]:
        """Give who set what at revision `n`, up to the head.

        Where older revisions were compacted away, what they left is as if set by the oldest that is kept.
        Raises RevisionCompacted, StoreUnavailable. Cost: that of the revisions since the nearest one known.
        """
        address = document.address
        async with self._turns.setdefault(address, asyncio.Lock()):
            known, value, blame = await self._beginning(document, n)
            on_the_way = 0
            while known < n:
                step = await self._step(document, known, n)
                if not step:
                    # Compacted away meanwhile: then it begins later.
                    before, (known, value, blame) = known, await self._beginning(document, n)
                    if known <= before:
                        raise StoreUnavailable(f"Revision {before + 1} cannot be read.")
                    continue
                known = step[-1].n
                value, blame = await self._aside(_follow, blame, value, step)
                self._drop(address, on_the_way)
                self._keep(address, known, blame)
                on_the_way = known
            return blame

    async def _beginning(self, document: OpenDocument, n: int) -> tuple[int, Json | Absent, Blame[Setter]]:
        """Give the newest revision up to `n` that is known, with its value: at worst the oldest that is kept,
        or what was before the first."""
        while True:
            extent = await self._store.extent(document.address)
            oldest = min(n, 1 if extent is None else extent.oldest)
            known, blame = self._nearest(document.address, n)
            if known == n:
                return n, ABSENT, blame
            if known < oldest and oldest > 1:
                known, blame = oldest, Blame(Setter(oldest, "", 0))
            try:
                value = (await self._documents.state(document, known)).value if known else ABSENT
            except RevisionCompacted:
                if known == n:
                    raise
            else:
                return known, value, Blame() if value is ABSENT else blame

    def _nearest(self, address: Address, n: int) -> tuple[int, Blame[Setter]]:
        """Give the newest that is known up to revision `n`: at worst what was before the first."""
        kept = self._kept.get(address)
        known = max([each for each in kept if each <= n], default=0) if kept else 0
        if kept is None or not known:
            return 0, Blame()
        self._kept.move_to_end(address)
        kept.move_to_end(known)
        return known, kept[known]

    async def _step(
        self, document: OpenDocument, above: int, upto: int
    ) -> Sequence[Revision | RevisionRecord]:
        """Give the next revisions above one, from memory or the store; none where one of them is gone."""
        upto = min(upto, above + STEP_REVISIONS)
        if document.at(above) is not None:
            return document.since(above, upto)
        records = await self._store.revisions(
            document.address,
            above=above,
            upto=upto,
            limit=STEP_REVISIONS,
            bytes_max=self._limits.page_bytes_max,
        )
        return records if records and records[-1].n == above + len(records) else ()

    def _keep(self, address: Address, n: int, blame: Blame[Setter]) -> None:
        kept = self._kept.setdefault(address, OrderedDict())
        self._kept.move_to_end(address)
        kept[n] = blame
        self._weight += KEPT_BYTES + blame.weight
        if len(kept) > KEPT_PER_DOCUMENT:
            self._drop(address, next(iter(kept)))
        while self._weight > self._limits.blame_bytes_max and self._kept:
            oldest = next(iter(self._kept))
            self._drop(oldest, next(iter(self._kept[oldest])))

    def _drop(self, address: Address, n: int) -> None:
        """Forget one, if it is known."""
        kept = self._kept.get(address)
        if kept is not None and n in kept:
            self._weight -= KEPT_BYTES + kept.pop(n).weight
            if not kept:
                del self._kept[address]


def _follow(
    blame: Blame[Setter], value: Json | Absent, step: Sequence[Revision | RevisionRecord]
) -> tuple[Json | Absent, Blame[Setter]]:
    """Follow revisions from a value; give the value they lead to, and who set what in it."""
    follower = blame.follower(value)
    for each in step:
        revision = each if isinstance(each, Revision) else read_revision(each, ABSENT)
        record = revision.record
        follower.follow(revision.operations, Setter(record.n, record.author, record.at))
    return follower.finished()
