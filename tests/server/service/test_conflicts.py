"""Conflicts are kept, shown as they were found, and settled."""

import asyncio
from typing import Any

import pytest

from plait_server.errors import AlreadyResolved
from plait_server.service import Answer, Edit, IdempotencyKey, Service, ServiceLimits
from server.service.bench import ANN, BOB, ORDER, Bench, as_json, conflicts_of, put, refusal, replacing, turns

FIRST = {"title": "A", "count": 1, "items": ["x", "y"]}
ADD_FIRST = {"op": "add", "path": "/items/0", "value": "w"}
MINE = [
    {"op": "replace", "path": "/title", "value": "mine"},
    {"op": "replace", "path": "/count", "value": 7},
    {"op": "remove", "path": "/items/1"},
]


async def conflict(service: Service) -> tuple[str, dict[str, Any]]:
    """Run into a conflict about the title and the count, with a clean part. Gives its id and members."""
    await put(service, FIRST)
    await service.edit(BOB, ORDER, replacing("/title", "theirs", base=1, message="clearer"))
    await service.edit(BOB, ORDER, replacing("/count", 2, base=2))
    await service.edit(BOB, ORDER, Edit(kind="patch", content=[ADD_FIRST]))
    mine = Edit(kind="patch", content=MINE, base=1, message="my view")
    members = as_json((await refusal(service.edit(ANN, ORDER, mine))).members)
    return members["conflict"], members


async def settle(service: Service, id: str, members: dict[str, Any], choice: Any, **rest: Any) -> Answer:
    choices = {each["id"]: choice for each in members["conflicts"]}
    return await service.resolve(ANN, ORDER, id, choices=choices, **rest)


async def test_a_conflict_says_what_who_and_when(service: Service) -> None:
    _, members = await conflict(service)
    count, title = members["conflicts"]
    assert (count["kind"], count["pointer"], count["your_operations"]) == ("edit_edit", "/count", [1])
    assert title["base"] == {"present": True, "value": "A"}
    assert title["yours"] == {"present": True, "value": "mine"}
    theirs = title["theirs"]
    assert (
        theirs["value"],
        theirs["revision"],
        theirs["revisions"],
        theirs["author"],
        theirs["message"],
    ) == ("theirs", 2, [2], "bob", "clearer")
    assert (members["base_revision"], members["head_revision"], members["clean_operations"]) == (1, 4, [2])
    assert members["clean_patch"] == [{"op": "remove", "path": "/items/2"}]
    assert [entry["revision"] for entry in members["missed"]] == [2, 3, 4]


@pytest.mark.parametrize(
    ("choice", "title", "count"),
    [("yours", "mine", 7), ("theirs", "theirs", 2), ("base", "A", 1), ({"value": "both"}, "both", "both")],
)
async def test_a_choice_settles_it_together_with_the_clean_part(
    service: Service, choice: object, title: object, count: object
) -> None:
    id, members = await conflict(service)
    answer = await settle(service, id, members, choice)
    assert ("applied", 5, id) == (answer.outcome, answer.revision, answer.settled)
    assert {"title": title, "count": count, "items": ["w", "x"]} == (await service.read(ANN, ORDER)).value
    view = await service.conflict(ANN, ORDER, id)
    assert view.resolved_revision == 5
    assert view.resolved is not None
    assert (await service.revision(ANN, ORDER, 5)).message == "my view"


async def test_a_conflict_is_shown_and_settled_the_same_after_a_restart(bench: Bench) -> None:
    id, members = await conflict(bench.service)
    await bench.service.edit(BOB, ORDER, Edit(kind="merge_patch", content={"more": True}))
    await bench.reopen()
    shown = (await bench.service.conflict(BOB, ORDER, id)).members
    assert shown is not None
    assert {name: value for name, value in members.items() if name != "conflict"} == as_json(shown)
    answer = await settle(bench.service, id, members, "yours")
    assert (answer.outcome, answer.revision, answer.base) == ("merged", 6, 4)
    value = (await bench.service.read(ANN, ORDER)).value
    assert value == {"title": "mine", "count": 7, "items": ["w", "x"], "more": True}


async def test_a_patch_settles_it_too(service: Service) -> None:
    id, _ = await conflict(service)
    patch = [{"op": "replace", "path": "/title", "value": "ours"}]
    assert id == (await service.resolve(ANN, ORDER, id, patch=patch)).settled


async def test_an_ordinary_edit_settles_it_too(service: Service) -> None:
    id, _ = await conflict(service)
    await service.edit(ANN, ORDER, replacing("/title", "ours", resolves=id))
    assert (await service.conflict(ANN, ORDER, id)).resolved_revision == 5


async def test_to_do_nothing_settles_it_too(service: Service) -> None:
    id, _ = await conflict(service)
    assert (await service.resolve(ANN, ORDER, id, patch=[])).outcome == "noop"
    assert (await service.conflict(ANN, ORDER, id)).resolved_revision == 4


