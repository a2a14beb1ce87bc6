"""The documents in memory: loaded when first used, closed when nobody used them for long."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from plait_merge import ABSENT
from plait_server.errors import BaseUnavailable, RevisionCompacted, StoreUnavailable
from plait_server.service.document import OpenDocument
from plait_server.service.lease import Leases
from plait_server.service.limits import ServiceLimits
from plait_server.service.revision import (
    Revision,
    before_the_first,
    follow,
    followed,
    read_revision,
    replay,
)
from plait_server.store import Address, RevisionRecord, Store, StoredDocument
from plait_server.wire import encode

CHAIN_REVISIONS = 1_000
"""How many revisions are read from the store at a time."""


class Documents:
    """Open documents, least recently used first, and the way to what is no longer in memory."""

    def __init__(self, store: Store, limits: ServiceLimits, leases: Mapping[Address, Leases]) -> None:
        self._store = store
        self._limits = limits
        self._leases = leases
        self._open: OrderedDict[Address, OpenDocument] = OrderedDict()
        self._loading: dict[Address, asyncio.Task[OpenDocument]] = {}
        self._tick = 0

    def __len__(self) -> int:
        return len(self._open)

    def get(self, address: Address) -> OpenDocument | None:
        """Give the document if it is open."""
        document = self._open.get(address)
        if document is not None:
            document.used = self._tick
            self._open.move_to_end(address)
        return document

    def peek(self, address: Address) -> OpenDocument | None:
        """Give the document if it is open; that is not to use it."""
        return self._open.get(address)

    async def open(self, address: Address) -> OpenDocument:
        """Give the document, loading it if need be. One that was never created has number 0 as its head.

        Raises StoreUnavailable.
        """
        document = self.get(address)
        while document is None:
            loading = self._loading.get(address)
            if loading is None:
                loading = self._loading[address] = asyncio.create_task(self._load(address))
                loading.add_done_callback(_heard)
            await asyncio.shield(loading)
            document = self.get(address)
        return document

    def close(self, document: OpenDocument) -> None:
        """Forget a document: one that is stale, or that nobody uses."""
        if self._open.get(document.address) is document:
            del self._open[document.address]

    def release(self, document: OpenDocument) -> None:
        """Note that somebody is done with a document. One that was never created is not kept: but whoever
        waited for it too comes first, else he would load it again, and all who wait with him."""
        if document.tip.n == 0:
            asyncio.get_running_loop().call_soon(self._close_unused, document)

    def _close_unused(self, document: OpenDocument) -> None:
        if document.tip.n == 0 and document.users == 0:
            self.close(document)

    def sweep(self, idle_ticks: int) -> None:
        """Close documents not used for so many ticks, and the least recently used beyond the limits.

        Call it once a tick. Cost: half a microsecond per open document.
        """
        self._tick += 1
        weight = sum(document.weight for document in self._open.values())
        for document in list(self._open.values()):
            idle = self._tick - document.used > idle_ticks
            if not idle and weight <= self._limits.open_bytes_max:
                return
            if not document.busy:
                weight -= document.weight
                self.close(document)

    async def state(self, document: OpenDocument, n: int) -> Revision:
        """Give revision `n`, up to the head, with its value, from memory or the store.

        Raises RevisionCompacted, StoreUnavailable.
        """
        return document.at(n) or await self._stored(document.address, n)

    async def body(self, address: Address, n: int) -> bytes:
        """Give the value at revision `n`, up to the head and no tombstone, as JSON, without opening the
        document. Raises RevisionCompacted, StoreUnavailable."""
        document = self.peek(address)
        revision = None if document is None or n > document.head.n else document.at(n)
        if revision is None:
            revision = await self._stored(address, n)
        return await asyncio.to_thread(encode, revision.value)

    async def chain(self, address: Address, above: int, upto: int) -> list[Revision]:
        """Read the revisions above one to another from the store, without their values.

        Raises RevisionCompacted where one of them is gone, StoreUnavailable.
        """
        records: list[RevisionRecord] = []
        while above < upto:
            part = await self._store.revisions(address, above=above, upto=upto, limit=CHAIN_REVISIONS)
            if not part or part[-1].n != above + len(part):
                raise await self._missing(address, above + 1)
            records += part
            above = part[-1].n
        if sum(len(record.patch) for record in records) > self._limits.offload_bytes_min:
            return await asyncio.to_thread(_read_all, records)
        return _read_all(records)

    async def span(self, document: OpenDocument, n: int, upto: int) -> tuple[Revision, list[Revision]]:
        """Give revision `n` with its value and those after it to `upto` (the head or the tip); of these
        the last has its value, others may have theirs.

        What is read from the store is kept with the document if there is room: the next late edit is
        likely to have about the same base. Raises BaseUnavailable where that was compacted away,
        StoreUnavailable.
        """
        state = document.at(n)
        if state is not None:
            return state, document.since(n, upto)
        floor = document.floor
        recent = document.since(floor, upto) if upto > floor else []
        try:
            state = await self.state(document, n)
            older = await self.chain(document.address, n, min(floor, upto))
        except RevisionCompacted as gone:
            raise _base_unavailable(n, gone) from gone
        await asyncio.to_thread(follow, state, older, self._limits.recent_bytes_max)
        if document.floor == floor <= upto:
            document.prepend(state, older, self._limits)
        return state, older + recent

    def forget(self, address: Address, oldest: int) -> None:
        """Forget the revisions before one: they were compacted away."""
        document = self.peek(address)
        if document is not None:
            document.forget(oldest)

    async def _stored(self, address: Address, n: int) -> Revision:
        stored = await self._store.load(address, n)
        if stored is None or not stored.revisions or stored.revisions[-1].n != n:
            raise await self._missing(address, n)
        return (await self._replay(stored))[-1]

    async def check_kept(self, address: Address, n: int) -> None:
        """Raise RevisionCompacted unless revision `n` and all after it are kept."""
        extent = await self._store.extent(address)
        if extent is not None and n < extent.oldest:
            raise compacted(n, extent.oldest)

    async def _missing(self, address: Address, n: int) -> RevisionCompacted | StoreUnavailable:
        """Say why a revision that was there once is not."""
        extent = await self._store.extent(address)
        if extent is not None and n < extent.oldest:
            return compacted(n, extent.oldest)
        return StoreUnavailable(f"Revision {n} cannot be read.")

    async def _load(self, address: Address) -> OpenDocument:
        try:
            return await self._opened(address)
        finally:
            # At once, not when the task is found done: `open` would wait for what is over, for ever.
            del self._loading[address]

    async def _opened(self, address: Address) -> OpenDocument:
        stored = await self._store.load(address)
        if stored is None:
            document = OpenDocument(address, [before_the_first()], 0, 0)
        else:
            document = await self._revived(address, stored)
        await self._lead_leases(document)
        document.used = self._tick
        self._open[address] = document
        self._make_room()
        return document

    async def _revived(self, address: Address, stored: StoredDocument) -> OpenDocument:
        revisions = await self._replay(stored, self._limits.recent_bytes_max)
        first = len(stored.snapshot.value) if stored.snapshot else len(revisions[0].patch)
        size = first + sum(len(revision.patch) for revision in revisions[1:])
        document = OpenDocument(address, revisions, size, first)
        document.trim(self._limits)
        return document

    async def _lead_leases(self, document: OpenDocument) -> None:
        """Lead the leases of a document to its head: after a restart they are where they were granted."""
        leases = self._leases.get(document.address)
        if leases is not None:
            head = document.head.n
            try:
                before, revisions = await self.span(document, leases.followed(head), head)
            except BaseUnavailable:
                leases.lose(head)
                revisions = []
            for revision in revisions:
                after = followed(before.value, revision)
                leases.follow(before.value, after, head)
                before = after
        document.leases = self._leases.get(document.address)

    async def _replay(self, stored: StoredDocument, values_bytes_max: int = 0) -> list[Revision]:
        size = len(stored.snapshot.value) if stored.snapshot else 0
        size += sum(len(record.patch) for record in stored.revisions)
        if size > self._limits.offload_bytes_min:
            return await asyncio.to_thread(replay, stored, values_bytes_max)
        return replay(stored, values_bytes_max)

    def _make_room(self) -> None:
        """Close the least recently used document if there are too many; the newest stays."""
        if len(self._open) > self._limits.open_documents_max:
            document = next((each for each in self._open.values() if not each.busy), None)
            if document is not None:
                self.close(document)


def _read_all(records: Sequence[RevisionRecord]) -> list[Revision]:
    return [read_revision(record, ABSENT) for record in records]


def compacted(n: int, oldest: int) -> RevisionCompacted:
    """Say that a revision is gone."""
    return RevisionCompacted(
        f"Revision {n} was compacted away; revision {oldest} is the oldest with all after it.",
        {"oldest": oldest},
    )


def _base_unavailable(n: int, gone: RevisionCompacted) -> BaseUnavailable:
    oldest = gone.members["oldest"]
    return BaseUnavailable(
        f"The base, revision {n}, was compacted away: nobody can say what changed since. "
        f"Read the document and edit from there; the oldest base is {oldest}.",
        {"oldest_base": oldest},
    )


def _heard(loading: asyncio.Task[OpenDocument]) -> None:
    """Whoever waited has the error; if everybody left meanwhile, nobody needs it."""
    if not loading.cancelled():
        loading.exception()
