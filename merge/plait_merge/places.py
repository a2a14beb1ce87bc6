"""Separate places: where a pointer is an identity, and a merge is a comparison of two tables.

Most edits that meet set or remove members, or set elements where they are: nothing moves, no array shifts, no
place lies in another. Then a pointer names one thing in base, in theirs and in yours alike, and each of the
rules of merge.md, section 4, that can apply asks for no more than the three values that stand there.
What is answered here is what a `Weave` of the same would answer, only sooner; whatever is not as simple as
that is left to it, and so is the settling of conflicts. A policy decides here where yours is one value only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from plait_merge.number import Number, is_number, total
from plait_merge.outcome import Conflict, Conflicted, Facet, Kind, Note, Patch, by_place
from plait_merge.patch import Operation
from plait_merge.pointer import Tokens, format_pointer
from plait_merge.policy import DEFAULT, Policy, Rule
from plait_merge.settlement import Settlement
from plait_merge.values import ABSENT, Absent, Json, find, same
from plait_merge.verdict import Values, add_up, counts_twice, decide, is_text
from plait_merge.weave import Operations, Weave


class Edit(NamedTuple):
    """What one side did at a place: the value there now, ABSENT if it was removed, and when it was done.

    `dates` are indices of operations (theirs: of patches), in ascending order; `added` is how much was added
    to the number base has there, None if anything else was done.
    """

    value: Json | Absent
    dates: list[int]
    added: Number | None = None


class Clean(NamedTuple):
    """Yours as a patch against theirs, and what there is to say about it."""

    patch: Patch
    notes: tuple[Note, ...] = ()


def compare_places(
    base: Json | Absent,
    theirs: Sequence[Operations],
    yours: Operations,
    policy: Policy | None = None,
) -> Conflicted | Clean | None:
    """Compare patches that apply, place by place: return the conflicts, or yours as a patch against theirs.

    None where places are not separate, and where a policy has more to say than what becomes of one value.
    O(operations x depth), and the size of the values both sides set.
    """
    here = _edits(base, ((index, operation) for index, patch in enumerate(theirs) for operation in patch))
    there = _edits(base, enumerate(yours)) if here is not None else None
    if here is None or there is None or not _are_separate(here, there):
        return None
    if policy is not None and any(policy.within(path) != path for path in (*here, *there)):
        return None
    clean: Patch = []
    conflicts: list[Conflict] = []
    settlement = Settlement(partial(Weave, base, theirs, yours, policy))
    for path, mine in there.items():
        before, after = find(base, path), mine.value
        if same(before, after):
            continue
        other = here.get(path)
        if other is None or same(before, other.value):
            clean.append(_operation(before, path, after))
            continue
        is_sum = mine.added is not None or other.added is not None
        if policy is not None or is_sum:
            values = Values(before, other.value, after)
            if any(type(value) is dict or type(value) is list for value in values):
                return None
            rule = DEFAULT if policy is None else policy.at(path)
            if is_sum or _concerns(rule, values):
                return _decide(path, rule, values, other, mine, settlement) if len(there) == 1 else None
        if not same(other.value, after):
            if before is ABSENT and type(other.value) is type(after) is dict:
                return None  # two added objects are merged member by member
            conflicts.append(_conflict(path, before, other, mine, settlement))
    if not conflicts:
        return Clean(clean)
    conflicts.sort(key=by_place)
    contested = {index for conflict in conflicts for index in conflict.your_operations}
    rest = tuple([index for index in range(len(yours)) if index not in contested])
    return Conflicted(tuple(conflicts), clean, rest, _settlement=settlement)


def _concerns(rule: Rule, values: Values) -> bool:
    """Say whether a rule has anything to say about two edits of one place."""
    if same(values.theirs, values.yours):
        return counts_twice(rule, values.base, values.yours)
    return rule.scalar != "conflict" or rule.resolver is not None or is_text(rule, values)


def _decide(
    path: Tokens, rule: Rule, values: Values, other: Edit, mine: Edit, settlement: Settlement
) -> Conflicted | Clean | None:
    """Answer where yours is one edit of one value, which a rule or a sum may decide."""
    if rule.resolver is not None or values.theirs is ABSENT:
        return None
    kind: Kind = "text" if is_text(rule, values) else _kind(*values)
    summed = add_up(values, other.added, mine.added)
    if summed is not None:
        return Clean([_operation(values.base, path, summed)])
    verdict = None if rule.scalar == "exclusive" else decide(kind, rule, values)
    if verdict is None:
        conflict = _conflict(path, values.base, other, mine, settlement, kind)
        return Conflicted((conflict,), [], (), _settlement=settlement)
    notes = () if verdict.note is None else (Note(verdict.note, mine.dates[0], format_pointer(path)),)
    if verdict.choice == "theirs":
        return Clean([], notes)
    value = values.yours if isinstance(verdict.choice, str) else verdict.choice["value"]
    return Clean([_operation(values.base, path, value)], notes)


def _edits(base: Json | Absent, dated: Iterable[tuple[int, Operation]]) -> dict[Tokens, Edit] | None:
    """Return one side's edits by place, None where an operation may do more than set or remove one thing."""
    edits: dict[Tokens, Edit] = {}
    for date, (op, path, _, value) in dated:
        known = edits.get(path)
        if op == "replace" or ((op == "add" or op == "remove") and _is_member(path)):
            if known is None:
                edits[path] = Edit(value, [date])
            elif op == "replace":
                known.dates.append(date)
                edits[path] = Edit(value, known.dates)
            else:
                return None
        elif op != "inc" or not _add(edits, path, known or Edit(find(base, path), [], 0), value, date):
            return None
    return edits


