"""Rebasing: your patch, made against base, turned into one that applies to theirs and does what you meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain as joined
from typing import Any, TypeAlias

from plait_merge.outcome import Choice, Conflicted, Note, Patch, Rebased
from plait_merge.patch import Inapplicable, Operation, apply_operations, read_patch, without_increments
from plait_merge.places import compare_places
from plait_merge.policy import Policy
from plait_merge.report import report
from plait_merge.settlement import ChoiceError, Settlement
from plait_merge.touch import TouchIndex, adds_up, written
from plait_merge.values import LIMITS, Absent, Json, LimitExceeded, Limits, find, same
from plait_merge.weave import Weave

AnyPatch: TypeAlias = Sequence[Mapping[str, Any]] | tuple[Operation, ...]


def rebase(
    base: Json | Absent,
    theirs: Sequence[AnyPatch],
    yours: AnyPatch,
    policy: Policy | None = None,
    *,
    limits: Limits = LIMITS,
) -> Rebased | Conflicted | Inapplicable | LimitExceeded:
    """Rebase *yours*, made against *base*, over *theirs*: patches in order, the first made against base.

    Patches are RFC 6902, or what `read_patch` made of them. Nothing passed in is changed; values in the
    result are shared with it. `Inapplicable` means yours does not apply to base: the caller's mistake, never
    a conflict. O(operations x depth), and the width of the containers on the way; not the size of base.

    A *policy* decides, per place, what would else be conflicts. Raises MalformedPatch for what is no patch
    and ValueError for *theirs* that do not apply to base.
    """
    operations = _read(yours, limits)
    try:
        applied = apply_operations(base, operations, limits)
        chain = [_read(patch, limits) for patch in theirs]
    except (Inapplicable, LimitExceeded) as refusal:
        return refusal
    if not chain:
        return _forward(base, applied, operations)
    head = _replayed(base, chain, limits)
    if not _is_touched(chain, operations, policy) or (
        policy is None and adds_up(base, joined.from_iterable(chain), operations)
    ):
        return _carried(base, head, applied, operations, limits)
    outcome = compare_places(base, chain, operations, policy)
    if outcome is None:
        return _woven(head, Weave(base, chain, operations, policy), limits)
    return outcome if isinstance(outcome, Conflicted) else _applied(head, *outcome, limits)


def carry(
    base: Json | Absent, head: Json | Absent, yours: AnyPatch, *, limits: Limits = LIMITS
) -> Rebased | Inapplicable | LimitExceeded:
    """Rebase *yours* from *base* to *head*, where nobody touched what it reads or writes in between.

    The caller has asked a `TouchIndex`. Costs two applications of the patch, however far head is.
    """
    operations = _read(yours, limits)
    try:
        return _carried(base, head, apply_operations(base, operations, limits), operations, limits)
    except (Inapplicable, LimitExceeded) as refusal:
        return refusal


def resolve(theirs: Json | Absent, conflicted: Conflicted, choices: Mapping[str, Choice]) -> Patch:
    """Settle *conflicted*: one choice for each conflict's id, and the clean part of yours with them.

    A choice is "theirs", "yours", "base", "both" or {"value": anything}. Return a patch against *theirs*, the
    value the conflict was found on. Raises ChoiceError for one missing, unknown or without meaning.
    """
    return conflicted._settlement.patch(conflicted.conflicts, choices)


def _read(patch: AnyPatch, limits: Limits) -> tuple[Operation, ...]:
    return patch if type(patch) is tuple else read_patch(patch, limits)


def _replayed(base: Json | Absent, chain: Sequence[tuple[Operation, ...]], limits: Limits) -> Json | Absent:
    head = base
    for index, operations in enumerate(chain):
        try:
            head = apply_operations(head, operations, limits)
        except Inapplicable as error:
            raise ValueError(f"theirs[{index}] does not apply: {error}") from error
    return head


def _is_touched(
    chain: Sequence[tuple[Operation, ...]], operations: Sequence[Operation], policy: Policy | None
) -> bool:
    touched = TouchIndex(policy)
    for patch in chain:
        touched.record(patch, 1)
    return touched.overlaps(operations, 0)


def _woven(head: Json | Absent, weave: Weave, limits: Limits) -> Rebased | Conflicted | LimitExceeded:
    settlement = None if weave.is_clean and not weave.is_ruled else Settlement(lambda: weave)
    if settlement is not None and (settlement.failed or settlement.open):
        return report(weave, settlement)
    notes = weave.notes()  # before theirs is written on
    if settlement is None or not weave.knots:
        return _applied(head, weave.write(), notes, limits)
    return _applied(head, settlement.clean_patch(), (*notes, *settlement.notes()), limits)


def _applied(
    head: Json | Absent, patch: Patch, notes: tuple[Note, ...], limits: Limits
) -> Rebased | LimitExceeded:
    try:
        return Rebased(apply_operations(head, read_patch(patch, limits), limits), patch, notes)
    except LimitExceeded as refusal:
        return refusal


def _carried(
    base: Json | Absent,
    head: Json | Absent,
    applied: Json | Absent,
    operations: tuple[Operation, ...],
    limits: Limits,
) -> Rebased | Inapplicable | LimitExceeded:
    """Rebase what gives *applied* on base to a head that nobody it concerns has touched since."""
    if head is base:
        return _forward(base, applied, operations)
    kept = tuple(operation for operation in operations if operation.op != "test")
    try:
        return _forward(head, apply_operations(head, kept, limits), kept)
    except (Inapplicable, LimitExceeded) as refusal:
        return refusal


def _forward(head: Json | Absent, value: Json | Absent, operations: Sequence[Operation]) -> Rebased:
    """Answer with *operations* as they are, nobody being in their way; what was added up is a `replace`."""
    if changes_nothing(head, value, operations):
        return Rebased(head, [])
    for operation in operations:
        if operation.op == "inc":
            operations = without_increments(head, operations)
            break
    return Rebased(value, [o.as_json() for o in operations if o.op != "test"])


def changes_nothing(before: Json | Absent, after: Json | Absent, operations: Sequence[Operation]) -> bool:
    """Say whether *operations*, which led from *before* to *after*, wrote only what was there.

    Costs the size of what they wrote, each place once: a thousand moves in one array write one place.
    """
    touched = dict.fromkeys(path for operation in operations for path in written(operation))
    return all(same(find(before, path), find(after, path)) for path in touched)


__all__ = ["ChoiceError", "carry", "changes_nothing", "rebase", "resolve"]
