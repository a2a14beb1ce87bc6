"""Leases: granted to one, obeyed by all, over in time."""

import asyncio
from typing import Any

import pytest

from plait_server.errors import StoreUnavailable
from plait_server.service import Caller, DocumentKey, Edit, Hold, IdempotencyKey, IfMatch, ServiceLimits
from plait_server.service.locks import LockView
from plait_server.store import Address
from server.service.bench import (
    ANN,
    BOB,
    ORDER,
    Bench,
    Clock,
    begin,
    conflicts_of,
    decided,
    put,
    refusal,
    replacing,
    turns,
)

VALUE: Any = {"lines": [{"n": 0}, {"n": 1}, {"n": 2}], "title": "A"}
FIRST = Edit(kind="patch", content=[{"op": "add", "path": "/lines/0", "value": {"n": 9}}])
ADDRESS = Address("acme", "orders", "1")
HOUR_S = 3_600.0


@pytest.fixture
async def steady(bench: Bench) -> Clock:
    """Time as a service measures it, which passes only when told to; an order is there."""
    steady = Clock()
    await bench.reopen(monotonic=steady)
    await put(bench.service, VALUE)
    return steady


async def acquire(bench: Bench, pointer: str = "/lines/1", caller: Caller = ANN, **rest: Any) -> LockView:
    return await bench.service.locks.acquire(caller, ORDER, pointer, **rest)


def hold(view: LockView) -> Hold:
    assert view.hold is not None
    return view.hold


async def pointers(bench: Bench, caller: Caller = BOB) -> list[str]:
    return [view.pointer for view in await bench.service.locks.standing(caller, ORDER)]


async def write(bench: Bench, caller: Caller, pointer: str, value: Any, **rest: Any) -> str:
    return await decided(bench.service.edit(caller, ORDER, replacing(pointer, value, **rest)))


@pytest.mark.usefixtures("steady")
async def test_others_edit_everything_but_what_is_leased(bench: Bench) -> None:
    granted = hold(await acquire(bench))
    assert await write(bench, BOB, "/lines/1/n", 5) == "locked"
    assert await write(bench, BOB, "/lines/2/n", 5) == "applied"
    assert await write(bench, BOB, "/title", "B") == "applied"
    assert await write(bench, ANN, "/lines/1/n", 6, lock=granted) == "applied"
    assert await write(bench, ANN, "/lines/0/n", 6, lock=granted) == "applied"
    assert await write(bench, ANN, "/lines/1/n", 7) == "locked"
    assert (await bench.service.read(BOB, ORDER)).value["lines"] == [{"n": 6}, {"n": 6}, {"n": 5}]


@pytest.mark.usefixtures("steady")
async def test_who_is_refused_hears_whose_it_is_and_for_how_long(bench: Bench) -> None:
    granted = await acquire(bench, ttl_s=20)
    error = await refusal(bench.service.edit(BOB, ORDER, replacing("/lines/1/n", 5)))
    assert error.retry
    assert error.members == {
        "holder": "ann",
        "pointer": "/lines/1",
        "expires": "2027-01-15T08:00:20.000Z",
        "retry_after_s": 20,
    }
    assert hold(granted).lock not in str((error.detail, error.members))


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize(
    "edit",
    [
        Edit(kind="put", content={**VALUE, "lines": []}, base=1),
        Edit(kind="put", content={**VALUE, "lines": []}, if_match=IfMatch((1,))),
        Edit(kind="put", content=5, base=1),
        Edit(kind="merge_patch", content={"lines": None}),
        Edit(kind="delete", base=1),
        Edit(kind="delete", if_match=IfMatch(any=True)),
        Edit(kind="patch", content=[{"op": "remove", "path": "/lines/1"}]),
        Edit(kind="patch", content=[{"op": "inc", "path": "/lines/1/n", "value": 1}], extended=True),
        Edit(kind="patch", content=[{"op": "move", "from": "/lines/1/n", "path": "/n"}]),
        replacing("/lines", []),
        replacing("/lines/1/n", 5, dry_run=True),
        replacing("/lines/1/n", 5, merge="yours"),
    ],
)
async def test_every_way_of_writing_under_it_is_refused(bench: Bench, edit: Edit) -> None:
    await acquire(bench)
    assert await decided(bench.service.edit(BOB, ORDER, edit)) == "locked"
    assert (await bench.service.read(BOB, ORDER)).revision == 1


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize(
    "edit",
    [
        Edit(kind="put", content={**VALUE, "title": "B"}, base=1),
        Edit(kind="merge_patch", content={"title": "B"}),
        Edit(kind="patch", content=[{"op": "remove", "path": "/lines/0"}]),
        Edit(kind="patch", content=[{"op": "copy", "from": "/lines/1", "path": "/copy"}]),
        Edit(kind="patch", content=[{"op": "move", "from": "/lines/1", "path": "/lines/0"}]),
        Edit(kind="patch", content=[{"op": "move", "from": "/lines", "path": "/rows"}]),
        Edit(kind="patch", content=[{"op": "test", "path": "/lines/1/n", "value": 1}]),
        replacing("/lines/1/n", 1),
        FIRST,
    ],
)
async def test_what_leaves_it_as_it_is_goes_on(bench: Bench, edit: Edit) -> None:
    await acquire(bench)
    assert await decided(bench.service.edit(BOB, ORDER, edit)) in ("applied", "noop")


