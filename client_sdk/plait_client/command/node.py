"""The values of a JSON text that is being changed."""

from __future__ import annotations

import json
from itertools import pairwise

from plait_client.command.span import Entry, entries
from plait_client.command.spelling import Origin
from plait_client.command.style import Style, refit


class Place:
    """A place in a container: a member's name and colon as written, the white space around, and the value."""

    __slots__ = ("colon", "lead", "name", "node", "placed", "title", "trail")

    def __init__(
        self,
        name: str,
        lead: str,
        title: str,
        colon: str,
        node: Node,
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


class Node:
    """A value of the new text: a stretch of some origin, opened where something inside it changes.

    White space belongs to places, not to what stands there: what is put first takes over what stood before
    the first, and so on, so that a container keeps its looks.
    """

    __slots__ = ("end", "first_lead", "names", "origin", "places", "start", "tail")

    def __init__(self, origin: Origin, start: int, end: int) -> None:
        self.origin = origin
        self.start = start
        self.end = end
        self.places: list[Place] | None = None
        self.names: dict[str, Place] | None = None
        """The places of an object by name."""
        self.tail = ""
        """What stands before the closing bracket."""
        self.first_lead: str | None = None
        """What stood before the first place, where all are gone."""

    @property
    def indent(self) -> str:
        return self.origin.indent(self.start)

    def text(self) -> str:
        """Write the value as it stands in its origin, with what changed inside it."""
        text = self.origin.text
        if self.places is None:
            return text[self.start : self.end]
        inner = ",".join([p.lead + p.title + p.colon + self._fitted(p) + p.trail for p in self.places])
        tail = "" if self.first_lead is not None else self.tail
        return text[self.start] + inner + tail + text[self.end - 1]

    def _fitted(self, place: Place) -> str:
        if not place.placed:
            return place.node.text()
        indent = self.indent if place.is_inline else place.lead[place.lead.rindex("\n") + 1 :]
        return place.node.fitted(self.origin.style, indent, inline=place.is_inline)

    def fitted(self, style: Style, indent: str, *, inline: bool) -> str:
        """Write the value for another place."""
        return refit(self.text(), self.origin.style, self.indent, style, indent, inline=inline)

    def opened(self) -> list[Place]:
        """Give the places of this container, which are there to be changed."""
        if self.places is None:
            text = self.origin.text
            found, closing = entries(text, self.start)
            trails = [text[e.end : after.after - 1] for e, after in pairwise(found)]
            self.places = [self._place(*pair) for pair in zip(found, [*trails, ""], strict=False)]
            self.tail = text[found[-1].end if found else self.start + 1 : closing]
            if text[self.start] == "{":
                self.names = {place.name: place for place in self.places}
        return self.places

    def _place(self, read: Entry, trail: str) -> Place:
        text, node = self.origin.text, Node(self.origin, read.start, read.end)
        lead, title = text[read.after : read.titled], text[read.titled : read.colon]
        return Place(read.name or "", lead, title, text[read.colon : read.start], node, trail, placed=False)

    def place(self, token: str) -> Place:
        """Give the place a token names; it is there."""
        listed = self.opened()
        return listed[int(token)] if self.names is None else self.names[token]

    def take(self, place: Place) -> None:
        """Take a place out; what comes first now stands where the first stood."""
        listed = self.opened()
        index = listed.index(place)
        del listed[index]
        if self.names is not None:
            del self.names[place.name]
        if not listed:
            self.first_lead = place.lead
        elif index == 0:
            listed[0].lead = place.lead

    def rename(self, name: str, new: str) -> None:
        """Give a member another name, and leave it where it is."""
        assert self.names is not None
        place = self.names[new] = self.names.pop(name)
        place.name, place.title = new, json.dumps(new, ensure_ascii=self.origin.style.escaped)

    def reorder(self, names: list[str]) -> None:
        """Put the members in this order; the white space around them stays where it is."""
        spaces = [(place.lead, place.trail) for place in self.opened()]
        assert self.names is not None
        self.places = [self.names[name] for name in names]
        for place, space in zip(self.places, spaces, strict=True):
            place.lead, place.trail = space

    def put(self, index: int, name: str, node: Node, *, inline: bool) -> None:
        """Put a value in, laid out like its neighbours; *inline* says how where there never were any."""
        listed, style = self.opened(), self.origin.style
        place = Place(name, self._lead(index, inline=inline), "", "", node)
        if self.names is not None:
            place.title = json.dumps(name, ensure_ascii=style.escaped)
            place.colon = listed[0].colon if listed and listed[0].colon.strip(" ") == ":" else style.colon
            self.names[name] = place
        listed.insert(index, place)

    def _lead(self, index: int, *, inline: bool) -> str:
        """Give what is to stand before a new place, and make room for it."""
        listed, style = self.opened(), self.origin.style
        if listed and index == 0:
            lead, listed[0].lead = listed[0].lead, self._between()
            return lead
        if listed:
            return listed[index].lead if index < len(listed) else self._between()
        if self.first_lead is not None:
            lead, self.first_lead = self.first_lead, None
            return lead
        if style.unit is None or inline:
            self.tail = ""
            return ""
        self.tail = style.newline + self.indent
        return self.tail + style.unit

    def _between(self) -> str:
        """Give what stands between two places here, of which there is one at least."""
        listed = self.opened()
        lead = listed[-1].lead
        if "\n" in lead:
            return self.origin.style.newline + lead[lead.rindex("\n") + 1 :]
        return lead if len(listed) > 1 else self.origin.style.gap
