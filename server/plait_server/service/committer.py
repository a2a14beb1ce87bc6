"""One writer for all documents: whatever is waiting goes into one transaction, then everybody is told."""

import asyncio
import logging
from collections.abc import Callable
from itertools import count

from msgspec import Struct

from plait_server.errors import OutcomeUnknown, PlaitServerError, StoreUnavailable
from plait_server.service.document import OpenDocument
from plait_server.service.documents import Documents
from plait_server.service.limits import ServiceLimits
from plait_server.service.line import Line, units
from plait_server.service.revision import CommittedRevision, Revision
from plait_server.store import Address, Commit, CommitResult, Committed, HeadMoved, Store

BATCH_COMMITS_MAX = 1_000
SNAPSHOTS_AT_ONCE = 16
SNAPSHOT_AFTER_BATCHES = 4
"""Commits come first, but not for ever: where they never pause, a snapshot is written after so many."""
SNAPSHOTS_WAITING_MAX = 64
"""Beyond so many, that are open documents as long as they wait, several are written at a time."""
GATHERED_COMMITS = 64
"""So many share a sync well enough: no more are waited for."""
TURNS_QUIET = 2
"""A request takes two turns of the event loop from its first byte to its commit."""

log = logging.getLogger(__name__)


class Waiting(Struct):
    """A commit that waits for the disk, and the one who waits for its result."""

    commit: Commit
    document: OpenDocument
    revision: Revision | None
    result: asyncio.Future[CommitResult]


