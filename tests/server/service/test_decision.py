"""The decision rule, written out: what an edit meets, and how it is answered."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_merge import ABSENT, apply_operations, changes_nothing, read_patch, same
from plait_server.service import DocumentKey, Edit, IdempotencyKey, IfMatch, Service
from plait_server.service.decision import set_member
from server.service.bench import ANN, BOB, ORDER, conflicts_of, decided, put, refusal, replacing


@pytest.fixture
async def moved(service: Service) -> Service:
    """A document whose revision 1 is {"title", "count", "items"}, whose revision 2 changed the title."""
    await put(service, {"title": "A", "count": 1, "items": ["x", "y"]})
    await service.edit(BOB, ORDER, replacing("/title", "B", base=1))
    return service


@pytest.fixture
async def gone(moved: Service) -> Service:
    """The same document, deleted by revision 3."""
    await moved.edit(BOB, ORDER, Edit(kind="delete", base=2))
    return moved


def patch(*operations: dict[str, Any], **rest: Any) -> Edit:
    return Edit(kind="patch", content=list(operations), **rest)


TEST_FIRST = {"op": "test", "path": "/title", "value": "A"}
SET_COUNT = {"op": "replace", "path": "/count", "value": 2}
SET_TITLE = {"op": "replace", "path": "/title", "value": "C"}

MOVED = {"title": "B", "count": 1, "items": ["x", "y"]}
COUNTED = {**MOVED, "count": 2}

ACCEPTED = [
    # What is sent, the outcome, the revision, the document afterwards.
    (patch(SET_COUNT), "applied", 3, COUNTED),
    (patch(SET_COUNT, base=2), "applied", 3, COUNTED),
    (patch(SET_COUNT, base=1), "merged", 3, COUNTED),
    (patch(SET_TITLE, base=1, merge="yours"), "merged", 3, {"title": "C", "count": 1, "items": ["x", "y"]}),
    (patch(SET_TITLE, base=1, merge="theirs"), "noop", 2, MOVED),
    (
        patch(SET_TITLE, SET_COUNT, base=1, merge="theirs"),
        "merged",
        3,
        COUNTED,
    ),
    (patch(SET_COUNT, base=2, merge="strict"), "applied", 3, COUNTED),
    (patch(SET_COUNT, if_match=IfMatch((2,))), "applied", 3, COUNTED),
    (
        patch(SET_COUNT, if_match=IfMatch(any=True)),
        "applied",
        3,
        COUNTED,
    ),
    (
        patch(SET_COUNT, if_match=IfMatch((2,)), base=1),
        "merged",
        3,
        COUNTED,
    ),
    (patch(SET_COUNT, dry_run=True), "would_apply", 2, COUNTED),
    (
        patch(SET_COUNT, base=1, dry_run=True),
        "would_merge",
        2,
        COUNTED,
    ),
    (patch(), "noop", 2, MOVED),
    (replacing("/title", "B", base=1), "noop", 2, MOVED),
    (replacing("/count", 1), "noop", 2, MOVED),
    (
        patch({"op": "test", "path": "/count", "value": 1}),
        "noop",
        2,
        MOVED,
    ),
    (
        Edit(kind="put", content={"title": "A", "count": 5, "items": ["x", "y"]}, base=1),
        "merged",
        3,
        {"title": "B", "count": 5, "items": ["x", "y"]},
    ),
    (Edit(kind="put", content={"new": 1}, if_match=IfMatch((2,))), "applied", 3, {"new": 1}),
    (
        Edit(kind="merge_patch", content={"count": None, "more": {"a": 1}}, base=1),
        "merged",
        3,
        {"title": "B", "items": ["x", "y"], "more": {"a": 1}},
    ),
    (
        Edit(kind="merge_patch", content={"count": 1}),
        "noop",
        2,
        MOVED,
    ),
]


@pytest.mark.parametrize(("edit", "outcome", "revision", "value"), ACCEPTED)
async def test_what_fits_is_accepted(
    moved: Service, edit: Edit, outcome: str, revision: int, value: object
) -> None:
    answer = await moved.edit(ANN, ORDER, edit)
    assert (outcome, revision, value) == (answer.outcome, answer.revision, answer.value)
    if not edit.dry_run:
        assert value == (await moved.read(ANN, ORDER)).value
        assert revision == (await moved.read(ANN, ORDER)).revision


REFUSED = [
    # Your mistake: it fails on its own base.
    (patch({"op": "remove", "path": "/nothing"}), "patch-inapplicable"),
    (patch({"op": "remove", "path": "/nothing"}, base=1), "patch-inapplicable"),
    (patch({"op": "add", "path": "/items/-1", "value": 1}), "patch-inapplicable"),
    (patch({"op": "remove", "path": ""}), "patch-inapplicable"),
    (patch({"op": "inc", "path": "/count", "value": 1}), "patch-inapplicable"),
    (patch({"op": "conjure", "path": "/count"}), "malformed-patch"),
    (Edit(kind="patch", content={"op": "add"}), "malformed-patch"),
    # A guard that is false on its base; a guard overtaken.
    (patch({"op": "test", "path": "/title", "value": "A"}, SET_COUNT, base=2), "test-failed"),
    (patch(TEST_FIRST, SET_COUNT, base=1), "merge-conflict"),
    (patch(TEST_FIRST, SET_COUNT, base=1, merge="yours"), "merge-conflict"),
    # Somebody was faster.
    (patch(SET_TITLE, base=1), "merge-conflict"),
    (patch(SET_TITLE, base=1, dry_run=True), "merge-conflict"),
    (Edit(kind="delete", base=1), "merge-conflict"),
    # You asked for strictness.
    (patch(SET_COUNT, if_match=IfMatch((1,))), "precondition-failed"),
    (patch(SET_COUNT, if_match=IfMatch(weak=True)), "precondition-failed"),
    (patch(SET_COUNT, if_match=IfMatch((1,)), base=1), "precondition-failed"),
    (patch(SET_COUNT, base=1, merge="strict"), "precondition-failed"),
    (Edit(kind="put", content=1, if_none_match=True), "precondition-failed"),
    # You did not say what you saw, or saw what never was.
    (Edit(kind="put", content=1), "precondition-required"),
    (Edit(kind="delete"), "precondition-required"),
    (patch(SET_COUNT, base=3), "base-unknown"),
    (patch(SET_COUNT, base=0), "base-unknown"),
    (patch(SET_COUNT, base=10**30), "base-unknown"),
    (patch(SET_COUNT, base=2, epoch="another"), "base-unknown"),
]


@pytest.mark.parametrize(("edit", "code"), REFUSED)
async def test_what_does_not_fit_is_refused_and_changes_nothing(
    moved: Service, edit: Edit, code: str
) -> None:
    assert code == (await refusal(moved.edit(ANN, ORDER, edit))).code
    assert (await moved.read(ANN, ORDER)).revision == 2


INAPPLICABLE = [
    (
        {"op": "remove", "path": ""},
        "unsupported",
        {"present": True, "value": MOVED},
        "Operation 1 (remove the document): a patch cannot delete it; DELETE does.",
    ),
    (
        {"op": "remove", "path": "/items/7"},
        "index",
        {"present": True, "value": ["x", "y"]},
        "Operation 1 (remove /items/7): the array there has 2 elements.",
    ),
    (
        {"op": "replace", "path": "/items/first/name", "value": 1},
        "index",
        {"present": True, "value": ["x", "y"]},
        "Operation 1 (replace /items/first/name): the array there has 2 elements, "
        "and an element is named by its number.",
    ),
    (
        {"op": "remove", "path": "/nothing"},
        "missing",
        {"present": True, "value": MOVED},
        "Operation 1 (remove /nothing): there is nothing at /nothing.",
    ),
    (
        {"op": "move", "from": "/nothing", "path": "/x"},
        "missing",
        {"present": True, "value": MOVED},
        "Operation 1 (move /nothing to /x): there is nothing at /nothing.",
    ),
    (
        {"op": "add", "path": "/a/b", "value": 1},
        "missing",
        {"present": True, "value": MOVED},
        "Operation 1 (add /a/b): there is no object or array to put it in.",
    ),
    (
        {"op": "add", "path": "/title/x", "value": 1},
        "no-container",
        {"present": True, "value": "B"},
        "Operation 1 (add /title/x): on the way there is a string, which has no parts.",
    ),
    (
        {"op": "move", "from": "/items", "path": "/items/0"},
        "into-itself",
        {"present": True, "value": ["x", "y"]},
        "Operation 1 (move /items to /items/0): nothing can be moved into a part of itself.",
    ),
    (
        {"op": "inc", "path": "/count", "value": 1},
        "unsupported",
        {"present": True, "value": 1},
        "Operation 1 (inc /count): inc is no operation of plain JSON Patch; Plait's own media type takes it.",
    ),
    (
        {"op": "test", "path": "/title", "value": "A"},
        "test",
        {"present": True, "value": "B"},
        "Operation 1 (test /title): the value there is another one.",
    ),
]


@pytest.mark.parametrize(("operation", "reason", "found", "detail"), INAPPLICABLE)
async def test_what_does_not_fit_its_base_is_refused_in_a_sentence(
    moved: Service, operation: dict[str, Any], reason: str, found: Any, detail: str
) -> None:
    same = {"op": "test", "path": "/count", "value": 1}
    error = await refusal(moved.edit(ANN, ORDER, patch(same, operation)))
    pointer = operation["from"] if operation.get("from") == "/nothing" else operation["path"]
    expected = {"operation": 1, "pointer": pointer, "reason": reason, "found": found}
    assert (detail, expected) == (error.detail, error.members)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (list(range(200)), {"kind": "array", "elements": 200}),
        ({"a": "x" * 2_000}, {"kind": "object", "members": 1}),
        (10**1_000, {"kind": "number"}),
        ("x" * 500_000, {"kind": "string", "characters": 500_000}),
    ],
)
async def test_what_is_found_is_only_described_where_it_is_long(
    service: Service, value: Any, shown: dict[str, Any]
) -> None:
    await put(service, {"a": value})
    error = await refusal(service.edit(ANN, ORDER, patch({"op": "test", "path": "/a", "value": 0})))
    assert error.members["found"] == {"present": True, "truncated": True, **shown}


async def test_a_pointer_too_long_to_read_is_cut_in_the_sentence_only(moved: Service) -> None:
    pointer = "/" + "x" * 4_000
    error = await refusal(moved.edit(ANN, ORDER, patch({"op": "remove", "path": pointer})))
    assert (len(error.detail) < 300, error.members["pointer"]) == (True, pointer)


async def test_what_is_no_patch_names_the_operation_if_it_is_one(moved: Service) -> None:
    error = await refusal(moved.edit(ANN, ORDER, patch(SET_COUNT, {"op": "add", "path": "/x"})))
    assert (error.detail, error.members) == ('Operation 1: "add" has no "value".', {"operation": 1})
    error = await refusal(moved.edit(ANN, ORDER, Edit(kind="patch", content={})))
    assert (error.detail, error.members) == ("A patch is an array of operations.", {})


ON_A_TOMBSTONE = [
    (patch(SET_COUNT), "deleted"),
    (patch(SET_COUNT, base=2), "merge-conflict"),
    (patch(SET_COUNT, base=3), "patch-inapplicable"),
    (patch(SET_COUNT, if_match=IfMatch((3,))), "precondition-failed"),
    (patch(SET_COUNT, if_match=IfMatch(any=True)), "precondition-failed"),
    (Edit(kind="put", content={}), "precondition-required"),
    (Edit(kind="put", content={}, if_match=IfMatch((3,))), "precondition-failed"),
    (Edit(kind="put", content={}, if_match=IfMatch((3,)), if_none_match=True), "precondition-failed"),
    (Edit(kind="put", content={"title": "new"}, base=2), "merge-conflict"),
    (Edit(kind="delete", base=2), "noop"),
    (Edit(kind="delete", base=3), "noop"),
    (Edit(kind="put", content={}, base=3), "created"),
    (Edit(kind="put", content={}, if_none_match=True), "created"),
    (patch({"op": "add", "path": "", "value": 1}, base=3), "created"),
]


@pytest.mark.parametrize(("edit", "answer"), ON_A_TOMBSTONE)
async def test_a_tombstone_is_a_revision_like_any_other(gone: Service, edit: Edit, answer: str) -> None:
    assert answer == await decided(gone.edit(ANN, ORDER, edit))
    revisions = (await gone.revisions(ANN, ORDER, 10, None)).items
    assert len(revisions) == (4 if answer == "created" else 3)


NOWHERE = [
    (patch(SET_COUNT), "not-found"),
    (patch(SET_COUNT, base=1), "not-found"),
    (patch(SET_COUNT, if_match=IfMatch(any=True)), "not-found"),
    (Edit(kind="put", content=1), "precondition-required"),
    (Edit(kind="put", content=1, base=1), "not-found"),
    (Edit(kind="put", content=1, if_none_match=True, if_match=IfMatch((1,))), "precondition-failed"),
    (Edit(kind="put", content=1, if_none_match=True, if_match=IfMatch(any=True)), "precondition-failed"),
    (Edit(kind="delete"), "not-found"),
    (Edit(kind="delete", base=1), "not-found"),
]


@pytest.mark.parametrize(("edit", "code"), NOWHERE)
async def test_a_document_that_never_was_is_not_found(service: Service, edit: Edit, code: str) -> None:
    assert code == (await refusal(service.edit(ANN, DocumentKey("orders", "none"), edit))).code
    assert (await refusal(service.read(ANN, DocumentKey("orders", "none")))).code == "not-found"


async def test_an_edit_from_before_a_deletion_conflicts_also_after_a_new_creation(gone: Service) -> None:
    await put(gone, {"title": "again", "count": 1})
    error = await refusal(gone.edit(ANN, ORDER, patch(SET_COUNT, base=2)))
    [conflict] = conflicts_of(error)
    assert (error.code, conflict["kind"], conflict["pointer"]) == ("merge-conflict", "remove_edit", "")


async def test_reading_a_tombstone_says_so(gone: Service) -> None:
    error = await refusal(gone.read(ANN, ORDER))
    assert (error.code, error.members) == ("deleted", {"revision": 3})
    assert (await gone.read(ANN, ORDER, 2)).value["title"] == "B"
    assert (await refusal(gone.read(ANN, ORDER, 3))).code == "deleted"


async def test_another_tenants_document_is_one_that_never_was(moved: Service) -> None:
    stranger = type(ANN)("other", "ann-token", "ann")
    assert (await refusal(moved.read(stranger, ORDER))).code == "not-found"
    assert (await refusal(moved.edit(stranger, ORDER, patch(SET_COUNT)))).code == "not-found"
    assert (await refusal(moved.revisions(stranger, ORDER, 10, None))).code == "not-found"
    assert (await moved.list(stranger, "orders", 10, None)).items == []


async def test_a_failed_condition_names_what_changed(moved: Service) -> None:
    error = await refusal(moved.edit(ANN, ORDER, patch(SET_COUNT, if_match=IfMatch((1,)))))
    assert error.members == {"head_revision": 2, "changed": ["/title"]}


async def test_the_patch_kept_is_the_effective_one_and_the_submitted_one_stands_beside_it(
    moved: Service,
) -> None:
    submitted = [{"op": "test", "path": "/items/0", "value": "x"}, {"op": "remove", "path": "/items/1"}]
    await moved.edit(BOB, ORDER, patch({"op": "add", "path": "/items/0", "value": "w"}))
    await moved.edit(ANN, ORDER, Edit(kind="patch", content=submitted, base=1, message="tidy"))
    revision = await moved.revision(ANN, ORDER, 4)
    assert revision.patch == b'[{"op":"remove","path":"/items/2"}]'
    assert (revision.base, revision.author, revision.message) == (1, "ann", "tidy")
    assert revision.submitted is not None
    assert b'"op":"test"' in revision.submitted


async def test_a_merge_says_that_it_kept_a_copy_of_what_has_changed(moved: Service) -> None:
    """Also as a dry run, and when the answer is given again."""
    note = {"note": "stale_copy", "operation": 1, "pointer": "/headline"}
    copy = {"op": "copy", "from": "/title", "path": "/headline"}
    dry = await moved.edit(ANN, ORDER, patch(SET_COUNT, copy, base=1, dry_run=True))
    assert (dry.outcome, dry.notes) == ("would_merge", (note,))
    edit = patch(SET_COUNT, copy, base=1, key=IdempotencyKey("k", "f"))
    for _ in range(2):
        answer = await moved.edit(ANN, ORDER, edit)
        assert (answer.outcome, answer.notes) == ("merged", (note,))
    assert answer.replayed
    assert (await moved.edit(ANN, ORDER, patch(copy))).notes == ()


async def test_members_that_mean_nothing_are_not_kept(moved: Service) -> None:
    await moved.edit(ANN, ORDER, patch({**SET_COUNT, "comment": "hello"}))
    revision = await moved.revision(ANN, ORDER, 3)
    assert revision.patch == b'[{"op":"replace","path":"/count","value":2}]'


async def test_a_document_may_not_outgrow_its_limit(service: Service) -> None:
    half = "x" * 700_000
    await put(service, {"a": half})
    error = await refusal(service.edit(ANN, ORDER, patch({"op": "add", "path": "/b", "value": half})))
    assert (error.code, error.members["limit"]) == ("too-large", "document_bytes")
    error = await refusal(service.edit(ANN, ORDER, patch({"op": "copy", "from": "/a", "path": "/b"})))
    assert error.code == "too-large"
    for _ in range(3):
        # Replacing adds up to more than the limit, but the document does not.
        await service.edit(ANN, ORDER, replacing("/a", half))
        await service.edit(ANN, ORDER, replacing("/a", ""))
    assert (await service.read(ANN, ORDER)).revision == 6


async def test_integers_of_thirty_digits_stay_exact(service: Service) -> None:
    await put(service, {"n": 1})
    await service.edit(ANN, ORDER, replacing("/n", 123456789012345678901234567890))
    assert (await service.read(ANN, ORDER)).body == b'{"n":123456789012345678901234567890}'


async def test_a_number_that_becomes_true_is_a_change(service: Service) -> None:
    await put(service, {"n": 1})
    assert (await service.edit(ANN, ORDER, replacing("/n", True))).outcome == "applied"
    assert (await service.read(ANN, ORDER)).body == b'{"n":true}'


async def test_an_id_the_server_chooses_sorts_by_time(service: Service) -> None:
    ids = [
        (await service.create(ANN, "orders", Edit(kind="create", content={}))).document.id for _ in range(3)
    ]
    assert sorted(ids) == ids
    assert ids == [entry.document.id for entry in (await service.list(ANN, "orders", 10, None)).items]


NAMES = ("a", "b", "0")
SCALARS = st.sampled_from([0, 1, 1.0, -0.0, True, False, None, "", "a"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
)
OPERATIONS = st.builds(
    lambda op, path, value: {"op": op, "path": "".join(f"/{token}" for token in path), "value": value},
    st.sampled_from(["add", "replace", "test"]),
    st.lists(st.sampled_from((*NAMES, "-")), max_size=4),
    VALUES,
)


@given(value=VALUES, operation=OPERATIONS)
def test_a_member_set_the_short_way_is_as_the_engine_sets_it(value: Any, operation: dict[str, Any]) -> None:
    """Where it is taken at all, it applies, leads to the same value and notices that nothing changes."""
    (read,) = read_patch([operation])
    before = deepcopy(value)
    result = set_member(value, read)
    assert same(before, value)
    if result is not ABSENT:
        expected = apply_operations(value, [read])
        assert same(expected, result)
        assert changes_nothing(value, expected, [read]) == (result is value)


def test_the_short_way_is_taken_where_an_object_gets_a_member() -> None:
    deep = {"a": {"b": {"c": 1}}, "d": []}
    for operation in (
        {"op": "replace", "path": "/a/b/c", "value": 2},
        {"op": "add", "path": "/a/b/new", "value": "x"},
    ):
        (read,) = read_patch([operation])
        result = set_member(deep, read)
        assert result == apply_operations(deep, [read])
        assert result is not deep
        assert isinstance(result, dict)
        assert result["d"] is deep["d"]
