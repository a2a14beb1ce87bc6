"""A JSON file as somebody wrote it: its text, its value, and where in it something is wrong."""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plait_client.command.span import entries
from plait_merge import (
    ABSENT,
    LIMITS,
    Absent,
    InvalidValue,
    Json,
    LimitExceeded,
    Limits,
    check_value,
    parse_pointer,
)

STDIN: Final = "-"


@dataclass(frozen=True, slots=True)
class Written:
    """A JSON text and its value; `name` is for people. An empty text has no value: it is ABSENT."""

    name: str
    text: str
    value: Json | Absent
    marked: bool = False
    """Whether the file starts with a byte order mark, which is not part of the text."""

    def encoded(self, text: str) -> bytes:
        """Encode a new text for this file as the old one was."""
        return (codecs.BOM_UTF8 if self.marked else b"") + text.encode()


class BadFile(Exception):
    """A file that cannot be read, or is not JSON. The message says which, where and why, in one line."""


def read(file: str, name: str | None = None, *, limits: Limits = LIMITS) -> Written:
    """Read a file, or standard input for "-"; *name* is what messages call it. Raises BadFile."""
    if file == STDIN:
        return parse(name or "standard input", sys.stdin.buffer.read(), limits)
    try:
        content = Path(file).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadFile(f"{name or file}: {reason}") from error
    return parse(name or file, content, limits)


def save(path: Path, content: bytes) -> None:
    """Put a file's new content in its place at once, so that nobody ever sees half of it. Raises OSError.

    Through a symbolic link the file it points to is written; the mode stays. Nothing is written where
    nothing changed.
    """
    path = path.resolve()
    if not path.is_file():  # a new one, or a pipe or a device, which has no content to replace
        path.write_bytes(content)
    elif path.read_bytes() != content:
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_bytes(content)
            draft.chmod(path.stat().st_mode & 0o7777)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def parse(name: str, content: bytes, limits: Limits = LIMITS) -> Written:
    """Read JSON strictly: UTF-8, every member name once in an object, numbers a double can hold.

    Costs about twice the standard parser. Raises BadFile.
    """
    marked = content.startswith(codecs.BOM_UTF8)
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise BadFile(f"{name}: byte {error.start} is not UTF-8") from None
    return Written(name, text, _value(name, text, limits) if text.strip(_SPACE) else ABSENT, marked)


_SPACE: Final = " \t\n\r"


def _value(name: str, text: str, limits: Limits) -> Json:
    try:
        value = _strict(text)
        check_value(value, limits)
    except json.JSONDecodeError as error:
        raise BadFile(f"{name}:{error.lineno}:{error.colno}: {_as_phrase(error.msg)}") from None
    except _Fault as fault:
        raise BadFile(f"{_place(name, text, _faulty(text))}: {fault}") from None
    except InvalidValue as invalid:
        raise BadFile(f"{_place(name, text, _start(text, invalid.pointer))}: {invalid.reason}") from None
    except LimitExceeded as exceeded:
        reason = _REASONS.get(exceeded.limit, str(exceeded))
        raise BadFile(f"{_place(name, text, _start(text, exceeded.pointer))}: {reason}") from None
    except RecursionError:
        raise BadFile(f"{name}: {_REASONS['depth']}") from None
    except ValueError:  # the interpreter's own bound on the digits of an integer
        raise BadFile(f"{name}: {_REASONS['integer_digits']}") from None
    return value


def _strict(text: str) -> Json:
    try:
        return _DECODER.decode(text)
    except _Fault:
        json.loads(text)  # whoever looks for the place of a fault wants a text that is not broken elsewhere
        raise


class _Fault(Exception):
    """What the standard parser lets pass and JSON does not."""


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _Fault("a member name stands twice in one object")
    return members


def _constant(word: str) -> Json:
    raise _Fault(f"{word} is not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_constant)
_REASONS: Final = {
    "depth": f"nested more than {LIMITS.depth_max} levels deep",
    "integer_digits": f"an integer of more than {LIMITS.integer_digits_max:,} digits",
}


def _as_phrase(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _place(name: str, text: str, position: int) -> str:
    """Say where something is the way compilers do: name:line:column."""
    line = text.count("\n", 0, position) + 1
    return f"{name}:{line}:{position - text.rfind(chr(10), 0, position)}"


def _start(text: str, pointer: str) -> int:
    """Find where the value at a pointer starts."""
    start = _first(text)
    for token in parse_pointer(pointer):
        found, _ = entries(text, start)
        start = next(e.start for n, e in enumerate(found) if token == (str(n) if e.name is None else e.name))
    return start


def _first(text: str) -> int:
    return len(text) - len(text.lstrip(_SPACE))


def _faulty(text: str) -> int:
    """Find the first place of a fault that is known to be somewhere."""
    return next(_faults(text, _first(text)), 0)


def _faults(text: str, start: int) -> Iterator[int]:
    if text.startswith(("NaN", "Infinity", "-Infinity"), start):
        yield start
    if text[start] not in "{[":
        return
    seen: set[str] = set()
    for entry in entries(text, start)[0]:
        if entry.name is not None and entry.name in seen:
            yield entry.titled
        elif entry.name is not None:
            seen.add(entry.name)
        yield from _faults(text, entry.start)
