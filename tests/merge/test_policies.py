"""What policies do where two sides meet: each word by itself, then laws for all of them together."""

from __future__ import annotations

import json
from collections import Counter
from functools import reduce
from itertools import islice, product
from typing import Any, TypeAlias

from hypothesis import event, given
from hypothesis import strategies as st

from merge.strategies import (
    Scene,
    crowded_scenes,
    framed,
    guard,
    patches,
    remove,
    replace,
    scene_policies,
    scenes,
)
from plait_merge import (
    ABSENT,
    Conflicted,
    Policy,
    Rebased,
    apply,
    rebase,
    resolve,
    same,
)

Json: TypeAlias = Any
any_scenes = st.one_of(scenes(), crowded_scenes())
COMBINATIONS_MAX = 64


def head(scene: Scene) -> Json:
    return reduce(apply, scene.theirs, scene.base)


def decided(scene: Scene, policy: Policy | None) -> Rebased | Conflicted:
    outcome = rebase(*scene, policy)
    assert isinstance(outcome, Rebased | Conflicted), outcome
    event(type(outcome).__name__)
    return outcome


# -- laws of all policies


@given(any_scenes, scene_policies())
def test_the_rebased_patch_leads_from_theirs_to_the_value(scene: Scene, policy: Policy) -> None:
    outcome = decided(scene, policy)
    if isinstance(outcome, Rebased):
        assert all(operation["op"] not in ("test", "inc") for operation in outcome.patch)
        assert same(outcome.value, apply(head(scene), json.loads(json.dumps(outcome.patch))))


@given(any_scenes, scene_policies())
def test_every_combination_of_choices_applies(scene: Scene, policy: Policy) -> None:
    outcome = decided(scene, policy)
    if not isinstance(outcome, Conflicted):
        return
    theirs = head(scene)
    for conflict in outcome.conflicts:
        assert "theirs" in conflict.resolutions
        for patch in conflict.resolutions.values():
            apply(theirs, patch)
    assert len({conflict.id for conflict in outcome.conflicts}) == len(outcome.conflicts)
    offered = [list(conflict.resolutions) for conflict in outcome.conflicts]
    if any(conflict.kind == "guard" for conflict in outcome.conflicts):
        offered = [["theirs"] for _ in offered]
    ids = [conflict.id for conflict in outcome.conflicts]
    for choices in islice(product(*offered), COMBINATIONS_MAX):
        apply(theirs, resolve(theirs, outcome, dict(zip(ids, choices, strict=True))))
    clean = apply(theirs, outcome.clean_patch)
    assert same(clean, apply(theirs, resolve(theirs, outcome, dict.fromkeys(ids, "theirs"))))


@given(st.one_of(scenes(tests=True), crowded_scenes()))
def test_a_policy_that_says_nothing_changes_nothing(scene: Scene) -> None:
    """Also the road that only policies take answers what the short one does."""
    plain, ruled = rebase(*scene), rebase(*scene, Policy.read({"rules": {}}))
    assert type(plain) is type(ruled)
    if isinstance(plain, Rebased) and isinstance(ruled, Rebased):
        assert same(plain.value, ruled.value)
    if isinstance(plain, Conflicted) and isinstance(ruled, Conflicted):
        told = [[conflict.as_json() for conflict in outcome.conflicts] for outcome in (plain, ruled)]
        assert told[0] == told[1]
        assert plain.clean_operations == ruled.clean_operations


@given(any_scenes, scene_policies())
def test_an_untouched_side_yields(scene: Scene, policy: Policy) -> None:
    forward = rebase(scene.base, [], scene.yours, policy)
    assert isinstance(forward, Rebased)
    assert same(apply(scene.base, scene.yours), forward.value)
    still = rebase(scene.base, scene.theirs, [], policy)
    assert isinstance(still, Rebased)
    assert same(head(scene), still.value)


@given(st.data(), scene_policies())
def test_no_policy_overrides_a_guard(data: st.DataObject, policy: Policy) -> None:
    document, guarded = data.draw(scenes(absent=False)).base, data.draw(st.sampled_from([1, "x", [1]]))
    breach = data.draw(st.sampled_from([remove("/g"), replace("/g", {"another": guarded})]))
    yours = [guard("/g", guarded), replace("/g", "mine"), *framed(data.draw(patches(document)), "/r")]
    theirs = [breach, *framed(data.draw(patches(document)), "/r")]
    if any(o["path"] == "/r" or o.get("from") == "/r" for o in (*theirs, *yours)):
        return
    outcome = rebase({"g": guarded, "r": document}, [theirs], yours, policy)
    assert isinstance(outcome, Conflicted)
    assert ("guard", "/g") in {(conflict.kind, conflict.pointer) for conflict in outcome.conflicts}
    assert outcome.clean_patch == []
    assert all(set(c.resolutions) == {"theirs"} for c in outcome.conflicts)


@given(scenes(tests=True), scene_policies())
def test_a_guard_that_fails_by_itself_fails_under_every_policy_that_only_chooses(
    scene: Scene, policy: Policy
) -> None:
    plain, ruled = rebase(*scene), rebase(*scene, Policy.read({"rules": {"**": {"scalar": "theirs"}}}))
    if isinstance(plain, Conflicted):
        failed = {c.pointer for c in plain.conflicts if c.kind == "guard"}
        found = {c.pointer for c in ruled.conflicts} if isinstance(ruled, Conflicted) else set()
        assert failed <= found


@given(any_scenes, st.sampled_from(["theirs", "yours"]))
def test_one_side_everywhere_leaves_nothing_to_decide(scene: Scene, side: str) -> None:
    outcome = decided(scene, Policy.read({"rules": {"**": {"scalar": side}}}))
    assert isinstance(outcome, Rebased)
    plain = rebase(*scene)
    if isinstance(plain, Conflicted):
        choices: Any = {conflict.id: side for conflict in plain.conflicts}
        theirs = head(scene)
        assert same(outcome.value, apply(theirs, resolve(theirs, plain, choices)))
        assert {note.note for note in outcome.notes} <= {side, "stale_copy"}


def leaves(value: Json) -> Counter[str]:
    if isinstance(value, dict):
        return sum((leaves(part) for part in value.values()), Counter())
    if isinstance(value, list):
        return sum((leaves(part) for part in value), Counter())
    return Counter() if value is ABSENT else Counter([json.dumps(value)])


@given(any_scenes, scene_policies(sums=False))
def test_nothing_is_invented(scene: Scene, policy: Policy) -> None:
    outcome = decided(scene, policy)
    if isinstance(outcome, Rebased):
        known = leaves([scene.base, head(scene), apply(scene.base, scene.yours)])
        assert leaves(outcome.value).keys() <= known.keys()
