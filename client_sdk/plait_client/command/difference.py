"""The difference of two values for people: what was changed, added, removed and moved, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from plait_client.command.rewriting import LIMITS
from plait_merge import ABSENT, Absent, Json, Tokens, diff, format_pointer, parse_pointer


@dataclass(frozen=True, slots=True)
class Side:
    """A place in one of the two documents, and what is there."""

    tokens: Tokens
    value: Json

    @property
    def pointer(self) -> str:
        return format_pointer(self.tokens)

    def as_json(self) -> dict[str, Json]:
        return {"pointer": self.pointer, "value": self.value}


@dataclass(frozen=True, slots=True)
class Change:
    """One change; `before` is None for what was added, `after` for what was removed."""

    kind: Literal["changed", "added", "removed", "moved"]
    before: Side | None
    after: Side | None

    @property
    def side(self) -> Side:
        side = self.after or self.before
        assert side is not None
        return side

    def as_json(self) -> dict[str, Json]:
        sides = {"before": self.before, "after": self.after}
        return {"change": self.kind, **{name: side.as_json() for name, side in sides.items() if side}}


def changes(before: Json | Absent, after: Json | Absent) -> list[Change]:
    """Compare two values; changes come in the order of the second document.

    In a patch a pointer means a place at that moment, which nobody can look up. Here each means a place in
    the document of its side. Costs what `diff` does, and the containers that changed.
    """
    replay = _Replay(before)
    for operation in diff(before, after, LIMITS):
        replay.apply(operation)
    return list(replay.changes())


class _Place:
    """A value that may have moved since the first document; opened where something inside it changed."""

    __slots__ = ("kind", "origin", "parts", "removed", "value", "was")

    def __init__(self, value: Json, origin: Tokens | None) -> None:
        self.value = value
        self.origin = origin
        self.parts: dict[str, _Place] | list[_Place] | None = None
        self.removed: list[_Place] = []
        self.kind: Literal["changed", "added", "moved"] | None = None
        self.was: Json | Absent = ABSENT

    def opened(self) -> dict[str, _Place] | list[_Place]:
        if self.parts is None:
            origin = self.origin or ()
            if type(self.value) is dict:
                self.parts = {name: _Place(part, (*origin, name)) for name, part in self.value.items()}
            else:
                self.parts = [_Place(part, (*origin, str(n))) for n, part in enumerate(self.value)]
        return self.parts

    def now(self) -> Json:
        """Give the value with what changed inside it."""
        if self.parts is None:
            return self.value
        if isinstance(self.parts, dict):
            return {name: part.now() for name, part in self.parts.items()}
        return [part.now() for part in self.parts]

    def take(self, token: str) -> _Place:
        parts = self.opened()
        return parts.pop(token) if isinstance(parts, dict) else parts.pop(int(token))

    def put(self, token: str, place: _Place) -> None:
        parts = self.opened()
        if isinstance(parts, dict):
            parts[token] = place
        else:
            parts.insert(int(token), place)

    def part(self, token: str) -> _Place:
        parts = self.opened()
        return parts[token] if isinstance(parts, dict) else parts[int(token)]


class _Replay:
    """A patch made by `diff`, replayed so that every place knows where it began."""

    def __init__(self, before: Json | Absent) -> None:
        # The document is the member "" of something around it, so the root needs no rules.
        self._around = _Place({}, None)
        self._around.parts = {} if before is ABSENT else {"": _Place(before, ())}

    def apply(self, operation: dict[str, Json]) -> None:
        *way, token = "", *parse_pointer(operation["path"])
        container = self._place(way)
        match operation["op"]:
            case "add":
                place = _Place(operation["value"], None)
                place.kind = "added"
                container.put(token, place)
            case "remove":
                container.removed.append(container.take(token))
            case "replace":
                place = container.part(token)
                place.kind, place.was, place.value = "changed", place.value, operation["value"]
            case "move":
                *source, last = "", *parse_pointer(operation["from"])
                place = self._place(source).take(last)
                place.kind = "moved"
                container.put(token, place)

    def _place(self, way: list[str]) -> _Place:
        place = self._around
        for token in way:
            place = place.part(token)
        return place

    def changes(self) -> Iterator[Change]:
        return _changes(self._around, None)


def _changes(place: _Place, tokens: Tokens | None) -> Iterator[Change]:
    """Give the changes at a place and inside it; tokens say where it is now."""
    if place.kind is not None and tokens is not None:
        after = Side(tokens, place.now())
        was = place.was if place.kind == "changed" else place.value
        before = None if place.origin is None else Side(place.origin, was)
        yield Change(place.kind, before, after)
    for gone in sorted(place.removed, key=lambda gone: _order(gone.origin or ())):
        yield Change("removed", Side(gone.origin or (), gone.value), None)
    parts = place.parts
    if parts is not None:
        for token, part in parts.items() if isinstance(parts, dict) else enumerate(parts):
            yield from _changes(part, () if tokens is None else (*tokens, str(token)))


def _order(tokens: Tokens) -> list[tuple[int, str]]:
    return [(int(token) if token.isdigit() else 0, token) for token in tokens]
