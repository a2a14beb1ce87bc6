"""What an answer that is no success becomes."""

import pickle
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plait_client import errors
from plait_client.errors import (
    BaseUnknown,
    Compacted,
    Deleted,
    Forbidden,
    InvalidPatch,
    Locked,
    NotFound,
    Overlapped,
    PlaitError,
    PreconditionFailed,
    RateLimited,
    Refused,
    StaleFence,
    TestFailed,
    TransportError,
    error_of,
)
from plait_merge import Json

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=20)


def test_the_drawing_of_the_tree_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([ │├└─]*)([A-Z]\w+)", line):
            above[len(found[1]) // 4 :] = [found[2]]
            drawn[found[2]] = above[-2] if len(above) > 1 else "Exception"
    classes = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in classes}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "malformed-patch", InvalidPatch),
        (400, "bad-header", Refused),
        (401, "", Forbidden),
        (403, "", Forbidden),
        (404, "not-found", NotFound),
        (408, "request-timeout", TransportError),
        (409, "merge-conflict", Overlapped),
        (409, "test-failed", TestFailed),
        (409, "base-unknown", BaseUnknown),
        (409, "base-unavailable", BaseUnknown),
        (409, "already-resolved", Refused),
        (409, "idempotency-in-progress", TransportError),
        (410, "deleted", Deleted),
        (409, "stale-fence", StaleFence),
        (410, "revision-compacted", Compacted),
        (410, "cursor-expired", Refused),
        (412, "precondition-failed", PreconditionFailed),
        (413, "too-large", InvalidPatch),
        (418, "", Refused),
        (422, "patch-inapplicable", InvalidPatch),
        (422, "invalid-value", InvalidPatch),
        (422, "idempotency-key-reused", Refused),
        (423, "locked", Locked),
        (428, "precondition-required", Refused),
        (429, "quota-exceeded", RateLimited),
        (500, "internal", TransportError),
        (503, "overloaded", TransportError),
        (504, "outcome-unknown", TransportError),
        (599, "", TransportError),
    ],
)
def test_each_problem_has_its_error(status: int, code: str, kind: type[PlaitError]) -> None:
    error = error_of(status, {"type": f"urn:plait:errors:{code}", "detail": "So it is.", "request_id": "r1"})
    assert type(error) is kind
    assert (error.detail, error.code, error.request_id) == ("So it is.", code, "r1")


@pytest.mark.parametrize(
    "base", ["urn:plait:errors:", "https://example.org/errors/", "https://example.org/errors#", ""]
)
def test_a_code_is_read_whatever_a_server_puts_before_it(base: str) -> None:
    assert type(error_of(410, {"type": f"{base}deleted"})) is Deleted


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(300, 599),
    st.none()
    | st.dictionaries(st.sampled_from(["type", "title", "detail", "status", "request_id"]), scalars),
)
def test_any_problem_is_an_error_with_words(status: int, problem: dict[str, Json] | None) -> None:
    """Members of the wrong type, missing ones and none at all."""
    error = error_of(status, problem, request_id="from the header", attempts=3, outcome_unknown=True)
    assert 0 < len(str(error)) <= errors.DETAIL_CHARACTERS_MAX
    assert isinstance(error.code, str)
    assert error.request_id
    assert (error.attempts, error.outcome_unknown) == (3, True)


def test_a_lease_of_somebodys_tells_what_is_known_of_it() -> None:
    told = {
        "type": "urn:plait:errors:locked",
        "holder": "ann",
        "pointer": "",
        "expires": "2026-11-20T12:00:00Z",
    }
    error = error_of(423, told)
    assert isinstance(error, Locked)
    assert (error.holder, error.pointer, error.expires) == ("ann", "", "2026-11-20T12:00:00Z")
    for problem in (None, {"type": "locked", "holder": 1, "pointer": None, "expires": []}):
        silent = error_of(423, problem)
        assert isinstance(silent, Locked)
        assert (silent.holder, silent.pointer, silent.expires) == (None, None, None)


def test_an_error_survives_being_pickled() -> None:
    error = error_of(412, {"type": "precondition-failed", "detail": "Moved."}, attempts=2)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.detail, again.code, again.attempts) == (
        PreconditionFailed,
        "Moved.",
        error.code,
        2,
    )
