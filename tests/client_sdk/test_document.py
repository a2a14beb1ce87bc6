"""A document of the client and the real server: every call, and values that are none."""

import asyncio
import collections
import datetime
import enum
import math
from typing import Any

import pytest
from aiohttp import ClientSession

from client_sdk.conftest import Join
from client_sdk.people import NAME, ORDER, head, history, keys
from plait_client import (
    ABSENT,
    BaseUnknown,
    Deleted,
    InvalidPatch,
    MergeConflict,
    NotFound,
    PreconditionFailed,
    Settled,
    TestFailed,
)


class Colour(enum.IntEnum):
    RED = 1


def _endless_object() -> dict[str, Any]:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    return endless


def _endless_list() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    return deep


NO_JSON = {
    "a date": datetime.datetime(2020, 1, 1),
    "a tuple": (1, 2),
    "a tuple inside": [{"a": (1, 2)}],
    "numbers as names": {1: 2},
    "not a number": math.nan,
    "infinity": [math.inf],
    "an endless object": _endless_object(),
    "an endless list": _endless_list(),
    "10,000 levels": _deep(),
    "a set": {1},
    "bytes": b"x",
    "a kind of int": Colour.RED,
    "a kind of dict": collections.OrderedDict(a=1),
    "half a character": "\ud800",
    "half a character in a name": {"\ud800": 1},
    "an integer of 5,000 digits": 10**5_000,
    "an object": object(),
    "2 MB": "x" * 2_000_000,
}


async def test_an_edit_is_saved_and_seen_by_others(join: Join, client: ClientSession) -> None:
    ann, bob = await join(author="ann"), await join(author="bob")
    order = await ann.create(NAME, ORDER)
    async with order.edit(message="more") as draft:
        draft["n"] = 2
        draft["tags"].append("y")
    assert order.last_save is not None
    assert (order.last_save.outcome, order.revision, order.etag) == ("applied", 2, '"2"')
    other = await bob.doc(NAME)
    assert other.value == order.value == await head(client)
    assert (other.author, other.updated_at is not None) == ("ann", True)
    assert [revision["message"] for revision in await history(client)] == [None, "more"]


async def test_others_edits_are_in_the_value_after_a_save(join: Join) -> None:
    ann, bob = await join(), await join()
    order = await ann.create(NAME, ORDER)
    other = await bob.doc(NAME)
    await order.set("/title", "B")
    saved = await other.set("/n", 5)
    assert saved.outcome == "merged"
    assert other.value == {**ORDER, "title": "B", "n": 5}


async def test_an_exception_inside_an_edit_sends_nothing(join: Join, client: ClientSession) -> None:
    order = await (await join()).create(NAME, ORDER)
    with pytest.raises(ZeroDivisionError):
        async with order.edit() as draft:
            draft["n"] = 1 / 0
    async with order.edit() as draft:
        draft["tags"] = ["x"]
    assert order.value == ORDER
    assert not order.pending
    assert len(await history(client)) == 1


async def test_a_draft_is_a_copy(join: Join) -> None:
    order = await (await join()).create(NAME, ORDER)
    async with order.edit() as draft:
        draft["deep"]["a"]["b"] = 2
        assert order.value == ORDER
    assert order.value["deep"] == {"a": {"b": 2}}


async def test_what_was_saved_is_nobody_elses(join: Join, client: ClientSession) -> None:
    """A program goes on using its lists after it has put them into a document."""
    order = await (await join()).create(NAME, mine := {"tags": ["a"]})
    mine["tags"].append("not meant")
    new: list[Any] = [1]
    async with order.edit() as draft:
        draft["new"] = new
    new.append("not meant")
    patch: list[dict[str, Any]] = [{"op": "add", "path": "/more", "value": new}]
    await order.patch(patch, wait=False)
    new.append("not meant")
    patch[0]["path"] = "/not/meant"
    last: dict[str, list[int]] = {"a": []}
    await order.set("/last", last, wait=False)
    last["a"].append(9)
    await order.saved()
    expected = {"tags": ["a"], "new": [1], "more": [1, "not meant"], "last": {"a": []}}
    assert order.value == await head(client) == expected


@pytest.mark.parametrize("value", NO_JSON.values(), ids=NO_JSON)
async def test_what_is_no_json_changes_nothing(join: Join, client: ClientSession, value: Any) -> None:
    plait = await join()
    order = await plait.create(NAME, ORDER)

    async def by_edit() -> None:
        async with order.edit() as draft:
            draft["deep"]["a"]["new"] = value

    async def by_update() -> None:
        await order.update(lambda draft: draft["tags"].append(value))

    roads = [
        by_edit(),
        by_update(),
        order.set("/n", value),
        order.put({"n": value}),
        order.put({"n": value}, if_match=1),
        order.patch([{"op": "add", "path": "/tags/-", "value": value}]),
        order.patch([{"op": "add", "path": "/tags/-", "value": value}], base=1),
        plait.create("orders", {"n": value}),
        plait.create("orders/9", {"n": value}),
        plait.doc("orders/9", default={"n": value}),
    ]
    for road in roads:
        with pytest.raises(InvalidPatch):
            await road
        assert order.value == ORDER
        assert not order.pending
    assert len(await history(client)) == 1


