"""What rebased patches look like: about what was sent, at the places where things are now."""

from __future__ import annotations

import pytest

from merge.strategies import Patch, add, copy, move, remove, replace
from plait_merge import ABSENT, Conflicted, Json, Rebased, apply, rebase, resolve

BASE: Json = {"a": {"x": 1}, "c": 1, "l": [[1], 2], "f": {"z": 1}}
MOVED: Patch = [move("/f", "/t"), add("/l/0", 0)]
LATER: Patch = [replace("/f/z", 9)]
"""Something of yours that meets what theirs moved: it takes the merge by the long road."""


def rebased(base: Json, theirs: Patch, yours: Patch) -> Patch:
    outcome = rebase(base, [theirs], yours)
    assert isinstance(outcome, Rebased)
    assert apply(apply(base, theirs), outcome.patch) == outcome.value
    return outcome.patch


@pytest.mark.parametrize(
    ("yours", "written"),
    [
        pytest.param([copy("/a", "/b")], [copy("/a", "/b")], id="a member"),
        pytest.param([copy("/l/0", "/l/-")], [copy("/l/1", "/l/3")], id="an element"),
        pytest.param([copy("/l/0", "/l/0")], [copy("/l/1", "/l/1")], id="in front of itself"),
        pytest.param([copy("/a", "/c")], [copy("/a", "/c")], id="over a member"),
        pytest.param([add("/n", {}), copy("/n", "/m")], [add("/n", {}), add("/m", {})], id="of what is new"),
        pytest.param(
            [copy("/a", "/b"), replace("/b/x", 2)], [add("/b", {"x": 2})], id="what was edited in the copy"
        ),
        pytest.param(
            [copy("/a", "/b"), remove("/a")],
            [add("/b", {"x": 1}), remove("/a")],
            id="what was removed after it",
        ),
        pytest.param(
            [replace("/a/x", 2), replace("/a/x", 1), copy("/a", "/b"), replace("/a/x", 3)],
            [replace("/a/x", 3), add("/b", {"x": 1})],
            id="what was edited before and after it",
        ),
    ],
)
def test_a_copy_stays_one_where_what_it_copies_is_there_as_it_was(yours: Patch, written: Patch) -> None:
    assert rebased(BASE, MOVED, [*yours, *LATER]) == [*written, replace("/t/z", 9)]


def test_a_copy_of_what_theirs_edited_adds_what_was_seen() -> None:
    theirs = [*MOVED, replace("/a/x", 5)]
    assert rebased(BASE, theirs, [copy("/a", "/b"), *LATER]) == [add("/b", {"x": 1}), replace("/t/z", 9)]


def test_what_moves_into_the_element_after_it_goes_by_the_end_of_their_array() -> None:
    base: Json = {"o": {"l": [1, [2]]}}
    theirs, yours = [add("/o/l/-", 3)], [move("/o/l/0", "/o/l/1"), move("/o/l/1", "/o/l/0/-")]
    assert rebased(base, theirs, yours) == [move("/o/l/0", "/o/l/2"), move("/o/l/2", "/o/l/0/1")]


def test_a_document_where_there_is_none_is_written_as_one() -> None:
    assert rebased(ABSENT, [add("", 1), remove("")], [add("", 2)]) == [add("", 2)]
    outcome = rebase(ABSENT, [[add("", 1)]], [add("", 2)])
    assert isinstance(outcome, Conflicted)
    assert resolve(1, outcome, {outcome.conflicts[0].id: {"value": 3}}) == [add("", 3)]
