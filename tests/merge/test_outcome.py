"""What a merge answers, as plain JSON: what goes over the wire."""

from __future__ import annotations

from merge.strategies import Patch, add, copy, move, remove, replace
from plait_merge import Conflicted, Json, Rebased, rebase


def told(base: Json, theirs: list[Patch], yours: Patch) -> list[Json]:
    outcome = rebase(base, theirs, yours)
    assert isinstance(outcome, Conflicted)
    return [conflict.as_json() for conflict in outcome.conflicts]


def test_a_conflict_tells_all_there_is_to_it() -> None:
    base: Json = {"l": [0, None], "n": 1}
    theirs = [[add("/l/0", 9)], [replace("/l/2", 2)]]
    yours = [remove("/l/0"), replace("/l/0", 3), copy("/l/0", "/k"), replace("/n", 2)]
    assert told(base, theirs, yours) == [
        {
            "id": "f25dae22a58c9a2a6f29308b",
            "kind": "edit_edit",
            "pointer": "/l/1",
            "pointer_theirs": "/l/2",
            "pointer_yours": "/l/0",
            "base": {"present": True, "value": None},
            "theirs": {"present": True, "value": 2},
            "yours": {"present": True, "value": 3},
            "your_operations": [1],
            "their_patches": [1],
            "resolutions": {
                "theirs": [],
                "yours": [add("/k", 3), replace("/l/2", 3)],
                "base": [replace("/l/2", None)],
            },
            "depends": [{"pointer": "/k", "your_operations": [2]}],
        }
    ]


def test_what_has_no_place_has_no_pointer_and_what_is_absent_no_value() -> None:
    removed, edited = [remove("/a")], [replace("/a", 2)]
    absent, there = {"present": False}, {"present": True, "value": 2}
    (one,) = told({"a": 1}, [removed], edited)
    assert (one["theirs"], one["yours"], one["pointer_yours"]) == (absent, there, "/a")
    assert "pointer_theirs" not in one
    (other,) = told({"a": 1}, [edited], removed)
    assert (other["theirs"], other["yours"], other["pointer_theirs"]) == (there, absent, "/a")
    assert "pointer_yours" not in other
    assert one["id"] != other["id"]


def test_a_conflict_keeps_its_id_wherever_its_place_has_moved_and_whatever_else_was_done() -> None:
    theirs, yours = [replace("/a", [1])], [replace("/a", {"y": 1, "x": None})]
    (plain,) = told({"a": 0, "b": 0}, [theirs], yours)
    (moved,) = told(
        {"a": 0, "b": 0},
        [[replace("/b", 1)], theirs, [move("/a", "/c")]],
        [replace("/b", 2), *yours, replace("/b", 1)],
    )
    assert moved["pointer_theirs"] == "/c"
    assert moved["id"] == plain["id"]


def test_an_id_does_not_go_by_the_order_of_members() -> None:
    ids = {
        told({}, [[add("/m", value)]], [add("/m", 2)])[0]["id"]
        for value in ([1, {"b": "é", "a": None}], [1, {"a": None, "b": "é"}])
    }
    assert ids == {"b656251ca7858a3a6f3b3727"}


def test_conflicts_are_in_the_order_of_their_places_elements_by_number() -> None:
    base: Json = {"l": list(range(12)), "a": 0}
    theirs, yours = ([replace(f"/l/{at}", new) for at in (10, 9, 2)] + [replace("/a", new)] for new in "ty")
    assert [c["pointer"] for c in told(base, [theirs], yours)] == ["/a", "/l/2", "/l/9", "/l/10"]


def test_a_note_tells_of_its_operation_and_place() -> None:
    outcome = rebase({"a": 1}, [[replace("/a", 2)]], [add("/b", 1), copy("/a", "/c")])
    assert isinstance(outcome, Rebased)
    assert [note.as_json() for note in outcome.notes] == [
        {"note": "stale_copy", "operation": 1, "pointer": "/c"}
    ]
