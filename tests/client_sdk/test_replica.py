"""The replica, case by case: what a message changes, what is told, and what is sent next."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merge.strategies import add, copy, guard, move, remove, replace
from plait_client.live.frame import Part
from plait_client.replica.drift import Drift
from plait_client.replica.edit import Edit, Flight, Patch
from plait_client.replica.replica import NOTHING, Failed, Progress, Replica
from plait_client.replica.trail import REVISIONS_MAX, WEIGHT_MAX, Trail
from plait_client.saved import Missed
from plait_merge import (
    ABSENT,
    Conflicted,
    Inapplicable,
    InvalidValue,
    LimitExceeded,
    Limits,
    MalformedPatch,
    apply,
    read_patch,
)

Json = Any
BASE: Json = {"title": "t", "body": "b", "lines": [{"n": 0}, {"n": 1}]}


def replica_of(value: Json = BASE, *edits: Patch, revision: int = 1) -> Replica:
    """A replica with edits typed: their keys are k1, k2, ..."""
    replica = Replica(revision, value, "e")
    for number, patch in enumerate(edits, 1):
        replica.edit(Edit(f"k{number}", patch))
    return replica


def flying(replica: Replica) -> Flight:
    flight = replica.next()
    assert flight is not None
    return flight


def theirs(revision: int, *patch: dict[str, Json]) -> Missed:
    return Missed(revision, "bob", "2027-01-01T00:00:00Z", list(patch))


def parts(*keys: str | None, after: int = 1) -> list[Part]:
    """Parts of a frame: one for each key, None for somebody else's."""
    return [
        Part(revision, "bob" if key is None else "me", "2027-01-01T00:00:00Z", key)
        for revision, key in enumerate(keys, after + 1)
    ]


def numbers(replica: Replica) -> list[Json]:
    """What is shown in the lines."""
    value: Json = replica.shown
    return [line["n"] for line in value["lines"]]


def keys(replica: Replica) -> list[str]:
    return [edit.key for edit in replica.pending]


# -- typing and sending


def test_what_is_typed_is_shown_at_once_and_confirmed_stays() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    assert replica.shown == {**BASE, "title": "mine"}
    assert replica.confirmed.value is BASE
    assert not replica.is_idle


def test_an_edit_that_does_not_fit_changes_nothing() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    shown = replica.shown
    with pytest.raises(Inapplicable):
        replica.edit(Edit("k2", [replace("/nowhere", 1)]))
    with pytest.raises(Inapplicable):
        replica.edit(Edit("k2", [guard("/title", "t")]))
    with pytest.raises(MalformedPatch):
        replica.edit(Edit("k2", [{"op": "replace", "path": "title", "value": 1}]))
    with pytest.raises(InvalidValue):
        replica.edit(Edit("k2", [replace("/title", float("nan"))]))
    with pytest.raises(ValueError, match="k1"):
        replica.edit(Edit("k1", [replace("/title", "again")]))
    assert replica.shown is shown
    assert keys(replica) == ["k1"]


def test_the_limits_are_those_of_the_server() -> None:
    replica = Replica(1, BASE, "e", limits=Limits(operations_max=1))
    with pytest.raises(LimitExceeded):
        replica.edit(Edit("k1", [replace("/title", "a"), replace("/title", "b")]))


def test_one_edit_is_in_flight_at_a_time_and_it_is_the_oldest() -> None:
    replica = replica_of(BASE, [replace("/title", "1")], [replace("/title", "2")])
    assert replica.next() == Flight("k1", 1, "e", [replace("/title", "1")])
    assert replica.next() is None
    assert keys(replica) == ["k2"]
    replica.accepted("k1", 2, [replace("/title", "1")], [])
    assert replica.next() == Flight("k2", 2, "e", [replace("/title", "2")])


def test_with_nothing_pending_there_is_nothing_to_send() -> None:
    assert replica_of().next() is None


def test_a_message_and_a_time_go_with_the_edit() -> None:
    replica = Replica(1, BASE, "e")
    replica.edit(Edit("k1", [replace("/title", "1")], "why", 12.5))
    flight = flying(replica)
    assert (flight.message, flight.made_at) == ("why", 12.5)


def test_what_is_frozen_does_not_change_while_its_shown_form_moves() -> None:
    replica = replica_of(BASE, [replace("/lines/1/n", "mine")])
    flight = flying(replica)
    replica.received(1, 2, [remove("/lines/0")], parts(None))
    assert replica.flight is flight
    assert flight.patch == [replace("/lines/1/n", "mine")]
    assert numbers(replica) == ["mine"]


# -- answers and echoes


def test_an_answer_confirms_the_edit_without_changing_what_is_shown() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    flying(replica)
    assert replica.accepted("k1", 2, [replace("/title", "mine")], []) == Progress(saved=("k1",))
    assert replica.is_idle
    assert replica.confirmed.revision == 2
    assert replica.shown is replica.confirmed.value
    assert replica.shown == {**BASE, "title": "mine"}


