"""Edits are decided before those in front of them are durable; nobody may ever see that."""

import asyncio
from typing import Any

from plait_server.errors import OutcomeUnknown, StoreUnavailable
from plait_server.service import Edit, IdempotencyKey
from server.service.bench import ANN, BOB, ORDER, Bench, begin, put, refusal, replacing, turns


async def test_edits_of_one_document_share_a_sync(bench: Bench) -> None:
    """While the first is on its way, the others are decided and gather."""
    await put(bench.service, dict.fromkeys("abcdef", 0))
    bench.store.batches.clear()
    bench.store.gate.clear()
    edits = [begin(bench.service.edit(ANN, ORDER, replacing(f"/{n}", 1, base=1))) for n in "abcdef"]
    await turns()
    bench.store.gate.set()
    answers = await asyncio.gather(*edits)
    assert [answer.revision for answer in answers] == [2, 3, 4, 5, 6, 7]
    assert len(bench.store.batches) <= 2
    assert [("1", n) for n in range(1, 8)] == bench.committed


async def test_a_reader_sees_only_what_is_durable(bench: Bench) -> None:
    await put(bench.service, {"a": 0})
    bench.store.gate.clear()
    edit = begin(bench.service.edit(ANN, ORDER, replacing("/a", 1)))
    await turns()
    view = await bench.service.read(BOB, ORDER)
    assert (view.revision, view.value) == (1, {"a": 0})
    assert (await refusal(bench.service.read(BOB, ORDER, 2))).code == "not-found"
    bench.store.gate.set()
    await edit
    assert (await bench.service.read(BOB, ORDER)).revision == 2


async def test_an_answer_that_speaks_of_a_revision_waits_until_it_is_durable(bench: Bench) -> None:
    """A conflict, a noop, a failed condition, a refusal: none may name what could still fail."""
    await put(bench.service, {"a": 0})
    bench.store.gate.clear()
    first = begin(bench.service.edit(ANN, ORDER, replacing("/a", 1)))
    late = [
        begin(bench.service.edit(BOB, ORDER, edit))
        for edit in (
            replacing("/a", 2, base=1),
            replacing("/a", 1, base=1),
            replacing("/a", 2, base=1, merge="strict"),
            replacing("/a", 2, base=1, dry_run=True),
            replacing("/b", 2),
            replacing("/b", 2, base=9),
        )
    ]
    await turns()
    assert not any(task.done() for task in late)
    bench.store.gate.set()
    await first
    answers = await asyncio.gather(*late, return_exceptions=True)
    assert [getattr(answer, "code", getattr(answer, "outcome", None)) for answer in answers] == [
        "merge-conflict",
        "noop",
        "precondition-failed",
        "merge-conflict",
        "patch-inapplicable",
        "base-unknown",
    ]


async def test_what_was_built_on_a_failed_commit_is_decided_again(bench: Bench) -> None:
    """The first edit never happens, so the second neither conflicts with it nor merges over it."""
    await put(bench.service, {"a": 0, "b": 0})
    bench.store.gate.clear()
    bench.store.failures.append(StoreUnavailable("The disk is full."))
    first = begin(bench.service.edit(ANN, ORDER, replacing("/a", 1)))
    await turns()
    same_place = begin(bench.service.edit(BOB, ORDER, replacing("/a", 2, base=1)))
    other_place = begin(bench.service.edit(BOB, ORDER, replacing("/b", 2, base=1)))
    await turns()
    bench.store.gate.set()
    assert (await refusal(first)).code == "store-unavailable"
    answers = await asyncio.gather(same_place, other_place)
    assert sorted(answer.revision for answer in answers) == [2, 3]
    assert (await bench.service.read(ANN, ORDER)).value == {"a": 2, "b": 2}
    assert b'"author":"ann"' not in b"".join(answer.missed or b"" for answer in answers)


