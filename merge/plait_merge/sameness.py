"""Whether values are the same, asked again and again in one comparison: what was found out is kept."""

from __future__ import annotations

from operator import is_
from pickle import Pickler
from typing import Final

from plait_merge.values import ABSENT, Json, same

CHUNK: Final = 128
"""How many elements of two arrays are compared at once."""

FEW: Final = 8
"""Up to so many scalars are compared one by one."""


class Sameness:
    """Answers as `same` does, in about half the time where containers are large.

    Python's own `==` compares at the speed of C but takes true for 1. So what it calls equal is confirmed: by
    serial forms, which tell types apart (equal ones mean the same value), and only where those differ, as for
    another order of members or 1.0 for 1, part by part. What the left side is written as is kept for the next
    right side; so the values have to live, and to stay as they are, as long as this does.
    """

    def __init__(self) -> None:
        self._renew()
        self._serial: dict[tuple[int, int, int], list[bytes]] = {}
        self._known: dict[tuple[int, int], bool] = {}
        self._changed: dict[tuple[int, int], list[str]] = {}

    def same(self, old: Json, new: Json) -> bool:
        """Tell whether two values are equal as JSON."""
        if old is new:
            return True
        kind = type(old)
        if kind is not type(new) or (kind is not dict and kind is not list):
            return same(old, new)
        if len(old) != len(new):
            return False
        if len(old) <= FEW and (few := _are_few_same(old, new)) is not None:
            return few
        pair = (id(old), id(new))
        known = self._known.get(pair)
        if known is None:
            known = self._known[pair] = self._equal(old, new, (id(old), -1, -1))
        return known

    def compare(self, base: Json, theirs: Json, yours: Json) -> tuple[Json, bool, bool]:
        """Give what there is to compare both sides with; say whether theirs and whether yours is the same.

        It is base, or where a side has left a large container alone, what the sides have in common: they are
        compared with each other, and only by `==` with base, which takes half as long as to compare both
        with base. So what both have made true of 1 is no change, as it may be where an edit of both is one.
        """
        kind = type(base)
        is_large = (kind is dict or kind is list) and len(base) > FEW
        if not is_large or not kind is type(theirs) is type(yours) or base is theirs or base is yours:
            return self.compare_each(base, theirs, yours)
        try:
            if base == theirs:
                serial = self._serialized(theirs)
                if serial == self._serialized(yours):
                    return theirs, True, True
                left, other = theirs, yours
            elif base == yours:
                serial = self._serialized(yours)
                left, other = yours, theirs
            else:
                return base, False, False
            names = _differing(base, other) if kind is dict else []
            if names:
                ground = _undone(base, other, names)
                if self._serialized(ground) == serial:
                    self.note(ground, other, names)
                    return ground, left is theirs, left is yours
            is_left = serial == self._serialized(base) or same(base, left)
        except RecursionError:
            self._renew()
            return self.compare_each(base, theirs, yours)
        if left is yours:
            return base, False, is_left
        return base, is_left, self.same(base, yours)

    def compare_each(self, base: Json, theirs: Json, yours: Json) -> tuple[Json, bool, bool]:
        """Do so where what both changed alike counts, too."""
        return base, self.same(base, theirs), self.same(base, yours)

    def changed(self, old: dict[str, Json], new: dict[str, Json]) -> list[str]:
        """List the members of an object that another one has not, or not the same."""
        known = self._changed.get((id(old), id(new)))
        if known is not None:
            return known
        if len(old) > FEW and not any(map(is_, old.values(), new.values())):
            try:
                names = _differing(old, new)
                # Where most differ, there is not much to be written.
                if 2 * len(names) < len(old) and self._serialized(old) == self._serialized(
                    _undone(old, new, names)
                ):
                    return names
            except RecursionError:
                self._renew()
        same, get = self.same, new.get
        return [name for name, part in old.items() if not same(part, get(name, ABSENT))]

    def note(self, old: dict[str, Json], new: dict[str, Json], changed: list[str]) -> None:
        """Take it as known which members another object has not, or not the same, or may not have."""
        self._changed[id(old), id(new)] = changed

    def equal_ends(self, old: list[Json], new: list[Json]) -> tuple[int, int]:
        """Count the same elements at the front of two arrays, and those at the end after them."""
        shorter = min(len(old), len(new))
        start = 0
        while start < shorter:
            chunk = min(CHUNK, shorter - start)
            differing = self._first_differing(old, new, start, start, chunk)
            start += chunk if differing is None else differing
            if differing is not None:
                break
        left = shorter - start
        end = 0
        while end + CHUNK <= left and self._equal_slices(
            old, new, len(old) - end - CHUNK, len(new) - end - CHUNK, CHUNK
        ):
            end += CHUNK
        while end < left and self.same(old[-1 - end], new[-1 - end]):
            end += 1
        return start, end

    def differing(self, old: list[Json], new: list[Json]) -> list[int]:
        """Give the places at which two lists of one length differ, in order."""
        found: list[int] = []
        waiting = [(at, min(CHUNK, len(old) - at)) for at in range(0, len(old), CHUNK)][::-1]
        while waiting:
            at, length = waiting.pop()
            if length == 1:
                if not self.same(old[at], new[at]):
                    found.append(at)
            elif not self._equal(old[at : at + length], new[at : at + length], None):
                half = length // 2
                waiting += [(at + half, length - half), (at, half)]
        return found

    def _first_differing(
        self, old: list[Json], new: list[Json], at: int, at_new: int, length: int
    ) -> int | None:
        """Give the first place in a slice at which two arrays differ, None if they do not."""
        if self._equal_slices(old, new, at, at_new, length):
            return None
        return next(i for i in range(length) if not self.same(old[at + i], new[at_new + i]))

    def _equal_slices(self, old: list[Json], new: list[Json], at: int, at_new: int, length: int) -> bool:
        here, there = old[at : at + length], new[at_new : at_new + length]
        return self._equal(here, there, (id(old), at, at + length))

    def _equal(self, old: Json, new: Json, key: tuple[int, int, int] | None) -> bool:
        try:
            return bool(old == new) and self.confirm(old, new, key)
        except RecursionError:
            self._renew()
            return same(old, new)

    def confirm(self, old: Json, new: Json, key: tuple[int, int, int] | None = None) -> bool:
        """Tell whether two values that are equal in Python's sense are so as JSON.

        What the left one is written as is kept under a key. Raises RecursionError where they are too deep.
        """
        serial = None if key is None else self._serial.get(key)
        if serial is None:
            serial = self._serialized(old)
            if key is not None:
                self._serial[key] = serial
        return serial == self._serialized(new) or same(old, new)

    def _serialized(self, value: Json) -> list[bytes]:
        self._pickler.dump(value)
        pieces = self._pieces.copy()
        self._pieces.clear()
        return pieces

    def _renew(self) -> None:
        """Begin anew, as after a value deeper than Python compares or writes: `same` knows no such bound."""
        self._pieces = _Pieces()
        self._pickler = Pickler(self._pieces, 4)
        self._pickler.fast = True  # no memo: which parts are one object must not show


