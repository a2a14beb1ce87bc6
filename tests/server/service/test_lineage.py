"""Edits made on one's own unanswered edits: what they come to, whoever was in between."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from plait_merge import Rebased, apply, apply_operations, read_patch, rebase, same
from plait_server.service import Service
from plait_server.service.lineage import Ancestor, ancestor_of, carry_over, see
from plait_server.service.revision import STORED, Revision
from plait_server.store import RevisionRecord
from server.service.bench import ANN, BOB, ORDER, put, refusal, replacing

BASE: Any = {"title": "t", "lines": [{"n": 0}, {"n": 1}, {"n": 2}], "notes": {"a": 1, "b": 2}}
THEIRS = st.lists(
    st.sampled_from(
        [
            {"op": "add", "path": "/lines/0", "value": {"n": 10}},
            {"op": "add", "path": "/lines/3", "value": {"n": 11}},
            {"op": "remove", "path": "/lines/1"},
            {"op": "replace", "path": "/notes/a", "value": 3},
            {"op": "move", "from": "/lines/2", "path": "/lines/0"},
        ]
    ),
    max_size=1,
)


def revision(n: int, patch: Any, value: Any) -> Revision:
    record = RevisionRecord(n, "edit", b"[]", None, None, "b", "b", None, 0, None, None)
    return Revision(n, record, read_patch(patch, STORED), value)


@given(THEIRS, st.integers(0, 3), st.integers(0, 3))
@settings(deadline=None, max_examples=200)
def test_the_next_edit_speaks_of_what_its_author_sees(theirs: Any, place: int, other: int) -> None:
    """The element the first edit made is the one the second one changes, wherever it is by now."""
    first = [{"op": "add", "path": f"/lines/{place}", "value": {"n": "mine"}}]
    second = [
        {"op": "replace", "path": f"/lines/{place}/n", "value": "MINE"},
        {"op": "add", "path": f"/lines/{other}", "value": {"n": "second"}},
    ]
    theirs_value: Any = apply(BASE, theirs)
    between = revision(2, theirs, theirs_value)
    moved = rebase(BASE, [theirs], first)
    assert isinstance(moved, Rebased)
    committed = revision(3, moved.patch, moved.value)
    ancestor = Ancestor(first, None, 1, 1, 3, True)
    sight = see(ancestor, revision(1, [], BASE), [between], committed)
    assert same(sight.view, apply(BASE, first))
    assert same(apply_operations(sight.view, sight.drift), committed.value)
    outcome = carry_over(sight, read_patch(second, STORED), STORED)
    assert isinstance(outcome, Rebased)
    result: Any = apply(committed.value, outcome.patch)
    names = [line["n"] for line in result["lines"]]
    assert names.count("MINE") == names.count("second") == 1
    assert "mine" not in names
    rest = [name for name in names if name not in ("MINE", "second")]
    assert rest == [line["n"] for line in theirs_value["lines"]]


async def test_a_chain_of_edits_lands_where_one_edit_would(service: Service) -> None:
    await put(service, BASE)
    base: Ancestor | None = None
    for number in range(5):
        await service.edit(BOB, ORDER, replacing("/notes/a", 10 + number))
        edit = replacing("/title", "t" * number + "!", base=1 if base is None else None)
        answer = await (
            service.edit(ANN, ORDER, edit) if base is None else service.edit_on(ANN, ORDER, edit, base)
        )
        base = ancestor_of(edit.content, base, answer)
    view = await service.read(ANN, ORDER)
    assert view.value == {**BASE, "title": "tttt!", "notes": {"a": 14, "b": 2}}


async def test_an_overlap_with_what_came_before_ones_own_edit_is_a_conflict(service: Service) -> None:
    await put(service, BASE)
    await service.edit(BOB, ORDER, replacing("/notes/a", 10))
    first = replacing("/title", "mine", base=1)
    ancestor = ancestor_of(first.content, None, await service.edit(ANN, ORDER, first))
    assert not ancestor.plain
    error = await refusal(service.edit_on(ANN, ORDER, replacing("/notes/a", 11), ancestor))
    assert error.code == "merge-conflict"
    assert (error.members["base_revision"], error.members["head_revision"]) == (1, 3)


async def test_where_nobody_was_in_between_nothing_is_worked_out(service: Service) -> None:
    await put(service, BASE)
    ancestor = None
    for number in range(3):
        edit = replacing("/title", str(number), base=1)
        answer = await (
            service.edit(ANN, ORDER, edit)
            if ancestor is None
            else service.edit_on(ANN, ORDER, edit, ancestor)
        )
        ancestor = ancestor_of(edit.content, ancestor, answer)
        assert ancestor.plain
        assert ancestor.parent is None
    await asyncio.sleep(0)