async def test_a_failed_commit_leaves_nothing(bench: Bench) -> None:
    await put(bench.service, {"a": 0})
    key = IdempotencyKey("k", "f")
    for failure in (StoreUnavailable("The disk is full."), OutcomeUnknown("Nobody knows.")):
        bench.store.failures.append(failure)
        error = await refusal(bench.service.edit(ANN, ORDER, replacing("/a", 1, key=key)))
        assert (failure.code, True) == (error.code, error.retry)
        assert not bench.service.ready().ready
        assert (await bench.service.read(ANN, ORDER)).value == {"a": 0}
    answer = await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=key))
    assert (answer.revision, answer.replayed) == (2, False)
    assert bench.service.ready().ready
    assert bench.committed == [("1", 1), ("1", 2)]


async def test_a_commit_that_loses_its_key_takes_nothing_with_it(bench: Bench) -> None:
    """A key seen before a restart is found out in the commit; the edits behind it are decided again."""
    await put(bench.service, {"a": 0, "b": 0, "c": 0})
    key = IdempotencyKey("k", "f")
    await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=key))
    await bench.reopen()
    await bench.service.read(ANN, ORDER)
    bench.store.gate.clear()
    again = begin(bench.service.edit(ANN, ORDER, replacing("/a", 2, key=key)))
    behind = [begin(bench.service.edit(BOB, ORDER, replacing(f"/{n}", 7, base=2))) for n in "bc"]
    await turns()
    bench.store.gate.set()
    answer = await again
    assert (answer.revision, answer.replayed, answer.outcome) == (2, True, "applied")
    assert {3, 4} == {answer.revision for answer in await asyncio.gather(*behind)}
    assert (await bench.service.read(ANN, ORDER)).value == {"a": 1, "b": 7, "c": 7}


async def test_a_caller_who_leaves_does_not_stop_the_commit(bench: Bench) -> None:
    await put(bench.service, {"a": 0})
    bench.store.gate.clear()
    leaving = asyncio.create_task(
        bench.service.edit(ANN, ORDER, replacing("/a", 1, key=IdempotencyKey("k", "f")))
    )
    await turns()
    leaving.cancel()
    staying = begin(bench.service.edit(BOB, ORDER, replacing("/a", 1, base=1)))
    await turns()
    bench.store.gate.set()
    assert (await staying).outcome == "noop"
    assert ((view := await bench.service.read(ANN, ORDER)).revision, view.value) == (2, {"a": 1})
    again = await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=IdempotencyKey("k", "f")))
    assert (again.revision, again.replayed) == (2, True)


async def test_closing_finishes_and_acknowledges_what_was_taken(bench: Bench) -> None:
    await put(bench.service, {"a": 0, "b": 0})
    bench.store.gate.clear()
    edits = [begin(bench.service.edit(ANN, ORDER, replacing(f"/{n}", 1))) for n in "ab"]
    await turns()
    closing = begin(bench.service.close())
    await turns()
    assert (await refusal(bench.service.edit(ANN, ORDER, replacing("/a", 2)))).code == "overloaded"
    bench.store.gate.set()
    assert [answer.revision for answer in await asyncio.gather(*edits)] == [2, 3]
    await closing
    await bench.open()
    assert (await bench.service.read(ANN, ORDER)).value == {"a": 1, "b": 1}


async def test_many_writers_lose_nothing(bench: Bench) -> None:
    """Sixteen writers with stale bases, each with a field of its own and one array for all."""
    writers, rounds = 16, 10
    await put(bench.service, {"log": [], **{f"w{n}": 0 for n in range(writers)}})

    async def write(n: int) -> list[int]:
        base, revisions = 1, []
        for round_ in range(1, rounds + 1):
            operations: list[dict[str, Any]] = [
                {"op": "replace", "path": f"/w{n}", "value": round_},
                {"op": "add", "path": "/log/-", "value": f"{n}.{round_}"},
            ]
            answer = await bench.service.edit(ANN, ORDER, Edit(kind="patch", content=operations, base=base))
            base = answer.revision
            revisions.append(base)
        return revisions

    revisions = await asyncio.gather(*map(write, range(writers)))
    assert list(range(2, writers * rounds + 2)) == sorted(n for each in revisions for n in each)
    value = (await bench.service.read(ANN, ORDER)).value
    assert {rounds} == {value[f"w{n}"] for n in range(writers)}
    assert sorted(f"{n}.{r}" for n in range(writers) for r in range(1, rounds + 1)) == sorted(value["log"])
    await bench.reopen()
    assert value == (await bench.service.read(ANN, ORDER)).value
