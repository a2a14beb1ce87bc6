"""How values are written in the files they came out of: 1.50, 1e5, and every space inside a container."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from plait_client.command.span import Entry, entries
from plait_client.command.style import BARE, DEFAULT, Style, detect, refit
from plait_client.command.written import Written
from plait_merge import ABSENT, Json


class Origin:
    """A text that values are copied from, in one style; its first line may start somewhere else."""

    def __init__(self, text: str, style: Style, indent: str = "") -> None:
        self.text = text
        self.style = style
        self._indent = indent
        self._has_lines = "\n" in text

    def indent(self, position: int) -> str:
        """Give the indentation of the line with this position."""
        line = self.text.rfind("\n", 0, position) + 1 if self._has_lines else 0
        space = _SPACE(self.text, line, position)
        assert space is not None
        return space[0] if line else self._indent + space[0]


_SPACE: Final = re.compile(r"[ \t]*").match


@dataclass(frozen=True, slots=True)
class Quote:
    """A value as it stands in an origin."""

    origin: Origin
    start: int
    end: int

    def fitted(self, style: Style, indent: str, *, inline: bool) -> str:
        """Write the value for another place."""
        text, own = self.origin.text[self.start : self.end], self.origin.indent(self.start)
        return refit(text, self.origin.style, own, style, indent, inline=inline)


class Spelling:
    """Write values as some files write them."""

    def __init__(self, files: Iterable[Written], *, escaped: bool = False) -> None:
        self._sources = [_Source(file) for file in files]
        self._escaped = escaped

    def quote(self, value: Json) -> Quote:
        """Give a text of the value: as a file has it that it came out of (the very object), or a new one."""
        found = self._found(value)
        if found is not None:
            return found
        text = self.bare(value)
        return Quote(Origin(text, BARE), 0, len(text))

    def bare(self, value: Json) -> str:
        """Write a value without any white space, what came out of a file as it is spelled there."""
        found = self._found(value)
        if found is not None:
            return found.fitted(BARE, "", inline=True)
        if type(value) is dict:
            members = [f"{self.name(name)}:{self.bare(part)}" for name, part in value.items()]
            return "{" + ",".join(members) + "}"
        if type(value) is list:
            return "[" + ",".join(map(self.bare, value)) + "]"
        return json.dumps(value, ensure_ascii=self._escaped)

    def name(self, name: str) -> str:
        return json.dumps(name, ensure_ascii=self._escaped)

    def _found(self, value: Json) -> Quote | None:
        return next((found for source in self._sources if (found := source.find(value)) is not None), None)


class _Source:
    """Where the very objects of a file's value stand in its text."""

    def __init__(self, file: Written) -> None:
        self._value = file.value
        self._origin = Origin(file.text, detect(file.text) or DEFAULT)
        self._start = len(file.text) - len(file.text.lstrip())
        self._ways: dict[int, tuple[Json, str | int] | None] = {}
        self._read: dict[int, dict[str | int, Entry]] = {}

    def find(self, value: Json) -> Quote | None:
        """Find a value that came out of this file; None for others, and for what is written only one way.

        Small values may be one object in several places: any of them reads the same. The first look costs a
        walk through the value, each the containers around what is found.
        """
        if self._value is ABSENT or type(value) not in _SPELLED:
            return None
        if not self._ways:
            self._walk()
        if id(value) not in self._ways:
            return None
        start, end = self._start, len(self._origin.text.rstrip())
        for token in reversed(list(self._tokens(value))):
            entry = self._entries(start)[token]
            start, end = entry.start, entry.end
        return Quote(self._origin, start, end)

    def _walk(self) -> None:
        self._ways[id(self._value)] = None
        waiting: list[Json] = [self._value] if type(self._value) in (dict, list) else []
        while waiting:
            container = waiting.pop()
            named = type(container) is dict
            for token, part in container.items() if named else enumerate(container):
                kind = type(part)
                if kind in _SPELLED:
                    self._ways[id(part)] = (container, token)
                    if kind is dict or kind is list:
                        waiting.append(part)

    def _tokens(self, value: Json) -> Iterator[str | int]:
        """Give the way from a value up to the root."""
        while (way := self._ways[id(value)]) is not None:
            value, token = way
            yield token

    def _entries(self, start: int) -> dict[str | int, Entry]:
        read = self._read.get(start)
        if read is None:
            found, _ = entries(self._origin.text, start)
            read = {number if e.name is None else e.name: e for number, e in enumerate(found)}
            self._read[start] = read
        return read


_SPELLED: Final = frozenset([dict, list, float, str])
