"""Why the server refuses, as one tree. Status codes live in `web`, nowhere else.

    PlaitServerError
    ├── Invalid                 the caller's mistake; sending it again cannot help
    │   ├── MalformedPatch      malformed-patch
    │   ├── BadQuery            bad-query
    │   ├── MalformedFrame      malformed-frame
    │   ├── InvalidValue        invalid-value
    │   ├── TooLarge            too-large
    │   ├── PatchInapplicable   patch-inapplicable
    │   ├── SchemaViolation     schema-violation
    │   ├── PreconditionRequired precondition-required
    │   └── IdempotencyKeyReused idempotency-key-reused
    ├── NotFound                not-found
    ├── Overtaken               somebody was faster, or the past is not what the caller thinks
    │   ├── MergeConflict       merge-conflict
    │   ├── TestFailed          test-failed
    │   ├── BaseUnknown         base-unknown
    │   ├── BaseUnavailable     base-unavailable
    │   ├── BaseRefused         base-refused
    │   ├── RevisionCompacted   revision-compacted
    │   ├── CursorExpired       cursor-expired
    │   ├── AlreadyResolved     already-resolved
    │   ├── Locked              locked
    │   ├── StaleFence          stale-fence
    │   ├── PreconditionFailed  precondition-failed
    │   └── Deleted             deleted
    ├── Internal                internal
    └── Unavailable             not now; the same request may succeed later
        ├── IdempotencyInProgress idempotency-in-progress
        ├── QuotaExceeded       quota-exceeded
        ├── HotDocument         hot-document
        ├── Overloaded          overloaded
        ├── StoreUnavailable    store-unavailable
        └── OutcomeUnknown      outcome-unknown

`StoreRefused` stands apart: a store that cannot be opened at all ends the start of the server. So does
`BatchRefused`: it is made of several of these.
"""

from collections.abc import Mapping
from typing import ClassVar


