"""The client itself: opening, closing, what it shares, and that it leaves nothing behind."""

import asyncio
import gc
import logging
import math
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from client_sdk.conftest import Join, Through
from client_sdk.people import NAME, ORDER, Network, head, history
from plait_client import (
    AsyncPlait,
    Choice,
    Field,
    InvalidPatch,
    MergeConflict,
    NotFound,
    Outbox,
    OutboxUnusable,
    PreconditionFailed,
    Retry,
    TransportError,
)
from simulation.faulty_proxy import Fault


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "ftp://localhost",
        "http://",
        "http://localhost/v1",
        "http://h/?a=1",
        "http://h/#a",
    ],
)
def test_what_is_no_server_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        AsyncPlait(url)


async def test_a_session_says_who_it_is(client: ClientSession) -> None:
    with pytest.raises(ValueError, match="session"):
        AsyncPlait("http://localhost", session=client, token="t")
    with pytest.raises(ValueError, match="session"):
        AsyncPlait("http://localhost", session=client, author="ann")
    async with AsyncPlait(str(client._base_url), session=client) as plait:
        assert (await plait.server()).name == "plait"
    assert not client.closed


async def test_nothing_works_before_it_is_open_or_after(client: ClientSession) -> None:
    plait = AsyncPlait(str(client._base_url))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not open"):
            await plait.doc(NAME)
        with pytest.raises(RuntimeError, match="not open"):
            await plait.create("orders", {})
        with pytest.raises(RuntimeError, match="not open"):
            await plait.server()
        async with plait:
            with pytest.raises(RuntimeError, match="open"):
                await plait.open()
            with pytest.raises(NotFound):
                await plait.doc(NAME)
        await plait.close()


async def test_a_client_that_is_opened_again_knows_nothing_of_before(client: ClientSession) -> None:
    plait = AsyncPlait(str(client._base_url))
    async with plait:
        order = await plait.create(NAME, ORDER)
    for call in (lambda: order.set("/n", 1), order.refresh, order.delete, lambda: order.put({}, if_match=1)):
        with pytest.raises(RuntimeError, match="closed"):
            await call()
    async with plait:
        again = await plait.doc(NAME)
        assert again is not order
        await again.set("/n", 2)


async def test_edits_nobody_waits_for_are_saved_before_it_closes(client: ClientSession) -> None:
    async with AsyncPlait(str(client._base_url)) as plait:
        order = await plait.create(NAME, {"log": []})
        for number in range(5):
            await order.set("/log/-", number, wait=False)
    assert await head(client) == {"log": [0, 1, 2, 3, 4]}


async def test_edits_that_cannot_be_saved_before_it_closes_are_reported(join: Join, through: Through) -> None:
    network = Network()
    session, _ = await through(network)
    told: list[Any] = []
    plait = await join(session, retry=Retry(attempts=1), on_settled=told.append)
    order = await plait.create(NAME, ORDER)
    network.fault = Fault.CUT_BEFORE
    saved = await order.set("/n", 2, wait=False)
    await plait.close()
    (kept,) = order.unsaved
    assert kept.key == saved.key
    assert isinstance(kept.error, TransportError)
    assert [each.outcome for each in told] == ["created", "refused"]


