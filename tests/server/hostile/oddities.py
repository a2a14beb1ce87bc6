"""What a fuzzer makes requests and frames of: sane ones, and what goes wrong with them."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Json = Any

DOCUMENTS = ("fuzz/a", "fuzz/b", "fuzz/c")
START: Json = {"a": [1, 2, {"b": None}], "n": 1, "s": "x", "~/": {"": [0]}}
EDIT_KINDS = ("add", "remove", "replace", "move", "copy", "test", "inc")
POINTERS = ("", "/", "/a", "/a/0", "/a/-", "/a/2/b", "/n", "/s", "/~0~1", "/~0~1/", "/~0~1//0", "/x", "/x/y")
ODD_POINTERS = (
    "a",
    "/~",
    "/~2",
    "/a/00",
    "/a/-1",
    "/a/1e0",
    "/a/\u0661",
    "/a/99999999999999999999",
    "/" * 5_000,
)
ODD_TEXTS = (
    "",
    "\u0000",
    "\ud800",
    "\udfff\ud800",
    "\ufeff",
    "\u202e",
    "\u2028",
    "e\u0301" * 40,
    "\U0010ffff",
    "x" * 5_000,
    "__proto__",
    "../../etc",
    "' OR 1=1 --",
    "%00%s%n{}",
    "\r\nX: y",
)
ODD_NUMBERS = (
    -1,
    0,
    1.5,
    -0.0,
    2**31,
    2**53,
    2**63,
    2**64,
    -(2**63) - 1,
    10**18,
    10**19,
    10**999,
    10**1_001,
    1e308,
    float("inf"),
    float("nan"),
)
ODD: tuple[Json, ...] = (None, True, False, [], {}, [[]], *ODD_NUMBERS, *ODD_TEXTS)


def deep(levels: int) -> Json:
    value: Json = 1
    for level in range(levels):
        value = [value] if level % 2 else {"d": value}
    return value


def mostly(
    usual: st.SearchStrategy[Json], *others: st.SearchStrategy[Json], of: int = 20
) -> st.SearchStrategy[Json]:
    """Draw the usual in all but one case for each of the others, of so many."""
    kinds = [usual] * (of - len(others)) + list(others)
    return st.integers(0, of - 1).flatmap(kinds.__getitem__)


scalars = st.sampled_from([0, 1, -1, 1.5, True, False, None, "", "x", "y"])
values = st.one_of(
    scalars,
    st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
        ),
        max_leaves=6,
    ),
)
odd_values = st.one_of(st.sampled_from(ODD), st.sampled_from([10, 60, 63, 64, 65, 200]).map(deep), values)
pointers = st.sampled_from(POINTERS)
operations = mostly(
    st.fixed_dictionaries({"op": st.just("add"), "path": pointers, "value": values}),
    *[
        st.fixed_dictionaries({"op": st.just(kind), "path": pointers, "value": values, "from": pointers})
        for kind in EDIT_KINDS
    ],
)
patches = st.lists(operations, max_size=5)
documents = st.sampled_from(DOCUMENTS)
numbers = st.integers(0, 20)
bases = mostly(st.none(), st.integers(0, 3), st.integers(0, 40), of=4)
keys = st.sampled_from(["k1", "k2", "k3"])


def spoiled(sane: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    """Make of something sane what is mostly sane: one or a few places of it are something else."""
    times = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3])
    return st.tuples(sane, times, st.randoms(use_true_random=False), odd_values).map(_spoil)


def _spoil(drawn: tuple[Json, int, Any, Json]) -> Json:
    value, times, random, odd = drawn
    value = json.loads(json.dumps(value))
    for _ in range(times):
        value = _spoil_once(value, random, odd)
    return value


def _spoil_once(value: Json, random: Any, odd: Json) -> Json:
    """Change one place: put something odd there, leave it out, name it otherwise, say it twice."""
    if not value or not isinstance(value, dict | list) or random.random() < 0.05:
        return odd
    if isinstance(value, list):
        at = random.randrange(len(value))
        changed = [_spoil_once(value[at], random, odd), *([value[at]] * random.randrange(3))]
        return [*value[:at], *changed, *value[at + 1 :]]
    name = random.choice(list(value))
    match random.randrange(6):
        case 0:
            return {each: value[each] for each in value if each != name}
        case 1:
            return {**value, random.choice(ODD_TEXTS): odd}
        case 2 if name in ("path", "from"):
            return {**value, name: random.choice(ODD_POINTERS)}
        case _:
            return {**value, name: _spoil_once(value[name], random, odd)}


def texts(content: st.SearchStrategy[Json]) -> st.SearchStrategy[bytes]:
    """Write what was made as JSON; sometimes that is spoiled too."""
    return st.tuples(
        content.map(lambda value: json.dumps(value).encode()),
        st.sampled_from(WRITTEN_OTHERWISE),
        st.integers(0),
    ).map(lambda drawn: drawn[1](drawn[0], drawn[2]))


def _as_it_is(text: bytes, at: int) -> bytes:
    return text


def _cut(text: bytes, at: int) -> bytes:
    return text[: at % (len(text) + 1)]


def _twice(text: bytes, at: int) -> bytes:
    return text + text


def _with_a_byte(text: bytes, at: int) -> bytes:
    where = at % (len(text) + 1)
    return text[:where] + bytes([at % 256]) + text[where:]


def _with_a_name_twice(text: bytes, at: int) -> bytes:
    return text.replace(b"{", b'{"t":"ping","t":1,', 1)


def _wrapped(text: bytes, at: int) -> bytes:
    levels = at % 3_000
    return b"[" * levels + text + b"]" * levels


WRITTEN_OTHERWISE: tuple[Callable[[bytes, int], bytes], ...] = (
    *([_as_it_is] * 15),
    _cut,
    _twice,
    _with_a_byte,
    _with_a_name_twice,
    _wrapped,
)
