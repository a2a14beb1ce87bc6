"""What a caller asks for. Values only; the rules are in `edit`.

These are msgspec structs rather than dataclasses because one is made per request: a frozen struct
costs a tenth of a frozen dataclass.
"""

from typing import Literal

from msgspec import Struct

from plait_merge.values import Json
from plait_server.store import Address, Hold

EditKind = Literal["create", "put", "patch", "merge_patch", "delete"]
MergeMode = Literal["auto", "strict", "theirs", "yours"]


class Caller(Struct, frozen=True):
    """Who asks. `subject` is the scope of idempotency keys, `author` the name kept in history."""

    tenant: str
    subject: str
    author: str


class DocumentKey(Struct, frozen=True, cache_hash=True):
    """A document of the caller's tenant."""

    collection: str
    id: str

    @property
    def name(self) -> str:
        """What it is called everywhere: collection/id."""
        return f"{self.collection}/{self.id}"


def address_of(caller: Caller, document: DocumentKey) -> Address:
    """Say where the document is stored that a caller names."""
    return Address(caller.tenant, document.collection, document.id)


class IfMatch(Struct, frozen=True):
    """The condition that the head is one of `revisions`, or anything at all (`*`).

    Tags that name no revision of this view are left out; `weak` says that one was weak (which never
    matches and earns a hint).
    """

    revisions: tuple[int, ...] = ()
    any: bool = False
    weak: bool = False


class IdempotencyKey(Struct, frozen=True):
    """The key of one logical request and the fingerprint of what it says."""

    key: str
    fingerprint: str


class Edit(Struct, frozen=True, kw_only=True):
    """One edit as submitted. Values are shared and never changed afterwards by either side.

    `content` is the value (create, put), the operations (patch) or the merge patch; `base` the
    revision it was made against; `weight_bytes` the size of the body, 0 when unknown: it decides
    only whether the work leaves the event loop.
    """

    kind: EditKind
    content: Json = None
    base: int | None = None
    epoch: str | None = None
    if_match: IfMatch | None = None
    if_none_match: bool = False
    merge: MergeMode = "auto"
    extended: bool = False
    """Whether a patch may hold `inc`."""
    message: str | None = None
    resolves: str | None = None
    dry_run: bool = False
    lock: Hold | None = None
    """The lease it is made under."""
    key: IdempotencyKey | None = None
    trace: str | None = None
    weight_bytes: int = 0
    origin: int = 0
    """Given to the revision this makes, so that a live connection knows its own. 0: nobody asks."""


class Batch(Struct, frozen=True, kw_only=True):
    """Edits of several documents, of which all are made or none.

    `key` and `dry_run` are those of each edit too; `weight_bytes` is the size of the body they came in,
    and theirs is unknown.
    """

    edits: tuple[tuple[DocumentKey, Edit], ...]
    key: IdempotencyKey | None = None
    dry_run: bool = False
    weight_bytes: int = 0
