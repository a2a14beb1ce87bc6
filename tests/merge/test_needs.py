"""What falls with an effect that is not chosen: whatever could not be without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pytest

from merge.strategies import Patch, add, copy, move, remove, replace
from plait_merge import Conflicted, Json, apply, rebase, resolve
from plait_merge.outcome import Side


class Settled(NamedTuple):
    """A merge, and what becomes of it where one choice is made for every conflict."""

    base: Json
    theirs: Patch
    yours: Patch
    by_choice: Mapping[Side, Json]


CASES = {
    "what went into its own part, if the part does not come out, would be a circle": Settled(
        {"a": {"b": {"n": 1}}},
        [move("/a/b", "/c")],
        [move("/a/b", "/d"), move("/a", "/d/a")],
        {
            "theirs": {"a": {}, "c": {"n": 1}},
            "yours": {"d": {"n": 1, "a": {}}},
            "base": {"a": {"b": {"n": 1}}},
        },
    ),
    "so would what went into a part of its part": Settled(
        {"a": {"x": {"b": {}}}},
        [move("/a/x/b", "/c")],
        [move("/a/x/b", "/d"), move("/a", "/d/a")],
        {
            "theirs": {"a": {"x": {}}, "c": {}},
            "yours": {"d": {"a": {"x": {}}}},
            "base": {"a": {"x": {"b": {}}}},
        },
    ),
    "nothing is removed of which a part was to be rescued": Settled(
        {"a": {"b": {"c": 1}}},
        [move("/a/b/c", "/d")],
        [move("/a/b/c", "/e"), remove("/a")],
        {"theirs": {"a": {"b": {}}, "d": 1}, "yours": {"e": 1}, "base": {"a": {"b": {"c": 1}}}},
    ),
    "but where what it was in lives on, what that was in may go": Settled(
        {"a": {"b": {"c": 1}}},
        [move("/a/b/c", "/d")],
        [move("/a/b", "/b"), move("/b/c", "/e"), remove("/a")],
        {"theirs": {"b": {}, "d": 1}, "yours": {"b": {}, "e": 1}, "base": {"b": {"c": 1}}},
    ),
    "what both removed comes back only with what both rescued": Settled(
        {"a": {"b": 1}},
        [move("/a/b", "/c"), remove("/a")],
        [move("/a/b", "/d"), remove("/a")],
        {"theirs": {"c": 1}, "yours": {"d": 1}, "base": {"a": {"b": 1}}},
    ),
    "what is in what both added stays, though theirs copied it from what falls": Settled(
        {"a": 1, "z": 0},
        [replace("/z", {"p": 2}), move("/a", "/c"), add("/a", {}), copy("/z", "/a/o")],
        [replace("/z", 3), move("/a", "/d"), add("/a", {"o": {"q": 4}})],
        {
            "theirs": {"a": {"o": {"p": 2, "q": 4}}, "c": 1, "z": {"p": 2}},
            "yours": {"a": {"o": {"p": 2, "q": 4}}, "d": 1, "z": 3},
            "base": {"a": 1, "z": 0},
        },
    ),
    "a copy of what is no more stays without what that was in": Settled(
        {"a": 0},
        [replace("/a", 1)],
        [replace("/a", {"b": 2}), copy("/a/b", "/c"), remove("/a/b")],
        {"theirs": {"a": 1, "c": 2}, "yours": {"a": {}, "c": 2}, "base": {"a": 0, "c": 2}},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_cannot_be_without_what_is_not_chosen_falls_with_it(case: Settled) -> None:
    outcome = rebase(case.base, [case.theirs], case.yours)
    assert isinstance(outcome, Conflicted)
    head = apply(case.base, case.theirs)
    settled = {
        choice: apply(head, resolve(head, outcome, dict.fromkeys((c.id for c in outcome.conflicts), choice)))
        for choice in case.by_choice
    }
    assert settled == case.by_choice


def test_one_conflict_resolved_takes_with_it_what_needs_no_other_and_what_that_needs() -> None:
    """A copy of an object needs all that was set in it, what is clean as well; nothing else comes along."""
    base: Json = {"o": {"v": 1, "w": 1, "z": 1}, "n": 1}
    yours = [*(replace(f"/o/{name}", 3) for name in "vwz"), copy("/o", "/k"), replace("/n", 3)]

    def alone(theirs: Patch) -> dict[str, Json]:
        outcome = rebase(base, [theirs], yours)
        assert isinstance(outcome, Conflicted)
        return {c.pointer: apply(apply(base, theirs), c.resolutions["yours"]) for c in outcome.conflicts}

    whole = {"v": 3, "w": 3, "z": 3}
    assert alone([replace("/o/z", 2)]) == {"/o/z": {"o": whole, "n": 1, "k": whole}}
    assert alone([replace("/o/z", 2), replace("/o/w", 2)]) == {
        "/o/w": {"o": {"v": 1, "w": 3, "z": 2}, "n": 1},
        "/o/z": {"o": {"v": 1, "w": 2, "z": 3}, "n": 1},
    }
