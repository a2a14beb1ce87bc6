"""Merging three whole values: each side is made a patch first, then it is the same engine."""

from __future__ import annotations

from plait_merge.diff import diff
from plait_merge.outcome import Conflicted, Merged
from plait_merge.patch import Inapplicable
from plait_merge.policy import Policy
from plait_merge.rebase import rebase
from plait_merge.values import LIMITS, Absent, Json, LimitExceeded, Limits


def merge(
    base: Json | Absent,
    theirs: Json | Absent,
    yours: Json | Absent,
    policy: Policy | None = None,
    *,
    limits: Limits = LIMITS,
) -> Merged | Conflicted | LimitExceeded:
    """Merge what *theirs* and *yours* made of *base*.

    Which element of an array became which is guessed by `diff`; where the patches are known, `rebase` knows.
    """
    outcome = rebase(base, [diff(base, theirs)], diff(base, yours), policy, limits=limits)
    if isinstance(outcome, Inapplicable):  # a patch made by diff applies to what it was made for
        raise AssertionError(outcome)
    if isinstance(outcome, (Conflicted, LimitExceeded)):
        return outcome
    return Merged(outcome.value, outcome.patch, outcome.notes)
