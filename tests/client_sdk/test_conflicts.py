"""Conflicts: what is told of them, every way to settle them, and what is kept while nobody has."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from client_sdk.conftest import Join, Through
from client_sdk.people import NAME, ORDER, Network, head, history, keys
from plait_client import (
    Choice,
    Document,
    Facet,
    Field,
    InvalidPatch,
    MergeConflict,
    NotFound,
    TransportError,
    Value,
    add,
    both,
    by_pointer,
    theirs,
    yours,
)
from simulation.faulty_proxy import Fault


async def _clashing(join: Join, **given: Any) -> tuple[Document, Document]:
    """Two people's copies of one document; the first has changed /title and /n, and the second knows not."""
    ann, bob = await join(author="ann"), await join(author="bob", **given)
    order = await ann.create(NAME, ORDER)
    other = await bob.doc(NAME)
    async with order.edit() as draft:
        draft.update(title="Ann's", n=5)
    return order, other


async def _conflict(document: Document, **change: Any) -> MergeConflict:
    with pytest.raises(MergeConflict) as caught:
        async with document.edit(message="mine") as draft:
            draft.update(change)
    return caught.value


async def _overtaken(
    document: Document, overtake: Callable[[], Awaitable[Any]], **change: Any
) -> MergeConflict:
    """Have the document move while a draft of it is open."""

    async def edit() -> None:
        async with document.edit(message="mine") as draft:
            draft.update(change)
            await overtake()
            await document.refresh()

    with pytest.raises(MergeConflict) as caught:
        await edit()
    return caught.value


async def _nothing() -> None:
    pass


async def test_a_conflict_tells_all_and_writes_nothing(join: Join, client: ClientSession) -> None:
    _, other = await _clashing(join)
    conflict = await _conflict(other, title="Bob's", tags=["x", "y"])
    (field,) = conflict
    assert (field.pointer, field.kind, field.author) == ("/title", "edit_edit", "ann")
    assert (field.pointer_theirs, field.pointer_yours) == ("/title", "/title")
    assert (field.base.value, field.theirs.value, field.yours.value) == ("A", "Ann's", "Bob's")
    assert field.at is not None
    assert (conflict.base_revision, conflict.head_revision, conflict.clean) == (1, 2, 1)
    assert conflict.draft == {**ORDER, "title": "Bob's", "tags": ["x", "y"]}
    assert conflict.request_id
    assert not other.pending
    assert len(await history(client)) == 2


@pytest.mark.parametrize(
    ("choice", "title"),
    [("yours", "Bob's"), ("theirs", "Ann's"), ("base", "A"), (Value("Both's"), "Both's")],
)
async def test_the_choice_is_saved_with_the_clean_part(
    join: Join, client: ClientSession, choice: Choice, title: str
) -> None:
    _, other = await _clashing(join)
    conflict = await _conflict(other, title="Bob's", tags=["y"])
    with pytest.raises(ValueError, match="undecided"):
        await conflict.save()
    for field in conflict:
        if isinstance(choice, Value):
            field.choose(value=choice.value)
        else:
            field.choose(choice)
    saved = await conflict.save()
    assert saved.outcome == "applied"
    assert other.value == await head(client) == {**ORDER, "title": title, "n": 5, "tags": ["y"]}
    assert (await history(client))[-1]["message"] == "mine"


async def test_after_a_conflict_the_document_is_what_it_clashed_with(join: Join) -> None:
    """Who makes the edit again makes it on fresh data."""
    order, other = await _clashing(join)
    await _conflict(other, title="Bob's")
    assert other.value == order.value
    await other.set("/title", "Bob's")
    assert other.value == {**ORDER, "title": "Bob's", "n": 5}


async def test_saving_a_settled_conflict_again_is_the_same_save(join: Join, client: ClientSession) -> None:
    _, other = await _clashing(join)
    conflict = await _conflict(other, title="Bob's")
    conflict.choose_all("yours")
    first, second = await asyncio.gather(conflict.save(), conflict.save())
    assert first == second == await conflict.save()
    assert len(await history(client)) == 3


async def test_a_choice_that_is_no_json_is_refused_at_once(join: Join) -> None:
    _, other = await _clashing(join)
    (field,) = await _conflict(other, title="Bob's")
    with pytest.raises(InvalidPatch):
        field.choose(value=(1, 2))
    with pytest.raises(TypeError):
        field.choose()
    assert not field.decided
    field.choose("yours")
    field.undecide()
    assert not field.decided


async def test_a_conflict_may_conflict_again_and_keeps_the_draft(join: Join, client: ClientSession) -> None:
    order, other = await _clashing(join)
    conflict = await _conflict(other, title="Bob's", tags=["y"])
    conflict.choose_all("yours")
    await order.set("/title", "Ann's second")
    with pytest.raises(MergeConflict) as caught:
        await conflict.save()
    again = caught.value
    assert again.draft == conflict.draft
    again.choose_all("yours")
    await again.save()
    assert other.value == await head(client) == {**ORDER, "title": "Bob's", "n": 5, "tags": ["y"]}