def test_an_echo_after_the_answer_is_no_news() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    flying(replica)
    replica.accepted("k1", 2, [replace("/title", "mine")], [])
    assert replica.received(1, 2, [replace("/title", "mine")], parts("k1")) == NOTHING
    assert replica.received(2, 3, [replace("/body", "x")], parts(None, after=2)) == Progress(changed=True)
    assert replica.shown == {**BASE, "title": "mine", "body": "x"}


def test_an_echo_before_the_answer_confirms_and_the_answer_is_no_news() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")], [replace("/body", "mine")])
    flying(replica)
    shown = replica.shown
    assert replica.received(1, 2, [replace("/title", "mine")], parts("k1")) == Progress(saved=("k1",))
    assert replica.flight is None
    assert replica.shown is shown
    assert replica.accepted("k1", 2, [replace("/title", "mine")], []) == NOTHING
    assert flying(replica).base == 2


def test_what_was_missed_comes_with_the_answer() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")], [replace("/lines/1/n", "later")])
    flying(replica)
    progress = replica.accepted(
        "k1",
        4,
        [replace("/title", "mine")],
        [theirs(2, replace("/body", "x")), theirs(3, remove("/lines/0"))],
    )
    assert progress == Progress(saved=("k1",), changed=True)
    assert replica.confirmed.revision == 4
    assert replica.shown == {"title": "mine", "body": "x", "lines": [{"n": "later"}]}
    assert replica.pending[0].patch == [replace("/lines/0/n", "later")]


def test_of_what_was_missed_only_what_frames_have_not_told_counts() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    flying(replica)
    replica.received(1, 2, [add("/lines/-", {"n": 2})], parts(None))
    missed = [theirs(2, add("/lines/-", {"n": 2})), theirs(3, add("/lines/-", {"n": 3}))]
    replica.accepted("k1", 4, [replace("/title", "mine")], missed)
    assert numbers(replica) == [0, 1, 2, 3]


def test_a_noop_has_no_revision_but_what_was_missed_counts() -> None:
    replica = replica_of(BASE, [replace("/title", "x")])
    flying(replica)
    progress = replica.accepted("k1", 2, [], [theirs(2, replace("/title", "x"))])
    assert progress.saved == ("k1",)
    assert replica.confirmed.revision == 2
    assert replica.is_idle
    assert replica.shown == {**BASE, "title": "x"}


def test_a_noop_on_what_is_confirmed_changes_nothing() -> None:
    replica = replica_of(BASE, [replace("/title", "t")], [replace("/body", "mine")])
    flying(replica)
    assert replica.accepted("k1", 1, [], []) == Progress(saved=("k1",))
    assert replica.confirmed.revision == 1
    assert keys(replica) == ["k2"]


@pytest.mark.parametrize("missed", [None, [], [theirs(3, replace("/body", "z"))]])
def test_an_answer_that_does_not_lead_on_saves_and_waits(missed: list[Missed] | None) -> None:
    """A replayed answer may tell less of what was missed, or nothing."""
    replica = replica_of(BASE, [replace("/title", "mine")], [replace("/title", "later")])
    flying(replica)
    assert replica.accepted("k1", 4, [replace("/title", "mine")], missed) == Progress(saved=("k1",))
    assert replica.behind
    assert not replica.is_idle
    assert replica.flight is None
    assert replica.next() is None, "what comes next is made on something not known yet"
    assert replica.shown == {**BASE, "title": "later"}
    assert replica.refused("k1") == NOTHING
    assert replica.accepted("k1", 4, [replace("/title", "mine")], missed) == NOTHING


def behind_at_four() -> Replica:
    """k1 is in revision 4, and 2 and 3 are not known."""
    replica = replica_of(BASE, [add("/lines/-", {"n": "mine"})], [replace("/lines/2/n", "later")])
    flying(replica)
    replica.accepted("k1", 4, [add("/lines/3", {"n": "mine"})], None)
    assert replica.behind
    return replica


def test_frames_lead_on_to_what_an_answer_was_ahead_of() -> None:
    replica = behind_at_four()
    assert not replica.received(1, 2, [replace("/body", "x")], parts(None)).saved
    assert replica.received(2, 3, [add("/lines/2", {"n": 2})], parts(None, after=2)) == Progress(changed=True)
    assert replica.behind
    assert not replica.received(3, 4, [add("/lines/3", {"n": "mine"})], parts("k1", after=3)).saved
    assert not replica.behind
    assert numbers(replica) == [0, 1, 2, "later"]
    assert flying(replica).patch == [replace("/lines/3/n", "later")]


