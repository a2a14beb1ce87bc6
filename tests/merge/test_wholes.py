"""Atomic values that both sides changed something in."""

from __future__ import annotations

from merge.strategies import add, move, remove, replace
from plait_merge import Conflicted, Policy, Rebased, apply, rebase

BASE = {"at": {"lat": 1, "lon": 2}}
ATOMIC = Policy.read({"rules": {"/at": {"object": "atomic"}}})


def test_an_atomic_value_that_one_side_took_apart_is_whole_again_or_gone() -> None:
    """Never what is left of it where a part was moved out."""
    apart, edited = [move("/at/lat", "/lat"), remove("/at")], [replace("/at/lon", 5)]
    for theirs, yours in ((apart, edited), (edited, apart)):
        outcome = rebase(BASE, [theirs], yours, ATOMIC)
        assert isinstance(outcome, Conflicted)
        (conflict,) = outcome.conflicts
        assert (conflict.kind, conflict.pointer) == ("remove_edit", "/at")
        sides = {"theirs": theirs, "yours": yours, "base": []}
        head = apply(BASE, theirs)
        for choice, patch in conflict.resolutions.items():
            assert apply(head, patch) == apply(BASE, sides[choice])


def test_an_atomic_value_that_both_removed_is_no_conflict() -> None:
    theirs, yours = [replace("/at/lat", 5), remove("/at")], [remove("/at"), add("/on", 1)]
    outcome = rebase(BASE, [theirs], yours, ATOMIC)
    assert isinstance(outcome, Rebased)
    assert outcome.value == {"on": 1}