async def test_it_is_settled_once(bench: Bench) -> None:
    """Also by two people at once; the one who is late changes nothing."""
    id, members = await conflict(bench.service)
    bench.store.gate.clear()
    both = [asyncio.create_task(settle(bench.service, id, members, "yours")) for _ in range(2)]
    behind = asyncio.create_task(
        bench.service.edit(BOB, ORDER, Edit(kind="merge_patch", content={"more": 1}))
    )
    await turns()
    bench.store.gate.set()
    results = await asyncio.gather(*both, return_exceptions=True)
    [done] = [result for result in results if isinstance(result, Answer)]
    [late] = [result for result in results if isinstance(result, AlreadyResolved)]
    assert late.members == {"revision": done.revision}
    assert {done.revision, (await behind).revision} == {5, 6}
    error = await refusal(settle(bench.service, id, members, "yours"))
    assert error.code == "already-resolved"
    assert (await bench.service.read(ANN, ORDER)).value == {
        "title": "mine",
        "count": 7,
        "items": ["w", "x"],
        "more": 1,
    }


async def test_settling_it_can_be_sent_again(bench: Bench) -> None:
    id, members = await conflict(bench.service)
    key = IdempotencyKey("k", "f")
    first = await settle(bench.service, id, members, "yours", key=key)
    await bench.reopen()
    again = await settle(bench.service, id, members, "yours", key=key)
    assert (first.revision, True, id) == (again.revision, again.replayed, again.settled)


async def test_settling_it_can_run_into_a_new_one_that_names_the_old(service: Service) -> None:
    id, members = await conflict(service)
    await service.edit(BOB, ORDER, replacing("/title", "newer"))
    error = await refusal(settle(service, id, members, "yours"))
    assert error.code == "merge-conflict"
    newer = await service.conflict(ANN, ORDER, str(error.members["conflict"]))
    assert (id, 4, 5) == (newer.previous, newer.base_revision, newer.head_revision)
    assert (await service.conflict(ANN, ORDER, id)).resolved is None


@pytest.mark.parametrize("choices", [{}, {"unknown": "yours"}, {"first": "perhaps"}])
async def test_choices_that_are_missing_or_unknown_are_refused(
    service: Service, choices: dict[str, Any]
) -> None:
    id, members = await conflict(service)
    named = {members["conflicts"][0]["id"] if name == "first" else name: c for name, c in choices.items()}
    assert (await refusal(service.resolve(ANN, ORDER, id, choices=named))).code == "invalid-value"
    assert (await service.read(ANN, ORDER)).revision == 4


async def test_what_is_not_there_cannot_be_settled(service: Service) -> None:
    await put(service, {"a": 1})
    assert (await refusal(service.resolve(ANN, ORDER, "none", patch=[]))).code == "not-found"
    assert (await refusal(service.conflict(ANN, ORDER, "none"))).code == "not-found"
    error = await refusal(service.edit(ANN, ORDER, replacing("/a", 2, resolves="none")))
    assert error.code == "invalid-value"
    assert (await service.read(ANN, ORDER)).value == {"a": 1}


async def test_a_dry_run_and_a_resend_keep_no_second_one(service: Service) -> None:
    await put(service, {"a": 0})
    await service.edit(BOB, ORDER, replacing("/a", 1))
    edit = replacing("/a", 2, base=1, key=IdempotencyKey("k", "f"))
    ids = {str((await refusal(service.edit(ANN, ORDER, edit))).members["conflict"]) for _ in range(3)}
    dry = await refusal(service.edit(ANN, ORDER, replacing("/a", 2, base=1, dry_run=True)))
    assert "conflict" not in dry.members
    assert [*ids] == [each.id for each in (await service.conflicts(ANN, ORDER, 10, None)).items]


