"""What the service answers. Refusals are exceptions (`plait_server.errors`)."""

from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

from msgspec import Struct

from plait_merge.values import Absent, Json
from plait_server.service.request import DocumentKey

Item = TypeVar("Item")
Outcome = Literal["created", "applied", "merged", "noop", "would_apply", "would_merge", "deleted"]


class Answer(Struct, frozen=True, kw_only=True):
    """An edit that was decided and, unless it is a noop or a dry run, is durable.

    `patch` is what was committed, as JSON (null on a replayed answer whose revision was compacted away);
    `missed` the revisions between base and it, as JSON, or
    None where that is too long; `revision` the one the edit made (the head, for a noop and for a dry
    run). `value` is the document at it; ABSENT when deleted and on a replayed answer.
    """

    outcome: Outcome
    document: DocumentKey
    revision: int
    base: int | None
    patch: bytes
    missed: bytes | None
    epoch: str
    value: Json | Absent
    replayed: bool = False
    settled: str | None = None
    """Id of the conflict this edit settled."""
    notes: tuple[dict[str, Json], ...] = ()
    """What the author of a merged edit may want to know."""


class BatchAnswer(Struct, frozen=True):
    """The answers to all edits of a batch, in their order: they are durable together."""

    answers: Sequence[Answer]
    replayed: bool = False


class DocumentView(Struct, frozen=True, kw_only=True):
    """A document at one revision. Never a deleted one: that raises Deleted."""

    document: DocumentKey
    revision: int
    head: bool
    """True when this was the newest revision at the time of reading."""
    value: Json
    body: bytes
    """The value as JSON, encoded once per revision."""
    author: str
    at: int
    """When the revision was committed, in milliseconds since 1970 (UTC)."""
    epoch: str


class RevisionView(Struct, frozen=True, kw_only=True):
    """One revision, as history shows it."""

    document: DocumentKey
    revision: int
    kind: Literal["create", "edit", "delete"]
    author: str
    at: int
    message: str | None
    patch: bytes
    """As committed, JSON; applied to the revision before it gives this one."""
    key: str | None
    """The idempotency key it was sent with."""
    base: int | None
    """What the caller had seen."""
    submitted: bytes | None
    """The patch as submitted, JSON, where it differs from `patch`."""
    policy: int | None = None
    """The revision of the collection's settings under whose policy it was merged."""
    labels: tuple[str, ...] = ()
    compacted: bool = False
    """In the feed: what it leads on from is gone, and `patch` gives the whole value in place of anything."""


class LabelView(Struct, frozen=True, kw_only=True):
    """The name of a revision, and who gave it when."""

    document: DocumentKey
    label: str
    revision: int
    author: str
    at: int


class DocumentEntry(Struct, frozen=True, kw_only=True):
    """A document in a list."""

    document: DocumentKey
    revision: int
    created: int
    updated: int


class ConflictView(Struct, frozen=True, kw_only=True):
    """A kept conflict. `members` are those of the 409 problem; None in lists."""

    id: str
    document: DocumentKey
    author: str
    opened: int
    expires: int
    base_revision: int
    head_revision: int
    resolved: int | None
    """When it was settled, in milliseconds since 1970."""
    resolved_revision: int | None
    previous: str | None
    """The conflict whose resolution ran into this one."""
    members: dict[str, object] | None = None
    cursor: str | None = None
    """That of the next page of its conflicts, where they are very many."""


class Page(Struct, Generic[Item], frozen=True):
    """One page of a list and the cursor of the next one, None at the end."""

    items: list[Item]
    cursor: str | None


class HistoryPage(Page[RevisionView], frozen=True):
    """A page of a document's history; from revision `oldest` on all are kept, before that labelled ones."""

    oldest: int


class Readiness(Struct, frozen=True, kw_only=True):
    """What /readyz says: `ready`, why not, and how durable an acknowledgement is."""

    ready: bool
    reason: str | None
    store: str
    durability: str
