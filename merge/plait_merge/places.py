"""Separate places: where a pointer is an identity, and a merge is a comparison of two tables.

Most edits that meet set or remove members, or set elements where they are: nothing moves, no array shifts, no
place lies in another. Then a pointer names one thing in base, in theirs and in yours alike, and each of the
rules of merge.md, section 4, that can apply asks for no more than the three values that stand there.
What is answered here is what a `Weave` of the same would answer, only sooner; whatever is not as simple as
that is left to it, and so is the settling of conflicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from plait_merge.outcome import Conflict, Conflicted, Facet, Kind, Patch, by_place
from plait_merge.patch import Operation
from plait_merge.pointer import Tokens, format_pointer
from plait_merge.settlement import Settlement
from plait_merge.values import ABSENT, Absent, Json, find, same
from plait_merge.weave import Operations, Weave


class Edit(NamedTuple):
    """What one side did at a place: the value there now, ABSENT if it was removed, and when it was done.

    `dates` are indices of operations (theirs: of patches), in ascending order.
    """

    value: Json | Absent
    dates: list[int]


def compare_places(
    base: Json | Absent, theirs: Sequence[Operations], yours: Operations
) -> Conflicted | Patch | None:
    """Compare patches that apply, place by place: return the conflicts, or yours as a patch against theirs.

    None where places are not separate. O(operations x depth), and the size of the values both sides set.
    """
    here = _edits((index, operation) for index, patch in enumerate(theirs) for operation in patch)
    there = _edits(enumerate(yours)) if here is not None else None
    if here is None or there is None or not _are_separate(here, there):
        return None
    clean: Patch = []
    conflicts: list[Conflict] = []
    settlement = Settlement(partial(Weave, base, theirs, yours))
    for path, mine in there.items():
        before, after = find(base, path), mine.value
        if same(before, after):
            continue
        other = here.get(path)
        if other is None or same(before, other.value):
            clean.append(_operation(before, path, after))
        elif not same(other.value, after):
            if before is ABSENT and type(other.value) is type(after) is dict:
                return None  # two added objects are merged member by member
            conflicts.append(_conflict(path, before, other, mine, settlement))
    if not conflicts:
        return clean
    conflicts.sort(key=by_place)
    contested = {index for conflict in conflicts for index in conflict.your_operations}
    rest = tuple([index for index in range(len(yours)) if index not in contested])
    return Conflicted(tuple(conflicts), clean, rest, _settlement=settlement)


def _edits(dated: Iterable[tuple[int, Operation]]) -> dict[Tokens, Edit] | None:
    """Return one side's edits by place, None where an operation may do more than set or remove one thing."""
    edits: dict[Tokens, Edit] = {}
    for date, (op, path, _, value) in dated:
        if op != "replace" and not ((op == "add" or op == "remove") and _is_member(path)):
            return None
        known = edits.get(path)
        if known is None:
            edits[path] = Edit(value, [date])
        elif op == "replace":
            known.dates.append(date)
            edits[path] = Edit(value, known.dates)
        else:
            return None
    return edits


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


def _conflict(
    path: Tokens, before: Json | Absent, other: Edit, mine: Edit, settlement: Settlement
) -> Conflict:
    pointer = format_pointer(path)
    theirs, yours = other.value, mine.value
    kind: Kind = "edit_edit"
    if before is ABSENT:
        kind = "add_add"
    elif theirs is ABSENT or yours is ABSENT:
        kind = "remove_edit"
    return Conflict(
        kind,
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
