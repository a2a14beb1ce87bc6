"""Changing a JSON file as text: what a patch does not touch stays as it was written, to the byte."""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from plait_client.command.node import Node, Place
from plait_client.command.order import reorderings
from plait_client.command.spelling import Origin, Spelling
from plait_client.command.style import DEFAULT, detect, is_escaped
from plait_client.command.written import Written
from plait_merge import ABSENT, Absent, Json, Tokens, apply, array_index, diff, parse_pointer, same
from plait_merge.values import Limits

LIMITS: Final = Limits(operations_max=10_000_000, pointer_bytes_max=1 << 30, copied_bytes_max=1 << 26)
"""A file belongs to whoever runs the command: only what the engine cannot do is refused. A patch may be a
stranger's: what it copies, and copies of that again, must not fill the machine."""


def rewritten(
    file: Written,
    patch: Json,
    *,
    sources: Iterable[Written] = (),
    order: Json | Absent = ABSENT,
    base: Json | Absent = ABSENT,
) -> str:
    """Give the text of a file after a patch.

    Containers on the way to a change are opened; everything else is copied. What is new is laid out like its
    neighbours, or else like the rest of the file. A value that came out of one of the *sources* (the very
    object) is written as it is there. New members stand last, or where *order*, a document with the same
    places, has them; where that is ordered anew and this file is still ordered as *base*, all members are.

    Costs the containers opened, and a walk through each source. Raises what `apply` raises.
    """
    value = apply(file.value, patch, LIMITS)
    if not all(operation["op"] in _ACTS for operation in patch):
        patch = diff(file.value, value)
    sheet = _Sheet(file, tuple(sources), order)
    for way, names in reorderings(base, file.value, order):
        sheet.reorder(("", *way), names)
    text = sheet.apply(patch)
    read = json.loads(text) if text.strip() else ABSENT
    if not same(read, value):
        raise AssertionError("the text written does not read as what was meant")
    return text


_ACTS: Final = frozenset(["add", "remove", "replace", "move", "copy", "test"])


class _Sheet:
    """The new text of a file while a patch is applied to it. The patch is known to apply."""

    def __init__(self, file: Written, sources: Sequence[Written], order: Json | Absent) -> None:
        styles = (detect(source.text) for source in (file, *sources))
        style = next((style for style in styles if style is not None), DEFAULT)
        self._style = replace(style, escaped=is_escaped(file.text))
        self._spelling = Spelling((file, *sources), escaped=self._style.escaped)
        self._order = order
        absent = file.value is ABSENT
        start, end = len(file.text) - len(file.text.lstrip()), len(file.text.rstrip())
        self._before, self._after = (
            ("", self._style.newline) if absent else (file.text[:start], file.text[end:])
        )
        # The document is the member "" of a container that is not written, so the root needs no rules.
        root = Node(Origin(file.text, self._style), start, end)
        self._document = Node(root.origin, start, end)
        self._document.places = [] if absent else [Place("", "", "", "", root, placed=False)]
        self._document.names = {place.name: place for place in self._document.places}

    def apply(self, patch: Json) -> str:
        for operation in patch:
            path = _way(operation["path"])
            match operation["op"]:
                case "add":
                    self._add(path, self._quoted(operation["value"]))
                case "replace":
                    _fill(self._place(path), self._quoted(operation["value"]))
                case "remove":
                    self._take(path)
                case "move":
                    self._move(_way(operation["from"]), path)
                case "copy":
                    self._add(path, self._copy(_way(operation["from"])))
        return self._text()

    def reorder(self, way: Tokens, names: list[str]) -> None:
        """Put the members of an object in this order."""
        self._place(way).node.reorder(names)

    def _text(self) -> str:
        if not self._document.places:
            return ""
        (root,) = self._document.places
        node = root.node
        return (
            self._before
            + (node.fitted(self._style, "", inline=False) if root.placed else node.text())
            + self._after
        )

    def _add(self, path: Tokens, node: Node) -> None:
        container, inline = self._container(path)
        token = path[-1]
        if container.names is None:
            index = len(container.opened()) if token == "-" else int(token)
            container.put(index, "", node, inline=inline)
        elif token in container.names:
            _fill(container.names[token], node)
        else:
            container.put(self._position(container, path), token, node, inline=inline)

    def _take(self, path: Tokens) -> Node:
        container, _ = self._container(path)
        place = container.place(path[-1])
        container.take(place)
        return place.node

    def _move(self, source: Tokens, path: Tokens) -> None:
        if path == source:
            return
        container, _ = self._container(source)
        if source[:-1] == path[:-1] and container.names is not None and path[-1] not in container.names:
            container.rename(source[-1], path[-1])
        else:
            self._add(path, self._take(source))

    def _copy(self, source: Tokens) -> Node:
        node = self._place(source).node
        text = node.text()
        return Node(Origin(text, node.origin.style, node.indent), 0, len(text))

    def _quoted(self, value: Json) -> Node:
        quote = self._spelling.quote(value)
        return Node(quote.origin, quote.start, quote.end)

    def _place(self, path: Tokens) -> Place:
        container, _ = self._container(path)
        return container.place(path[-1])

    def _container(self, path: Tokens) -> tuple[Node, bool]:
        """Give the container around a path, opened, and whether it stands on a line with others."""
        node, inline = self._document, False
        for depth, token in enumerate(path[:-1]):
            place = node.place(token)
            node, inline = place.node, depth > 0 and place.is_inline
        node.opened()
        return node, inline

    def _position(self, container: Node, path: Tokens) -> int:
        """Say where a new member goes: where the alphabet has it, if that rules here, or as it is ordered."""
        names = [place.name for place in container.opened()]
        wanted = list(_object(self._order, path[1:-1]))
        name = path[-1]
        if name not in wanted:
            return len(names)
        if wanted == sorted(wanted) and names == sorted(names):
            return bisect(names, name)
        there = container.names or {}
        left = next((near for near in reversed(wanted[: wanted.index(name)]) if near in there), None)
        return 0 if left is None else names.index(left) + 1


def _fill(place: Place, node: Node) -> None:
    place.node, place.placed = node, True


def _way(pointer: str) -> Tokens:
    """Read a pointer as the way from outside the document."""
    return ("", *parse_pointer(pointer))


def _object(value: Json | Absent, path: Tokens) -> dict[str, Json]:
    """Give the object at a path, an empty one where there is none."""
    for token in path:
        if type(value) is list:
            index = array_index(token)
            value = value[index] if index is not None and index < len(value) else ABSENT
        else:
            value = value.get(token, ABSENT) if type(value) is dict else ABSENT
    return value if type(value) is dict else {}
