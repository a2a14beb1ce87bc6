"""Adding up JSON numbers: exact for integers, rounded once where a double is among them."""

from __future__ import annotations

from math import isfinite
from typing import TypeGuard

from plait_merge.values import Json

Number = int | float


def is_number(value: Json) -> TypeGuard[Number]:
    """Say whether a value is a JSON number; a bool is none."""
    return type(value) is int or (type(value) is float and isfinite(value))


def total(*numbers: Number) -> Number | None:
    """Add numbers up, in whatever order: None where the sum is no finite double.

    A double is as if written out in full (it is a fraction over a power of two), so that nothing is rounded
    before the end.
    """
    exact = True
    above, below = 0, 1
    for number in numbers:
        exact = exact and type(number) is int
        over, under = number.as_integer_ratio()
        above, below = above * under + over * below, below * under
    if exact:
        return above
    try:
        return above / below
    except OverflowError:
        return None
