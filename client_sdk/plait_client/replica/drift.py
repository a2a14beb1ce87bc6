"""What others did, seen from a stack of edits that did not know of it.

The edits were made one on the other, the first on a value that the server has moved on from since. Their
author sees that value and his own edits: the view. What leads from the view to what is real is the drift.
An edit is rebased over the drift alone, so everything the edits before it made keeps its identity; then
view and real value both take a step, and the drift is rebased over the edit. Where it comes out empty, view
and real value are one, and the edits that are left stay as they are.

The server does the same for edits made on edits that were not answered yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Final, TypeAlias

from plait_client.replica.edit import Operations
from plait_client.replica.weight import weight
from plait_merge import (
    Absent,
    Conflicted,
    Inapplicable,
    Json,
    LimitExceeded,
    Limits,
    Operation,
    Rebased,
    TouchIndex,
    apply_operations,
    diff,
    invert,
    read_patch,
    rebase,
    same,
)

Refusal: TypeAlias = Conflicted | Inapplicable | LimitExceeded

ACCEPTED: Final = Limits(
    depth_max=10_000,
    operations_max=2**31,
    pointer_bytes_max=2**31,
    copied_bytes_max=2**31,
    value_bytes_max=2**31,
)
"""What was accepted once is not refused here."""
COMPARED: Final = Limits(depth_max=200)
"""Values nested deeper are not compared part by part."""
REPLAYED_WEIGHT_MAX: Final = 32_000_000
"""Two million operations are looked at for one drift, or as much in values; what meets it then is refused."""


class Drift:
    """What leads from `view`, which the next edit was made on, to `real`, which it is to be made on.

    The edits of the stack are handed over in order, each to one of `carry`, `absorb` and `leave`. An edit
    that touches nothing the drift touches costs two applications; any other one costs a rebase, which looks
    at each operation of the drift. That is bounded (REPLAYED_WEIGHT_MAX) over all edits together.
    """

    __slots__ = ("_copies", "_operations", "_touched", "_weight_left", "real", "view")
    view: Json | Absent
    real: Json | Absent

    def __init__(
        self,
        view: Json | Absent,
        operations: Operations,
        real: Json | Absent,
        replayed_weight_max: int = REPLAYED_WEIGHT_MAX,
    ) -> None:
        """*operations* lead from *view* to *real*; none: they are the same."""
        self._weight_left = replayed_weight_max
        self._lead(view, operations, real)

    @property
    def is_none(self) -> bool:
        """Whether view and real value are the same: every edit may stay as it is."""
        return not self._operations

    def carry(self, yours: Operations) -> Operations | Refusal:
        """Give the edit as it is on the real value, its tests with it, and take the step on both sides.

        Where that cannot be, nothing changes; then `leave` it.
        """
        if self.is_none:
            self.view = self.real = apply_operations(self.real, yours, ACCEPTED)
            return yours
        if not self._meets(yours):
            self.view = apply_operations(self.view, yours, ACCEPTED)
            self.real = apply_operations(self.real, yours, ACCEPTED)
            return yours
        if not self._may_look(yours):
            return LimitExceeded("replayed_weight")
        return self._carry_all(yours)

    def absorb(self, yours: Operations) -> None:
        """Take an edit into the view which the real value holds already: the server has saved it.

        It cannot be told which operations of the drift are the edit's. Where the rest can be had by
        agreement it is; otherwise the two values are compared.
        """
        yours = _without_tests(yours)
        view = apply_operations(self.view, yours, ACCEPTED)
        if len(self._operations) <= len(yours) and same(view, self.real):
            # There is nothing but the edit in it.
            self._lead(view, (), self.real)
            return
        rest = rebase(self.view, [yours], self._operations, limits=ACCEPTED)
        if isinstance(rest, Rebased) and same(rest.value, self.real):
            self._lead(view, read_patch(rest.patch, ACCEPTED), self.real)
        else:
            self._lead(view, between(view, self.real), self.real)

    def leave(self, yours: Operations) -> None:
        """Take an edit into the view which the real value does not hold: it is taken back there.

        Costs no comparison of documents: the drift stands as it is where it overwrites the edit anyway, else
        the inverse of the edit comes first.
        """
        yours = _without_tests(yours)
        before, view = self.view, apply_operations(self.view, yours, ACCEPTED)
        if self._leads_on_from(view):
            self.view = view
            return
        undone = read_patch(invert(before, [o.as_json() for o in yours], ACCEPTED), ACCEPTED)
        self._lead(view, (*undone, *self._operations), self.real)

    def arrive(self, value: Json | Absent) -> None:
        """Say what the real value is, where it is known better."""
        fix = () if same(self.real, value) else between(self.real, value)
        self._lead(self.view, (*self._operations, *fix), value)

    def _lead(self, view: Json | Absent, operations: Operations, real: Json | Absent) -> None:
        self.view = view if operations else real
        self.real = real
        self._operations = operations
        self._touched: TouchIndex | None = None

    def _meets(self, yours: Operations) -> bool:
        """Say whether either side reads or writes what the other writes."""
        if self._touched is None:
            self._touched = _touched_by(self._operations)
            self._copies = [operation for operation in self._operations if operation.op == "copy"]
        if self._touched.overlaps(yours, 0):
            return True
        return bool(self._copies) and _touched_by(yours).overlaps(self._copies, 0)

    def _may_look(self, yours: Operations) -> bool:
        if self._weight_left < 0:
            return False
        self._weight_left -= weight(self._operations) + weight(yours)
        return self._weight_left >= 0

    def _carry_all(self, yours: Operations) -> Operations | Refusal:
        """Carry an edit stretch by stretch, or not at all: each has its tests in front."""
        before = self.view, self._operations, self.real
        carried: list[Operation] = []
        stretches = list(_stretches(yours))
        for stretch in stretches:
            outcome = self._carry_stretch(stretch)
            if not isinstance(outcome, tuple):
                if len(stretches) == 1:
                    return outcome
                self._lead(*before)
                whole = rebase(self.view, [self._operations], yours, limits=ACCEPTED)
                return outcome if isinstance(whole, Rebased) else whole
            carried += outcome
        return tuple(carried)

    def _carry_stretch(self, stretch: Operations) -> Operations | Refusal:
        outcome = rebase(self.view, [self._operations], stretch, limits=ACCEPTED)
        if not isinstance(outcome, Rebased):
            return outcome
        carried: list[Operation] = []
        for guard in takewhile(_is_test, stretch):
            placed = self._carry_guard(guard)
            if not isinstance(placed, Operation):
                return placed
            carried.append(placed)
        self._step(_without_tests(stretch), outcome.value)
        return (*carried, *read_patch(outcome.patch, ACCEPTED))

    def _carry_guard(self, guard: Operation) -> Operation | Refusal:
        """Give a test as it is on the real value: what a change at its place would be made into says where.

        The change must be one: a value is never the same as a list that holds it.
        """
        probe = Operation("replace", guard.path, None, [guard.value])
        outcome = rebase(self.view, [self._operations], (probe,), limits=ACCEPTED)
        if not isinstance(outcome, Rebased):
            return outcome
        placed = guard._replace(path=read_patch(outcome.patch, ACCEPTED)[-1].path)
        try:
            apply_operations(self.real, (placed,), ACCEPTED)
        except Inapplicable as refusal:
            return refusal
        return placed

    def _step(self, yours: Operations, real: Json | Absent) -> None:
        """Take the step of an edit that led the real value to *real*, and rebase the drift over it."""
        rest = rebase(self.view, [yours], self._operations, limits=ACCEPTED)
        view = apply_operations(self.view, yours, ACCEPTED)
        if isinstance(rest, Rebased) and same(rest.value, real):
            self._lead(view, read_patch(rest.patch, ACCEPTED), real)
        else:
            # Seen from the other side two insertions at one place stand in the other order.
            self._lead(view, between(view, real), real)

    def _leads_on_from(self, view: Json | Absent) -> bool:
        """Say whether the drift, as it stands, leads from *view* to the real value too."""
        if self.is_none or not self._may_look(()):
            return False
        try:
            return same(apply_operations(view, self._operations, ACCEPTED), self.real)
        except Inapplicable:
            return False


def between(before: Json | Absent, after: Json | Absent) -> Operations:
    """Give what leads from one value to another, guessing what is what; O(size) of what they do not share."""
    try:
        return read_patch(diff(before, after, COMPARED), ACCEPTED)
    except LimitExceeded:
        return (Operation("replace", (), None, after),)


def _touched_by(operations: Operations) -> TouchIndex:
    touched = TouchIndex()
    touched.record(operations, 1)
    return touched


def _is_test(operation: Operation) -> bool:
    return operation.op == "test"


def _without_tests(operations: Operations) -> Operations:
    return tuple([operation for operation in operations if not _is_test(operation)])


def _stretches(operations: Sequence[Operation]) -> Iterator[Operations]:
    """Cut a patch before each test that stands behind something else."""
    begin = 0
    for at in range(1, len(operations)):
        if _is_test(operations[at]) and not _is_test(operations[at - 1]):
            yield tuple(operations[begin:at])
            begin = at
    yield tuple(operations[begin:])
