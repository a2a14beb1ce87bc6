"""Atomic values that both sides changed something in."""

from __future__ import annotations

from merge.strategies import move, remove, replace
from plait_merge import Conflicted, Policy, rebase


def test_an_atomic_value_that_one_side_took_apart_was_removed() -> None:
    whole = Policy.read({"rules": {"/at": {"object": "atomic"}}})
    apart, edited = [move("/at/lat", "/lat"), remove("/at")], [replace("/at/lon", 5)]
    for theirs, yours in ((apart, edited), (edited, apart)):
        outcome = rebase({"at": {"lat": 1, "lon": 2}}, [theirs], yours, whole)
        assert isinstance(outcome, Conflicted)
        assert [(conflict.kind, conflict.pointer) for conflict in outcome.conflicts] == [
            ("remove_edit", "/at")
        ]
