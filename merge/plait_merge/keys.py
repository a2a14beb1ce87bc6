"""Which member names the elements of an array: a guess from the values, no list of names."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import Final, TypeAlias

from plait_merge.values import Json

Key: TypeAlias = tuple[str, ...]
"""The members that together name an element: one or two."""

Array: TypeAlias = Sequence[Json]

CANDIDATES_MAX: Final = 8
"""Of how many members pairs are tried."""

WITNESSES_MAX: Final = 64
"""How many elements a side are looked at to see which of several keys fits best."""


def infer_key(arrays: list[list[Json]]) -> Key | None:
    """Give the members that name each element of some versions of an array (the first is base), or None.

    They are scalars, there in every element, and no two elements of one version have the same. Of several, the
    one is taken under which the versions' elements have most in common: a name rather than a position.
    O(elements x members).
    """
    if not all(type(element) is dict for array in arrays for element in array):
        return None
    members = _shared_members(arrays)
    singles: list[Key] = [(name,) for name in members if _is_unique(arrays, (name,))]
    found = singles or [
        pair for pair in combinations(members[:CANDIDATES_MAX], 2) if _is_unique(arrays, pair)
    ]
    if len(found) < 2:
        return found[0] if found else None
    return max(found, key=lambda key: _in_common(arrays, key))


def keys_of(row: Sequence[tuple[int, Json]], key: Key) -> list[Hashable]:
    """Give what names each of some elements."""
    if len(key) == 1:
        return [_named(element[key[0]]) for _, element in row]
    return [tuple([_named(element[name]) for name in key]) for _, element in row]


def _named(value: Json) -> Hashable:
    """Give a scalar as what is equal and hashed as JSON's own: no bool is there, and no large number collides."""
    if type(value) is str or -(2**60) < value < 2**60:
        return value  # type: ignore[no-any-return]
    return ("number", hex(value) if type(value) is int or not value.is_integer() else hex(int(value)))


def _shared_members(arrays: list[list[Json]]) -> list[str]:
    """List the members that are strings or numbers in every element, in the order of the first one."""
    shared: list[str] | None = None
    for array in arrays:
        for element in array:
            if shared is None:
                shared = list(element)
            shared = [name for name in shared if type(element.get(name)) in _NAMING]
            if not shared:
                return []
    return shared or []


_NAMING: Final = (str, int, float)


def _is_unique(arrays: list[list[Json]], key: Key) -> bool:
    for array in arrays:
        seen: set[Hashable] = set()
        for name in keys_of([(0, element) for element in array], key):
            if name in seen:
                return False
            seen.add(name)
    return True


def _in_common(arrays: list[list[Json]], key: Key) -> int:
    """Count what elements of base have in common with those of the same key elsewhere, for the first that differ."""
    base = dict(zip(keys_of([(0, element) for element in arrays[0]], key), arrays[0], strict=True))
    common = 0
    for array in arrays[1:]:
        witnesses = 0
        for name, element in zip(keys_of([(0, element) for element in array], key), array, strict=True):
            old = base.get(name)
            if old == element:
                continue
            if old is not None:
                common += sum([part == old.get(member) for member, part in element.items()])
            witnesses += 1
            if witnesses == WITNESSES_MAX:
                break
    return common


