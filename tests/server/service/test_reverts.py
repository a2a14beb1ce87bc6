"""Taking back: what came later stays, and what overlaps it is a conflict like any other."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merge.strategies import documents, patches
from plait_merge import Json, apply, diff, same
from plait_server.service import (
    Answer,
    CollectionSettings,
    Edit,
    IdempotencyKey,
    IfMatch,
    Service,
    ServiceLimits,
)
from plait_server.service.reversal import OPERATIONS_MAX, REVISIONS_MAX, reverse
from plait_server.service.revision import Revision, before_the_first, read_revision
from plait_server.store import RevisionRecord
from plait_server.wire import encode
from server.service.bench import (
    ANN,
    BOB,
    ORDER,
    Bench,
    as_json,
    conflicts_of,
    decided,
    put,
    refusal,
    reverted,
)

PLAIN = Edit(kind="patch")


async def edit(service: Service, *patch: dict[str, Json], **rest: Any) -> int:
    return (await service.edit(BOB, ORDER, Edit(kind="patch", content=list(patch), **rest))).revision


async def value_of(service: Service, revision: int | None = None) -> Any:
    return (await service.read(ANN, ORDER, revision)).value


async def undo(service: Service, first: int, last: int | None = None, **how: Any) -> Answer:
    edit = Edit(kind="patch", **how)
    return await reverted(
        service, ANN, ORDER, service.history.undoing(ANN, ORDER, first, last or first, edit)
    )


async def restore(service: Service, to: int, **how: Any) -> Answer:
    edit = Edit(kind="patch", **how)
    return await reverted(service, ANN, ORDER, service.history.restoring(ANN, ORDER, to, edit))


async def make_history(service: Service) -> None:
    """Make five revisions that touch different things."""
    await put(service, {"a": 1, "b": 1, "rows": [{"id": 1}, {"id": 2}]})
    await edit(service, {"op": "replace", "path": "/a", "value": 2})
    await edit(service, {"op": "replace", "path": "/b", "value": 2})
    await edit(service, {"op": "move", "from": "/rows/0", "path": "/rows/1"})
    await edit(service, {"op": "add", "path": "/rows/0/v", "value": 5})


async def test_what_came_later_stays(service: Service) -> None:
    await make_history(service)
    answer = await undo(service, 2)
    assert (answer.outcome, answer.revision, answer.base) == ("merged", 6, 2)
    assert json.loads(answer.patch) == [{"op": "replace", "path": "/a", "value": 1}]
    assert await value_of(service) == {"a": 1, "b": 2, "rows": [{"id": 2, "v": 5}, {"id": 1}]}
    revision = await service.revision(ANN, ORDER, 6)
    assert (revision.author, revision.base, revision.message) == ("ann", 2, "Revert revision 2")


async def test_what_moved_is_moved_back_with_what_was_done_in_it_since(service: Service) -> None:
    await make_history(service)
    await undo(service, 4)
    assert (await value_of(service))["rows"] == [{"id": 1}, {"id": 2, "v": 5}]


async def test_what_was_overwritten_since_is_a_conflict_with_a_resolution(service: Service) -> None:
    await make_history(service)
    await edit(service, {"op": "replace", "path": "/a", "value": 3})
    error = await refusal(undo(service, 2))
    assert error.code == "merge-conflict"
    [conflict] = conflicts_of(error)
    assert [conflict[side]["value"] for side in ("base", "theirs", "yours")] == [2, 3, 1]
    assert conflict["theirs"]["revision"] == 6
    kept = as_json(error.members)["conflict"]
    answer = await service.resolve(ANN, ORDER, kept, choices={conflict["id"]: "yours"})
    assert (answer.settled, (await value_of(service))["a"]) == (kept, 1)
    assert (await service.revision(ANN, ORDER, 7)).message == "Revert revision 2"


@pytest.mark.parametrize(("merge", "a"), [("theirs", 3), ("yours", 1)])
async def test_a_merge_mode_decides_as_for_any_edit(service: Service, merge: Any, a: int) -> None:
    await make_history(service)
    await edit(service, {"op": "replace", "path": "/a", "value": 3})
    await undo(service, 2, merge=merge)
    assert (await value_of(service))["a"] == a


async def test_strictly_only_the_newest_revision_is_taken_back(service: Service) -> None:
    await make_history(service)
    assert await decided(undo(service, 2, merge="strict")) == "precondition-failed"
    assert await decided(undo(service, 5, if_match=IfMatch((4,)))) == "precondition-failed"
    assert await decided(undo(service, 5, merge="strict", if_match=IfMatch((5,)))) == "applied"


async def test_a_range_is_taken_back_at_once(service: Service) -> None:
    await make_history(service)
    await edit(service, {"op": "add", "path": "/later", "value": 1})
    answer = await undo(service, 2, 4)
    assert (answer.revision, answer.base) == (7, 4)
    value = {"a": 1, "b": 1, "rows": [{"id": 1}, {"id": 2, "v": 5}], "later": 1}
    assert await value_of(service) == value
    assert (await service.revision(ANN, ORDER, 7)).message == "Revert revisions 2 to 4"


async def test_of_a_value_that_was_set_again_and_again_the_first_comes_back(service: Service) -> None:
    await put(service, {"a": 0})
    for n in range(1, 6):
        await edit(service, {"op": "replace", "path": "/a", "value": n})
    answer = await undo(service, 3, 6)
    assert json.loads(answer.patch) == [{"op": "replace", "path": "/a", "value": 1}]


async def test_to_take_back_twice_is_to_do_it_again(service: Service) -> None:
    await make_history(service)
    before = await value_of(service)
    await undo(service, 4)
    assert await value_of(service) != before
    await undo(service, 6)
    assert await value_of(service) == before


async def test_what_is_taken_back_already_changes_nothing(service: Service) -> None:
    await put(service, {"a": 1})
    await edit(service, {"op": "replace", "path": "/a", "value": 2})
    await edit(service, {"op": "replace", "path": "/a", "value": 1})
    assert (await undo(service, 2)).outcome == "noop"
    assert (await undo(service, 2, 3)).outcome == "noop"
    assert (await restore(service, 1)).outcome == "noop"


async def test_what_was_added_to_a_number_is_taken_off_whatever_it_is_by_now(service: Service) -> None:
    await put(service, {"stock": 10, "sold": 0})
    sale: list[dict[str, Json]] = [
        {"op": "inc", "path": "/stock", "value": -3},
        {"op": "inc", "path": "/sold", "value": 3},
    ]
    await edit(service, *sale, extended=True)
    await edit(service, {"op": "inc", "path": "/stock", "value": -1}, extended=True)
    assert (await undo(service, 2)).outcome == "merged"
    assert await value_of(service) == {"stock": 9, "sold": 0}


async def test_what_was_set_and_added_to_in_one_revision_is_set_back(service: Service) -> None:
    await put(service, {"n": 10})
    patch = [{"op": "replace", "path": "/n", "value": 1}, {"op": "inc", "path": "/n", "value": 1}]
    await edit(service, *patch, extended=True)
    await undo(service, 2)
    assert await value_of(service) == {"n": 10}


async def test_a_restored_document_is_what_it_was(service: Service) -> None:
    await make_history(service)
    for n in (1, 3, 5, 2):
        wanted = await value_of(service, n)
        answer = await restore(service, n)
        assert (answer.outcome, await value_of(service)) == ("applied", wanted)
        assert (await service.revision(ANN, ORDER, answer.revision)).message == f"Restore revision {n}"


@pytest.mark.parametrize("way", ["restore", "undo", "undo a range"])
async def test_a_deleted_document_comes_back(service: Service, way: str) -> None:
    await make_history(service)
    await service.edit(BOB, ORDER, Edit(kind="delete", base=5))
    wanted = await value_of(service, 5 if way != "undo a range" else 3)
    if way == "restore":
        answer = await restore(service, 5)
    else:
        answer = await undo(service, 6 if way == "undo" else 4, 6)
    assert (answer.outcome, answer.revision) == ("created", 7)
    revision = await service.revision(ANN, ORDER, 7)
    assert revision.kind == "create"
    assert json.loads(revision.patch) == [{"op": "add", "path": "", "value": wanted}]
    assert await value_of(service) == wanted


async def test_an_edit_of_what_was_deleted_since_is_a_conflict_when_taken_back(service: Service) -> None:
    await make_history(service)
    await service.edit(BOB, ORDER, Edit(kind="delete", base=5))
    [conflict] = conflicts_of(await refusal(undo(service, 2)))
    assert (conflict["kind"], conflict["pointer"]) == ("remove_edit", "")


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 3), (7, 7), (7, 8)])
async def test_a_creation_is_taken_back_by_deleting(service: Service, first: int, last: int) -> None:
    await make_history(service)
    await service.edit(BOB, ORDER, Edit(kind="delete", base=5))
    await put(service, {"new": 1})
    await edit(service, {"op": "replace", "path": "/new", "value": 2})
    error = await refusal(undo(service, first, last))
    assert (error.code, error.members["hint"]) == (
        "invalid-value",
        "DELETE the document. Its history stays.",
    )


async def test_what_was_created_again_since_is_not_restored_by_taking_the_deletion_back(
    service: Service,
) -> None:
    await put(service, {"a": 1})
    await service.edit(BOB, ORDER, Edit(kind="delete", base=1))
    await put(service, {"b": 1})
    error = await refusal(undo(service, 2))
    assert (error.code, error.members["hint"]) == (
        "invalid-value",
        'Restore what was there before: {"to": 1}.',
    )
    assert (await restore(service, 1)).outcome == "applied"
    assert await value_of(service) == {"a": 1}


async def test_a_range_over_a_deletion_leads_back_over_it(service: Service) -> None:
    await put(service, {"a": 1, "b": 1})
    await edit(service, {"op": "replace", "path": "/a", "value": 2})
    await service.edit(BOB, ORDER, Edit(kind="delete", base=2))
    await put(service, {"a": 3})
    await edit(service, {"op": "add", "path": "/c", "value": 1})
    await undo(service, 3, 4)
    assert await value_of(service) == {"a": 2, "b": 1, "c": 1}


@pytest.mark.parametrize(
    ("first", "last", "code"),
    [(6, 6, "not-found"), (2, 6, "not-found"), (2**53, 2**53, "not-found"), (3, 2, "invalid-value")],
)
async def test_what_is_no_part_of_history_is_not_taken_back(
    service: Service, first: int, last: int, code: str
) -> None:
    await make_history(service)
    assert await decided(undo(service, first, last)) == code
    assert (await service.read(ANN, ORDER)).revision == 5


async def test_nothing_is_restored_to_where_nothing_was(service: Service) -> None:
    assert await decided(restore(service, 1)) == "not-found"
    assert await decided(undo(service, 1)) == "not-found"
    await put(service, {"a": 1})
    await service.edit(BOB, ORDER, Edit(kind="delete", base=1))
    assert await decided(restore(service, 2)) == "invalid-value"
    assert await decided(restore(service, 3)) == "not-found"


async def test_a_dry_run_decides_and_stores_nothing(service: Service) -> None:
    await make_history(service)
    assert (await undo(service, 2, dry_run=True)).outcome == "would_merge"
    assert (await restore(service, 2, dry_run=True)).outcome == "would_apply"
    assert (await service.read(ANN, ORDER)).revision == 5


async def test_a_message_of_ones_own_is_kept(service: Service) -> None:
    await make_history(service)
    await undo(service, 2, message="a was right")
    assert (await service.revision(ANN, ORDER, 6)).message == "a was right"


async def test_what_was_sent_twice_is_done_once(bench: Bench) -> None:
    """Also where it could not be done again: a document restored is not there to be restored."""
    service = bench.service
    await put(service, {"a": 1})
    await service.edit(BOB, ORDER, Edit(kind="delete", base=1))
    key = IdempotencyKey("k", "f")
    first = await undo(service, 2, key=key)
    for _ in range(2):
        again = await undo(service, 2, key=key)
        assert (again.replayed, again.outcome, again.revision) == (True, "created", first.revision)
        assert again.patch == first.patch
        service = await bench.reopen()
    other = await refusal(undo(service, 2, key=IdempotencyKey("k", "other")))
    assert other.code == "idempotency-key-reused"
    assert (await service.read(ANN, ORDER)).revision == 3


async def test_what_others_do_meanwhile_is_merged_with_what_is_restored(bench: Bench) -> None:
    service = bench.service
    await make_history(service)
    bench.store.gate.clear()
    others = asyncio.create_task(edit(service, {"op": "add", "path": "/new", "value": 1}))
    restored = asyncio.create_task(restore(service, 1))
    await asyncio.sleep(0)
    bench.store.gate.set()
    await asyncio.gather(others, restored)
    value = await value_of(service)
    assert (value["a"], value["b"], value["rows"]) == (1, 1, [{"id": 1}, {"id": 2}])


async def test_nobody_takes_back_what_the_schema_refuses(service: Service) -> None:
    await make_history(service)
    schema = {"properties": {"a": {"minimum": 2}}}
    await service.put_collection(ANN, "orders", CollectionSettings(schema=schema), None)
    assert await decided(undo(service, 2)) == "schema-violation"


TIGHT = [
    ServiceLimits(recent_revisions_max=2, snapshot_revisions_max=3),
    ServiceLimits(offload_bytes_min=1),
]


@pytest.mark.parametrize("limits", TIGHT)
async def test_what_is_in_memory_changes_nothing(bench: Bench, limits: ServiceLimits) -> None:
    service = await bench.reopen(limits)
    await make_history(service)
    await undo(service, 2)
    await undo(service, 4)
    assert await value_of(service) == {"a": 1, "b": 2, "rows": [{"id": 1}, {"id": 2, "v": 5}]}
    await undo(service, 2, 7)
    assert await value_of(service) == await value_of(service, 1)


async def test_a_long_range_is_taken_back_by_its_ends(service: Service) -> None:
    await put(service, {"n": 0, "mine": 0})
    for n in range(1, REVISIONS_MAX + 5):
        await edit(service, {"op": "replace", "path": "/n", "value": n})
    await edit(service, {"op": "replace", "path": "/mine", "value": 1})
    await undo(service, 2, REVISIONS_MAX + 5)
    assert await value_of(service) == {"n": 0, "mine": 1}


def history(first: Json, chain: list[list[dict[str, Json]]]) -> list[Revision]:
    """Make revisions of patches."""
    revisions, value = [before_the_first()], first
    for n, patch in enumerate([[{"op": "add", "path": "", "value": first}], *chain], 1):
        value = value if n == 1 else apply(value, patch)
        record = RevisionRecord(
            n, "edit" if n > 1 else "create", encode(patch), None, None, "", "", None, 0, None, None
        )
        revisions.append(read_revision(record, value))
    return revisions


@st.composite
def histories(draw: st.DrawFn) -> list[Revision]:
    first = value = draw(documents)
    chain = []
    for _ in range(draw(st.integers(1, 4))):
        chain.append(draw(patches(value)))
        value = apply(value, chain[-1])
    return history(first, chain)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(histories(), st.data())
def test_taken_back_at_once_revisions_leave_what_was_before_them(
    revisions: list[Revision], data: st.DataObject
) -> None:
    first = data.draw(st.integers(2, len(revisions) - 1))
    last = data.draw(st.integers(first, len(revisions) - 1))
    before, after = revisions[first - 1], revisions[last]
    patch = reverse(before, revisions[first : last + 1], ServiceLimits().values)
    assert same(before.value, apply(after.value, patch))


def test_what_would_be_a_very_long_patch_is_made_of_the_values() -> None:
    chain = [[{"op": "add", "path": "/-", "value": n} for n in range(OPERATIONS_MAX // 2)] for _ in range(3)]
    revisions = history([], chain)
    patch = reverse(revisions[1], revisions[2:], ServiceLimits().values)
    assert patch == diff(revisions[-1].value, [])