def test_what_is_known_to_be_saved_needs_no_key_to_be_seen() -> None:
    replica = behind_at_four()
    frame = [add("/lines/2", {"n": 2}), replace("/body", "x"), add("/lines/3", {"n": "mine"})]
    assert replica.received(1, 4, frame, parts(None, None, None)) == Progress(changed=True)
    assert numbers(replica) == [0, 1, 2, "later"]
    assert not replica.behind
    assert flying(replica).key == "k2"


def test_a_whole_document_leads_on_to_what_an_answer_was_ahead_of() -> None:
    replica = behind_at_four()
    lines = [{"n": 0}, {"n": 1}, {"n": 2}, {"n": "mine"}]
    assert replica.reset(4, {**BASE, "lines": lines}, "e") == Progress(changed=True)
    assert not replica.behind
    assert replica.shown == {**BASE, "lines": [*lines[:3], {"n": "later"}]}
    assert flying(replica).patch == [replace("/lines/3/n", "later")]


def test_a_whole_document_from_before_the_answer_keeps_the_edit_on_top() -> None:
    replica = behind_at_four()
    replica.reset(3, {**BASE, "body": "x"}, "e")
    assert replica.behind
    assert numbers(replica) == [0, 1, "later"]


def test_an_answer_about_something_confirmed_already_is_taken() -> None:
    """A whole document held the edit, and nobody said so."""
    replica = replica_of(BASE, [add("/lines/-", {"n": 2})], [replace("/lines/2/n", "later")])
    flying(replica)
    replica.reset(3, {**BASE, "body": "x", "lines": [{"n": 0}, {"n": 1}, {"n": 2}]}, "e")
    assert replica.accepted("k1", 2, [add("/lines/2", {"n": 2})], []).saved == ("k1",)
    assert replica.shown == {"title": "t", "body": "x", "lines": [{"n": 0}, {"n": 1}, {"n": "later"}]}
    assert keys(replica) == ["k2"]


def test_an_answer_about_another_edit_says_nothing() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    assert replica.accepted("k1", 2, [replace("/title", "mine")], []) == NOTHING, "it was never sent"
    flying(replica)
    assert replica.accepted("k9", 2, [replace("/title", "mine")], []) == NOTHING


def test_an_answer_that_makes_no_sense_leaves_the_replica_behind() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    flying(replica)
    assert replica.accepted("k1", 3, [replace("/title", "mine")], [theirs(2, remove("/nowhere"))]).saved
    assert replica.behind
    assert replica.confirmed.revision == 1


# -- frames


def test_others_changes_are_shown_under_what_is_typed() -> None:
    replica = replica_of(BASE, [replace("/lines/1/n", "mine")], [add("/lines/2", {"n": "new"})])
    progress = replica.received(1, 2, [add("/lines/0", {"n": "x"}), replace("/body", "x")], parts(None))
    assert progress == Progress(changed=True)
    assert replica.shown == {"title": "t", "body": "x", "lines": [{"n": n} for n in ("x", 0, "mine", "new")]}
    assert flying(replica) == Flight("k1", 2, "e", [replace("/lines/2/n", "mine")])


def test_with_nothing_pending_what_is_shown_is_what_is_confirmed() -> None:
    replica = replica_of()
    assert replica.received(1, 2, [replace("/title", "x")], parts(None)) == Progress(changed=True)
    assert replica.shown is replica.confirmed.value


def test_ones_own_edit_among_others_in_one_frame_is_saved() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")], [replace("/title", "later")])
    flying(replica)
    frame = [remove("/lines/0"), replace("/title", "mine"), replace("/body", "x")]
    assert replica.received(1, 4, frame, parts(None, "k1", None)) == Progress(saved=("k1",), changed=True)
    assert replica.shown == {"title": "later", "body": "x", "lines": [{"n": 1}]}
    assert keys(replica) == ["k2"]


def test_ones_own_element_among_others_in_one_frame_is_the_one_edited_next() -> None:
    """Others put something before it in the same frame, in the same gap."""
    replica = replica_of(BASE, [add("/lines/-", {"n": "mine"})], [replace("/lines/2/n", "later")])
    flying(replica)
    frame = [add("/lines/2", {"n": "theirs"}), add("/lines/3", {"n": "mine"})]
    assert replica.received(1, 3, frame, parts(None, "k1")).failed == ()
    assert numbers(replica) == [0, 1, "theirs", "later"]


def test_what_others_moved_in_a_frame_with_ones_own_edit_is_known_not_guessed() -> None:
    """The two lines look alike, so no comparison would tell that they changed places."""
    alike = {"title": "t", "lines": [{"n": 0}, {"n": 0}]}
    replica = replica_of(alike, [replace("/title", "mine")], [replace("/lines/0/n", "later")])
    flying(replica)
    replica.received(1, 3, [move("/lines/0", "/lines/1"), replace("/title", "mine")], parts(None, "k1"))
    assert numbers(replica) == [0, "later"]


