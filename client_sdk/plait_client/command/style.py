"""How a JSON file is laid out, and laying out text in that way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import Final


@dataclass(frozen=True, slots=True)
class Style:
    """The layout of a file: what it takes to write something new that looks like the rest."""

    unit: str | None = "  "
    """One level of indentation; None for a file on one line."""
    newline: str = "\n"
    colon: str = ": "
    gap: str = " "
    """Behind a comma, where the line goes on."""
    escaped: bool = False
    """Whether characters beyond ASCII are written as escapes."""

    def writes_like(self, other: Style) -> bool:
        """Tell whether text of the other style can stand in a file of this one as it is."""
        return (self.unit, self.newline, self.colon) == (other.unit, other.newline, other.colon) and (
            self.unit is not None or self.gap == other.gap
        )


DEFAULT: Final = Style()
BARE: Final = Style(unit=None, colon=":", gap="")
"""How values are written before they get a layout."""


def detect(text: str) -> Style | None:
    """Read the style off a JSON text; None where nothing in it says so, like `{}`.

    The first of each kind counts: the first line that is indented deeper than the one before it, the first
    colon, the first comma with something behind it on its line.
    """
    deeper = _DEEPER(text)
    marks: dict[str, str] = {}
    for mark in islice(_MARK(text), _MARKS_MAX):
        if mark[1] is not None and mark[1] not in marks:
            marks[mark[1]] = _space_before(text, mark.start()) + mark[0]
    if deeper is None and not marks:
        return None
    spaced = deeper is not None or any(mark.endswith(" ") for mark in marks.values())
    colon, comma = marks.get(":", ": " if spaced else ":"), marks.get(",", ", " if spaced else ",")
    return Style(
        unit=None if deeper is None else deeper[2].removeprefix(deeper[1]),
        newline="\r\n" if "\r\n" in text else "\n",
        colon=colon,
        gap=comma.lstrip()[1:],
        escaped=is_escaped(text),
    )


def _space_before(text: str, position: int) -> str:
    start = position
    while start and text[start - 1] in " \t":
        start -= 1
    return text[start:position]


def is_escaped(text: str) -> bool:
    """Tell whether a text has characters beyond ASCII, and all of them as escapes."""
    return text.isascii() and _ESCAPED(text) is not None


_DEEPER: Final = re.compile(r"^([ \t]*+)[^\n]*[\[{][ \t]*+\r?\n([ \t]*+)(?![\]}\s])", re.MULTILINE).search
# A string is passed over whole, so that no comma in it counts; one at the end of a line does not either.
_MARK: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|([:,])[ \t]*+(?!\s)').finditer
_MARKS_MAX: Final = 2_000
_ESCAPED: Final = re.compile(r"\\u(?!00[0-7])[0-9a-fA-F]{4}").search


def refit(text: str, style: Style, indent: str, there: Style, target: str, *, inline: bool) -> str:
    """Give a value's text, laid out in one style behind an indentation, the looks of another place.

    *inline* says that its new neighbours stand on one line. Only white space changes, and characters beyond
    ASCII become escapes where the file has none.
    """
    wraps = "\n" in text
    if not there.writes_like(style) or (inline and wraps):
        short = inline or there.unit is None or not (wraps or style.unit is None)
        text = laid_out(text, there, None if short else target)
    elif wraps and indent != target:
        text = text.replace("\n" + indent, "\n" + target)
    return _escaped(text) if there.escaped and not text.isascii() else text


def laid_out(text: str, style: Style, indent: str | None) -> str:
    """Lay out a value from its tokens: over lines, behind this indentation; on one line for None."""
    written: list[str] = []
    before = ""
    depth = 0
    for token in _TOKEN(text):
        closes = token in _CLOSING
        if before in _OPENING:
            if not closes:
                depth += 1
                written.append(_line(style, indent, depth))
        elif closes:
            depth -= 1
            written.append(_line(style, indent, depth))
        elif before == ",":
            written.append(_line(style, indent, depth) or style.gap)
        written.append(style.colon if token == ":" else token)
        before = token
    return "".join(written)


_TOKEN: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{}:,]|[^][{}:,"\s]+').findall
_OPENING: Final = ("{", "[")
_CLOSING: Final = ("}", "]")


def _line(style: Style, indent: str | None, depth: int) -> str:
    return "" if indent is None or style.unit is None else style.newline + indent + style.unit * depth


def _escaped(text: str) -> str:
    """Write characters beyond ASCII, which stand in strings only, as escapes."""
    return _BEYOND_ASCII(lambda found: "".join(map(escape, found[0])), text)


def escape(character: str) -> str:
    """Write a character as JSON escapes it: one unit of UTF-16, or two."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


_BEYOND_ASCII: Final = re.compile(r"[^\x00-\x7f]+").sub
