"""The patch from one value to another, for those who send a whole value where they meant an edit."""

from __future__ import annotations

from collections.abc import Iterator

from plait_merge.alignment import Aligner, Alignment, Pair, TooWide
from plait_merge.patch import Operation, apply_operations
from plait_merge.pointer import Tokens, format_pointer
from plait_merge.transfer import CANDIDATES_MAX, Loose, equal_pairs, is_recognizable, transfers
from plait_merge.values import ABSENT, LIMITS, Json, LimitExceeded, Limits


def diff(base: Json, target: Json, limits: Limits = LIMITS) -> list[dict[str, Json]]:
    """Give the RFC 6902 patch that makes base the target; either may be ABSENT.

    Objects are compared member by member, exactly. Elements of arrays are aligned: by an inferred key, else
    equal ones keep their place or move; those alike are edited inside, the rest is removed and added. What is
    gone from one container and has come to another as it was has moved, and so has a member that came back
    under another name, edited, if it is known by what only it holds. An array that differs in more than
    can be aligned is replaced whole, and so is a container that would take more operations than a patch may
    have, or longer pointers. Values in the patch are shared with the target.

    Shared references cost nothing and everything else its size; aligning is bounded (alignment.py). Raises
    LimitExceeded("depth").
    """
    aligner = Aligner(limits.depth_max)
    return [operation.as_json() for operation in operations_between(base, target, aligner, limits)]


def operations_between(
    base: Json, target: Json, aligner: Aligner, limits: Limits = LIMITS
) -> list[Operation]:
    """Give the operations of `diff`, with an aligner that may know these values already."""
    differ = _Differ(aligner, limits)
    operations = differ.operations_between(base, target)
    moves = differ.transfers()
    if not moves:
        return operations
    try:
        moved = apply_operations(base, moves, limits)
    except LimitExceeded:  # too deep on the way
        return operations
    aligner.keep(moved)
    return moves + _Differ(aligner, limits).operations_between(moved, target)


