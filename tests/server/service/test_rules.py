"""What holds in a collection decides how its documents merge and what they may hold."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from plait_server.errors import (
    AlreadyResolved,
    InvalidValue,
    NotFound,
    PreconditionFailed,
    StoreUnavailable,
    TooLarge,
)
from plait_server.service import (
    Caller,
    CollectionSettings,
    DocumentKey,
    Edit,
    IdempotencyKey,
    IfMatch,
    Rules,
    Service,
    ServiceLimits,
)
from plait_server.service.lineage import Ancestor, ancestor_of
from plait_server.store import CollectionRecord
from plait_server.wire import decode
from server.service.bench import (
    ANN,
    BOB,
    ORDER,
    Bench,
    as_json,
    begin,
    conflicts_of,
    decided,
    put,
    refusal,
    replacing,
    turns,
)

SUMS = {"rules": {"/n": {"scalar": "sum"}}}
NOT_BOTH = {
    "properties": {"x": {"type": "integer"}, "box": {"not": {"required": ["x", "y"]}}},
    "type": "object",
}


async def rule(service: Service, caller: Caller = ANN, name: str = "orders", **settings: Any) -> Rules:
    """Set what holds in a collection, whatever held before."""
    before = (await service.collection(caller, name)).revision
    condition = IfMatch(revisions=(before,))
    return await service.put_collection(caller, name, CollectionSettings(**settings), condition)


async def held(service: Service) -> None:
    """Let rules that are being set come to hold."""
    for _ in range(1_000_000):
        if (await service.collection(ANN, "orders")).revision:
            return
        await asyncio.sleep(0)
    pytest.fail("they never held")


def adding(pointer: str, value: Any, **rest: Any) -> Edit:
    return Edit(kind="patch", content=[{"op": "add", "path": pointer, "value": value}], **rest)


def counting(pointer: str, value: Any, **rest: Any) -> Edit:
    content = [{"op": "inc", "path": pointer, "value": value}]
    return Edit(kind="patch", content=content, extended=True, **rest)


async def value_of(service: Service) -> Any:
    return (await service.read(ANN, ORDER)).value


# Settings


async def test_a_collection_without_settings_has_the_defaults(service: Service) -> None:
    rules = await service.collection(ANN, "orders")
    assert (rules.revision, rules.settings) == (0, CollectionSettings())
    assert await service.collection(ANN, "orders", 0) is rules


async def test_each_setting_is_a_revision_that_stays(bench: Bench) -> None:
    first = await rule(bench.service, policy=SUMS)
    second = await rule(bench.service, BOB, merge="strict")
    for restart in (False, True):
        service = await bench.reopen() if restart else bench.service
        newest = await service.collection(ANN, "orders")
        assert (newest.revision, newest.settings, newest.author) == (2, second.settings, "bob")
        earlier = await service.collection(ANN, "orders", 1)
        assert (earlier.revision, earlier.settings, earlier.at) == (1, first.settings, first.at)
        for n in (3, 2**60):
            with pytest.raises(NotFound):
                await service.collection(ANN, "orders", n)


async def test_the_same_settings_again_are_no_revision(service: Service) -> None:
    await rule(service, policy=SUMS)
    assert (await rule(service, policy=SUMS)).revision == 1


async def test_of_two_who_set_it_at_once_one_is_told(service: Service) -> None:
    await rule(service, merge="strict")
    put = service.put_collection
    results = await asyncio.gather(
        put(ANN, "orders", CollectionSettings(policy=SUMS), IfMatch(revisions=(1,))),
        put(BOB, "orders", CollectionSettings(schema=NOT_BOTH), IfMatch(revisions=(1,))),
        put(BOB, "orders", CollectionSettings(), None),
        put(BOB, "notes", CollectionSettings(), IfMatch(any=True)),
        put(BOB, "orders", CollectionSettings(), IfMatch(weak=True)),
        return_exceptions=True,
    )
    assert [type(each) for each in results] == [Rules, *[PreconditionFailed] * 4]
    assert (await service.collection(ANN, "orders")).settings.policy == SUMS


async def test_settings_another_process_wrote_are_noticed(bench: Bench) -> None:
    elsewhere = CollectionRecord("acme", "orders", 1, b'{"merge":"strict"}', "eve", 5)
    assert await bench.store.put_collection(elsewhere)
    error = await refusal(rule(bench.service, policy=SUMS))
    assert error.members == {"head_revision": 1}
    assert (await bench.service.collection(ANN, "orders")).settings.merge == "strict"
    assert (await rule(bench.service, policy=SUMS)).revision == 2


@pytest.mark.parametrize(
    ("settings", "pointers"),
    [
        ({"policy": []}, ["#/policy"]),
        ({"policy": {"rules": {"/n": {"scalar": "add"}}}}, ["#/policy/rules/~1n/scalar"]),
        ({"policy": {"rules": {"n": {}}}}, ["#/policy/rules/n"]),
        ({"policy": {"rules": {"/n": {"resolver": "os.system"}}}}, ["#/policy/rules/~1n/resolver"]),
        ({"schema": {"type": "strin"}}, ["#/schema/type"]),
        ({"policy": {"rule": {}}, "schema": {"$ref": "file:///etc/passwd"}}, ["#/policy/rule", "#/schema"]),
    ],
)
async def test_settings_that_are_none_are_refused_with_every_reason(
    service: Service, settings: Any, pointers: list[str]
) -> None:
    error = await refusal(rule(service, **settings))
    assert isinstance(error, InvalidValue)
    assert [each["pointer"] for each in as_json(error.members)["errors"]] == pointers
    assert (await service.collection(ANN, "orders")).revision == 0


async def test_settings_are_bounded_in_size_and_number(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(collections_max=2, schema_bytes_max=100))
    error = await refusal(rule(service, schema={"title": "x" * 100}))
    assert (type(error), error.members["limit"], error.members["maximum"]) == (TooLarge, "schema_bytes", 100)
    await rule(service, name="a", merge="strict")
    await rule(service, name="b", merge="strict")
    error = await refusal(rule(service, name="c", merge="strict"))
    assert (type(error), error.members["limit"], error.members["maximum"]) == (TooLarge, "collections", 2)
    assert (await rule(service, name="b", merge="auto")).revision == 2
    assert (await rule(service, Caller("other", "x", "x"), "c", merge="strict")).revision == 1


async def test_what_was_accepted_holds_though_limits_were_lowered(bench: Bench) -> None:
    await rule(bench.service, schema=NOT_BOTH)
    service = await bench.reopen(ServiceLimits(schema_bytes_max=10))
    assert (await service.collection(ANN, "orders")).schema is not None


async def test_a_tenant_has_collections_of_its_own(service: Service) -> None:
    await rule(service, Caller("other", "x", "x"), schema=False)
    assert (await service.collection(ANN, "orders")).revision == 0
    await put(service, 1)


# Policy


async def test_a_policy_decides_and_is_named_in_what_was_merged_under_it(service: Service) -> None:
    await rule(service, merge="auto", policy={"rules": {"/other": {"scalar": "max"}}})
    await rule(service, policy=SUMS)
    await put(service, {"n": 5, "a": 0})
    await service.edit(ANN, ORDER, replacing("/n", 4, base=1))
    merged = await service.edit(BOB, ORDER, replacing("/n", 7, base=1))
    assert (merged.outcome, decode(merged.patch)) == ("merged", [{"op": "replace", "path": "/n", "value": 6}])
    assert [note["note"] for note in merged.notes] == ["sum"]
    await service.edit(BOB, ORDER, replacing("/a", 1, base=1))
    await service.edit(BOB, ORDER, replacing("/a", 2))
    revisions = (await service.revisions(ANN, ORDER, 10, None)).items
    assert [each.policy for each in revisions] == [None, 2, 2, None, None]
    assert (await service.revision(ANN, ORDER, 3)).policy == 2


async def test_without_a_policy_no_revision_names_one(service: Service) -> None:
    await rule(service, merge="auto", schema=True, policy={"rules": {}})
    await put(service, {"a": 0, "b": 0})
    await service.edit(ANN, ORDER, replacing("/a", 1, base=1))
    assert (await service.edit(BOB, ORDER, replacing("/b", 1, base=1))).outcome == "merged"
    assert (await service.revision(ANN, ORDER, 3)).policy is None


async def test_a_new_policy_holds_for_documents_that_are_open(service: Service) -> None:
    """Whose index was made for the old one: what is one thing now has to be touched as a whole."""
    await put(service, {"address": {"street": "A", "town": "B"}, "n": 0})
    await service.edit(ANN, ORDER, replacing("/address/street", "C", base=1))
    town = replacing("/address/town", "D", base=1)
    assert (await service.edit(BOB, ORDER, replace(town, dry_run=True))).outcome == "would_merge"
    await rule(service, policy={"rules": {"/address": {"object": "atomic"}}})
    assert await decided(service.edit(BOB, ORDER, town)) == "merge-conflict"
    assert (await service.edit(BOB, ORDER, replacing("/n", 1, base=1))).outcome == "merged"
    await rule(service)
    assert (await service.edit(BOB, ORDER, town)).outcome == "merged"


async def test_a_kept_conflict_stays_what_it_was_when_the_policy_changes(bench: Bench) -> None:
    """It is shown, replayed and settled under the rules it was found by."""
    service = bench.service
    await rule(service, policy={"rules": {"/address": {"object": "atomic"}}})
    await put(service, {"address": {"street": "A", "town": "B"}})
    await service.edit(ANN, ORDER, replacing("/address/street", "C", base=1))
    town = replacing("/address/town", "D", base=1, key=IdempotencyKey("k", "f"))
    error = await refusal(service.edit(BOB, ORDER, town))
    (conflict,) = conflicts_of(error)
    assert conflict["pointer"] == "/address"
    await rule(service, policy=SUMS)
    service = await bench.reopen()
    again = await refusal(service.edit(BOB, ORDER, town))
    assert again.replayed
    assert as_json(again.members) == as_json(error.members)
    id = str(error.members["conflict"])
    shown = await service.conflict(BOB, ORDER, id)
    assert as_json(shown.members or {})["conflicts"] == [conflict]
    await service.resolve(BOB, ORDER, id, choices={conflict["id"]: "yours"})
    assert await value_of(service) == {"address": {"street": "A", "town": "D"}}


async def test_a_collection_says_how_edits_merge_that_do_not(service: Service) -> None:
    await put(service, {"a": 0, "b": 0})
    await rule(service, merge="strict")
    await service.edit(ANN, ORDER, replacing("/a", 1, base=1))
    assert await decided(service.edit(BOB, ORDER, replacing("/b", 1, base=1))) == "precondition-failed"
    assert (await service.edit(BOB, ORDER, replacing("/a", 2, base=1, merge="yours"))).outcome == "merged"
    await rule(service, merge="theirs")
    await service.edit(BOB, ORDER, replacing("/a", 9, base=1))
    assert await value_of(service) == {"a": 2, "b": 0}


async def test_an_edit_decided_again_is_decided_by_the_rules_that_hold_then(bench: Bench) -> None:
    """It was built on one that never reached the disk, and a schema came meanwhile."""
    service = bench.service
    await put(service, {"a": 0})
    bench.store.gate.clear()
    first = begin(service.edit(ANN, ORDER, replacing("/a", 1)))
    await turns()
    second = begin(service.edit(BOB, ORDER, replacing("/a", "text")))
    await turns()
    setting = begin(rule(service, schema={"properties": {"a": {"type": "integer"}}}))
    await held(service)
    bench.store.failures.append(StoreUnavailable("The disk is full."))
    bench.store.gate.set()
    assert (await decided(first), await decided(second)) == ("store-unavailable", "schema-violation")
    await setting


async def test_once_rules_are_set_nothing_under_earlier_ones_follows(bench: Bench) -> None:
    service = bench.service
    await put(service, {"a": 0})
    bench.store.gate.clear()
    edit = begin(service.edit(ANN, ORDER, replacing("/a", "text")))
    await turns()
    setting = begin(rule(service, schema={"properties": {"a": {"type": "integer"}}}))
    await held(service)
    await turns()
    assert not setting.done()
    bench.store.gate.set()
    await setting
    assert edit.done()
    assert await decided(edit) == "applied"


@pytest.mark.parametrize(
    ("mine", "policy"),
    [
        (lambda total: [{"op": "replace", "path": "/n", "value": total}], SUMS),
        (lambda _: [{"op": "inc", "path": "/n", "value": 1}], None),
    ],
)
async def test_edits_on_ones_own_edits_add_up_with_those_of_others(
    service: Service, mine: Callable[[int], Any], policy: Any
) -> None:
    """Their author never sees the others, and loses nothing of theirs or his own."""
    await rule(service, policy=policy)
    await put(service, {"n": 0, "other": 0})
    ancestor: Ancestor | None = None
    for number in range(1, 6):
        await service.edit(BOB, ORDER, counting("/n", 10))
        await service.edit(BOB, ORDER, replacing("/other", number))
        edit = Edit(kind="patch", content=mine(number), base=1 if number == 1 else None, extended=True)
        answer = await (
            service.edit(ANN, ORDER, edit)
            if ancestor is None
            else service.edit_on(ANN, ORDER, edit, ancestor)
        )
        ancestor = ancestor_of(edit.content, ancestor, answer)
    assert await value_of(service) == {"n": 55, "other": 5}


async def test_a_sum_on_ones_own_edit_is_still_a_sum_where_others_were_faster(service: Service) -> None:
    """What is carried over to the own edit's revision adds up with what comes after that one too."""
    await put(service, {"n": 0})
    await service.edit(BOB, ORDER, counting("/n", 10))
    first = counting("/n", 1, base=1)
    ancestor = ancestor_of(first.content, None, await service.edit(ANN, ORDER, first))
    await service.edit(BOB, ORDER, counting("/n", 100))
    await service.edit_on(ANN, ORDER, counting("/n", 1), ancestor)
    guarded = [{"op": "test", "path": "/n", "value": 7}, {"op": "inc", "path": "/n", "value": 1}]
    wrong = Edit(kind="patch", content=guarded, extended=True)
    assert await decided(service.edit_on(ANN, ORDER, wrong, ancestor)) == "test-failed"
    assert await value_of(service) == {"n": 112}


