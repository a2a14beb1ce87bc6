"""Edits in steps: begun at once, concluded when they are durable, gone on with where that is not enough."""

import asyncio
from typing import Any

import pytest

from plait_server.errors import OutcomeUnknown, StoreUnavailable
from plait_server.service import Answer, Begun, CollectionSettings, Edit, IdempotencyKey, ServiceLimits
from server.service.bench import ANN, BOB, ORDER, Bench, begin, decided, put, refusal, replacing, turns

KEY = IdempotencyKey("k1", "print")


def begun_with(bench: Bench, edit: Edit) -> Begun:
    """Begin an edit that can be."""
    begun = bench.service.begin_edit(ANN, ORDER, edit)
    assert begun is not None
    return begun


async def settled(bench: Bench, begun: Begun) -> Answer | None:
    """Wait for the disk, and conclude."""
    assert begun.result is not None
    await asyncio.wait([begun.result])
    return bench.service.conclude_edit(begun)


async def closes(bench: Bench) -> None:
    """The service ends, which it does not as long as an edit counts as under way."""
    async with asyncio.timeout(10):
        await bench.service.close()


async def test_what_is_begun_and_concluded_is_what_edit_does(bench: Bench) -> None:
    await put(bench.service, {"a": 0, "b": 0, "c": 0})
    await bench.service.edit(BOB, ORDER, replacing("/b", 1))
    stepwise = await settled(bench, begun_with(bench, replacing("/a", 1, base=1)))
    whole = await bench.service.edit(ANN, ORDER, replacing("/c", 1, base=2))
    assert stepwise is not None
    assert (stepwise.outcome, stepwise.revision, stepwise.base) == ("merged", 3, 1)
    assert (whole.outcome, whole.revision, whole.base) == ("merged", 4, 2)
    assert (stepwise.value, whole.value) == ({"a": 1, "b": 1, "c": 0}, {"a": 1, "b": 1, "c": 1})
    await closes(bench)


async def test_nothing_is_shown_before_it_is_durable(bench: Bench) -> None:
    await put(bench.service, {"a": 0})
    bench.store.gate.clear()
    begun = begun_with(bench, replacing("/a", 1))
    await turns()
    assert bench.service.conclude_edit(begun) is None
    assert (await bench.service.read(BOB, ORDER)).revision == 1
    bench.store.gate.set()
    assert (await settled(bench, begun)) is not None
    assert (await bench.service.read(BOB, ORDER)).revision == 2


async def test_an_edit_of_a_document_that_is_not_open_is_not_begun(bench: Bench) -> None:
    """Whether it was never created or has to be loaded."""
    assert bench.service.begin_edit(ANN, ORDER, replacing("/a", 1)) is None
    await put(bench.service, {"a": 0})
    service = await bench.reopen()
    assert service.begin_edit(ANN, ORDER, replacing("/a", 1)) is None


@pytest.mark.parametrize(
    "limits", [ServiceLimits(document_edits_waiting_max=1), ServiceLimits(edits_waiting_max=1)]
)
async def test_an_edit_for_which_there_is_no_place_is_not_begun(bench: Bench, limits: ServiceLimits) -> None:
    """Neither of its document nor at all; nor is anything known of its key."""
    await put(bench.service, {"a": 0})
    service = await bench.reopen(limits)
    assert (await service.edit(ANN, ORDER, replacing("/a", 1))).revision == 2
    bench.store.gate.clear()
    first = begun_with(bench, replacing("/a", 2))
    assert service.begin_edit(ANN, ORDER, replacing("/a", 3, key=KEY)) is None
    bench.store.gate.set()
    assert (await settled(bench, first)) is not None
    assert (await service.edit(ANN, ORDER, replacing("/a", 3, key=KEY))).revision == 4
    await closes(bench)


async def test_an_edit_that_takes_long_is_not_begun(bench: Bench) -> None:
    """Neither its place nor its key is kept."""
    await put(bench.service, {"a": 0})
    edit = Edit(kind="patch", content=[{"op": "remove", "path": "/a"}], key=KEY, weight_bytes=10**9)
    assert bench.service.begin_edit(ANN, ORDER, edit) is None
    assert (await bench.service.edit(ANN, ORDER, edit)).revision == 2
    await closes(bench)


async def test_a_dry_run_leaves_its_key_to_the_edit(bench: Bench) -> None:
    await put(bench.service, {"a": 0})
    begun = begun_with(bench, replacing("/a", 1, key=KEY, dry_run=True))
    assert (await bench.service.go_on_with(begun)).outcome == "would_apply"
    assert (await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=KEY))).revision == 2
    await closes(bench)


async def test_no_edit_is_begun_once_the_service_closes(bench: Bench) -> None:
    await put(bench.service, {"a": 0})
    bench.store.gate.clear()
    begun = begun_with(bench, replacing("/a", 1))
    closing = begin(bench.service.close())
    await turns()
    assert not closing.done()
    assert bench.service.begin_edit(ANN, ORDER, replacing("/a", 2)) is None
    bench.store.gate.set()
    assert (await settled(bench, begun)) is not None
    await closing