def test_ones_own_list_stays_in_order_behind_somebody_elses() -> None:
    replica = replica_of([], *[[add("/-", number)] for number in range(5)])
    replica.received(1, 2, [add("/-", "x"), add("/-", "y")], parts(None))
    replica.edit(Edit("k6", [add("/-", 5)]))
    assert replica.shown == ["x", "y", 0, 1, 2, 3, 4, 5]
    replica.received(2, 3, [add("/-", "z")], parts(None, after=2))
    assert replica.shown == ["x", "y", "z", 0, 1, 2, 3, 4, 5]


def test_a_frame_that_overlaps_an_answer_adds_only_what_is_new() -> None:
    replica = replica_of(BASE, [add("/lines/-", {"n": "mine"})], [add("/lines/-", {"n": "later"})])
    flying(replica)
    replica.accepted("k1", 3, [add("/lines/3", {"n": "mine"})], [theirs(2, add("/lines/2", {"n": "two"}))])
    frame = [add("/lines/2", {"n": "two"}), add("/lines/3", {"n": "mine"}), add("/lines/4", {"n": "four"})]
    assert replica.received(1, 4, frame, parts(None, "k1", None)) == Progress(changed=True)
    assert replica.confirmed.revision == 4
    assert numbers(replica) == [0, 1, "two", "mine", "four", "later"]


def test_a_frame_that_overlaps_may_be_composed_otherwise() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    flying(replica)
    replica.accepted("k1", 2, [replace("/title", "mine")], [])
    assert replica.received(1, 3, [replace("/title", "x")], parts("k1", None)).changed
    assert replica.shown == {**BASE, "title": "x"}


def test_frames_that_come_late_lead_up_to_where_answers_were() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    flying(replica)
    replica.accepted("k1", 3, [replace("/title", "mine")], [theirs(2, replace("/body", "x"))])
    shown = replica.shown
    assert replica.received(1, 2, [replace("/body", "x")], parts(None)) == NOTHING
    assert replica.received(2, 3, [replace("/title", "mine")], parts("k1", after=2)) == NOTHING
    assert replica.shown is shown
    assert replica.received(3, 4, [replace("/body", "y")], parts(None, after=3)).changed


def test_frames_go_on_from_where_they_were_after_the_document_was_read() -> None:
    replica = replica_of()
    replica.reset(3, {**BASE, "title": "three"}, "e")
    assert replica.received(1, 2, [replace("/title", "two")], parts(None)) == NOTHING
    frame = [replace("/title", "three"), replace("/body", "four")]
    assert replica.received(2, 4, frame, parts(None, None, after=2)).changed
    assert replica.shown == {**BASE, "title": "three", "body": "four"}


def test_an_older_snapshot_is_where_frames_go_on_from() -> None:
    replica = replica_of(revision=3)
    assert replica.reset(2, {**BASE, "title": "two"}, "e") == NOTHING
    frame = [replace("/title", "t"), replace("/body", "four")]
    assert replica.received(2, 4, frame, parts(None, None, after=2)).changed
    assert replica.shown == {**BASE, "body": "four"}


def test_a_frame_that_leaves_a_gap_is_not_taken() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    assert replica.received(2, 3, [replace("/body", "x")], parts(None, after=2)) == NOTHING
    assert replica.behind
    assert replica.next() is None
    assert replica.reset(3, {**BASE, "body": "x"}, "e").changed
    assert not replica.behind
    assert replica.next() is not None


def test_a_frame_that_does_not_fit_what_is_there_is_not_taken() -> None:
    replica = replica_of()
    assert replica.received(1, 2, [remove("/nowhere")], parts(None)) == NOTHING
    assert replica.behind


def test_a_frame_that_is_no_patch_is_refused() -> None:
    replica = replica_of()
    with pytest.raises(MalformedPatch):
        replica.received(1, 2, [{"op": "no"}], parts(None))
    assert replica.confirmed.revision == 1


def test_a_key_that_was_never_sent_from_here_is_seen_all_the_same() -> None:
    """The program was restarted from what was stored before the edits were sent."""
    replica = replica_of(BASE, [replace("/title", "1")], [replace("/body", "2")], [replace("/title", "3")])
    assert replica.received(1, 2, [replace("/body", "2")], parts("k2")) == Progress(saved=("k2",))
    assert keys(replica) == ["k1", "k3"]
    assert flying(replica) == Flight("k1", 2, "e", [replace("/title", "1")])
    assert replica.shown == {**BASE, "title": "3", "body": "2"}


# -- what cannot be replayed


