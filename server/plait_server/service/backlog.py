"""What a client has missed of a document, as one frame: from memory where that can be."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import UNSET, Raw

from plait_server import errors
from plait_server.service.document import OpenDocument
from plait_server.service.documents import Documents
from plait_server.service.frame import Frame, Snapshot, frame_of, rev_frame
from plait_server.service.hub import Hub
from plait_server.service.limits import ServiceLimits
from plait_server.service.revision import Revision
from plait_server.service.session import Backlog
from plait_server.store import Address

Reason = Literal["epoch", "unknown", "compacted", "lagging"]


class Backlogs:
    """The way from where a client is to the head."""

    def __init__(self, documents: Documents, hub: Hub, limits: ServiceLimits, epoch: str) -> None:
        self._documents = documents
        self._hub = hub
        self._limits = limits
        self._epoch = epoch

    def at_once(self, address: Address, after: int | None, epoch: str | None) -> Backlog | None:
        """Give what is missed without waiting; None where something has to be read, or takes long.

        Raises NotFound.
        """
        document = self._documents.get(address)
        if document is None:
            return None
        reason = self._reason(document, after, epoch)
        if after is not None and reason is None:
            if document.at(after) is None:
                return None
            revisions = document.since(after, document.head.n)
            if self._fits(revisions):
                return self._composed(document, after, revisions)
            reason = "lagging"
        if document.size_bound > self._limits.offload_bytes_min and not self._is_shared(document):
            return None
        return self._snapshot(document, document.head, reason)

    async def load(self, address: Address, after: int | None, epoch: str | None) -> Backlog:
        """Give what is missed, from the store if need be. Raises NotFound, StoreUnavailable."""
        document = await self._documents.open(address)
        reason = self._reason(document, after, epoch)
        if after is not None and reason is None:
            try:
                revisions = await self._revisions(document, after)
            except errors.RevisionCompacted:
                reason = "compacted"
            else:
                if revisions is not None and self._fits(revisions):
                    return self._composed(document, after, revisions)
                reason = "lagging"
        head = document.head
        if head.live and document.size_bound > self._limits.offload_bytes_min:
            await asyncio.to_thread(getattr, head, "body")
        return self._snapshot(document, head, reason)

    def _reason(self, document: OpenDocument, after: int | None, epoch: str | None) -> Reason | None:
        """Say why what a client has is of no use."""
        if document.head.n == 0:
            self._documents.release(document)
            raise errors.NotFound("There is no such document.")
        if after is None:
            return None
        if epoch is not None and epoch != self._epoch:
            return "epoch"
        return "unknown" if after > document.head.n else None

    async def _revisions(self, document: OpenDocument, after: int) -> Sequence[Revision] | None:
        """Give what came after a revision; None where that is too much. Raises RevisionCompacted."""
        head = document.head.n
        if head - after > self._limits.live.composed_revisions_max:
            await self._documents.check_kept(document.address, after + 1)
            return None
        if document.at(after) is not None:
            return document.since(after, head)
        return await self._documents.chain(document.address, after, head)

    def _fits(self, revisions: Sequence[Revision]) -> bool:
        limits = self._limits.live
        return (
            len(revisions) <= limits.composed_revisions_max
            and sum(len(revision.patch) for revision in revisions) <= limits.composed_bytes_max
        )

    def _composed(self, document: OpenDocument, after: int, revisions: Sequence[Revision]) -> Backlog:
        if not revisions:
            return Backlog(after, None)
        upto = revisions[-1].n
        frame = self._shared(
            document.address, after, upto, lambda: rev_frame(document.address.document, after, revisions)
        )
        return Backlog(upto, frame)

    def _snapshot(self, document: OpenDocument, head: Revision, reason: Reason | None) -> Backlog:
        frame = self._shared(
            document.address, None, head.n, lambda: _snapshot_frame(document.address.document, head)
        )
        return Backlog(head.n, frame, reason)

    def _is_shared(self, document: OpenDocument) -> bool:
        return (document.address, None, document.head.n) in self._hub.frames

    def _shared(self, address: Address, after: int | None, upto: int, make: Callable[[], Frame]) -> Frame:
        """Take the frame that others wait for too, or make it."""
        frames = self._hub.frames
        frame = frames.get((address, after, upto))
        if frame is None:
            frame = frames[address, after, upto] = make()
        return frame


def _snapshot_frame(name: str, head: Revision) -> Frame:
    if not head.live:
        return frame_of(Snapshot(doc=name, rev=head.n, deleted=True), head.n)
    return frame_of(Snapshot(doc=name, rev=head.n, value=Raw(head.body), deleted=UNSET), head.n)
