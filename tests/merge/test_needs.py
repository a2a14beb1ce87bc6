"""What falls with an effect that is not chosen: whatever could not be without it."""

from __future__ import annotations

from merge.strategies import move
from plait_merge import Conflicted, Json, apply, rebase, resolve


def test_what_went_into_its_own_part_stays_if_the_part_does_not_come_out() -> None:
    """Yours takes a part out and puts the rest into it: without the one, the other would be a circle."""
    base: Json = {"a": {"b": {"n": 1}}}
    theirs, yours = [move("/a/b", "/c")], [move("/a/b", "/d"), move("/a", "/d/a")]
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Conflicted)
    (conflict,) = outcome.conflicts
    head = apply(base, theirs)
    settled = {
        choice: apply(head, resolve(head, outcome, {conflict.id: choice}))
        for choice in ("theirs", "yours", "base")
    }
    assert settled["yours"] == {"d": {"n": 1, "a": {}}}
    assert settled["base"] == base
    assert settled["theirs"] == {"a": {}, "c": {"n": 1}}
