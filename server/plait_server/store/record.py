"""What goes into a store and what comes out.

Frozen structs: one or more is made per edit, and a struct costs a tenth of a frozen dataclass. Times
are milliseconds since 1970; patches, values and bodies are JSON that the service encoded.
"""

from typing import Literal, NamedTuple

from msgspec import Struct

RevisionKind = Literal["create", "edit", "delete"]


class Address(NamedTuple):
    """Where a document is. Every key begins with the tenant."""

    tenant: str
    collection: str
    id: str

    @property
    def document(self) -> str:
        """What the document is called everywhere: collection/id."""
        return f"{self.collection}/{self.id}"


class RevisionRecord(Struct, frozen=True):
    """One revision. `seq` is given by the store: 0 until it is committed."""

    n: int
    kind: RevisionKind
    patch: bytes
    base: int | None
    submitted: bytes | None
    author: str
    caller: str
    key: str | None
    at: int
    message: str | None
    trace: str | None
    policy: int | None = None
    seq: int = 0

    @property
    def weight(self) -> int:
        """The bytes of its patches."""
        return len(self.patch) + len(self.submitted or b"")


class KeyRecord(Struct, frozen=True):
    """The stored answer to an idempotency key; from `expires` on the key is free again."""

    caller: str
    key: str
    fingerprint: str
    answer: bytes
    stored: int
    expires: int


class ConflictRecord(Struct, frozen=True):
    """A kept conflict; the engine works it out again from `base`, `head` and `body`."""

    id: str
    author: str
    base: int
    head: int
    body: bytes
    opened: int
    expires: int
    resolved: int | None = None
    resolved_revision: int | None = None

    @property
    def weight(self) -> int:
        """The bytes of its body."""
        return len(self.body)


class Hold(Struct, frozen=True):
    """A lease that has to stand, with this fencing number, when a commit is written."""

    lock: str
    fence: int


HeldLock = tuple[Address, Hold]
"""A lease of a document."""


class LockRecord(Struct, frozen=True):
    """A lease. `pointer` is where it was at `revision`; `fence` is given by the store: 0 until it is there.

    It ends at `expires`, `ttl_ms` after it was granted or renewed.
    """

    address: Address
    id: str
    pointer: str
    revision: int
    holder: str
    caller: str
    ttl_ms: int
    expires: int
    fence: int = 0

    @property
    def held(self) -> HeldLock:
        """What it is named by."""
        return self.address, Hold(self.id, self.fence)


class OperationDone(Struct, frozen=True):
    """What came of an edit that was queued; from `expires` on nobody may ask for it any more."""

    id: str
    answer: bytes
    done: int
    expires: int


class OperationRecord(Struct, frozen=True):
    """An edit that was accepted to be decided later; `body` is the edit as submitted, empty once it is done.

    The store gives the `place`: operations are decided in that order. `key` is its idempotency key: looked up
    when it is accepted, and kept in the body only.
    """

    address: Address
    id: str
    caller: str
    author: str
    body: bytes
    accepted: int
    place: int = 0
    done: int | None = None
    answer: bytes | None = None
    expires: int | None = None
    key: str | None = None


class Commit(Struct, frozen=True):
    """All that one edit writes: everything or nothing.

    It holds only while the document's newest revision is `head` (0: there is none) after the commits
    before it in the batch, and while the leases in `held` stand. A revision is number head + 1; without
    one (a conflict, a refusal with a key) the head stays. `settles` is the conflict this edit settles, at
    `at`; `operation` what it makes of an edit that was queued.

    Commits that follow each other with the same `unit` (0: none) hold together or not at all.
    """

    address: Address
    head: int
    at: int
    revision: RevisionRecord | None = None
    key: KeyRecord | None = None
    conflict: ConflictRecord | None = None
    settles: str | None = None
    held: tuple[Hold, ...] = ()
    operation: OperationDone | None = None
    unit: int = 0


class Committed(Struct, frozen=True):
    """It is durable. `seq` is 0 when there was no revision."""

    seq: int


class HeadMoved(Struct, frozen=True):
    """The head was another one: nothing was written."""


class KeyTaken(Struct, frozen=True):
    """The key has an answer already: nothing was written."""

    record: KeyRecord


class AlreadySettled(Struct, frozen=True):
    """The conflict to settle is gone or settled (then at `revision`): nothing was written."""

    revision: int | None


class FenceStale(Struct, frozen=True):
    """A lease was given up, or to somebody else: nothing was written."""

    lock: str


class AlreadyDone(Struct, frozen=True):
    """The queued edit was finished before, with this answer: nothing was written."""

    answer: bytes


CommitResult = Committed | HeadMoved | KeyTaken | AlreadySettled | FenceStale | AlreadyDone


class SnapshotRecord(Struct, frozen=True):
    """The whole value at revision `n`."""

    n: int
    value: bytes


class StoredDocument(Struct, frozen=True):
    """A document and what its value at one revision is made from.

    `revisions` end with that revision and begin with the one the snapshot is of, or with one that needs none:
    the first, one that creates or deletes. Empty where that revision was compacted away: `oldest` is the
    oldest that is kept with all after it.
    """

    head: int
    deleted: bool
    created: int
    updated: int
    snapshot: SnapshotRecord | None
    revisions: list[RevisionRecord]
    oldest: int = 1


class ChangeRow(Struct, frozen=True):
    """A revision in the feed, and whose it is.

    `compacted`: what it leads on from is gone. Then `value` is the whole value at it, None where its patch
    says that too: it creates or deletes the document.
    """

    collection: str
    id: str
    revision: RevisionRecord
    compacted: bool = False
    value: bytes | None = None

    @property
    def weight(self) -> int:
        """The bytes of its patches, and of its value."""
        return self.revision.weight + len(self.value or b"")


class DocumentRow(Struct, frozen=True):
    """A document in a list."""

    id: str
    head: int
    created: int
    updated: int


class CollectionRecord(Struct, frozen=True):
    """What holds for the documents of a collection from its revision `n` on; `body` is JSON."""

    tenant: str
    name: str
    n: int
    body: bytes
    author: str
    at: int


class Extent(Struct, frozen=True):
    """How far the history of a document reaches: every revision from `oldest` to `head` is kept.

    `since` is when the oldest was made, where that is known at once; `labelled` says whether there are
    labels on revisions before it.
    """

    id: str
    head: int
    oldest: int
    since: int | None
    labelled: bool


class Floor(Struct, frozen=True):
    """A revision that may become the oldest one in place of `oldest`.

    `whole`: its value can be read without any before it. Else its snapshot has to be written first.
    """

    oldest: int
    n: int
    whole: bool


class LabelRecord(Struct, frozen=True):
    """The name of a revision."""

    name: str
    n: int
    author: str
    at: int


class Labelled(Struct, frozen=True):
    """The label stands; `before` is what it was."""

    before: LabelRecord | None


class NoRevision(Struct, frozen=True):
    """There is no such revision to be labelled: none yet, or none any more. Nothing was written."""


class NoRoom(Struct, frozen=True):
    """The document has as many labels as it may: nothing was written."""


LabelResult = Labelled | NoRevision | NoRoom