def _add(edits: dict[Tokens, Edit], path: Tokens, known: Edit, by: Number, date: int) -> bool:
    """Add to what is at a place; say whether it is a number for certain."""
    if not is_number(known.value):
        return False
    added = None if known.added is None else total(known.added, by)
    edits[path] = Edit(total(known.value, by), [*known.dates, date], added)
    return True


def _is_member(path: Tokens) -> bool:
    """Say whether what is at *path* is a member for certain, whatever holds it; not the document either."""
    return bool(path) and path[-1] != "-" and not path[-1].isdecimal()


def _are_separate(*tables: Iterable[Tokens]) -> bool:
    """Say whether no place lies in another."""
    holders: set[Tokens] = set()
    for table in tables:
        for path in table:
            holder = path[:-1]
            while path and holder not in holders:
                holders.add(holder)
                path, holder = holder, holder[:-1]
    return all(holders.isdisjoint(table) for table in tables)


def _operation(before: Json | Absent, path: Tokens, after: Json | Absent) -> dict[str, Json]:
    """Write what leads from one value at *path* to the other."""
    if after is ABSENT:
        return {"op": "remove", "path": format_pointer(path)}
    return {"op": "add" if before is ABSENT else "replace", "path": format_pointer(path), "value": after}


def _kind(base: Json | Absent, theirs: Json | Absent, yours: Json | Absent) -> Kind:
    if base is ABSENT:
        return "add_add"
    return "remove_edit" if theirs is ABSENT or yours is ABSENT else "edit_edit"


def _conflict(
    path: Tokens,
    before: Json | Absent,
    other: Edit,
    mine: Edit,
    settlement: Settlement,
    kind: Kind | None = None,
) -> Conflict:
    pointer = format_pointer(path)
    theirs, yours = other.value, mine.value
    return Conflict(
        kind or _kind(before, theirs, yours),
        pointer,
        None if theirs is ABSENT else pointer,
        None if yours is ABSENT else pointer,
        Facet(before),
        Facet(theirs),
        Facet(yours),
        tuple(mine.dates),
        tuple(dict.fromkeys(other.dates)),
        _settlement=settlement,
    )
