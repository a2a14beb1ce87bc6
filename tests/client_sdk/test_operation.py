"""Edits that are handed in: decided later, in order, each once, and everybody can learn how."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession

from client_sdk.conftest import Join, Through
from client_sdk.people import NAME, ORDER, Network, head, history
from client_sdk.test_cancellation import STEPS_MAX, Steps
from plait_client import (
    DeadlineExceeded,
    InvalidPatch,
    MergeConflict,
    NotFound,
    Plait,
    Retry,
    TestFailed,
    TransportError,
    sync,
    yours,
)
from simulation.faulty_proxy import Fault

FAULTS = [Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.CUT_ANSWER, Fault.TRUNCATED_JSON, Fault.PLAIN_503]


def replace(pointer: str, value: Any) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": pointer, "value": value}]


async def test_what_was_handed_in_is_made_and_shown_once_it_is_told(
    join: Join, client: ClientSession
) -> None:
    order = await (await join(author="ann")).create(NAME, ORDER)
    operation = await order.submit(replace("/title", "B"), message="later")
    assert (operation.document, operation.status in ("queued", "done")) == (NAME, True)
    saved = await operation.result()
    assert (saved.outcome, saved.revision, operation.status) == ("applied", 2, "done")
    assert order.value == await head(client) == {**ORDER, "title": "B"}
    assert operation.finished is not None
    assert operation.accepted <= operation.finished
    made = (await history(client))[-1]
    assert (made["message"], made["author"], made["key"]) == ("later", "ann", saved.key)
    assert await operation.result() == saved


async def test_a_function_is_run_once_on_what_is_shown(join: Join) -> None:
    order = await (await join()).create(NAME, ORDER)
    await order.set("/n", 5, wait=False)
    ran: list[int] = []

    def change(draft: Any) -> None:
        ran.append(draft["n"])
        draft["n"] += 1

    operation = await order.submit(change)
    await operation.result()
    assert (ran, order.value["n"]) == ([5], 6)
    nothing = await order.submit(lambda draft: None)
    assert (await nothing.result()).outcome == "noop"


async def test_they_are_decided_in_the_order_they_came(join: Join, client: ClientSession) -> None:
    plait = await join()
    order = await plait.create(NAME, ORDER)
    handed_in = [
        await plait.submit(NAME, [{"op": "add", "path": "/log/-", "value": number}]) for number in range(10)
    ]
    saved = [await operation.result(10) for operation in handed_in]
    assert [each.revision for each in saved] == [*range(2, 12)]
    await order.refresh()
    assert order.value["log"] == [*range(10)]
    assert len(await history(client)) == 11


async def test_who_counts_need_not_open_the_document(join: Join, client: ClientSession) -> None:
    people = [await join() for _ in range(5)]
    await people[0].create(NAME, {"n": 0})
    plus_one = [{"op": "inc", "path": "/n", "value": 1}]
    handed_in = await asyncio.gather(*[plait.submit(NAME, plus_one) for plait in people for _ in range(4)])
    await asyncio.gather(*[operation.result(30) for operation in handed_in])
    assert await head(client) == {"n": 20}


async def test_a_conflict_is_told_and_settled_as_any_other(join: Join, client: ClientSession) -> None:
    ann, bob = await join(author="ann"), await join(author="bob")
    order = await ann.create(NAME, ORDER)
    other = await bob.doc(NAME)
    await order.set("/title", "Ann's")
    operation = await other.submit(
        [*replace("/title", "Bob's"), {"op": "add", "path": "/log/-", "value": "Bob was here"}],
        message="mine",
    )
    with pytest.raises(MergeConflict) as caught:
        await operation.result(10)
    assert operation.status == "refused"
    with pytest.raises(MergeConflict) as again:
        await operation.result()
    assert again.value is caught.value
    (field,) = caught.value
    assert (field.pointer, field.author, caught.value.clean) == ("/title", "ann", 1)
    assert other.value["title"] == "Ann's"
    field.choose("yours")
    assert (await caught.value.save()).outcome == "applied"
    assert other.value == await head(client)
    assert (other.value["title"], other.value["log"]) == ("Bob's", ["Bob was here"])
    assert (await history(client))[-1]["message"] == "mine"


async def test_a_rule_may_settle_it(join: Join) -> None:
    ann, bob = await join(), await join()
    order = await ann.create(NAME, ORDER)
    other = await bob.doc(NAME)
    await order.set("/title", "Ann's")
    operation = await other.submit(replace("/title", "Bob's"))
    with pytest.raises(MergeConflict):
        await operation.result(10)
    assert (await operation.result(on_conflict=yours)).outcome == "applied"
    assert (await operation.result()).outcome == "applied"
    await order.refresh()
    await order.set("/title", "Ann's again")
    another = await other.submit(replace("/title", "Bob's again"))
    assert (await another.result(10, on_conflict=yours)).outcome == "applied"
    assert other.value["title"] == "Bob's again"


async def test_one_that_nobody_opened_clashes_as_well(join: Join) -> None:
    ann, bob = await join(author="ann"), await join(author="bob")
    order = await ann.create(NAME, ORDER)
    await order.set("/title", "Ann's")
    operation = await bob.submit(NAME, replace("/title", "Bob's"), base=1)
    with pytest.raises(MergeConflict) as caught:
        await operation.result(10)
    caught.value.choose_all("yours")
    await caught.value.save()
    await order.refresh()
    assert order.value["title"] == "Bob's"


async def test_what_is_wrong_is_told_at_once_or_in_the_end(join: Join) -> None:
    plait = await join()
    order = await plait.create(NAME, ORDER)
    for wrong in ([{"op": "add"}], [{"op": "add", "path": "/a", "value": {1}}]):
        with pytest.raises(InvalidPatch):
            await order.submit(wrong)
    inapplicable = await order.submit([{"op": "remove", "path": "/none"}])
    with pytest.raises(InvalidPatch):
        await inapplicable.result(10)
    untrue = await order.submit([{"op": "test", "path": "/n", "value": 9}])
    for _ in range(2):
        with pytest.raises(TestFailed):
            await untrue.result(10)
    with pytest.raises(NotFound):
        await (await plait.submit("orders/none", replace("/a", 1))).result(10)
    with pytest.raises(ValueError, match="no name"):
        await plait.submit("orders", replace("/a", 1))
    assert order.revision == 1


async def test_it_is_found_again_by_its_id(join: Join) -> None:
    plait, other = await join(author="ann"), await join(author="ann")
    order = await plait.create(NAME, ORDER)
    operation = await order.submit(replace("/n", 2))
    again = await other.operation(operation.id)
    assert (again.document, again.accepted) == (NAME, operation.accepted)
    assert (await again.result(10)).revision == 2
    await operation.refresh()
    assert operation.status == "done"
    for nothing in ("none", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "a/b", "ä"):
        with pytest.raises(NotFound):
            await other.operation(nothing)
    for no_id in ("", "."):
        with pytest.raises(ValueError, match="names nothing"):
            await other.operation(no_id)


async def test_waiting_comes_to_an_end(join: Join) -> None:
    order = await (await join()).create(NAME, ORDER)
    operation = await order.submit(replace("/n", 2))
    if operation.status == "queued":
        with pytest.raises(DeadlineExceeded):
            await operation.result(0)
    assert (await operation.result(10)).revision == 2


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_the_network_does_it_is_handed_in_once(
    join: Join, through: Through, client: ClientSession, fault: Fault
) -> None:
    network = Network()
    session, proxy = await through(network)
    await (await join()).create(NAME, ORDER)
    order = await (await join(session)).doc(NAME)
    network.next = [fault]
    operation = await order.submit([{"op": "add", "path": "/log/-", "value": 1}])
    network.next = [fault]
    await operation.result(10)
    assert order.value["log"] == [1]
    assert len(await history(client)) == 2
    first, second, *_ = [seen for seen in proxy.seen if seen.head.method == "PATCH"]
    assert first.body == second.body
    assert first.head.headers["idempotency-key"] == second.head.headers["idempotency-key"]


async def test_what_could_not_be_asked_is_asked_again(join: Join, through: Through) -> None:
    network = Network()
    session, _ = await through(network)
    order = await (await join(session, retry=Retry(attempts=1))).create(NAME, ORDER)
    operation = await order.submit(replace("/n", 2))
    network.off()
    with pytest.raises(TransportError):
        await operation.result()
    network.on()
    assert (await operation.result()).revision == 2


async def test_cancelled_anywhere_it_is_handed_in_once_or_not(join: Join, client: ClientSession) -> None:
    plait = await join()

    async def act() -> None:
        operation = await plait.submit(name, [{"op": "add", "path": "/log/-", "value": 1}])
        await operation.result()

    for steps in range(1, STEPS_MAX):
        name = f"orders/{steps}"
        order = await plait.create(name, ORDER)
        is_over = await Steps(steps).cancelled(act())
        await (await order.submit(replace("/n", 9))).result(10)  # comes after it, if it was handed in
        await order.refresh()
        assert order.value["log"] in ([], [1])
        if is_over:
            break
    else:
        pytest.fail("it never came to its end")


async def test_it_is_made_under_the_lease_around_it(join: Join) -> None:
    order = await (await join()).create(NAME, ORDER)
    async with order.lock("/title"):
        operation = await order.submit(replace("/title", "B"))
        await operation.result(10)
    assert order.value["title"] == "B"


def _work(url: str) -> list[object]:
    with Plait(url, author="ann") as ann, Plait(url, author="bob") as bob:
        order = ann.create(NAME, ORDER)
        other = bob.doc(NAME)
        operation = order.submit(lambda draft: draft.update(title="Ann's"))
        first = operation.result(10).revision
        again = bob.operation(operation.id).result(10).revision
        order.set("/title", "Ann's again")
        late = other.submit(replace("/title", "Bob's"))
        with pytest.raises(sync.MergeConflict) as caught:
            late.result(10)
        caught.value.choose_all("yours")
        caught.value.save()
        counted = ann.submit(NAME, [{"op": "inc", "path": "/n", "value": 1}])
        counted.result(10)
        return [first, again, late.status, order.value["n"], other.value["title"]]


async def test_without_a_loop(client: ClientSession) -> None:
    assert await asyncio.to_thread(_work, str(client._base_url)) == [2, 2, "refused", 2, "Bob's"]
