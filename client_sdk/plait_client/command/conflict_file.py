"""FILE.conflict.json: everything needed to settle the conflicts of a merge later."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from plait_client.command.terminal import Refusal, printable
from plait_client.command.versions import Versions
from plait_client.command.written import BadFile, Written, parse, read, save
from plait_merge import LIMITS, Conflict, Conflicted, Json

SUFFIX: Final = ".conflict.json"


@dataclass(frozen=True, slots=True)
class ConflictFile:
    """The three versions a merge began with, the rules it went by, and what has been chosen since.

    `decided` is by conflict id. The conflicts themselves follow from the versions; they are in the file for
    other programs. It is about as large as the three versions together.
    """

    path: Path
    versions: Versions
    rules: Json = None
    decided: Mapping[str, Json] = field(default_factory=dict)

    @staticmethod
    def beside(file: str) -> Path:
        """Give the place for the conflicts of a file."""
        return Path(file + SUFFIX)

    @staticmethod
    def read(path: Path) -> ConflictFile:
        """Read what `write` has written. Raises BadFile and Refusal.

        No link is followed: in a repository of strangers it may lead to any file of yours, and `write` would
        put there what they like.
        """
        if path.is_symlink():
            raise Refusal(f"{path} is a symbolic link")
        value: Any = read(str(path), limits=_LIMITS).value
        try:
            if value["plait"] != _MARK:
                raise Refusal(f"{path} was not written by plait merge")
            return ConflictFile(path, _versions(value), value["rules"], dict(value["decided"]))
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise Refusal(f"{path} was not written by plait merge, or has been changed since") from error

    def deciding(self, choices: Mapping[str, Json]) -> ConflictFile:
        return replace(self, decided={**self.decided, **choices})

    def open(self, outcome: Conflicted) -> list[Conflict]:
        return [conflict for conflict in outcome.conflicts if conflict.id not in self.decided]

    def write(self, outcome: Conflicted) -> None:
        """Write the file; what stands there must be one of its kind."""
        self.check_place()
        content = {
            "plait": _MARK,
            "conflicts": [conflict.as_json() for conflict in self.open(outcome)],
            "decided": dict(self.decided),
            "rules": self.rules,
            **{side: _as_json(getattr(self.versions, side)) for side in _SIDES},
        }
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
        save(self.path, text.encode(), like=Path(str(self.path).removesuffix(SUFFIX)))

    def check_place(self) -> None:
        """Refuse to take the place of a file that is somebody's own."""
        if os.path.lexists(self.path):
            ConflictFile.read(self.path)

    def remove(self) -> None:
        """Remove the conflicts of an earlier merge, which say nothing any more."""
        try:
            ConflictFile.read(self.path)
        except (BadFile, Refusal):
            return
        self.path.unlink()


_MARK: Final = "conflict"
# A value stands deeper in here than in its own file.
_LIMITS: Final = replace(LIMITS, depth_max=LIMITS.depth_max + 8)
_SIDES: Final = ("base", "theirs", "yours")


def _as_json(side: Written) -> dict[str, Json]:
    return {"name": printable(side.name), "text": side.text}  # the name of a file need not be text


def _versions(value: Any) -> Versions:
    return Versions(*(parse(value[side]["name"], value[side]["text"].encode()) for side in _SIDES))