async def test_a_request_that_is_known_is_not_begun_again(bench: Bench) -> None:
    """Whether it is under way, or answered: the whole road knows what to say."""
    await put(bench.service, {"a": 0})
    bench.store.gate.clear()
    edit = replacing("/a", 1, key=KEY)
    begun = begun_with(bench, edit)
    assert bench.service.begin_edit(ANN, ORDER, edit) is None
    assert (await refusal(bench.service.edit(ANN, ORDER, edit))).code == "idempotency-in-progress"
    bench.store.gate.set()
    first = await settled(bench, begun)
    assert first is not None
    assert bench.service.begin_edit(ANN, ORDER, edit) is None
    again = await bench.service.edit(ANN, ORDER, edit)
    assert (again.revision, again.replayed) == (first.revision, True)
    other = replacing("/a", 2, key=IdempotencyKey("k1", "other"))
    assert bench.service.begin_edit(ANN, ORDER, other) is None
    assert (await refusal(bench.service.edit(ANN, ORDER, other))).code == "idempotency-key-reused"
    await closes(bench)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (replacing("/a", 5, base=1), "merge-conflict"),
        (replacing("/a", 5, base=1, key=KEY), "merge-conflict"),
        (replacing("/a", 9, base=1), "noop"),
        (replacing("/a", 9, base=1, key=KEY), "noop"),
        (replacing("/a", 5, dry_run=True), "would_apply"),
        (replacing("/a", 5, base=1, merge="strict"), "precondition-failed"),
        (replacing("/a", 5, base=7), "base-unknown"),
        (replacing("/x", 5), "patch-inapplicable"),
        (replacing("/x", 5, key=KEY), "patch-inapplicable"),
        (Edit(kind="patch", content=[{"op": "test", "path": "/a", "value": 3}]), "test-failed"),
        (Edit(kind="patch", content={"op": "add"}), "malformed-patch"),
    ],
)
async def test_what_cannot_simply_be_concluded_is_gone_on_with(
    bench: Bench, edit: Edit, expected: str
) -> None:
    await put(bench.service, {"a": 0})
    await bench.service.edit(BOB, ORDER, replacing("/a", 9))
    begun = begun_with(bench, edit)
    if begun.result is not None:
        assert (await settled(bench, begun)) is None
    commits = len(bench.store.commits)
    assert (await decided(bench.service.go_on_with(begun))) == expected
    assert len(bench.store.commits) == commits, "what was begun is not done again"
    again = await decided(bench.service.edit(ANN, ORDER, edit))
    assert again == expected
    await closes(bench)


async def test_an_edit_whose_commit_failed_is_refused(bench: Bench) -> None:
    await put(bench.service, {"a": 0})
    for failure in (StoreUnavailable("The disk is full."), OutcomeUnknown("Who knows.")):
        await bench.service.read(ANN, ORDER)
        await bench.service.edit(ANN, ORDER, replacing("/a", failure.code))
        bench.store.failures.append(failure)
        begun = begun_with(bench, replacing("/a", 1))
        assert (await settled(bench, begun)) is None
        assert (await refusal(bench.service.go_on_with(begun))).code == failure.code
    await closes(bench)


async def test_an_edit_built_on_one_that_failed_is_decided_again(bench: Bench) -> None:
    await put(bench.service, {"a": 0, "b": 0})
    bench.store.gate.clear()
    bench.store.failures.append(StoreUnavailable("Once."))
    first = begun_with(bench, replacing("/a", 1))
    await turns()
    second = begun_with(bench, replacing("/b", 1, key=KEY))
    bench.store.gate.set()
    assert (await settled(bench, first)) is None
    assert (await settled(bench, second)) is None
    answer, refused = await asyncio.gather(
        bench.service.go_on_with(second), decided(bench.service.go_on_with(first))
    )
    assert (answer.outcome, answer.revision, answer.value) == ("applied", 2, {"a": 0, "b": 1})
    assert refused == "store-unavailable"
    assert (await bench.service.edit(ANN, ORDER, replacing("/b", 1, key=KEY))).replayed
    await closes(bench)


async def test_rules_hold_for_what_is_begun(bench: Bench) -> None:
    """A schema makes an edit look at all of the document; that takes no longer here."""
    await put(bench.service, {"a": 0})
    schema: dict[str, Any] = {"properties": {"a": {"type": "integer"}}}
    await bench.service.put_collection(ANN, ORDER.collection, CollectionSettings(schema=schema), None)
    begun = begun_with(bench, replacing("/a", "text"))
    assert (await decided(bench.service.go_on_with(begun))) == "schema-violation"
    assert (await settled(bench, begun_with(bench, replacing("/a", 1)))) is not None
    await closes(bench)
