"""What was missed, what was before, and how little of it has to be in memory."""

import json
from itertools import accumulate
from typing import Any

import pytest

from plait_merge import ABSENT, apply
from plait_server.service import DocumentKey, Edit, Service, ServiceLimits
from server.service.bench import ANN, BOB, ORDER, Bench, put, refusal, replacing


async def grow(service: Service, edits: int) -> None:
    """Make a document whose revision n has /n = n - 1 and a field of its own per revision."""
    await put(service, {"n": 0, "mine": 0})
    for n in range(1, edits + 1):
        await service.edit(
            BOB,
            ORDER,
            Edit(
                kind="patch",
                content=[
                    {"op": "replace", "path": "/n", "value": n},
                    {"op": "add", "path": f"/f{n % 7}", "value": [n]},
                ],
            ),
        )


async def test_missed_holds_what_lies_between(service: Service) -> None:
    await grow(service, 3)
    answer = await service.edit(ANN, ORDER, replacing("/mine", 1, base=2))
    missed = json.loads(answer.missed or b"")
    assert [(entry["revision"], entry["author"]) for entry in missed] == [(3, "bob"), (4, "bob")]
    assert missed[0]["at"] == "2027-01-15T08:00:00.000Z"
    value: Any = (await service.read(ANN, ORDER, 2)).value
    for patch in [*(entry["patch"] for entry in missed), json.loads(answer.patch)]:
        value = apply(value, patch)
    assert (await service.read(ANN, ORDER)).value == value


async def test_missed_is_empty_where_nothing_was(service: Service) -> None:
    assert (await put(service, {"a": 1})).missed == b"[]"
    assert (await service.edit(ANN, ORDER, replacing("/a", 2))).missed == b"[]"


@pytest.mark.parametrize(("behind", "there"), [(100, True), (101, False)])
async def test_missed_is_left_out_beyond_a_hundred_revisions(
    service: Service, behind: int, there: bool
) -> None:
    await grow(service, behind)
    answer = await service.edit(ANN, ORDER, replacing("/mine", 1, base=1))
    assert ("merged", there) == (answer.outcome, answer.missed is not None)


async def test_missed_is_left_out_beyond_its_bytes(service: Service) -> None:
    await put(service, {"a": 0, "b": 0})
    await service.edit(BOB, ORDER, replacing("/a", "x" * 70_000))
    answer = await service.edit(ANN, ORDER, replacing("/b", 1, base=1))
    assert (answer.outcome, answer.missed) == ("merged", None)


TIGHT = [
    ServiceLimits(recent_revisions_max=4, snapshot_revisions_max=5),
    ServiceLimits(recent_bytes_max=1, snapshot_bytes_min=1),
    ServiceLimits(open_documents_max=1, open_bytes_max=1),
    ServiceLimits(offload_bytes_min=1),
]


@pytest.mark.parametrize("limits", TIGHT)
async def test_how_much_is_in_memory_changes_no_answer(bench: Bench, limits: ServiceLimits) -> None:
    """Late edits, old revisions and restarts give the same, whatever has to be read again."""
    await bench.reopen(limits)
    await grow(bench.service, 40)
    for base in (1, 7, 20, 39, 3):
        answer = await bench.service.edit(ANN, ORDER, replacing("/mine", base, base=base, merge="yours"))
        head = answer.revision
        assert answer.outcome == "merged"
        assert list(range(base + 1, head)) == [e["revision"] for e in json.loads(answer.missed or b"")]
        await put(bench.service, {}, DocumentKey("orders", f"other{base}"))
    for n in (1, 2, 17, 41):
        assert n - 1 == (await bench.service.read(ANN, ORDER, n)).value["n"]
    error = await refusal(bench.service.edit(ANN, ORDER, replacing("/n", -1, base=5)))
    assert error.code == "merge-conflict"
    await bench.reopen(limits)
    assert ((value := (await bench.service.read(ANN, ORDER)).value)["mine"], value["n"]) == (3, 40)


async def test_history_folds(bench: Bench) -> None:
    """Each revision is the patch of the next one away from it, creation and deletion included."""
    await grow(bench.service, 20)
    await bench.service.edit(ANN, ORDER, Edit(kind="delete", base=21))
    await put(bench.service, {"n": "again"})
    await bench.service.edit(ANN, ORDER, replacing("/n", "more"))
    items, cursor = [], None
    while True:
        page = await bench.service.revisions(ANN, ORDER, 5, cursor)
        items += page.items
        cursor = page.cursor
        if cursor is None:
            break
    assert list(range(24, 0, -1)) == [item.revision for item in items]
    assert sorted({item.kind for item in items} - {"delete"}) == ["create", "edit"]
    patches = [json.loads(item.patch) for item in reversed(items)]
    states = list(accumulate(patches, apply, initial=ABSENT))
    for n in (1, 5, 21, 23, 24):
        assert states[n] == (await bench.service.read(ANN, ORDER, n)).value
    assert states[22] is ABSENT


async def test_documents_are_listed_by_id_without_deleted_ones(service: Service) -> None:
    for name in "dbca":
        await put(service, {}, DocumentKey("orders", name))
    await service.edit(ANN, DocumentKey("orders", "c"), Edit(kind="delete", base=1))
    page = await service.list(ANN, "orders", 2, None)
    assert [entry.document.id for entry in page.items] == ["a", "b"]
    page = await service.list(ANN, "orders", 2, page.cursor)
    assert ([entry.document.id for entry in page.items], page.cursor) == (["d"], None)


async def test_a_cursor_of_another_list_is_refused(service: Service) -> None:
    await put(service, {})
    for cursor in ("x", "-1", "9" * 30, "1_0", "٣"):
        assert (await refusal(service.revisions(ANN, ORDER, 10, cursor))).code == "bad-query"


async def test_revisions_that_are_not_there_are_not_found(service: Service) -> None:
    await put(service, {})
    for n in (0, 2, -1, 10**30):
        assert (await refusal(service.revision(ANN, ORDER, n))).code == "not-found"
        assert (await refusal(service.read(ANN, ORDER, n))).code == "not-found"
