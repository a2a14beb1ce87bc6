"""What a conflict tells of where it comes from: whose patches and which operations."""

from __future__ import annotations

import pytest

from merge.strategies import Patch, add, copy, guard, move, remove, replace
from plait_merge import Conflicted, Json, rebase

BASE: Json = {"a": {"b": {"c": 1}}, "l": [1, [2]], "x": 1}
ASIDE: Patch = [replace("/x", 2)]
"""A patch that has nothing to do with the conflict; it must not be named."""


@pytest.mark.parametrize(
    ("theirs", "yours", "told"),
    [
        pytest.param([ASIDE, [remove("/a")]], [replace("/a/b/c", 2)], {"/a": (1,)}, id="removed"),
        pytest.param([ASIDE, [replace("/a", 1)]], [replace("/a/b/c", 2)], {"/a": (1,)}, id="replaced"),
        pytest.param(
            [[replace("/a/b/c", 2)], ASIDE, [add("/a/z", 1)]],
            [remove("/a")],
            {"/a": (0, 2)},
            id="edited inside",
        ),
        pytest.param(
            [[replace("/l/0", 5)], [move("/x", "/a/b/x")]], [remove("/a")], {"/a": (1,)}, id="moved in"
        ),
        pytest.param(
            [[replace("/a/b/c", 5)], [move("/a/b/c", "/c")], [replace("/c", 6)], [add("/a/z", 1)]],
            [remove("/a")],
            {"/a": (3,), "/a/b/c": (0, 1, 2)},
            id="moved out and edited",
        ),
        pytest.param(
            [ASIDE, [remove("/a")]], [move("/a/b/c", "/n")], {"/a/b/c": (1,)}, id="moved out by yours"
        ),
    ],
)
def test_a_conflict_names_the_patches_it_is_with(
    theirs: list[Patch], yours: Patch, told: dict[str, tuple[int, ...]]
) -> None:
    outcome = rebase(BASE, theirs, yours)
    assert isinstance(outcome, Conflicted)
    assert {conflict.pointer: conflict.their_patches for conflict in outcome.conflicts} == told
    assert {conflict.your_operations for conflict in outcome.conflicts} == {(0,)}


WHOLE = guard("/a", {"b": {"c": 1}})
PART = guard("/a/b/c", 1)


@pytest.mark.parametrize(
    ("theirs", "test", "told"),
    [
        pytest.param([ASIDE, [replace("/a/b/c", 2)]], WHOLE, (1,), id="edited inside"),
        pytest.param([ASIDE, [move("/a/b/c", "/c")]], WHOLE, (1,), id="moved out"),
        pytest.param([ASIDE, [move("/l/1", "/a/b/l")]], WHOLE, (1,), id="moved in"),
        pytest.param([ASIDE, [add("/a/n", 1)], [add("/a/b/n", 1)]], WHOLE, (1, 2), id="added inside"),
        pytest.param([ASIDE, [remove("/a")]], PART, (1,), id="removed around"),
        pytest.param([ASIDE, [replace("/a", {"b": {"c": 3}})]], PART, (1,), id="replaced around"),
    ],
)
def test_a_guard_that_fails_names_the_patches_that_changed_it(
    theirs: list[Patch], test: dict[str, Json], told: tuple[int, ...]
) -> None:
    outcome = rebase(BASE, theirs, [add("/n", 1), test])
    assert isinstance(outcome, Conflicted)
    (conflict,) = outcome.conflicts
    assert (conflict.kind, conflict.their_patches, conflict.your_operations) == ("guard", told, (1,))


def test_a_guard_tells_what_it_wanted_and_what_became_of_it() -> None:
    theirs, yours = [replace("/x", 2), move("/x", "/z")], [move("/x", "/y"), guard("/y", 1), guard("/y", 1)]
    outcome = rebase(BASE, [theirs], yours)
    assert isinstance(outcome, Conflicted)
    (told,) = [conflict.as_json() for conflict in outcome.conflicts if conflict.kind == "guard"]
    del told["id"]
    assert told == {
        "kind": "guard",
        "pointer": "/x",
        "pointer_theirs": "/z",
        "pointer_yours": "/y",
        "base": {"present": True, "value": 1},
        "theirs": {"present": True, "value": 2},
        "yours": {"present": True, "value": 1},
        "your_operations": [1, 2],
        "their_patches": [0],
        "resolutions": {"theirs": []},
        "depends": [],
    }


def test_a_guard_of_what_yours_added_is_where_yours_added_it() -> None:
    """Both add an object, and so there is more in it than yours has seen."""
    outcome = rebase({}, [[add("/n", {"a": 1})]], [add("/n", {"b": 2}), guard("/n", {"b": 2})])
    assert isinstance(outcome, Conflicted)
    (told,) = [conflict.as_json() for conflict in outcome.conflicts]
    del told["id"]
    assert told == {
        "kind": "guard",
        "pointer": "/n",
        "pointer_yours": "/n",
        "base": {"present": False},
        "theirs": {"present": False},
        "yours": {"present": True, "value": {"b": 2}},
        "your_operations": [1],
        "their_patches": [],
        "resolutions": {"theirs": []},
        "depends": [],
    }


@pytest.mark.parametrize(
    ("base", "theirs", "yours", "depends", "clean"),
    [
        pytest.param(
            {"a": 1, "x": 1},
            [replace("/a", 2)],
            [replace("/x", 2), replace("/a", 3), copy("/a", "/b")],
            [("/b", (2,))],
            (0,),
            id="a copy",
        ),
        pytest.param(
            {"a": {"b": {"c": 1}}},
            [move("/a/b/c", "/d")],
            [move("/a/b/c", "/e"), remove("/a")],
            [(None, (1,))],
            (),
            id="a removal",
        ),
        pytest.param(
            {"a": {"b": 1}},
            [move("/a/b", "/d"), remove("/a")],
            [move("/a/b", "/e"), remove("/a")],
            [],
            (1,),
            id="not what both did",
        ),
        pytest.param(
            {"a": {}, "b": {}},
            [move("/a", "/c"), move("/b", "/d")],
            [move("/b", "/e"), move("/a", "/e/a")],
            [],
            (),
            id="not what is in conflict too",
        ),
    ],
)
def test_a_conflict_tells_what_of_yours_depends_on_it(
    base: Json,
    theirs: Patch,
    yours: Patch,
    depends: list[tuple[str | None, tuple[int, ...]]],
    clean: tuple[int, ...],
) -> None:
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Conflicted)
    told = [(d.pointer, d.your_operations) for c in outcome.conflicts for d in c.depends]
    assert (told, outcome.clean_operations) == (depends, clean)
