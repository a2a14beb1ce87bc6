"""Three-way merges other projects wrote down, as data from outside this repository.

The vectors lie in `../shared/vectors/merge` beside the repository and are read there, never copied. Those
with gate `must` hold for whole values, those with `must-op-aware` once the patches are known.

Where sources disagree, what this engine does:
- ot-json0-053 and -090: json1 models a `replace` of an element as remove and insert. Here it keeps the slot
  and its identity, so an element put before or after it stays there, as json0 has it.
- ot-json0-047 and -076: json1 and automerge differ on a move onto its own place. Here it is nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from merge.model import Merged as ModelMerged
from merge.model import merge_patches
from plait_merge import (
    ABSENT,
    Conflicted,
    Merged,
    Rebased,
    apply,
    merge,
    parse_pointer,
    rebase,
    resolve,
    same,
)

Json = Any
Vector = dict[str, Json]

FOLDER = Path(__file__).parents[3] / "shared" / "vectors" / "merge"


def vectors(gate: str, outcome: str) -> list[Any]:
    """The vectors of a gate with an outcome; one that skips, and says why, if they are not there."""
    if not FOLDER.is_dir():
        missing = pytest.mark.skip(
            reason="MERGE VECTORS NOT FOUND beside the repository: nothing was checked"
        )
        return [pytest.param({}, id="no-vectors", marks=missing)]
    found = [vector for path in sorted(FOLDER.glob("*.json")) for vector in json.loads(path.read_text())]
    return [
        pytest.param(vector, id=vector["id"])
        for vector in found
        if vector["gate"] == gate and vector["expected"]["outcome"] == outcome
    ]


# ------------------------------------------------------------------------------------------ whole values


@pytest.mark.parametrize("vector", vectors("must", "merged"))
def test_three_values_merge_as_others_wrote_down(vector: Vector) -> None:
    for theirs, yours in (("left", "right"), ("right", "left")):
        outcome = merge(vector["base"], vector[theirs], vector[yours])
        assert isinstance(outcome, Merged), outcome
        assert same(vector["expected"]["value"], outcome.value), outcome.value
        assert same(outcome.value, apply(vector[theirs], outcome.patch))


@pytest.mark.parametrize("vector", vectors("must", "conflict"))
def test_three_values_conflict_where_others_wrote_down(vector: Vector) -> None:
    expected = vector["expected"]
    for theirs, yours in (("left", "right"), ("right", "left")):
        outcome = merge(vector["base"], vector[theirs], vector[yours])
        assert isinstance(outcome, Conflicted), outcome
        paths = expected.get("paths") or ([expected["key_path"]] if "key_path" in expected else None)
        if paths is not None:
            assert set(paths) == {conflict.pointer for conflict in outcome.conflicts}
        for choice, value in zip(("theirs", "yours"), _settled(expected, theirs, yours), strict=True):
            chosen: Any = {conflict.id: choice for conflict in outcome.conflicts}
            settled = apply(vector[theirs], resolve(vector[theirs], outcome, chosen))
            assert value is None or same(value, settled), (choice, settled)


def _settled(expected: Vector, *sides: str) -> list[Json]:
    return [expected.get("resolutions", {}).get(side) for side in sides]


# ----------------------------------------------------------------------------------------- known patches


@pytest.mark.parametrize("vector", vectors("must-op-aware", "merged"))
def test_patches_merge_as_others_wrote_down(vector: Vector) -> None:
    base, theirs, yours = vector["base"], vector["left_patch"], vector["right_patch"]
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Rebased), outcome
    assert same(vector["expected"]["value"], outcome.value), outcome.value
    assert same(outcome.value, apply(vector["left"], outcome.patch))
    swapped = rebase(base, [yours], theirs)
    assert isinstance(swapped, Rebased), swapped
    assert same(_any_order(vector["expected"]["value"]), _any_order(swapped.value)), swapped.value


@pytest.mark.parametrize("vector", vectors("must-op-aware", "merged"))
def test_the_model_merges_patches_as_others_wrote_down(vector: Vector) -> None:
    outcome = merge_patches(vector["base"], [vector["left_patch"]], vector["right_patch"])
    assert isinstance(outcome, ModelMerged), outcome
    assert same(vector["expected"]["value"], outcome.value), outcome.value


def _any_order(value: Json) -> Json:
    """Which of two insertions in one gap comes first is the side's that was there first."""
    if isinstance(value, dict):
        return {name: _any_order(part) for name, part in value.items()}
    return sorted(map(_any_order, value), key=repr) if isinstance(value, list) else value


# -------------------------------------------------------------------------------------------- transforms


@pytest.mark.parametrize("vector", vectors("must-op-aware", "transformed"))
def test_an_operation_is_carried_over_as_others_wrote_down(vector: Vector) -> None:
    """These vectors have no documents: each operation is tried on the smallest one that it fits."""
    against = vector["against"]
    for operation, expected in zip(vector["patch"], vector["expected"]["value"], strict=True):
        base = smallest_base([operation, *against])
        outcome = rebase(base, [against], [operation])
        assert isinstance(outcome, Rebased), (operation, outcome)
        wanted = apply(apply(base, against), [expected])
        assert same(wanted, outcome.value), (operation, wanted, outcome.value)


def smallest_base(operations: list[Vector]) -> Json:
    """The smallest document with everything the operations read, and the containers they write to."""
    base: Json = {}
    for operation in operations:
        path = parse_pointer(operation["path"])
        if "from" in operation:
            _plant(base, parse_pointer(operation["from"]), "moved")
        if operation["op"] in ("test", "replace", "remove"):
            _plant(base, path, operation["value"] if operation["op"] == "test" else "was")
        else:
            _plant(base, path, ABSENT)
    return base


def _plant(node: Json, path: tuple[str, ...], value: Json) -> None:
    """Put a value at a path, or only what is around it; an index makes its container an array."""
    for token, below in zip(path, [*path[1:], None], strict=True):
        part: Json = value if below is None else [] if below.isdigit() else {}
        if isinstance(node, list):
            at = int(token)
            node.extend(f"#{index}" for index in range(len(node), at + (part is not ABSENT)))
            if below is None and part is not ABSENT:
                node[at] = part
            elif below is not None:
                node[at] = node[at] if isinstance(node[at], dict | list) else part
                node = node[at]
        elif part is not ABSENT:
            node = node.setdefault(token, part)
