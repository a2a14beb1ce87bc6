"""The service: what the web layer may call. Every function takes the caller first."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import cast

import msgspec

from plait_merge import ABSENT, Absent, Json
from plait_server import errors
from plait_server.service.answer import (
    Answer,
    BatchAnswer,
    ConflictView,
    DocumentEntry,
    DocumentView,
    HistoryPage,
    LabelView,
    Page,
    Readiness,
    RevisionView,
)
from plait_server.service.attempt import Pipeline
from plait_server.service.backlog import Backlogs
from plait_server.service.batch import BatchEditor
from plait_server.service.collections import Collections
from plait_server.service.committer import Committer
from plait_server.service.compactor import Compactor
from plait_server.service.conflict import carried, conflict_members, read_kept, settle, view_conflict
from plait_server.service.decision import deleted
from plait_server.service.document import OpenDocument
from plait_server.service.documents import Documents, compacted
from plait_server.service.edit import Begun, Editor
from plait_server.service.feed import feed_cursor, feed_patch, read_feed_cursor
from plait_server.service.history import History
from plait_server.service.hub import Hub
from plait_server.service.idempotency import IdempotencyKeys
from plait_server.service.identifier import identifier
from plait_server.service.labels import Labels
from plait_server.service.lease import Leases
from plait_server.service.limits import ServiceLimits
from plait_server.service.lineage import Ancestor
from plait_server.service.locks import Locks, load_leases
from plait_server.service.queue import Queue
from plait_server.service.quota import Quotas
from plait_server.service.replay import Replay
from plait_server.service.request import Batch, Caller, DocumentKey, Edit, IdempotencyKey, IfMatch, address_of
from plait_server.service.revision import CommittedRevision, Revision
from plait_server.service.rules import CollectionSettings, Rules
from plait_server.service.session import Backlog
from plait_server.service.store_time import StoreTime, store_time
from plait_server.store import Address, ChangeRow, ConflictRecord, Hold, RevisionRecord, Store

log = logging.getLogger(__name__)

TICK_S = 5.0
TICKS_BETWEEN_PRUNES = 12
REVISION_MAX = 2**53

DEFAULT_LIMITS = ServiceLimits()


class Service:
    """Documents, their history and their conflicts, over one store. Open it with `Service.open`."""

    def __init__(
        self,
        store: Store,
        collections: Collections,
        leases: dict[Address, Leases],
        limits: ServiceLimits,
        clock: Callable[[], float],
        time: StoreTime,
        random_bytes: Callable[[int], bytes],
        on_committed: Callable[[CommittedRevision], None] | None,
    ) -> None:
        monotonic = time.monotonic
        self.limits = limits
        self.epoch = store.epoch
        self._store = store
        self._clock = clock
        self._time = time
        self._random_bytes = random_bytes
        self.hub = Hub(limits.live, monotonic)
        self.quotas = Quotas(limits.rates, monotonic, random_bytes) if limits.rates.given else None
        """None where nobody's requests are counted."""
        self._on_committed = on_committed
        self._collections = collections
        self._documents = Documents(store, limits, leases)
        self.locks = Locks(store, self._documents, leases, limits, clock, monotonic, random_bytes)
        self._backlogs = Backlogs(self._documents, self.hub, limits, store.epoch)
        self._committer = Committer(store, self._documents, limits, self._committed)
        self._replay = Replay(self._documents, collections, store, limits, store.epoch)
        pipeline = self._pipeline = Pipeline(
            self._documents,
            collections,
            self._committer,
            IdempotencyKeys(store, limits.answers_recent_max, time),
            self._replay,
            self.locks,
            limits,
            store.epoch,
            clock,
            time,
            random_bytes,
        )
        self._editor = Editor(pipeline)
        self.queue = Queue(pipeline, store)
        self.history = History(store, pipeline)
        self._batch_editor = BatchEditor(self._editor)
        self._labels = Labels(store, self._documents, limits.labels_max)
        self.compactor = Compactor(
            store, self._documents, collections, limits.compaction_interval_s, clock, time
        )
        self._compaction = asyncio.create_task(self.compactor.run(), name="compaction")
        self._housekeeping = asyncio.create_task(self._keep_house(), name="housekeeping")

    @classmethod
    async def open(
        cls,
        store: Store,
        *,
        limits: ServiceLimits = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = os.urandom,
        on_committed: Callable[[CommittedRevision], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> "Service":
        """Open the service over an open store, which it closes at the end.

        `clock` gives seconds since 1970, for people: it may step. `monotonic` gives seconds that only go
        forward: what is kept expires by them. `on_committed` hears of every durable revision, in order for
        each document, and must not block. Raises StoreRefused where the settings of a collection can no
        longer be used, or leases or queued edits not be read.
        """
        collections = await Collections.open(store, limits, clock)
        try:
            leases = await load_leases(store, monotonic(), int(clock() * 1000))
        except (errors.Unavailable, ValueError) as error:
            raise errors.StoreRefused(f"The leases cannot be read: {error}") from error
        time = store_time(store.time, clock, monotonic)
        service = cls(store, collections, leases, limits, clock, time, random_bytes, on_committed)
        try:
            await service.queue.load()
        except errors.Unavailable as error:
            await service.close()
            raise errors.StoreRefused(f"The queued edits cannot be read: {error.detail}") from error
        if not store.time:
            with contextlib.suppress(errors.Unavailable):
                await service._expire()
        return service

    async def close(self) -> None:
        """Finish and acknowledge what was taken, then close the store. Edits that come later are refused."""
        await self.queue.close()
        await self._editor.close()
        for task in (self._housekeeping, self._compaction):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._committer.close()
        await self.hub.close()
        try:
            with contextlib.suppress(errors.Unavailable):
                await self._expire()
        finally:
            await self._store.close()

    def ready(self) -> Readiness:
        """Say whether edits can be taken now, and what an acknowledgement is worth."""
        failure = self._committer.failure
        closing = "The server is closing." if self._editor.closing else None
        reason = closing or (None if failure is None else failure.detail)
        return Readiness(
            ready=reason is None, reason=reason, store=self._store.name, durability=self._store.durability
        )

    def check_room(self, caller: Caller, document: DocumentKey | None) -> None:
        """Refuse an edit for which there is plainly no room, before it is read; None: of what, it will say.

        Raises HotDocument, Overloaded.
        """
        self._editor.admission.check(caller, document)

    def edit(self, caller: Caller, document: DocumentKey, edit: Edit) -> Coroutine[None, None, Answer]:
        """Take an edit; the answer comes when it is durable. Raises what it is refused with."""
        return self._editor.edit(caller, document, edit)

    def begin_edit(self, caller: Caller, document: DocumentKey, edit: Edit) -> Begun | None:
        """Take an edit that nothing has to be waited for but the disk: see `Editor.begin`."""
        return self._editor.begin(caller, document, edit)

    def conclude_edit(self, begun: Begun) -> Answer | None:
        """Give the answer to an edit that was begun, once its result is there: see `Editor.conclude`."""
        return self._editor.conclude(begun)

    def go_on_with(self, begun: Begun) -> Coroutine[None, None, Answer]:
        """Answer an edit that cannot be concluded. Raises what it is refused with."""
        return self._editor.go_on(begun)

    def batch(self, caller: Caller, batch: Batch) -> Coroutine[None, None, BatchAnswer]:
        """Take edits of several documents; the answer comes when all are durable.

        Raises BatchRefused where one of them is refused, and InvalidValue, TooLarge, Unavailable: then
        none is made.
        """
        return self._batch_editor.edit(caller, batch)

    async def edit_on(self, caller: Caller, document: DocumentKey, edit: Edit, ancestor: Ancestor) -> Answer:
        """Take an edit that was made on an accepted edit of the same author, without seeing what others
        did meanwhile. Raises what it is refused with; a conflict with the others' edits is not kept."""
        if not ancestor.plain:
            edit = msgspec.structs.replace(
                edit, content=await self._carried(caller, document, edit, ancestor)
            )
        return await self.edit(caller, document, msgspec.structs.replace(edit, base=ancestor.revision))

    async def _carried(self, caller: Caller, document: DocumentKey, edit: Edit, ancestor: Ancestor) -> Json:
        """Rebase an edit from what its author saw to the revision his edit before it led to."""
        opened = await self._documents.open(address_of(caller, document))
        base, revisions = await self._documents.span(opened, ancestor.base, ancestor.revision)
        committed = revisions[-1] if revisions else base
        since = revisions[:-1] if ancestor.changed else revisions
        rules = self._collections.of(caller.tenant, document.collection)
        return await asyncio.to_thread(
            carried, document, ancestor, edit.content, base, since, committed, self.limits, rules.policy
        )

    async def collection(self, caller: Caller, name: str, revision: int | None = None) -> Rules:
        """Give what holds in a collection, or what held from an earlier revision on. Raises NotFound."""
        return await self._collections.read(caller, name, revision)

    async def put_collection(
        self, caller: Caller, name: str, settings: CollectionSettings, condition: IfMatch | None
    ) -> Rules:
        """Set what holds in a collection: see `Collections.put`.

        Once this is answered, nothing is committed any more that was decided under earlier rules, and
        nothing of history goes that only they let go.
        """
        rules = await self._collections.put(caller, name, settings, condition)
        await self._committer.catch_up()
        await self.compactor.settings_changed()
        return rules

    def revisions_since(
        self, caller: Caller, document: DocumentKey, revision: int | None
    ) -> Sequence[Revision]:
        """Give the committed revisions after one, as far as they are in memory."""
        opened = self._documents.get(address_of(caller, document))
        if opened is None or revision is None or opened.at(revision) is None:
            return ()
        return opened.since(revision, opened.head.n)

    def backlog_at_once(
        self, caller: Caller, document: DocumentKey, after: int | None, epoch: str | None
    ) -> Backlog | None:
        """Give what came after a revision, or a snapshot, where that needs no waiting. Raises NotFound."""
        return self._backlogs.at_once(address_of(caller, document), after, epoch)

    async def backlog(
        self, caller: Caller, document: DocumentKey, after: int | None, epoch: str | None
    ) -> Backlog:
        """Give what came after a revision, or a snapshot. Raises NotFound, StoreUnavailable."""
        return await self._backlogs.load(address_of(caller, document), after, epoch)

    async def changes(
        self, caller: Caller, cursor: str | None, limit: int, wait_s: float
    ) -> Page[RevisionView]:
        """Give the tenant's revisions after a cursor, oldest first, and the cursor of those that follow.

        Where there is none, wait for one for so long. Raises BadQuery, CursorExpired.
        """
        limit, after = self._bounded(limit), read_feed_cursor(cursor, self.epoch)
        deadline = self.hub.clock() + wait_s
        while True:
            # Listen first, then look: what is committed in between is not slept through.
            with self.hub.listening(caller.tenant) as change:
                changes = await self._store.changes(
                    caller.tenant, above=after, limit=limit, bytes_max=self.limits.page_bytes_max
                )
                remaining_s = deadline - self.hub.clock()
                if changes or remaining_s <= 0 or self.hub.closing:
                    break
                await asyncio.wait({change}, timeout=remaining_s)
        items = [_view_change(row) for row in changes]
        last = changes[-1].revision.seq if changes else after
        return Page(items, feed_cursor(last, self.epoch))

    def _committed(self, committed: CommittedRevision) -> None:
        self.hub.publish(committed)
        self.compactor.committed(committed.address, committed.revision.n)
        if self._on_committed is not None:
            self._on_committed(committed)

    async def create(self, caller: Caller, collection: str, edit: Edit) -> Answer:
        """Create a document under an id that sorts by time."""
        return await self.edit(caller, self.new_document(collection), edit)

    def new_document(self, collection: str) -> DocumentKey:
        """Name a document that is to be created, by an id that sorts by time."""
        return DocumentKey(collection, self._identifier().lower())

    async def read(self, caller: Caller, document: DocumentKey, revision: int | None = None) -> DocumentView:
        """Read a document as it is, or as it was. Raises NotFound, Deleted, RevisionCompacted."""
        opened = await self._existing(caller, document)
        head = opened.head
        state = head
        if revision is not None and revision != head.n:
            if not 1 <= revision <= head.n:
                raise errors.NotFound(f"There is no revision {revision} of this document.")
            state = await self._documents.state(opened, revision)
        if not state.live:
            raise deleted(state)
        return DocumentView(
            document=document,
            revision=state.n,
            head=state is head,
            value=state.value,
            body=state.body,
            author=state.record.author,
            at=state.record.at,
            epoch=self.epoch,
        )

    async def list(
        self, caller: Caller, collection: str, limit: int, cursor: str | None
    ) -> Page[DocumentEntry]:
        """List the documents of a collection by id."""
        limit, after = self._bounded(limit), _ascii(cursor) or ""
        rows = await self._store.documents(caller.tenant, collection, after=after, limit=limit + 1)
        items = [
            DocumentEntry(
                document=DocumentKey(collection, row.id),
                revision=row.head,
                created=row.created,
                updated=row.updated,
            )
            for row in rows[:limit]
        ]
        return Page(items, items[-1].document.id if len(rows) > limit else None)

    async def revisions(
        self, caller: Caller, document: DocumentKey, limit: int, cursor: str | None
    ) -> HistoryPage:
        """List revisions, newest first, also those of a deleted document. Raises NotFound, BadQuery."""
        address = address_of(caller, document)
        records = await self._store.revisions(
            address,
            above=0,
            upto=_read_cursor(cursor),
            limit=self._bounded(limit),
            newest_first=True,
            bytes_max=self.limits.page_bytes_max,
        )
        # Looked up afterwards: what is compacted away meanwhile leaves no gap that nobody explains.
        extent = await self._store.extent(address)
        if extent is None:
            raise _no_document()
        labels = await self._labels.by_revision(address)
        items = [_view_revision(document, record, labels.get(record.n, ())) for record in records]
        oldest, last = extent.oldest, records[-1].n if records else 1
        # From the oldest on there are no gaps; before it there are labelled ones, or none.
        more = last > oldest or any(n < last for n in labels)
        return HistoryPage(items, str(last - 1) if more else None, oldest)

    async def revision(self, caller: Caller, document: DocumentKey, n: int) -> RevisionView:
        """Give one revision. Raises NotFound, RevisionCompacted."""
        address, records = address_of(caller, document), []
        if 1 <= n <= REVISION_MAX:
            records = await self._store.revisions(address, above=n - 1, upto=n, limit=1)
        if not records:
            extent = await self._store.extent(address)
            if extent is not None and 1 <= n < extent.oldest:
                raise compacted(n, extent.oldest)
            raise errors.NotFound(f"There is no revision {n} of this document.")
        labels = await self._labels.by_revision(address)
        return _view_revision(document, records[0], labels.get(n, ()))

    async def put_label(
        self, caller: Caller, document: DocumentKey, name: str, n: int
    ) -> tuple[LabelView, LabelView | None]:
        """Name a revision: see `Labels.put`."""
        await self._existing(caller, document)
        return await self._labels.put(caller, document, name, n, self._now())

    async def drop_label(self, caller: Caller, document: DocumentKey, name: str) -> None:
        """Take a label away. Raises NotFound."""
        await self._labels.drop(caller, document, name)

    async def label(self, caller: Caller, document: DocumentKey, name: str) -> LabelView:
        """Give a label, also of a deleted document. Raises NotFound."""
        return await self._labels.get(caller, document, name)

    async def labels(self, caller: Caller, document: DocumentKey) -> Sequence[LabelView]:
        """List the labels of a document by name, also of a deleted one. Raises NotFound."""
        await self._existing(caller, document)
        return await self._labels.of(caller, document)

    async def conflicts(
        self, caller: Caller, document: DocumentKey, limit: int, cursor: str | None
    ) -> Page[ConflictView]:
        """List the open conflicts of a document, newest first. Raises NotFound."""
        limit, bytes_max = self._bounded(limit), self.limits.page_bytes_max
        await self._existing(caller, document)
        records = await self._store.conflicts(
            address_of(caller, document),
            before=_ascii(cursor),
            limit=limit + 1,
            now=self._time.now(),
            bytes_max=bytes_max,
        )
        items = [view_conflict(document, record, self._time) for record in records[:limit]]
        is_cut = len(records) > limit or sum(record.weight for record in records) > bytes_max
        return Page(items, items[-1].id if is_cut else None)

    async def conflict(
        self, caller: Caller, document: DocumentKey, conflict: str, cursor: str | None = None
    ) -> ConflictView:
        """Give a kept conflict as it was when it was found, a page of it where it has very many parts.

        Raises NotFound, BadQuery, RevisionCompacted.
        """
        first = 0 if cursor is None else _read_cursor(cursor)
        record = await self._kept(caller, document, conflict)
        opened = await self._existing(caller, document)
        try:
            conflicted, since, _ = await self._replay.conflicted(opened, record)
        except LookupError as error:
            raise errors.NotFound("The conflict can no longer be shown.") from error
        except errors.BaseUnavailable as error:
            raise compacted(record.base, cast(int, error.members["oldest_base"])) from error
        members = await asyncio.to_thread(
            conflict_members, document, conflicted, record.base, since, self.limits, first
        )
        following = first + self.limits.conflicts_shown_max
        is_last = following >= len(conflicted.conflicts)
        return view_conflict(document, record, self._time, members, None if is_last else str(following))

    async def resolve(
        self,
        caller: Caller,
        document: DocumentKey,
        conflict: str,
        *,
        choices: Mapping[str, Json] | None = None,
        patch: Json | Absent = ABSENT,
        message: str | None = None,
        lock: Hold | None = None,
        key: IdempotencyKey | None = None,
        trace: str | None = None,
        weight_bytes: int = 0,
    ) -> Answer:
        """Settle a conflict by a choice for each of its parts, or by a patch against its head.

        An ordinary edit from then on, which may conflict again. Raises NotFound, AlreadyResolved,
        InvalidValue for choices that are missing or unknown, and what an edit is refused with.
        """
        try:
            record = await self._kept(caller, document, conflict)
            if choices is not None:
                patch = await self._settlement(caller, document, record, choices)
        except errors.Unavailable:
            raise
        except errors.PlaitServerError:
            # What it was made of may be gone since the first request with this key.
            answer = await self._pipeline.answer_before(caller, key)
            if answer is None:
                raise
            return answer
        edit = Edit(
            kind="patch",
            content=patch,
            base=record.head,
            message=message if message is not None else read_kept(record).message,
            resolves=conflict,
            lock=lock,
            key=key,
            trace=trace,
            weight_bytes=record.weight + weight_bytes,
        )
        return await self.edit(caller, document, edit)

    async def _settlement(
        self, caller: Caller, document: DocumentKey, record: ConflictRecord, choices: Mapping[str, Json]
    ) -> Json:
        opened = await self._existing(caller, document)
        try:
            conflicted, _, head = await self._replay.conflicted(opened, record)
        except LookupError as error:
            raise errors.NotFound("The conflict can no longer be settled by choices.") from error
        return await asyncio.to_thread(settle, head, conflicted, choices, self.limits.values)

    async def _kept(self, caller: Caller, document: DocumentKey, conflict: str) -> ConflictRecord:
        record = None
        if conflict.isascii():
            record = await self._store.conflict(address_of(caller, document), conflict)
        if record is None:
            raise errors.NotFound("There is no such conflict.")
        return record

    async def _existing(self, caller: Caller, document: DocumentKey) -> OpenDocument:
        """Open a document that was created once."""
        opened = await self._documents.open(address_of(caller, document))
        if opened.head.n == 0:
            self._documents.release(opened)
            raise _no_document()
        return opened

    async def _keep_house(self) -> None:
        """Close idle documents, drop what has expired, and find out when a failed store works again."""
        tick = 0
        while True:
            await asyncio.sleep(TICK_S)
            tick += 1
            try:
                self._documents.sweep(int(self.limits.open_idle_s / TICK_S))
                await self.locks.tidy()
                if tick % TICKS_BETWEEN_PRUNES == 0 or self._committer.troubled:
                    await self._prune()
            except Exception:
                log.exception("Keeping house failed; the next round tries again")

    async def _prune(self) -> None:
        try:
            await self._expire()
            await self._tell_what_stands()
        except errors.Unavailable as error:
            self._committer.failure = error
        else:
            self._committer.failure = None

    async def _expire(self) -> None:
        """Drop what has expired, and let the store know how late it is."""
        await self._store.prune(self._time.now(), self.limits.conflicts_total_max)

    async def _tell_what_stands(self) -> None:
        """Tell those who follow what is durable after all, where a commit left that open."""
        unsure = self._committer.unsure
        for address in list(unsure):
            del unsure[address]
            try:
                document = await self._documents.open(address)
            except errors.Unavailable:
                unsure[address] = None
                raise
            self.hub.overtake(address, document.head.n)
            self._documents.release(document)

    def _bounded(self, limit: int) -> int:
        return max(1, min(limit, self.limits.page_items_max))

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _identifier(self) -> str:
        return identifier(self._now(), self._random_bytes)


def _no_document() -> errors.NotFound:
    return errors.NotFound("There is no such document.")


def _ascii(cursor: str | None) -> str | None:
    """Refuse a cursor that no list gave: ids have nothing but ASCII in them."""
    if cursor is not None and not cursor.isascii():
        raise _bad_cursor()
    return cursor


def _read_cursor(cursor: str | None) -> int:
    if cursor is None:
        return REVISION_MAX
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 16):
        raise _bad_cursor()
    return int(cursor)


def _bad_cursor() -> errors.BadQuery:
    return errors.BadQuery("The cursor is none of this list.")


def _view_change(row: ChangeRow) -> RevisionView:
    view = _view_revision(DocumentKey(row.collection, row.id), row.revision)
    return msgspec.structs.replace(view, patch=feed_patch(row), compacted=True) if row.compacted else view


def _view_revision(
    document: DocumentKey, record: RevisionRecord, labels: tuple[str, ...] = ()
) -> RevisionView:
    return RevisionView(
        document=document,
        revision=record.n,
        kind=record.kind,
        author=record.author,
        at=record.at,
        message=record.message,
        patch=record.patch,
        key=record.key,
        base=record.base,
        submitted=record.submitted,
        policy=record.policy,
        labels=labels,
    )
