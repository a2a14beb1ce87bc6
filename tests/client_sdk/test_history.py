"""What a document was: read at any time, told line by line, and brought back."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from client_sdk.conftest import Join, Through
from client_sdk.people import NAME, ORDER, Network, head, history
from conftest import Serve
from plait_client import (
    AsyncPlait,
    BaseUnknown,
    Compacted,
    Deleted,
    Document,
    InvalidPatch,
    MergeConflict,
    NotFound,
    Plait,
    Refused,
    Version,
    theirs,
    yours,
)
from plait_merge import apply
from simulation.faulty_proxy import Fault


async def _story(join: Join) -> tuple[Document, Document]:
    """Revisions 1 to 5, by two people; the second one knows of the first revision only."""
    ann, bob = await join(author="ann"), await join(author="bob")
    order = await ann.create(NAME, ORDER)
    other = await bob.doc(NAME)
    await order.set("/title", "B", message="a better one")
    await (await (await join(author="bob")).doc(NAME)).set("/n", 2)
    await order.set("/tags/-", "y")
    await order.set("/title", "C")
    return order, other


async def test_it_is_read_as_it_was(join: Join) -> None:
    order, other = await _story(join)
    third = await other.at(revision=3)
    assert (third.revision, third.value, third.author) == (3, {**ORDER, "title": "B", "n": 2}, "bob")
    assert third.at is not None
    assert other.revision == 1  # what is shown stays what it is
    by_time = [await order.at(each.at) for each in [revision async for revision in order.history()]]
    assert by_time[-1].revision >= 1
    assert (await order.at(third.at)).revision >= 3
    last = await order.at(datetime.now(UTC) + timedelta(days=1))
    elsewhere = await order.at(datetime.now(timezone(timedelta(hours=5))) + timedelta(days=1))
    assert last == elsewhere == Version(5, order.value, last.author, last.at)


async def test_a_label_names_a_revision(join: Join) -> None:
    order, other = await _story(join)
    await order.label("first", 1)
    await order.label("sent")
    await other.label("sent-to-bob", 3)
    assert [(each.label, each.revision, each.author) for each in await other.labels()] == [
        ("first", 1, "ann"),
        ("sent", 5, "ann"),
        ("sent-to-bob", 3, "bob"),
    ]
    assert (await other.at(label="sent-to-bob")).value == (await other.at(revision=3)).value
    await order.label("sent", 4)
    labelled = [(each.revision, each.labels) async for each in order.history(labelled=True)]
    assert labelled == [(4, ("sent",)), (3, ("sent-to-bob",)), (1, ("first",))]
    told = [each.labels async for each in order.history()]
    assert told == [(), ("sent",), ("sent-to-bob",), (), ("first",)]
    await other.unlabel("sent")
    assert [each.label for each in await order.labels()] == ["first", "sent-to-bob"]
    with pytest.raises(NotFound):
        await order.at(label="sent")


async def test_history_tells_of_one_place_and_what_it_is_called(join: Join) -> None:
    order, _ = await _story(join)
    await order.label("named", 2)
    await order.label("also", 2)
    told = [(each.revision, each.labels) async for each in order.history("/title")]
    assert told == [(5, ()), (2, ("also", "named")), (1, ())]
    assert [each.revision async for each in order.history("/title", labelled=True)] == [2]


async def test_each_leaf_has_somebody_who_set_it(join: Join) -> None:
    order, other = await _story(join)
    leaves = {leaf.pointer: (leaf.revision, leaf.author) for leaf in await order.blame()}
    assert leaves == {
        "/title": (5, "ann"),
        "/n": (3, "bob"),
        "/tags/0": (1, "ann"),
        "/tags/1": (4, "ann"),
        "/deep/a/b": (1, "ann"),
        "/log": (1, "ann"),
    }
    assert [leaf.pointer for leaf in await other.blame("/tags")] == ["/tags/0", "/tags/1"]
    assert [(leaf.pointer, leaf.revision) for leaf in await order.blame("/title", revision=4)] == [
        ("/title", 2)
    ]
    with pytest.raises(NotFound):
        await order.blame("/none")


async def test_blame_of_many_leaves_comes_whole(join: Join) -> None:
    plait = await join()
    order = await plait.create(NAME, {"rows": [[n, n] for n in range(1_300)]})
    await order.set("/rows/1299/1", "new")
    leaves = await order.blame()
    assert [leaf.pointer for leaf in leaves] == [f"/rows/{n // 2}/{n % 2}" for n in range(2_600)]
    assert [leaf.revision for leaf in leaves[-2:]] == [1, 2]


async def test_a_difference_leads_from_one_to_the_other(join: Join) -> None:
    order, other = await _story(join)
    for start, end in ((1, 5), (5, 1), (2, 4), (3, 3)):
        before, after = await order.at(revision=start), await order.at(revision=end)
        assert apply(before.value, await other.diff(start, end)) == after.value
    assert await order.diff(2) == await order.diff(2, 5)
    with pytest.raises(NotFound):
        await order.diff(1, 9)


async def test_one_revision_is_taken_back_and_the_later_ones_stay(join: Join, client: ClientSession) -> None:
    order, _ = await _story(join)
    saved = await order.revert(revision=3, message="not so")
    assert saved.outcome in ("applied", "merged")
    expected = {**ORDER, "title": "C", "tags": ["x", "y"]}
    assert order.value == await head(client) == expected
    last = (await history(client))[-1]
    assert (last["revision"], last["author"], last["message"]) == (6, "ann", "not so")
    await order.undo()
    assert order.value["n"] == 2


async def test_several_revisions_are_taken_back_as_one(join: Join, client: ClientSession) -> None:
    _, other = await _story(join)
    await other.revert(revisions=(3, 4))
    assert other.value == await head(client) == {**ORDER, "title": "C"}
    assert len(await history(client)) == 6


async def test_what_was_changed_since_is_a_conflict(join: Join, client: ClientSession) -> None:
    order, other = await _story(join)
    with pytest.raises(MergeConflict) as caught:
        await other.revert(revision=2)
    (field,) = caught.value
    assert (field.pointer, field.base.value, field.theirs.value, field.yours.value) == (
        "/title",
        "B",
        "C",
        "A",
    )
    assert other.value == order.value
    field.choose("yours")
    await caught.value.save()
    assert (await head(client)) == {**ORDER, "n": 2, "tags": ["x", "y"]}
    assert (await order.revert(revision=2, on_conflict=theirs)).outcome == "noop"
    await order.set("/title", "D")
    await order.revert(revision=5, on_conflict=yours)
    assert order.value["title"] == "B"


async def test_it_is_made_again_what_it_was(join: Join, client: ClientSession) -> None:
    order, other = await _story(join)
    await other.restore(revision=1, message="back")
    assert other.value == ORDER == await head(client)
    await order.refresh()
    await order.delete()
    with pytest.raises(InvalidPatch):
        await order.restore(revision=7)
    await order.restore(revision=4)
    assert order.exists
    assert order.value == await head(client) == (await order.at(revision=4)).value


async def test_what_never_was_is_not_there(join: Join) -> None:
    order, _ = await _story(join)
    made = (await order.at(revision=1)).at
    assert made is not None
    with pytest.raises(NotFound):
        await order.at("2001-01-01T00:00:00Z")
    with pytest.raises(NotFound):
        await order.at(revision=9)
    with pytest.raises(NotFound):
        await order.at(label="none")
    with pytest.raises((NotFound, InvalidPatch)):
        await order.label("later", 9)
    with pytest.raises(NotFound):
        await order.unlabel("none")
    with pytest.raises((NotFound, InvalidPatch, Refused)):
        await order.revert(revision=9)
    with pytest.raises((NotFound, InvalidPatch, Refused)):
        await order.revert(revisions=(4, 2))
    await order.delete()
    with pytest.raises(Deleted):
        await order.at(datetime.now(UTC) + timedelta(days=1))
    assert (await order.at(revision=5)).value is not None


async def test_what_makes_no_sense_is_not_asked(join: Join) -> None:
    plait = await join()
    order = await plait.create(NAME, ORDER)
    before = plait.counters.requests
    for given in ({}, {"moment": "2026-01-01T00:00:00Z", "revision": 1}, {"revision": 1, "label": "a"}):
        with pytest.raises(TypeError):
            await order.at(**given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="time zone"):
        await order.at(datetime(2026, 1, 1))
    for label in ("", "a b", "a/b", "x" * 65, "ä"):
        with pytest.raises(ValueError, match="label"):
            await order.label(label)
        with pytest.raises(ValueError, match="label"):
            await order.unlabel(label)
    with pytest.raises(ValueError, match="pointer"):
        await order.blame("title")
    with pytest.raises(TypeError):
        await order.revert()
    with pytest.raises(TypeError):
        await order.revert(revision=1, revisions=(1, 2))
    assert plait.counters.requests == before


async def test_what_is_kept_no_longer_is_told_as_such(join: Join, serve: Serve, tmp_path: Path) -> None:
    plait = await join(await serve(db=tmp_path / "short.db", compaction_interval_s=0.01))
    await plait.set_rules("orders", retention={"revisions": 2}, if_match=0)
    assert (await plait.rules("orders")).retention == {"revisions": 2, "days": None, "labelled": True}
    order = await plait.create(NAME, ORDER)
    await order.label("first")
    for n in range(30):
        await order.set("/n", n)
    kept = await _kept(plait, order)
    assert kept[0] == 31
    assert kept[-1] == 1  # it has a label
    assert (await order.at(label="first")).value == ORDER
    gone = max({*range(1, 31)} - {*kept})
    with pytest.raises(Compacted) as caught:
        await order.at(revision=gone)
    assert caught.value.problem is not None
    assert caught.value.code == "revision-compacted"
    with pytest.raises(BaseUnknown):
        await order.patch([{"op": "replace", "path": "/title", "value": "late"}], base=gone)


async def _kept(plait: AsyncPlait, order: Document) -> list[int]:
    """Wait until something was compacted, and name what is kept, the newest first."""
    async with asyncio.timeout(30):
        while True:
            kept = [each.revision async for each in order.history()]
            if len(kept) < order.revision:
                return kept


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.TRUNCATED_JSON])
async def test_it_is_taken_back_once_whatever_the_network_does(
    join: Join, through: Through, client: ClientSession, fault: Fault
) -> None:
    network = Network()
    session, _ = await through(network)
    await _story(join)
    order = await (await join(session)).doc(NAME)
    network.only, network.next = "POST", [fault]
    await order.revert(revision=3)
    network.only, network.next = "PUT", [fault]
    await order.label("once")
    network.only, network.next = "DELETE", [fault]
    await order.unlabel("once")
    assert len(await history(client)) == 6


def _work(url: str) -> list[object]:
    with Plait(url, author="ann") as plait:
        order = plait.create(NAME, {"n": 1, "title": "A"})
        order.set("/n", 2)
        order.set("/title", "B")
        order.label("ready")
        order.revert(revision=2)
        values: list[Any] = [order.value, order.at(label="ready").value, order.diff(1)]
        values.append([(leaf.pointer, leaf.revision) for leaf in order.blame()])
        values.append([revision.labels for revision in order.history(labelled=True)])
        order.restore(revision=1)
        order.unlabel("ready")
        return [*values, order.value, order.labels()]


async def test_without_a_loop(client: ClientSession) -> None:
    assert await asyncio.to_thread(_work, str(client._base_url)) == [
        {"n": 1, "title": "B"},
        {"n": 2, "title": "B"},
        [{"op": "replace", "path": "/title", "value": "B"}],
        [("/n", 4), ("/title", 3)],
        [("ready",)],
        {"n": 1, "title": "A"},
        [],
    ]
