"""The engine: edits over edits, both patches known, on documents small and large."""

import copy
import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonpatch

from plait_merge import Conflicted, Operation, Rebased, apply, rebase

from .documents import document, flat, pointers, read, replacing
from .recursion import merged
from .rounds import Case, medians_s, note
from .row import Row
from .scale import Scale

SMALL_BYTES = 1_000
FLAT_MEMBERS = 20_000
FLAT_COPIES = 4
"""A rebase applies theirs to base, yours to base and yours to theirs, and copies the members each time."""
LAG_PLACES = 100
"""As many as a short chain has revisions, so that a long one is not slower for colder memory."""
OTHERS_S_MAX = 30
Patch = tuple[Operation, ...]


def one_over_one(scale: Scale) -> Iterator[Row]:
    """One edit over one edit, on a large and on a small document of the same shape."""
    kinds = {"disjoint": 1, "agreeing": 2, "conflicting": 3}
    cases: dict[str, Case] = {}
    for size, bytes_ in (("1 kB", SMALL_BYTES), ("1 MB", scale.document_bytes)):
        base = document(bytes_)
        theirs, elsewhere = pointers(bytes_)[0], pointers(bytes_)[-1]
        edits = {
            "disjoint": (replacing(theirs, 1), replacing(elsewhere, 2)),
            "agreeing": (replacing(theirs, 1), replacing(theirs, 1)),
            "conflicting": (replacing(theirs, 1), replacing(theirs, 2)),
        }
        for kind in kinds:
            cases[f"{kind}, {size}"] = _rebasing(base, [edits[kind][0]], [edits[kind][1]])
        cases[f"conflict written up, {size}"] = _writing_up(base, *edits["conflicting"])
        if bytes_ == scale.document_bytes:
            values = [base, *(apply(base, [edit]) for edit in edits["disjoint"])]
            cases["recursion"] = lambda values=values: merged(*values)  # type: ignore[misc]
            cases["jsonpatch"] = _applying(base, edits["disjoint"][0])
    wide = flat(FLAT_MEMBERS)
    for kind, second in (("disjoint", "/m00002"), ("agreeing", "/m00001")):
        cases[f"{kind}, flat"] = _rebasing(wide, [replacing("/m00001", 1)], [replacing(second, 1)])
    cases["flat copied"] = lambda: [wide.copy() for _ in range(FLAT_COPIES)]
    taken = medians_s(cases, scale.rounds, scale.sample_s)
    for kind in kinds:
        for size in ("1 kB", "1 MB"):
            yield Row(f"{kind}, {size}", taken[f"{kind}, {size}"] * 1e6, "µs", 20)
        ratio = taken[f"{kind}, 1 MB"] / taken[f"{kind}, 1 kB"]
        yield Row(f"{kind}, 1 MB to 1 kB", ratio, "x", 1.5)
    for size in ("1 kB", "1 MB"):
        time_s = taken[f"conflict written up, {size}"]
        yield Row(f"conflicting, with everything written up, {size}", time_s * 1e6, "µs")
    for kind in ("disjoint", "agreeing"):
        time_s = taken[f"{kind}, flat"]
        yield Row(f"{kind}, flat object of 20,000 members", time_s * 1e6, "µs")
        yield Row(f"{kind}, flat, to {FLAT_COPIES} copies of it", time_s / taken["flat copied"], "x")
    for reference, name in (
        ("recursion", "recursion over three values"),
        ("jsonpatch", "jsonpatch, one edit"),
    ):
        yield Row(f"{name}, 1 MB", taken[reference] * 1e3, "ms")
        ratio = taken[reference] / taken["disjoint, 1 MB"]
        yield Row(f"{name}, 1 MB, to Plait", ratio, "x")


