"""Merging two edits of one text: different places merge, the same place is for somebody to look at.

A text is cut into lines, words or characters; each side's difference from base is a list of edits of
stretches of those, found by Myers' greedy algorithm (An O(ND) Difference Algorithm, 1986). Edits of both
sides that overlap or touch, with nothing unchanged in between, are in the same place.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

Unit: TypeAlias = Literal["lines", "words", "characters"]

DIFFERENCES_MAX: Final = 1_000
"""How many parts one side may have added and removed; past it all between the equal ends is one edit."""

STEPS_MAX: Final = 3_000_000
"""How many parts may be compared to find them, for all texts of one merge together."""


class Allowance:
    """How many steps are left for the texts of one merge."""

    __slots__ = ("steps",)

    def __init__(self, steps: int = STEPS_MAX) -> None:
        self.steps = steps


class Edit(NamedTuple):
    """The parts of base from `start` to `end` became `text`, on one side."""

    start: int
    end: int
    side: int
    text: tuple[str, ...]


def merge_text(
    base: str, theirs: str, yours: str, unit: Unit, allowance: Allowance | None = None
) -> str | None:
    """Merge what *theirs* and *yours* made of *base*, or return None where they changed the same place.

    Equal changes of one place count once. O(length x differences), within the bounds above.
    """
    if theirs in (base, yours):
        return yours
    if yours == base:
        return theirs
    cut = _CUTS[unit]
    merged = _merged(cut(base), cut(theirs), cut(yours), unit, allowance)
    return None if merged is None else "".join(merged)


def merge_lines(
    base: list[str], theirs: list[str], yours: list[str], allowance: Allowance | None = None
) -> list[str] | None:
    """Merge the lines of one text, as `merge_text` does one that is not yet cut."""
    return _merged(base, theirs, yours, "lines", allowance)


def _merged(
    parts: Sequence[str],
    theirs: Sequence[str],
    yours: Sequence[str],
    unit: Unit,
    allowance: Allowance | None,
) -> list[str] | None:
    allowance = Allowance() if allowance is None else allowance
    edits: list[Edit] = []
    for side, text in enumerate((theirs, yours)):
        edits += _edits(parts, text, unit, side, allowance)
    merged: list[str] = []
    done = 0
    for place in _places(sorted(edits)):
        start, end = place[0].start, max(edit.end for edit in place)
        texts = {tuple(_text(parts, start, end, place, side)) for side in {edit.side for edit in place}}
        if len(texts) > 1:
            return None
        merged += parts[done:start]
        merged += texts.pop()
        done = end
    merged += parts[done:]
    return merged


def _places(edits: Sequence[Edit]) -> Iterator[list[Edit]]:
    """Put edits that overlap or touch together."""
    place: list[Edit] = []
    end = 0
    for edit in edits:
        if place and edit.start > end:
            yield place
            place = []
        place.append(edit)
        end = max(end, edit.end)
    if place:
        yield place


def _text(parts: Sequence[str], start: int, end: int, place: list[Edit], side: int) -> Iterator[str]:
    """Yield what one side has where base has *start* to *end*."""
    for edit in place:
        if edit.side == side:
            yield from parts[start : edit.start]
            yield from edit.text
            start = edit.end
    yield from parts[start:end]


# Cutting.


def _lines(text: str) -> Sequence[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _words(text: str) -> Sequence[str]:
    return re.findall(r"\w+|\s+|[^\w\s]", text)


def _characters(text: str) -> Sequence[str]:
    """Cut into what a reader takes for one character, about: accents and joined emoji stay whole."""
    if text.isascii():
        return text
    parts: list[str] = []
    for character in text:
        if parts and _belongs_to(parts[-1], character):
            parts[-1] += character
        else:
            parts.append(character)
    return parts


def _belongs_to(before: str, character: str) -> bool:
    return (
        unicodedata.category(character)[0] == "M"
        or character == _JOINER
        or before[-1] == _JOINER
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # the colour of a skin
        or (len(before) == 1 and _is_half_a_flag(before) and _is_half_a_flag(character))
    )


def _is_half_a_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


_JOINER: Final = "\u200d"
_CUTS: Final[dict[Unit, Callable[[str], Sequence[str]]]] = {
    "lines": _lines,
    "words": _words,
    "characters": _characters,
}


# Differences.


class Stretch(NamedTuple):
    """Parts of the old text that became parts of the new one, each from and to an index."""

    old: int
    old_end: int
    new: int
    new_end: int


def _edits(old: Sequence[str], new: Sequence[str], unit: Unit, side: int, allowance: Allowance) -> list[Edit]:
    """Return how *old* became *new*, in order; between two edits something is unchanged."""
    start, end = _equal_ends(old, new)
    gone, come = old[start : len(old) - end], new[start : len(new) - end]
    stretches = _differences(gone, come, allowance)
    if unit != "lines":
        stretches = _without_chance(gone, come, stretches)
    return [Edit(start + s.old, start + s.old_end, side, tuple(come[s.new : s.new_end])) for s in stretches]


def _equal_ends(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    shorter = min(len(old), len(new))
    start = 0
    while start < shorter and old[start] == new[start]:
        start += 1
    end = 0
    while end < shorter - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return start, end


def _differences(old: Sequence[str], new: Sequence[str], allowance: Allowance) -> list[Stretch]:
    """Return what differs, as little as can be; all of it where that takes more than the bounds allow."""
    rounds = _rounds(old, new, allowance)
    if rounds is None:
        return [Stretch(0, len(old), 0, len(new))]
    x, y = len(old), len(new)
    found: list[Stretch] = []
    for d in range(len(rounds) - 1, 0, -1):
        reached, k = rounds[d - 1], x - y
        down = k == -d or (k != d and reached[k - 1] < reached[k + 1])
        k_before = k + 1 if down else k - 1
        x_before = reached[k_before]
        # One part was added (down) or removed, and then everything was equal.
        x_after = x_before if down else x_before + 1
        step = Stretch(x_before, x_after, x_before - k_before, x_after - k)
        if found and (found[-1].old, found[-1].new) == (step.old_end, step.new_end):
            step = Stretch(step.old, found[-1].old_end, step.new, found.pop().new_end)
        found.append(step)
        x, y = x_before, x_before - k_before
    return found[::-1]


def _rounds(old: Sequence[str], new: Sequence[str], allowance: Allowance) -> list[dict[int, int]] | None:
    """Return, for each number of differences, how far into *old* each diagonal comes; None past the bounds.

    Diagonal k holds the places where the index into *old* is k more than the one into *new*.
    """
    rounds: list[dict[int, int]] = []
    reached = {1: 0}
    for d in range(DIFFERENCES_MAX + 1):
        now: dict[int, int] = {}
        for k in range(-d, d + 1, 2):
            down = k == -d or (k != d and reached[k - 1] < reached[k + 1])
            x = start = reached[k + 1] if down else reached[k - 1] + 1
            y = x - k
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x += 1
                y += 1
            now[k] = x
            if x >= len(old) and y >= len(new):
                return [*rounds, now]
            allowance.steps -= 1 + x - start
        if allowance.steps < 0:
            return None
        rounds.append(now)
        reached = now
    return None


def _without_chance(old: Sequence[str], new: Sequence[str], stretches: list[Stretch]) -> list[Stretch]:
    """Join stretches with no more between them than either changed: what is equal there is so by chance."""
    joined: list[Stretch] = []
    for stretch in stretches:
        joined.append(stretch)
        while len(joined) > 1:
            before, after = joined[-2:]
            between = _length(old, before.old_end, after.old)
            if between > min(_size(old, new, before), _size(old, new, after)):
                break
            joined[-2:] = [Stretch(before.old, after.old_end, before.new, after.new_end)]
    return joined


def _size(old: Sequence[str], new: Sequence[str], stretch: Stretch) -> int:
    return max(_length(old, stretch.old, stretch.old_end), _length(new, stretch.new, stretch.new_end))


def _length(parts: Sequence[str], start: int, end: int) -> int:
    return sum(map(len, parts[start:end]))
