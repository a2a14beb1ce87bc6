"""The laws of merge.md section 8, and the engine against the slow model.

By JSON equality throughout, with the default policy, and patches without `test` unless a law speaks of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import reduce
from itertools import count, islice, product
from typing import Any, Literal, TypeAlias

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from merge import model
from merge.strategies import (
    NAMES,
    Scene,
    add,
    applied,
    crowded_scenes,
    documents,
    guard,
    objects,
    patches,
    remove,
    replace,
    scenes,
    values,
)
from plait_merge import (
    ABSENT,
    ChoiceError,
    Conflict,
    Conflicted,
    Inapplicable,
    Rebased,
    apply,
    merge,
    rebase,
    resolve,
    same,
)
from plait_merge import Merged as MergedStates

Json: TypeAlias = Any
Patch: TypeAlias = list[dict[str, Json]]
Choice: TypeAlias = Literal["theirs", "yours", "base"]
Settled: TypeAlias = list[tuple[Conflict, Choice]]

COMBINATIONS_MAX = 27

any_scenes = st.one_of(scenes(), crowded_scenes())


def paired(scene: Scene) -> Scene:
    """A scene with at most one patch of theirs, so that the sides can be swapped."""
    return scene._replace(theirs=scene.theirs[:1] or [[]])


pairs = any_scenes.map(paired)


def head(scene: Scene) -> Json:
    return reduce(apply, scene.theirs, scene.base)


def rebased(scene: Scene) -> Rebased | Conflicted:
    outcome = rebase(scene.base, scene.theirs, scene.yours)
    assert isinstance(outcome, Rebased | Conflicted), outcome
    event(type(outcome).__name__)
    return outcome


def names(conflicted: Conflicted) -> set[tuple[str, str]]:
    return {(conflict.kind, conflict.pointer) for conflict in conflicted.conflicts}


def combinations(conflicted: Conflicted) -> Iterator[Settled]:
    """Every combination of the choices that are offered, or the first few of very many."""
    sides: tuple[Choice, ...] = ("theirs", "yours", "base")
    offered = [[side for side in sides if side in c.resolutions] for c in conflicted.conflicts]
    if any(conflict.kind == "guard" for conflict in conflicted.conflicts):
        offered = [["theirs"] for _ in offered]
    for chosen in islice(product(*offered), COMBINATIONS_MAX):
        yield list(zip(conflicted.conflicts, chosen, strict=True))


def settlement(scene: Scene, conflicted: Conflicted, settled: Settled) -> Json:
    """The document after some choices."""
    theirs = head(scene)
    return apply(theirs, resolve(theirs, conflicted, {c.id: choice for c, choice in settled}))


def unordered(value: Json) -> Json:
    """A value with its arrays sorted: what is the same up to the order inside gaps."""
    if isinstance(value, dict):
        return {name: unordered(part) for name, part in value.items()}
    if isinstance(value, list):
        return sorted((unordered(part) for part in value), key=spelled)
    return value


def spelled(value: Json) -> str:
    """One spelling for all values that are the same."""
    if isinstance(value, dict):
        return "{" + ",".join(name + ":" + spelled(value[name]) for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    return repr(int(value)) if isinstance(value, float) and value.is_integer() else repr(value)


# ----------------------------------------------------------------------------- the engine and the model


@settings(max_examples=3 * settings().max_examples)
@given(st.one_of(scenes(tests=True), crowded_scenes()))
def test_engine_and_model_agree(scene: Scene) -> None:
    """The same outcome, the same value, the same conflicts, and the same document for every choice."""
    expected = model.merge_patches(*scene)
    outcome = rebase(*scene)
    match expected:
        case model.Merged(value):
            assert isinstance(outcome, Rebased), outcome
            assert same(value, outcome.value), (value, outcome.value)
        case model.Refused(operation):
            assert isinstance(outcome, Inapplicable)
            assert operation == outcome.operation
        case model.Conflicts(offered, clean):
            assert isinstance(outcome, Conflicted), outcome
            assert offered.keys() == names(outcome)
            assert len(offered) == len(outcome.conflicts)
            for conflict in outcome.conflicts:
                sensible = offered[conflict.kind, conflict.pointer]
                if "guard" not in {kind for kind, _ in offered}:
                    assert {"theirs", "yours"} <= conflict.resolutions.keys() <= sensible | {"both"}
            assert same(clean, apply(head(scene), outcome.clean_patch))
            for settled in combinations(outcome):
                choices = {(str(c.kind), c.pointer): choice for c, choice in settled}
                slow, fast = expected.settle(choices), settlement(scene, outcome, settled)
                assert same(slow, fast), (choices, slow, fast)


# ------------------------------------------------------------------------------------------- 1. identity


@given(any_scenes)
def test_an_untouched_side_yields_to_the_other(scene: Scene) -> None:
    base, yours = scene.base, scene.yours
    after = apply(base, yours)
    for theirs, patch in (([], yours), ([yours], [])):
        outcome = rebase(base, theirs, patch)
        assert isinstance(outcome, Rebased)
        assert same(after, outcome.value)
    for one, other in ((base, after), (after, base)):
        merged = merge(base, one, other)
        assert isinstance(merged, MergedStates)
        assert same(after, merged.value)


@given(any_scenes)
def test_one_change_made_by_both_sides_counts_once(scene: Scene) -> None:
    after = apply(scene.base, scene.yours)
    outcome = rebase(scene.base, [scene.yours], scene.yours)
    assert isinstance(outcome, Rebased)
    assert same(after, outcome.value)
    merged = merge(scene.base, after, after)
    assert isinstance(merged, MergedStates)
    assert same(after, merged.value)


# ------------------------------------------------------------------------------------------- 2. symmetry


@given(pairs)
def test_swapping_the_sides_swaps_the_conflicts_sides_and_nothing_else(scene: Scene) -> None:
    one, other = rebased(scene), rebased(Scene(scene.base, [scene.yours], scene.theirs[0]))
    assert type(one) is type(other)
    if isinstance(one, Rebased) and isinstance(other, Rebased):
        assert same(unordered(one.value), unordered(other.value))
    if isinstance(one, Conflicted) and isinstance(other, Conflicted):
        assert names(one) == names(other)
        for conflict, mirrored in zip(one.conflicts, other.conflicts, strict=True):
            assert same(conflict.base.value, mirrored.base.value)
            assert same(conflict.theirs.value, mirrored.yours.value)
            assert same(conflict.yours.value, mirrored.theirs.value)


MIRRORED: dict[Choice, Choice] = {"theirs": "yours", "yours": "theirs", "base": "base"}


@given(pairs)
def test_swapped_sides_with_swapped_choices_give_the_same_document(scene: Scene) -> None:
    swapped = Scene(scene.base, [scene.yours], scene.theirs[0])
    one, other = rebased(scene), rebased(swapped)
    if not (isinstance(one, Conflicted) and isinstance(other, Conflicted)):
        return
    for settled in combinations(one):
        choices = {(conflict.kind, conflict.pointer): choice for conflict, choice in settled}
        mirrored = [(c, MIRRORED[choices[c.kind, c.pointer]]) for c in other.conflicts]
        value, mirror = settlement(scene, one, settled), settlement(swapped, other, mirrored)
        assert same(unordered(value), unordered(mirror)), (choices, value, mirror)


# ---------------------------------------------------------------------------------------- 3. determinism

TELL = """
import json, sys
from plait_merge import Conflicted, rebase
for base, theirs, yours in json.load(sys.stdin):
    outcome = rebase(base, theirs, yours)
    if isinstance(outcome, Conflicted):
        print(json.dumps([[c.as_json() for c in outcome.conflicts], outcome.clean_patch]))
    else:
        print(outcome.patch)
