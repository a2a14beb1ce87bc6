"""Where what both sides inserted at one place belongs, by the order of what is around it."""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest

from plait_merge.order import places_in_order

Json: TypeAlias = Any


def row(*numbers: int, **more: Json) -> list[Json]:
    """Objects in the order of a member that is not their first."""
    return [{"of": number % 2, "n": number, **more} for number in numbers]


@pytest.mark.parametrize(
    ("before", "theirs", "yours", "after", "places"),
    [
        ([1, 2, 3], [5], [4], [9], [0]),
        ([1, 2, 3], [4], [5], [], [1]),
        ([1, 2.5, 3], [4, 6], [5, 7.5], [], [1, 2]),
        ([1, 2, 3], [5], [5], [], [1]),
        # By neighbours on either side, three at least, who are in order and stay so.
        ([], [5], [4], [7, 8, 9], [0]),
        ([1], [5], [4], [8, 9], [0]),
        ([1], [5], [4], [8], None),
        ([1, 1, 2], [5], [4], [], None),
        ([3, 2, 1], [5], [4], [], None),
        ([1, 2, 3], [9], [4], [5], None),
        ([1, 2, 3], [4], [9], [5], None),
        ([1, 2, 3], [0], [4], [], None),
        # Strings as they are, or in any case, or by letters and digits only; and nothing else.
        (["a", "b", "c"], ["e"], ["d"], [], [0]),
        (["a", "B", "c"], ["E"], ["d"], ["F"], [0]),
        (["a-a", "AaB", "a-c"], ["aE"], ["aa.d"], [], None),
        (["a-a", "aab", "a-C"], ["ae"], ["a.d"], [], [0]),
        ([None, None, None], [None], [None], [], None),
        ([False, 1, 2], [4], [3], [], None),
        ([1, 2, "3"], ["5"], ["4"], [], None),
        # Objects by a member that all have.
        (row(1, 2, 3), row(5), row(4), [], [0]),
        ([{"n": 1}, *row(2, 3)], row(5), row(4), [], [0]),
        ([*row(1, 2), {"of": 1}], row(5), row(4), [], None),
        (row(1, 2, 3), [5], row(4), [], None),
        ([1, 2, 3], row(5), row(4), [], None),
        ([{"n": name} for name in "aBc"], [{"n": "E"}], [{"n": "d"}], [], [0]),
    ],
)
def test_insertions_belong_where_the_order_around_them_has_them(
    before: list[Json], theirs: list[Json], yours: list[Json], after: list[Json], places: list[int] | None
) -> None:
    assert places_in_order(before, theirs, yours, after) == places
