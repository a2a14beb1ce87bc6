"""Where the parts of a container stand in a JSON text, and what stands between them."""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple


class Entry(NamedTuple):
    """A member or element of a container, by its places in the text.

    From `after` (behind the bracket or comma before it) to `titled` is white space; from there to `colon` the
    name as written, to `start` the colon with the white space around it (an element has neither, all three
    are one place); then the value up to `end`, then white space up to the comma or bracket behind it.
    """

    name: str | None
    after: int
    titled: int
    colon: int
    start: int
    end: int


def entries(text: str, start: int) -> tuple[list[Entry], int]:
    """Give the entries of the container that starts here, and the place of its closing bracket.

    The text is known to be JSON. Values are skipped at the speed of the standard parser; one level is read,
    so the cost is the size of the container, for each container that is looked into.
    """
    named = text[start] == "{"
    closing = "}" if named else "]"
    found: list[Entry] = []
    position = start + 1
    titled = _gap(text, position)
    if text[titled] == closing:
        return found, titled
    while True:
        name, colon, begin = _title(text, titled) if named else (None, titled, titled)
        _, end = _scan(text, begin)
        found.append(Entry(name, position, titled, colon, begin, end))
        behind = _gap(text, end)
        if text[behind] == closing:
            return found, behind
        position = behind + 1
        titled = _gap(text, position)


def _title(text: str, titled: int) -> tuple[str, int, int]:
    """Read a name: what it says, where it ends, where its value starts."""
    name, colon = _scan(text, titled)
    return name, colon, _gap(text, _gap(text, colon) + 1)


def _gap(text: str, position: int) -> int:
    """Give the end of the white space that starts here."""
    found = _SPACE(text, position)
    assert found is not None
    return found.end()


_SPACE: Final = re.compile(r"[ \t\n\r]*").match
_scan: Final = json.JSONDecoder().raw_decode
