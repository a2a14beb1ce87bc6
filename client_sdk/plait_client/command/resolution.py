"""Settling the conflicts of a file: choices in, the file's new text out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from plait_client.command.conflict_file import ConflictFile
from plait_client.command.kinds import listed, place
from plait_client.command.rewriting import LIMITS, rewritten
from plait_client.command.terminal import Refusal
from plait_client.command.versions import settled
from plait_client.command.written import BadFile, Written, parse
from plait_merge import (
    ABSENT,
    Absent,
    ChoiceError,
    Conflict,
    Conflicted,
    Json,
    LimitExceeded,
    Merged,
    Policy,
    diff,
    merge,
    same,
)
from plait_merge.outcome import Choice, Side

SIDES: Final[tuple[Side, ...]] = ("theirs", "yours", "base", "both")


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody chose for a conflict, and the text of it if they wrote a value."""

    choice: Choice
    typed: Written | None = None

    @staticmethod
    def to(text: str) -> Decision:
        """Decide for a value somebody wrote. Raises BadFile."""
        typed = parse("the value", text.encode())
        if typed.value is ABSENT:
            raise BadFile("the value: there is none")
        return Decision({"value": typed.value}, typed)


@dataclass(frozen=True, slots=True)
class Resolution:
    """A conflict file, what it comes to, and the file as it is now."""

    conflict_file: ConflictFile
    outcome: Merged | Conflicted
    file: Written

    @property
    def open(self) -> list[Conflict]:
        return self.conflict_file.open(self.outcome) if isinstance(self.outcome, Conflicted) else []

    def text(self, decisions: Mapping[str, Decision]) -> str:
        """Write the file with these decisions, by conflict id.

        What was edited in it since the merge stays. Raises Refusal where an edit and a choice are about one
        thing, and for a choice that is not offered.
        """
        choices = {name: decision.choice for name, decision in decisions.items()}
        typed = [decision.typed for decision in decisions.values() if decision.typed is not None]
        versions, decided = self.conflict_file.versions, self.conflict_file.decided
        try:
            before = settled(versions, self.outcome, decided)
            after = settled(versions, self.outcome, {**decided, **choices})
        except ChoiceError as error:
            raise Refusal(error.detail) from error
        value = after if same(self.file.value, before) else self._with_edits(before, after)
        patch = diff(self.file.value, value, LIMITS)
        sources = (*typed, versions.theirs, versions.yours, versions.base)
        return rewritten(self.file, patch, sources=sources, order=versions.theirs.value)

    def _with_edits(self, before: Json | Absent, after: Json | Absent) -> Json | Absent:
        """Carry what somebody edited in the file since the merge over to the value with the choices."""
        # By no policy, not even that of notebooks: what is typed here is nobody's second choice.
        outcome = merge(before, self.file.value, after, Policy(), limits=LIMITS)
        if isinstance(outcome, LimitExceeded):
            raise outcome
        if isinstance(outcome, Merged):
            return outcome.value
        places = listed(map(place, outcome.conflicts))
        raise Refusal(
            f"{self.file.name} was edited since the merge where a choice would change it: {places}. If that "
            f"settles it, remove {self.conflict_file.path}; else take the edit back"
        )


def offers(conflict: Conflict) -> list[str]:
    """Give the choices that have a meaning for a conflict, in the order they are shown."""
    sides: list[str] = [side for side in SIDES if side in conflict.resolutions]
    return sides if conflict.kind in _WITHOUT_VALUE else [*sides, "value"]


# Two places for one thing: no value says where it goes.
_WITHOUT_VALUE = ("guard", "move_move", "cycle")
