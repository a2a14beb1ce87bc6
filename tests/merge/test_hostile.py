"""Patches a stranger might send to tie the engine in knots: each is answered, with what it says."""

from __future__ import annotations

from typing import Any

import pytest

from plait_merge import Conflicted, LimitExceeded, Rebased, apply, rebase

Patch = list[dict[str, Any]]
MANY = 1200


def members() -> dict[str, Any]:
    return {f"k{i}": {"v": i, "w": [i]} for i in range(MANY)}


def rotation(*, closed: bool) -> Patch:
    """Move every member to the place of the one before it."""
    steps = [{"op": "move", "from": "/k0", "path": "/t"}]
    steps += [{"op": "move", "from": f"/k{i + 1}", "path": f"/k{i}"} for i in range(MANY - 1)]
    return [*steps, {"op": "move", "from": "/t", "path": f"/k{MANY - 1}"}] if closed else steps


def edits(value: int) -> Patch:
    return [{"op": "replace", "path": f"/k{i}/v", "value": value} for i in range(MANY)]


def guarded() -> Patch:
    patch: Patch = []
    for i in range(MANY // 2):
        patch.append({"op": "replace", "path": f"/k{i}/v", "value": -1})
        patch.append({"op": "test", "path": f"/k{i}", "value": {"v": -1, "w": [i]}})
    return patch


def rescued() -> Patch:
    patch: Patch = []
    for i in range(MANY // 2):
        patch.append({"op": "move", "from": f"/k{i}/w", "path": f"/m{i}"})
        patch.append({"op": "replace", "path": f"/k{i}", "value": {"z": 1}})
    return patch


@pytest.mark.parametrize(
    ("theirs", "yours", "kinds"),
    [
        pytest.param(rotation(closed=False), rotation(closed=True), {"move_move"}, id="all members move on"),
        pytest.param(edits(-1), guarded(), {"guard", "edit_edit"}, id="a guard after every edit"),
        pytest.param(edits(-1), rescued(), {"replace_edit"}, id="all rescued, all replaced"),
        pytest.param(
            [{"op": "remove", "path": f"/k{i}"} for i in range(MANY)],
            edits(1),
            {"remove_edit"},
            id="all removed",
        ),
        pytest.param(
            edits(-1), [{"op": "replace", "path": "", "value": {}}], {"replace_edit"}, id="the root"
        ),
    ],
)
def test_many_entangled_effects_are_answered_with_data(theirs: Patch, yours: Patch, kinds: set[str]) -> None:
    base = members()
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Conflicted)
    assert {conflict.kind for conflict in outcome.conflicts} <= kinds
    head = apply(base, theirs)
    apply(head, outcome.clean_patch)
    for resolution in outcome.conflicts[0].resolutions.values():
        apply(head, resolution)


def test_a_merge_deeper_than_either_side_is_a_limit_not_a_crash() -> None:
    def nested(depth: int) -> Any:
        value: Any = {}
        for _ in range(depth):
            value = {"a": value}
        return value

    base = {"x": nested(40), "y": nested(40)}
    theirs = [{"op": "move", "from": "/x", "path": "/y" + "/a" * 20 + "/x"}]
    yours = [
        {"op": "add", "path": "/x" + "/a" * 40 + "/b", "value": nested(20)},
        {"op": "replace", "path": "/y" + "/a" * 40, "value": {"c": 1}},
    ]
    assert isinstance(rebase(base, [theirs], yours), LimitExceeded)


def test_a_long_run_in_one_gap_keeps_its_order() -> None:
    theirs = [{"op": "add", "path": "/-", "value": f"t{i}"} for i in range(MANY)]
    yours = [{"op": "add", "path": "/0", "value": f"y{i}"} for i in range(MANY)]
    outcome = rebase([], [theirs], yours)
    assert isinstance(outcome, Rebased)
    assert outcome.value == [f"t{i}" for i in range(MANY)] + [f"y{i}" for i in reversed(range(MANY))]


def test_two_large_replacements_are_not_deeply_merged_just_to_offer_it() -> None:
    rows = [[i, i + 1] for i in range(4_000)]
    base, theirs, yours = ({"rows": [*rows, [n]]} for n in range(3))
    outcome = rebase(
        base,
        [[{"op": "replace", "path": "/rows", "value": theirs["rows"]}]],
        [{"op": "replace", "path": "/rows", "value": yours["rows"]}],
    )
    assert isinstance(outcome, Conflicted)
    assert set(outcome.conflicts[0].resolutions) == {"theirs", "yours", "base"}
