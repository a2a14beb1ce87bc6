"""Changing a JSON file as text: what a patch does not touch stays as it was written, to the byte."""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from plait_client.command.order import reorderings
from plait_client.command.span import Entry, entries
from plait_client.command.spelling import Origin, Spelling
from plait_client.command.style import DEFAULT, Style, detect, is_escaped, refit
from plait_client.command.written import Written
from plait_merge import ABSENT, Absent, Json, Tokens, apply, array_index, diff, parse_pointer, same
from plait_merge.values import Limits

LIMITS: Final = Limits(operations_max=10_000_000, pointer_bytes_max=1 << 30, copied_bytes_max=1 << 30)
"""A file belongs to whoever runs the command: only what the engine cannot do is refused."""


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


class _Entry:
    """A member or element: its name and colon as written, the white space around it, and its value."""

    __slots__ = ("colon", "lead", "name", "node", "placed", "title", "trail")

    def __init__(
        self,
        name: str,
        lead: str,
        title: str,
        colon: str,
        node: _Node,
        trail: str = "",
        *,
        placed: bool = True,
    ) -> None:
        self.name = name
        self.lead = lead
        self.title = title
        self.colon = colon
        self.node = node
        self.trail = trail
        self.placed = placed
        """Whether the value came from elsewhere and has to be fitted in."""

    @property
    def is_inline(self) -> bool:
        return "\n" not in self.lead


