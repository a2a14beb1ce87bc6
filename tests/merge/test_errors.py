"""The errors of the engine: what they say, and that they are values like others."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from plait_merge import ABSENT, ChoiceError, Inapplicable, InvalidValue, LimitExceeded, PolicyError
from plait_merge.patch import MalformedPatch


@pytest.mark.parametrize(
    ("kind", "parts", "text"),
    [
        (MalformedPatch, {"operation": None, "detail": "a patch is an array"}, "a patch is an array"),
        (MalformedPatch, {"operation": 0, "detail": "no op"}, "operation 0: no op"),
        (
            Inapplicable,
            {"operation": 2, "pointer": "/a", "reason": "missing", "found": ABSENT},
            "operation 2: missing at '/a'",
        ),
        (LimitExceeded, {"limit": "depth", "pointer": "/a"}, "limit depth exceeded at '/a'"),
        (InvalidValue, {"pointer": "/a", "reason": "number is not finite"}, "number is not finite at '/a'"),
        (PolicyError, {"pointer": "/a", "detail": "is empty", "known": ()}, "policy, at '/a': is empty"),
        (
            PolicyError,
            {"pointer": "/a", "detail": "is empty", "known": ("b", "c")},
            "policy, at '/a': is empty; known are b, c",
        ),
        (ChoiceError, {"conflict": "c1", "detail": "has no choice"}, "conflict c1: has no choice"),
    ],
)
def test_an_error_is_made_of_its_parts_and_survives_pickling(
    kind: type[Exception], parts: dict[str, Any], text: str
) -> None:
    error = kind(*parts.values())
    assert error.args == tuple(parts.values())
    for same in (error, pickle.loads(pickle.dumps(error))):
        assert (type(same), vars(same), str(same)) == (kind, parts, text)


def test_a_limit_of_the_whole_is_passed_at_the_root() -> None:
    assert LimitExceeded("operations").pointer == ""
