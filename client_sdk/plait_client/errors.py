"""Why the client could not do what it was asked, as one tree.

    PlaitError
    ├── TransportError      no usable answer: the connection, something in between, or a server in trouble
    ├── DeadlineExceeded    no answer in the time given; `__cause__` is what stood in the way last
    ├── RateLimited         429, and the attempts are used up
    ├── RetryQuotaSpent     too much fails already: nothing is tried again for now
    ├── NotFound            404: no such document, revision or conflict (for this caller)
    │   ├── Deleted         410: there was one; `problem` names the revision that deleted it
    │   └── Compacted       410: the revision is kept no longer; `problem` names the oldest that is
    ├── Forbidden           401, 403
    ├── InvalidPatch        the patch is wrong by itself: malformed, inapplicable, too large
    ├── TestFailed          409: a `test` is false on the base of its patch
    ├── PreconditionFailed  412: strictness was asked for and the document has moved
    ├── BaseUnknown         409: the base is none of this server's revisions, or is kept no longer
    ├── Locked              423: somebody holds a lease there: `holder`, `pointer`, `expires`
    ├── StaleFence          409: the lease that an edit was made under is lost
    ├── Refused             any other decided refusal; `problem` says which
    ├── Overlapped          409 merge-conflict, as it comes in: `Document` makes a `MergeConflict` of it
    ├── OutboxFull          a limit of the outbox is reached; the edit was not taken
    └── OutboxUnusable      the outbox's file cannot be used

`MergeConflict` (in `conflict`) is a `PlaitError` too.
"""

import re
from collections.abc import Mapping
from typing import Final

from plait_merge import Json

Problem = Mapping[str, Json]
"""A problem document (RFC 9457): type, title, status, detail, request_id, and members of its own."""

DETAIL_CHARACTERS_MAX: Final = 1_000


class PlaitError(Exception):
    """Anything that went wrong.

    `detail` is a sentence for people. `problem` is the server's problem document, None where there is
    none; `request_id` is what the server's log calls the request. `attempts` counts how often the
    request was sent, and `outcome_unknown` is true where it was a write that may have been carried out.
    """

    def __init__(
        self,
        detail: str,
        *,
        problem: Problem | None = None,
        request_id: str | None = None,
        attempts: int = 0,
        outcome_unknown: bool = False,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problem = problem
        self.request_id = request_id
        self.attempts = attempts
        self.outcome_unknown = outcome_unknown

    @property
    def code(self) -> str:
        """The end of the problem's type, such as `merge-conflict`; "" without a problem."""
        return code_of(self.problem)


class TransportError(PlaitError):
    """There is no usable answer."""


class DeadlineExceeded(PlaitError):
    """The time given was not enough, or would not have been: nobody waits for what comes too late."""


class RateLimited(PlaitError):
    """The server asks for patience, and the attempts are used up."""


class RetryQuotaSpent(PlaitError):
    """The request may be sent again, but so much has failed that this client holds back."""


class NotFound(PlaitError):
    """There is no such thing, for this caller."""


class Deleted(NotFound):
    """The document is deleted."""


class Compacted(NotFound):
    """The revision is kept no longer."""


class Forbidden(PlaitError):
    """Who asks is not known, or may not do this."""


class InvalidPatch(PlaitError):
    """The edit is wrong by itself: sending it again cannot help."""


class TestFailed(PlaitError):
    """A `test` of the patch is false on the revision that the patch was made against."""

    __test__ = False


class PreconditionFailed(PlaitError):
    """The document is not at the revision that was insisted on."""


class BaseUnknown(PlaitError):
    """The server cannot tell what the edit was made against: read again."""


class Locked(PlaitError):
    """Somebody else holds a lease there. What is not told is None."""

    @property
    def holder(self) -> str | None:
        """Who holds it."""
        return _text(self.problem, "holder") or None

    @property
    def pointer(self) -> str | None:
        """What it is on; "" is the whole document."""
        pointer = (self.problem or {}).get("pointer")
        return pointer if isinstance(pointer, str) else None

    @property
    def expires(self) -> str | None:
        """When it ends unless it is renewed, as RFC 3339."""
        return _text(self.problem, "expires") or None


class StaleFence(PlaitError):
    """The lease is lost: it ran out, and somebody else may have had one since."""


class Refused(PlaitError):
    """The server decided against it."""


class Overlapped(PlaitError):
    """Edits overlap; `problem` holds the conflicts."""


class OutboxFull(PlaitError):
    """The outbox takes no more edits; the detail names the limit."""


class OutboxUnusable(PlaitError):
    """The outbox's file is in use, was written by a newer version, or cannot be read or written."""


_OF_CODE: Final[Mapping[str, type[PlaitError]]] = {
    "base-unavailable": BaseUnknown,
    "base-unknown": BaseUnknown,
    "deleted": Deleted,
    "idempotency-in-progress": TransportError,
    "invalid-value": InvalidPatch,
    "malformed-json": InvalidPatch,
    "malformed-patch": InvalidPatch,
    "merge-conflict": Overlapped,
    "patch-inapplicable": InvalidPatch,
    "revision-compacted": Compacted,
    "schema-violation": InvalidPatch,
    "stale-fence": StaleFence,
    "test-failed": TestFailed,
}

_OF_STATUS: Final[Mapping[int, type[PlaitError]]] = {
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    408: TransportError,
    412: PreconditionFailed,
    413: InvalidPatch,
    423: Locked,
    425: TransportError,
    429: RateLimited,
}


def error_of(
    status: int,
    problem: Problem | None,
    *,
    request_id: str | None = None,
    attempts: int = 0,
    outcome_unknown: bool = False,
) -> PlaitError:
    """Make the error that an answer other than a success stands for."""
    kind = _OF_CODE.get(code_of(problem)) or _OF_STATUS.get(status)
    if kind is None:
        kind = Refused if 400 <= status < 500 else TransportError
    return kind(
        _detail(status, problem),
        problem=problem,
        request_id=_text(problem, "request_id") or request_id,
        attempts=attempts,
        outcome_unknown=outcome_unknown,
    )


def code_of(problem: Problem | None) -> str:
    """Read the end of a problem's type, whatever a server puts before it; "" where there is none."""
    return re.split(r"[:/#]", _text(problem, "type"))[-1]


def _detail(status: int, problem: Problem | None) -> str:
    said = _text(problem, "detail") or _text(problem, "title")
    return said[:DETAIL_CHARACTERS_MAX] or f"The server answered with status {status}."


def _text(problem: Problem | None, member: str) -> str:
    value = None if problem is None else problem.get(member)
    return value if isinstance(value, str) else ""