LINES = {"lines": [{"n": 0}, {"n": 0}], "title": "A"}
AROUND: list[tuple[list[dict[str, Any]], str]] = [
    ([{"op": "inc", "path": "/lines/1/n", "value": 1}], "merged"),
    (
        [
            {"op": "replace", "path": "/title", "value": "B"},
            {"op": "inc", "path": "/lines/1/n", "value": 0.5},
            {"op": "inc", "path": "/lines/1/n", "value": 0.5},
        ],
        "merged",
    ),
    (
        [
            {"op": "add", "path": "/lines/0", "value": {"n": 7}},
            {"op": "inc", "path": "/lines/2/n", "value": 1},
        ],
        "merge-conflict",
    ),
]


@pytest.mark.parametrize(("patch", "outcome"), AROUND)
async def test_a_sum_on_ones_own_edit_is_never_lost_in_an_equal_one(
    service: Service, patch: Any, outcome: str
) -> None:
    """Its place is another one by now, and somebody comes to the same number meanwhile."""
    await put(service, LINES)
    first = counting("/lines/1/n", 1, base=1)
    await service.edit(BOB, ORDER, adding("/lines/0", {"n": 100}))
    ancestor = ancestor_of(first.content, None, await service.edit(ANN, ORDER, first))
    await service.edit(BOB, ORDER, counting("/lines/2/n", 1))
    mine = Edit(kind="patch", content=patch, extended=True)
    assert await decided(service.edit_on(ANN, ORDER, mine, ancestor)) == outcome
    lines = (await value_of(service))["lines"]
    assert lines == [{"n": 100}, {"n": 0}, {"n": 3 if outcome == "merged" else 2}]


