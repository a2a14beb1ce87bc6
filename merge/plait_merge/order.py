"""The order that elements around a place are in, if they are in one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from plait_merge.values import Json

NEIGHBOURS: Final = 4
"""How many elements on each side of a place are looked at."""

Rank: TypeAlias = Callable[[Json], Json]


def places_in_order(
    before: list[Json], theirs: list[Json], yours: list[Json], after: list[Json]
) -> list[int] | None:
    """Say behind how many of theirs each of yours belongs, where both were inserted at one place.

    None where the neighbours are in no order, or one side did not keep it: then there is nothing to go by.
    """
    if len(before) + len(after) < NEIGHBOURS - 1:
        return None
    for rank in _ranks([*before, *after, *theirs, *yours]):
        here = [rank(element) for element in (*before, *theirs, *after)]
        there = [rank(element) for element in (*before, *yours, *after)]
        if _is_rising(here) and _is_rising(there):
            ranks = here[len(before) : len(before) + len(theirs)]
            return [bisect_right(ranks, rank(element)) for element in yours]
    return None


def _ranks(elements: list[Json]) -> Iterator[Rank]:
    """Give what the elements may be in the order of: themselves, or a member they have.

    Strings also in any case, and by their letters and digits only.
    """
    if type(elements[0]) is not dict:
        if _are_ordered(elements):
            yield from _folded(lambda element: element, elements)
        return
    if all(type(element) is dict for element in elements):
        for name in elements[0]:
            if _are_ordered([element.get(name) for element in elements]):
                yield from _folded(lambda element, name=name: element[name], elements)  # type: ignore[misc]


def _folded(rank: Rank, elements: list[Json]) -> Iterator[Rank]:
    yield rank
    if type(rank(elements[0])) is str:
        yield lambda element: rank(element).casefold()
        yield lambda element: "".join(filter(str.isalnum, rank(element).casefold()))


def _are_ordered(values: list[Json]) -> bool:
    """Tell whether all are strings, or all numbers."""
    kinds = set(map(type, values))
    return kinds == {str} or (bool(kinds) and kinds <= {int, float})


def _is_rising(values: list[Json]) -> bool:
    return all(map(lambda one, other: one < other, values, values[1:]))