def test_a_pending_edit_that_others_overtook_fails_and_the_rest_goes_on() -> None:
    replica = replica_of(
        BASE,
        [replace("/lines/0/n", "one")],
        [replace("/title", "mine"), replace("/lines/1/n", "lost")],
        [move("/lines/1", "/lines/0")],
        [replace("/title", "depends")],
    )
    progress = replica.received(1, 2, [replace("/title", "theirs")], parts(None))
    assert [failed.edit.key for failed in progress.failed] == ["k2", "k4"]
    assert keys(replica) == ["k1", "k3"]
    assert replica.shown == {**BASE, "title": "theirs", "lines": [{"n": 1}, {"n": "one"}]}


def test_a_failure_says_what_the_edit_was_made_on_and_what_it_met() -> None:
    replica = replica_of(BASE, [replace("/body", "mine")], [replace("/title", "mine")])
    others = parts(None)
    (failed,) = replica.received(1, 2, [replace("/title", "theirs")], others).failed
    assert isinstance(failed.reason, Conflicted)
    assert [conflict.pointer for conflict in failed.reason.conflicts] == ["/title"]
    assert failed == Failed(
        Edit("k2", [replace("/title", "mine")]),
        failed.reason,
        base={**BASE, "body": "mine"},
        theirs={**BASE, "body": "mine", "title": "theirs"},
        revision=2,
        parts=tuple(others),
    )


def test_an_edit_over_what_a_failed_edit_wrote_fails_too() -> None:
    replica = replica_of(
        BASE, [replace("/title", "mine"), replace("/body", "mine")], [replace("/body", "mine again")]
    )
    progress = replica.received(1, 2, [replace("/title", "theirs")], parts(None))
    assert [failed.edit.key for failed in progress.failed] == ["k1", "k2"]
    assert progress.failed[1].base == {**BASE, "title": "mine", "body": "mine"}


def test_an_edit_inside_what_a_failed_edit_made_fails_too() -> None:
    replica = replica_of(
        BASE,
        [replace("/title", "mine"), add("/lines/-", {"n": "new"})],
        [replace("/lines/2/n", "inside")],
        [replace("/lines/1/n", "beside")],
    )
    progress = replica.received(1, 2, [replace("/title", "theirs")], parts(None))
    assert [failed.edit.key for failed in progress.failed] == ["k1", "k2"]
    assert numbers(replica) == [0, "beside"]


def test_what_is_in_flight_is_only_hidden_and_the_server_decides() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")], [replace("/body", "later")])
    flight = flying(replica)
    progress = replica.received(1, 2, [replace("/title", "theirs")], parts(None))
    assert progress == Progress(changed=True)
    assert replica.flight is flight
    assert replica.shown == {**BASE, "title": "theirs", "body": "later"}
    assert replica.export().flight_shown is None
    assert replica.refused("k1") == NOTHING
    assert keys(replica) == ["k2"]
    assert replica.flight is None


def test_what_was_hidden_may_be_accepted() -> None:
    """Seen as a whole what others did was nothing in the end."""
    replica = replica_of(BASE, [replace("/title", "mine")], [replace("/body", "later")])
    flying(replica)
    replica.received(1, 2, [replace("/title", "theirs")], parts(None))
    progress = replica.accepted("k1", 4, [replace("/title", "mine")], [theirs(3, replace("/title", "t"))])
    assert progress == Progress(saved=("k1",), changed=True)
    assert replica.shown == {**BASE, "title": "mine", "body": "later"}


def test_a_deleted_document_takes_what_is_pending_with_it_and_says_so() -> None:
    replica = replica_of(BASE, [replace("/title", "1")], [replace("/title", "2")])
    flying(replica)
    progress = replica.received(1, 2, [remove("")], parts(None))
    assert [failed.edit.key for failed in progress.failed] == ["k2"]
    assert replica.shown is ABSENT
    assert replica.flight is not None
    replica.refused("k1")
    assert replica.is_idle


def test_a_document_that_is_made_again_is_another_one() -> None:
    replica = replica_of(BASE, [replace("/title", "1")])
    frame = [remove(""), add("", {"title": "new"})]
    assert len(replica.received(1, 3, frame, parts(None, None)).failed) == 1
    assert replica.shown == {"title": "new"}


def test_a_document_can_be_made_where_none_is() -> None:
    replica = Replica(2, ABSENT, "e")
    replica.edit(Edit("k1", [add("", {"title": "new"})]))
    replica.edit(Edit("k2", [replace("/title", "newer")]))
    assert flying(replica).patch == [add("", {"title": "new"})]
    replica.accepted("k1", 3, [add("", {"title": "new"})], [])
    assert replica.shown == {"title": "newer"}


def test_a_document_both_made_fails_for_whoever_is_later() -> None:
    replica = Replica(2, ABSENT, "e")
    replica.edit(Edit("k1", [add("", [1])]))
    assert len(replica.received(2, 3, [add("", [2])], parts(None, after=2)).failed) == 1
    assert replica.shown == [2]