# Schema


@pytest.mark.parametrize(
    "edit",
    [
        replacing("/x", "no"),
        Edit(kind="put", content={"x": "no"}, base=1),
        Edit(kind="merge_patch", content={"x": None, "box": {"x": 1, "y": 1}}),
        Edit(kind="put", content=[], base=1),
        counting("/x", 0.5),
    ],
)
async def test_what_does_not_fit_is_refused_and_changes_nothing(service: Service, edit: Edit) -> None:
    await rule(service, schema=NOT_BOTH)
    await put(service, {"x": 1})
    error = await refusal(service.edit(ANN, ORDER, edit))
    assert error.code == "schema-violation"
    assert as_json(error.members)["errors"]
    assert (await service.read(ANN, ORDER)).revision == 1
    assert await decided(service.edit(ANN, ORDER, replace(edit, dry_run=True))) == "schema-violation"


async def test_creating_obeys_the_schema_and_deleting_is_free(service: Service) -> None:
    await put(service, {"x": "old"})
    await rule(service, schema=NOT_BOTH)
    assert await decided(put(service, {"x": "no"}, DocumentKey("orders", "2"))) == "schema-violation"
    assert await decided(service.create(ANN, "orders", Edit(kind="create", content=1))) == "schema-violation"
    assert (await service.edit(ANN, ORDER, Edit(kind="delete", base=1))).outcome == "deleted"