@pytest.mark.usefixtures("steady")
async def test_it_moves_with_what_it_is_on(bench: Bench) -> None:
    granted = hold(await acquire(bench))
    await bench.service.edit(BOB, ORDER, FIRST)
    assert await pointers(bench) == ["/lines/2"]
    move = [{"op": "move", "from": "/lines/2", "path": "/first"}]
    await bench.service.edit(BOB, ORDER, Edit(kind="patch", content=move))
    assert await pointers(bench) == ["/first"]
    assert await write(bench, BOB, "/first/n", 5) == "locked"
    assert await write(bench, BOB, "/lines/1/n", 5) == "applied"
    assert await write(bench, ANN, "/first/n", 5, lock=granted) == "applied"


@pytest.mark.usefixtures("steady")
async def test_an_edit_that_comes_late_is_judged_by_where_it_ends_up(bench: Bench) -> None:
    """Its pointers are those of its base; what counts is what is committed."""
    await acquire(bench)
    await bench.service.edit(BOB, ORDER, FIRST)
    assert await write(bench, BOB, "/lines/1/n", 5, base=1) == "locked"
    assert await write(bench, BOB, "/lines/2/n", 5, base=1) == "merged"


@pytest.mark.usefixtures("steady")
async def test_a_conflict_under_a_lease_is_not_opened(bench: Bench) -> None:
    """It could not be settled as long as the lease stands, and later it may be none."""
    granted = hold(await acquire(bench))
    assert await write(bench, ANN, "/lines/1/n", 5, lock=granted) == "applied"
    assert await write(bench, BOB, "/lines/1/n", 6, base=1) == "locked"
    assert await write(bench, BOB, "/title", "B") == "applied"
    assert await write(bench, ANN, "/title", "C", base=1) == "merge-conflict"
    assert (await bench.service.conflicts(BOB, ORDER, 9, None)).items[0].author == "ann"


@pytest.mark.usefixtures("steady")
async def test_a_conflict_about_where_something_stands_is_one(bench: Bench) -> None:
    """To move what is leased is not to write, also where two do it."""
    await acquire(bench)
    move = {"op": "move", "from": "/lines/1", "path": "/lines/0"}
    assert await decided(bench.service.edit(BOB, ORDER, Edit(kind="patch", content=[move]))) == "applied"
    other = [{**move, "path": "/lines/2"}]
    assert await decided(bench.service.edit(BOB, ORDER, Edit(kind="patch", content=other, base=1))) == (
        "merge-conflict"
    )


