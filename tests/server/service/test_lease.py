"""The rules of leases: who may write where, and until when."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plait_merge import apply, format_pointer, parse_pointer, read_patch
from plait_server.service.lease import Lease, Leases, revive
from plait_server.service.revision import STORED, Revision
from plait_server.store import Address, Hold, LockRecord, RevisionRecord
from server.service.shapes import SHAPES, at, containers_in, marked, patches

ORDER = Address("acme", "orders", "1")
WALL = 1_800_000_000_000
HOUR_MS = 3_600_000


def lease(pointer: str, id: str = "l", deadline: float = 30, n: int = 1) -> Lease:
    return Lease(
        id=id,
        holder="ann",
        caller="ann-token",
        fence=7,
        ttl_ms=30_000,
        expires=WALL + 30_000,
        deadline=deadline,
        kept=n,
        followed=n,
        course=[(n, parse_pointer(pointer))],
    )


def leases(*each: Lease) -> Leases:
    held = Leases()
    for one in each:
        held.add(one)
    return held


def revision(n: int, patch: list[Any], before: Any) -> Revision:
    record = RevisionRecord(n, "edit", b"[]", None, None, "b", "b", None, 0, None, None)
    return Revision(n, record, read_patch(patch, STORED), apply(before, patch, STORED))


def follow(held: Leases, before: Any, n: int, *patch: dict[str, Any], head: int = 0) -> Any:
    made = revision(n, list(patch), before)
    held.follow(before, made, head)
    return made.value


LINES = {"lines": [{"n": 0}, {"n": 1}], "title": "A"}
FIRST = {"op": "add", "path": "/lines/0", "value": {"n": 9}}


def test_a_lease_is_named_by_its_id_its_fence_and_its_caller() -> None:
    held = leases(lease("/lines/0"))
    assert held.held(Hold("l", 7), "ann-token", 0) is not None
    assert held.held(Hold("l", 6), "ann-token", 0) is None
    assert held.held(Hold("l", 7), "bob-token", 0) is None
    assert held.held(Hold("k", 7), "ann-token", 0) is None
    assert held.held(Hold("l", 7), "ann-token", 30) is None


def test_only_a_lease_that_stands_is_in_the_way() -> None:
    held = leases(lease("/lines/0"))
    write = read_patch([{"op": "replace", "path": "/lines/0/n", "value": 5}], STORED)
    assert held.trespassed(LINES, write, 29.9) is not None
    assert held.trespassed(LINES, write, 30) is None
    assert held.trespassed(LINES, write, 0, own="l") is None
    assert held.around(("lines",), 29.9) is not None
    assert held.around(("lines",), 30) is None
    assert held.around(("title",), 0) is None


def test_a_lease_follows_the_tip_and_is_told_as_it_is_at_the_head() -> None:
    held = leases(one := lease("/lines/0"))
    after = follow(held, LINES, 2, FIRST)
    follow(held, after, 3, FIRST)
    assert [one.place_at(n) for n in (1, 2, 3)] == [("lines", "0"), ("lines", "1"), ("lines", "2")]


def test_what_failed_never_moved_it() -> None:
    held = leases(one := lease("/lines/0"))
    follow(held, LINES, 2, FIRST)
    held.rewind(1)
    assert one.place == ("lines", "0")
    follow(held, LINES, 2, {"op": "add", "path": "/lines/-", "value": 0})
    assert one.place == ("lines", "0")


def test_what_its_course_was_before_the_head_is_forgotten() -> None:
    held, value = leases(one := lease("/lines/0")), LINES
    for n in range(2, 500):
        value = follow(held, value, n, FIRST, head=n - 2)
    assert len(one.course) < 5
    assert one.place_at(498) == ("lines", "497")


def test_it_is_over_once_what_it_is_on_is_gone_for_good() -> None:
    held = leases(one := lease("/lines/0"))
    follow(held, LINES, 2, {"op": "remove", "path": "/lines/0"})
    assert not one.stands(0)
    assert held.over(0, head=1) == []
    assert held.over(0, head=2) == [one]
    held.rewind(1)
    assert one.stands(0)


def test_it_stays_where_its_holder_puts_something_over_what_it_is_in() -> None:
    held = leases(one := lease("/lines/0"), gone := lease("/lines/1", id="m"))
    follow(held, LINES, 2, {"op": "replace", "path": "/lines", "value": [5]})
    assert one.place == ("lines", "0")
    assert gone.place is None


def test_a_lease_granted_later_is_not_moved_by_what_was_before() -> None:
    held = leases(lease("/lines/0"), late := lease("/lines/1", id="m", n=2))
    follow(held, LINES, 2, FIRST)
    assert late.place == ("lines", "1")
    assert held.followed(9) == 2


def test_after_a_restart_there_is_what_was_left_and_never_more_than_was_given() -> None:
    record = LockRecord(ORDER, "l", "/a", 3, "ann", "ann-token", 30_000, WALL + 20_000, 7)
    assert revive(record, 100, WALL).deadline == 120
    assert revive(record, 100, WALL - HOUR_MS).deadline == 130
    assert not revive(record, 100, WALL + HOUR_MS).stands(100)
    assert revive(record, 100, WALL - HOUR_MS).expires == WALL - HOUR_MS + 30_000


def test_when_it_ends_is_told_alike_unless_the_clock_was_set() -> None:
    one = lease("/a")
    assert one.moment(10, WALL + 10_003) == WALL + 30_000
    assert one.moment(10, WALL - HOUR_MS) == WALL - HOUR_MS + 20_000


@given(st.data())
def test_a_lease_guards_the_same_element_after_whatever_others_do(data: st.DataObject) -> None:
    """Others edit at will; what would write under the lease is refused, and some of the rest fails."""
    value = marked(data.draw(SHAPES))
    guarded = data.draw(st.sampled_from(containers_in(value)))
    content, held, head = at(value, guarded), Leases(), 1
    held.add(one := lease(format_pointer(guarded)))
    for _ in range(data.draw(st.integers(1, 6))):
        patch = data.draw(patches(value))
        if held.trespassed(value, read_patch(patch, STORED), 0) is not None:
            continue
        after = follow(held, value, head + 1, *patch, head=head)
        if data.draw(st.booleans()):
            value, head = after, head + 1
        else:
            held.rewind(head)
        assert one.place is not None
        assert at(value, one.place) == content
        inside = [*one.place, "mark"] if isinstance(content, dict) else [*one.place, "0"]
        for write in (
            {"op": "replace", "path": format_pointer(inside), "value": 0},
            {"op": "remove", "path": format_pointer(inside)},
            {"op": "replace", "path": format_pointer(one.place), "value": 0},
        ):
            assert held.trespassed(value, read_patch([write], STORED), 0) is one


def test_what_cannot_be_followed_any_more_has_ended() -> None:
    held = leases(one := lease("/lines/0"), other := lease("/lines/1", id="m", n=5))
    held.lose(5)
    assert (one.place, other.place) == (None, ("lines", "1"))
    assert held.over(0, head=5) == [one]
