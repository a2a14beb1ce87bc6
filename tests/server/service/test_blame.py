"""Who set what: always what following every revision from the first would say, whatever was kept."""

import asyncio
import json
from typing import Any

import pytest

from plait_merge import ABSENT, Blame, Json, format_pointer, read_patch
from plait_server.service import Caller, DocumentKey, Edit, Service, ServiceLimits
from server.service.bench import ANN, BOB, ORDER, Bench, put, refusal, replacing, turns

CAROL = Caller("acme", "carol-token", "carol")


async def edit(service: Service, caller: Caller, *patch: dict[str, Json], **rest: Any) -> int:
    return (await service.edit(caller, ORDER, Edit(kind="patch", content=list(patch), **rest))).revision


async def blamed(
    service: Service, pointer: str = "", revision: int | None = None, limit: int = 500
) -> dict[str, tuple[int, str]]:
    """Read all pages; give revision and author by pointer."""
    told: dict[str, tuple[int, str]] = {}
    cursor = None
    while True:
        view = await service.history.blame(ANN, ORDER, pointer, revision, limit, cursor)
        assert len(view.leaves) <= limit
        told |= {leaf.pointer: (leaf.setter.revision, leaf.setter.author) for leaf in view.leaves}
        cursor = view.cursor
        if cursor is None:
            return told


async def followed(service: Service, n: int) -> dict[str, int]:
    """Follow history from the first revision on."""
    value, blame = ABSENT, Blame[int]()
    for number in range(1, n + 1):
        patch = json.loads((await service.revision(ANN, ORDER, number)).patch)
        follower = blame.follower(value)
        follower.follow(read_patch(patch), number)
        value, blame = follower.finished()
    return {format_pointer(path): mark for path, mark in blame.leaves(value)}


async def scribble(service: Service, edits: int) -> None:
    """Add, edit, move and remove rows, by two people in turn."""
    await put(service, {"rows": [], "title": "t"})
    for n in range(edits):
        rows: list[Json] = (await service.read(ANN, ORDER)).value["rows"]
        patch: dict[str, Json] = {"op": "add", "path": f"/rows/{n % (len(rows) + 1)}", "value": {"n": n}}
        if len(rows) > 2 and n % 3 == 1:
            patch = {"op": "move", "from": f"/rows/{n % len(rows)}", "path": "/rows/0"}
        elif len(rows) > 2 and n % 7 == 2:
            patch = {"op": "remove", "path": f"/rows/{n % len(rows)}"}
        elif rows and n % 2:
            patch = {"op": "add", "path": f"/rows/{n % len(rows)}/by", "value": n}
        await edit(service, (ANN, BOB)[n % 2], patch)


async def test_each_leaf_names_who_set_it_last_and_when(service: Service, bench: Bench) -> None:
    await put(service, {"title": "A", "lines": [{"sku": "x", "qty": 1}]})
    bench.clock.now += 60
    await edit(service, BOB, {"op": "replace", "path": "/lines/0/qty", "value": 2})
    await edit(service, CAROL, {"op": "add", "path": "/lines/0", "value": {"sku": "y"}})
    assert await blamed(service) == {
        "/title": (1, "ann"),
        "/lines/0/sku": (3, "carol"),
        "/lines/1/sku": (1, "ann"),
        "/lines/1/qty": (2, "bob"),
    }
    view = await service.history.blame(ANN, ORDER, "/lines/1/qty", None, 10, None)
    assert (view.revision, view.cursor, view.leaves[0].setter.at) == (3, None, int(bench.clock.now * 1000))


async def test_what_moved_keeps_who_set_it(service: Service) -> None:
    await put(service, {"todo": [{"name": "n", "by": None}], "done": []})
    await edit(service, BOB, {"op": "replace", "path": "/todo/0/by", "value": "bob"})
    await edit(service, CAROL, {"op": "move", "from": "/todo/0", "path": "/done/0"})
    assert await blamed(service) == {
        "/todo": (3, "carol"),
        "/done/0/name": (1, "ann"),
        "/done/0/by": (2, "bob"),
    }


async def test_a_put_is_blamed_for_what_it_changed_only(service: Service) -> None:
    await put(service, {"a": 1, "rows": [{"id": 1, "v": 1}, {"id": 2, "v": 1}]})
    value = {"a": 1, "rows": [{"id": 2, "v": 1}, {"id": 1, "v": 5}], "b": 2}
    await service.edit(BOB, ORDER, Edit(kind="put", content=value, base=1))
    assert await blamed(service) == {
        "/a": (1, "ann"),
        "/rows/0/id": (1, "ann"),
        "/rows/0/v": (1, "ann"),
        "/rows/1/id": (1, "ann"),
        "/rows/1/v": (2, "bob"),
        "/b": (2, "bob"),
    }


TIGHT = [
    ServiceLimits(),
    ServiceLimits(recent_revisions_max=4, snapshot_revisions_max=5),
    ServiceLimits(blame_bytes_max=1),
    ServiceLimits(page_bytes_max=1, recent_bytes_max=1, snapshot_bytes_min=1),
]


@pytest.mark.parametrize("limits", TIGHT)
async def test_what_is_kept_changes_no_answer(bench: Bench, limits: ServiceLimits) -> None:
    """At the head and at older revisions, in whatever order they are asked for, and after a restart."""
    await bench.reopen(limits)
    await scribble(bench.service, 40)
    for n in (41, 20, 41, 3, 21, 22, 1, 40, 20, 23, 2):
        told = await blamed(bench.service, "", n, 7)
        assert {pointer: revision for pointer, (revision, _) in told.items()} == await followed(
            bench.service, n
        )
    await bench.reopen(limits)
    await edit(bench.service, CAROL, {"op": "add", "path": "/new", "value": 1})
    assert (await blamed(bench.service))["/new"] == (42, "carol")