@pytest.mark.usefixtures("steady")
async def test_a_resolution_obeys_leases_and_may_name_one(bench: Bench) -> None:
    await write(bench, BOB, "/lines/1/n", 5)
    error = await refusal(bench.service.edit(ANN, ORDER, replacing("/lines/1/n", 6, base=1)))
    conflict, (part,) = str(error.members["conflict"]), conflicts_of(error)
    granted = hold(await acquire(bench))
    choices = {part["id"]: "yours"}
    resolve = bench.service.resolve
    assert await decided(resolve(BOB, ORDER, conflict, choices=choices)) == "locked"
    assert await decided(resolve(ANN, ORDER, conflict, choices=choices, lock=granted)) == "applied"


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("pointer", ["/lines/1", "/lines/1/n", "/lines", ""])
async def test_leases_never_overlap_not_even_ones_own(bench: Bench, pointer: str) -> None:
    await acquire(bench)
    for caller in (ANN, BOB):
        assert (await refusal(acquire(bench, pointer, caller))).code == "locked"
    assert (await acquire(bench, "/lines/2", BOB)).pointer == "/lines/2"


@pytest.mark.usefixtures("steady")
async def test_of_those_who_ask_at_once_exactly_one_gets_it(bench: Bench) -> None:
    asked = [begin(acquire(bench, pointer, BOB)) for pointer in ("/lines/1", "", "/lines/1/n") * 4]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [getattr(each, "code", None) for each in answers].count("locked") == len(asked) - 1
    assert len(await pointers(bench)) == 1


async def test_it_is_over_in_time_and_the_next_one_has_a_higher_fence(bench: Bench, steady: Clock) -> None:
    first = hold(await acquire(bench, ttl_s=10))
    steady.now += 9.9
    assert await write(bench, BOB, "/lines/1/n", 5) == "locked"
    steady.now += 0.1
    assert await pointers(bench) == []
    assert await write(bench, BOB, "/lines/1/n", 5) == "applied"
    assert await write(bench, ANN, "/lines/1/n", 6, lock=first) == "stale-fence"
    second = hold(await acquire(bench, caller=BOB))
    assert second.fence > first.fence
    assert await write(bench, ANN, "/lines/1/n", 6, lock=first) == "stale-fence"
    assert await write(bench, ANN, "/title", "B", lock=first) == "stale-fence"
    assert await write(bench, BOB, "/lines/1/n", 7, lock=second) == "applied"


async def test_a_renewed_lease_lasts_from_then_on(bench: Bench, steady: Clock) -> None:
    granted = hold(await acquire(bench, ttl_s=10))
    steady.now += 9
    bench.clock.now += 9
    renewed = await bench.service.locks.renew(ANN, ORDER, granted)
    assert (renewed.hold, renewed.ttl_s) == (granted, 10)
    assert renewed.expires == (bench.clock.now + 10) * 1000
    steady.now += 9
    assert await write(bench, BOB, "/lines/1/n", 5) == "locked"
    assert (await bench.service.locks.renew(ANN, ORDER, granted, 100)).ttl_s == 100
    steady.now += 99
    assert await write(bench, BOB, "/lines/1/n", 5) == "locked"
    steady.now += 1
    assert (await refusal(bench.service.locks.renew(ANN, ORDER, granted))).code == "stale-fence"


@pytest.mark.usefixtures("steady")
async def test_what_is_given_up_is_free(bench: Bench) -> None:
    granted = hold(await acquire(bench))
    await bench.service.locks.release(ANN, ORDER, granted)
    assert await write(bench, BOB, "/lines/1/n", 5) == "applied"
    assert (await refusal(bench.service.locks.release(ANN, ORDER, granted))).code == "stale-fence"
    assert await bench.store.locks() == []
    await acquire(bench, caller=BOB)


@pytest.mark.usefixtures("steady")
async def test_only_who_holds_it_may_use_it(bench: Bench) -> None:
    granted = hold(await acquire(bench))
    locks = bench.service.locks
    for wrong in (Hold(granted.lock, granted.fence + 1), Hold("x", granted.fence)):
        assert await write(bench, ANN, "/lines/1/n", 5, lock=wrong) == "stale-fence"
        assert (await refusal(locks.renew(ANN, ORDER, wrong))).code == "stale-fence"
    assert await write(bench, BOB, "/lines/1/n", 5, lock=granted) == "stale-fence"
    assert (await refusal(locks.renew(BOB, ORDER, granted))).code == "stale-fence"
    assert (await refusal(locks.release(BOB, ORDER, granted))).code == "stale-fence"
    assert (await refusal(locks.read(BOB, ORDER, granted.lock))).code == "not-found"
    assert [view.hold for view in await locks.standing(BOB, ORDER)] == [None]
    assert (await locks.read(ANN, ORDER, granted.lock)).hold == granted


