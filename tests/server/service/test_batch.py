"""A batch is made whole or not at all, whoever else writes, fails or leaves meanwhile."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

import pytest

from plait_server.errors import (
    BatchRefused,
    IdempotencyKeyReused,
    InvalidValue,
    PlaitServerError,
    StoreUnavailable,
    TooLarge,
)
from plait_server.service import (
    Batch,
    BatchAnswer,
    CollectionSettings,
    DocumentKey,
    Edit,
    IdempotencyKey,
    IfMatch,
    Retention,
    ServiceLimits,
)
from plait_server.store import Address
from server.service.bench import ANN, BOB, Bench, as_json, begin, decided, put, refusal, replacing

A, B, C, D = DOCUMENTS = tuple(DocumentKey("orders", name) for name in "abcd")
KEY = IdempotencyKey("k", "fingerprint")
ALWAYS_ASIDE = ServiceLimits(offload_bytes_min=-1)
"""Every decision leaves the event loop, with the documents held meanwhile."""


def batch(*edits: tuple[DocumentKey, Edit], **rest: Any) -> Batch:
    return Batch(edits=edits, **rest)


def keyed(*edits: tuple[DocumentKey, Edit], key: IdempotencyKey = KEY) -> Batch:
    return Batch(edits=tuple((document, _with(edit, key)) for document, edit in edits), key=key)


def _with(edit: Edit, key: IdempotencyKey) -> Edit:
    return Edit(**{name: getattr(edit, name) for name in edit.__struct_fields__} | {"key": key})


def appending(value: object, **rest: Any) -> Edit:
    return Edit(kind="patch", content=[{"op": "add", "path": "/log/-", "value": value}], **rest)


async def refused(awaitable: Awaitable[object]) -> dict[int, str]:
    """Give the codes of the refusals that a batch ends in."""
    with pytest.raises(BatchRefused) as caught:
        await awaitable
    return {number: each.code for number, each in caught.value.refusals.items()}


async def moments(count: int = 60) -> None:
    """Let everything that can go on without the disk go on, off the event loop too."""
    for _ in range(count):
        await asyncio.to_thread(int)


def revisions(answer: BatchAnswer) -> list[int]:
    return [each.revision for each in answer.answers]


@pytest.fixture(params=["at once", "in turn"])
async def bench(request: pytest.FixtureRequest, bench: Bench) -> Bench:
    """A bench with four documents, where batches are decided in one step, or in several."""
    if request.param == "in turn":
        await bench.reopen(ALWAYS_ASIDE)
    for document in DOCUMENTS:
        await put(bench.service, {"n": 0, "m": 0, "log": []}, document)
    return bench


async def test_a_batch_is_one_sync_and_its_revisions_follow_each_other(bench: Bench) -> None:
    bench.store.batches.clear()
    bench.committed.clear()
    answer = await bench.service.batch(ANN, batch(*[(each, replacing("/n", 1)) for each in DOCUMENTS]))
    assert revisions(answer) == [2, 2, 2, 2]
    assert bench.store.batches == [4]
    assert bench.committed == [(each.id, 2) for each in DOCUMENTS]


async def test_what_is_refused_leaves_no_trace(bench: Bench) -> None:
    await bench.service.edit(BOB, B, replacing("/n", 5))
    made = batch((A, replacing("/n", 1)), (B, replacing("/n", 1, base=1)), (C, replacing("/none", 1)))
    assert await refused(bench.service.batch(ANN, made)) == {1: "merge-conflict", 2: "patch-inapplicable"}
    assert (await bench.service.read(ANN, A)).revision == 1
    assert (await bench.service.conflicts(ANN, B, 9, None)).items == []
    # What comes after builds on what is there, not on what was refused.
    assert (await bench.service.edit(ANN, A, replacing("/n", 2, base=1))).outcome == "applied"


async def test_no_answer_comes_before_what_it_was_decided_on_is_durable(bench: Bench) -> None:
    """Neither that it would do, nor that nothing changes, nor a refusal."""
    bench.store.gate.clear()
    first = begin(bench.service.edit(BOB, A, replacing("/n", 1)))
    await moments()
    late = [
        begin(bench.service.batch(ANN, each))
        for each in (
            batch((B, replacing("/n", 0)), (A, replacing("/n", 1, base=1))),
            batch((B, replacing("/n", 7)), (A, replacing("/n", 2, base=1))),
            batch((A, replacing("/m", 7, base=1, dry_run=True)), dry_run=True),
        )
    ]
    await moments()
    assert not any(task.done() for task in late)
    bench.store.gate.set()
    assert (await first).revision == 2
    noop, conflict, dry = await asyncio.gather(*late, return_exceptions=True)
    assert isinstance(noop, BatchAnswer)
    assert [(each.outcome, each.revision) for each in noop.answers] == [("noop", 1), ("noop", 2)]
    assert isinstance(conflict, BatchRefused)
    assert as_json(conflict.refusals[1].members)["head_revision"] == 2
    assert isinstance(dry, BatchAnswer)
    assert [each.outcome for each in dry.answers] == ["would_merge"]
    assert (await bench.service.read(ANN, A)).revision == 2


async def test_of_a_failed_commit_nothing_is_there_and_all_may_be_sent_again(bench: Bench) -> None:
    bench.store.failures.append(StoreUnavailable("The disk is full."))
    edits = keyed((A, replacing("/n", 1)), (B, replacing("/n", 1)))
    assert (await refusal(bench.service.batch(ANN, edits))).code == "store-unavailable"
    assert [(await bench.service.read(ANN, each)).revision for each in (A, B)] == [1, 1]
    answer = await bench.service.batch(ANN, edits)
    assert (revisions(answer), answer.replayed) == ([2, 2], False)


async def test_a_batch_built_on_what_failed_is_decided_again_with_all_that_is_built_on_it(
    bench: Bench,
) -> None:
    """One of its documents is enough; what was there before it is not disturbed."""
    bench.store.gate.clear()
    bench.store.failures.append(StoreUnavailable("The disk is full."))
    failing = begin(bench.service.edit(BOB, A, replacing("/n", 1)))
    await moments()
    before = begin(bench.service.edit(BOB, B, replacing("/n", 1)))
    await moments()
    chain = [
        begin(bench.service.batch(ANN, batch((A, replacing("/n", 2, base=1)), (B, appending("ab"))))),
        begin(bench.service.batch(ANN, batch((B, appending("bc")), (C, appending("bc"))))),
        begin(bench.service.batch(ANN, batch((D, appending("dc")), (C, appending("dc"))))),
    ]
    await moments()
    behind = begin(bench.service.edit(BOB, D, appending("d")))
    await moments()
    bench.store.gate.set()
    assert (await refusal(failing)).code == "store-unavailable"
    assert (await before).revision == 2
    answers = await asyncio.gather(*chain)
    assert (await behind).outcome in ("applied", "merged")
    logs = {each: (await bench.service.read(ANN, each)).value["log"] for each in DOCUMENTS}
    assert {each: sorted(log) for each, log in logs.items()} == {
        A: [],
        B: ["ab", "bc"],
        C: ["bc", "dc"],
        D: ["d", "dc"],
    }
    assert answers[0].answers[0].outcome == "applied", "the edit that failed is no part of it"
    assert (await bench.service.read(ANN, A)).value["n"] == 2


async def test_who_reads_while_a_batch_is_given_up_sees_what_is_acknowledged(bench: Bench) -> None:
    """A document of a lost batch is not loaded anew before what was written to it earlier is there."""
    await bench.service.edit(ANN, A, replacing("/m", 1, key=KEY))
    await bench.reopen(bench.service.limits)
    for each in (A, B):
        await bench.service.read(ANN, each)
    bench.store.gate.clear()
    losing = begin(bench.service.edit(ANN, A, replacing("/m", 2, key=KEY)))
    await moments()
    first = begin(bench.service.edit(BOB, B, replacing("/n", 1)))
    lost = begin(bench.service.batch(ANN, batch((A, appending(1)), (B, appending(1)))))
    await moments()

    reads: list[Any] = []

    async def watch() -> None:
        while not lost.done():
            view = await bench.service.read(BOB, B)
            if first.done():
                reads.append(view.revision >= 2)
            await asyncio.sleep(0)

    watching = begin(watch())
    bench.store.gate.set()
    assert (await losing).replayed
    assert (await first).revision == 2
    answer = await lost
    await watching
    assert all(reads)
    assert revisions(answer) == [3, 3]
    assert (await bench.service.read(ANN, B)).value == {"n": 1, "m": 0, "log": [1]}


async def test_a_unit_is_never_split_between_two_transactions(bench: Bench) -> None:
    """Here 999 edits wait before it, and a thousand commits are as many as are taken at a time."""
    await bench.reopen()
    for each in DOCUMENTS:
        await bench.service.read(ANN, each)
    bench.store.gate.clear()
    bench.store.batches.clear()
    holding = begin(bench.service.edit(ANN, A, replacing("/n", 2)))
    await moments()
    singles = [begin(bench.service.edit(ANN, A, appending(n))) for n in range(999)]
    await moments()
    together = begin(bench.service.batch(ANN, batch(*[(each, replacing("/m", 1)) for each in DOCUMENTS])))
    await moments()
    bench.store.gate.set()
    await asyncio.gather(holding, together, *singles)
    assert bench.store.batches == [1, 1_003]


DECIDED: list[tuple[Sequence[tuple[DocumentKey, Edit]], object]] = [
    (
        [
            (A, replacing("/n", 5, base=1)),
            (DocumentKey("orders", "new"), Edit(kind="put", content=1, if_none_match=True)),
            (B, replacing("/n", 9, base=2)),
            (C, Edit(kind="delete", base=1)),
        ],
        ["merged", "created", "noop", "deleted"],
    ),
    ([(C, replacing("/n", 1)), (B, replacing("/n", 5, base=1))], {1: "merge-conflict"}),
    (
        [
            (A, replacing("/m", 5, base=1)),
            (C, replacing("/n", 1)),
            (B, Edit(kind="put", content={"n": 7, "m": 7, "log": []}, base=1)),
            (D, replacing("/none", 1)),
        ],
        {0: "merge-conflict", 2: "merge-conflict", 3: "patch-inapplicable"},
    ),
    ([(A, replacing("/m", 5, if_match=IfMatch((1,)))), (C, replacing("/n", 1))], {0: "precondition-failed"}),
]


@pytest.mark.parametrize(("edits", "outcome"), DECIDED)
async def test_every_decided_answer_is_given_again(
    bench: Bench, edits: Sequence[tuple[DocumentKey, Edit]], outcome: object
) -> None:
    """At once, after others moved the documents and even deleted one, and after a restart."""
    await bench.service.edit(BOB, A, replacing("/m", 9, base=1))
    await bench.service.edit(BOB, B, replacing("/n", 9, base=1))
    sent = keyed(*edits)
    first = await essence(bench, sent)
    assert first[:2] == (outcome, False)
    again = await essence(bench, sent)
    assert again == (outcome, True, first[2])
    for each in (A, B):
        await bench.service.edit(BOB, each, replacing("/n", 10))
    await bench.service.edit(BOB, B, Edit(kind="delete", if_match=IfMatch(any=True)))
    before = [await head_of(bench, each) for each in DOCUMENTS]
    await bench.reopen(bench.service.limits)
    assert await essence(bench, sent) == (outcome, True, first[2])
    assert before == [await head_of(bench, each) for each in DOCUMENTS]
    with pytest.raises(IdempotencyKeyReused):
        await bench.service.batch(ANN, keyed(*edits, key=IdempotencyKey("k", "another")))


async def head_of(bench: Bench, document: DocumentKey) -> int:
    return (await bench.service.revisions(ANN, document, 1, None)).items[0].revision


async def essence(bench: Bench, sent: Batch) -> tuple[object, bool, object]:
    """Give what came of a batch: in short, whether it is an old answer, and all that has to be the same."""
    try:
        answer = await bench.service.batch(ANN, sent)
    except BatchRefused as error:
        told = {
            number: (each.detail, as_json({k: v for k, v in each.members.items() if k != "missed"}))
            for number, each in error.refusals.items()
        }
        return {number: each.code for number, each in error.refusals.items()}, error.replayed, told
    return (
        [each.outcome for each in answer.answers],
        answer.replayed,
        [(each.document, each.revision, each.base, each.patch, each.missed) for each in answer.answers],
    )


async def test_a_conflict_is_given_again_under_the_rules_it_was_found_by(bench: Bench) -> None:
    await bench.service.edit(BOB, A, replacing("/n", 9, base=1))
    sent = keyed((A, replacing("/n", 5, base=1)), (B, replacing("/n", 5)))
    first = await essence(bench, sent)
    assert first[0] == {0: "merge-conflict"}
    await bench.service.put_collection(ANN, "orders", CollectionSettings(merge="yours"), None)
    await bench.reopen(bench.service.limits)
    assert await essence(bench, sent) == ({0: "merge-conflict"}, True, first[2])


async def test_an_answer_is_given_again_though_its_revisions_are_gone(bench: Bench) -> None:
    """With less in it: the patches are gone, and of a conflict what both sides did."""
    await bench.service.edit(BOB, A, replacing("/n", 9, base=1))
    made = keyed((A, replacing("/m", 1, base=1)), (B, replacing("/m", 1)))
    clashing = keyed((B, replacing("/m", 2)), (A, replacing("/n", 1, base=1)), key=IdempotencyKey("k2", "f"))
    assert revisions(await bench.service.batch(ANN, made)) == [3, 2]
    assert await refused(bench.service.batch(ANN, clashing)) == {1: "merge-conflict"}
    for n in range(20):
        for each in (A, B):
            await bench.service.edit(BOB, each, replacing("/n", -n))
    settings = CollectionSettings(retention=Retention(revisions=5))
    await bench.service.put_collection(ANN, "orders", settings, None)
    await bench.service.compactor.sweep()
    for _ in range(2):
        again = await bench.service.batch(ANN, made)
        assert (revisions(again), again.replayed) == ([3, 2], True)
        assert [each.patch for each in again.answers] == [b"null", b"null"]
        with pytest.raises(BatchRefused) as caught:
            await bench.service.batch(ANN, clashing)
        members = as_json(caught.value.refusals[1].members)
        assert (members["base_revision"], members["head_revision"]) == (1, 3)
        assert caught.value.replayed
        await bench.reopen(bench.service.limits)
    late = batch((B, replacing("/m", 3)), (A, replacing("/m", 3, base=1)))
    assert await refused(bench.service.batch(ANN, late)) == {1: "base-unavailable"}


async def test_a_refusal_that_may_turn_out_differently_burns_no_key(bench: Bench) -> None:
    new = DocumentKey("orders", "new")
    sent = keyed((A, replacing("/none", 1)), (new, replacing("/n", 1)))
    assert await refused(bench.service.batch(ANN, sent)) == {0: "patch-inapplicable", 1: "not-found"}
    await put(bench.service, {"n": 0}, new)
    await bench.service.edit(ANN, A, Edit(kind="merge_patch", content={"none": 0}))
    assert revisions(await bench.service.batch(ANN, sent)) == [3, 2]


async def test_a_key_taken_before_a_restart_takes_nothing_with_it(bench: Bench) -> None:
    """The batch is found out in the commit, and the edits behind it are decided again."""
    sent = keyed((A, appending(1)), (B, appending(1)))
    await bench.service.batch(ANN, sent)
    await bench.reopen(bench.service.limits)
    for each in (A, B):
        await bench.service.read(ANN, each)
    bench.store.gate.clear()
    again = begin(bench.service.batch(ANN, sent))
    await moments()
    behind = [begin(bench.service.edit(BOB, each, replacing("/n", 7, base=2))) for each in (A, B)]
    behind_whole = begin(bench.service.batch(BOB, batch((B, appending(2)), (C, appending(2)))))
    await moments()
    bench.store.gate.set()
    answer = await again
    assert (answer.replayed, revisions(answer)) == (True, [2, 2])
    await asyncio.gather(*behind, behind_whole)
    assert (await bench.service.read(ANN, A)).value == {"n": 7, "m": 0, "log": [1]}
    assert (await bench.service.read(ANN, B)).value == {"n": 7, "m": 0, "log": [1, 2]}


async def test_a_large_answer_is_not_kept_in_memory(bench: Bench) -> None:
    new = [DocumentKey("orders", f"n{n:03}" + "x" * 100) for n in range(60)]
    sent = keyed(*[(each, Edit(kind="put", content=1, if_none_match=True)) for each in new])
    first = await bench.service.batch(ANN, sent)
    again = await bench.service.batch(ANN, sent)
    assert (again.replayed, revisions(again)) == (True, revisions(first))


async def test_a_lease_that_the_store_has_not_refuses_the_batch(bench: Bench) -> None:
    """Its fence is compared in the commit itself, whatever is in memory."""
    lease = await bench.service.locks.acquire(ANN, B, "/n")
    assert lease.hold is not None
    address = Address(ANN.tenant, B.collection, B.id)
    await bench.store.drop_locks([(address, lease.hold)])
    made = batch((A, replacing("/n", 1)), (B, replacing("/n", 1, lock=lease.hold)), (C, replacing("/n", 1)))
    assert await refused(bench.service.batch(ANN, made)) == {1: "stale-fence"}
    assert [await head_of(bench, each) for each in (A, B, C)] == [1, 1, 1]
    assert revisions(await bench.service.batch(ANN, batch((A, appending(1)), (B, appending(1))))) == [2, 2]


async def test_one_document_twice_and_too_many_operations_are_refused(bench: Bench) -> None:
    twice = batch((A, replacing("/n", 1)), (B, replacing("/n", 1)), (A, replacing("/m", 1)))
    error = await refusal(bench.service.batch(ANN, twice))
    assert isinstance(error, InvalidValue)
    assert error.members == {"edits": [0, 2], "document": "orders/a"}
    await bench.reopen(ServiceLimits(batch_operations_max=3))
    four = [{"op": "test", "path": "", "value": 0}] * 2
    many = batch((A, Edit(kind="patch", content=four)), (B, Edit(kind="patch", content=four)))
    assert isinstance(await refusal(bench.service.batch(ANN, many)), TooLarge)


async def test_rules_changed_while_a_batch_is_decided_hold_for_it(bench: Bench) -> None:
    """One that began before is made or refused, one that comes after is refused: whole, either of them."""
    schema = {"properties": {"n": {"maximum": 5}}}
    early = begin(bench.service.batch(ANN, batch((A, replacing("/n", 9)), (B, appending(1)))))
    await asyncio.sleep(0)
    await bench.service.put_collection(ANN, "orders", CollectionSettings(schema=schema), None)
    late = begin(bench.service.batch(ANN, batch((C, replacing("/n", 9)), (D, appending(1)))))
    outcomes = await asyncio.gather(early, late, return_exceptions=True)
    assert isinstance(outcomes[1], BatchRefused)
    for outcome, (document, other) in zip(outcomes, ((A, B), (C, D)), strict=True):
        expected = 1 if isinstance(outcome, BatchRefused) else 2
        assert await head_of(bench, document) == await head_of(bench, other) == expected


async def test_batches_in_opposite_orders_do_not_wait_for_each_other_for_ever(bench: Bench) -> None:
    async with asyncio.timeout(60):
        answers = await asyncio.gather(
            *(
                bench.service.batch(
                    ANN,
                    batch(*[(each, appending(n)) for each in order]),
                )
                for n in range(30)
                for order in (DOCUMENTS, DOCUMENTS[::-1], (C, A), (B, D))
            )
        )
    assert len(answers) == 120
    for document in DOCUMENTS:
        view = await bench.service.read(ANN, document)
        assert Counter(view.value["log"]) == dict.fromkeys(range(30), 3)
        assert view.revision == 1 + 90


@pytest.mark.parametrize("seed", range(10))
async def test_in_any_crowd_every_batch_is_whole_and_every_history_without_gap(
    bench: Bench, seed: int
) -> None:
    """Batches and single edits of the same documents at random, some stale, some refused, some under a key
    and sent twice, while requesters leave and the disk fails now and then."""
    random = Random(seed)
    crowd = Crowd(bench, random)
    async with asyncio.timeout(60):
        await asyncio.gather(*(crowd.one(n) for n in range(120)), crowd.trouble())
    bench.store.gate.set()
    await bench.reopen(bench.service.limits)
    await crowd.check()


async def whole(awaitable: Awaitable[BatchAnswer]) -> str:
    """Give what came of a batch in a word."""
    try:
        await awaitable
    except BatchRefused as error:
        return error.first.code
    except PlaitServerError as error:
        return error.code
    return "applied"


class Crowd:
    """Requests at random, and what was acknowledged of them."""

    def __init__(self, bench: Bench, random: Random) -> None:
        self._bench = bench
        self._random = random
        self._tokens: dict[str, frozenset[DocumentKey]] = {}
        self._acknowledged: set[str] = set()
        self._refused: set[str] = set()
        self._left = 120

    async def one(self, n: int) -> None:
        random = self._random
        for _ in range(random.randrange(40)):
            await asyncio.sleep(0)
        token = f"t{n}"
        if random.random() < 0.4:
            document = random.choice(DOCUMENTS)
            self._tokens[token] = frozenset([document])
            request = begin(self._single(document, self._edit(token)))
        else:
            documents = random.sample(DOCUMENTS, random.randint(1, 4))
            self._tokens[token] = frozenset(documents)
            edits = [(each, self._edit(token)) for each in documents]
            if random.random() < 0.3:
                sent = keyed(*edits, key=IdempotencyKey(token, "f"))
                request = begin(self._twice(sent))
            else:
                request = begin(self._outcome(batch(*edits)))
        if random.random() < 0.2:
            for _ in range(random.randrange(60)):
                await asyncio.sleep(0)
            request.cancel()
        (outcome,) = await asyncio.gather(request, return_exceptions=True)
        if isinstance(outcome, str):
            accepted = outcome in ("applied", "merged")
            (self._acknowledged if accepted else self._refused).add(token)
        self._left -= 1

    def _edit(self, token: str) -> Edit:
        random = self._random
        operations: list[dict[str, Any]] = [{"op": "add", "path": "/log/-", "value": token}]
        if random.random() < 0.05:
            operations.append({"op": "replace", "path": "/none", "value": 0})
        if random.random() < 0.1:
            operations.append({"op": "replace", "path": "/n", "value": token})
        base = 1 if random.random() < 0.5 else None
        return Edit(kind="patch", content=operations, base=base)

    async def _single(self, document: DocumentKey, edit: Edit) -> str:
        return await self._sent(lambda: decided(self._bench.service.edit(ANN, document, edit)))

    async def _outcome(self, sent: Batch) -> str:
        return await self._sent(lambda: whole(self._bench.service.batch(ANN, sent)))

    async def _sent(self, send: Callable[[], Awaitable[str]]) -> str:
        """Send something, again while the disk is full: then nothing was changed."""
        outcome = await send()
        while outcome == "store-unavailable":
            outcome = await send()
        return outcome

    async def _twice(self, sent: Batch) -> str:
        first = await self._outcome(sent)
        again = await self._outcome(sent)
        assert first == again
        return again

    async def trouble(self) -> None:
        """Hold the disk back and let it fail, as long as there are requests."""
        store = self._bench.store
        while self._left:
            store.gate.clear()
            for _ in range(self._random.randrange(30)):
                await asyncio.sleep(0)
            if self._random.random() < 0.1:
                store.failures.append(StoreUnavailable("The disk is full."))
            store.gate.set()
            await asyncio.sleep(0.002)
        store.failures.clear()

    async def check(self) -> None:
        service = self._bench.service
        found: dict[str, list[DocumentKey]] = {}
        for document in DOCUMENTS:
            page = await service.revisions(ANN, document, 500, None)
            numbers = [each.revision for each in page.items]
            assert numbers == list(range(len(numbers), 0, -1))
            for token in (await service.read(ANN, document)).value["log"]:
                found.setdefault(token, []).append(document)
        for token, documents in found.items():
            assert Counter(documents) == Counter(self._tokens[token]), f"{token} is half there, or twice"
        assert self._acknowledged <= found.keys()
        assert not self._refused & found.keys()
        assert len(self._acknowledged) > 20, "the crowd proves too little"
