"""Real edit histories, cut into edits that several people make at once."""

import gzip
import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

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
    """Cut a history into windows of `lag` edits. Raises ReplayRefused where a patch does not apply.

    The patches of a history were made one after the other. Each is rewritten here as its author would have
    made it without having seen the others of its window: rebased over the way back from the value it was
    made on to the window's base. Where it undoes or extends another edit of the window it is written with
    its own values; two such edits will conflict, as they would have.
    """
    cut = []
    value = history.first
    patches = history.patches[:steps_max]
    for start in range(0, len(patches), lag):
        base, edits = value, []
        for number, patch in enumerate(patches[start : start + lag], start + 1):
            try:
                edits.append(_as_if_unseen(base, value, patch))
                value = apply(value, patch)
            except (Inapplicable, LimitExceeded, MalformedPatch) as error:
                raise ReplayRefused(
                    f"Step {number} of {history.document} does not apply: {error}."
                ) from error
        cut.append(Window(base, tuple(edits), value))
    return cut


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        start = file.read(6)
    if start == b"\xfd7zXZ\x00":
        return lzma.open(path)
    return gzip.open(path) if start[:2] == b"\x1f\x8b" else path.open("rb")


def _history(number: int, line: bytes) -> History:
    try:
        read: Any = wire.decode(line)
        name = _ID.sub("-", f"{read.get('repo', '')}-{read.get('path', '')}")[-ID_CHARACTERS_MAX:].strip("-.")
        patches = tuple(step["patch"] for step in read["steps"])
        return History(f"histories/{number}-{name}", read["first"]["value"], patches)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReplayRefused(f"Line {number} is not an edit history: {error!r}.") from error


def _as_if_unseen(base: Json, seen: Json, patch: Patch) -> Patch:
    if seen is base:
        return patch
    answer = rebase(seen, [diff(seen, base)], patch)
    if isinstance(answer, Rebased):
        return answer.patch
    if isinstance(answer, Conflicted):
        return resolve(base, answer, {c.id: favoured(c.resolutions) for c in answer.conflicts})
    raise answer


def favoured(resolutions: dict[str, Any]) -> Any:
    """Choose the later edit, where it can be chosen at all."""
    return "yours" if "yours" in resolutions else "theirs"