async def test_what_was_there_before_the_schema_stays_readable_and_has_to_end_valid(service: Service) -> None:
    await put(service, {"x": "old", "a": 0})
    await rule(service, schema=NOT_BOTH)
    assert await value_of(service) == {"x": "old", "a": 0}
    assert await decided(service.edit(ANN, ORDER, replacing("/a", 1))) == "schema-violation"
    assert await decided(service.edit(ANN, ORDER, replacing("/a", 0))) == "noop"
    repaired = Edit(kind="patch", content=[{"op": "replace", "path": "/x", "value": 1}], base=1)
    assert (await service.edit(ANN, ORDER, repaired)).outcome == "applied"


async def test_a_refusal_by_the_schema_is_the_answer_to_its_key(bench: Bench) -> None:
    await rule(bench.service, schema=NOT_BOTH)
    await put(bench.service, {"x": 1})
    edit = replacing("/x", "no", key=IdempotencyKey("k", "f"))
    first = await refusal(bench.service.edit(ANN, ORDER, edit))
    await rule(bench.service)
    for restart in (False, True):
        service = await bench.reopen() if restart else bench.service
        again = await refusal(service.edit(ANN, ORDER, edit))
        assert (again.code, again.detail, again.replayed) == (first.code, first.detail, True)
        assert as_json(again.members) == as_json(first.members)