"""


@settings(max_examples=2)
@given(st.lists(scenes(absent=False), min_size=15, max_size=20))
def test_every_process_and_hash_seed_answers_the_same(drawn: list[Scene]) -> None:
    answers = {
        subprocess.run(
            [sys.executable, "-c", TELL],
            input=json.dumps(drawn),
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(answers) == 1


# --------------------------------------------------------- 4 to 6. no loss, no ghosts, no invention


@st.composite
def marked_scenes(draw: st.DrawFn) -> Scene:
    """A scene without copies in which every scalar is its own: b… of base, t… of theirs, y… of yours."""
    scene = draw(st.one_of(scenes(copies=False), crowded_scenes(copies=False)))
    marks: dict[str, Iterator[int]] = {side: count() for side in "bty"}

    def marked(side: str, value: Json) -> Json:
        if isinstance(value, dict):
            return {name: marked(side, part) for name, part in value.items()}
        if isinstance(value, list):
            return [marked(side, part) for part in value]
        return f"{side}{next(marks[side])}"

    def remade(side: str, patch: Patch) -> Patch:
        return [{**o, "value": marked(side, o["value"])} if "value" in o else o for o in patch]

    chain = [remade("t", patch) for patch in scene.theirs]
    yours = remade("y", scene.yours)
    base = scene.base if scene.base is ABSENT else marked("b", scene.base)
    return Scene(base, chain, yours)


def marks_in(value: Json) -> list[str]:
    if isinstance(value, dict):
        return [mark for part in value.values() for mark in marks_in(part)]
    if isinstance(value, list):
        return [mark for part in value for mark in marks_in(part)]
    return [] if value is ABSENT else [value]


@given(marked_scenes())
def test_a_clean_merge_has_all_that_either_side_meant_once_and_nothing_else(scene: Scene) -> None:
    outcome = rebased(scene)
    if not isinstance(outcome, Rebased):
        return
    base, theirs, yours = (
        set(marks_in(v)) for v in (scene.base, head(scene), apply(scene.base, scene.yours))
    )
    meant = (theirs & yours) | (theirs - base) | (yours - base)
    assert Counter(meant) == Counter(marks_in(outcome.value))


@given(marked_scenes())
def test_what_either_side_set_is_there_if_that_side_is_chosen(scene: Scene) -> None:
    outcome = rebased(scene)
    if not isinstance(outcome, Conflicted):
        return
    sides: list[tuple[Choice, Json]] = [("theirs", head(scene)), ("yours", apply(scene.base, scene.yours))]
    for side, value in sides:
        if all(side in conflict.resolutions for conflict in outcome.conflicts):
            everywhere: Settled = [(conflict, side) for conflict in outcome.conflicts]
            there = set(marks_in(settlement(scene, outcome, everywhere)))
            assert {mark for mark in marks_in(value) if mark.startswith(side[0])} <= there


@given(marked_scenes())
def test_no_choice_doubles_or_invents_anything(scene: Scene) -> None:
    outcome = rebased(scene)
    if not isinstance(outcome, Conflicted):
        return
    known = {mark for v in (scene.base, head(scene), apply(scene.base, scene.yours)) for mark in marks_in(v)}
    for settled in combinations(outcome):
        marks = Counter(marks_in(settlement(scene, outcome, settled)))
        assert marks.keys() <= known
        assert set(marks.values()) <= {1}


# ---------------------------------------------------------------------------------------------- 7. frame


def framed(patch: Patch, prefix: str) -> Patch:
    return [
        {name: prefix + part if name in ("path", "from") else part for name, part in operation.items()}
        for operation in patch
    ]


@given(scenes(tests=True))
def test_a_member_around_it_all_only_prefixes_pointers(scene: Scene) -> None:
    def wrap(value: Json) -> Json:
        return {"z": 0} if value is ABSENT else {"z": 0, "w": value}

    _same_in_frame(scene, wrap, "/w")


@given(scenes(tests=True))
def test_an_array_around_it_all_only_prefixes_pointers(scene: Scene) -> None:
    """Where no operation is on the root: an `add` there replaces, in an array it inserts."""
    assume(all(o["path"] and o.get("from") != "" for patch in (*scene.theirs, scene.yours) for o in patch))
    assume(scene.base is not ABSENT)

    def wrap(value: Json) -> Json:
        return [[], value, {}]

    _same_in_frame(scene, wrap, "/1")


def _same_in_frame(scene: Scene, wrap: Callable[[Json], Json], prefix: str) -> None:
    chain = [framed(patch, prefix) for patch in scene.theirs]
    plain, inside = rebase(*scene), rebase(wrap(scene.base), chain, framed(scene.yours, prefix))
    assert type(plain) is type(inside)
    if isinstance(plain, Rebased) and isinstance(inside, Rebased):
        assert same(wrap(plain.value), inside.value)
    if isinstance(plain, Conflicted) and isinstance(inside, Conflicted):
        assert {(kind, prefix + pointer) for kind, pointer in names(plain)} == names(inside)
        assert plain.clean_operations == inside.clean_operations
        clean = apply(wrap(head(scene)), inside.clean_patch)
        assert same(wrap(apply(head(scene), plain.clean_patch)), clean)


# ----------------------------------------------------------------------------------------- 8. separation


@given(st.data())
def test_neighbouring_members_never_conflict(data: st.DataObject) -> None:
    left, right = data.draw(documents), data.draw(documents)
    theirs, yours = data.draw(patches(left)), data.draw(patches(right))
    assume(all(o["path"] and o.get("from") != "" for o in (*theirs, *yours)))
    outcome = rebase({"l": left, "r": right}, [framed(theirs, "/l")], framed(yours, "/r"))
    assert isinstance(outcome, Rebased)
    assert same({"l": apply(left, theirs), "r": apply(right, yours)}, outcome.value)


@given(st.data())
def test_neighbouring_elements_never_conflict(data: st.DataObject) -> None:
    """One side inserts before, changes or removes an element, the other changes its neighbour."""
    left, right, new = data.draw(documents), data.draw(documents), data.draw(values)
    theirs, yours = data.draw(patches(left)), data.draw(patches(right))
    assume(all(o["path"] and o.get("from") != "" for o in (*theirs, *yours)))
    first, at = data.draw(
        st.sampled_from(
            [
                (framed(theirs, "/0"), [apply(left, theirs)]),
                ([add("/0", new), *framed(theirs, "/1")], [new, apply(left, theirs)]),
                ([add("/1", new), *framed(theirs, "/0")], [apply(left, theirs), new]),
                ([remove("/0")], []),
                ([replace("/0", new)], [new]),
            ]
        )
    )
    outcome = rebase([left, right], [first], framed(yours, "/1"))
    assert isinstance(outcome, Rebased)
    assert same([*at, apply(right, yours)], outcome.value)


# ------------------------------------------------------------------------------- 9 and 10. patches apply


@given(scenes(tests=True))
def test_the_rebased_patch_leads_from_theirs_to_the_value(scene: Scene) -> None:
    before = deepcopy(scene)
    outcome = rebased(scene)
    assert same(list(before), list(scene))
    if isinstance(outcome, Rebased):
        assert all(operation["op"] != "test" for operation in outcome.patch)
        assert same(outcome.value, apply(head(scene), outcome.patch))
        again = json.loads(json.dumps(outcome.patch))
        assert same(outcome.value, apply(head(scene), again))


@given(st.one_of(scenes(tests=True), crowded_scenes()))
def test_every_combination_of_choices_applies(scene: Scene) -> None:
    outcome = rebased(scene)
    if not isinstance(outcome, Conflicted):
        return
    assert len({conflict.id for conflict in outcome.conflicts}) == len(outcome.conflicts)
    for conflict in outcome.conflicts:
        assert "theirs" in conflict.resolutions
        for patch in conflict.resolutions.values():
            apply(head(scene), patch)
    for settled in combinations(outcome):
        settlement(scene, outcome, settled)
    theirs: Settled = [(conflict, "theirs") for conflict in outcome.conflicts]
    clean = apply(head(scene), outcome.clean_patch)
    assert same(clean, settlement(scene, outcome, theirs))


# ------------------------------------------------------------------------------ 11. patches and states


@st.composite
def plain_edits(draw: st.DrawFn, side: str, rows: list[int], cells: Sequence[str]) -> Patch:
    """Edits that a comparison of states can tell: of members, and of rows that carry their own key."""
    living, edits = list(rows), []
    for number in range(draw(st.integers(0, 4))):
        mark = f"{side}{number}"
        match draw(st.integers(0, 4)):
            case 0:
                edits.append(add(f"/m/{draw(st.sampled_from(NAMES))}", mark))
            case 1:
                edits.append(add(f"/m/{side}{draw(st.sampled_from(NAMES))}", mark))
            case 2 if living:
                at = draw(st.integers(0, len(living) - 1))
                edits.append(replace(f"/rows/{at}/{draw(st.sampled_from(cells))}", mark))
            case 3 if living:
                at = draw(st.integers(0, len(living) - 1))
                del living[at]
                edits.append(remove(f"/rows/{at}"))
            case _:
                at = draw(st.integers(0, len(living)))
                living.insert(at, -1)
                edits.append(
                    add(f"/rows/{at}", {name: f"{mark}{name}" for name in ("id", "a", "b", "c", "d")})
                )
    return edits


@given(st.data())
def test_patches_and_states_agree_where_states_say_enough(data: st.DataObject) -> None:
    rows = list(range(data.draw(st.integers(1, 4))))
    cells = [{"id": f"r{n}", "a": f"a{n}", "b": f"b{n}", "c": f"c{n}", "d": f"d{n}"} for n in rows]
    base = {"m": {"a": 1, "b": 2}, "rows": cells}
    theirs, yours = (data.draw(plain_edits(side, rows, ("a", "b"))) for side in "ty")
    patched = rebase(base, [theirs], yours)
    stated = merge(base, apply(base, theirs), apply(base, yours))
    if isinstance(patched, Rebased):
        assert isinstance(stated, MergedStates), stated
        assert same(unordered(patched.value), unordered(stated.value))
    else:
        assert isinstance(patched, Conflicted)
        assert isinstance(stated, Conflicted), stated
        assert names(patched) == names(stated)


# ---------------------------------------------------------------------------------------------- 12. split


@given(marked_scenes().map(paired), st.integers(0, 4))
def test_two_patches_sent_one_by_one_equal_one_sent_whole(scene: Scene, cut: int) -> None:
    """Where all ways are clean and the sides agreed on nothing."""
    base, theirs = scene.base, scene.theirs[0]
    first, second = scene.yours[:cut], scene.yours[cut:]
    whole = rebase(base, [theirs], scene.yours)
    theirs_after_first = rebase(base, [first], theirs)
    if not (isinstance(whole, Rebased) and isinstance(theirs_after_first, Rebased)):
        return
    then = rebase(apply(base, first), [theirs_after_first.patch], second)
    gone = [set(marks_in(base)) - set(marks_in(apply(base, patch))) for patch in (theirs, scene.yours)]
    if isinstance(then, Rebased) and not gone[0] & gone[1]:
        assert same(unordered(whole.value), unordered(then.value))


# ---------------------------------------------------------------------------------------------- 13. total

tokens = st.sampled_from(["", "/a", "/b", "/c", "/0", "/1", "/2", "/-", "/01", "/-1", "/~0", "/~1", "/a/b"])
pointers = st.lists(tokens, max_size=3).map("".join)
operations = st.one_of(
    st.builds(add, pointers, values),
    st.builds(remove, pointers),
    st.builds(replace, pointers, values),
    st.builds(lambda f, p: {"op": "move", "from": f, "path": p}, pointers, pointers),
    st.builds(lambda f, p: {"op": "copy", "from": f, "path": p}, pointers, pointers),
    st.builds(guard, pointers, values),
)


@given(scenes(), st.lists(operations, max_size=4))
def test_any_patch_gets_a_typed_answer(scene: Scene, yours: Patch) -> None:
    outcome = rebase(scene.base, scene.theirs, yours)
    assert isinstance(outcome, Rebased | Conflicted | Inapplicable)
    refused = isinstance(model.merge_patches(scene.base, scene.theirs, yours), model.Refused)
    assert refused == isinstance(outcome, Inapplicable)


# ---------------------------------------------------------------------------------------------- 14. guard


@given(st.data())
def test_a_false_guard_refuses_everything(data: st.DataObject) -> None:
    document, guarded = data.draw(objects), data.draw(values)
    theirs, yours = data.draw(patches(document)), data.draw(patches(document))
    assume(all(o["path"] and o.get("from") != "" for o in (*theirs, *yours)))
    breach = data.draw(st.sampled_from([remove("/g"), replace("/g", {"another": guarded})]))
    at = data.draw(st.integers(0, len(yours)))
    yours = framed(yours, "/r")
    yours.insert(at, guard("/g", guarded))
    scene = Scene({"g": guarded, "r": document}, [[breach, *framed(theirs, "/r")]], yours)
    outcome = rebase(*scene)
    assert isinstance(outcome, Conflicted)
    assert ("guard", "/g") in names(outcome)
    assert outcome.clean_patch == []
    assert outcome.clean_operations == ()
    for conflict in outcome.conflicts:
        if conflict.kind == "guard":
            assert set(conflict.resolutions) == {"theirs"}
    for refused in ("yours", "base"):
        with pytest.raises(ChoiceError):
            resolve(head(scene), outcome, {conflict.id: refused for conflict in outcome.conflicts})


def test_the_interpreter_of_these_tests_is_the_engines() -> None:
    """Scenes are drawn with an interpreter of their own; both must understand RFC 6902 alike."""
    value: Json = {"a": [1, {"b": 2}]}
    for operation in (add("/a/1", 3), remove("/a/0"), replace("/a/1/b", 4), add("/a/-", None)):
        assert same(applied(value, operation), apply(value, [operation]))
        value = applied(value, operation)
