"""Two revisions compared, for programs and for people; and which was the head at a moment."""

import json
from typing import Any

import pytest

from plait_merge import ABSENT, Json, apply, diff, read_patch, same
from plait_server.service import Edit, Service, ServiceLimits
from plait_server.service.description import COMPARED_PARTS_MAX, LINES_MAX, describe
from plait_server.service.moment import format_moment, parse_moment
from server.service.bench import ANN, BOB, ORDER, Bench, put, refusal, replacing

T0 = 1_800_000_000_000


async def diffed(service: Service, before: int, after: int | None) -> Any:
    return json.loads(await service.history.diff(await service.history.compare(ANN, ORDER, before, after)))


async def told(service: Service, before: int, after: int | None) -> str:
    return await service.history.describe(await service.history.compare(ANN, ORDER, before, after))


async def make_history(service: Service) -> list[Json]:
    """Make six revisions, a deletion and a new beginning among them; give the value at each."""
    await put(service, {"n": 1, "rows": [{"id": 1}, {"id": 2}]})
    await service.edit(BOB, ORDER, replacing("/n", 2))
    move: dict[str, Json] = {"op": "move", "from": "/rows/0", "path": "/rows/1"}
    await service.edit(BOB, ORDER, Edit(kind="patch", content=[move]))
    await service.edit(BOB, ORDER, Edit(kind="delete", base=3))
    await put(service, {"n": 1})
    await service.edit(BOB, ORDER, replacing("/n", 3))
    rows = [{"id": 1}, {"id": 2}]
    return [
        ABSENT,
        {"n": 1, "rows": rows},
        {"n": 2, "rows": rows},
        {"n": 2, "rows": rows[::-1]},
        ABSENT,
        {"n": 1},
        {"n": 3},
    ]


async def test_a_diff_leads_from_any_revision_to_any_other(service: Service) -> None:
    values = await make_history(service)
    for before in range(7):
        for after in range(1, 7):
            patch = await diffed(service, before, after)
            assert same(values[after], apply(values[before], patch))
            assert (patch == []) == same(values[before], values[after])


async def test_a_diff_ends_at_the_head_where_nothing_else_is_said(service: Service) -> None:
    await make_history(service)
    assert await diffed(service, 5, None) == [{"op": "replace", "path": "/n", "value": 3}]
    assert await diffed(service, 2, 3) == [{"op": "move", "from": "/rows/1", "path": "/rows/0"}]


async def test_what_was_done_and_taken_back_is_in_no_diff(service: Service) -> None:
    await put(service, {"n": 1})
    for n in (2, 3, 1):
        await service.edit(BOB, ORDER, replacing("/n", n))
    assert await diffed(service, 1, 4) == []
    assert await told(service, 1, 4) == "Nothing is different.\n"


@pytest.mark.parametrize(("before", "after"), [(8, None), (1, 8), (2**60, 1), (1, 2**62)])
async def test_revisions_that_are_not_there_are_not_compared(
    service: Service, before: int, after: int | None
) -> None:
    await make_history(service)
    assert (await refusal(service.history.compare(ANN, ORDER, before, after))).code == "not-found"


async def test_people_are_told_line_by_line(service: Service) -> None:
    await put(service, {"name": "Ann", "text": "one\ntwo", "rows": [{"id": 1, "n": 1}, {"id": 2}], "x": 1})
    value = {"name": "Anna", "text": "one\n2", "rows": [{"id": 2}, {"id": 1, "n": "1"}, {"id": 3}]}
    await service.edit(BOB, ORDER, Edit(kind="put", content=value, base=1))
    assert (await told(service, 1, 2)).splitlines() == [
        '/name: "Ann" became "Anna"',
        "/text: changed in",
        "    @@ -1,2 +1,2 @@",
        "     one",
        "    -two",
        "    +2",
        "/rows/0: moved from /rows/1",
        '/rows/2: added {"id":3}',
        '/rows/1/n: 1 became "1"',
        "/x: removed 1",
    ]
    assert (await told(service, 0, 2)).startswith("the document: added {")


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"a": 1}, {"a": True}, ["/a: 1 became true"]),
        ({"a": 0}, {"a": None}, ["/a: 0 became null"]),
        ({"a/b~": 1}, {"a/b~": 2}, ["/a~1b~0: 1 became 2"]),
        ({"a": "x" * 500}, {"a": 1}, [f'/a: "{"x" * 119}… became 1']),
        ([], {}, ["the document: [] became {}"]),
        ([1], [1, 2], ["/1: added 2"]),
        ({"a": 10**40}, {"a": 10**40 + 1}, [f"/a: {10**40} became {10**40 + 1}"]),
    ],
)
def test_a_change_is_told_in_a_line(before: Json, after: Json, lines: list[str]) -> None:
    assert describe(before, read_patch(diff(before, after))).splitlines() == lines