class _Node:
    """A value of the new text: a stretch of some origin, opened where something inside it changes."""

    __slots__ = ("end", "entries", "names", "origin", "start", "tail")

    def __init__(self, origin: Origin, start: int, end: int) -> None:
        self.origin = origin
        self.start = start
        self.end = end
        self.entries: list[_Entry] | None = None
        self.names: dict[str, _Entry] | None = None
        """The entries of an object by name."""
        self.tail = ""
        """What stands before the closing bracket."""

    @property
    def indent(self) -> str:
        return self.origin.indent(self.start)

    def text(self) -> str:
        """Write the value as it stands in its origin, with what changed inside it."""
        text = self.origin.text
        if self.entries is None:
            return text[self.start : self.end]
        inner = ",".join([e.lead + e.title + e.colon + self._fitted(e) + e.trail for e in self.entries])
        return text[self.start] + inner + self.tail + text[self.end - 1]

    def _fitted(self, entry: _Entry) -> str:
        if not entry.placed:
            return entry.node.text()
        indent = self.indent if entry.is_inline else entry.lead[entry.lead.rindex("\n") + 1 :]
        return entry.node.fitted(self.origin.style, indent, inline=entry.is_inline)

    def fitted(self, style: Style, indent: str, *, inline: bool) -> str:
        """Write the value for another place."""
        return refit(self.text(), self.origin.style, self.indent, style, indent, inline=inline)

    def opened(self) -> list[_Entry]:
        """Give the entries of this container, which are there to be changed."""
        if self.entries is None:
            text = self.origin.text
            found, closing = entries(text, self.start)
            trails = [text[e.end : after.after - 1] for e, after in pairwise(found)]
            self.entries = [self._entry(*pair) for pair in zip(found, [*trails, ""], strict=False)]
            self.tail = text[found[-1].end if found else self.start + 1 : closing]
            if text[self.start] == "{":
                self.names = {entry.name: entry for entry in self.entries}
        return self.entries

    def _entry(self, read: Entry, trail: str) -> _Entry:
        text, node = self.origin.text, _Node(self.origin, read.start, read.end)
        lead, title = text[read.after : read.titled], text[read.titled : read.colon]
        return _Entry(read.name or "", lead, title, text[read.colon : read.start], node, trail, placed=False)

    def entry(self, token: str) -> _Entry:
        """Give the entry a token names; it is there."""
        listed = self.opened()
        return listed[int(token)] if self.names is None else self.names[token]

    def take(self, entry: _Entry) -> None:
        """Take an entry out; the first place is kept by whatever comes first now."""
        listed = self.opened()
        index = listed.index(entry)
        del listed[index]
        if self.names is not None:
            del self.names[entry.name]
        if not listed:
            self.tail = ""
        elif index == 0:
            listed[0].lead = entry.lead

    def rename(self, name: str, new: str) -> None:
        """Give a member another name, and leave it where it is."""
        assert self.names is not None
        entry = self.names.pop(name)
        entry.name, entry.title = new, json.dumps(new, ensure_ascii=self.origin.style.escaped)
        self.names[new] = entry

    def reorder(self, names: list[str]) -> None:
        """Put the members in this order; the white space around them stays where it is."""
        spaces = [(entry.lead, entry.trail) for entry in self.opened()]
        assert self.names is not None
        self.entries = [self.names[name] for name in names]
        for entry, space in zip(self.entries, spaces, strict=True):
            entry.lead, entry.trail = space

    def put(self, index: int, name: str, node: _Node, *, inline: bool) -> None:
        """Put a value in, laid out like its neighbours; *inline* says how where it has none."""
        listed, style = self.opened(), self.origin.style
        between = self._between()
        if not listed:
            wraps = style.unit is not None and not inline
            self.tail = style.newline + self.indent if wraps else ""
            lead = self.tail + (style.unit or "") if wraps else ""
        elif index == 0:
            lead, listed[0].lead = listed[0].lead, between
        else:
            lead = listed[index].lead if index < len(listed) else between
        entry = _Entry(name, lead, "", "", node)
        if self.names is not None:
            entry.title = json.dumps(name, ensure_ascii=style.escaped)
            entry.colon = listed[0].colon if listed and listed[0].colon.strip(" ") == ":" else style.colon
            self.names[name] = entry
        listed.insert(index, entry)

    def _between(self) -> str:
        """Give what stands between two entries here."""
        if not self.entries:
            return ""
        lead = self.entries[-1].lead
        if "\n" in lead:
            return self.origin.style.newline + lead[lead.rindex("\n") + 1 :]
        return lead if len(self.entries) > 1 else self.origin.style.gap


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
        root = _Node(Origin(file.text, self._style), start, end)
        self._document = _Node(root.origin, start, end)
        self._document.entries = [] if absent else [_Entry("", "", "", "", root, placed=False)]
        self._document.names = {entry.name: entry for entry in self._document.entries}

    def apply(self, patch: Json) -> str:
        for operation in patch:
            path = _way(operation["path"])
            match operation["op"]:
                case "add":
                    self._add(path, self._quoted(operation["value"]))
                case "replace":
                    _fill(self._entry(path), self._quoted(operation["value"]))
                case "remove":
                    self._take(path)
                case "move":
                    self._move(_way(operation["from"]), path)
                case "copy":
                    self._add(path, self._copy(_way(operation["from"])))
        return self._text()

    def reorder(self, way: Tokens, names: list[str]) -> None:
        """Put the members of an object in this order."""
        self._entry(way).node.reorder(names)

    def _text(self) -> str:
        if not self._document.entries:
            return ""
        (root,) = self._document.entries
        node = root.node
        return (
            self._before
            + (node.fitted(self._style, "", inline=False) if root.placed else node.text())
            + self._after
        )

    def _add(self, path: Tokens, node: _Node) -> None:
        container, inline = self._container(path)
        token = path[-1]
        if container.names is None:
            index = len(container.opened()) if token == "-" else int(token)
            container.put(index, "", node, inline=inline)
        elif token in container.names:
            _fill(container.names[token], node)
        else:
            container.put(self._position(container, path), token, node, inline=inline)

    def _take(self, path: Tokens) -> _Node:
        container, _ = self._container(path)
        entry = container.entry(path[-1])
        container.take(entry)
        return entry.node

    def _move(self, source: Tokens, path: Tokens) -> None:
        if path == source:
            return
        container, _ = self._container(source)
        if source[:-1] == path[:-1] and container.names is not None and path[-1] not in container.names:
            container.rename(source[-1], path[-1])
        else:
            self._add(path, self._take(source))

    def _copy(self, source: Tokens) -> _Node:
        node = self._entry(source).node
        text = node.text()
        return _Node(Origin(text, node.origin.style, node.indent), 0, len(text))

    def _quoted(self, value: Json) -> _Node:
        quote = self._spelling.quote(value)
        return _Node(quote.origin, quote.start, quote.end)

    def _entry(self, path: Tokens) -> _Entry:
        container, _ = self._container(path)
        return container.entry(path[-1])

    def _container(self, path: Tokens) -> tuple[_Node, bool]:
        """Give the container around a path, opened, and whether it stands on a line with others."""
        node, inline = self._document, False
        for depth, token in enumerate(path[:-1]):
            entry = node.entry(token)
            node, inline = entry.node, depth > 0 and entry.is_inline
        node.opened()
        return node, inline

    def _position(self, container: _Node, path: Tokens) -> int:
        """Say where a new member goes: where the alphabet has it, if that rules here, or as it is ordered."""
        names = [entry.name for entry in container.opened()]
        wanted = list(_object(self._order, path[1:-1]))
        name = path[-1]
        if name not in wanted:
            return len(names)
        if wanted == sorted(wanted) and names == sorted(names):
            return bisect(names, name)
        there = container.names or {}
        left = next((near for near in reversed(wanted[: wanted.index(name)]) if near in there), None)
        return 0 if left is None else names.index(left) + 1


def _fill(entry: _Entry, node: _Node) -> None:
    entry.node, entry.placed = node, True


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
