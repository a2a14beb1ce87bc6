"""Merging whole values: what changed has to be found first, and which element is which."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from plait_merge import Merged, merge

from .documents import document, pointers
from .engine import others
from .rounds import Case, medians_s
from .row import Row
from .scale import Scale

INSERTS = 20
EDITS = 200
SEED = 7


def states(scale: Scale) -> Iterator[Row]:
    """Merge three whole documents, parsed apart, with one or many edits on each side."""
    base = document(scale.document_bytes)
    places = pointers(scale.document_bytes)
    many = max(1, len(places) // 100)
    sides = {
        "1 edit": (places[:1], places[-1:]),
        "1 % edited": (_some(places[::2], many), _some(places[1::2], many)),
    }
    cases: dict[str, Case] = {}
    for edits, (theirs, yours) in sides.items():
        values = _parsed(base), _edited(base, theirs, 1), _edited(base, yours, 2)
        cases[edits] = _merging(merge, values)
        for name, merging in others().items():
            cases[f"{edits}, {name}"] = _merging(merging, values)
    taken = medians_s(cases, scale.rounds, scale.sample_s)
    for edits in sides:
        yield Row(f"{edits} on each side, 1 MB", taken[edits] * 1e3, "ms")
        for name in others():
            ratio = taken[f"{edits}, {name}"] / taken[edits]
            yield Row(f"{edits} on each side, 1 MB, {name} to Plait", ratio, "x")


def alignment(scale: Scale) -> Iterator[Row]:
    """Merge long arrays known as values only: with keys, without, and as hard as they come."""
    items = scale.items
    rows = [{"id": row, "name": f"item {row}", "tags": ["a", "b"], "stock": row % 7} for row in range(items)]
    bare = [{"span": [row, row + 1], "on": row % 3 == 0} for row in range(items)]
    lines = [f"line {row}\n" for row in range(items)]
    arrays: dict[str, tuple[Any, Any, Any]] = {
        "1 insert on each side": (rows, _inserted(rows, 1, "t"), _inserted(rows, 1, "y")),
        f"{INSERTS} inserts on each side": (
            rows,
            _inserted(rows, INSERTS, "t"),
            _inserted(rows, INSERTS, "y"),
        ),
        f"{EDITS} edits on each side": (rows, _restocked(rows, 0), _restocked(rows, 1)),
        f"{INSERTS} inserts on each side, no key": (
            bare,
            _inserted(bare, INSERTS, "t"),
            _inserted(bare, INSERTS, "y"),
        ),
        f"{INSERTS} lines inserted on each side": (
            lines,
            _inserted(lines, INSERTS, "t"),
            _inserted(lines, INSERTS, "y"),
        ),
        "reversed by one side": (rows, rows[::-1], _inserted(rows, 1, "y")),
        "all of it new on each side": (lines, [f"t{line}" for line in lines], [f"y{line}" for line in lines]),
        "all elements equal": ([0] * items, [0] * (items + 7), [0] * (items - 9)),
    }
    aims = {"1 insert on each side": 30, f"{EDITS} edits on each side": 200}
    cases = {name: _merging(merge, tuple(map(_parsed, values))) for name, values in arrays.items()}
    taken = medians_s(cases, scale.rounds, scale.sample_s)
    for name in cases:
        aim = aims.get(name) if items == 10_000 else None
        yield Row(f"array of {items:,}, {name}", taken[name] * 1e3, "ms", aim)
    for name in (f"{INSERTS} inserts on each side", f"{EDITS} edits on each side"):
        assert isinstance(merge(*arrays[name]), Merged), name


def _merging(merging: Callable[..., object], values: tuple[Any, ...]) -> Case:
    return lambda: merging(*values)


def _parsed(value: Any) -> Any:
    """Give the value as another parse of it would: the same, and nothing shared."""
    return json.loads(json.dumps(value))


def _some(places: list[str], count: int) -> list[str]:
    return random.Random(SEED).sample(places, count)


def _edited(base: Any, places: list[str], value: int) -> Any:
    edited = _parsed(base)
    for place in places:
        *way, last = place.split("/")[1:]
        part = edited
        for token in way:
            part = part[token]
        part[last] = value
    return edited


def _inserted(base: list[Any], count: int, side: str) -> list[Any]:
    """Insert new elements, shaped as the others are, at places of each side's own."""
    chance = random.Random(side)
    inserted = list(base)
    for number in range(count):
        name = f"{side}{number}"
        new = name if type(base[0]) is str else dict.fromkeys(base[0], name)
        inserted.insert(chance.randrange(len(inserted)), new)
    return inserted


def _restocked(rows: list[dict[str, Any]], side: int) -> list[dict[str, Any]]:
    """Edit every so many elements; the sides take turns."""
    step = max(1, len(rows) // (2 * EDITS))
    return [
        {**row, "stock": 99} if number % (2 * step) == side * step else row for number, row in enumerate(rows)
    ]
