"""What is compared quickly, and in pieces, comes out as it does value by value."""

from __future__ import annotations

from itertools import product
from typing import Any, TypeAlias

import pytest

from plait_merge import ABSENT, same
from plait_merge.sameness import CHUNK, FEW, Sameness

Json: TypeAlias = Any

WAYS: list[Json] = [1, 1.0, True, 2, ABSENT, {"a": 1}, {"a": True}]
"""What may become of a 1 in one place: the first two are the same as it is, the third only for Python."""


def versions(is_object: bool, size: int) -> list[Json]:
    """An object or array of that many parts, of which some are each put in every way."""
    found: list[Json] = []
    for first, second, third in product(WAYS, [1, True], ["none", "nil"]):
        rest: list[Json] = [{"n": n, "parts": [n, str(n)]} for n in range(size - 3)]
        if is_object:
            parts = {"first": first, third: None, "second": second, **{f"{n}": e for n, e in enumerate(rest)}}
            found.append({name: part for name, part in parts.items() if part is not ABSENT})
        else:
            found.append([*([] if first is ABSENT else [first]), third, second, *rest])
    return found


@pytest.mark.parametrize("size", [3, FEW, FEW + 1])
@pytest.mark.parametrize("is_object", [True, False])
def test_three_versions_are_compared_as_they_are_part_by_part(is_object: bool, size: int) -> None:
    base, *_ = versions(is_object, size)
    here, there = ([base, None, [], {}, *versions(is_object, size)] for _ in "ty")
    for theirs, yours in product(here, there):
        sameness = Sameness()
        ground, is_theirs, is_yours = sameness.compare(base, theirs, yours)
        assert (is_theirs, is_yours) == (same(ground, theirs), same(ground, yours))
        assert sameness.same(theirs, yours) is same(theirs, yours)
        assert sameness.compare_each(base, theirs, yours) == (base, same(base, theirs), same(base, yours))
        if is_object:
            for old, new in product((base, ground), (theirs, yours)):
                if type(new) is not dict:
                    continue
                expected = [name for name, part in old.items() if not same(part, new.get(name, ABSENT))]
                assert sameness.changed(old, new) == expected == Sameness().changed(old, new)
        assert same(ground, base) or type(theirs) is type(yours) is type(base)
        if type(theirs) is type(yours) is dict and is_object:
            assert all(same(base.get(n), ground[n]) or same(theirs.get(n), yours.get(n)) for n in ground)


@pytest.mark.parametrize("depth", [*range(100, 1_000, 50), 5_000])
def test_what_is_too_deep_for_python_is_compared_all_the_same(depth: int) -> None:
    def deep(leaf: Json) -> Json:
        for _ in range(depth):
            leaf = [leaf]
        return {"deep": leaf, **dict.fromkeys(map(str, range(20)), 0)}

    base, theirs, yours = deep(1), deep(1.0), deep(True)
    for one, other in ((theirs, yours), (yours, theirs)):
        sameness = Sameness()
        assert sameness.compare(base, one, other) == (base, one is theirs, one is yours)
        assert sameness.same(base["deep"], one["deep"]) is (one is theirs)
        assert sameness.changed(base, one) == ([] if one is theirs else ["deep"])


def test_what_is_known_of_one_array_is_not_taken_for_another() -> None:
    sameness = Sameness()
    ones, others, truths = ([value] * CHUNK for value in (1, 1, True))
    assert sameness.equal_ends(ones, others) == (CHUNK, 0)
    assert sameness.equal_ends(truths, others) == (0, 0)


SIZES = [0, 1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3]


@pytest.mark.parametrize("size", SIZES)
def test_equal_ends_are_as_long_as_can_be(size: int) -> None:
    base: list[Json] = [{"n": n} for n in range(size)]
    inserted: list[list[Json]] = [[], [True], [1, 2, 3]]
    for start, more in product({0, 1, size // 2, CHUNK, size - 1, size}, inserted):
        for drop in (0, 1, 2):
            target = [*base[:start], *more, *({"n": part["n"]} for part in base[start + drop :])]
            front, end = Sameness().equal_ends(base, target)
            shorter = min(len(base), len(target))
            assert front == next((i for i in range(shorter) if not same(base[i], target[i])), shorter)
            assert front + end <= shorter
            assert end == next(
                (i for i in range(shorter - front) if not same(base[-1 - i], target[-1 - i])), shorter - front
            )


@pytest.mark.parametrize("size", SIZES)
def test_the_places_that_differ_are_found_in_order(size: int) -> None:
    base: list[Json] = [{"n": [1, n]} for n in range(size)]
    for places in (
        {0},
        {size - 1},
        {0, 1, CHUNK - 1, CHUNK},
        set(range(0, size, 7)),
        set(range(size)),
        set(),
    ):
        target = [{"n": [True if at in places else 1, at]} for at in range(size)]
        assert Sameness().differing(base, target) == sorted(places & set(range(size)))
