"""What a rule decides between the values of one place: the choice somebody would otherwise have to make."""

from __future__ import annotations

from typing import NamedTuple

from plait_merge.number import Number, is_number, total
from plait_merge.outcome import Choice, Kind, NoteKind
from plait_merge.policy import Rule
from plait_merge.text import Allowance, merge_lines, merge_text
from plait_merge.values import ABSENT, Absent, Json, LimitExceeded, check_value
from plait_merge.version import newer


class Verdict(NamedTuple):
    """A choice made for a conflict; `note` is the word that made it, None where nothing was given up."""

    choice: Choice
    note: NoteKind | None


class Values(NamedTuple):
    """What base, theirs and yours have at one place."""

    base: Json | Absent
    theirs: Json | Absent
    yours: Json | Absent


def decide(kind: Kind, rule: Rule, values: Values, allowance: Allowance | None = None) -> Verdict | None:
    """Decide between two values of one place by themselves: as texts, numbers, versions, or for one side."""
    return (
        _by_text(kind, rule, values, allowance)
        or _by_number(kind, rule, values)
        or _by_version(kind, rule, values)
        or _by_side(rule)
    )


def _by_text(kind: Kind, rule: Rule, values: Values, allowance: Allowance | None) -> Verdict | None:
    base, theirs, yours = values
    if kind != "text":
        return None
    text: Json = None
    if isinstance(base, str) and isinstance(theirs, str) and isinstance(yours, str):
        assert rule.text is not None
        text = merge_text(base, theirs, yours, rule.text, allowance)
    elif isinstance(base, list) and isinstance(theirs, list) and isinstance(yours, list):
        text = merge_lines(base, theirs, yours, allowance)
    return None if text is None else Verdict({"value": text}, "text")


def _by_number(kind: Kind, rule: Rule, values: Values) -> Verdict | None:
    base, theirs, yours = values
    if kind not in ("edit_edit", "add_add") or not is_number(theirs) or not is_number(yours):
        return None
    if rule.scalar == "max":
        return Verdict("theirs" if theirs >= yours else "yours", "max")
    if rule.scalar == "min":
        return Verdict("theirs" if theirs <= yours else "yours", "min")
    started = 0 if base is ABSENT else base
    if rule.scalar != "sum" or not is_number(started):
        return None
    counted = _checked(total(theirs, yours, -started))
    return None if counted is None else Verdict({"value": counted}, "sum")


def _by_version(kind: Kind, rule: Rule, values: Values) -> Verdict | None:
    if rule.scalar != "newest" or kind not in ("edit_edit", "add_add", "text"):
        return None
    side = newer(values.theirs, values.yours)
    return None if side is None else Verdict(side, "newest")


def _by_side(rule: Rule) -> Verdict | None:
    if rule.scalar == "theirs" or rule.scalar == "yours":
        return Verdict(rule.scalar, rule.scalar)
    return None


def add_up(values: Values, by_theirs: Number | None, by_yours: Number | None) -> Number | None:
    """Add up what one side added and what the other made of the number; None where that is none."""
    if not is_number(values.theirs) or not is_number(values.yours):
        return None
    if by_yours is not None:
        return _checked(total(values.theirs, by_yours))
    return None if by_theirs is None else _checked(total(values.yours, by_theirs))


def counts_twice(rule: Rule, base: Json | Absent, value: Json | Absent) -> bool:
    """Say whether a value both sides set is more than once that value: in counters, and what is exclusive."""
    if rule.scalar == "exclusive":
        return value is not ABSENT
    return rule.scalar == "sum" and is_number(value) and (base is ABSENT or is_number(base))


def is_text(rule: Rule, values: Values) -> bool:
    """Say whether three values are texts to be merged: strings, or arrays of the lines of one."""
    if all(type(value) is str for value in values):
        return rule.text is not None
    return rule.array == "lines" and all(
        isinstance(value, list) and {str}.issuperset(map(type, value)) for value in values
    )


def _checked(number: Number | None) -> Number | None:
    """Give a number that is within the limits, and None for any other."""
    try:
        if number is not None:
            check_value(number)
    except LimitExceeded:
        return None
    return number