async def test_many_steps_are_followed_as_one(bench: Bench) -> None:
    """More revisions than are read at a time."""
    service = await bench.reopen(ServiceLimits(recent_revisions_max=10, document_edits_waiting_max=3_000))
    await put(service, {f"m{n}": 0 for n in range(10)})
    for first in range(1, 2_301, 100):
        numbers = range(first, first + 100)
        edits = [service.edit((ANN, BOB)[n % 2], ORDER, replacing(f"/m{n % 10}", n)) for n in numbers]
        await asyncio.gather(*edits)
    assert {f"/m{n % 10}": (n + 1, ("ann", "bob")[n % 2]) for n in range(2_291, 2_301)} == await blamed(
        service
    )


async def test_a_page_holds_on_to_its_revision(service: Service) -> None:
    await put(service, {"a": [1, 2, 3, 4], "b": 1})
    first = await service.history.blame(ANN, ORDER, "", None, 2, None)
    await edit(service, BOB, {"op": "remove", "path": "/a"})
    second = await service.history.blame(ANN, ORDER, "", None, 2, first.cursor)
    assert [leaf.pointer for leaf in (*first.leaves, *second.leaves)] == ["/a/0", "/a/1", "/a/2", "/a/3"]
    assert (first.revision, second.revision) == (1, 1)
    assert await blamed(service, "", 1, 1) == await blamed(service, "", 1)


async def test_a_pointer_asks_for_a_part(service: Service) -> None:
    await put(service, {"a": {"x": 1, "y/z": [], "": {}}, "b": 1})
    assert list(await blamed(service, "/a", limit=1)) == ["/a/x", "/a/y~1z", "/a/"]
    assert list(await blamed(service, "/a/y~1z")) == ["/a/y~1z"]
    assert (await refusal(service.history.blame(ANN, ORDER, "/c", None, 5, None))).code == "not-found"
    for pointer in ("a", "/~2", "~"):
        refused = await refusal(service.history.blame(ANN, ORDER, pointer, None, 5, None))
        assert refused.code == "bad-query"


@pytest.mark.parametrize(
    "cursor", ["", "x", "1", "0.0", "2.0", "1.9", "1.0", "1.1.0", "1.0.0.0", "1.-1", "1..0", "1.0x", "1.00"]
)
async def test_a_cursor_that_names_no_leaf_is_refused(service: Service, cursor: str) -> None:
    await put(service, {"a": [1, 2], "b": 1})
    refused = await refusal(service.history.blame(ANN, ORDER, "", None, 5, cursor))
    assert refused.code == "bad-query"


async def test_a_cursor_goes_with_its_pointer_and_its_revision(service: Service) -> None:
    await put(service, {"a": [1, 2], "b": 1})
    await edit(service, BOB, {"op": "replace", "path": "/b", "value": 2})
    cursor = (await service.history.blame(ANN, ORDER, "", 1, 1, None)).cursor
    for pointer, revision in (("/b", None), ("", 2)):
        refused = await refusal(service.history.blame(ANN, ORDER, pointer, revision, 5, cursor))
        assert refused.code == "bad-query"


async def test_there_is_nothing_to_blame_in_what_is_not_there(service: Service) -> None:
    history = service.history
    assert (await refusal(history.blame(ANN, ORDER, "", None, 5, None))).code == "not-found"
    await put(service, {"a": 1})
    await service.edit(BOB, ORDER, Edit(kind="delete", base=1))
    assert (await refusal(history.blame(ANN, ORDER, "", None, 5, None))).code == "deleted"
    assert (await refusal(history.blame(ANN, ORDER, "", 3, 5, None))).code == "not-found"
    assert await blamed(service, "", 1) == {"/a": (1, "ann")}
    await put(service, {"a": 1})
    assert await blamed(service) == {"/a": (3, "ann")}


async def test_only_what_is_durable_is_told(bench: Bench) -> None:
    await put(bench.service, {"a": 1})
    bench.store.gate.clear()
    waiting = asyncio.create_task(bench.service.edit(BOB, ORDER, replacing("/a", 2)))
    await turns()
    assert await blamed(bench.service) == {"/a": (1, "ann")}
    bench.store.gate.set()
    await waiting
    assert await blamed(bench.service) == {"/a": (2, "bob")}


async def test_who_leaves_early_disturbs_nobody(bench: Bench) -> None:
    """Of many who ask at once some leave; the others are told."""
    await scribble(bench.service, 60)
    asked = [asyncio.create_task(blamed(bench.service)) for _ in range(10)]
    await turns(3)
    for task in asked[::2]:
        task.cancel()
    told = await asyncio.gather(*asked[1::2])
    expected = await followed(bench.service, 61)
    assert all({p: n for p, (n, _) in each.items()} == expected for each in told)


async def test_a_document_of_another_tenant_is_not_there(service: Service) -> None:
    await put(service, {"a": 1})
    stranger = Caller("other", "ann-token", "ann")
    history, other = service.history, DocumentKey("orders", "1")
    for asked in (
        history.blame(stranger, other, "", None, 5, None),
        history.compare(stranger, other, 0, 1),
        history.at(stranger, other, 2**50),
        history.undoing(stranger, other, 1, 1, Edit(kind="patch")),
        history.restoring(stranger, other, 1, Edit(kind="patch")),
    ):
        assert (await refusal(asked)).code == "not-found"
