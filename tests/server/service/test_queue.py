"""Queued edits: accepted now, decided later, in order, each exactly once."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from plait_server.errors import (
    OutcomeUnknown,
    Overloaded,
    PlaitServerError,
    StoreRefused,
    StoreUnavailable,
)
from plait_server.service import (
    Answer,
    Caller,
    CollectionSettings,
    DocumentKey,
    Edit,
    IdempotencyKey,
    IfMatch,
    Operation,
    Retention,
    Service,
    ServiceLimits,
)
from plait_server.service.operation import encode_edit, read_edit
from plait_server.store import Address, OperationRecord, StoredDocument
from plait_server.store.sqlite import SqliteStore
from server.service.bench import (
    ANN,
    BOB,
    ORDER,
    Bench,
    TroubledStore,
    as_json,
    begin,
    conflicts_of,
    decided,
    put,
    refusal,
    replacing,
    turns,
)

KEY = IdempotencyKey("k", "fingerprint")
OTHER = IdempotencyKey("k", "another fingerprint")


def appending(value: object, **rest: Any) -> Edit:
    return Edit(kind="patch", content=[{"op": "add", "path": "/log/-", "value": value}], **rest)


async def queued(
    service: Service, edit: Edit, document: DocumentKey = ORDER, caller: Caller = ANN
) -> Operation:
    """Queue an edit, to be decided later."""
    operation = await service.queue.submit(caller, document, edit)
    assert isinstance(operation, Operation)
    assert operation.status == "queued"
    return operation


async def ended(service: Service, operation: Operation, caller: Caller = ANN) -> Operation:
    """Wait for what comes of a queued edit."""
    operation = await service.queue.read(caller, operation.id, 10)
    assert operation.status != "queued"
    return operation


async def outcome(service: Service, operation: Operation) -> str:
    """Give the outcome of a queued edit, or the code of what it is refused with."""
    end = await ended(service, operation)
    return end.answer.outcome if end.answer else end.refusal.code if end.refusal else "queued"


async def log_of(service: Service, document: DocumentKey = ORDER) -> Any:
    return (await service.read(ANN, document)).value["log"]


async def start(bench: Bench, value: object = None) -> Service:
    """Give a service with one document."""
    await put(bench.service, {"log": [], "a": 0, "b": 0} if value is None else value)
    return bench.service


async def test_edits_of_a_document_are_decided_in_the_order_they_were_accepted_in(bench: Bench) -> None:
    service = await start(bench)
    operations = [await queued(service, appending(n, base=1)) for n in range(100)]
    ends = [await ended(service, operation) for operation in operations]
    assert [end.answer and end.answer.revision for end in ends] == list(range(2, 102))
    assert await log_of(service) == list(range(100))
    assert not len(service.queue)


async def test_callers_in_each_others_way_are_all_served_in_order_and_nobody_tries_again(
    bench: Bench,
) -> None:
    """Fifty callers with stale bases, while others edit the document directly."""
    await start(bench, {"a": 0} | {str(caller): {} for caller in range(50)})
    service = await bench.reopen(ServiceLimits(recent_revisions_max=2_000, recent_bytes_max=2**24))
    accepted: list[Operation] = []

    async def call(caller: int) -> None:
        for n in range(20):
            edit = Edit(kind="merge_patch", content={str(caller): {str(n): n}}, base=1)
            accepted.append(await queued(service, edit))

    callers = [begin(call(caller)) for caller in range(50)]
    for n in range(20):
        await service.edit(BOB, ORDER, replacing("/a", n, merge="yours"))
    await asyncio.gather(*callers)
    ends = {end.id: end.answer for end in [await ended(service, operation) for operation in accepted]}
    attempts = [commit.operation.id for commit in bench.store.commits if commit.operation is not None]
    assert len(attempts) == len(set(attempts)) == len(ends) == 1_000
    revisions = [answer.revision for answer in map(ends.get, attempts) if answer is not None]
    assert len(revisions) == 1_000
    assert revisions == sorted(set(revisions))
    assert attempts == [operation.id for operation in accepted]
    value = (await service.read(ANN, ORDER)).value
    assert all(value[str(caller)] == {str(n): n for n in range(20)} for caller in range(50))


async def test_one_transaction_accepts_all_who_come_at_once(bench: Bench) -> None:
    service = await start(bench)
    bench.store.gate.clear()
    await asyncio.gather(*(queued(service, appending(n)) for n in range(100)))
    assert sum(bench.store.acceptances) == 100
    assert len(bench.store.acceptances) <= 2
    bench.store.gate.set()


async def test_a_document_with_much_to_do_holds_up_no_other(bench: Bench) -> None:
    service = await start(bench)
    quiet = DocumentKey("orders", "2")
    await put(service, {"log": []}, quiet)
    bench.store.gate.clear()
    busy = [await queued(service, appending(n)) for n in range(200)]
    last = await queued(service, appending(0), quiet)
    bench.store.gate.set()
    await ended(service, last)
    assert (await service.read(ANN, ORDER)).revision < 100
    await ended(service, busy[-1])


async def test_an_edit_without_a_base_applies_to_what_is_there_when_its_turn_comes(bench: Bench) -> None:
    service = await start(bench)
    bench.store.gate.clear()
    before = begin(service.edit(BOB, ORDER, replacing("/a", 7)))
    await turns()
    operation = await queued(service, Edit(kind="patch", content=[{"op": "test", "path": "/a", "value": 7}]))
    bench.store.gate.set()
    await before
    end = await ended(service, operation)
    assert end.answer is not None
    assert (end.answer.outcome, end.answer.revision) == ("noop", 2)


async def test_a_conflict_is_kept_and_can_be_settled(bench: Bench) -> None:
    service = await start(bench)
    await service.edit(BOB, ORDER, replacing("/a", 1))
    end = await ended(service, await queued(service, replacing("/a", 2, base=1)))
    assert end.refusal is not None
    assert end.refusal.code == "merge-conflict"
    [kept] = (await service.conflicts(ANN, ORDER, 10, None)).items
    assert kept.id == end.refusal.members["conflict"]
    choices = {part["id"]: "yours" for part in conflicts_of(end.refusal)}
    settled = await service.resolve(ANN, ORDER, kept.id, choices=choices)
    assert (settled.settled, (await service.read(ANN, ORDER)).value["a"]) == (kept.id, 2)


TEST = [{"op": "test", "path": "/a", "value": 5}, {"op": "replace", "path": "/a", "value": 1}]
DECIDED = [
    (replacing("/a", 2, base=1), "merge-conflict"),
    (replacing("/b", 2, base=1), "merged"),
    (replacing("/a", 1), "noop"),
    (replacing("/b", 2), "applied"),
    (replacing("/none", 2), "patch-inapplicable"),
    (replacing("/a", 2, base=9), "base-unknown"),
    (replacing("/a", 2, base=1, epoch="another"), "base-unknown"),
    (replacing("/a", 2, if_match=IfMatch(revisions=(1,))), "precondition-failed"),
    (replacing("/a", 2, resolves="no such conflict"), "invalid-value"),
    (Edit(kind="patch", content=TEST), "test-failed"),
    (Edit(kind="patch", content={"op": "add"}), "malformed-patch"),
    (Edit(kind="put", content={}), "precondition-required"),
    (Edit(kind="put", content={}, if_none_match=True), "precondition-failed"),
    (Edit(kind="put", content={"a": 10**40}, base=2), "applied"),
    (Edit(kind="merge_patch", content={"c": [0.1, -0.0, 1e300, "\u0000é"]}), "applied"),
    (Edit(kind="delete", base=2), "deleted"),
    (Edit(kind="delete", if_match=IfMatch(any=True)), "deleted"),
]


@pytest.mark.parametrize("key", [None, KEY], ids=["", "keyed"])
@pytest.mark.parametrize(("edit", "expected"), DECIDED)
async def test_what_comes_of_it_is_what_the_edit_would_have_been_answered_with(
    bench: Bench, edit: Edit, expected: str, key: IdempotencyKey | None
) -> None:
    """At once and after a restart; found out with a twin of the document that is edited directly."""
    service, twin = await start(bench), DocumentKey("orders", "2")
    edit = replace(edit, key=key)
    await put(service, {"log": [], "a": 0, "b": 0}, twin)
    for document in (ORDER, twin):
        await service.edit(BOB, document, replacing("/a", 1))
    direct = await said(service.edit(BOB, twin, edit))
    operation = await queued(service, edit)
    end = await ended(service, operation)
    assert await outcome(service, operation) == expected
    for _ in range(2):
        again = await ended(service, operation)
        assert essence(again.answer or again.refusal) == essence(direct)
        service = await bench.reopen()
    assert end.finished == again.finished


async def test_a_document_may_be_made_by_one_queued_edit_and_changed_by_the_next(bench: Bench) -> None:
    service = bench.service
    edits = (Edit(kind="put", content={"log": []}, if_none_match=True), appending(1), appending(2, base=1))
    operations = [await queued(service, edit) for edit in edits]
    assert [await outcome(service, each) for each in operations] == ["created", "applied", "merged"]


async def test_a_document_deleted_meanwhile_is_a_result(bench: Bench) -> None:
    service = await start(bench)
    bench.store.gate.clear()
    removal = begin(service.edit(BOB, ORDER, Edit(kind="delete", base=1)))
    await turns()
    operations = [await queued(service, appending(1)), await queued(service, appending(1, base=1))]
    never = await queued(service, appending(1), DocumentKey("orders", "never"))
    bench.store.gate.set()
    await removal
    ends = [await outcome(service, operation) for operation in (*operations, never)]
    assert ends == ["deleted", "merge-conflict", "not-found"]
    assert all([(await ended(service, each)).status == "refused" for each in (*operations, never)])


async def test_of_two_that_settle_one_conflict_the_second_is_refused(bench: Bench) -> None:
    service = await start(bench)
    await service.edit(BOB, ORDER, replacing("/a", 1))
    conflict = str((await refusal(service.edit(ANN, ORDER, replacing("/a", 2, base=1)))).members["conflict"])
    settling = [replacing(place, 2, base=2, resolves=conflict) for place in ("/a", "/b")]
    operations = [await queued(service, edit) for edit in (*settling, appending(1))]
    ends = [await outcome(service, operation) for operation in operations]
    assert ends == ["applied", "already-resolved", "applied"]


async def test_a_base_compacted_away_meanwhile_is_a_result(bench: Bench) -> None:
    """And what came of an edit whose revision is gone is told without its patch."""
    service = await start(bench)
    first = await queued(service, appending(0, base=1))
    for n in range(1, 40):
        await service.edit(BOB, ORDER, appending(n))
    await outcome(service, first)
    settings = CollectionSettings(retention=Retention(revisions=5))
    await service.put_collection(ANN, "orders", settings, IfMatch(revisions=(0,)))
    await service.compactor.sweep()
    late = await queued(service, appending(40, base=1))
    assert await outcome(service, late) == "base-unavailable"
    end = await ended(service, first)
    assert end.answer is not None
    assert (end.answer.outcome, end.answer.revision, end.answer.patch) == ("applied", 2, b"null")


async def test_a_lease_given_up_before_its_turn_is_a_result(bench: Bench) -> None:
    """Seen when it is decided, and only in the commit; what is behind goes on."""
    service = await start(bench)
    lease = await service.locks.acquire(ANN, ORDER, "/a")
    assert lease.hold is not None
    strangers = await queued(service, replacing("/a", 1), caller=BOB)
    assert await outcome(service, strangers) == "locked"
    assert await outcome(service, await queued(service, replacing("/a", 1, lock=lease.hold))) == "applied"
    bench.store.gate.clear()
    late = [await queued(service, replacing("/a", n, lock=lease.hold)) for n in (2, 3)]
    behind = await queued(service, appending(1))
    await turns()
    # As another process would: the one that decides does not know yet.
    await bench.store.drop_locks([(Address("acme", "orders", "1"), lease.hold)])
    never = await queued(service, replacing("/a", 4, lock=lease.hold))
    bench.store.gate.set()
    assert [await outcome(service, each) for each in (*late, never)] == ["stale-fence"] * 3
    assert await outcome(service, behind) == "applied"
    assert (await service.read(ANN, ORDER)).value["a"] == 1


async def test_what_passes_is_waited_for_and_nothing_overtakes(bench: Bench) -> None:
    service = await start(bench)
    bench.store.failures += [StoreUnavailable("The disk is full."), OutcomeUnknown("Nobody knows.")] * 3
    operations = [await queued(service, appending(n, base=1)) for n in range(40)]
    assert {await outcome(service, operation) for operation in operations} <= {"applied", "merged"}
    assert await log_of(service) == list(range(40))
    assert not bench.store.failures


async def test_what_was_written_though_nobody_could_say_so_is_not_done_again(bench: Bench) -> None:
    service = await start(bench)
    bench.store.losses += [OutcomeUnknown("Nobody knows."), StoreUnavailable("The disk is gone.")]
    keys = [IdempotencyKey(f"k{n}", "f") for n in range(20)]
    edits = [appending(n, base=1, key=keys[n] if n % 2 else None) for n in range(20)]
    operations = [await queued(service, edit) for edit in edits]
    assert {await outcome(service, operation) for operation in operations} <= {"applied", "merged"}
    assert await log_of(service) == list(range(20))
    assert not bench.store.losses


async def test_what_waits_when_the_server_ends_is_done_by_the_next(bench: Bench) -> None:
    service = await start(bench)
    there = DocumentKey("orders", "2")
    await put(service, {"log": []}, there)
    bench.store.gate.clear()
    operations = [await queued(service, appending(n, base=1)) for n in range(100)]
    elsewhere = [await queued(service, appending(n), there, BOB) for n in range(3)]
    closing_ = begin(service.close())
    await turns()
    bench.store.gate.set()
    await closing_
    service = await bench.open()
    assert len(service.queue) > 0
    assert {await outcome(service, operation) for operation in operations} <= {"applied", "merged"}
    assert (await ended(service, elsewhere[0], BOB)).status == "done"
    assert (await ended(service, elsewhere[-1], BOB)).status == "done"
    assert (await log_of(service), await log_of(service, there)) == (list(range(100)), [0, 1, 2])
    assert {each.author for each in (await service.revisions(ANN, there, 3, None)).items} == {"bob"}


async def test_whoever_does_not_wait_for_the_202_has_queued_it_all_the_same(bench: Bench) -> None:
    service = await start(bench)
    sent = begin(service.queue.submit(ANN, ORDER, appending(1, key=KEY)))
    await turns(1)
    sent.cancel()
    answer = await service.queue.submit(ANN, ORDER, appending(1, key=KEY), 10)
    assert isinstance(answer, Answer)
    assert await log_of(service) == [1]


async def test_a_key_is_one_operation_and_in_the_end_one_answer(bench: Bench) -> None:
    service = await start(bench)
    bench.store.gate.clear()
    sent = await asyncio.gather(*(queued(service, appending(1, key=KEY)) for _ in range(8)))
    sent.append(await queued(service, appending(1, key=KEY)))
    assert len({operation.id for operation in sent}) == 1
    assert (await refusal(service.edit(ANN, ORDER, appending(1, key=KEY)))).code == "idempotency-in-progress"
    for submit in (service.edit, service.queue.submit):
        assert (await refusal(submit(ANN, ORDER, appending(1, key=OTHER)))).code == "idempotency-key-reused"
    stranger = await queued(service, appending(2, key=KEY), caller=BOB)
    assert stranger.id != sent[0].id
    bench.store.gate.set()
    assert await outcome(service, sent[0]) == "applied"
    for _ in range(2):
        for submit in (service.edit, service.queue.submit):
            answer = await submit(ANN, ORDER, appending(1, key=KEY))
            assert isinstance(answer, Answer)
            assert (answer.revision, answer.replayed) == (2, True)
            error = await refusal(submit(ANN, ORDER, appending(1, key=OTHER)))
            assert error.code == "idempotency-key-reused"
        service = await bench.reopen()
    await outcome(service, stranger)
    assert await log_of(service) == [1, 2]


async def test_a_waiting_key_is_known_after_a_restart(bench: Bench) -> None:
    service = await start(bench)
    bench.store.gate.clear()
    first = await queued(service, appending(0))
    operations = [await queued(service, appending(n, key=IdempotencyKey(f"k{n}", "f"))) for n in range(40)]
    closing_ = begin(service.close())
    await turns()
    bench.store.gate.set()
    await closing_
    service = await bench.open()
    last = appending(39, key=IdempotencyKey("k39", "f"))
    assert (await refusal(service.edit(ANN, ORDER, last))).code == "idempotency-in-progress"
    again = await service.queue.submit(ANN, ORDER, last)
    assert isinstance(again, Operation)
    assert again == operations[-1]
    await ended(service, again)
    assert await outcome(service, first) == "applied"
    assert (await service.edit(ANN, ORDER, last)).replayed


async def test_a_key_first_used_directly_is_answered_not_queued(bench: Bench) -> None:
    """Known in memory, and only in the store."""
    service = await start(bench)
    direct = await service.edit(ANN, ORDER, appending(1, key=KEY))
    for _ in range(2):
        answer = await service.queue.submit(ANN, ORDER, appending(1, key=KEY))
        assert isinstance(answer, Answer)
        assert (answer.revision, answer.replayed) == (direct.revision, True)
        error = await refusal(service.queue.submit(ANN, ORDER, appending(1, key=OTHER)))
        assert error.code == "idempotency-key-reused"
        service = await bench.reopen()
    assert await log_of(service) == [1]
    assert not len(service.queue)


async def test_a_key_in_use_by_a_direct_edit_is_in_progress(bench: Bench) -> None:
    service = await start(bench)
    bench.store.gate.clear()
    direct = begin(service.edit(ANN, ORDER, appending(1, key=KEY)))
    await turns()
    error = await refusal(service.queue.submit(ANN, ORDER, appending(1, key=KEY)))
    assert error.code == "idempotency-in-progress"
    bench.store.gate.set()
    assert (await direct).outcome == "applied"


async def test_a_refusal_no_key_remembers_stays_the_result_of_its_operation(bench: Bench) -> None:
    edit = appending(1, key=KEY)
    operation = await queued(bench.service, edit)
    assert await outcome(bench.service, operation) == "not-found"
    service = await start(bench)
    for _ in range(2):
        again = await refusal(service.queue.submit(ANN, ORDER, edit))
        assert (again.code, again.replayed) == ("not-found", True)
        error = await refusal(service.queue.submit(ANN, ORDER, appending(1, key=OTHER)))
        assert error.code == "idempotency-key-reused"
        service = await bench.reopen()
    assert (await service.edit(ANN, ORDER, edit)).outcome == "applied"


async def test_what_came_of_it_is_kept_for_its_time_and_then_the_key_is_free(bench: Bench) -> None:
    service = await start(bench)
    first = await queued(service, appending(1, key=KEY))
    assert await outcome(service, first) == "applied"
    bench.let_pass(ServiceLimits().operation_ttl_s + 1)
    assert (await refusal(service.queue.read(ANN, first.id))).code == "not-found"
    again = await queued(service, appending(1, key=KEY))
    assert await outcome(service, again) == "applied"
    assert (again.id, again.accepted) == (first.id, first.accepted + 86_401_000)
    assert await log_of(service) == [1, 1]


async def test_an_operation_is_its_tenants(bench: Bench) -> None:
    service = await start(bench)
    operation = await queued(service, appending(1))
    assert (await ended(service, operation, BOB)).status == "done"
    stranger = Caller("another tenant", "ann-token", "ann")
    assert (await refusal(service.queue.read(stranger, operation.id))).code == "not-found"


async def test_who_waits_gets_the_ordinary_answer_and_who_waits_too_short_the_operation(bench: Bench) -> None:
    service = await start(bench)
    answer = await service.queue.submit(ANN, ORDER, appending(1), 10)
    assert isinstance(answer, Answer)
    assert (answer.outcome, answer.revision, answer.replayed) == ("applied", 2, False)
    error = await refusal(service.queue.submit(ANN, ORDER, replacing("/none", 1), 10))
    assert (error.code, error.replayed) == ("patch-inapplicable", False)
    bench.store.gate.clear()
    late = await service.queue.submit(ANN, ORDER, appending(2), 0.01)
    assert isinstance(late, Operation)
    assert (await service.queue.read(ANN, late.id, 0.01)).status == "queued"
    bench.store.gate.set()


async def test_a_server_that_ends_keeps_nobody_waiting(bench: Bench) -> None:
    service = await start(bench)
    bench.store.gate.clear()
    waiting = begin(service.queue.submit(ANN, ORDER, appending(1), 30))
    await turns()
    closing_ = begin(service.close())
    operation = await waiting
    assert isinstance(operation, Operation)
    error = await refusal(service.queue.submit(ANN, ORDER, appending(2)))
    assert isinstance(error, Overloaded)
    bench.store.gate.set()
    await closing_
    service = await bench.open()
    assert await outcome(service, operation) == "applied"
    assert await log_of(service) == [1]


@pytest.mark.parametrize(
    ("limits", "document", "code"),
    [
        (ServiceLimits(queue_document_edits_max=3), "1", "hot-document"),
        (ServiceLimits(queue_tenant_edits_max=3), "2", "overloaded"),
        (ServiceLimits(queue_edits_max=3), "2", "overloaded"),
        (ServiceLimits(queue_bytes_max=3 * len(encode_edit(appending(0)))), "2", "overloaded"),
    ],
)
async def test_a_full_queue_takes_no_more_and_keeps_nothing_of_it(
    bench: Bench, limits: ServiceLimits, document: str, code: str
) -> None:
    service = await start(bench)
    service = await bench.reopen(limits)
    bench.store.gate.clear()
    operations = [await queued(service, appending(n)) for n in range(3)]
    for key in (None, KEY):
        edit = appending(9, key=key)
        error = await refusal(service.queue.submit(ANN, DocumentKey("orders", document), edit))
        assert (error.code, error.retry) == (code, True)
    assert sum(bench.store.acceptances) == 3
    bench.store.gate.set()
    for operation in operations:
        assert await outcome(service, operation) == "applied"
    assert await outcome(service, await queued(service, appending(9, key=KEY))) == "applied"


async def test_what_could_not_be_stored_is_not_queued_and_may_be_sent_again(bench: Bench) -> None:
    service = await start(bench)
    for error in (StoreUnavailable("The disk is full."), OutcomeUnknown("Nobody knows.")):
        bench.store.acceptance_failures.append(error)
        told = await refusal(service.queue.submit(ANN, ORDER, appending(1, key=KEY)))
        assert (told.code, told is error) == (error.code, False)
        assert not len(service.queue)
    assert await outcome(service, await queued(service, appending(1, key=KEY))) == "applied"
    assert await log_of(service) == [1]


async def test_what_was_stored_though_nobody_could_say_so_has_its_turn_once(bench: Bench) -> None:
    """As soon as the next one is queued, in the order they came; also where that is the same one again."""
    service = await start(bench)
    for n in range(3):
        bench.store.acceptance_losses.append(OutcomeUnknown("Nobody knows."))
        edit = appending(n, key=IdempotencyKey(f"k{n}", "f"))
        assert (await refusal(service.queue.submit(ANN, ORDER, edit))).code == "outcome-unknown"
    assert await decided_later(service, edit) == "applied"
    assert await decided_later(service, appending(3)) == "applied"
    assert await log_of(service) == [0, 1, 2, 3]


async def test_an_edit_that_cannot_be_read_any_more_is_refused_and_in_nobodys_way(bench: Bench) -> None:
    service = await start(bench)
    bench.store.gate.clear()
    operations = [await queued(service, appending(n)) for n in range(35)]
    closing_ = begin(service.close())
    await turns()
    bench.store.gate.set()
    await closing_
    with closing(sqlite3.connect(bench.path)) as database:
        broken = b'{"kind":"dance"}', operations[33].id
        database.execute("UPDATE operations SET body = ? WHERE id = ?", broken)
        database.commit()
    service = await bench.open()
    assert await outcome(service, operations[33]) == "invalid-value"
    assert await outcome(service, operations[34]) == "applied"


class Cursed(TroubledStore):
    """A store that fails, as no store should, where an earlier revision is asked for."""

    async def load(self, address: Address, revision: int | None = None) -> StoredDocument | None:
        if revision is not None:
            raise ZeroDivisionError
        return await self._store.load(address, revision)


async def test_an_edit_the_server_fails_at_is_refused_and_in_nobodys_way(tmp_path: Path) -> None:
    """It would fail at it again and again."""
    store = Cursed(await SqliteStore.open(tmp_path / "plait.db"))
    service = await Service.open(store, limits=ServiceLimits(recent_revisions_max=2))
    await put(service, {"log": []})
    for n in range(5):
        await service.edit(ANN, ORDER, appending(n))
    operations = [await queued(service, edit) for edit in (appending(5, base=1), appending(6))]
    assert [await outcome(service, operation) for operation in operations] == ["internal", "applied"]
    await service.close()


class Unreadable(TroubledStore):
    """A store that cannot say what is queued."""

    async def waiting_operations(self, **_: int) -> list[OperationRecord]:
        raise StoreUnavailable("The disk cannot be read or written.")


async def test_a_service_that_cannot_know_what_is_queued_does_not_open(tmp_path: Path) -> None:
    store = Unreadable(await SqliteStore.open(tmp_path / "plait.db"))
    with pytest.raises(StoreRefused, match=r"queued edits cannot be read: The disk"):
        await Service.open(store)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=10,
)
EDITS = st.builds(
    Edit,
    kind=st.sampled_from(["create", "put", "patch", "merge_patch", "delete"]),
    content=JSON_VALUES,
    base=st.none() | st.integers(1, 10**18),
    epoch=st.none() | st.text("abc"),
    if_match=st.none() | st.builds(IfMatch, st.lists(st.integers(1, 9)).map(tuple), st.booleans()),
    if_none_match=st.booleans(),
    merge=st.sampled_from(["auto", "strict", "theirs", "yours"]),
    extended=st.booleans(),
    message=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    resolves=st.none() | st.text("abc"),
    key=st.none() | st.builds(IdempotencyKey, st.text("kl"), st.text("fg")),
    trace=st.none() | st.text("abc"),
    weight_bytes=st.integers(0, 10**6),
)


@given(EDITS)
def test_an_edit_is_read_as_it_was_kept(edit: Edit) -> None:
    """To the last digit, and a number that is no integer stays one."""
    read = read_edit(encode_edit(edit))
    assert read == edit
    assert repr(read) == repr(edit)


async def decided_later(service: Service, edit: Edit) -> str:
    """Queue an edit, and give what comes of it."""
    return await decided(_answer(service.queue.submit(ANN, ORDER, edit, 10)))


async def _answer(submitted: Any) -> Answer:
    answer = await submitted
    assert isinstance(answer, Answer)
    return answer


async def said(awaitable: Any) -> Answer | PlaitServerError:
    try:
        answer: Answer = await awaitable
    except PlaitServerError as error:
        return error
    return answer


def essence(said: Answer | PlaitServerError | None) -> tuple[object, ...]:
    """What has to be the same for both twins."""
    if isinstance(said, Answer):
        return (said.outcome, said.revision, said.base, said.patch)
    assert said is not None
    members = as_json({k: v for k, v in said.members.items() if k not in ("missed", "conflict")})
    return (said.code, said.detail, members)