@pytest.mark.usefixtures("steady")
async def test_it_ends_when_its_holder_removes_what_it_is_on(bench: Bench) -> None:
    granted = hold(await acquire(bench))
    remove = Edit(kind="patch", content=[{"op": "remove", "path": "/lines/1"}], lock=granted)
    assert await decided(bench.service.edit(ANN, ORDER, remove)) == "applied"
    assert await pointers(bench) == []
    assert await write(bench, ANN, "/title", "B", lock=granted) == "stale-fence"
    assert await write(bench, BOB, "/lines/1/n", 5) == "applied"
    await bench.service.locks.tidy()
    assert await bench.store.locks() == []


@pytest.mark.usefixtures("steady")
async def test_who_holds_the_whole_document_may_delete_it(bench: Bench) -> None:
    granted = hold(await acquire(bench, ""))
    assert await write(bench, BOB, "/title", "B") == "locked"
    assert (
        await decided(bench.service.edit(ANN, ORDER, Edit(kind="delete", base=1, lock=granted))) == "deleted"
    )
    assert await pointers(bench) == []
    await bench.service.edit(BOB, ORDER, Edit(kind="put", content=VALUE, if_none_match=True))
    assert await write(bench, BOB, "/title", "B") == "applied"


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize(
    ("pointer", "code"),
    [
        ("/lines/3", "not-found"),
        ("/lines/-", "not-found"),
        ("/lines/01", "not-found"),
        ("/title/0", "not-found"),
        ("/nothing", "not-found"),
        ("lines", "invalid-value"),
        ("/~2", "invalid-value"),
        ("/\ud800", "not-found"),
        ("/" + "a" * 5_000, "too-large"),
    ],
)
async def test_a_lease_is_on_something_that_is_there(bench: Bench, pointer: str, code: str) -> None:
    assert (await refusal(acquire(bench, pointer))).code == code


@pytest.mark.usefixtures("steady")
async def test_there_is_no_lease_on_a_document_that_is_not_there(bench: Bench) -> None:
    other = DocumentKey("orders", "2")
    locks = bench.service.locks
    assert (await refusal(locks.acquire(ANN, other, ""))).code == "not-found"
    assert (await refusal(locks.standing(ANN, other))).code == "not-found"
    assert (await refusal(locks.renew(ANN, other, Hold("l", 1)))).code == "not-found"
    assert (await refusal(locks.release(ANN, other, Hold("l", 1)))).code == "not-found"
    await bench.service.edit(ANN, ORDER, Edit(kind="delete", base=1))
    assert (await refusal(acquire(bench, ""))).code == "deleted"
    assert (await refusal(locks.acquire(Caller("other", "ann-token", "ann"), ORDER, ""))).code == "not-found"


async def test_leases_are_bounded(bench: Bench) -> None:
    steady = Clock()
    limits = ServiceLimits(document_locks_max=2, caller_locks_max=3, locks_max=4, lock_ttl_max_s=60)
    await bench.reopen(limits, steady)
    names = [DocumentKey("orders", str(number)) for number in range(4)]
    for name in names:
        await put(bench.service, dict.fromkeys("abcde", 0), name)
    locks = bench.service.locks
    assert (await refusal(locks.acquire(ANN, names[0], "/a", 60.001))).members["limit"] == "lock_ttl_s"
    await locks.acquire(ANN, names[0], "/a")
    await locks.acquire(BOB, names[0], "/b")
    assert (await refusal(locks.acquire(ANN, names[0], "/c"))).members["limit"] == "document_locks"
    await locks.acquire(ANN, names[1], "/a")
    third = hold(await locks.acquire(ANN, names[1], "/b"))
    assert (await refusal(locks.acquire(ANN, names[2], "/a"))).members["limit"] == "caller_locks"
    assert (await refusal(locks.acquire(BOB, names[2], "/a"))).code == "overloaded"
    await locks.release(ANN, names[1], third)
    await locks.acquire(ANN, names[2], "/a")
    steady.now += 60
    await locks.tidy()
    assert (len(locks), await bench.store.locks()) == (0, [])
    for pointer in ("/a", "/b"):
        await locks.acquire(ANN, names[0], pointer)