async def test_what_clashes_before_it_was_sent_is_settled_just_so(join: Join, client: ClientSession) -> None:
    """The document moves while the draft is open; the clash needs no answer of the server."""
    _, other = await _clashing(join)
    conflict = await _overtaken(other, _nothing, title="Bob's", tags=["y"])
    assert [(field.pointer, field.theirs.value) for field in conflict] == [("/title", "Ann's")]
    assert conflict.draft == {**ORDER, "title": "Bob's", "tags": ["y"]}
    conflict.choose_all("yours")
    saved = await conflict.save()
    assert saved.outcome == "applied"
    assert await conflict.save() == saved
    assert other.value == await head(client) == {**ORDER, "title": "Bob's", "n": 5, "tags": ["y"]}


async def test_edits_that_say_the_same_need_no_revision(join: Join, client: ClientSession) -> None:
    _, other = await _clashing(join)
    async with other.edit() as draft:
        draft.update(title="Ann's")
        await other.refresh()
    assert other.last_save is not None
    assert other.last_save.outcome == "noop"
    assert len(await history(client)) == 2


async def test_rules_settle_conflicts_by_where_they_are(join: Join, client: ClientSession) -> None:
    _, other = await _clashing(join)
    rules = by_pointer({"/n": add, "/title": theirs, "**": yours})
    async with other.edit(on_conflict=rules) as draft:
        draft.update(title="Bob's", n=11)
    assert other.value == await head(client) == {**ORDER, "title": "Ann's", "n": 15}
    assert not other.unsaved


async def test_a_rule_may_ask_somebody(join: Join) -> None:
    asked: list[Any] = []

    async def ask(field: Field) -> Choice:
        await asyncio.sleep(0)
        assert field._conflict is not None
        asked.append((field.pointer, field._conflict.draft))
        return "yours"

    _, other = await _clashing(join)
    async with other.edit(on_conflict=ask, wait=False) as draft:
        draft["title"] = "Bob's"
    await other.saved()
    assert asked == [("/title", {**ORDER, "title": "Bob's"})]
    assert other.value["title"] == "Bob's"


async def test_what_a_rule_leaves_open_is_a_conflict(join: Join) -> None:
    _, other = await _clashing(join)
    with pytest.raises(MergeConflict) as caught:
        await other.patch(
            [
                {"op": "replace", "path": "/title", "value": "Bob's"},
                {"op": "replace", "path": "/n", "value": 7},
            ],
            on_conflict=by_pointer({"/n": add, "/title": both}),
        )
    assert [field.pointer for field in caught.value.undecided] == ["/title"]
    assert not other.unsaved


async def test_a_rule_that_fails_is_told_to_the_caller_and_loses_nothing(join: Join) -> None:
    def broken(field: Field) -> Choice:
        raise ZeroDivisionError

    _, other = await _clashing(join)
    with pytest.raises(ZeroDivisionError):
        await other.set("/title", "Bob's", on_conflict=broken)
    (kept,) = other.unsaved
    assert isinstance(kept.error, MergeConflict)
    kept.error.choose_all("yours")
    await kept.error.save()
    assert (other.value["title"], other.unsaved, other.sync_state) == ("Bob's", (), "saved")


async def test_rules_hold_for_every_call(join: Join) -> None:
    order, other = await _clashing(join)
    await other.set("/title", "set", on_conflict=yours)
    await order.put({**order.value, "title": "put"}, on_conflict=yours)
    await other.patch([{"op": "replace", "path": "/title", "value": "patch"}], base=2, on_conflict=yours)
    assert other.value["title"] == "patch"


@pytest.mark.parametrize(
    ("base", "here", "there", "total"),
    [(1, 5, 11, 15), (0.5, 1, 2, 2.5), (1e308, 1.7e308, -1e308, None), ("a", 1, 2, None), (True, 1, 2, None)],
)
def test_numbers_are_added_where_that_gives_a_number(base: Any, here: Any, there: Any, total: Any) -> None:
    field = Field("f", "edit_edit", "/n", Facet(base), Facet(here), Facet(there), ["theirs", "yours"])
    choice = add(field)
    if total is None:
        assert choice is None or choice == Value(here + there - base)
    else:
        assert choice == Value(total)


def test_a_sum_that_no_float_can_hold_stays_undecided() -> None:
    field = Field("f", "edit_edit", "/n", Facet(1), Facet(10**400), Facet(0.5), ["theirs", "yours"])
    assert add(field) is None


