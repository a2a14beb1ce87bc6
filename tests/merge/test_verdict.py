"""What a rule decides between the values of one place."""

from __future__ import annotations

import pytest

from merge.strategies import Json
from plait_merge import ABSENT, Policy
from plait_merge.outcome import Kind
from plait_merge.verdict import Values, Verdict, decide

OLD, NEW = "v1.2.9", "v1.2.10"


@pytest.mark.parametrize(
    ("word", "kind", "values", "verdict"),
    [
        ("max", "edit_edit", (1, 2, 3), ("yours", "max")),
        ("max", "edit_edit", (1, 3, 3.0), ("theirs", "max")),
        ("max", "edit_edit", (1, 3, True), None),
        ("max", "remove_edit", (1, 3, 2), None),
        ("min", "edit_edit", (1, 2, 3), ("theirs", "min")),
        ("min", "edit_edit", (1, 3, 3.0), ("theirs", "min")),
        ("min", "add_add", (ABSENT, 3, 2), ("yours", "min")),
        ("sum", "edit_edit", (1, 2, 3), ({"value": 4}, "sum")),
        ("sum", "add_add", (ABSENT, 2, 3), ({"value": 5}, "sum")),
        ("sum", "edit_edit", ("x", 2, 3), None),
        ("newest", "edit_edit", ("", OLD, NEW), ("yours", "newest")),
        ("newest", "add_add", (ABSENT, NEW, OLD), ("theirs", "newest")),
        ("newest", "remove_edit", (OLD, ABSENT, NEW), None),
        ("newest", "remove_edit", (OLD, OLD, NEW), None),
        ("newest", "edit_edit", ("", OLD, OLD), None),
        ("conflict", "edit_edit", ("", OLD, NEW), None),
        ("conflict", "edit_edit", (1, 2, 3), None),
        ("exclusive", "edit_edit", (1, 2, 3), None),
        ("theirs", "remove_edit", (1, ABSENT, 2), ("theirs", "theirs")),
        ("yours", "move_move", (1, 1, 1), ("yours", "yours")),
    ],
)
def test_a_word_decides_between_what_it_can_compare(
    word: str, kind: Kind, values: tuple[Json, Json, Json], verdict: tuple[Json, Json] | None
) -> None:
    rule = Policy.read({"rules": {"": {"scalar": word}}}).at(())
    assert decide(kind, rule, Values(*values)) == (None if verdict is None else Verdict(*verdict))


def test_a_text_that_cannot_be_merged_is_decided_by_its_version() -> None:
    rule = Policy.read({"rules": {"": {"string": {"text": "words"}, "scalar": "newest"}}}).at(())
    assert decide("text", rule, Values("a b", "a c", "d b")) == Verdict({"value": "d c"}, "text")
    assert decide("text", rule, Values("a", OLD, NEW)) == Verdict("yours", "newest")
    assert decide("text", rule, Values("a", "b", "c")) is None