async def test_conflicts_are_listed_newest_first_page_by_page(service: Service) -> None:
    await put(service, {"a": 0})
    await service.edit(BOB, ORDER, replacing("/a", 1))
    ids = []
    for value in range(2, 7):
        error = await refusal(service.edit(ANN, ORDER, replacing("/a", value, base=1)))
        ids.append(str(error.members["conflict"]))
    listed, cursor = [], None
    while True:
        page = await service.conflicts(ANN, ORDER, 2, cursor)
        listed += [view.id for view in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert ids[::-1] == listed


async def test_long_values_are_left_out(service: Service) -> None:
    await put(service, {"a": "x" * 100_000})
    await service.edit(BOB, ORDER, replacing("/a", "y" * 100_000))
    error = await refusal(service.edit(ANN, ORDER, replacing("/a", "z", base=1)))
    [shown] = conflicts_of(error)
    link = "/v1/docs/orders/1?revision={}&pointer=/a".format
    assert shown["base"] == {"present": True, "truncated": True, "link": link(1)}
    assert shown["theirs"]["link"] == link(2)
    assert (shown["theirs"]["truncated"], shown["theirs"]["revision"]) == (True, 2)
    assert shown["yours"] == {"present": True, "value": "z"}
    assert shown["resolutions"]["theirs"] == []
    assert shown["resolutions"]["base"] is None
    # What is not shown can still be chosen.
    await service.resolve(ANN, ORDER, str(error.members["conflict"]), choices={shown["id"]: "base"})
    assert (await service.read(ANN, ORDER)).value == {"a": "x" * 100_000}


async def test_a_refusal_says_how_much_overlaps_what(service: Service) -> None:
    await put(service, {"a": 0, "b": 0})
    for value in (1, 2):
        await service.edit(BOB, ORDER, replacing("/a", value))
    both = [{"op": "replace", "path": path, "value": 9} for path in ("/a", "/b")]
    told = [
        (await refusal(service.edit(ANN, ORDER, edit))).detail
        for edit in (
            Edit(kind="patch", content=both, base=1),
            replacing("/a", 9, base=2),
            Edit(kind="delete", base=1),
        )
    ]
    assert told == [
        "1 of 2 changes overlaps revisions 2-3.",
        "1 of 1 change overlaps revision 3.",
        "1 of 1 change overlaps revisions 2-3.",
    ]
    await service.edit(BOB, ORDER, replacing("/b", 1))
    error = await refusal(service.edit(ANN, ORDER, Edit(kind="patch", content=both, base=3)))
    assert error.detail == "1 of 2 changes overlaps revision 4."
    error = await refusal(service.edit(ANN, ORDER, Edit(kind="patch", content=both, base=1)))
    assert error.detail == "2 of 2 changes overlap revisions 2-4."


async def test_very_many_conflicts_are_shown_page_by_page(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(conflicts_shown_max=10))
    await put(service, {f"m{n}": 0 for n in range(25)})
    for value in (1, 2):
        edit = Edit(kind="merge_patch", content={f"m{n}": value for n in range(25)}, base=1)
        if value == 1:
            await service.edit(BOB, ORDER, edit)
    error = await refusal(service.edit(ANN, ORDER, edit))
    assert (len(conflicts_of(error)), error.members["conflicts_total"]) == (10, 25)
    id, cursor = str(error.members["conflict"]), None
    shown: list[Any] = []
    cursors: list[str | None] = []
    while not cursors or cursor:
        view = await service.conflict(ANN, ORDER, id, cursor)
        assert view.members is not None
        shown += as_json(view.members)["conflicts"]
        cursor = view.cursor
        cursors.append(cursor)
    assert (shown[:10], len(shown), cursors) == (conflicts_of(error), 25, ["10", "20", None])
    assert (await settle(service, id, {"conflicts": shown}, "yours")).outcome == "applied"
    for odd in ("x", "-1", "1_0"):
        assert (await refusal(service.conflict(ANN, ORDER, id, odd))).code == "bad-query"


async def test_a_page_of_conflicts_is_full_however_many_were_settled(service: Service) -> None:
    await put(service, {"a": 0})
    await service.edit(BOB, ORDER, replacing("/a", 1))
    ids = []
    for value in range(2, 8):
        error = await refusal(service.edit(ANN, ORDER, replacing("/a", value, base=1)))
        ids.append(str(error.members["conflict"]))
    for id in ids[2:]:
        await service.resolve(ANN, ORDER, id, patch=[])
    page = await service.conflicts(ANN, ORDER, 2, None)
    assert ([view.id for view in page.items], page.cursor) == ([ids[1], ids[0]], None)


async def test_pages_are_bounded_by_bytes_too_and_nothing_is_left_out(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(page_bytes_max=1_000))
    await put(service, {"a": 0})
    for n in range(6):
        await service.edit(BOB, ORDER, replacing("/a", f"{n}" * 400))
    for n in range(6):
        await refusal(service.edit(ANN, ORDER, replacing("/a", f"{n}" * 401, base=1)))
    for listing, expected in ((service.revisions, 7), (service.conflicts, 6)):
        lengths, cursor = [], None
        while True:
            page = await listing(ANN, ORDER, 500, cursor)
            lengths.append(len(page.items))
            cursor = page.cursor
            if cursor is None:
                break
        assert (sum(lengths), max(lengths)) == (expected, 3)


async def test_conflicts_expire(bench: Bench) -> None:
    id, _ = await conflict(bench.service)
    bench.let_pass(ServiceLimits().conflict_ttl_s + 1)
    assert (await bench.service.conflicts(ANN, ORDER, 10, None)).items == []
    await bench.reopen()
    assert (await refusal(bench.service.conflict(ANN, ORDER, id))).code == "not-found"
