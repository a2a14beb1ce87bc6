"""What the service needs from a store. `tests/server/store/test_contract.py` is its definition."""

from collections.abc import Sequence
from typing import Protocol

from plait_server.store.record import (
    Address,
    ChangeRow,
    CollectionRecord,
    Commit,
    CommitResult,
    ConflictRecord,
    DocumentRow,
    Extent,
    Floor,
    HeldLock,
    KeyRecord,
    KeyTaken,
    LabelRecord,
    LabelResult,
    LockRecord,
    OperationDone,
    OperationRecord,
    RevisionRecord,
    StoredDocument,
)


class Store(Protocol):
    """Revisions and what belongs to them, durably.

    Every function may raise StoreUnavailable: nothing was changed, and it may work later.
    """

    @property
    def epoch(self) -> str:
        """Random, made with the store: another epoch means other content under the same numbers."""
        ...

    @property
    def name(self) -> str:
        """The engine and its version, for people."""
        ...

    @property
    def durability(self) -> str:
        """What an acknowledgement survives, for people."""
        ...

    @property
    def time(self) -> int:
        """How late it was in this store, in ms, when `prune` was last told; 0 where it never was."""
        ...

    async def commit(self, batch: Sequence[Commit]) -> list[CommitResult]:
        """Write a batch in one durable transaction; answer for each commit, in order.

        A commit that does not hold is left out and does not disturb the others, except those of its unit
        and later ones of the same document: they were built on it and get HeadMoved. Raises
        OutcomeUnknown when it cannot be found out whether the batch is durable.
        """
        ...

    async def snapshot(self, address: Address, n: int, value: bytes) -> None:
        """Keep the whole value at a committed revision. Again is no error."""
        ...

    async def load(self, address: Address, revision: int | None = None) -> StoredDocument | None:
        """Read what a value is made from: the head's, or that of `revision` (1 to head), if it is kept."""
        ...

    async def revisions(
        self,
        address: Address,
        *,
        above: int,
        upto: int,
        limit: int,
        newest_first: bool = False,
        bytes_max: int | None = None,
    ) -> list[RevisionRecord]:
        """Read revisions with above < n <= upto; end with the one that makes them weigh over `bytes_max`.

        From the oldest on (see `extent`) they have no gaps; of those before, only labelled ones are there.
        """
        ...

    async def revision_at(self, address: Address, at: int) -> int | None:
        """Give the number of the newest revision made at a moment or before.

        Clocks step back, so this is the newest by number, not by moment. Cost: about a microsecond for each
        revision that is newer.
        """
        ...

    async def documents(self, tenant: str, collection: str, *, after: str, limit: int) -> list[DocumentRow]:
        """List documents that are not deleted, by id, from the first one after `after`."""
        ...

    async def changes(
        self, tenant: str, *, above: int, limit: int, bytes_max: int | None = None
    ) -> list[ChangeRow]:
        """Read the revisions of all documents with seq > above, by seq: in order for each document.

        Ends with the one that makes them weigh over `bytes_max`.
        """
        ...

    async def key(self, tenant: str, caller: str, key: str, now: int) -> KeyRecord | None:
        """Look up the answer to an idempotency key that has not expired."""
        ...

    async def conflict(self, address: Address, conflict: str) -> ConflictRecord | None: ...

    async def conflicts(
        self,
        address: Address,
        *,
        before: str | None,
        limit: int,
        now: int,
        bytes_max: int | None = None,
    ) -> list[ConflictRecord]:
        """List conflicts neither settled nor expired, newest first, from the first one older than `before`.

        Ends with the one that makes them weigh over `bytes_max`.
        """
        ...

    async def put_collection(self, record: CollectionRecord) -> bool:
        """Write revision n of a collection's settings, durably; False where n - 1 is not the newest.

        Raises OutcomeUnknown as `commit` does.
        """
        ...

    async def collection(self, tenant: str, name: str, n: int) -> CollectionRecord | None: ...

    async def collections(self) -> list[CollectionRecord]:
        """Read the newest settings of every collection that has some, of all tenants."""
        ...

    async def accept_operations(
        self, operations: Sequence[OperationRecord], now: int
    ) -> list[OperationRecord | KeyTaken]:
        """Write edits to be decided later, in this order, in one durable transaction; give each as stored.

        Where there is one with the same id, not expired, that one stays and is given. One whose idempotency
        key has an answer is not written. Raises OutcomeUnknown as `commit` does.
        """
        ...

    async def operation(self, tenant: str, id: str) -> OperationRecord | None:
        """Read an edit that was accepted, whatever became of it."""
        ...

    async def waiting_operations(self, *, above: int, limit: int, bytes_max: int) -> list[OperationRecord]:
        """Read the edits of all tenants that were accepted and not decided yet, by place from the first one
        above. Ends with the one that makes them weigh over `bytes_max`."""
        ...

    async def finish_operation(self, tenant: str, done: OperationDone) -> None:
        """Keep what came of an accepted edit that writes nothing else; a finished one stays as it is."""
        ...

    async def put_lock(self, record: LockRecord, gone: Sequence[HeldLock] = ()) -> int:
        """Write a new lease, durably, and give its fencing number: larger than any before it in this store.

        The leases `gone` are dropped with it: their time is over, and it may be in their place.
        """
        ...

    async def renew_lock(self, record: LockRecord) -> bool:
        """Write what changed of a lease; False where it does not stand with that fence any more."""
        ...

    async def move_locks(self, records: Sequence[LockRecord]) -> None:
        """Write where leases are now, as far as they stand with those fences."""
        ...

    async def drop_locks(self, locks: Sequence[HeldLock]) -> None:
        """Drop leases as far as they stand with those fences, durably."""
        ...

    async def locks(self) -> list[LockRecord]:
        """Read all leases of all tenants, oldest first, also those whose time is over."""
        ...

    async def prune(self, now: int, conflicts_max: int) -> None:
        """Drop what has expired (keys, conflicts, finished operations), and the oldest conflicts beyond
        `conflicts_max`; keep `now` as the `time` of the store, which never goes back.

        Takes a bounded step: call it from time to time.
        """
        ...

    async def extent(self, address: Address) -> Extent | None:
        """Tell how far the history of a document reaches."""
        ...

    async def extents(self, tenant: str, collection: str, *, after: str, limit: int) -> list[Extent]:
        """Tell it of documents by id, deleted ones too, from the first one after `after`."""
        ...

    async def floor(self, address: Address, *, upto: int, young: int | None, rows_max: int) -> Floor | None:
        """Find how far history may be compacted in one step that passes `rows_max` revisions at most.

        Not beyond `upto`, nor beyond the first revision made at `young` or later. None: no step.
        """
        ...

    async def compact(
        self, address: Address, floor: Floor, value: bytes | None, *, spare_labelled: bool
    ) -> bool:
        """Make `floor` the oldest revision: remove those before it, with their snapshots, in one transaction.

        `value` is the whole value there, for a floor that is not `whole`. Labelled revisions stay if they
        are to be spared; else their labels go too. False: somebody else moved it; nothing was changed.
        """
        ...

    async def put_label(
        self, address: Address, label: LabelRecord, value: bytes | None, labels_max: int
    ) -> LabelResult:
        """Name a revision; `value` is the whole value there, None where it is a tombstone.

        A label that stands elsewhere moves; one that stands there already stays as it was.
        """
        ...

    async def drop_label(self, address: Address, name: str) -> bool:
        """Take a label away, and the revision that was kept only for it. False: there is no such label."""
        ...

    async def label(self, address: Address, name: str) -> LabelRecord | None: ...

    async def labels(self, address: Address) -> list[LabelRecord]:
        """Read all labels of a document by name."""
        ...

    async def close(self) -> None: ...
