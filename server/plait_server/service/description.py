"""What a patch changes, in words for people.

The patch says what came, went and moved; where a value took the place of another one, DeepDiff says what in
it is different. It is slow (a tenth of a millisecond for each part it looks at), so it sees the changed parts
only, and of those no more than a quarter of a second's worth; what is beyond is told by its size.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final

from plait_merge import (
    ABSENT,
    Absent,
    Json,
    Operation,
    array_index,
    format_pointer,
)
from plait_merge.patch import Replay
from plait_merge.pointer import Tokens
from plait_merge.values import has_more_parts, is_within_depth
from plait_server.service.revision import STORED
from plait_server.wire import encode

LINES_MAX: Final = 200
COMPARED_PARTS_MAX: Final = 2_000
"""Members, elements and lines of text that are compared for one description."""
COMPARED_DEPTH_MAX: Final = 64
COMPARED_LINE_CHARACTERS_MAX: Final = 1_000
SHOWN_CHARACTERS_MAX: Final = 120
"""Of one value; a longer one is cut."""
SHOWN_PARTS_MAX: Final = 60


def describe(before: Json | Absent, operations: Iterable[Operation]) -> str:
    """Describe a patch without `test`, which applies to a value: a line for each change, more for a text.

    Cost: a second at most.
    """
    lines: list[str] = []
    more = 0
    description = _Description(before)
    for operation in operations:
        if len(lines) < LINES_MAX:
            lines += description.of(operation)
        else:
            more += 1
    more += len(lines[LINES_MAX:])
    del lines[LINES_MAX:]
    if more:
        lines.append(f"… and {more:,} more.")
    return "".join([f"{line}\n" for line in lines]) or "Nothing is different.\n"


class _Description:
    """A value on its way through a patch, and how much may still be compared."""

    def __init__(self, before: Json | Absent) -> None:
        self._replay = Replay(before, STORED)
        self._parts_left = COMPARED_PARTS_MAX

    def of(self, operation: Operation) -> list[str]:
        """Describe the next operation."""
        op, path, source, _ = operation
        replay = self._replay
        before = replay.find(path)
        replay.step(operation)
        if op == "remove":
            return [f"{_shown(path)}: removed {_show(before)}"]
        if source is not None:
            word = "moved" if op == "move" else "copied"
            return [f"{_shown(path)}: {word} from {_shown(source)}"]
        path, is_element = self._landing(path)
        after = replay.find(path)
        if op == "add" and (is_element or before is ABSENT):
            return [f"{_shown(path)}: added {_show(after)}"]
        return list(self._changed(path, before, after))

    def _landing(self, path: Tokens) -> tuple[Tokens, bool]:
        """Say where what was put at a path is now, and whether among elements."""
        around = self._replay.find(path[:-1]) if path else ABSENT
        if type(around) is not list:
            return path, False
        return (*path[:-1], str(len(around) - 1)) if path[-1] == "-" else path, True

    def _changed(self, path: Tokens, before: Json, after: Json) -> Iterator[str]:
        """Describe how a value became another one, by DeepDiff where that does not take long."""
        parts = _parts(before) + _parts(after)
        if parts > self._parts_left:
            yield f"{_shown(path)}: {_measured(before)} became {_measured(after)}"
            return
        self._parts_left -= parts
        for kind, tokens, old, new, unified in sorted(_compare(before, after), key=_by_place):
            place = _shown((*path, *tokens))
            if kind.endswith("_added"):
                yield f"{place}: added {_show(new)}"
            elif kind.endswith("_removed"):
                yield f"{place}: removed {_show(old)}"
            elif unified:
                yield f"{place}: changed in"
                yield from unified
            else:
                yield f"{place}: {_show(old)} became {_show(new)}"


Difference = tuple[str, Tokens, Any, Any, list[str]]


def _compare(before: Json, after: Json) -> Iterator[Difference]:
    """Give what DeepDiff finds: kind, place, what was there, what is there, and lines of a text that differ.

    A member whose name begins with two underscores is a member like others.
    """
    found = _deepdiff()(before, after, view="tree", ignore_private_variables=False)
    for kind, levels in found.items():
        for level in levels:
            tokens = tuple(map(str, level.path(output_format="list")))
            text = level.additional.get("diff", "") if kind == "values_changed" else ""
            # The first two lines would name files.
            yield (
                kind,
                tokens,
                level.t1,
                level.t2,
                [f"    {_printable(line)}" for line in text.split("\n")[2:]],
            )


@cache
def _deepdiff() -> Any:
    """Import it when it is first needed: it takes a tenth of a second."""
    from deepdiff import DeepDiff

    return DeepDiff


def _by_place(difference: Difference) -> list[tuple[int, str]]:
    return [(array_index(token) or 0, token) for token in difference[1]]


def _parts(value: Json) -> int:
    """Count what a comparison looks at; far too much where a value is deep or has very long lines."""
    if type(value) is str:
        lines = value.count("\n") + 1
        return lines if len(value) <= lines * COMPARED_LINE_CHARACTERS_MAX else COMPARED_PARTS_MAX + 1
    if has_more_parts(value, COMPARED_PARTS_MAX) or not is_within_depth(value, COMPARED_DEPTH_MAX):
        return COMPARED_PARTS_MAX + 1
    count, waiting = 0, [value]
    while waiting:
        part = waiting.pop()
        if type(part) is dict or type(part) is list:
            waiting.extend(part.values() if type(part) is dict else part)
            count += 1
        else:
            count += _parts(part) if type(part) is str else 1
    return count


def _show(value: Json | Absent) -> str:
    """Show a value as JSON, in one line; what is long is cut, and what has many parts is told by its size."""
    if (type(value) is dict or type(value) is list) and has_more_parts(value, SHOWN_PARTS_MAX):
        return _measured(value)
    cut = value[:SHOWN_CHARACTERS_MAX] if type(value) is str else value
    shown = _printable(encode(cut).decode())
    if len(shown) > SHOWN_CHARACTERS_MAX:
        return f"{shown[:SHOWN_CHARACTERS_MAX]}…"
    return shown if cut is value or cut == value else f"{shown[:-1]}…"


def _measured(value: Json | Absent) -> str:
    match value:
        case dict():
            return f"an object of {_count(len(value), 'member')}"
        case list():
            return f"an array of {_count(len(value), 'element')}"
        case str():
            return f"a text of {_count(len(value), 'character')}"
        case _:
            return _show(value)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _shown(path: Tokens) -> str:
    return _printable(format_pointer(path)) if path else "the document"


def _printable(text: str) -> str:
    """Put a mark for what would move a cursor, end a line, or turn the direction of what is read."""
    if text.isprintable():
        return text
    return "".join(
        [each if each.isprintable() or each == "\t" else "\N{REPLACEMENT CHARACTER}" for each in text]
    )
