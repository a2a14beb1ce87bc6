"""Every error as a problem document (RFC 9457), and the one list of all of them.

`PROBLEMS` is the catalogue: what a code means, its status, whether asking again can help. A
`Problem` is raised anywhere in the web part; the middleware writes it out.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from plait_server import errors, wire

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = (1, 3)
"""Between these, at random, so that those who were refused together do not come back together; a refusal
that knows better says so in its member `retry_after_s`."""


WEAK_TAG_HINT: Final = (
    "Something between you and this server weakened the tag, and a weak tag never matches. "
    "Send Plait-Base, or base in the body."
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: `code` ends its `type`, `retry` tells whether the same request may succeed later."""

    code: str
    status: int
    title: str
    retry: bool = False


# What the service refuses: its own errors name code, title and retry; here they get their status.
_REFUSALS: Final[Mapping[type[errors.PlaitServerError], int]] = {
    errors.BadQuery: 400,
    errors.MalformedPatch: 400,
    errors.MalformedFrame: 400,
    errors.NotFound: 404,
    errors.MergeConflict: 409,
    errors.TestFailed: 409,
    errors.BaseUnknown: 409,
    errors.BaseUnavailable: 409,
    errors.BaseRefused: 409,
    errors.AlreadyResolved: 409,
    errors.IdempotencyInProgress: 409,
    errors.Deleted: 410,
    errors.CursorExpired: 410,
    errors.StaleFence: 409,
    errors.RevisionCompacted: 410,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.InvalidValue: 422,
    errors.PatchInapplicable: 422,
    errors.SchemaViolation: 422,
    errors.IdempotencyKeyReused: 422,
    errors.Locked: 423,
    errors.PreconditionRequired: 428,
    errors.QuotaExceeded: 429,
    errors.Internal: 500,
    errors.HotDocument: 503,
    errors.Overloaded: 503,
    errors.StoreUnavailable: 503,
    errors.OutcomeUnknown: 504,
}

# What never reaches the service.
_AT_THE_DOOR: Final = (
    Kind("bad-request", 400, "Bad request"),
    Kind("bad-header", 400, "Bad header"),
    Kind("malformed-json", 400, "Malformed JSON"),
    Kind("method-not-allowed", 405, "Method not allowed"),
    Kind("not-acceptable", 406, "Not acceptable"),
    Kind("request-timeout", 408, "Request not complete in time", retry=True),
    Kind("unsupported-media-type", 415, "Unsupported media type"),
    Kind("unsupported-patch", 415, "Unsupported kind of patch"),
    Kind("expectation-failed", 417, "Expectation failed"),
    Kind("headers-too-large", 431, "Request head too large"),
)

PROBLEMS: Final[Mapping[str, Kind]] = {
    kind.code: kind
    for kind in (
        *(Kind(error.code, status, error.title, error.retry) for error, status in _REFUSALS.items()),
        *_AT_THE_DOOR,
    )
}


class Problem(Exception):
    """An answer that is not a success. `members` are the extension members of its document."""

    def __init__(
        self,
        code: str,
        detail: str,
        members: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        retry: bool = True,
    ) -> None:
        """`retry` is False where the same request cannot succeed later, whatever it says of its kind."""
        super().__init__(detail)
        self.kind = PROBLEMS[code]
        self.retry = retry and self.kind.retry
        self.detail = detail
        self.members = members or {}
        self.headers = headers or {}


def problem_of_refusal(error: errors.PlaitServerError, named: Mapping[str, str]) -> Problem:
    """Say what the service refused. `named` are the variables of the path: a kept conflict lies below it."""
    members = dict(error.members)
    headers = {}
    if isinstance(error, errors.MergeConflict) and "conflict" in members:
        conflict = members.pop("conflict")
        members["instance"] = f"/v1/docs/{named['collection']}/{named['id']}/conflicts/{conflict}"
    revision = members.get("head_revision", members.get("revision"))
    if isinstance(revision, int):
        headers["Plait-Revision"] = str(revision)
    if members.get("weak_etag"):
        members["hint"] = WEAK_TAG_HINT
    if error.replayed:
        headers["Idempotency-Replayed"] = "true"
    return Problem(error.code, error.detail, members, headers, retry=not error.kept)


def problem_response(problem: Problem, request_id: str, base: str) -> web.Response:
    """Write a problem out; `base` comes before the code in its `type`."""
    kind = problem.kind
    headers: CIMultiDict[str] = CIMultiDict(problem.headers)
    headers["Content-Type"] = MEDIA_TYPE
    headers["Cache-Control"] = "no-store"
    headers["Plait-Should-Retry"] = "true" if problem.retry else "false"
    headers["X-Request-Id"] = request_id
    headers["Server"] = "plait"
    if problem.retry:
        headers["Retry-After"] = str(problem.members.get("retry_after_s", random.randint(*RETRY_AFTER_S)))
    return web.Response(
        status=kind.status, body=wire.encode(problem_body(problem, request_id, base)), headers=headers
    )


def problem_body(problem: Problem, request_id: str, base: str) -> dict[str, object]:
    """Give the document of a problem."""
    kind = problem.kind
    return {
        "type": base + kind.code,
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        **problem.members,
        "request_id": request_id,
    }