# What waits for the disk.


@pytest.mark.usefixtures("steady")
async def test_a_lease_is_granted_on_what_is_durable(bench: Bench) -> None:
    """Edits decided before come before it in order; it is where they left what it is on."""
    bench.store.gate.clear()
    before = [begin(bench.service.edit(BOB, ORDER, FIRST)), begin(write(bench, BOB, "/lines/2/n", 5))]
    await turns()
    asked = begin(acquire(bench, "/lines/2"))
    await turns()
    after = begin(write(bench, BOB, "/lines/2/n", 6))
    await turns()
    assert not asked.done()
    assert not after.done()
    bench.store.gate.set()
    granted = await asked
    assert [granted.pointer, granted.revision] == ["/lines/2", 3]
    assert await after == "locked"
    await asyncio.gather(*before)
    assert (await bench.service.read(BOB, ORDER)).value["lines"][2] == {"n": 5}


@pytest.mark.usefixtures("steady")
async def test_what_was_decided_before_and_failed_never_was(bench: Bench) -> None:
    bench.store.gate.clear()
    bench.store.failures.append(StoreUnavailable("The disk is full."))
    failing = begin(decided(bench.service.edit(BOB, ORDER, FIRST)))
    await turns()
    asked = begin(acquire(bench, "/lines/3"))
    await turns()
    bench.store.gate.set()
    assert (await refusal(asked)).code == "not-found"
    assert await failing == "store-unavailable"


@pytest.mark.usefixtures("steady")
async def test_a_lease_goes_back_with_a_revision_that_fails(bench: Bench) -> None:
    await acquire(bench)
    bench.store.gate.clear()
    bench.store.failures.append(StoreUnavailable("The disk is full."))
    failing = begin(decided(bench.service.edit(BOB, ORDER, FIRST)))
    await turns()
    assert await pointers(bench) == ["/lines/1"]
    speculative = begin(write(bench, BOB, "/lines/2/n", 5))
    await turns()
    bench.store.gate.set()
    assert await failing == "store-unavailable"
    assert await speculative == "applied"
    assert await pointers(bench) == ["/lines/1"]
    assert await write(bench, BOB, "/lines/1/n", 5) == "locked"


@pytest.mark.usefixtures("steady")
async def test_a_lease_that_ended_in_what_failed_stands(bench: Bench) -> None:
    granted = hold(await acquire(bench))
    bench.store.gate.clear()
    bench.store.failures.append(StoreUnavailable("The disk is full."))
    remove = Edit(kind="patch", content=[{"op": "remove", "path": "/lines/1"}], lock=granted)
    failing = begin(decided(bench.service.edit(ANN, ORDER, remove)))
    await turns()
    await bench.service.locks.tidy()
    bench.store.gate.set()
    assert await failing == "store-unavailable"
    assert await write(bench, BOB, "/lines/1/n", 5) == "locked"
    assert await write(bench, ANN, "/lines/1/n", 5, lock=granted) == "applied"


@pytest.mark.usefixtures("steady")
async def test_a_stale_fence_is_refused_in_the_commit(bench: Bench) -> None:
    """The lease is gone from the store while the edit is on its way there: another process took it."""
    granted = hold(await acquire(bench))
    bench.store.gate.clear()
    edit = begin(write(bench, ANN, "/lines/1/n", 5, lock=granted))
    other = begin(write(bench, BOB, "/title", "B"))
    await turns()
    await bench.store.drop_locks([(ADDRESS, granted)])
    bench.store.gate.set()
    assert await edit == "stale-fence"
    assert await other == "applied"
    assert (await bench.service.read(BOB, ORDER)).value == {**VALUE, "title": "B"}
    assert await pointers(bench) == []


