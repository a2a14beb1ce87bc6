"""One key, one effect, one answer."""

import asyncio

import pytest

from plait_server.errors import PlaitServerError, StoreUnavailable
from plait_server.service import Answer, Edit, IdempotencyKey, IfMatch, ServiceLimits
from server.service.bench import ANN, BOB, ORDER, Bench, put, refusal, replacing, turns

KEY = IdempotencyKey("8e03978e", "fingerprint")

DECIDED = [
    (replacing("/a", 5, base=2, key=KEY), "applied"),
    (replacing("/b", 5, base=1, key=KEY), "merged"),
    (replacing("/a", 1, base=1, key=KEY), "noop"),
    (Edit(kind="delete", base=2, key=KEY), "deleted"),
    (replacing("/a", 5, base=1, key=KEY), "merge-conflict"),
    (Edit(kind="patch", content=[{"op": "test", "path": "/a", "value": 9}], key=KEY), "test-failed"),
    (replacing("/a", 5, if_match=IfMatch((1,)), key=KEY), "precondition-failed"),
    (replacing("/none", 5, key=KEY), "patch-inapplicable"),
]


async def give(bench: Bench, edit: Edit) -> Answer | PlaitServerError:
    try:
        return await bench.service.edit(ANN, ORDER, edit)
    except PlaitServerError as error:
        return error


def essence(answer: Answer | PlaitServerError) -> tuple[object, ...]:
    """What has to be the same each time."""
    if isinstance(answer, Answer):
        return (answer.outcome, answer.revision, answer.base, answer.patch, answer.missed)
    return (answer.code, answer.detail, {k: v for k, v in answer.members.items() if k != "missed"})


@pytest.mark.parametrize(("edit", "outcome"), DECIDED)
async def test_every_decided_answer_is_given_again(bench: Bench, edit: Edit, outcome: str) -> None:
    """At once, after others moved the document and even deleted it, and after a restart."""
    await put(bench.service, {"a": 0, "b": 0})
    await bench.service.edit(BOB, ORDER, replacing("/a", 1, base=1))
    first = await give(bench, edit)
    assert outcome == (first.outcome if isinstance(first, Answer) else first.code)
    assert not first.replayed
    revisions = len((await bench.service.revisions(ANN, ORDER, 100, None)).items)

    again = await give(bench, edit)
    assert (essence(first), True) == (essence(again), again.replayed)

    if outcome != "deleted":
        await bench.service.edit(BOB, ORDER, Edit(kind="delete", if_match=IfMatch(any=True)))
        revisions += 1
    await bench.reopen()
    again = await give(bench, edit)
    assert (essence(first), True) == (essence(again), again.replayed)
    assert revisions == len((await bench.service.revisions(ANN, ORDER, 100, None)).items)


async def test_a_creation_is_given_again_with_the_id_it_got(bench: Bench) -> None:
    create = Edit(kind="create", content={"a": 1}, key=KEY)
    first = await bench.service.create(ANN, "orders", create)
    assert first.document == (await bench.service.create(ANN, "orders", create)).document
    await bench.reopen()
    again = await bench.service.create(ANN, "orders", create)
    assert (first.document, 1, True) == (again.document, again.revision, again.replayed)
    assert len((await bench.service.list(ANN, "orders", 10, None)).items) == 1


async def test_a_refusal_that_may_turn_out_differently_burns_no_key(bench: Bench) -> None:
    assert (await refusal(bench.service.edit(ANN, ORDER, replacing("/a", 1, key=KEY)))).code == "not-found"
    await put(bench.service, {"a": 0})
    assert (
        await refusal(bench.service.edit(ANN, ORDER, replacing("/a", 1, base=7, key=KEY)))
    ).code == "base-unknown"
    bench.store.failures.append(StoreUnavailable("The disk is full."))
    assert (
        await refusal(bench.service.edit(ANN, ORDER, replacing("/a", 1, key=KEY)))
    ).code == "store-unavailable"
    assert (await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=KEY))).outcome == "applied"


async def test_a_key_belongs_to_what_it_was_first_used_for(bench: Bench) -> None:
    await put(bench.service, {"a": 0})
    await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=KEY))
    other = IdempotencyKey(KEY.key, "another fingerprint")
    for _ in range(2):
        error = await refusal(bench.service.edit(ANN, ORDER, replacing("/a", 2, key=other)))
        assert error.code == "idempotency-key-reused"
        await bench.reopen()


async def test_a_key_of_somebody_else_is_another_key(bench: Bench) -> None:
    await put(bench.service, {"a": 0})
    await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=KEY))
    answer = await bench.service.edit(BOB, ORDER, replacing("/a", 2, key=KEY))
    assert (answer.revision, answer.replayed) == (3, False)


async def test_of_many_at_once_one_is_taken(bench: Bench) -> None:
    await put(bench.service, {"a": 0})
    bench.store.gate.clear()
    sent = [asyncio.create_task(give(bench, replacing("/a", 1, key=KEY))) for _ in range(16)]
    await turns()
    bench.store.gate.set()
    answers = await asyncio.gather(*sent)
    taken = [answer for answer in answers if isinstance(answer, Answer)]
    waiting = [answer for answer in answers if isinstance(answer, PlaitServerError)]
    assert [answer.revision for answer in taken] == [2]
    assert [(error.code, error.retry) for error in waiting] == [("idempotency-in-progress", True)] * 15
    assert (await bench.service.read(ANN, ORDER)).revision == 2


async def test_a_dry_run_uses_no_key(bench: Bench) -> None:
    await put(bench.service, {"a": 0})
    await bench.service.edit(ANN, ORDER, replacing("/a", 1, dry_run=True, key=KEY))
    assert not (await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=KEY))).replayed


async def test_a_key_is_free_again_when_its_time_is_over(bench: Bench) -> None:
    await put(bench.service, {"a": 0})
    await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=KEY))
    for value in (2, 3):
        bench.let_pass(ServiceLimits().idempotency_ttl_s + 1)
        answer = await bench.service.edit(ANN, ORDER, replacing("/a", value, key=KEY))
        assert (value + 1, False) == (answer.revision, answer.replayed)
        await bench.reopen()


async def test_answers_beyond_those_in_memory_come_from_the_store(bench: Bench) -> None:
    await bench.reopen(ServiceLimits(answers_recent_max=2))
    edits = [Edit(kind="merge_patch", content={"n": n}, key=IdempotencyKey(f"k{n}", "f")) for n in range(6)]
    await put(bench.service, {})
    for edit in edits:
        await bench.service.edit(ANN, ORDER, edit)
    again = [await bench.service.edit(ANN, ORDER, edit) for edit in edits]
    assert [(answer.revision, answer.replayed) for answer in again] == [(n + 2, True) for n in range(6)]
