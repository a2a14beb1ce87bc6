"""A JSON file as somebody wrote it: its text, its value, and where in it something is wrong."""

from __future__ import annotations

import codecs
import errno
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
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


def save(path: Path, content: bytes, *, like: Path | None = None) -> None:
    """Put a file's new content in its place at once, so that nobody ever sees half of it. Raises OSError.

    Through a symbolic link the file it points to is written; the mode stays, and a file that may not be
    written is not replaced either. A new one gets the mode of *like*, if that is there. Nothing is written
    where nothing changed.
    """
    try:
        if has_content(path):
            _replace(path, content, like if like is not None and not path.exists() else path)
        else:
            path.write_bytes(content)
    except OSError as error:  # it may be about the draft, which nobody has heard of
        raise OSError(error.errno, error.strerror, str(path)) from error


def has_content(path: Path) -> bool:
    """Tell a file, there or to be, from a pipe, a device or a folder, which have no content to replace."""
    return path.is_file() or not path.exists()


def _replace(path: Path, content: bytes, like: Path) -> None:
    if path.exists():
        if path.read_bytes() == content:
            return
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    place = os.path.realpath(path)
    # A name that nobody can foresee, and private until it is complete: what is in the file may be secret.
    draft = os.path.join(os.path.dirname(place), f".plait-{os.urandom(8).hex()}")
    known = os.stat(like) if like.exists() else None
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if known is None else 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        if known is not None:
            if sys.platform != "win32":
                with suppress(PermissionError):  # only root gives files away
                    os.chown(draft, known.st_uid, known.st_gid)
            os.chmod(draft, stat.S_IMODE(known.st_mode))
        os.replace(draft, place)
    except BaseException:
        os.unlink(draft)
        raise


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
    return sentence[:1].lower() + sentence[1:].removesuffix(" at")


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
