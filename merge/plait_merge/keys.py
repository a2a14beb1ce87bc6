"""Which member names the elements of an array: a guess from the values, no list of names."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import Final, TypeAlias

from plait_merge.values import Json

Key: TypeAlias = tuple[str, ...]
"""The members that together name an element: one or two."""

Array: TypeAlias = Sequence[Json]

NAMING: Final = {str, int, float}
"""The types of what may name an element; a bool is none of them."""

CANDIDATES_MAX: Final = 8
"""Of how many members pairs are tried."""

WITNESSES_MAX: Final = 64
"""How many elements a side are looked at to see which of several keys fits best."""


def infer_key(arrays: list[list[Json]]) -> Key | None:
    """Give the members that name each element of some versions of an array (the first is base), or None.

    They are strings or numbers, there in every element, and no two elements of one version have the same. Of
    several the one is taken under which the elements have most in common: a name rather than a position.
    O(elements x members).
    """
    first = next((array[0] for array in arrays if array), None)
    if type(first) is not dict or not all({dict}.issuperset(map(type, array)) for array in arrays):
        return None
    names = first if arrays[0] else sorted(first)  # no side comes first
    columns = {name: column for name in names if (column := _column(arrays, name)) is not None}
    found: dict[Key, list[list[Hashable]]] = {
        (name,): column for name, column in columns.items() if all(map(_is_unique, column))
    }
    if not found:
        for one, other in combinations(list(columns)[:CANDIDATES_MAX], 2):
            pairs: list[list[Hashable]] = [
                list(zip(*pair, strict=True)) for pair in zip(columns[one], columns[other], strict=True)
            ]
            if all(map(_is_unique, pairs)):
                found[one, other] = pairs
    if len(found) < 2:
        return next(iter(found), None)
    return max(found, key=lambda key: _in_common(arrays, found[key]))


def keys_of(row: Sequence[tuple[int, Json]], key: Key) -> list[Hashable]:
    """Give what names each of some elements."""
    if len(key) == 1:
        return [named(element[key[0]]) for _, element in row]
    return [tuple([named(element[name]) for name in key]) for _, element in row]


def named(value: Json) -> Hashable:
    """Give a string or number as what is hashed by no rule a stranger could use: large numbers as text."""
    if type(value) is str or -(2**60) < value < 2**60:
        return value  # type: ignore[no-any-return]
    return ("number", hex(int(value)))  # all that large are integers


def _column(arrays: list[list[Json]], name: str) -> list[list[Hashable]] | None:
    """Give what a member holds in each element of each array, if that is always a string or a number."""
    columns: list[list[Hashable]] = []
    for array in arrays:
        column = [element.get(name) for element in array]
        kinds = set(map(type, column))
        if not kinds <= NAMING:
            return None
        columns.append(column if kinds <= {str} else list(map(named, column)))
    return columns


def _is_unique(column: list[Hashable]) -> bool:
    return len(set(column)) == len(column)


def _in_common(arrays: list[list[Json]], names: list[list[Hashable]]) -> int:
    """Count what elements of base and others of one name have in common, among the first that differ."""
    base = dict(zip(names[0], arrays[0], strict=True))
    common = 0
    for array, named_here in zip(arrays[1:], names[1:], strict=True):
        witnesses = 0
        for name, element in zip(named_here, array, strict=True):
            old = base.get(name)
            if old == element:
                continue
            if old is not None:
                common += sum([part == old.get(member) for member, part in element.items()])
            witnesses += 1
            if witnesses == WITNESSES_MAX:
                break
    return common
