"""Documents and patches for hypothesis: small, crowded, and nearly always applicable.

Few names and few values make both sides meet often. A patch is drawn operation by operation against the
value as it is at that moment, so pointers point at something and tests are true.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any, NamedTuple, TypeAlias

from hypothesis import strategies as st

from plait_merge.patch import Inapplicable, apply_operations, read_patch
from plait_merge.pointer import format_pointer
from plait_merge.policy import Policy
from plait_merge.values import ABSENT

Json: TypeAlias = Any
Patch: TypeAlias = list[dict[str, Json]]
Path: TypeAlias = tuple[str, ...]

NAMES = ("a", "b", "c")


# -- operations, written short


def add(path: str, value: Json) -> dict[str, Json]:
    return {"op": "add", "path": path, "value": value}


def remove(path: str) -> dict[str, Json]:
    return {"op": "remove", "path": path}


def replace(path: str, value: Json) -> dict[str, Json]:
    return {"op": "replace", "path": path, "value": value}


def move(source: str, path: str) -> dict[str, Json]:
    return {"op": "move", "from": source, "path": path}


def copy(source: str, path: str) -> dict[str, Json]:
    return {"op": "copy", "from": source, "path": path}


def guard(path: str, value: Json) -> dict[str, Json]:
    """A `test`; not called so here because pytest would collect it."""
    return {"op": "test", "path": path, "value": value}


# -- values and scenes


scalars = st.sampled_from([0, 1, 2, 1.0, -0.0, True, False, None, "", "a", "x", "y"])

values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
        st.lists(st.fixed_dictionaries({"a": inner}, optional={"b": scalars}), max_size=3),
    ),
    max_leaves=8,
)
"""Any small value."""

objects = st.dictionaries(st.sampled_from(NAMES), values, min_size=1, max_size=3)
arrays = st.lists(values, min_size=2, max_size=5)
rows = st.lists(
    st.fixed_dictionaries({"a": scalars}, optional={"b": values, "c": scalars}), min_size=2, max_size=4
)
documents = st.one_of(objects, arrays, rows, st.fixed_dictionaries({"a": rows, "b": values}), values)
"""Small documents, most of them containers of containers."""


class Scene(NamedTuple):
    """What a merge starts from."""

    base: Json
    theirs: list[Patch]
    yours: Patch


@st.composite
def scenes(draw: st.DrawFn, tests: bool = False, copies: bool = True, absent: bool = True) -> Scene:
    """A base with a chain of theirs and a patch of yours, both applicable to it."""
    base = draw(st.one_of(documents, st.just(ABSENT)) if absent and draw(one_in(40)) else documents)
    theirs, value = [], base
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        patch, value = draw(_drawn_patches(value, tests, copies))
        theirs.append(patch)
    return Scene(base, theirs, draw(patches(base, tests, copies)))


@st.composite
def crowded_scenes(draw: st.DrawFn, copies: bool = True) -> Scene:
    """Both sides work on few places of one small document, so that most scenes overlap."""
    base = draw(
        st.sampled_from(
            [
                {"a": {"b": {"c": 1}}, "b": {"a": 1, "c": [1, 2]}},
                {"a": [{"a": 1, "b": 1}, {"a": 2, "b": 2}], "b": []},
                [[1, 2], [3], []],
                [1, 2, 3, 4],
                {"a": 1, "b": 2},
                {"a": {"a": {"a": {}}}},
            ]
        )
    )
    base = deepcopy(base)
    return Scene(base, [draw(patches(base, copies=copies))], draw(patches(base, copies=copies)))


@st.composite
def separate_scenes(draw: st.DrawFn) -> Scene:
    """Both sides set and remove things at a few places, hardly ever one in another; nothing can shift."""
    base = draw(st.one_of(objects, documents))
    parts = _nodes(base)
    members = [(*path, name) for path, node in parts if isinstance(node, dict) for name in NAMES]
    elements = [path for path, _ in parts if path and path not in members]
    places: list[Path] = []
    nested = draw(one_in(6))
    for place in draw(st.permutations([*members, *elements] or [()])):
        if nested or all(place[: len(other)] != other and other[: len(place)] != place for other in places):
            places.append(place)
    elsewhere = frozenset(map(format_pointer, elements))
    sides = []
    for count in (draw(st.integers(1, 3)), 1):
        chain, value = [], base
        for _ in range(count):
            patch, value = draw(_drawn_settings(value, places[:5], elsewhere))
            chain.append(patch)
        sides.append(chain)
    return Scene(base, sides[0], sides[1][0])


@st.composite
def _drawn_settings(
    draw: st.DrawFn, value: Json, places: list[Path], elements: frozenset[str]
) -> tuple[Patch, Json]:
    patch: Patch = []
    for path in map(format_pointer, draw(st.lists(st.sampled_from(places), min_size=1, max_size=4))):
        set_to = replace(path, draw(st.one_of(scalars, values, objects)))
        steps = [set_to] if path in elements else [set_to, add(path, set_to["value"]), remove(path)]
        for operation in draw(st.permutations(steps)):
            if (after := applied(value, operation)) is not REFUSED:
                patch.append(operation)
                value = after
                break
    return patch, value


@st.composite
def patches(draw: st.DrawFn, value: Json, tests: bool = False, copies: bool = True) -> Patch:
    """An applicable patch on a value."""
    patch, _ = draw(_drawn_patches(value, tests, copies))
    return patch


@st.composite
def _drawn_patches(draw: st.DrawFn, value: Json, tests: bool, copies: bool) -> tuple[Patch, Json]:
    left_out = ([] if tests else [_test]) + ([] if copies else [_copy])
    steps = [step for step in STEPS if step not in left_out]
    patch: Patch = []
    for _ in range(draw(st.integers(1, 5))):
        for operation in draw(draw(st.sampled_from(steps))(value)):
            if (after := applied(value, operation)) is REFUSED:
                break
            patch.append(operation)
            value = after
    return patch, value


def one_in(n: int) -> st.SearchStrategy[bool]:
    return st.integers(1, n).map(lambda drawn: drawn == n)


# -- steps: each draws a few operations for a value


Operations: TypeAlias = list[dict[str, Json]]
Step: TypeAlias = Callable[[Json], st.SearchStrategy[Operations]]


@st.composite
def _add(draw: st.DrawFn, value: Json) -> Operations:
    path = draw(_destinations(value))
    return [add(format_pointer(path), draw(values))]


@st.composite
def _remove(draw: st.DrawFn, value: Json) -> Operations:
    return [remove(draw(_sources(value)))]


@st.composite
def _replace(draw: st.DrawFn, value: Json) -> Operations:
    return [replace(draw(_sources(value)), draw(values))]


@st.composite
def _move(draw: st.DrawFn, value: Json) -> Operations:
    source = draw(_sources(value))
    without = applied(value, remove(source))
    path = format_pointer(draw(_destinations(value if without is REFUSED else without)))
    return [move(source, path)]


@st.composite
def _copy(draw: st.DrawFn, value: Json) -> Operations:
    source, path = draw(_sources(value)), format_pointer(draw(_destinations(value)))
    return [copy(source, path)]


@st.composite
def _test(draw: st.DrawFn, value: Json) -> Operations:
    path = draw(_sources(value))
    if value is ABSENT:
        return []
    return [guard(path, found(value, path))]


@st.composite
def _swap(draw: st.DrawFn, value: Json) -> Operations:
    """Swap two members through a place that is free for a moment."""
    if not isinstance(value, dict) or len(value) < 2:
        return []
    one, other = draw(st.permutations(sorted(value)))[:2]
    return [
        move(format_pointer([one]), "/t"),
        move(format_pointer([other]), format_pointer([one])),
        move("/t", format_pointer([other])),
    ]


@st.composite
def _remove_and_add(draw: st.DrawFn, value: Json) -> Operations:
    path = draw(_sources(value))
    anew = draw(values) if value is ABSENT or draw(st.booleans()) else found(value, path)
    return [remove(path), add(path, anew)]


@st.composite
def _unwrap(draw: st.DrawFn, value: Json) -> Operations:
    """Take a part out of a container, then remove or replace the container."""
    inner = draw(_sources(value))
    outer = inner.rpartition("/")[0]
    out = format_pointer(draw(_destinations(value)))
    return [move(inner, out), remove(outer) if draw(st.booleans()) else replace(outer, {})]


@st.composite
def _away_and_back(draw: st.DrawFn, value: Json) -> Operations:
    source, path = draw(_sources(value)), format_pointer(draw(_destinations(value)))
    return [move(source, path), move(path, source)]


STEPS: tuple[Step, ...] = (
    _add,
    _add,
    _remove,
    _replace,
    _move,
    _move,
    _copy,
    _test,
    _swap,
    _remove_and_add,
    _unwrap,
    _away_and_back,
)


# -- places


def _sources(value: Json) -> st.SearchStrategy[str]:
    """The pointers of what is there; the root now and then."""
    paths = [format_pointer(path) for path, _ in _nodes(value)]
    return st.sampled_from(paths[1:] * 6 + paths[:1] if len(paths) > 1 else paths or [""])


def _destinations(value: Json) -> st.SearchStrategy[Path]:
    """Places an `add` can take: members old and new, gaps, `-`, the root now and then."""
    places: list[Path] = []
    for path, node in _nodes(value):
        if isinstance(node, dict):
            places.extend((*path, name) for name in NAMES)
        elif isinstance(node, list):
            places.extend((*path, str(index)) for index in range(len(node) + 1))
            places.append((*path, "-"))
    root: Path = ()
    return st.sampled_from(places * 4 + [root] if places else [root])


def _nodes(value: Json, path: Path = ()) -> list[tuple[Path, Json]]:
    if value is ABSENT:
        return []
    found_here = [(path, value)]
    if isinstance(value, dict):
        for name in sorted(value):
            found_here += _nodes(value[name], (*path, name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            found_here += _nodes(part, (*path, str(index)))
    return found_here


# -- a plain RFC 6902 interpreter of its own, so that the engine is not its own judge


REFUSED = object()


def found(value: Json, pointer: str) -> Json:
    for token in pointer.split("/")[1:]:
        value = value[int(token)] if isinstance(value, list) else value[token]
    return value


def applied(value: Json, operation: dict[str, Json]) -> Json:
    """The value after one operation, or REFUSED. Never changes its input."""
    value = deepcopy(value)
    try:
        match operation["op"]:
            case "remove":
                return _without(value, operation["path"])
            case "replace":
                found(value, operation["path"])
                if value is ABSENT:
                    return REFUSED
                path = operation["path"]
                return _with(_without(value, path), path, operation["value"])
            case "add":
                return _with(value, operation["path"], operation["value"])
            case "move":
                return _moved(value, operation["from"], operation["path"])
            case "copy":
                if value is ABSENT:
                    return REFUSED
                return _with(value, operation["path"], found(value, operation["from"]))
            case _:
                return value
    except (KeyError, IndexError, ValueError, TypeError):
        return REFUSED


def _moved(value: Json, source: str, path: str) -> Json:
    if value is ABSENT or path.startswith(source + "/"):
        return REFUSED
    node = found(value, source)
    return _with(_without(value, source), path, node)


def _without(value: Json, pointer: str) -> Json:
    if value is ABSENT:
        return REFUSED
    if not pointer:
        return ABSENT
    above, _, token = pointer.rpartition("/")
    container = found(value, above)
    del container[int(token) if isinstance(container, list) else token]
    return value


def _with(value: Json, pointer: str, part: Json) -> Json:
    part = deepcopy(part)
    if not pointer:
        return part
    above, _, token = pointer.rpartition("/")
    container = found(value, above)
    if isinstance(container, list):
        at = len(container) if token == "-" else int(token)
        if at > len(container):
            return REFUSED
        container.insert(at, part)
    elif isinstance(container, dict):
        container[token] = part
    else:
        return REFUSED
    return value


# -- counting


@st.composite
def counters(draw: st.DrawFn) -> Scene:
    """Both sides add to a few numbers, now and then set one or put something else there."""
    base = {"a": draw(st.integers(0, 3)), "b": draw(st.sampled_from([0, 0.5, "x"])), "c": {"a": 1}}
    theirs, yours = (applicable(base, draw(_counting())) for _ in "ty")
    return Scene(base, [theirs], yours)


def applicable(value: Json, patch: Patch) -> Patch:
    """What of a patch applies, `inc` included."""
    kept: Patch = []
    for operation in patch:
        with suppress(Inapplicable):
            apply_operations(value, read_patch([*kept, operation], extended=True))
            kept.append(operation)
    return kept


def _counting() -> st.SearchStrategy[Patch]:
    paths = st.sampled_from(["/a", "/a", "/b", "/c/a", "/c"])
    inc = st.builds(
        lambda path, by: {"op": "inc", "path": path, "value": by}, paths, st.sampled_from([1, -1, 0.5, 0])
    )
    return st.lists(
        st.one_of(inc, inc, st.builds(replace, paths, scalars), st.builds(remove, paths)), max_size=3
    )


# -- policies


def framed(patch: Patch, prefix: str) -> Patch:
    """A patch for a document that stands at a place in another."""
    return [
        {name: prefix + part if name in ("path", "from") else part for name, part in operation.items()}
        for operation in patch
    ]


@st.composite
def scene_policies(draw: st.DrawFn, sums: bool = True, sides: bool = True) -> Policy:
    """A policy that says something about the places in scenes."""
    words: dict[str, list[Json]] = {
        "object": ["merge", "atomic"],
        "replace": ["deep"],
        "array": ["list", "set", "log", "lines", "atomic", {"keyed": ["a"]}, {"keyed": ["a", "b"]}],
        "order": ["strict"],
        "scalar": [
            "max",
            "min",
            "newest",
            "exclusive",
            *(["sum"] if sums else []),
            *(["theirs", "yours"] if sides else []),
        ],
        "string": [{"text": "characters"}],
    }
    patterns = ["**", "", "/*", "/a", "/b", "/a/*", "/a/**", "**/a", "/*/*/b"]
    rule = st.lists(st.sampled_from(sorted(words)), min_size=1, max_size=2, unique=True)
    rules = {
        pattern: {name: draw(st.sampled_from(words[name])) for name in draw(rule)}
        for pattern in draw(st.lists(st.sampled_from(patterns), min_size=1, max_size=3, unique=True))
    }
    return Policy.read({"rules": rules})