async def test_a_lease_may_end_while_its_edit_is_on_the_way(bench: Bench, steady: Clock) -> None:
    """What was decided in time is written, and whoever takes the lease over comes after it."""
    granted = hold(await acquire(bench, ttl_s=10))
    bench.store.gate.clear()
    edit = begin(write(bench, ANN, "/lines/1/n", 5, lock=granted))
    await turns()
    steady.now += 10
    taking = begin(acquire(bench, caller=BOB))
    await turns()
    assert not taking.done()
    bench.store.gate.set()
    assert await edit == "applied"
    assert (await taking).revision == 2
    assert await write(bench, ANN, "/lines/1/n", 6, lock=granted) == "stale-fence"


async def test_a_lease_may_end_while_its_edit_waits_for_its_turn(bench: Bench, steady: Clock) -> None:
    granted = hold(await acquire(bench, ttl_s=10))
    bench.store.gate.clear()
    first = begin(write(bench, BOB, "/title", "B"))
    await turns()
    asked = begin(acquire(bench, "/title", BOB))
    await turns()
    late = begin(write(bench, ANN, "/lines/1/n", 5, lock=granted))
    await turns()
    steady.now += 10
    bench.store.gate.set()
    assert await late == "stale-fence"
    assert await first == "applied"
    await asked


# Keys.


@pytest.mark.usefixtures("steady")
async def test_a_key_is_free_again_when_the_lease_is_over(bench: Bench) -> None:
    granted = hold(await acquire(bench))
    key = IdempotencyKey("k", "f")
    assert await write(bench, BOB, "/lines/1/n", 5, key=key) == "locked"
    await bench.service.locks.release(ANN, ORDER, granted)
    assert await write(bench, BOB, "/lines/1/n", 5, key=key) == "applied"
    assert (await bench.service.edit(BOB, ORDER, replacing("/lines/1/n", 5, key=key))).replayed


@pytest.mark.usefixtures("steady")
async def test_what_was_written_under_a_lease_is_written_once(bench: Bench) -> None:
    """The same request again after the lease, also after a restart: the same answer."""
    granted = hold(await acquire(bench))
    more = Edit(
        kind="patch",
        content=[{"op": "inc", "path": "/lines/1/n", "value": 1}],
        extended=True,
        lock=granted,
        key=IdempotencyKey("k", "f"),
    )
    assert await decided(bench.service.edit(ANN, ORDER, more)) == "applied"
    await bench.service.locks.release(ANN, ORDER, granted)
    for caller in (ANN, BOB):
        await bench.reopen()
        if caller is BOB:
            await acquire(bench, caller=BOB)
        again = await bench.service.edit(ANN, ORDER, more)
        assert (again.replayed, again.revision) == (True, 2)
    assert (await bench.service.read(ANN, ORDER)).value["lines"][1] == {"n": 2}


@pytest.mark.usefixtures("steady")
async def test_a_request_for_a_lease_may_be_sent_again(bench: Bench) -> None:
    key = IdempotencyKey("k", "f")
    first = await acquire(bench, key=key)
    await bench.service.edit(BOB, ORDER, FIRST)
    again = await acquire(bench, key=key)
    assert (again.hold, again.pointer, again.replayed) == (first.hold, "/lines/2", True)
    move = [{"op": "move", "from": "/lines", "path": "/rows"}]
    await bench.service.edit(BOB, ORDER, Edit(kind="patch", content=move))
    assert (await acquire(bench, key=key)).pointer == "/rows/2"
    for other, caller in ((IdempotencyKey("k", "g"), ANN), (key, BOB)):
        assert (await refusal(acquire(bench, "/rows/2", caller, key=other))).code == "locked"


# Restarts and clocks.