class _Pieces(list[bytes]):
    """Where a pickler writes to; what it writes is the same in the same pieces."""

    write = list.append


def _differing(old: dict[str, Json], new: dict[str, Json]) -> list[str]:
    """List the members that another object has not, or not equal in the sense of `==`."""
    get = new.get
    return [name for name, part in old.items() if (other := get(name, ABSENT)) is not part and part != other]


def _undone(old: dict[str, Json], new: dict[str, Json], names: list[str]) -> dict[str, Json]:
    """Give the members of the old object as the new one has them, but for some that stay."""
    undone = old | new | {name: old[name] for name in names}
    if len(undone) > len(old):
        for name in new.keys() - old.keys():
            del undone[name]
    return undone


def _are_few_same(old: Json, new: Json) -> bool | None:
    """Compare two small containers of one kind and length; None if there are containers in them."""
    if type(old) is dict:
        for name, part in old.items():
            other = new.get(name, ABSENT)
            if part is other:
                continue
            kind = type(part)
            if kind is dict or kind is list:
                return None
            if kind is type(other):
                if part != other:
                    return False
            elif not same(part, other):
                return False
        return True
    for part, other in zip(old, new, strict=True):
        kind = type(part)
        if kind is dict or kind is list:
            return None
        if kind is type(other):
            if part != other:
                return False
        elif not same(part, other):
            return False
    return True