class Committer:
    """Take commits in order; answer each once it is durable, or was refused.

    While one batch is being synced the next one gathers. A commit built on one that failed is not sent
    to the store, nor are the others of its unit: they get HeadMoved and are decided again by their owner.
    """

    def __init__(
        self,
        store: Store,
        documents: Documents,
        limits: ServiceLimits,
        on_committed: Callable[[CommittedRevision], None] | None,
    ) -> None:
        self._store = store
        self._documents = documents
        self._limits = limits
        self._on_committed = on_committed
        self._waiting: Line[Waiting] = Line()
        self._wants_snapshot: dict[OpenDocument, None] = {}
        self._batches = 0
        """Written since the last snapshot."""
        self._writing: list[Waiting] = []
        self._idle: asyncio.Future[None] | None = None
        self._closing = False
        self._units = count(1)
        # Kept, because asking for it is a system call, once for each edit.
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="committer")
        self.failure: PlaitServerError | None = None
        """Why the last batch failed; None when it did not."""
        self.unsure: dict[Address, None] = {}
        """Documents that may have durable revisions which nobody was told of."""

    @property
    def troubled(self) -> bool:
        """Whether the last batch failed, or something is left open by one that did."""
        return self.failure is not None or bool(self.unsure)

    def put(
        self,
        commit: Commit,
        document: OpenDocument,
        revision: Revision | None,
        result: asyncio.Future[CommitResult] | None = None,
    ) -> asyncio.Future[CommitResult]:
        """Queue a commit. The future gives its result, or raises StoreUnavailable or OutcomeUnknown.

        What is put for one unit shares the `result` that was given for the first of it: why one does not
        hold, if that is so. Whoever waits may be cancelled: the commit goes its way.
        """
        if result is None:
            result = self._loop.create_future()
        self._waiting.append(Waiting(commit, document, revision, result))
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        return result

    def new_unit(self) -> int:
        """Number a unit: commits that are put one after the other, in one step, and hold together."""
        return next(self._units)

    async def catch_up(self) -> None:
        """Wait until all that was put so far is durable, or was refused."""
        put = {waiting.result for waiting in (*self._writing, *self._waiting)}
        if put:
            await asyncio.wait(put)

    async def close(self) -> None:
        """Finish what was put, then stop."""
        self._closing = True
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        await self._task

    async def _run(self) -> None:
        while True:
            if self._waiting and not (self._wants_snapshot and self._batches >= SNAPSHOT_AFTER_BATCHES):
                await self._gather()
                await self._write_batch()
                self._writing = []
                self._batches += 1
            elif self._wants_snapshot:
                await self._write_snapshots()
            elif self._closing:
                return
            else:
                self._idle = self._loop.create_future()
                await self._idle

    async def _gather(self) -> None:
        """Let those who are about to put a commit do so: a sync costs more than some turns of the loop."""
        quiet = 0
        while quiet < TURNS_QUIET and len(self._waiting) < GATHERED_COMMITS:
            before = len(self._waiting)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._waiting) == before else 0

    async def _write_batch(self) -> None:
        batch, lost = self._take()
        try:
            results = await self._store.commit([waiting.commit for waiting in batch]) if batch else []
        except PlaitServerError as error:
            self._fail(batch, error)
        except Exception as error:  # a bug or a broken disk: whatever it is, nobody may wait for ever
            log.exception("The store failed in a way it should not")
            self._fail(batch, StoreUnavailable(f"The store failed: {type(error).__name__}."))
        else:
            if batch:
                self.failure = None
            for waiting, result in zip(batch, results, strict=True):
                self._settle(waiting, result)
            self._acknowledge(batch, results)
            self._publish(batch, results)
        for waiting in lost:
            if waiting.revision is not None:
                self._give_up(waiting.document)
            _answer(waiting, HeadMoved())

    def _take(self) -> tuple[list[Waiting], list[Waiting]]:
        """Take what is waiting, and beside it what was built on something that failed.

        Where one of a unit was, all are lost, and what is built on those. Their documents are given up only
        after the batch: revisions of theirs may be in it, and whoever loads a document has to find those.
        """
        taken = self._writing = self._waiting.take(BATCH_COMMITS_MAX)
        if not any(waiting.document.stale for waiting in taken):
            return taken, []
        batch: list[Waiting] = []
        lost: list[Waiting] = []
        forlorn: set[OpenDocument] = set()
        for unit in units(taken):
            if any(waiting.document.stale or waiting.document in forlorn for waiting in unit):
                lost += unit
                forlorn.update(waiting.document for waiting in unit if waiting.revision is not None)
            else:
                batch += unit
        return batch, lost

    def _settle(self, waiting: Waiting, result: CommitResult) -> None:
        """Move the document's head, or give the document up where a revision of it failed."""
        document, revision = waiting.document, waiting.revision
        if isinstance(result, Committed):
            if revision is not None:
                document.settle(revision)
                document.trim(self._limits)
                if document.wants_snapshot(self._limits):
                    self._wants_snapshot[document] = None
        elif revision is not None or isinstance(result, HeadMoved):
            self._give_up(document)

    def _acknowledge(self, batch: list[Waiting], results: list[CommitResult]) -> None:
        moved: list[Waiting] = []
        for waiting, result in zip(batch, results, strict=True):
            if waiting.commit.unit and isinstance(result, HeadMoved):
                moved.append(waiting)
            else:
                _answer(waiting, result)
        # Where a unit does not hold, one of its commits knows why; the others only moved with it.
        for waiting in moved:
            _answer(waiting, HeadMoved())

    def _publish(self, batch: list[Waiting], results: list[CommitResult]) -> None:
        if self._on_committed is None:
            return
        for waiting, result in zip(batch, results, strict=True):
            if waiting.revision is not None and isinstance(result, Committed):
                committed = CommittedRevision(waiting.document.address, waiting.revision, result.seq)
                try:
                    self._on_committed(committed)
                except Exception:
                    log.exception("A listener failed")

    def _fail(self, batch: list[Waiting], error: PlaitServerError) -> None:
        self.failure = error
        for waiting in batch:
            self._give_up(waiting.document)
            if isinstance(error, OutcomeUnknown) and waiting.revision is not None:
                self.unsure[waiting.document.address] = None
            if not waiting.result.done():
                # An error of one's own: a shared one would gather everybody's traceback.
                waiting.result.set_exception(type(error)(error.detail, error.members))

    def _give_up(self, document: OpenDocument) -> None:
        document.give_up()
        self._documents.close(document)
        self._wants_snapshot.pop(document, None)

    async def _write_snapshots(self) -> None:
        """Keep some heads whole: after everybody has been answered, in transactions of their own."""
        self._batches = 0
        for document in list(self._wants_snapshot)[:SNAPSHOTS_AT_ONCE]:
            del self._wants_snapshot[document]
            head = document.head
            if not head.live:
                continue
            try:
                body = await self._body(head, document.size_bound)
                await self._store.snapshot(document.address, head.n, body)
            except PlaitServerError as error:
                # The history is complete without it; the next edit of the document tries again.
                log.warning("No snapshot of %s: %s", document.address, error.detail)
            else:
                document.note_snapshot(len(body))
            if self._waiting and len(self._wants_snapshot) <= SNAPSHOTS_WAITING_MAX:
                return

    async def _body(self, head: Revision, size: int) -> bytes:
        if size > self._limits.offload_bytes_min:
            return await asyncio.to_thread(getattr, head, "body")
        return head.body


def _answer(waiting: Waiting, result: CommitResult) -> None:
    if not waiting.result.done():
        waiting.result.set_result(result)
