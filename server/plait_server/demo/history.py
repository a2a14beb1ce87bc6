"""Real edit histories, cut into edits that several people make at once."""

import gzip
import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from plait_merge import (
    Conflicted,
    Inapplicable,
    Json,
    LimitExceeded,
    MalformedPatch,
    Rebased,
    apply,
    diff,
    rebase,
    resolve,
    same,
)
from plait_server import wire
from plait_server.demo.client import Patch

_ID: Final = re.compile(r"[^A-Za-z0-9._-]+")
ID_CHARACTERS_MAX: Final = 120


class ReplayRefused(Exception):
    """The file cannot be replayed; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class History:
    """The first value of a document and the patches that were made to it, each on the value before it."""

    document: str
    first: Json
    patches: tuple[Patch, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive edits, all of them written as patches on `base`; the real history then had `target`."""

    base: Json
    edits: tuple[Patch, ...]
    target: Json


def read_histories(path: Path) -> Iterator[History]:
    """Read a file of JSON lines, plain, gzip or xz. Raises ReplayRefused."""
    try:
        with _opened(path) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _history(number, line)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ReplayRefused(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def windows(history: History, lag: int, steps_max: int | None = None) -> list[Window]:
    """Cut a history into windows of at most `lag` edits. Raises ReplayRefused where a patch does not apply.

    The patches of a history were made one after the other. Each is rewritten as its author would have made
    it without having seen the others of its window: rebased over the way back to the window's base. Two that
    set one thing will conflict, as they would have. One that builds on another (it edits or removes what the
    other has added) has no meaning without it, and begins the next window.
    """
    cut: list[Window] = []
    window = Window(history.first, (), history.first)
    seen: list[Patch] = []
    for number, patch in enumerate(history.patches[:steps_max], 1):
        try:
            target = apply(window.target, patch)
            edit = _as_if_unseen(window, seen, patch, target) if len(seen) < lag else None
        except (Inapplicable, LimitExceeded, MalformedPatch) as error:
            raise ReplayRefused(f"Step {number} of {history.document} does not apply: {error}.") from error
        if edit is None:
            cut.append(window)
            window, seen, edit = Window(window.target, (), window.target), [], patch
        window = Window(window.base, (*window.edits, edit), target)
        seen.append(patch)
    return [*cut, window] if window.edits else cut


def _as_if_unseen(window: Window, seen: list[Patch], patch: Patch, target: Json) -> Patch | None:
    """Rewrite *patch*, which leads to *target*, for the window's base; None where it builds on the others."""
    if not seen:
        return patch
    answer = rebase(window.target, [diff(window.target, window.base)], patch)
    if isinstance(answer, Conflicted):
        choices = {conflict.id: favoured(conflict.resolutions) for conflict in answer.conflicts}
        edit = resolve(window.base, answer, choices)
    elif isinstance(answer, Rebased):
        edit = answer.patch
    else:
        return None
    again = rebase(window.base, seen, edit)
    means_the_same = isinstance(again, Conflicted) or (
        isinstance(again, Rebased) and same(again.value, target)
    )
    return edit if means_the_same else None


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        start = file.read(6)
    if start == b"\xfd7zXZ\x00":
        return cast(BinaryIO, lzma.open(path))
    return cast(BinaryIO, gzip.open(path)) if start[:2] == b"\x1f\x8b" else path.open("rb")


def _history(number: int, line: bytes) -> History:
    try:
        read: Any = wire.decode(line)
        name = _ID.sub("-", f"{read.get('repo', '')}-{read.get('path', '')}")[-ID_CHARACTERS_MAX:].strip("-.")
        patches = tuple(step["patch"] for step in read["steps"])
        return History(f"histories/{number}-{name}".strip("-"), read["first"]["value"], patches)
    except KeyError as error:
        raise ReplayRefused(f"Line {number} is not an edit history: it has no member {error}.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ReplayRefused(f"Line {number} is not an edit history: {error}.") from error


def favoured(resolutions: dict[str, Any]) -> Any:
    """Choose the later edit, where it can be chosen at all."""
    return "yours" if "yours" in resolutions else "theirs"