@pytest.mark.parametrize(
    ("place", "chosen"),
    [
        ("/a", "one"),
        ("/a/b", "exact"),
        ("/a/c", "star"),
        ("/a/c/d", "deep"),
        ("/z/last", "end"),
        ("/z", "all"),
        ("", "all"),
    ],
)
def test_the_most_specific_pattern_wins(place: str, chosen: str) -> None:
    def rule(name: str) -> Any:
        return lambda field: Value(name)

    patterns = {
        "**": rule("all"),
        "/a": rule("one"),
        "/a/*": rule("star"),
        "/a/b": rule("exact"),
        "/a/**": rule("deep"),
        "/**/last": rule("end"),
    }
    assert by_pointer(patterns)(Field("f", "", place, Facet(1), Facet(1), Facet(1), [])) == Value(chosen)


async def test_a_settlement_whose_answer_is_lost_is_made_once(
    join: Join, through: Through, client: ClientSession
) -> None:
    network = Network()
    session, _ = await through(network)
    ann = await join()
    order = await ann.create(NAME, ORDER)
    other = await (await join(session)).doc(NAME)
    await order.set("/title", "Ann's")
    conflict = await _conflict(other, title="Bob's")
    conflict.choose_all("yours")
    network.fault = Fault.CUT_AFTER
    with pytest.raises(TransportError) as caught:
        await conflict.save()
    assert caught.value.outcome_unknown
    network.on()
    await conflict.save()
    assert other.value == await head(client)
    assert len(await history(client)) == 3


async def test_nobody_waits_and_nothing_is_lost(join: Join) -> None:
    told: list[Any] = []
    order, other = await _clashing(join, on_conflict=told.append)
    saved = await other.set("/title", "Bob's", wait=False)
    assert saved.outcome == "pending"
    await other.saved()
    (kept,) = other.unsaved
    assert (kept.key, kept.patch[0]["value"], told) == (saved.key, "Bob's", [kept.error])
    assert other.sync_state == "unsaved"
    assert other.value == order.value


async def test_a_conflict_outlives_the_program(join: Join, client: ClientSession, tmp_path: Path) -> None:
    """With an outbox: found by the server or here, it is kept, and settled by another process."""
    bob = await join(outbox=tmp_path / "edits.db")
    order = await (await join()).create(NAME, ORDER)
    other = await bob.doc(NAME)
    await order.set("/title", "Ann's")
    await _conflict(other, title="Bob's")
    await _overtaken(other, lambda: order.set("/n", 5), n=7)
    await bob.close()
    again = await join(outbox=tmp_path / "edits.db")
    failed = again.outbox.failed()
    assert [each.patch[0]["path"] for each in failed] == ["/title", "/n"]
    for each in failed:
        assert isinstance(each.error, MergeConflict)
        each.error.choose_all("yours")
        await each.error.save()
    assert again.outbox.failed() == ()
    assert await head(client) == (await again.doc(NAME)).value == {**ORDER, "title": "Bob's", "n": 7}
    await again.close()
    assert (await join(outbox=tmp_path / "edits.db")).outbox.failed() == ()


async def test_a_kept_conflict_that_clashes_again_is_kept_as_the_newer_one(
    join: Join, client: ClientSession, tmp_path: Path
) -> None:
    bob = await join(outbox=tmp_path / "edits.db")
    order = await (await join()).create(NAME, ORDER)
    other = await bob.doc(NAME)
    await order.set("/title", "Ann's")
    await order.set("/n", 5)
    await _conflict(other, title="Bob's", n=7)
    await _overtaken(other, lambda: order.set("/log", [1]), log="no list")
    await order.set("/title", "Ann's second")
    await order.set("/log", [2])
    for each in bob.outbox.failed():
        assert isinstance(each.error, MergeConflict)
        each.error.choose_all("yours")
        with pytest.raises(MergeConflict):
            await each.error.save()
    before = [each.key for each in bob.outbox.failed()]
    assert len(before) == 2
    await bob.close()
    again = await join(outbox=tmp_path / "edits.db")
    assert [each.key for each in again.outbox.failed()] == before
    for each in again.outbox.failed():
        assert isinstance(each.error, MergeConflict)
        each.error.choose_all("yours")
        await each.error.save()
    assert again.outbox.failed() == ()
    assert await head(client) == {**ORDER, "title": "Bob's", "n": 7, "log": "no list"}
    assert len(await keys(client)) == len(await history(client))


async def test_a_conflict_the_server_keeps_no_longer_is_said_to_be_so(join: Join) -> None:
    order, other = await _clashing(join)
    conflict = await _conflict(other, title="Bob's")
    conflict.choose_all("yours")
    await order.delete()
    await order.put({"new": 1})
    with pytest.raises((NotFound, MergeConflict)):
        await conflict.save()


async def test_a_conflict_may_be_dropped(join: Join, tmp_path: Path) -> None:
    _, other = await _clashing(join, outbox=tmp_path / "edits.db")
    conflict = await _conflict(other, title="Bob's")
    (kept,) = other.unsaved
    assert kept.error is conflict
    assert conflict.key == kept.key
    await other._context.unsaved.discard(kept.key)
    assert (other.unsaved, other.sync_state) == ((), "saved")
