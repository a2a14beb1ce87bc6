"""Documents in which every container can be told from the others, and patches that apply to them."""

from typing import Any

from hypothesis import strategies as st

from plait_merge import Inapplicable, Tokens, apply, format_pointer
from plait_merge.patch import Replay
from plait_server.service.revision import STORED


def marked(shape: Any, marks: list[int] | None = None) -> Any:
    """Give every container of a shape a mark: a member of an object, the first element of an array."""
    marks = [] if marks is None else marks
    marks.append(len(marks))
    mark = f"mark {len(marks)}"
    if isinstance(shape, dict):
        return {"mark": mark, **{name: marked(part, marks) for name, part in shape.items()}}
    if isinstance(shape, list):
        return [mark, *(marked(part, marks) for part in shape)]
    return shape


SHAPES = st.recursive(
    st.just(0),
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "0", "1"]), parts, max_size=3)
    ),
    max_leaves=12,
).filter(lambda shape: shape != 0)


def places_in(value: Any, around: Tokens = ()) -> list[Tokens]:
    """List all places of a value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [around, *(place for name, part in parts for place in places_in(part, (*around, str(name))))]


def containers_in(value: Any) -> list[Tokens]:
    """List the places of its objects and arrays."""
    return [place for place in places_in(value) if isinstance(at(value, place), dict | list)]


def at(value: Any, place: Tokens) -> Any:
    """Give what is at a place."""
    return Replay(value, STORED).find(place)


@st.composite
def patches(draw: st.DrawFn, value: Any) -> list[dict[str, Any]]:
    """Draw operations that apply one after the other."""
    patch: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 4))):
        operation = draw(operations(value))
        try:
            after = apply(value, [operation], STORED)
        except Inapplicable:  # into itself, say
            continue
        value, patch = after, [*patch, operation]
    return patch


@st.composite
def operations(draw: st.DrawFn, value: Any) -> dict[str, Any]:
    """Draw an operation that nearly always applies."""
    there = format_pointer(draw(st.sampled_from(places_in(value))))
    last = draw(st.sampled_from(["a", "b", "c", "0", "1", "2", "-"]))
    new = format_pointer((*draw(st.sampled_from(places_in(value))), last))
    match draw(st.sampled_from(["add", "remove", "replace", "move", "copy"])):
        case "remove":
            return {"op": "remove", "path": there}
        case "replace":
            return {"op": "replace", "path": there, "value": ["new"]}
        case "add":
            return {"op": "add", "path": new, "value": ["new"]}
        case kind:
            return {"op": kind, "from": there, "path": new}
