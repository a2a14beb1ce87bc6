"""Settling conflicts by rule: functions from a `Field` to a choice.

    await doc.edit(on_conflict=by_pointer({"/counters/**": add, "/notes": both, "**": ask}))

A resolver gets one field and gives "theirs", "yours", "base", "both", a `Value`, or None to leave it
undecided. It may be a coroutine. Its edit is saved when every field is decided, else MergeConflict is raised.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from math import isfinite
from typing import TypeGuard

from plait_client.conflict import Choice, Field, MergeConflict, Value
from plait_merge import Absent, Json, Tokens, parse_pointer

Resolver = Callable[[Field], "Choice | Awaitable[Choice | None] | None"]


def theirs(field: Field) -> Choice | None:
    """Take what others wrote."""
    return "theirs"


def yours(field: Field) -> Choice | None:
    """Take what you wrote, where the field offers it (a guard does not)."""
    return "yours" if "yours" in field.options else None


def both(field: Field) -> Choice | None:
    """Take both where they go together deep inside; else leave it undecided."""
    return "both" if "both" in field.options else None


def add(field: Field) -> Choice | None:
    """Let both changes of a number count: theirs + yours - base. Other values, and sums that are no JSON
    number, stay undecided.

    For numbers that clash only: two people who both make 8 of 10 agree, nobody is asked, and one of the two
    changes is gone. What has to add up belongs in `update`.
    """
    base, here, there = field.base.value, field.theirs.value, field.yours.value
    if field.kind != "edit_edit" or not (_is_number(base) and _is_number(here) and _is_number(there)):
        return None
    try:
        total = here + there - base
    except OverflowError:  # an integer that no float can hold
        return None
    return None if type(total) is float and not isfinite(total) else Value(total)


def _is_number(value: Json | Absent) -> TypeGuard[int | float]:
    return type(value) in (int, float)


def by_pointer(rules: Mapping[str, Resolver]) -> Resolver:
    """Choose a resolver by where the field is.

    A pattern is a JSON Pointer in which `*` stands for one token and `**` for any number of them; `**` alone
    matches everything. The most specific pattern wins: more literal tokens first, then more `*`. Raises
    InvalidPointer (a ValueError) for what is no pattern.
    """
    known = sorted(((_tokens(pattern), rule) for pattern, rule in rules.items()), key=_specificity)

    def resolver(field: Field) -> Choice | Awaitable[Choice | None] | None:
        place = parse_pointer(field.pointer)
        for pattern, rule in known:
            if _matches(pattern, place):
                return rule(field)
        return None

    return resolver


def _tokens(pattern: str) -> Tokens:
    return ("**",) if pattern == "**" else parse_pointer(pattern)


def _specificity(ruled: tuple[Tokens, Resolver]) -> tuple[int, int, int]:
    pattern, _ = ruled
    wild, single = pattern.count("**"), pattern.count("*")
    return (-(len(pattern) - wild - single), -single, wild)


def _matches(pattern: Tokens, place: Tokens) -> bool:
    """Match token by token; each `**` is tried only at its last place, as in shell patterns."""
    ends = {0}
    for token in pattern:
        if token == "**":
            ends = set(range(min(ends), len(place) + 1))
        else:
            ends = {end + 1 for end in ends if end < len(place) and token in ("*", place[end])}
        if not ends:
            return False
    return len(place) in ends


async def decide(conflict: MergeConflict, resolver: Resolver) -> bool:
    """Ask the resolver about every undecided field, in order. Tell whether all are decided now."""
    for field in conflict.undecided:
        answer = resolver(field)
        choice = await answer if isawaitable(answer) else answer
        if isinstance(choice, Value):
            field.choose(value=choice.value)
        elif choice is not None:
            field.choose(choice)
    return not conflict.undecided
