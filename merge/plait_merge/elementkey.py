"""What values are known by: an element of a set by all of it, an element of a keyed array by some members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TypeAlias

from plait_merge.values import Json

Form: TypeAlias = Hashable


def value_form(value: Json) -> Form:
    """Return what is equal for values that are the same and only for them.

    Integers stand as text, so that nobody can choose numbers whose hashes collide.
    """
    kind = type(value)
    if kind is dict:
        return frozenset([(name, value_form(part)) for name, part in value.items()])
    if kind is list:
        return ("[]", *map(value_form, value))
    if kind is bool:
        return ("bool", value)
    if kind is int or (kind is float and value.is_integer()):
        return ("number", hex(int(value)))
    return value  # type: ignore[no-any-return]


def key_of(value: Json, members: tuple[str, ...]) -> Form | None:
    """Return the key an element has: scalars at all of *members*; None if it has none."""
    if not members or type(value) is not dict:
        return None
    key: list[Form] = []
    for name in members:
        part = value.get(name, value)
        if type(part) is dict or type(part) is list:
            return None
        key.append(value_form(part))
    return tuple(key)


class Keys:
    """The keys in one array: which are there, and which more than once."""

    def __init__(self, elements: Iterable[Json], members: tuple[str, ...]) -> None:
        self._members = members
        self._counts = Counter(key_of(element, members) for element in elements)

    def of(self, element: Json) -> Form | None:
        """Return the key of an element that is there; None where it has none, or one that others have too."""
        key = key_of(element, self._members)
        return key if key is not None and self._counts[key] == 1 else None