async def test_a_close_that_is_cancelled_leaves_nobody_waiting(join: Join, through: Through) -> None:
    network = Network()
    session, _ = await through(network)
    plait = await join(session)
    order = await plait.create(NAME, ORDER)
    network.fault = Fault.HALF_OPEN
    edit = asyncio.ensure_future(order.set("/n", 2))
    closing = asyncio.ensure_future(plait.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(TransportError, match="closed") as caught:
        await edit
    assert caught.value.outcome_unknown


async def test_somebody_who_is_asked_and_never_answers_does_not_hold_up_the_close(join: Join) -> None:
    async def never(field: Field) -> Choice:
        await asyncio.Event().wait()
        return "yours"

    ann, bob = await join(), await join(retry=Retry(deadline_s=0.1))
    order = await ann.create(NAME, ORDER)
    other = await bob.doc(NAME)
    await order.set("/title", "Ann's")
    edit = asyncio.ensure_future(other.set("/title", "Bob's", on_conflict=never))
    await asyncio.sleep(0)
    await bob.close()
    with pytest.raises(MergeConflict):
        await edit
    assert len(other.unsaved) == 1


async def test_closing_leaves_no_task_behind(
    join: Join, through: Through, client: ClientSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With an outbox and without, on- and offline, following and not, waiting and not."""
    caplog.set_level(logging.WARNING, "plait_client")
    network = Network()
    session, _ = await through(network)
    await (await join()).create(NAME, ORDER)
    before = asyncio.all_tasks()
    for number in range(6):
        box = {"outbox": tmp_path / f"{number}.db"} if number % 2 else {}
        network.on()
        plait = AsyncPlait(str(session._base_url), retry=Retry(attempts=1), **box)  # type: ignore[arg-type]
        await plait.open()
        order = await plait.doc(NAME, live=number % 3 == 0)
        reading = order.changes(since=0)
        await anext(reading)
        if number > 2:
            network.fault = Fault.CUT_BEFORE
        jobs = [asyncio.ensure_future(order.set("/log/-", each)) for each in range(3)]
        await order.set("/n", number, wait=False)
        await plait.close()
        await asyncio.gather(*jobs, return_exceptions=True)
        await anext(reading, None)
    gc.collect()
    left = {task for task in asyncio.all_tasks() - before if "plait_client" in repr(task)}
    assert left == set()
    assert caplog.records == []


async def test_documents_nobody_holds_are_forgotten(join: Join) -> None:
    plait = await join()
    for number in range(20):
        await (await plait.create(f"orders/{number}", ORDER)).set("/n", 2)
        with pytest.raises(NotFound):
            await plait.doc(f"none/{number}")
    gc.collect()
    assert len(plait._opened().documents) == 0
    assert (await plait.doc("orders/3")).value == {**ORDER, "n": 2}


async def test_the_server_may_choose_the_id(join: Join, client: ClientSession) -> None:
    mine: dict[str, Any] = {"tags": []}
    plait = await join()
    order = await plait.create("orders", mine)
    mine["tags"].append("not meant")
    assert order.value == await head(client, order.name) == {"tags": []}
    assert await plait.doc(order.name) is order
    await order.set("/tags/-", "a")
    assert order.revision == 2
    with pytest.raises(ValueError, match="collection"):
        await plait.create("Not One", {})
    with pytest.raises(InvalidPatch):
        await plait.create("orders", {"n": math.nan})


async def test_creating_what_is_there_fails(join: Join) -> None:
    plait = await join()
    order = await plait.create(NAME, ORDER)
    with pytest.raises(PreconditionFailed):
        await plait.create(NAME, {})
    assert (await plait.doc(NAME)) is order
    assert order.value == ORDER


async def test_a_collection_is_listed_to_its_end(join: Join) -> None:
    plait = await join()
    names = [f"orders/{number:03}" for number in range(130)]
    await asyncio.gather(*[plait.create(name, {}) for name in names])
    listed = [entry async for entry in plait.documents("orders")]
    assert [entry.document for entry in listed] == names
    assert {entry.revision for entry in listed} == {1}
    assert [entry async for entry in plait.documents("nothing")] == []
    with pytest.raises(ValueError, match="collection"):
        [entry async for entry in plait.documents("a/b")]


async def test_the_server_says_what_it_can(join: Join) -> None:
    server = await (await join()).server()
    assert server.limits["idempotency_ttl_s"] == 86_400
    assert server.epoch


async def test_listeners_that_fail_break_nothing(join: Join, through: Through) -> None:
    def broken(told: object) -> None:
        raise ZeroDivisionError

    network = Network()
    session, _ = await through(network)
    plait = await join(session, on_retry=broken, on_conflict=broken, on_settled=broken)
    order = await plait.create(NAME, ORDER)
    network.next = [Fault.CUT_AFTER]
    await order.set("/n", 2)
    assert (order.value["n"], plait.counters.retries, plait.counters.saved) == (2, 1, 2)


async def test_an_outbox_of_ones_own_stays_open(join: Join, tmp_path: Path) -> None:
    outbox = await Outbox.open(tmp_path / "edits.db")
    plait = await join(outbox=outbox)
    await (await plait.create(NAME, ORDER)).set("/n", 2)
    await plait.close()
    assert await outbox.names() == []
    await outbox.close()


async def test_an_outbox_that_holds_nonsense_is_refused_and_left_alone(
    join: Join, client: ClientSession, tmp_path: Path
) -> None:
    from plait_client.replica.edit import Edit, State

    outbox = await Outbox.open(tmp_path / "edits.db")
    misfit = Edit("k1", [{"op": "remove", "path": "/nothing"}])
    await outbox.save(NAME, State(1, {}, "e", pending=(misfit,)))
    await outbox.close()
    plait = AsyncPlait(str(client._base_url), outbox=tmp_path / "edits.db")
    for _ in range(2):
        with pytest.raises(OutboxUnusable, match="sense"):
            await plait.open()
    outbox = await Outbox.open(tmp_path / "edits.db")
    assert await outbox.names() == [NAME]
    await outbox.close()


async def test_a_disk_that_fails_loses_nothing_that_was_told(join: Join, tmp_path: Path) -> None:
    """The outbox is closed behind the client's back: edits are refused, and nothing of them is shown."""
    outbox = await Outbox.open(tmp_path / "edits.db")
    plait = await join(outbox=outbox)
    order = await plait.create(NAME, ORDER)
    await order.set("/n", 2)
    await outbox.close()
    with pytest.raises(OutboxUnusable):
        await order.set("/n", 3)
    assert (order.value, order.pending) == ({**ORDER, "n": 2}, ())


async def test_a_throttled_client_waits_as_long_as_it_was_asked(join: Join, client: ClientSession) -> None:
    plait = await join()
    order = await plait.create(NAME, ORDER)
    context = plait._opened()
    context.live.throttled_until = context.transport.clock() + 0.2
    await order.set("/n", 2)
    assert len(await history(client)) == 2