def test_what_both_did_is_sent_and_the_server_says_noop() -> None:
    replica = replica_of(BASE, [replace("/title", "same")])
    replica.received(1, 2, [replace("/title", "same")], parts(None))
    assert keys(replica) == ["k1"]
    assert flying(replica) == Flight("k1", 2, "e", [])
    assert replica.accepted("k1", 2, [], []) == Progress(saved=("k1",))


# -- guards


def test_a_guard_goes_with_the_edit_wherever_that_goes() -> None:
    patch = [guard("/lines/1/n", 1), replace("/lines/1/n", "mine"), guard("/title", "t")]
    replica = replica_of(BASE, patch)
    replica.received(1, 2, [add("/lines/0", {"n": "x"}), replace("/body", "x")], parts(None))
    assert flying(replica).patch == [
        guard("/lines/2/n", 1),
        replace("/lines/2/n", "mine"),
        guard("/title", "t"),
    ]


def test_a_guard_on_what_the_edit_made_stands_where_it_stood() -> None:
    patch = [move("/lines/1", "/kept"), guard("/kept/n", 1), remove("/lines/0"), guard("/lines", [])]
    replica = replica_of(BASE, patch)
    replica.received(1, 2, [move("/lines/0", "/lines/1"), replace("/body", "x")], parts(None))
    flight = flying(replica)
    assert [o for o in flight.patch if o["op"] == "test"] == [guard("/kept/n", 1), guard("/lines", [])]
    assert replica.shown == {"title": "t", "body": "x", "kept": {"n": 1}, "lines": []}
    assert apply(replica.confirmed.value, flight.patch) == replica.shown


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_guard_that_others_overtook_refuses_the_whole_edit(place: int) -> None:
    patch = [replace("/lines/0/n", "mine"), replace("/body", "mine")]
    patch.insert(place, guard("/title", "t"))
    replica = replica_of(BASE, patch)
    (failed,) = replica.received(1, 2, [replace("/title", "x")], parts(None)).failed
    assert isinstance(failed.reason, Conflicted)
    assert [conflict.kind for conflict in failed.reason.conflicts] == ["guard"]
    assert replica.shown == {**BASE, "title": "x"}


def test_a_copy_of_others_is_what_it_was_for_them() -> None:
    """Whatever is typed at its source here: what is typed later is replayed over what they copied."""
    replica = replica_of(BASE, [replace("/title", "mine")], [replace("/lines/0/n", "mine")])
    replica.received(1, 2, [copy("/title", "/copied"), add("/lines/0", {"n": "x"})], parts(None))
    assert replica.shown == {
        "title": "mine",
        "body": "b",
        "copied": "t",
        "lines": [{"n": "x"}, {"n": "mine"}, {"n": 1}],
    }


# -- refusals


def test_a_refused_edit_leaves_what_is_shown_and_others_go_on() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")], [replace("/lines/0/n", "later")])
    flying(replica)
    assert replica.refused("k1") == Progress(changed=True)
    assert replica.shown == {**BASE, "lines": [{"n": "later"}, {"n": 1}]}
    assert flying(replica).key == "k2"


def test_what_needs_a_refused_edit_fails() -> None:
    replica = replica_of(
        BASE,
        [add("/lines/0", {"n": "new"})],
        [replace("/lines/0/n", "inside")],
        [replace("/lines/1/n", "on")],
    )
    flying(replica)
    progress = replica.refused("k1")
    assert [failed.edit.key for failed in progress.failed] == ["k2"]
    assert numbers(replica) == ["on", 1]
    assert replica.pending[0].patch == [replace("/lines/0/n", "on")]


def test_a_pending_edit_can_be_given_up() -> None:
    replica = replica_of(BASE, [replace("/title", "1")], [replace("/body", "2")], [replace("/title", "3")])
    assert replica.refused("k2") == Progress(changed=True)
    assert replica.shown == {**BASE, "title": "3"}
    assert keys(replica) == ["k1", "k3"]
    assert replica.refused("k2") == NOTHING


def test_an_edit_given_up_that_was_saved_all_the_same_comes_as_somebodys() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    flying(replica)
    replica.refused("k1")
    assert replica.shown == BASE
    assert replica.received(1, 2, [replace("/title", "mine")], parts("k1")) == Progress(changed=True)


# -- whole documents and epochs


def test_a_whole_document_is_merged_with_what_is_pending() -> None:
    replica = replica_of(BASE, [replace("/lines/1/n", "mine")], [replace("/title", "mine")])
    progress = replica.reset(7, {**BASE, "title": "theirs", "lines": [{"n": "x"}, {"n": 0}, {"n": 1}]}, "e")
    assert [failed.edit.key for failed in progress.failed] == ["k2"]
    assert progress.failed[0].parts == ()
    assert numbers(replica) == ["x", 0, "mine"]
    assert flying(replica).base == 7