@pytest.mark.usefixtures("steady")
async def test_it_outlives_a_restart_and_is_where_it_was(bench: Bench) -> None:
    granted = hold(await acquire(bench))
    for _ in range(3):
        await bench.service.edit(BOB, ORDER, FIRST)
    await bench.reopen()
    assert await write(bench, BOB, "/lines/4/n", 5) == "locked"
    assert await write(bench, BOB, "/lines/1/n", 5) == "applied"
    assert await pointers(bench) == ["/lines/4"]
    assert await write(bench, ANN, "/lines/4/n", 5, lock=granted) == "applied"
    renewed = await bench.service.locks.renew(ANN, ORDER, granted)
    assert (renewed.pointer, renewed.revision) == ("/lines/4", 6)
    assert [(lock.pointer, lock.revision) for lock in await bench.store.locks()] == [("/lines/4", 6)]


@pytest.mark.usefixtures("steady")
async def test_one_that_ended_before_a_restart_stays_ended(bench: Bench) -> None:
    granted = hold(await acquire(bench))
    remove = Edit(kind="patch", content=[{"op": "remove", "path": "/lines/1"}], lock=granted)
    await bench.service.edit(ANN, ORDER, remove)
    await bench.reopen()
    assert await write(bench, BOB, "/lines/1/n", 5) == "applied"
    assert await write(bench, ANN, "/lines/1/n", 5, lock=granted) == "stale-fence"


@pytest.mark.parametrize(
    ("set_by_s", "passed_s", "outcome"),
    [
        (0.0, 9.9, "locked"),
        (0.0, 10.0, "applied"),
        (-HOUR_S, 29.9, "locked"),
        (-HOUR_S, 30.0, "applied"),
        (HOUR_S, 0.0, "applied"),
    ],
)
async def test_a_clock_that_was_set_prolongs_nothing(
    bench: Bench, steady: Clock, set_by_s: float, passed_s: float, outcome: str
) -> None:
    """Granted for 30 s, 20 s before a restart; then the clock on the wall is another one."""
    first = hold(await acquire(bench, ttl_s=30))
    bench.clock.now += 20 + set_by_s
    await bench.reopen(monotonic=steady)
    steady.now += passed_s
    assert await write(bench, BOB, "/lines/1/n", 5) == outcome
    if outcome == "applied":
        assert await write(bench, ANN, "/lines/1/n", 6, lock=first) == "stale-fence"
        assert hold(await acquire(bench)).fence > first.fence


@pytest.mark.parametrize("set_by_s", [-HOUR_S, HOUR_S])
async def test_a_clock_set_while_it_runs_changes_nothing(
    bench: Bench, steady: Clock, set_by_s: float
) -> None:
    granted = hold(await acquire(bench, ttl_s=30))
    bench.clock.now += set_by_s
    steady.now += 29
    await bench.service.locks.tidy()
    error = await refusal(bench.service.edit(BOB, ORDER, replacing("/lines/1/n", 5)))
    assert error.members["retry_after_s"] == 1
    (view,) = await bench.service.locks.standing(ANN, ORDER)
    assert view.expires == (bench.clock.now + 1) * 1000
    assert await write(bench, ANN, "/lines/1/n", 6, lock=granted) == "applied"
    steady.now += 1
    assert await write(bench, BOB, "/lines/1/n", 5) == "applied"


@pytest.mark.usefixtures("steady")
async def test_fences_grow_over_documents_restarts_and_releases(bench: Bench) -> None:
    fences = []
    other = DocumentKey("orders", "2")
    await put(bench.service, VALUE, other)
    for document in (ORDER, other) * 3:
        granted = hold(await bench.service.locks.acquire(ANN, document, ""))
        await bench.service.locks.release(ANN, document, granted)
        fences.append(granted.fence)
        await bench.reopen()
    assert fences == sorted(set(fences))


async def test_the_store_forgets_what_has_ended(bench: Bench, steady: Clock) -> None:
    await acquire(bench, ttl_s=10)
    await acquire(bench, "/title", ttl_s=20)
    steady.now += 10
    await bench.service.locks.tidy()
    assert [lock.pointer for lock in await bench.store.locks()] == ["/title"]
    assert len(bench.service.locks) == 1


