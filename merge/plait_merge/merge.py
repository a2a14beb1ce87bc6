"""Merging three whole values: each side is made a patch first, then it is the same engine."""

from __future__ import annotations

from dataclasses import replace

from plait_merge.alignment import Aligner
from plait_merge.diff import diff, operations_between
from plait_merge.ground import Ground
from plait_merge.outcome import Conflict, Conflicted, Facet, Merged
from plait_merge.patch import Inapplicable
from plait_merge.pointer import format_pointer, parse_pointer
from plait_merge.rebase import rebase
from plait_merge.values import LIMITS, Absent, Json, LimitExceeded, Limits


def merge(
    base: Json | Absent,
    theirs: Json | Absent,
    yours: Json | Absent,
    policy: None = None,
    *,
    limits: Limits = LIMITS,
) -> Merged | Conflicted | LimitExceeded:
    """Merge what *theirs* and *yours* made of *base*.

    Which element of an array became which is guessed (alignment.py), the same way for both sides; where the
    patches are known, `rebase` knows. What both inserted alike counts once (ground.py).
    """
    aligner = Aligner(limits.depth_max)
    unbound = replace(limits, operations_max=_ANY, pointer_bytes_max=_ANY)
    ground = Ground(base, theirs, yours, aligner)
    sides = [tuple(operations_between(ground.value, side, aligner, unbound)) for side in (theirs, yours)]
    outcome = rebase(ground.value, sides[:1], sides[1], policy, limits=unbound)
    if isinstance(outcome, Inapplicable):  # a patch made by diff applies to what it was made for
        raise AssertionError(outcome)
    if isinstance(outcome, LimitExceeded):
        return outcome
    if isinstance(outcome, Conflicted):
        return outcome if ground.is_base else _on_base(outcome, base, ground)
    patch = outcome.patch
    return Merged(outcome.value, patch, outcome.notes)


_ANY = 1 << 62


def _on_base(conflicted: Conflicted, base: Json | Absent, ground: Ground) -> Conflicted:
    """Tell of conflicts found on the ground as base has them."""
    return replace(
        conflicted, conflicts=tuple([_told(conflict, base, ground) for conflict in conflicted.conflicts])
    )


def _told(conflict: Conflict, base: Json | Absent, ground: Ground) -> Conflict:
    tokens, there = ground.in_base(base, parse_pointer(conflict.pointer))
    facet = Facet(there) if conflict.base.present else conflict.base
    return replace(conflict, pointer=format_pointer(tokens), base=facet)