async def misfit(service: Service) -> tuple[Edit, Any]:
    """Two edits that fit, in one box, each with what the other must not have. Gives the later, refused."""
    await rule(service, schema=NOT_BOTH)
    await put(service, {"box": {"a": 0}, "x": 1})
    await service.edit(BOB, ORDER, replacing("/x", 2, base=1))
    await service.edit(BOB, ORDER, adding("/box/x", 1, base=2, message="why"))
    edit = adding("/box/y", 2, base=1, key=IdempotencyKey("k", "f"))
    return edit, await refusal(service.edit(ANN, ORDER, edit))


async def test_two_edits_that_fit_and_do_not_fit_together_are_a_conflict(service: Service) -> None:
    _, error = await misfit(service)
    assert error.code == "merge-conflict"
    (conflict,) = conflicts_of(error)
    assert (conflict["kind"], conflict["pointer"], conflict["your_operations"]) == ("schema", "/box", [0])
    assert conflict["base"] == {"present": True, "value": {"a": 0}}
    assert conflict["theirs"]["value"] == {"a": 0, "x": 1}
    assert (conflict["theirs"]["revisions"], conflict["theirs"]["message"]) == ([3], "why")
    assert conflict["yours"] == {"present": True, "value": {"a": 0, "y": 2}}
    assert conflict["resolutions"] == {"theirs": []}
    assert [each["pointer"] for each in conflict["errors"]] == ["/box"]
    members = as_json(error.members)
    assert (members["base_revision"], members["head_revision"], members["clean_patch"]) == (1, 3, [])
    assert "schema" in error.detail
    assert await value_of(service) == {"box": {"a": 0, "x": 1}, "x": 2}


