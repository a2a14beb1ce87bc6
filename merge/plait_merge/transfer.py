"""What was taken out of one container and put into another as it was: a move, though nobody said so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Final, NamedTuple

from plait_merge.patch import Operation
from plait_merge.pointer import Tokens
from plait_merge.values import ABSENT, Json, has_more_parts

TRANSFERS_MAX: Final = 64
"""How many moves between containers one comparison may find; where there would be more, it finds none."""

CANDIDATES_MAX: Final = 2_000
"""How many values that have gone or come are compared for that."""

PARTS_MIN: Final = 3
"""How much a value has to hold to be known again: `{}` or `{"type": "string"}` may be anybody's."""


class Loose(NamedTuple):
    """A value that has gone from a place of base, or come to one: as an element in front of that place."""

    path: Tokens
    is_element: bool
    value: Json


def is_recognizable(value: Json) -> bool:
    """Tell whether a value holds enough to be known again elsewhere."""
    return (type(value) is dict or type(value) is list) and has_more_parts(value, PARTS_MIN - 1)


def equal_pairs(
    gone: list[tuple[Hashable, Loose]], come: list[tuple[Hashable, Loose]]
) -> list[tuple[Loose, Loose]]:
    """Pair what has gone with an equal value that has come.

    Each comes with what is equal for values that are the same. Known again is only what occurs once among
    those that have gone, and once among those that have come.
    """
    here, there = _once(gone), _once(come)
    return [(old, there[form]) for form, old in here.items() if form in there]


def transfers(pairs: list[tuple[Loose, Loose]]) -> list[Operation]:
    """Give the moves, one after the other, that take each of what has gone to where it has come."""
    waiting = list(pairs)
    if len(waiting) > TRANSFERS_MAX:
        return []
    moves: list[Operation] = []
    while waiting:
        (source, is_out_of_array, _), (path, is_into_array, _) = waiting.pop(0)
        if is_out_of_array:
            path = _shifted(path, source, -1)
        if path[: len(source)] == source:
            continue  # into what steps into its place: no patch can say that
        moves.append(Operation("move", path, source, ABSENT))
        for number, (old, new) in enumerate(waiting):
            places = [old.path, new.path]
            if is_out_of_array:
                places = [_shifted(place, source, -1) for place in places]
            if is_into_array:
                places = [_shifted(place, path, 1) for place in places]
            waiting[number] = (old._replace(path=places[0]), new._replace(path=places[1]))
    return moves


def _once(loose: list[tuple[Hashable, Loose]]) -> dict[Hashable, Loose]:
    counts = Counter([form for form, _ in loose])
    return {form: value for form, value in loose if counts[form] == 1}


def _shifted(path: Tokens, at: Tokens, by: int) -> Tokens:
    """Give a path as it is once an element was taken out at (by -1), or put in at (by 1), a place."""
    last = len(at) - 1
    if len(path) <= last or path[:last] != at[:last]:
        return path
    index = int(path[last])
    if index < int(at[last]) or (by < 0 and index == int(at[last])):
        return path
    return (*path[:last], str(index + by), *path[last + 1 :])
