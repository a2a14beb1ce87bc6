"""Merging three whole values: each side is made a patch first, then it is the same engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from operator import is_

from plait_merge.alignment import Aligner
from plait_merge.diff import diff, operations_between
from plait_merge.fields import merge_fields
from plait_merge.ground import Ground, Order
from plait_merge.keys import Key
from plait_merge.notebook import NOTEBOOK_DEFAULT, is_notebook
from plait_merge.outcome import Conflict, Conflicted, Facet, Merged, Note, Patch
from plait_merge.patch import Inapplicable, Operation, Replay, apply, read_patch
from plait_merge.pointer import Tokens, array_index, format_pointer, parse_pointer
from plait_merge.policy import Policy
from plait_merge.rebase import rebase
from plait_merge.values import BOUNDLESS, LIMITS, Absent, Json, LimitExceeded, Limits


def merge(
    base: Json | Absent,
    theirs: Json | Absent,
    yours: Json | Absent,
    policy: Policy | None = None,
    *,
    limits: Limits = LIMITS,
) -> Merged | Conflicted | LimitExceeded:
    """Merge what *theirs* and *yours* made of *base*.

    Which element of an array became which is guessed (alignment.py), the same way for both sides; where the
    patches are known, `rebase` knows. What both inserted alike counts once (ground.py). Of notebooks,
    known by their shape, the policy is NOTEBOOK_DEFAULT where none is given.
    """
    if policy is None and all(map(is_notebook, (base, theirs, yours))):
        policy = NOTEBOOK_DEFAULT
    try:
        if policy is None and (merged := merge_fields(base, theirs, yours, limits.depth_max)) is not None:
            return _submittable(theirs, merged, limits)
        return _merged(base, theirs, yours, policy, limits)
    except LimitExceeded as refusal:
        return refusal


def _merged(
    base: Json | Absent, theirs: Json | Absent, yours: Json | Absent, policy: Policy | None, limits: Limits
) -> Merged | Conflicted | LimitExceeded:
    """Make each side a patch, and merge these. Raises LimitExceeded, too."""
    unbound = replace(limits, operations_max=_ANY, pointer_bytes_max=_ANY)
    aligner = Aligner(limits.depth_max)
    if policy is not None and policy.names:
        aligner.asked.update(_keys_asked_for(base, policy))
    ground = Ground(base, theirs, yours, aligner, policy)
    here, there = (
        tuple(operations_between(ground.value, side, aligner, unbound)) for side in (theirs, yours)
    )
    if policy is not None:
        policy = policy.knowing(ground.strict_keys())
    outcome = rebase(ground.value, [here], there, policy, limits=unbound)
    if isinstance(outcome, Inapplicable):  # a patch made by diff applies to what it was made for
        raise AssertionError(outcome)
    if isinstance(outcome, LimitExceeded):
        return outcome
    notes = (*outcome.notes, *_keys_used(ground))
    if isinstance(outcome, Conflicted):
        return replace(outcome, conflicts=_told_of_base(outcome, base, ground), notes=notes)
    value, patch = outcome.value, outcome.patch
    if ground.orders:
        patch = _in_order(theirs, patch, ground.orders)
        value = apply(theirs, patch, unbound)
    return _submittable(theirs, Merged(value, patch, notes), limits)


def _keys_asked_for(base: Json | Absent, policy: Policy) -> Iterator[tuple[int, Key | None]]:
    """Give what the policy says names the elements of the arrays in base. O(base)."""
    waiting: list[tuple[Tokens, Json]] = [((), base)]
    while waiting:
        path, value = waiting.pop()
        if type(value) is dict:
            waiting += [((*path, name), part) for name, part in value.items()]
        elif type(value) is list:
            rule = policy.at(path)
            if rule.array == "keyed":
                yield id(value), rule.key
            elif rule.keys == "off":
                yield id(value), None
            waiting += [((*path, str(index)), part) for index, part in enumerate(value)]


_ANY = 1 << 62


def _keys_used(ground: Ground) -> Iterator[Note]:
    for path, key in ground.keys.items():
        yield Note("inferred_key", None, format_pointer(path), key)


def _in_order(theirs: Json, patch: Patch, orders: list[Order]) -> Patch:
    """Give the patch with what yours inserted behind theirs put where the order of the neighbours has it.

    An insertion is known by the very values inserted, and by theirs' run in front of it. Numbers and strings
    may be one object in many places: the first run that fits is meant, and each once.
    """
    waiting: defaultdict[tuple[int, int], list[Order]] = defaultdict(list)
    for order in orders:
        waiting[id(order.theirs[-1]), id(order.yours[0])].append(order)
    operations = list(read_patch(patch, BOUNDLESS))
    replay = Replay(theirs)
    for number, operation in enumerate(operations):
        array, index = _insertion(replay, operation)
        runs = waiting.get((id(array[index - 1]), id(operation.value)), []) if index else []
        at = next((n for n, run in enumerate(runs) if _inserts(run, array, index, operations, number)), None)
        if at is not None:
            order = runs.pop(at)
            first = index - len(order.theirs)
            for n, place in enumerate(order.places):
                path = (*operation.path[:-1], str(first + place + n))
                operations[number + n] = operations[number + n]._replace(path=path)
        replay.step(operations[number])
    return [operation.as_json() for operation in operations]


def _insertion(replay: Replay, operation: Operation) -> tuple[list[Json], int]:
    """Give the array that an operation inserts into, and where; 0 for the front, and where it does not."""
    path = operation.path
    if operation.op != "add" or not path or type(array := replay.find(path[:-1])) is not list:
        return [], 0
    return array, array_index(path[-1]) or 0


def _inserts(order: Order, array: list[Json], index: int, operations: list[Operation], number: int) -> bool:
    """Tell whether the operations from a number on insert yours' run right behind theirs', at an index."""
    run = operations[number : number + len(order.yours)]
    path = run[0].path[:-1]
    return (
        index >= len(order.theirs)
        and all(map(is_, array[index - len(order.theirs) : index], order.theirs))
        and all(map(is_, (o.value for o in run), order.yours))
        and [(*path, str(index + n)) for n in range(len(order.yours))]
        == [o.path for o in run if o.op == "add"]
    )


def _submittable(theirs: Json, merged: Merged, limits: Limits) -> Merged:
    """Give the merge with a patch that could be submitted."""
    if _is_within(merged.patch, limits):
        return merged
    return replace(merged, patch=diff(theirs, merged.value, limits))


def _is_within(patch: Patch, limits: Limits) -> bool:
    """Tell whether a patch could be submitted, being neither too long nor with pointers that are."""
    return len(patch) <= limits.operations_max and all(
        4 * len(operation[pointer]) <= limits.pointer_bytes_max
        or len(operation[pointer].encode("utf-8", "surrogatepass")) <= limits.pointer_bytes_max
        for operation in patch
        for pointer in ("path", "from")
        if pointer in operation
    )


def _told_of_base(conflicted: Conflicted, base: Json | Absent, ground: Ground) -> tuple[Conflict, ...]:
    """Give conflicts that were found on the ground as base has them."""
    if ground.value is base:
        return conflicted.conflicts
    return tuple([_told(conflict, base, ground) for conflict in conflicted.conflicts])


def _told(conflict: Conflict, base: Json | Absent, ground: Ground) -> Conflict:
    tokens, there = ground.in_base(base, parse_pointer(conflict.pointer))
    return replace(conflict, pointer=format_pointer(tokens), base=Facet(there))