async def test_such_a_conflict_is_kept_and_given_again(bench: Bench) -> None:
    edit, error = await misfit(bench.service)
    await rule(bench.service)
    service = await bench.reopen()
    again = await refusal(service.edit(ANN, ORDER, edit))
    assert (again.replayed, again.detail, as_json(again.members)) == (
        True,
        error.detail,
        as_json(error.members),
    )
    shown = await service.conflict(ANN, ORDER, str(error.members["conflict"]))
    assert as_json(shown.members or {})["conflicts"] == conflicts_of(error)


async def test_it_is_settled_by_theirs_or_by_a_patch(service: Service) -> None:
    _, error = await misfit(service)
    id, (conflict,) = str(error.members["conflict"]), conflicts_of(error)
    for choices in ({}, {conflict["id"]: "yours"}, {conflict["id"]: {"value": 1}}, {"other": "theirs"}):
        assert await decided(service.resolve(ANN, ORDER, id, choices=choices)) == "invalid-value"
    still_bad = [{"op": "add", "path": "/box/y", "value": 2}]
    assert await decided(service.resolve(ANN, ORDER, id, patch=still_bad)) == "schema-violation"
    moved = [{"op": "remove", "path": "/box/x"}, *still_bad]
    assert (await service.resolve(ANN, ORDER, id, patch=moved)).settled == id
    with pytest.raises(AlreadyResolved):
        await service.resolve(ANN, ORDER, id, choices={conflict["id"]: "theirs"})


async def test_settled_by_theirs_nothing_of_it_is_made(service: Service) -> None:
    _, error = await misfit(service)
    id, (conflict,) = str(error.members["conflict"]), conflicts_of(error)
    answer = await service.resolve(ANN, ORDER, id, choices={conflict["id"]: "theirs"})
    assert (answer.outcome, answer.settled) == ("noop", id)


async def test_what_a_merge_mode_makes_has_to_fit_too(service: Service) -> None:
    """The overlap is settled for one side, and what comes out is a conflict with the schema."""
    await rule(service, schema=NOT_BOTH)
    await put(service, {"box": {"a": 0}, "x": 1})
    both = [{"op": "replace", "path": "/x", "value": 2}, {"op": "add", "path": "/box/x", "value": 1}]
    await service.edit(BOB, ORDER, Edit(kind="patch", content=both, base=1))
    both = [{"op": "replace", "path": "/x", "value": 3}, {"op": "add", "path": "/box/y", "value": 1}]
    error = await refusal(service.edit(ANN, ORDER, Edit(kind="patch", content=both, base=1, merge="yours")))
    (conflict,) = conflicts_of(error)
    assert (conflict["kind"], conflict["pointer"]) == ("schema", "/box")
    shown = await service.conflict(ANN, ORDER, str(error.members["conflict"]))
    assert as_json(shown.members or {})["conflicts"] == [conflict]


