"""Counting without trying again, and what holds for the documents of a collection."""

import asyncio

import pytest
from aiohttp import ClientSession

from client_sdk.conftest import Join
from client_sdk.people import NAME, head, history
from plait_client import InvalidPatch, MergeConflict, PreconditionFailed, Retry


async def test_increments_add_up_whoever_makes_them(join: Join, client: ClientSession) -> None:
    clients = [await join(retry=Retry(deadline_s=60)) for _ in range(5)]
    await clients[0].create(NAME, {"n": 0, "title": "A"})
    counters = [await plait.doc(NAME) for plait in clients]
    await asyncio.gather(*[counter.inc("/n", 2) for counter in counters for _ in range(10)])
    assert await head(client) == {"n": 100, "title": "A"}
    assert len(await history(client)) == 51
    await counters[0].refresh()
    assert counters[0].value["n"] == 100


async def test_an_increment_comes_after_what_was_typed(join: Join) -> None:
    counter = await (await join()).create(NAME, {"n": 0})
    await counter.set("/n", 10, wait=False)
    assert (await counter.inc("/n")).outcome == "applied"
    assert counter.value == {"n": 11}


async def test_what_is_no_number_cannot_be_added_to(join: Join) -> None:
    order = await (await join()).create(NAME, {"title": "A"})
    with pytest.raises(InvalidPatch):
        await order.inc("/title")
    with pytest.raises(InvalidPatch):
        await order.inc("/nothing")
    assert order.revision == 1


async def test_an_increment_of_what_others_removed_is_a_conflict(join: Join) -> None:
    ann, bob = await join(author="ann"), await join(author="bob")
    order = await ann.create(NAME, {"n": 1})
    other = await bob.doc(NAME)
    await order.remove("/n")
    with pytest.raises(MergeConflict) as caught:
        await other.inc("/n")
    assert [field.kind for field in caught.value] == ["remove_edit"]


async def test_rules_of_a_collection_are_set_once_and_by_whom_saw_them(join: Join) -> None:
    plait = await join(author="ann")
    rules = await plait.rules("orders")
    assert (rules.revision, rules.policy, rules.merge) == (0, None, "auto")
    policy = {"rules": {"/n": {"scalar": "sum"}}}
    rules = await plait.set_rules("orders", policy=policy, if_match=rules.revision)
    assert (rules.revision, rules.author, rules.policy) == (1, "ann", policy)
    with pytest.raises(PreconditionFailed):
        await plait.set_rules("orders", if_match=0)
    with pytest.raises(InvalidPatch):
        await plait.set_rules("orders", policy={"rules": {"/n": {"scalar": "guess"}}}, if_match=1)


async def test_a_policy_decides_what_would_be_a_conflict(join: Join) -> None:
    ann, bob = await join(), await join()
    await ann.set_rules("orders", policy={"rules": {"/n": {"scalar": "sum"}}}, if_match=0)
    order = await ann.create(NAME, {"n": 10})
    other = await bob.doc(NAME)
    await order.set("/n", 12)
    assert (await other.set("/n", 15)).outcome == "merged"
    assert other.value == {"n": 17}


async def test_two_edits_that_fit_only_apart_are_a_conflict_of_the_schema(join: Join) -> None:
    ann, bob = await join(), await join()
    schema = {"properties": {"tags": {"maxItems": 3}}}
    await ann.set_rules("orders", schema=schema, if_match=0)
    order = await ann.create(NAME, {"tags": ["a"]})
    other = await bob.doc(NAME)
    with pytest.raises(InvalidPatch):
        await order.set("/tags", ["a", "b", "c", "d"])
    await order.patch([{"op": "add", "path": "/tags/0", "value": value} for value in "bc"])
    with pytest.raises(MergeConflict) as caught:
        await other.set("/tags/-", "d")
    (field,) = caught.value
    assert (field.kind, field.pointer, field.options) == ("schema", "/tags", frozenset({"theirs"}))
    field.choose("theirs")
    await caught.value.save()
    assert other.value == {"tags": ["c", "b", "a"]}
