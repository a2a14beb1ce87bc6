"""Labels: names of revisions. The value at a labelled revision is kept whole, whatever goes around it."""

import asyncio
from collections import defaultdict

from plait_server import errors
from plait_server.service.answer import LabelView
from plait_server.service.documents import Documents, compacted
from plait_server.service.request import Caller, DocumentKey, address_of
from plait_server.store import Address, Labelled, LabelRecord, NoRoom, Store
from plait_server.wire import encode


class Labels:
    """The labels of all documents."""

    def __init__(self, store: Store, documents: Documents, labels_max: int) -> None:
        self._store = store
        self._documents = documents
        self._labels_max = labels_max

    async def put(
        self, caller: Caller, document: DocumentKey, name: str, n: int, now: int
    ) -> tuple[LabelView, LabelView | None]:
        """Name revision `n`; give the label, and what it was before. The document is known to exist.

        A label that names another revision moves: the last one wins. Raises NotFound, RevisionCompacted,
        TooLarge.
        """
        address = address_of(caller, document)
        opened = await self._documents.open(address)
        if not 1 <= n <= opened.head.n:
            raise errors.NotFound(f"There is no revision {n} of this document.")
        state = await self._documents.state(opened, n)
        value = await asyncio.to_thread(encode, state.value) if state.live else None
        label = LabelRecord(name, n, caller.author, now)
        result = await self._store.put_label(address, label, value, self._labels_max)
        if isinstance(result, NoRoom):
            members = {"limit": "labels", "maximum": self._labels_max}
            raise errors.TooLarge(f"The document has {self._labels_max} labels already.", members)
        if not isinstance(result, Labelled):
            extent = await self._store.extent(address)
            raise compacted(n, n + 1 if extent is None else extent.oldest)
        before = result.before
        stands = before if before is not None and before.n == n else label
        return _view(document, stands), None if before is None else _view(document, before)

    async def drop(self, caller: Caller, document: DocumentKey, name: str) -> None:
        """Take a label away. Raises NotFound."""
        if not await self._store.drop_label(address_of(caller, document), name):
            raise _no_label()

    async def get(self, caller: Caller, document: DocumentKey, name: str) -> LabelView:
        """Give a label. Raises NotFound."""
        label = await self._store.label(address_of(caller, document), name)
        if label is None:
            raise _no_label()
        return _view(document, label)

    async def of(self, caller: Caller, document: DocumentKey) -> list[LabelView]:
        """List the labels of a document by name."""
        return [_view(document, label) for label in await self._store.labels(address_of(caller, document))]

    async def by_revision(self, address: Address) -> dict[int, tuple[str, ...]]:
        """Give the labels of each revision that has some."""
        labels: defaultdict[int, tuple[str, ...]] = defaultdict(tuple)
        for label in await self._store.labels(address):
            labels[label.n] += (label.name,)
        return dict(labels)


def _no_label() -> errors.NotFound:
    return errors.NotFound("There is no such label.")


def _view(document: DocumentKey, label: LabelRecord) -> LabelView:
    return LabelView(document=document, label=label.name, revision=label.n, author=label.author, at=label.at)
