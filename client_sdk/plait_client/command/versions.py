"""Merging three versions of one JSON file: texts in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from plait_client.command.rewriting import LIMITS, rewritten
from plait_client.command.style import detect
from plait_client.command.written import Written
from plait_merge import (
    ABSENT,
    Absent,
    Conflict,
    Conflicted,
    Json,
    LimitExceeded,
    Merged,
    Policy,
    apply,
    diff,
    merge,
    resolve,
)
from plait_merge.outcome import Choice


@dataclass(frozen=True, slots=True)
class Versions:
    """What both sides started from, and what each made of it. An empty file is no document."""

    base: Written
    theirs: Written
    yours: Written

    def merge(self, policy: Policy | None = None) -> Merged | Conflicted:
        """Merge the values. Raises LimitExceeded."""
        outcome = merge(self.base.value, self.theirs.value, self.yours.value, policy, limits=LIMITS)
        if isinstance(outcome, LimitExceeded):
            raise outcome
        return outcome

    def text(self, value: Json | Absent) -> str:
        """Write what came of the merge.

        It is written into yours, so whatever yours has stays as it stands there, and what is new stands as it
        does in theirs. Where only theirs changed the layout of the file it is the other way round.
        """
        if self.theirs.text == self.base.text:
            host, other = self.yours, self.theirs
        elif self.yours.text == self.base.text or self._is_laid_out_by_theirs():
            host, other = self.theirs, self.yours
        else:
            host, other = self.yours, self.theirs
        if host.value is ABSENT and other.value is not ABSENT:
            host, other = other, host
        patch = diff(host.value, value, LIMITS)
        return rewritten(host, patch, sources=(other, self.base), order=other.value, base=self.base.value)

    def _is_laid_out_by_theirs(self) -> bool:
        base, theirs, yours = (detect(side.text) for side in (self.base, self.theirs, self.yours))
        return base == yours != theirs is not None


def settled(versions: Versions, outcome: Merged | Conflicted, choices: Mapping[str, Choice]) -> Json | Absent:
    """Give the value with what was chosen, by conflict id; yours where nothing was.

    Raises ChoiceError for a choice that its conflict does not offer.
    """
    if isinstance(outcome, Merged):
        return outcome.value
    chosen = {conflict.id: choices.get(conflict.id, kept(conflict)) for conflict in outcome.conflicts}
    theirs = versions.theirs.value
    return apply(theirs, resolve(theirs, outcome, chosen), LIMITS)


def kept(conflict: Conflict) -> Choice:
    """Give what stands in the file until a conflict is settled: yours, where that can be had."""
    return "theirs" if conflict.kind == "guard" else "yours"
