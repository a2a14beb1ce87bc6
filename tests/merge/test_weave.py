"""Two sides woven: circles that a choice could close, guards that are replayed, choices that are written."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from merge.strategies import Patch, add, copy, guard, move, remove, replace
from plait_merge import Conflicted, Json, Policy, Rebased, apply, rebase, resolve
from plait_merge.outcome import Side
from plait_merge.weave import GUARD_REPLAYS_MAX


def conflicted(base: Json, theirs: Patch, yours: Patch) -> Conflicted:
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Conflicted)
    return outcome


def kinds(base: Json, theirs: Patch, yours: Patch) -> list[tuple[str, str]]:
    return [(conflict.kind, conflict.pointer) for conflict in conflicted(base, theirs, yours).conflicts]


def test_a_circle_that_only_a_choice_would_close_is_a_conflict_too() -> None:
    """Both take c out of b; left in it, yours' b in a and theirs' a in c would go round."""
    base: Json = {"a": {}, "b": {"c": {}}}
    theirs = [move("/b/c", "/x"), move("/a", "/x/a")]
    outcome = conflicted(base, theirs, [move("/b/c", "/y"), move("/b", "/a/b")])
    assert [(c.kind, c.pointer) for c in outcome.conflicts] == [("cycle", "/a"), ("move_move", "/b/c")]
    head = apply(base, theirs)
    sides: list[Side] = ["theirs", "yours", "base"]
    for one, other in product(sides, repeat=2):
        choices = dict(zip((c.id for c in outcome.conflicts), (one, other), strict=True))
        value = apply(head, resolve(head, outcome, choices))
        assert sorted(names_in(value)) == sorted(
            ["a", "b", {"theirs": "x", "yours": "y", "base": "c"}[other]]
        )


def names_in(value: Json) -> list[str]:
    return [found for name, part in value.items() for found in (name, *names_in(part))]


def test_a_guard_sees_what_a_move_before_it_brought() -> None:
    """What it looks at theirs never touched; what was moved in there theirs has."""
    yours = [move("/z", "/a/z"), guard("/a", {"z": 1})]
    assert kinds({"a": {}, "z": 1}, [replace("/z", 2)], yours) == [("guard", "/a")]
    assert isinstance(rebase({"a": {}, "z": 1}, [[move("/a", "/b")]], yours), Rebased)


def test_so_many_guards_are_replayed_and_further_ones_fail() -> None:
    base, theirs = {"n": 0}, [move("/n", "/m")]
    steps = [step for n in range(1, GUARD_REPLAYS_MAX + 1) for step in (replace("/n", n), guard("/n", n))]
    outcome = rebase(base, [theirs], [*steps, steps[-1]])
    assert isinstance(outcome, Rebased)
    assert outcome.value == {"m": GUARD_REPLAYS_MAX}
    (last,) = conflicted(base, theirs, [*steps, replace("/n", -1), guard("/n", -1)]).conflicts
    assert (last.kind, last.your_operations) == ("guard", (len(steps) + 1,))


@pytest.mark.parametrize(
    ("base", "theirs", "yours", "written"),
    [
        ({}, [add("/m", 1)], [add("/m", 2)], add("/m", 7)),
        ({"m": 0}, [replace("/m", 1)], [replace("/m", 2)], replace("/m", 7)),
    ],
)
def test_a_chosen_value_is_written_at_once(
    base: Json, theirs: Patch, yours: Patch, written: dict[str, Json]
) -> None:
    """And not what it stands for before it."""
    outcome = conflicted(base, theirs, yours)
    (conflict,) = outcome.conflicts
    assert resolve(apply(base, theirs), outcome, {conflict.id: {"value": 7}}) == [written]


@pytest.mark.parametrize(
    ("theirs", "yours"),
    [
        ([move("/a", "/b")], [replace("/a/x", 2), guard("/a", {"l": [], "x": 2})]),
        ([add("/a/l/-", 1)], [add("/a/l/-", 1), guard("/a/l", [1])]),
    ],
    ids=["what yours did", "what both did"],
)
@pytest.mark.parametrize("clash", [False, True])
def test_a_guard_sees_what_was_done_before_it_once(theirs: Patch, yours: Patch, clash: bool) -> None:
    """Whether or not something else is in conflict: there, it sees what yours has."""
    base: Json = {"a": {"l": [], "x": 1}, "n": 0}
    if clash:
        theirs = [replace("/n", 1), *theirs]
        yours = [replace("/n", 2), *yours, guard("/n", 2)]
        assert kinds(base, theirs, yours) == [("edit_edit", "/n")]
    else:
        assert isinstance(rebase(base, [theirs], yours), Rebased)


@pytest.mark.parametrize(
    ("theirs", "yours", "stale"),
    [
        pytest.param([replace("/a", 2)], [copy("/a", "/c")], ["/c"], id="edited"),
        pytest.param([remove("/a"), move("/z", "/y")], [copy("/a", "/c")], ["/c"], id="removed"),
        pytest.param([move("/a", "/b")], [copy("/a", "/c")], [], id="only moved"),
        pytest.param([replace("/a", 2)], [copy("/a", "/c"), remove("/c")], [], id="copied for a while"),
        pytest.param([replace("/a", 2)], [copy("/a", "/c"), copy("/z", "/d")], ["/c"], id="one of two"),
        pytest.param([replace("/a", 2), add("/x", 1)], [add("/e", 1), copy("/e", "/x")], [], id="yours"),
    ],
)
def test_a_copy_of_what_theirs_has_changed_is_noted(theirs: Patch, yours: Patch, stale: list[str]) -> None:
    outcome = rebase({"a": 1, "z": 1}, [theirs], yours)
    assert isinstance(outcome, Rebased)
    assert [note.pointer for note in outcome.notes if note.note == "stale_copy"] == stale


@pytest.mark.parametrize("op", [add, replace])
def test_what_a_policy_makes_of_both_is_written_at_once(op: Callable[[str, Json], dict[str, Json]]) -> None:
    """And not after what yours had there."""
    policy = Policy.read({"rules": {"/m": {"scalar": "sum"}}})
    base: Json = {"z": 1} if op is add else {"m": 0, "z": 1}
    outcome = rebase(base, [[op("/m", 1), move("/z", "/y")]], [op("/m", 2), add("/x", 1)], policy)
    assert isinstance(outcome, Rebased)
    assert outcome.patch == [add("/x", 1), op("/m", 3)]