def test_the_same_document_once_more_changes_nothing() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    shown = replica.shown
    assert replica.reset(1, {"lines": [{"n": 0}, {"n": 1}], "body": "b", "title": "t"}, "e") == NOTHING
    assert replica.shown is shown
    assert replica.confirmed.value is BASE


def test_another_epoch_is_another_history() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")], [replace("/body", "later")], revision=9)
    flight = flying(replica)
    assert replica.reset(4, {**BASE, "lines": []}, "e2").changed
    assert (replica.confirmed.revision, replica.confirmed.epoch) == (4, "e2")
    assert replica.since(9) is None
    assert replica.flight is flight, "the server may know the edit, or not"
    assert replica.shown == {"title": "mine", "body": "later", "lines": []}
    assert not replica.behind


def test_an_answer_of_another_epoch_is_no_answer() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    flight = flying(replica)
    assert replica.accepted("k1", 2, [replace("/title", "mine")], [], "e2") == NOTHING
    assert replica.behind
    assert replica.flight is flight
    replica.reset(2, {**BASE, "title": "mine"}, "e2")
    assert not replica.behind
    assert replica.accepted("k1", 2, [replace("/title", "mine")], [], "e2").saved == ("k1",)
    assert replica.is_idle


def test_what_was_saved_in_an_epoch_that_is_gone_is_not_sent_again() -> None:
    replica = behind_at_four()
    replica.reset(1, BASE, "e2")
    assert replica.flight is None
    assert not replica.behind
    assert keys(replica) == [], "it was made inside what the store has forgotten"


def test_what_was_in_flight_can_be_frozen_anew() -> None:
    replica = replica_of(BASE, [replace("/lines/1/n", "mine")], [replace("/title", "later")], revision=9)
    flying(replica)
    replica.reset(4, {**BASE, "lines": [{"n": 1}]}, "e2")
    assert not replica.thaw("k2")
    assert replica.thaw("k1")
    assert keys(replica) == ["k1", "k2"]
    assert replica.next() == Flight("k1", 4, "e2", [replace("/lines/0/n", "mine")])


def test_what_is_hidden_cannot_be_frozen_anew() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")], revision=9)
    flying(replica)
    replica.reset(4, {**BASE, "title": "theirs"}, "e2")
    assert not replica.thaw("k1")
    assert replica.refused("k1") == NOTHING
    assert replica.is_idle


# -- writes that are no edits of the stack


def test_the_answer_to_another_write_leads_on() -> None:
    replica = replica_of(BASE, [replace("/body", "mine")])
    assert replica.learned(2, [replace("/title", "x")], []) == Progress(changed=True)
    assert replica.shown == {**BASE, "title": "x", "body": "mine"}
    assert replica.learned(2, [replace("/title", "x")], []) == NOTHING
    assert replica.learned(9, [replace("/title", "y")], None) == NOTHING
    assert replica.behind


# -- storing


def test_what_is_restored_goes_on_where_it_was() -> None:
    replica = replica_of(BASE, [replace("/lines/1/n", "mine")], [replace("/title", "later")])
    flight = flying(replica)
    replica.received(1, 2, [remove("/lines/0")], parts(None))
    state = replica.export()
    assert state.flight is flight
    assert state.flight_shown == [replace("/lines/0/n", "mine")]
    again = Replica.restore(state)
    assert again.export() == state
    assert again.shown == replica.shown
    assert again.flight == flight
    assert again.accepted("k1", 3, [replace("/lines/0/n", "mine")], []) == Progress(saved=("k1",))


def test_what_is_hidden_stays_so_when_restored() -> None:
    replica = replica_of(BASE, [replace("/title", "mine")])
    flying(replica)
    replica.received(1, 2, [replace("/title", "theirs")], parts(None))
    again = Replica.restore(replica.export())
    assert again.shown == {**BASE, "title": "theirs"}
    assert again.flight is not None


def test_what_is_saved_but_not_seen_is_stored_as_in_flight() -> None:
    again = Replica.restore(behind_at_four().export())
    assert again.flight is not None
    assert again.flight.key == "k1"
    assert not again.behind


def test_what_does_not_hang_together_is_not_restored() -> None:
    state = replica_of(BASE, [replace("/title", "mine")]).export()
    edit = state.pending[0]
    with pytest.raises(ValueError, match="k1"):
        Replica.restore(type(state)(1, BASE, "e", pending=(edit, edit)))
    with pytest.raises(Inapplicable):
        Replica.restore(type(state)(1, {}, "e", pending=(edit,)))


# -- what came since


def test_what_came_since_a_revision_is_known_step_by_step() -> None:
    replica = replica_of()
    replica.received(1, 2, [replace("/title", "x")], parts(None))
    replica.received(2, 4, [replace("/body", "y"), remove("/lines/0")], parts(None, None, after=2))
    assert replica.since(4) == ()
    assert replica.since(2) == read_patch([replace("/body", "y"), remove("/lines/0")])
    assert replica.since(1) == read_patch([replace("/title", "x"), replace("/body", "y"), remove("/lines/0")])
    assert replica.since(3) is None, "it was one step from 2 to 4"
    assert replica.since(0) is None


