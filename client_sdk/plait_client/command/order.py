"""The order of members. It is nothing to JSON and much to people: one side may have sorted a file."""

from __future__ import annotations

from collections.abc import Iterator

from plait_merge import Absent, Json, Tokens


def reorderings(
    base: Json | Absent, file: Json | Absent, other: Json | Absent, way: Tokens = ()
) -> Iterator[tuple[Tokens, list[str]]]:
    """Give the objects that the other document orders anew and the file as base does, with the new order.

    An order holds the names of the file. Objects are those at the same place in all three, through arrays
    that have kept their length. Costs the size of the file.
    """
    if type(base) is type(file) is type(other) is dict:
        order = _order(base, file, other)
        if order is not None:
            yield way, order
        for name, part in file.items():
            if (type(part) is dict or type(part) is list) and name in base and name in other:
                yield from reorderings(base[name], part, other[name], (*way, name))
    elif type(base) is type(file) is type(other) is list and len(base) == len(file) == len(other):
        for index, part in enumerate(file):
            if type(part) is dict or type(part) is list:
                yield from reorderings(base[index], part, other[index], (*way, str(index)))


def _order(base: dict[str, Json], file: dict[str, Json], other: dict[str, Json]) -> list[str] | None:
    """Give the new order of an object's names; None where it stays."""
    common = base.keys() & file.keys() & other.keys()
    new = [name for name in other if name in common]
    old = [name for name in base if name in common]
    if old == new or old != [name for name in file if name in common]:
        return None
    if len(common) == len(file):
        return new
    # What only the file has stays behind the name it stood behind.
    behind: dict[str | None, list[str]] = {}
    last: str | None = None
    for name in file:
        if name in common:
            last = name
        else:
            behind.setdefault(last, []).append(name)
    ordered = [*behind.get(None, [])]
    for name in new:
        ordered += [name, *behind.get(name, [])]
    return ordered