class PlaitServerError(Exception):
    """A refusal.

    `code` is the name of the problem type, `title` its constant title, `retry` whether sending the
    same request again may help; `detail` is a sentence about this occurrence and `members` are the
    extension members of the problem document (JSON, or msgspec.Raw where it is encoded already).
    """

    code: ClassVar[str]
    title: ClassVar[str]
    retry: ClassVar[bool] = False

    def __init__(self, detail: str, members: Mapping[str, object] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members: Mapping[str, object] = members or {}
        self.replayed = False
        """True when this is the stored answer to an idempotency key that was seen before."""
        self.kept = False
        """True when the same request is refused with it again, whatever changes: `retry` is of no use."""


class Invalid(PlaitServerError):
    """The caller's mistake."""


class MalformedPatch(Invalid):
    """The patch is not RFC 6902 (or the merge patch not JSON an edit may hold)."""

    code = "malformed-patch"
    title = "Malformed patch"


class BadQuery(Invalid):
    """A cursor is none of the list it is used with."""

    code = "bad-query"
    title = "Bad query parameter"


class MalformedFrame(Invalid):
    """A frame of a live connection that cannot be understood. Members: `id`, where it could be read."""

    code = "malformed-frame"
    title = "Malformed frame"


class InvalidValue(Invalid):
    """A value that no document may hold, or a choice that does not exist."""

    code = "invalid-value"
    title = "Invalid value"


class TooLarge(Invalid):
    """A limit was passed. Members: `limit`, its name, and where known `maximum` and `pointer`."""

    code = "too-large"
    title = "Too large"


class PatchInapplicable(Invalid):
    """The patch fails on its own base. Members: `operation`, `pointer`, `reason`, `found`."""

    code = "patch-inapplicable"
    title = "Patch does not apply to its base"


class SchemaViolation(Invalid):
    """The document would not fit the schema of its collection. Members: `errors` (detail, pointer)."""

    code = "schema-violation"
    title = "Schema violation"


class PreconditionRequired(Invalid):
    """The request does not say what it was based on."""

    code = "precondition-required"
    title = "Precondition required"


class IdempotencyKeyReused(Invalid):
    """The idempotency key belongs to another request."""

    code = "idempotency-key-reused"
    title = "Idempotency key reused"


class NotFound(PlaitServerError):
    """There is no such document, revision or conflict (for this caller)."""

    code = "not-found"
    title = "Not found"


class Overtaken(PlaitServerError):
    """Somebody else was there first."""


class MergeConflict(Overtaken):
    """Edits overlap. Members as in the contract: `conflicts`, `clean_patch`, …, `conflict` (its id)."""

    code = "merge-conflict"
    title = "Edits overlap"


class TestFailed(Overtaken):
    """A `test` is false on the base of its patch. Members: `operation`, `pointer`, `found`."""

    __test__ = False
    code = "test-failed"
    title = "Test failed"


class BaseUnknown(Overtaken):
    """The base lies above the head, or belongs to another epoch. Members: `head_revision`, `epoch`."""

    code = "base-unknown"
    title = "Base unknown"


class BaseUnavailable(Overtaken):
    """The base was compacted away. Members: `oldest_base`."""

    code = "base-unavailable"
    title = "Base unavailable"


class RevisionCompacted(Overtaken):
    """The revision was compacted away. Members: `oldest`, from which on all are kept."""

    code = "revision-compacted"
    title = "Revision compacted"


class BaseRefused(Overtaken):
    """The edit this one was made on was refused, so this one is too."""

    code = "base-refused"
    title = "Base refused"


class CursorExpired(Overtaken):
    """The cursor belongs to another epoch of the store: read from the beginning."""

    code = "cursor-expired"
    title = "Cursor expired"


class AlreadyResolved(Overtaken):
    """The conflict was settled before. Members: `revision`."""

    code = "already-resolved"
    title = "Conflict already resolved"


class Locked(Overtaken):
    """Somebody has a lease there. Members: `holder`, `pointer`, `expires`, `retry_after_s`."""

    code = "locked"
    title = "Locked"
    retry = True


class StaleFence(Overtaken):
    """The lease does not stand any more: given up, over, taken by somebody else, or never the caller's."""

    code = "stale-fence"
    title = "Stale fence"


class PreconditionFailed(Overtaken):
    """The document moved and the caller asked for strictness. Members: `head_revision`, `changed`."""

    code = "precondition-failed"
    title = "Precondition failed"


class Deleted(Overtaken):
    """The document is deleted. Members: `revision`, the one that deleted it."""

    code = "deleted"
    title = "Deleted"


class Internal(PlaitServerError):
    """The server failed; its log says why."""

    code = "internal"
    title = "Internal error"


class Unavailable(PlaitServerError):
    """Not now."""

    retry = True


class IdempotencyInProgress(Unavailable):
    """The first request with this key is still running."""

    code = "idempotency-in-progress"
    title = "Request in progress"


class QuotaExceeded(Unavailable):
    """Too many requests in too short a time. Members: `limit`, `maximum`, `window_s`, `retry_after_s`."""

    code = "quota-exceeded"
    title = "Quota exceeded"


class HotDocument(Unavailable):
    """Too many edits of the document wait, or another process kept overtaking this one."""

    code = "hot-document"
    title = "Document too busy"


class Overloaded(Unavailable):
    """Too much is waiting, or the server is closing."""

    code = "overloaded"
    title = "Overloaded"


class StoreUnavailable(Unavailable):
    """The store cannot do this now (disk full, read-only, busy). Nothing was changed."""

    code = "store-unavailable"
    title = "Store unavailable"


class OutcomeUnknown(Unavailable):
    """The commit may or may not be durable: ask again with the same idempotency key."""

    code = "outcome-unknown"
    title = "Outcome unknown"


class StoreRefused(Exception):
    """The store cannot be opened. The message says why, and what to do, in words for an operator."""


class BatchRefused(Exception):
    """Some edits of a batch are refused, so none of it is made. `refusals` has theirs, by number."""

    def __init__(self, refusals: Mapping[int, PlaitServerError]) -> None:
        super().__init__(f"refused edits: {', '.join(map(str, refusals))}")
        self.refusals = refusals
        self.replayed = False
        """True when this is the stored answer to an idempotency key that was seen before."""

    @property
    def first(self) -> PlaitServerError:
        """The refusal to look at first: what is plainly wrong, then what is missing, conflicts last."""
        return min(self.refusals.values(), key=_rank)


def _rank(refusal: PlaitServerError) -> int:
    match refusal:
        case Invalid():
            return 0
        case NotFound():
            return 1
        case MergeConflict():
            return 3
        case _:
            return 2