def test_of_what_was_replaced_whole_only_what_is_different_is_told() -> None:
    before = {"a": {"__x": 1, "b": [1], "same": "s", "n": [{"c": 1}]}}
    after = {"__x": 2, "b": [], "same": "s", "n": [{"c": 2}], "d": 1}
    patch = [{"op": "replace", "path": "/a", "value": after}]
    assert describe(before, read_patch(patch)).splitlines() == [
        "/a/__x: 1 became 2",
        "/a/b/0: removed 1",
        "/a/d: added 1",
        "/a/n/0/c: 1 became 2",
    ]


def test_what_does_not_print_is_not_printed() -> None:
    """A name or a text cannot end a line, move the cursor or turn the reading direction."""
    before = {"a\nb\x1b[2J": 1, "text": "a\nb", "‮": "x"}
    after = {"a\nb\x1b[2J": "\x1b[31m\n", "text": "a\n\x1b[1mb\r‮", "‮": "y"}
    text = describe(before, read_patch(diff(before, after)))
    assert all(character.isprintable() or character == "\n" for character in text)
    assert len(text.splitlines()) == 8


def test_however_much_changed_there_are_only_so_many_lines() -> None:
    before = {f"m{n}": n for n in range(5_000)}
    after = {f"m{n}": n + 1 for n in range(5_000)}
    lines = describe(before, read_patch(diff(before, after))).splitlines()
    assert len(lines) == LINES_MAX + 1
    assert lines[-1] == f"… and {5_000 - LINES_MAX:,} more."


def test_what_would_take_long_to_compare_is_told_by_its_size() -> None:
    many = list(range(COMPARED_PARTS_MAX))
    deep: Json = 1
    for _ in range(5_000):
        deep = [deep]
    for before, after, line in (
        (many, {"a": 1}, f"/x: an array of {COMPARED_PARTS_MAX:,} elements became an object of 1 member"),
        ("a\n" * 5_000, "b\n" * 5_000, "/x: a text of 10,000 characters became a text of 10,000 characters"),
        ("a" * 5_000, 1, "/x: a text of 5,000 characters became 1"),
        ({"a": deep}, {"a": [deep]}, "/x: an object of 1 member became an object of 1 member"),
    ):
        replaced = [{"op": "replace", "path": "/x", "value": after}]
        assert describe({"x": before}, read_patch(replaced)) == f"{line}\n"


TIGHT = [ServiceLimits(), ServiceLimits(recent_revisions_max=2, snapshot_revisions_max=3)]


@pytest.mark.parametrize("limits", TIGHT)
async def test_the_head_at_a_moment_is_the_newest_revision_until_then(
    bench: Bench, limits: ServiceLimits
) -> None:
    """Also where the clock was set back an hour: then moments came twice, and the second time counts."""
    service = await bench.reopen(limits)
    steps = [0, 60, 60, -3_600, 60, 7_200]
    moments = []
    for n, step in enumerate(steps):
        bench.clock.now += step
        moments.append(int(bench.clock.now * 1000))
        await (service.edit(BOB, ORDER, replacing("/n", n)) if n else put(service, {"n": 0}))
    for moment in sorted(moments):
        for at in (moment - 1, moment, moment + 1):
            newest = max([n for n, made in enumerate(moments, 1) if made <= at], default=None)
            if newest is None:
                assert (await refusal(service.history.at(ANN, ORDER, at))).code == "not-found"
            else:
                assert await service.history.at(ANN, ORDER, at) == newest
    assert await service.history.at(ANN, ORDER, 2**60) == 6


async def test_no_moment_belongs_to_a_document_that_never_was(service: Service) -> None:
    assert (await refusal(service.history.at(ANN, ORDER, 2**60))).code == "not-found"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2027-01-15T08:00:00Z", T0),
        ("2027-01-15t08:00:00.5z", T0 + 500),
        ("2027-01-15T08:00:00.0019999999999Z", T0 + 1),
        ("2027-01-15 09:00:00+01:00", T0),
        ("2027-01-15T09:00:00 01:00", T0),
        ("2027-01-15T07:30:00-00:30", T0),
        ("2027-01-15T07:59:60Z", T0),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000),
        ("9999-12-31T23:59:60-23:59", 253_402_387_140_000),
    ],
)
def test_moments_are_read_as_rfc_3339_has_them(text: str, at: int) -> None:
    assert parse_moment(text) == at


@pytest.mark.parametrize("at", [0, -1, T0, T0 + 123, 253_402_300_799_999])
def test_a_moment_that_was_written_is_read_back(at: int) -> None:
    assert parse_moment(format_moment(at)) == at


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2027-01-15",
        "2027-01-15T08:00:00",
        "2027-01-15T08:00Z",
        "2027-1-15T08:00:00Z",
        "2027-02-30T08:00:00Z",
        "2027-01-15T24:00:00Z",
        "2027-01-15T08:00:61Z",
        "2027-01-15T08:00:00+24:00",
        "2027-01-15T08:00:00+0100",
        "2027-01-15T08:00:00.Z",
        "0000-01-15T08:00:00Z",
        "\u0662027-01-15T08:00:00Z",
        "1800000000",
        "2027-01-15T08:00:00Z\n",
    ],
)
def test_what_is_no_moment_is_not_read(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - it is a ValueError, whatever datetime says
        parse_moment(text)