@pytest.mark.parametrize(
    "patch",
    [
        "no patch",
        [{"op": "turn", "path": ""}],
        [{"op": "add", "path": "no pointer", "value": 1}],
        [{"op": "remove", "path": "/nothing"}],
        [{"op": "add", "path": "/tags/9", "value": 1}],
        [{"op": "remove", "path": ""}],
        [{"op": "add", "path": "/n/deep", "value": 1}],
        [None],
    ],
)
async def test_a_patch_that_cannot_be_is_refused_before_it_is_sent(join: Join, patch: Any) -> None:
    plait = await join()
    order = await plait.create(NAME, ORDER)
    sent = plait.counters.requests
    with pytest.raises(InvalidPatch):
        await order.patch(patch)
    assert (order.value, order.pending, plait.counters.requests) == (ORDER, (), sent)


async def test_a_test_that_is_false_fails_as_such(join: Join) -> None:
    order = await (await join()).create(NAME, ORDER)
    patch = [{"op": "test", "path": "/n", "value": 9}, {"op": "replace", "path": "/n", "value": 2}]
    with pytest.raises(TestFailed):
        await order.patch(patch)
    with pytest.raises(TestFailed):
        await order.patch(patch, base=1)
    assert order.value == ORDER


async def test_a_patch_may_be_made_on_an_older_revision(join: Join) -> None:
    order = await (await join()).create(NAME, ORDER)
    await order.set("/title", "B")
    saved = await order.patch([{"op": "replace", "path": "/n", "value": 9}], base=1)
    assert saved.outcome == "merged"
    assert order.value == {**ORDER, "title": "B", "n": 9}
    with pytest.raises(MergeConflict):
        await order.patch([{"op": "replace", "path": "/title", "value": "C"}], base=1)
    with pytest.raises(BaseUnknown):
        await order.patch([{"op": "replace", "path": "/n", "value": 1}], base=99)


async def test_places_are_set_and_removed(join: Join) -> None:
    order = await (await join()).create(NAME, ORDER)
    await order.set("/tags/-", "z")
    await order.set("/tags/0", "first")
    await order.set("/new", {"a": 1})
    await order.remove("/deep/a/b")
    assert order.value == {**ORDER, "tags": ["first", "z"], "new": {"a": 1}, "deep": {"a": {}}}
    with pytest.raises(ValueError, match="pointer"):
        await order.set("new", 1)


async def test_a_value_that_is_put_is_merged_unless_it_insists(join: Join) -> None:
    ann, bob = await join(), await join()
    order, other = await ann.create(NAME, ORDER), await bob.doc(NAME)
    await order.set("/title", "B")
    saved = await other.put({**ORDER, "n": 2})
    assert saved.outcome == "merged"
    assert other.value == {**ORDER, "title": "B", "n": 2}
    with pytest.raises(PreconditionFailed):
        await order.put({}, if_match=order.revision)
    with pytest.raises(PreconditionFailed):
        await order.put({}, if_match="missing")
    await order.refresh()
    await order.put({"all": "new"}, if_match=order.etag)
    assert order.value == {"all": "new"}


async def test_deleted_documents_are_gone_and_may_come_again(join: Join, client: ClientSession) -> None:
    plait, other = await join(), await join()
    order = await plait.create(NAME, ORDER)
    theirs = await other.doc(NAME)
    await order.delete()
    assert (order.value, order.exists, order.revision) == (ABSENT, False, 2)
    for _ in range(2):
        with pytest.raises(Deleted):
            await plait.doc(NAME)
        with pytest.raises(Deleted):
            await (await join()).doc(NAME)
        with pytest.raises(Deleted):
            await order.set("/n", 1)
    with pytest.raises(MergeConflict) as caught:
        await theirs.set("/n", 5)
    assert [field.kind for field in caught.value] == ["remove_edit"]
    assert await plait.doc(NAME, default={"again": True}) is order
    assert order.value == await head(client) == {"again": True}
    assert order.revision == 3


async def test_an_edit_of_a_document_that_was_deleted_meanwhile_can_bring_it_back(
    join: Join, client: ClientSession
) -> None:
    ann, bob = await join(), await join()
    order, other = await ann.create(NAME, ORDER), await bob.doc(NAME)

    async def edit() -> None:
        async with order.edit() as draft:
            draft["n"] = 7
            await other.delete()
            await order.refresh()
            assert not order.exists

    with pytest.raises(MergeConflict) as caught:
        await edit()
    for field in caught.value:
        field.choose("yours")
    await caught.value.save()
    assert order.value == await head(client) == {**ORDER, "n": 7}