def test_a_trail_is_bounded_in_number_and_in_weight() -> None:
    trail = Trail()
    for number in range(REVISIONS_MAX + 5):
        trail.append(number, number + 1, read_patch([replace("/title", number)]))
    assert trail.since(4) is None
    assert len(trail.since(5) or ()) == REVISIONS_MAX
    trail.append(REVISIONS_MAX + 5, REVISIONS_MAX + 6, read_patch([replace("", [0] * WEIGHT_MAX)]))
    assert trail.since(REVISIONS_MAX + 5) is None


# -- cost


def test_an_edit_that_changed_nothing_did_not_make_the_next_revision() -> None:
    """Others made it, and what they did was not told with the answer."""
    replica = replica_of({"a": 1}, [])
    flight = replica.next()
    assert flight is not None
    assert replica.accepted(flight.key, 2, [], None).saved == (flight.key,)
    assert replica.behind
    replica.received(1, 2, [replace("/a", 2)], parts(None))
    assert (replica.confirmed.revision, replica.shown, replica.behind) == (2, {"a": 2}, False)


def test_thousands_of_edits_on_what_others_replaced_cost_no_comparison_each() -> None:
    """Each fails by itself, and no two documents are compared for it: this would take minutes otherwise."""
    count = 1_000
    rows = [{"n": 0} for _ in range(count)]
    replica = replica_of({"rows": rows}, *[[replace(f"/rows/{at}/n", at + 1)] for at in range(count)])
    progress = replica.received(1, 2, [remove("")], parts(None))
    assert len(progress.failed) == count
    assert replica.shown is ABSENT


def test_thousands_of_edits_beside_what_others_did_stay_as_they_are() -> None:
    count = 2_000
    replica = replica_of({"mine": 0, "theirs": [0] * count}, *[[replace("/mine", n)] for n in range(count)])
    before = replica.pending
    replica.received(1, 2, [replace(f"/theirs/{at}", 1) for at in range(count)], parts(None))
    assert all(now is then for now, then in zip(replica.pending, before, strict=True))
    assert replica.shown == {"mine": count - 1, "theirs": [1] * count}


def test_what_a_replay_may_cost_is_bounded() -> None:
    """What touches nothing of the others goes on all the same."""
    operations = read_patch([add("/log/-", number) for number in range(10)])
    drift = Drift({"log": [], "n": 0}, operations, {"log": [*range(10)], "n": 0}, replayed_weight_max=500)
    append, beside = read_patch([add("/log/-", "mine")]), read_patch([replace("/n", 1)])
    assert isinstance(drift.carry(append), tuple)
    assert isinstance(drift.carry(append), tuple)
    refusal = drift.carry(append)
    assert isinstance(refusal, LimitExceeded)
    assert refusal.limit == "replayed_weight"
    drift.leave(append)
    assert drift.carry(beside) == beside
    assert drift.real == {"log": [*range(10), "mine", "mine"], "n": 1}
    assert drift.view == {"log": ["mine", "mine", "mine"], "n": 1}


# -- laws


@given(st.lists(st.sampled_from(["type", "send", "answer", "hear"]), max_size=30))
@settings(derandomize=True, deadline=None)
def test_two_lists_written_at_once_end_up_one_behind_the_other_bit_by_bit(story: list[str]) -> None:
    """What one typed in a row stays in its order, whatever comes in between."""
    replica = replica_of([])
    history: list[tuple[Patch, str | None]] = []
    heard, typed, answers = 0, 0, list[tuple[str, int]]()

    def commit(patch: Patch, key: str | None) -> None:
        history.append((patch, key))

    def head() -> Json:
        value: Json = []
        for patch, _ in history:
            value = apply(value, patch)
        return value

    for act in story:
        if act == "type":
            typed += 1
            replica.edit(Edit(f"k{typed}", [add("/-", typed)]))
            commit([add("/-", f"other {typed}")], None)
        elif act == "send" and (flight := replica.next()) is not None:
            place = len(head())
            commit([add(f"/{place}", flight.patch[0]["value"])], flight.key)
            answers.append((flight.key, len(history) + 1))
        elif act == "answer" and answers:
            key, revision = answers.pop()
            missed = [theirs(at + 2, *patch) for at, (patch, _) in enumerate(history[: revision - 2])]
            replica.accepted(key, revision, history[revision - 2][0], missed)
        elif act == "hear" and heard < len(history):
            patch, sender = history[heard]
            heard += 1
            replica.received(heard, heard + 1, patch, parts(sender, after=heard))
        shown: Json = replica.shown
        mine = [each for each in shown if isinstance(each, int)]
        assert mine == [*range(1, typed + 1)]
