"""Undo and redo of one's own edits, among those of others."""

from typing import Any

import pytest
from aiohttp import ClientSession

from client_sdk.conftest import Join, Through
from client_sdk.people import NAME, ORDER, Network, head, history
from plait_client import MergeConflict, Retry, TransportError, yours
from plait_client.undo import UNDO_EDITS_MAX
from simulation.faulty_proxy import Fault


async def test_ones_own_edits_are_taken_back_and_made_again(join: Join, client: ClientSession) -> None:
    order = await (await join()).create(NAME, ORDER)
    assert await order.undo() is None
    assert await order.redo() is None
    states: list[Any] = [order.value]
    await order.set("/n", 2)
    states.append(order.value)
    await order.remove("/tags/0")
    states.append(order.value)
    await order.put({"n": 2, "all": "new"})
    states.append(order.value)
    for state in reversed(states[:-1]):
        assert await order.undo() is not None
        assert order.value == state
    assert await order.undo() is None
    for state in states[1:]:
        assert await order.redo() is not None
        assert order.value == state == await head(client)
    assert await order.redo() is None


async def test_what_others_did_since_stays(join: Join) -> None:
    ann, bob = await join(), await join()
    order = await ann.create(NAME, ORDER)
    await order.set("/tags/0", "mine")
    other = await bob.doc(NAME)
    await other.patch([{"op": "add", "path": "/tags/0", "value": "theirs"}])
    await order.refresh()
    await order.undo()
    assert order.value["tags"] == ["theirs", "x"]
    await order.redo()
    assert order.value["tags"] == ["theirs", "mine"]


async def test_a_new_edit_ends_what_could_be_made_again(join: Join) -> None:
    order = await (await join()).create(NAME, ORDER)
    await order.set("/n", 2)
    await order.undo()
    await order.set("/title", "B")
    assert await order.redo() is None
    assert order.value == {**ORDER, "title": "B"}


async def test_what_others_overwrote_is_a_conflict_to_settle(join: Join) -> None:
    ann, bob = await join(), await join()
    order = await ann.create(NAME, ORDER)
    await order.set("/n", 2)
    await (await bob.doc(NAME)).set("/n", 3)
    await order.refresh()
    with pytest.raises(MergeConflict) as caught:
        await order.undo()
    assert [field.pointer for field in caught.value] == ["/n"]
    assert order.value["n"] == 3
    await order.undo(on_conflict=yours)
    assert order.value["n"] == 1


async def test_every_way_to_write_can_be_undone(join: Join) -> None:
    ann, bob = await join(), await join()
    order = await ann.create(NAME, ORDER)
    other = await bob.doc(NAME)
    await other.set("/title", "theirs")
    with pytest.raises(MergeConflict) as caught:
        await order.set("/title", "mine")
    caught.value.choose_all("yours")
    await caught.value.save()
    await order.update(lambda draft: draft.update(n=9))
    await order.patch([{"op": "replace", "path": "/deep/a/b", "value": 7}], base=2)
    await order.undo()
    assert (order.value["deep"], order.value["n"]) == (ORDER["deep"], 9)
    await order.undo()
    assert (order.value["n"], order.value["title"]) == (1, "mine")
    await order.undo()
    assert order.value == {**ORDER, "title": "theirs"}


async def test_an_edit_that_came_to_nothing_cannot_be_undone(join: Join) -> None:
    ann, bob = await join(), await join()
    order = await ann.create(NAME, ORDER)
    await order.set("/n", 2)
    await (await bob.doc(NAME)).set("/title", "theirs")
    with pytest.raises(MergeConflict):
        await order.set("/title", "mine")
    await order.undo()
    assert order.value == {**ORDER, "title": "theirs"}


async def test_an_undo_that_came_to_nothing_can_be_tried_again(join: Join, through: Through) -> None:
    network = Network()
    session, _ = await through(network)
    order = await (await join(session, retry=Retry(attempts=1))).create(NAME, ORDER)
    await order.set("/n", 2)
    network.fault = Fault.CUT_BEFORE
    with pytest.raises(TransportError):
        await order.undo()
    assert order.value["n"] == 2
    network.on()
    await order.undo()
    assert order.value["n"] == 1
    network.fault = Fault.CUT_BEFORE
    with pytest.raises(TransportError):
        await order.redo()
    network.on()
    await order.redo()
    assert order.value["n"] == 2


async def test_as_many_can_be_undone_as_are_kept(join: Join, client: ClientSession) -> None:
    order = await (await join()).create(NAME, ORDER)
    for number in range(UNDO_EDITS_MAX + 5):
        await order.set("/n", number + 2, wait=False)
    await order.saved()
    undone = 0
    while await order.undo() is not None:
        undone += 1
    assert (undone, order.value["n"]) == (UNDO_EDITS_MAX, 6)
    assert len(await history(client)) == 1 + 2 * UNDO_EDITS_MAX + 5