async def test_a_large_document_is_asked_about_aside(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(offload_bytes_min=1_000))
    await rule(service, schema=NOT_BOTH)
    await put(service, {"text": "x" * 5_000, "x": 1, "n": 0})
    edits = [replacing("/x", "no"), replacing("/n", 1, base=1), counting("/n", 2, base=1), replacing("/x", 2)]
    assert await asyncio.gather(*(decided(service.edit(ANN, ORDER, edit)) for edit in edits)) == [
        "schema-violation",
        "applied",
        "merged",
        "applied",
    ]
    assert (await value_of(service))["n"] == 3


# inc


async def test_sums_add_up_over_what_others_add_and_set(service: Service) -> None:
    await put(service, {"n": 0, "other": 1})
    base = (await service.edit(ANN, ORDER, counting("/n", 1))).revision
    for value in (2, 3.5, 10**30):
        answer = await service.edit(BOB, ORDER, counting("/n", value, base=base))
        assert {operation["op"] for operation in decode(answer.patch)} == {"replace"}
    await service.edit(ANN, ORDER, replacing("/n", 100))
    await service.edit(BOB, ORDER, counting("/n", 5, base=base))
    await service.edit(BOB, ORDER, counting("/n", 2))
    assert (await value_of(service))["n"] == 107
    kept = await service.revision(ANN, ORDER, base)
    assert kept.submitted is not None
    assert decode(kept.submitted) == [{"op": "inc", "path": "/n", "value": 1}]


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (counting("/text", 1), "patch-inapplicable"),
        (counting("/nothing", 1), "patch-inapplicable"),
        (counting("/truth", 1), "patch-inapplicable"),
        (counting("/list", 1), "patch-inapplicable"),
        (counting("/huge", 1e308), "patch-inapplicable"),
        (counting("/n", "1"), "malformed-patch"),
        (counting("/n", True), "malformed-patch"),
        (replace(counting("/n", 1), extended=False), "patch-inapplicable"),
        (counting("/n", 0), "noop"),
    ],
)
async def test_only_numbers_are_added_to_numbers(service: Service, edit: Edit, code: str) -> None:
    value = {"text": "1", "truth": True, "list": [], "n": 1, "huge": 1.7e308}
    await put(service, value)
    assert await decided(service.edit(ANN, ORDER, edit)) == code
    assert await value_of(service) == value


async def test_a_sum_sent_again_is_added_once(bench: Bench) -> None:
    await put(bench.service, {"n": 0})
    edit = counting("/n", 5, base=1, key=IdempotencyKey("k", "f"))
    first = await bench.service.edit(ANN, ORDER, edit)
    await bench.service.edit(BOB, ORDER, counting("/n", 1))
    for restart in (False, True):
        service = await bench.reopen() if restart else bench.service
        again = await service.edit(ANN, ORDER, edit)
        assert (again.replayed, again.revision, again.patch) == (True, first.revision, first.patch)
        assert await value_of(service) == {"n": 6}


async def test_a_conflict_about_a_sum_is_kept_and_settled(service: Service) -> None:
    await put(service, {"n": 1})
    await service.edit(BOB, ORDER, replacing("/n", "many"))
    error = await refusal(service.edit(ANN, ORDER, counting("/n", 1, base=1)))
    id, (conflict,) = str(error.members["conflict"]), conflicts_of(error)
    shown = await service.conflict(ANN, ORDER, id)
    assert as_json(shown.members or {})["conflicts"] == [conflict]
    assert (await service.resolve(ANN, ORDER, id, choices={conflict["id"]: "yours"})).outcome == "applied"
    assert await value_of(service) == {"n": 2}