def many_over_many(scale: Scale) -> Iterator[Row]:
    """A hundred edits on each side of a large document; thousands of changed members on each side."""
    large = document(scale.document_bytes)
    places = pointers(scale.document_bytes)
    hundred = min(100, len(places) // 2)
    wide = flat(2 * scale.members)
    shared = scale.members // 10
    cases = {
        "hundred": _rebasing(large, _edits(places[:hundred], 1), _edits(places[-hundred:], 2)),
        "disjoint": _rebasing_members(wide, scale.members, 0),
        "a tenth overlaps": _rebasing_members(wide, scale.members, shared),
        "all overlap": _rebasing_members(wide, scale.members, scale.members),
        "recursion": _merging_members(wide, scale.members, merged),
    }
    taken = medians_s(cases, scale.rounds, scale.sample_s)
    yield Row("100 edits on each side, 1 MB", taken["hundred"] * 1e3, "ms", 2)
    for overlap in ("disjoint", "a tenth overlaps", "all overlap"):
        figure = f"{scale.members:,} changed members on each side, {overlap}"
        yield Row(figure, taken[overlap] * 1e3, "ms", 60)
    yield Row("recursion over three values, disjoint", taken["recursion"] * 1e3, "ms")
    for name, merging in others().items():
        note(f" {name}")
        yield Row(f"{name}, disjoint", _once_s(wide, scale.members, merging) * 1e3, "ms")


def arrays(scale: Scale) -> Iterator[Row]:
    """Inserts on both sides of a long array: right, and fast."""
    base = [{"id": number, "text": "item"} for number in range(scale.items)]
    one, hundred, thousand = (max(1, scale.items // part) for part in (scale.items, 100, 10))
    sides = {
        count: (_inserts(base, count, "t", 0), _inserts(base, count, "y", 1))
        for count in (one, hundred, thousand)
    }
    wrong = sum(not _is_right(base, *edits) for edits in sides.values())
    yield Row("merges of inserts with a wrong result", wrong, "", 0)
    cases = {str(count): _rebasing(base, *edits) for count, edits in sides.items()}
    taken = medians_s(cases, scale.rounds, scale.sample_s)
    for count in (one, hundred, thousand):
        figure = f"{scale.items:,} items, inserts on each side: {count:,}"
        yield Row(figure, taken[str(count)] * 1e3, "ms", 30)


def lag(scale: Scale) -> Iterator[Row]:
    """One edit over a long chain of revisions: linear in their number."""
    long, short = scale.lag, scale.lag // 10
    base: dict[str, Any] = document(scale.document_bytes)
    base["list"] = [0] * 64
    places = pointers(scale.document_bytes)
    chain = [read([replacing(places[1 + n % min(LAG_PLACES, len(places) - 1)], n)]) for n in range(long)]
    inserted = [read([{"op": "add", "path": "/list/3", "value": n}]) for n in range(long)]
    yours = {
        "elsewhere": (chain, read([replacing(places[0], 1)])),
        "where they were": (chain, read([replacing(places[1], 0)])),
        "in an array they all shift": (inserted, read([replacing("/list/9", 1)])),
    }
    cases: dict[str, Case] = {
        f"{kind}, {length}": lambda theirs=theirs[:length], edit=edit: _clean(base, theirs, edit)  # type: ignore[misc]
        for kind, (theirs, edit) in yours.items()
        for length in (short, long)
    }
    taken = medians_s(cases, scale.rounds, scale.sample_s)
    for kind in yours:
        time_s = taken[f"{kind}, {long}"]
        yield Row(f"{long:,} revisions, {kind}", time_s * 1e3, "ms")
        ratio = time_s / taken[f"{kind}, {short}"]
        yield Row(f"{long:,} to {short:,} revisions, {kind}", ratio, "x", 12)


def _edits(places: list[str], value: int) -> list[dict[str, Any]]:
    return [replacing(place, value) for place in places]


def _rebasing(base: Any, theirs: list[dict[str, Any]], yours: list[dict[str, Any]]) -> Case:
    first, second = read(theirs), read(yours)
    return lambda: rebase(base, [first], second)


def _writing_up(base: Any, theirs: dict[str, Any], yours: dict[str, Any]) -> Case:
    first, second = read([theirs]), read([yours])

    def write_up() -> object:
        outcome = rebase(base, [first], second)
        assert isinstance(outcome, Conflicted)
        return [conflict.as_json() for conflict in outcome.conflicts]

    return write_up


def _applying(base: Any, edit: dict[str, Any]) -> Case:
    patch = jsonpatch.JsonPatch([edit])
    return lambda: patch.apply(base)


def _clean(base: Any, theirs: list[Patch], yours: Patch) -> Rebased:
    outcome = rebase(base, theirs, yours)
    assert isinstance(outcome, Rebased)
    return outcome


def _member_sides(members: int, shared: int) -> tuple[list[str], list[str]]:
    """Name what each side changes: as many members, `shared` of them by both."""
    return (
        [f"/m{number:05}" for number in range(members)],
        [f"/m{number:05}" for number in range(members - shared, 2 * members - shared)],
    )


def _rebasing_members(wide: dict[str, Any], members: int, shared: int) -> Case:
    theirs, yours = _member_sides(members, shared)
    return _rebasing(wide, _edits(theirs, 1), _edits(yours, 2))


def _merging_members(wide: dict[str, Any], members: int, merging: Callable[..., object]) -> Case:
    theirs, yours = _member_sides(members, 0)
    values = [wide, apply(wide, _edits(theirs, 1)), apply(wide, _edits(yours, 2))]
    return lambda: merging(*values)


def _once_s(wide: dict[str, Any], members: int, merging: Callable[..., object]) -> float:
    case = _merging_members(wide, members, merging)
    started = time.process_time()
    case()
    return time.process_time() - started


def others() -> Mapping[str, Callable[..., object]]:
    """Find the other libraries that merge three JSON values, where they are installed."""
    found: dict[str, Callable[..., object]] = {}
    if importlib.util.find_spec("nbdime") is not None:
        found["nbdime"] = importlib.import_module("nbdime.merging.generic").decide_merge
    if importlib.util.find_spec("dictdiffer") is not None:
        found["dictdiffer"] = _merge_by_dictdiffer
    return found


def _merge_by_dictdiffer(base: Any, theirs: Any, yours: Any) -> object:
    merger = importlib.import_module("dictdiffer.merge").Merger(base, theirs, yours, {})
    merger.run()
    return merger.unified_patches


def _inserts(base: list[Any], count: int, name: str, apart: int) -> list[dict[str, Any]]:
    """Insert `count` items, evenly spread, from the end on so that indices are those of base.

    Sides that are `apart` meet in every second gap.
    """
    step = len(base) // count
    indices = [number * step + apart * (number % 2) for number in reversed(range(count))]
    return [
        {"op": "add", "path": f"/{index}", "value": {"id": f"{name}{index}", "text": "new"}}
        for index in indices
    ]


def _is_right(base: list[Any], theirs: list[dict[str, Any]], yours: list[dict[str, Any]]) -> bool:
    """Compare with what an insertion list says: gap by gap, theirs first, then the item of base."""
    inserted: dict[int, list[Any]] = {}
    for edit in [*theirs, *yours]:
        inserted.setdefault(int(edit["path"][1:]), []).append(edit["value"])
    expected = [each for index, item in enumerate(base) for each in (*inserted.get(index, ()), item)]
    outcome = rebase(copy.deepcopy(base), [theirs], yours)
    return isinstance(outcome, Rebased) and outcome.value == expected