async def test_a_lease_taken_over_replaces_the_old_one_in_the_store(bench: Bench, steady: Clock) -> None:
    first = hold(await acquire(bench, ttl_s=10))
    steady.now += 10
    second = hold(await acquire(bench, caller=BOB))
    assert [(lock.id, lock.fence) for lock in await bench.store.locks()] == [(second.lock, second.fence)]
    assert first.fence < second.fence


@pytest.mark.usefixtures("steady")
async def test_a_lease_that_could_not_be_written_is_none(bench: Bench) -> None:
    granted = hold(await acquire(bench, "/title"))
    locks, bench.store.full = bench.service.locks, True
    for asked in (
        acquire(bench),
        locks.renew(ANN, ORDER, granted, 100),
        locks.release(ANN, ORDER, granted),
    ):
        assert (await refusal(asked)).code == "store-unavailable"
    assert [view.ttl_s for view in await locks.standing(ANN, ORDER)] == [30]
    bench.store.full = False
    await locks.release(ANN, ORDER, granted)
    await acquire(bench, "")


@pytest.mark.usefixtures("steady")
async def test_an_edit_without_leases_in_play_meets_none(bench: Bench) -> None:
    """A document keeps nothing of leases that are gone."""
    granted = hold(await acquire(bench))
    await bench.service.locks.release(ANN, ORDER, granted)
    opened = await bench.service._documents.open(ADDRESS)
    assert opened.leases is None
    assert len(bench.service.locks) == 0


@pytest.mark.usefixtures("steady")
async def test_where_it_is_is_written_down_now_and_then(bench: Bench) -> None:
    """So that after a restart it need not follow all that happened since it was granted."""
    await acquire(bench)
    for _ in range(3):
        await bench.service.edit(BOB, ORDER, FIRST)
    await bench.service.locks.tidy()
    assert [(lock.pointer, lock.revision) for lock in await bench.store.locks()] == [("/lines/4", 4)]
    bench.store.gate.clear()
    waiting = begin(bench.service.edit(BOB, ORDER, FIRST))
    await turns()
    await bench.service.locks.tidy()
    assert [(lock.pointer, lock.revision) for lock in await bench.store.locks()] == [("/lines/4", 4)]
    bench.store.gate.set()
    await waiting
    await bench.reopen()
    assert await pointers(bench) == ["/lines/5"]


@pytest.mark.usefixtures("steady")
async def test_an_edit_with_a_conflict_elsewhere_is_refused_for_what_is_clean(bench: Bench) -> None:
    await write(bench, BOB, "/title", "B")
    await acquire(bench)
    both = [
        {"op": "replace", "path": "/title", "value": "C"},
        {"op": "replace", "path": "/lines/1/n", "value": 5},
    ]
    assert await decided(bench.service.edit(BOB, ORDER, Edit(kind="patch", content=both, base=1))) == "locked"
    alone = Edit(kind="patch", content=both[:1], base=1)
    assert await decided(bench.service.edit(BOB, ORDER, alone)) == "merge-conflict"


@pytest.mark.usefixtures("steady")
async def test_who_has_very_many_operations_to_follow_leaves_the_event_loop_to_others(bench: Bench) -> None:
    """They are those that the edit missed, and its own for every lease."""
    service, opened = bench.service, await bench.service._documents.open(ADDRESS)
    many = [{"op": "add", "path": "/lines/0", "value": 0}] * 501
    for _ in range(2):
        await service.edit(BOB, ORDER, Edit(kind="patch", content=many))
    late = begin(service.edit(BOB, ORDER, replacing("/title", "B", base=1)))
    await asyncio.sleep(0)
    assert opened.deciding.locked()
    assert (await late).outcome == "merged"
    for place in (1_002, 1_003):
        await acquire(bench, f"/lines/{place}")
    under = begin(service.edit(BOB, ORDER, Edit(kind="patch", content=many)))
    await asyncio.sleep(0)
    assert opened.deciding.locked()
    assert (await under).outcome == "applied"
    assert await pointers(bench) == ["/lines/1503", "/lines/1504"]
