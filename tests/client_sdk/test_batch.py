"""Batches: edits of several documents are all there, or none of them, whatever happens."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from client_sdk.conftest import Join, Through
from client_sdk.people import Network, head, history
from client_sdk.test_cancellation import STEPS_MAX, Steps
from plait_client import (
    AsyncPlait,
    Batch,
    BatchConflict,
    Document,
    InvalidPatch,
    Locked,
    MergeConflict,
    NotFound,
    Plait,
    PlaitError,
    PreconditionFailed,
    Retry,
    TestFailed,
    TransportError,
    add,
    yours,
)
from simulation.faulty_proxy import Fault, by_chance

ORDER: dict[str, Any] = {"state": "open", "lines": [], "note": ""}
STOCK: dict[str, Any] = {"cable": 5, "dock": 5, "note": ""}
SEED = int(os.environ.get("PLAIT_TEST_SEED", "7"))
FAULTS = [Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.CUT_ANSWER, Fault.TRUNCATED_JSON, Fault.PLAIN_503]


async def _desk(join: Join, **given: Any) -> tuple[AsyncPlait, Document, Document]:
    """A client with an order and the stock open; `given` is for the client."""
    plait = await join(author="ann", **given)
    return plait, await plait.create("orders/7", ORDER), await plait.create("stock/9", STOCK)


async def _batched(plait: AsyncPlait, act: Callable[[Batch], Awaitable[Any]], **given: Any) -> Batch:
    """Do something in a batch, and leave it."""
    async with plait.batch(**given) as batch:
        await act(batch)
    return batch


async def _sell(plait: AsyncPlait, **given: Any) -> Batch:
    async with plait.batch(message="sold", **given) as batch:
        order = await batch.edit("orders/7")
        order["lines"].append("cable")
        await batch.inc("stock/9", "/cable", -1)
    return batch


async def _revisions(client: ClientSession, one: str = "orders/7", other: str = "stock/9") -> tuple[int, int]:
    return len(await history(client, one)), len(await history(client, other))


async def test_everything_is_saved_together(join: Join, client: ClientSession) -> None:
    plait, order, stock = await _desk(join)
    async with plait.batch(message="packed") as batch:
        draft = await batch.edit(order)
        draft["state"] = "packed"
        await batch.patch("stock/9", [{"op": "replace", "path": "/note", "value": "low"}])
        await batch.inc(stock, "/cable", -2)
        await batch.create("parcels/1", {"of": "orders/7"})
        assert batch.saved == {}
    assert [(name, saved.outcome, saved.revision) for name, saved in batch.saved.items()] == [
        ("orders/7", "applied", 2),
        ("stock/9", "applied", 2),
        ("parcels/1", "created", 1),
    ]
    assert order.value == await head(client, "orders/7") == {**ORDER, "state": "packed"}
    assert stock.value == await head(client, "stock/9") == {**STOCK, "note": "low", "cable": 3}
    parcel = await plait.doc("parcels/1")
    assert parcel.value == {"of": "orders/7"}
    made = [(await history(client, name))[-1] for name in ("orders/7", "stock/9")]
    assert [each["message"] for each in made] == ["packed", "packed"]
    assert made[0]["key"] == batch.saved["orders/7"].key


async def test_others_edits_are_merged_and_taken_over(join: Join) -> None:
    plait, order, stock = await _desk(join)
    bob = await join(author="bob")
    async with plait.batch() as batch:
        draft = await batch.edit("orders/7")
        await (await bob.doc("orders/7")).set("/note", "Bob's")
        await (await bob.doc("stock/9")).set("/dock", 4)
        draft["state"] = "packed"
        await batch.inc("stock/9", "/cable")
    assert batch.saved["orders/7"].outcome == "merged"
    assert order.value == {**ORDER, "state": "packed", "note": "Bob's"}
    assert stock.value == {**STOCK, "cable": 6, "dock": 4}


async def test_what_was_not_changed_is_no_part_of_it(join: Join, client: ClientSession) -> None:
    plait, _, _ = await _desk(join)
    async with plait.batch() as batch:
        await batch.edit("orders/7")
    assert batch.saved == {}
    before = plait.counters.requests
    async with plait.batch():
        pass
    assert plait.counters.requests == before
    assert await _revisions(client) == (1, 1)


async def test_an_exception_inside_sends_nothing(join: Join, client: ClientSession) -> None:
    plait, order, _ = await _desk(join)

    async def fail(batch: Batch) -> None:
        draft = await batch.edit(order)
        draft["state"] = 1 / 0

    with pytest.raises(ZeroDivisionError):
        await _batched(plait, fail)
    assert await _revisions(client) == (1, 1)


async def test_it_comes_after_what_was_typed(join: Join) -> None:
    plait, order, _ = await _desk(join)
    await order.set("/note", "typed", wait=False)
    async with plait.batch() as batch:
        draft = await batch.edit(order)
        assert draft["note"] == "typed"
        draft["note"] += ", and more"
    assert order.value["note"] == "typed, and more"


async def _clash(join: Join) -> tuple[AsyncPlait, BatchConflict]:
    """A batch over two documents that others changed at the same places, and a third that is clean."""
    plait, order, stock = await _desk(join)
    bob = await join(author="bob")
    await (await bob.doc("orders/7")).set("/state", "sent", message="in a hurry")
    await (await bob.doc("stock/9")).set("/note", "Bob's")

    async def pack(batch: Batch) -> None:
        draft = await batch.edit(order)
        draft.update(state="packed", note="mine")
        await batch.patch(stock, [{"op": "replace", "path": "/note", "value": "Ann's"}])
        await batch.create("parcels/1", {})

    with pytest.raises(BatchConflict) as caught:
        await _batched(plait, pack, message="packed")
    return plait, caught.value


async def test_all_conflicts_are_told_at_once_and_nothing_is_written(
    join: Join, client: ClientSession
) -> None:
    plait, conflict = await _clash(join)
    assert await _revisions(client) == (2, 2)
    assert [each.document for each in conflict.conflicts] == ["orders/7", "stock/9"]
    assert [(field.pointer, field.author) for field in conflict] == [("/state", "bob"), ("/note", "bob")]
    first = conflict.conflicts[0]
    assert isinstance(first, MergeConflict)
    assert (first.base_revision, first.head_revision, first.clean) == (1, 2, 1)
    assert first.draft == {**ORDER, "state": "packed", "note": "mine"}
    assert len(conflict) == len(conflict.undecided) == 2
    assert (await plait.doc("orders/7")).value["state"] == "sent"
    with pytest.raises(ValueError, match="undecided"):
        await conflict.save()
    with pytest.raises(NotFound):
        await plait.doc("parcels/1")


async def test_the_choices_are_saved_as_a_new_batch(join: Join, client: ClientSession) -> None:
    plait, conflict = await _clash(join)
    state, note = conflict
    state.choose("yours")
    note.choose(value="both of us")
    saved = await conflict.save()
    assert {name: each.outcome for name, each in saved.items()} == {
        "orders/7": "applied",
        "stock/9": "applied",
        "parcels/1": "created",
    }
    assert await head(client, "orders/7") == {**ORDER, "state": "packed", "note": "mine"}
    assert await head(client, "stock/9") == {**STOCK, "note": "both of us"}
    assert (await history(client, "stock/9"))[-1]["message"] == "packed"
    assert await conflict.save() == saved
    assert await _revisions(client) == (3, 3)
    assert (await plait.doc("orders/7")).value == await head(client, "orders/7")


async def test_a_document_where_theirs_was_chosen_is_left_as_it_is(join: Join, client: ClientSession) -> None:
    _, conflict = await _clash(join)
    conflict.choose_all("theirs")
    saved = await conflict.save()
    assert [*saved] == ["orders/7", "parcels/1"]
    assert await head(client, "orders/7") == {**ORDER, "state": "sent", "note": "mine"}
    assert await head(client, "stock/9") == {**STOCK, "note": "Bob's"}


async def test_settling_one_of_its_conflicts_saves_the_batch(join: Join, client: ClientSession) -> None:
    _, conflict = await _clash(join)
    first, second = conflict.conflicts
    first.choose_all("yours")
    with pytest.raises(ValueError, match="undecided"):
        await first.save()
    second.choose_all("theirs")
    assert (await first.save()).outcome == "applied"
    assert (await second.save()).outcome == "noop"
    assert await _revisions(client) == (3, 2)


async def test_who_is_overtaken_again_gets_the_next_conflict(join: Join, client: ClientSession) -> None:
    _, conflict = await _clash(join)
    cyn = await join(author="cyn")
    await (await cyn.doc("orders/7")).set("/state", "lost")
    conflict.choose_all("yours")
    with pytest.raises(BatchConflict) as caught:
        await conflict.save()
    (field,) = caught.value
    assert (field.author, field.theirs.value) == ("cyn", "lost")
    field.choose("yours")
    await caught.value.save()
    assert await _revisions(client) == (4, 3)
    assert (await head(client, "stock/9")) == {**STOCK, "note": "Ann's"}


async def test_a_rule_settles_it(join: Join, client: ClientSession) -> None:
    told: list[PlaitError] = []
    plait, order, stock = await _desk(join, on_conflict=told.append)
    bob = await join(author="bob")

    async def write(batch: Batch) -> None:
        draft = await batch.edit(order)
        draft["state"] += ", by Ann"
        await batch.patch(stock, [{"op": "replace", "path": "/dock", "value": stock.value["dock"] + 1}])

    for dock in (7, 8):
        await (await bob.doc("orders/7")).set("/state", f"Bob's {dock}")
        await (await bob.doc("stock/9")).set("/dock", dock)
        if dock == 7:
            saved = (await _batched(plait, write, on_conflict=yours)).saved
            assert [each.outcome for each in saved.values()] == ["applied", "applied"]
    with pytest.raises(BatchConflict) as caught:
        await _batched(plait, write, on_conflict=add)
    assert [field.pointer for field in caught.value.undecided] == ["/state"]
    assert told == [caught.value]
    assert [*await _revisions(client)] == [4, 4]


async def test_a_delete_that_clashes_can_be_insisted_on(join: Join, client: ClientSession) -> None:
    plait, order, _ = await _desk(join)
    bob = await join(author="bob")
    await (await bob.doc("orders/7")).set("/note", "wait!")

    async def drop(batch: Batch) -> None:
        await batch.delete(order)
        await batch.inc("stock/9", "/cable")

    with pytest.raises(BatchConflict) as caught:
        await _batched(plait, drop)
    (field,) = caught.value
    field.choose("yours")
    saved = await caught.value.save()
    assert saved["orders/7"].outcome == "deleted"
    assert not order.exists
    assert (await history(client, "orders/7"))[-1]["kind"] == "delete"


async def test_a_policy_has_its_say_before_and_after(join: Join, client: ClientSession) -> None:
    """What it decides is no conflict, and the rest of the edit is settled as it would be at the server."""
    plait, _, stock = await _desk(join)
    await plait.set_rules("stock", policy={"rules": {"/cable": {"scalar": "sum"}}}, if_match=0)
    bob = await join(author="bob")
    await (await bob.doc("stock/9")).patch(
        [
            {"op": "replace", "path": "/cable", "value": 7},
            {"op": "replace", "path": "/note", "value": "Bob's"},
        ]
    )

    async def count(batch: Batch) -> None:
        draft = await batch.edit(stock)
        draft.update(cable=9, note="Ann's")

    with pytest.raises(BatchConflict) as caught:
        await _batched(plait, count)
    assert [field.pointer for field in caught.value] == ["/note"]
    caught.value.choose_all("yours")
    await caught.value.save()
    assert await head(client, "stock/9") == {**STOCK, "cable": 11, "note": "Ann's"}


async def test_stock_is_not_sold_below_zero_by_its_schema(join: Join, client: ClientSession) -> None:
    plait, _, stock = await _desk(join)
    schema = {"properties": {"cable": {"minimum": 0}}}
    await plait.set_rules("stock", schema=schema, if_match=0)
    bob = await join(author="bob")
    theirs = await bob.doc("stock/9")

    async def sell_four(batch: Batch) -> None:
        draft = await batch.edit("orders/7")
        draft["lines"].append("cable")
        await batch.inc(stock, "/cable", -4)
        if theirs.revision == 1:
            await theirs.inc("/cable", -4)

    with pytest.raises(BatchConflict) as caught:
        await _batched(plait, sell_four)
    (field,) = caught.value
    assert (field.kind, field.options) == ("schema", frozenset({"theirs"}))
    with pytest.raises(InvalidPatch):
        await _batched(plait, sell_four)
    assert await head(client, "stock/9") == {**STOCK, "cable": 1}
    field.choose("theirs")
    assert [*await caught.value.save()] == ["orders/7"]
    assert await _revisions(client) == (2, 2)


async def test_a_test_guards_what_was_read(join: Join, client: ClientSession) -> None:
    plait, _, stock = await _desk(join)
    bob = await join(author="bob")
    guarded = [
        {"op": "test", "path": "/cable", "value": 5},
        {"op": "inc", "path": "/cable", "value": -5},
    ]
    theirs = await bob.doc("stock/9")
    await theirs.inc("/cable", -1)

    async def sell_out(batch: Batch) -> None:
        await batch.patch(stock, guarded)
        await batch.create("parcels/1", {})

    with pytest.raises(BatchConflict) as caught:
        await _batched(plait, sell_out)
    assert [field.kind for field in caught.value] == ["guard"]
    with pytest.raises(TestFailed) as failed:
        await _batched(plait, sell_out)
    assert failed.value.problem is not None
    assert isinstance(failed.value.problem["errors"], list)
    assert await _revisions(client) == (1, 2)


async def test_what_is_refused_refuses_all_of_it(join: Join, client: ClientSession) -> None:
    plait, order, stock = await _desk(join)

    async def attempt(act: Callable[[Batch], Any]) -> None:
        async with plait.batch() as batch:
            draft = await batch.edit(order)
            draft["state"] = "packed"
            await act(batch)

    refused: list[tuple[type[PlaitError], Callable[[Batch], Any]]] = [
        (PreconditionFailed, lambda batch: batch.create("stock/9", {})),
        (InvalidPatch, lambda batch: batch.inc(stock, "/note")),
        (InvalidPatch, lambda batch: batch.patch(stock, [{"op": "remove", "path": "/none"}])),
        (NotFound, lambda batch: batch.edit("orders/none")),
        (InvalidPatch, lambda batch: batch.patch(stock, [{"op": "add"}])),
        (InvalidPatch, lambda batch: batch.create("parcels/1", {"n": {1}})),
    ]
    for kind, act in refused:
        with pytest.raises(kind):
            await attempt(act)
    assert await _revisions(client) == (1, 1)
    assert order.value == ORDER


async def test_a_document_is_in_it_in_one_way(join: Join) -> None:
    plait, order, stock = await _desk(join)
    others = await (await join()).doc("orders/7")
    async with plait.batch() as batch:
        draft = await batch.edit(order)
        assert await batch.edit("orders/7") is draft
        await batch.inc(stock, "/cable")
        await batch.inc("stock/9", "/cable")
        for act in (
            lambda: batch.inc("orders/7", "/n"),
            lambda: batch.delete(order),
            lambda: batch.edit(stock),
            lambda: batch.create("stock/9", {}),
        ):
            with pytest.raises(ValueError, match="in the batch"):
                await act()
        with pytest.raises(ValueError, match="another client"):
            await batch.inc(others, "/n")
        with pytest.raises(ValueError, match="no name"):
            await batch.create("orders", {})
    assert stock.value["cable"] == 7
    with pytest.raises(ValueError, match="sent"):
        await batch.create("parcels/1", {})
    with pytest.raises(ValueError, match="sent"):
        await batch.inc(stock, "/cable")


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_the_network_does_it_is_there_once(
    join: Join, through: Through, client: ClientSession, fault: Fault
) -> None:
    network = Network()
    session, proxy = await through(network)
    await _desk(join)
    plait = await join(session)
    network.only, network.next = "POST", [fault]
    batch = await _sell(plait)
    assert batch.saved["stock/9"].revision == 2
    assert await _revisions(client) == (2, 2)
    sent = [seen for seen in proxy.seen if seen.head.method == "POST"]
    assert [seen.fault for seen in sent] == [fault, Fault.PASS]
    assert sent[0].body == sent[1].body
    assert sent[0].head.headers["idempotency-key"] == sent[1].head.headers["idempotency-key"]


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER])
async def test_what_may_have_arrived_is_sent_again_as_it_was(
    join: Join, through: Through, client: ClientSession, fault: Fault
) -> None:
    """The attempts are used up; who holds the batch sends it again, and it is made once."""
    network = Network()
    session, _ = await through(network)
    _, _, stock = await _desk(join)
    plait = await join(session, retry=Retry(attempts=1))
    batches: list[tuple[Batch, Any]] = []

    async def pack(batch: Batch) -> None:
        draft = await batch.edit("orders/7")
        draft["state"] = "packed"
        await batch.inc("stock/9", "/cable", -1)
        batches.append((batch, draft))

    network.only, network.next = "POST", [fault, fault]
    with pytest.raises(TransportError) as caught:
        await _batched(plait, pack)
    assert caught.value.outcome_unknown
    batch, draft = batches[0]
    draft["state"] = "not meant any more"
    await stock.set("/note", "meanwhile")
    with pytest.raises(TransportError):
        await batch.save()
    saved = await batch.save()
    assert [*saved] == ["orders/7", "stock/9"]
    assert await _revisions(client) == (2, 3)
    assert await head(client, "stock/9") == {**STOCK, "cable": 4, "note": "meanwhile"}


async def test_cancelled_anywhere_all_of_it_is_there_or_none(join: Join, client: ClientSession) -> None:
    plait, order, stock = await _desk(join)
    sold = 0
    for steps in range(1, STEPS_MAX):
        is_over = await Steps(steps).cancelled(_sell(plait))
        async with asyncio.timeout(10):
            while plait._opened().tasks:  # noqa: ASYNC110 - nobody tells when it is
                await asyncio.sleep(0)
        for document in (order, stock):
            shown = document.value
            await document.refresh()
            assert document.value == shown
        sold = len(order.value["lines"])
        assert stock.value["cable"] == 5 - sold
        if is_over:
            break
    else:
        pytest.fail("it never came to its end")
    assert sold > 1
    assert await _revisions(client) == (1 + sold, 1 + sold)


async def test_batches_in_any_order_do_not_wait_for_each_other_for_ever(
    join: Join, client: ClientSession
) -> None:
    people = [await join(retry=Retry(deadline_s=60)) for _ in range(4)]
    for name in "abc":
        await people[0].create(f"accounts/{name}", {"n": 100})

    async def move(plait: AsyncPlait, turn: int) -> None:
        names = ["abc"[(turn + step) % 3] for step in range(3)]
        async with plait.batch() as batch:
            await batch.inc(f"accounts/{names[0]}", "/n", -2)
            await batch.inc(f"accounts/{names[1]}", "/n", 1)
            await batch.inc(f"accounts/{names[2]}", "/n", 1)

    await asyncio.gather(*[move(plait, turn) for turn in range(12) for plait in people])
    values: list[Any] = [await head(client, f"accounts/{name}") for name in "abc"]
    assert values == [{"n": 100}] * 3
    assert [len(await history(client, f"accounts/{name}")) for name in "abc"] == [49] * 3


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
async def test_money_is_moved_once_and_as_a_whole_whatever_goes_wrong(
    join: Join, through: Through, client: ClientSession, seed: int
) -> None:
    """Every third request meets a fault; whoever is told nothing sends the very same again."""
    bank = await join()
    for name in "ab":
        await bank.create(f"accounts/{name}", {"n": 0})

    async def move(teller: int) -> None:
        session, _ = await through(by_chance(FAULTS, 0.35, seed * 10 + teller))
        plait = await join(session, retry=Retry(attempts=2))
        giver = await _as_far_as_it_goes(lambda: plait.doc("accounts/a"))
        taker = await _as_far_as_it_goes(lambda: plait.doc("accounts/b"))
        for number in range(8):
            try:
                async with plait.batch(message="moved") as batch:
                    await batch.inc(giver, "/n", -number)
                    await batch.inc(taker, "/n", number)
                    await batch.create(f"moves/{teller}-{number}", {"sum": number})
            except TransportError:
                await _as_far_as_it_goes(batch.save)

    await asyncio.gather(*[move(teller) for teller in range(3)])
    moved = 3 * sum(range(8))
    assert [await head(client, f"accounts/{name}") for name in "ab"] == [{"n": -moved}, {"n": moved}]
    assert len([entry async for entry in bank.documents("moves")]) == 24
    assert await _revisions(client, "accounts/a", "accounts/b") == (22, 22)


async def _as_far_as_it_goes(act: Callable[[], Awaitable[Any]]) -> Any:
    """Do something until there is an answer."""
    while True:
        try:
            return await act()
        except TransportError:
            pass


async def test_it_is_made_under_the_leases_around_it(join: Join) -> None:
    plait, order, stock = await _desk(join)
    bob = await join(author="bob")
    async with order.lock("/lines"), stock.lock():
        await _sell(plait)
        with pytest.raises(Locked):
            await _sell(bob)
    await _sell(bob)
    await stock.refresh()
    assert stock.value["cable"] == 3


async def test_too_many_edits_are_refused(join: Join) -> None:
    plait = await join()

    async def create(batch: Batch) -> None:
        for number in range(101):
            await batch.create(f"orders/{number}", {})

    with pytest.raises(InvalidPatch):
        await _batched(plait, create)
    with pytest.raises(NotFound):
        await plait.doc("orders/0")


def _work(url: str) -> list[object]:
    with Plait(url, author="ann") as ann, Plait(url, author="bob") as bob:
        order, stock = ann.create("orders/7", ORDER), ann.create("stock/9", STOCK)
        theirs = bob.doc("stock/9")
        with ann.batch(message="sold") as batch:
            draft = batch.edit(order)
            draft["lines"].append("cable")
            batch.inc("stock/9", "/cable", -1)
        outcomes = [saved.outcome for saved in batch.saved.values()]
        theirs.set("/note", "Bob's")
        annotate: list[dict[str, Any]] = [
            {"op": "replace", "path": "/note", "value": "Ann's"},
            {"op": "inc", "path": "/cable", "value": -1},
        ]
        with pytest.raises(BatchConflict) as caught, ann.batch() as batch:
            batch.patch(stock, annotate)
        conflict: Any = caught.value
        conflict.choose_all("yours")
        saved = conflict.conflicts[0].save()
        again = conflict.save()
        return [outcomes, saved.outcome, [*again], stock.value, order.value["lines"], stock.name]


async def test_without_a_loop(client: ClientSession) -> None:
    assert await asyncio.to_thread(_work, str(client._base_url)) == [
        ["applied", "applied"],
        "applied",
        ["stock/9"],
        {"cable": 3, "dock": 5, "note": "Ann's"},
        ["cable"],
        "stock/9",
    ]