async def test_a_delete_over_others_changes_conflicts(join: Join) -> None:
    ann, bob = await join(), await join()
    order, other = await ann.create(NAME, ORDER), await bob.doc(NAME)
    await order.set("/n", 2)
    with pytest.raises(MergeConflict):
        await other.delete()
    with pytest.raises(PreconditionFailed):
        await order.delete(if_match=1)
    await order.delete(if_match=2)
    saved = await order.delete()
    assert saved.outcome in ("deleted", "noop")


async def test_documents_that_never_were(join: Join) -> None:
    plait = await join()
    for _ in range(2):
        with pytest.raises(NotFound) as caught:
            await plait.doc(NAME)
        assert not isinstance(caught.value, Deleted)
    order = await plait.doc(NAME, default=ORDER)
    assert (order.value, order.revision) == (ORDER, 1)
    for name in ("orders", "orders/", "Orders/7", "orders/a b", "orders/../7", "orders/" + "x" * 129, ""):
        with pytest.raises(ValueError, match="is no name of a document"):
            await plait.doc(name)


async def test_one_name_is_one_object(join: Join) -> None:
    plait = await join()
    await plait.create(NAME, ORDER)
    documents = await asyncio.gather(*[plait.doc(NAME) for _ in range(20)])
    assert len({id(document) for document in documents}) == 1
    assert await plait.doc(NAME, live=True) is documents[0]


async def test_many_who_need_a_document_create_it_once(join: Join, client: ClientSession) -> None:
    clients = [await join() for _ in range(4)]
    opened = await asyncio.gather(
        *[plait.doc(NAME, default={"by": number}) for number, plait in enumerate(clients) for _ in range(3)]
    )
    assert {document.revision for document in opened} == {1}
    assert len(await history(client)) == 1


async def test_many_tasks_edit_one_document(join: Join, client: ClientSession) -> None:
    order = await (await join()).create(NAME, ORDER)

    async def edit(number: int) -> None:
        async with order.edit() as draft:
            await asyncio.sleep(0)
            draft["log"].append(number)
            draft[f"by {number}"] = number

    await asyncio.gather(*[edit(number) for number in range(30)])
    assert sorted(order.value["log"]) == list(range(30))
    assert order.value == await head(client)
    assert len(await keys(client)) == 31


async def test_an_edit_holds_no_lock(join: Join) -> None:
    order = await (await join()).create(NAME, ORDER)
    async with order.edit() as draft:
        await order.set("/n", 2)
        async with order.edit() as inner:
            inner["title"] = "inner"
        draft["tags"].append("outer")
    assert order.value == {**ORDER, "n": 2, "title": "inner", "tags": ["x", "outer"]}


async def test_history_tells_of_one_place(join: Join) -> None:
    order = await (await join(author="ann")).create(NAME, ORDER)
    await order.set("/n", 2)
    await order.set("/deep/a/b", 3)
    await order.remove("/deep")
    assert [each.revision async for each in order.history("/deep/a")] == [4, 3, 1]
    assert [each.revision async for each in order.history()] == [4, 3, 2, 1]
    assert {each.author async for each in order.history()} == {"ann"}


async def test_what_is_decided_is_not_sent_again(join: Join) -> None:
    """A conflict, a precondition that failed, and a patch that is wrong."""
    plait, bob = await join(), await join()
    order = await plait.create(NAME, ORDER)
    await (await bob.doc(NAME)).set("/title", "theirs")
    requests = plait.counters.attempts
    with pytest.raises(PreconditionFailed):
        await order.put({}, if_match=1)
    with pytest.raises(InvalidPatch):
        await order.patch([{"op": "remove", "path": "/nothing"}], base=1)
    with pytest.raises(MergeConflict):
        await order.set("/title", "mine")
    reads = 1  # what the edit clashed with
    assert plait.counters.attempts - requests == 2 + reads
    assert plait.counters.retries == 0


async def test_everything_that_is_saved_is_counted_and_told(join: Join) -> None:
    """Whichever way it goes to the server."""
    told: list[Settled] = []
    conflicts: list[Any] = []
    plait, bob = await join(on_settled=told.append, on_conflict=conflicts.append), await join()
    order = await plait.create(NAME, ORDER)
    await order.set("/n", 2)
    await order.update(lambda draft: draft.update(n=3))
    await order.put({**ORDER, "n": 4}, if_match=order.revision)
    other = await bob.doc(NAME)
    await other.set("/title", "theirs")
    with pytest.raises(MergeConflict) as caught:
        await order.set("/title", "mine")
    for field in caught.value:
        field.choose("yours")
    await caught.value.save()
    await order.delete()
    outcomes = ["created", "applied", "applied", "applied", "conflict", "applied", "deleted"]
    assert [each.outcome for each in told] == outcomes
    assert [each.revision for each in told] == [1, 2, 3, 4, None, 6, 7]
    assert all(each.key for each in told)
    counters = plait.counters
    assert (counters.saved, counters.conflicts, counters.refused) == (6, 1, 0)
    assert conflicts == [caught.value]