class _Differ:
    """One comparison: the operations so far, and the bounds."""

    def __init__(self, aligner: Aligner, limits: Limits) -> None:
        self.limits = limits
        self.operations: list[Operation] = []
        self.aligner = aligner
        self.has_long_pointers = False
        self.gone: list[Loose] = []
        self.come: list[Loose] = []
        self.reshaped: list[tuple[Tokens, dict[str, Json], dict[str, Json]]] = []  # by place, in base

    def operations_between(self, base: Json, target: Json) -> list[Operation]:
        if target is ABSENT:
            if base is not ABSENT:
                self._remove(())
        elif base is ABSENT:
            self._add((), target)
        elif type(base) is type(target) is dict or not self.aligner.sameness.same(base, target):
            self._compare((), (), base, target)
        return self.operations

    def transfers(self) -> list[Operation]:
        """Give the moves on base that explain what has gone from one container and come to another."""
        if not self.gone or not self.come or len(self.gone) + len(self.come) > CANDIDATES_MAX:
            return []
        form = self.aligner.form
        gone, come = ([(form(loose.value), loose) for loose in side] for side in (self.gone, self.come))
        pairs = equal_pairs(gone, come)
        moves = transfers(pairs + self._renamed(pairs))
        if any(self._is_long(pointer) for o in moves for pointer in (o.path, o.source or ())):
            return []
        return moves

    def _renamed(self, moved: list[tuple[Loose, Loose]]) -> list[tuple[Loose, Loose]]:
        """Pair members of one object that have gone and come, and have not moved as they were."""
        known = {loose.path for pair in moved for loose in pair}
        pairs: list[tuple[Loose, Loose]] = []
        for place, base, target in self.reshaped:
            gone, come = (
                {
                    name: Loose((*place, name), False, part)
                    for name, part in one.items()
                    if name not in other and is_recognizable(part) and (*place, name) not in known
                }
                for one, other in ((base, target), (target, base))
            )
            pairs += [(gone[old], come[new]) for old, new in self.aligner.renamed(base, target, gone, come)]
        return pairs

    def _compare(self, path: Tokens, place: Tokens, base: Json, target: Json) -> None:
        """Add what makes base, now at *path* and at *place* at first, the target."""
        kind = type(base)
        if kind is not type(target) or (kind is not dict and kind is not list):
            self._replace(path, target)
            return
        if len(path) >= self.limits.depth_max:
            raise LimitExceeded("depth", format_pointer(path))
        before = len(self.operations), len(self.gone), len(self.come), len(self.reshaped)
        beside, self.has_long_pointers = self.has_long_pointers, False
        if kind is dict:
            self._compare_members(path, place, base, target)
        else:
            self._compare_elements(path, place, base, target)
        if len(self.operations) - before[0] > self.limits.operations_max or self.has_long_pointers:
            self.has_long_pointers = False
            del self.operations[before[0] :], self.gone[before[1] :], self.come[before[2] :]
            del self.reshaped[before[3] :]
            self._replace(path, target)
        self.has_long_pointers |= beside

    def _compare_members(
        self, path: Tokens, place: Tokens, base: dict[str, Json], target: dict[str, Json]
    ) -> None:
        gone, come = len(self.gone), len(self.come)
        left = len(base)
        for name in self.aligner.sameness.changed(base, target):
            old, new = base[name], target.get(name, ABSENT)
            if new is ABSENT:
                left -= 1
                self._remove((*path, name))
                self._lose(place, name, old)
            else:
                self._compare((*path, name), (*place, name), old, new)
        if left == len(target):
            return
        for name, new in target.items():
            if name not in base:
                self._add((*path, name), new)
                self._find(place, name, new)
        if len(self.gone) > gone and len(self.come) > come:
            self.reshaped.append((place, base, target))

    def _compare_elements(self, path: Tokens, place: Tokens, base: list[Json], target: list[Json]) -> None:
        """Remove from the back, move, add from the front, and last edit inside, at final indices."""
        try:
            alignment = self.aligner.align(base, target)
        except TooWide:
            self._replace(path, target)
            return
        for index in reversed(alignment.removed):
            self._remove((*path, str(index)))
            self._lose(place, index, base[index])
        for here, there in _moves(alignment):
            self._move((*path, str(here)), (*path, str(there)))
        gaps = alignment.gaps() if alignment.added else None
        for index in alignment.added:
            self._add((*path, str(index)), target[index])
            assert gaps is not None
            self._find(place, gaps.of(index) + 1, target[index])
        for here, there in alignment.edited:
            self._compare((*path, str(there)), (*place, str(here)), base[here], target[there])

    def _lose(self, place: Tokens, at: str | int, value: Json) -> None:
        if is_recognizable(value):
            self.gone.append(Loose((*place, str(at)), type(at) is int, value))

    def _find(self, place: Tokens, at: str | int, value: Json) -> None:
        if is_recognizable(value):
            self.come.append(Loose((*place, str(at)), type(at) is int, value))

    def _add(self, path: Tokens, value: Json) -> None:
        self._write(Operation("add", path, None, value))

    def _remove(self, path: Tokens) -> None:
        self._write(Operation("remove", path, None, ABSENT))

    def _replace(self, path: Tokens, value: Json) -> None:
        self._write(Operation("replace", path, None, value))

    def _move(self, source: Tokens, path: Tokens) -> None:
        self._write(Operation("move", path, source, ABSENT))

    def _write(self, operation: Operation) -> None:
        self.operations.append(operation)
        self.has_long_pointers |= self._is_long(operation.path)

    def _is_long(self, path: Tokens) -> bool:
        longest = self.limits.pointer_bytes_max
        # A character of a token is at most four bytes, or two where it is escaped.
        return (
            4 * sum(map(len, path)) + len(path) > longest
            and len(format_pointer(path).encode("utf-8", "surrogatepass")) > longest
        )


def _moves(alignment: Alignment) -> Iterator[Pair]:
    """Give the moves from index to index, one after the other, that put what is in both arrays in order.

    Taken in the order of the target, each element moves behind the one before it there; those that are still
    to move are only in the way.
    """
    if not alignment.moved:
        return
    first = alignment.start
    staying = dict(alignment.kept)
    last = max(here for here, _ in (*alignment.kept, *alignment.moved))
    # Slot 0 counts what is in front of them all, slot k the element k - 1 and what has moved behind it.
    slots = _Counts(last - first + 2)
    for here, _ in (*alignment.kept, *alignment.moved):
        slots.add(here - first + 1, 1)
    slot = 0
    for here, _ in sorted((*alignment.kept, *alignment.moved), key=lambda pair: pair[1]):
        if here in staying:
            slot = here - first + 1
            continue
        source = slots.before(here - first + 1)
        slots.add(here - first + 1, -1)
        place = slots.before(slot + 1)
        slots.add(slot, 1)
        if source != place:
            yield first + source, first + place


class _Counts:
    """Counts by slot that can be added to, and added up, in O(log n) (a Fenwick tree)."""

    def __init__(self, size: int) -> None:
        self.sums = [0] * (size + 1)

    def add(self, slot: int, count: int) -> None:
        slot += 1
        while slot < len(self.sums):
            self.sums[slot] += count
            slot += slot & -slot

    def before(self, slot: int) -> int:
        """Add up the slots below one."""
        total = 0
        while slot:
            total += self.sums[slot]
            slot &= slot - 1
        return total
