"""The common ground of two sides known as values: base, and what both have put into its arrays.

Patches say that two insertions are two. Of two values that hold an equal new element at one place nobody can
say that, and people and tools who compare texts take it for one. So it is: what both sides inserted alike is
done first, and then they are compared with that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterator
from contextlib import suppress
from types import NoneType
from typing import NamedTuple, TypeAlias

from plait_merge.alignment import Aligner, Alignment, Pair, Row, TooWide, longest_common
from plait_merge.keys import NAMING, Key, keys_of, named
from plait_merge.order import NEIGHBOURS, places_in_order
from plait_merge.pointer import Tokens, format_pointer
from plait_merge.policy import DEFAULT, Policy
from plait_merge.values import ABSENT, Json, LimitExceeded

Origins: TypeAlias = dict[int, list[int | None]]
"""For an array of the ground that is none of base's, by its id: where base has each element."""


class Order(NamedTuple):
    """What both inserted at one place, and behind how many of theirs each of yours belongs."""

    theirs: list[Json]
    yours: list[Json]
    places: list[int]


class Ground:
    """The ground of three values: `value`, and where in base its parts are."""

    def __init__(
        self, base: Json, theirs: Json, yours: Json, aligner: Aligner, policy: Policy | None = None
    ) -> None:
        """Raises LimitExceeded("depth"). What a policy counts twice or sorts out itself is no part of it."""
        self._aligner = aligner
        self._policy = policy
        self._agreement_counts_once = policy is None or not policy.counts
        self._same = aligner.sameness.same
        self._origins: Origins = {}
        self._made: list[Json] = []  # kept, so that no id comes back as another's
        self.keys: dict[Tokens, Key] = {}
        self.orders: list[Order] = []
        self._strict: dict[int, Key] = {}
        # Of an object the members are compared; to compare the whole before would only be to do it twice.
        is_changed = type(base) is dict or not (self._same(base, theirs) or self._same(base, yours))
        self.value = self._common(base, theirs, yours, ()) if is_changed else base

    def strict_keys(self) -> dict[Tokens, Key]:
        """Give the keys of arrays of the ground in which two new elements may not have one. O(ground)."""
        found: dict[Tokens, Key] = {}
        waiting: list[tuple[Tokens, Json]] = [((), self.value)] if self._strict else []
        while waiting:
            path, value = waiting.pop()
            if type(value) is dict:
                waiting += [((*path, name), part) for name, part in value.items()]
            elif type(value) is list:
                if id(value) in self._strict:
                    found[path] = self._strict[id(value)]
                waiting += [((*path, str(index)), part) for index, part in enumerate(value)]
        return found

    def in_base(self, base: Json, tokens: Tokens) -> tuple[Tokens, Json]:
        """Give where base has what stands at a place of the ground, and what it has there (or ABSENT).

        For an inserted element that is where base would have it; "-" stands for itself.
        """
        here, there = self.value, base
        path: list[str] = []
        for token in tokens:
            if type(here) is list and token != "-":
                index = int(token)
                origins = self._origins.get(id(here))
                at = index if origins is None else origins[index]
                if at is None:
                    at = sum([origin is not None for origin in origins[:index]])  # type: ignore[index]
                    there = ABSENT
                path.append(str(at))
                here = here[index]
                there = there[at] if type(there) is list else ABSENT
            else:
                path.append(token)
                here = here.get(token, ABSENT) if type(here) is dict else ABSENT
                there = there.get(token, ABSENT) if type(there) is dict else ABSENT
        return tuple(path), there

    def _common(self, base: Json, theirs: Json, yours: Json, path: Tokens) -> Json:
        """Give base, which both sides changed, with what they inserted alike."""
        kind = type(base)
        if kind is not type(theirs) or kind is not type(yours) or (kind is not dict and kind is not list):
            return base
        if len(path) >= self._aligner.depth_max:
            raise LimitExceeded("depth", format_pointer(path))
        if kind is dict:
            return self._common_members(base, theirs, yours, path)
        return self._common_elements(base, theirs, yours, path)

    def _common_members(
        self, base: dict[str, Json], theirs: dict[str, Json], yours: dict[str, Json], path: Tokens
    ) -> Json:
        sameness = self._aligner.sameness
        compare = sameness.compare if self._agreement_counts_once else sameness.compare_each
        ground = base.copy()
        is_base = True
        here: list[str] = []
        there: list[str] = []
        for name, old in base.items():
            one, other = theirs.get(name, ABSENT), yours.get(name, ABSENT)
            new, is_theirs, is_yours = compare(old, one, other)
            if not is_theirs:
                here.append(name)
            if not is_yours:
                there.append(name)
                if not is_theirs:
                    new = self._common(old, one, other, (*path, name))
            if new is not old:
                ground[name] = new
                is_base = False
        for name, new in theirs.items():
            if name in base or type(new) is not list:
                continue
            other = yours.get(name)
            if type(other) is list and not self._same(new, other):
                shared = self._extended(new, other, (*path, name))
                if shared is not None:
                    ground[name] = shared
                    here.append(name)
                    there.append(name)
                    is_base = False
        if is_base:
            ground = base
        sameness.note(ground, theirs, here)
        sameness.note(ground, yours, there)
        return ground

    def _common_elements(self, base: list[Json], theirs: list[Json], yours: list[Json], path: Tokens) -> Json:
        self._aligner.compare_with(base, [theirs, yours])
        try:
            here, there = self._sides(base, theirs, yours)
        except TooWide:
            return base
        key = self._key(base, theirs, yours, (here, there))
        if key is not None and not self._aligner.asks_for_key(base):
            self.keys[path] = key
        changed = self._edited_alike(base, theirs, yours, (here, there), path)
        alike: list[Pair] = []
        is_strict = key is not None and self._is_strict(path)
        if not is_strict and self._shares(base, path):
            self._note_order(base, theirs, yours, (here, there))
            alike = self._inserted_alike(base, theirs, yours, (here, there), key)
        ground = base
        if changed or alike:
            inserted: defaultdict[int, list[Json]] = defaultdict(list)
            anchors = _Anchors(here, there, len(base))
            for j, k in alike:
                inserted[anchors.place(j, k)].append(self._shared(theirs[j], yours[k], (*path, str(j))))
            ground = self._laid_out(base, changed, inserted, key)
            self._aligner.compare_with(ground, [theirs, yours])
            with suppress(TooWide):
                self._sides(ground, theirs, yours)
        if is_strict and key is not None:
            self._strict[id(ground)] = key
        return ground

    def _is_strict(self, path: Tokens) -> bool:
        """Tell whether two new elements of an inferred key are a conflict."""
        rule = DEFAULT if self._policy is None else self._policy.at(path)
        return rule.keys == "strict" and rule.array == "list"

    def _shares(self, base: list[Json], path: Tokens) -> bool:
        """Tell whether what both sides inserted alike into an array counts once, by the policy."""
        policy = self._policy
        if policy is None:
            return True
        rule = policy.at(path)
        is_list = rule.array == "list" or (rule.array == "keyed" and self._aligner.is_keyless(base))
        if not is_list or rule.order == "strict" or policy.counts_within(path):
            return False
        rules = [policy.at(path[:end]) for end in range(len(path))] + [policy.at((*path, "-"))]
        return not any(one.object == "atomic" or one.array in ("atomic", "lines") for one in rules)

    def _sides(self, base: list[Json], theirs: list[Json], yours: list[Json]) -> tuple[Alignment, Alignment]:
        """Align both sides; a name that one side removed was not renamed by the other. Raises TooWide."""
        here, there = self._aligner.align(base, theirs), self._aligner.align(base, yours)
        is_doubtful = (here.removed and there.edited) or (there.removed and here.edited)
        if not is_doubtful or not all(map(_are_names, (base, theirs, yours))):
            return here, there
        return (
            self._aligner.part(base, theirs, there.removed),
            self._aligner.part(base, yours, here.removed),
        )

    def _key(
        self, base: list[Json], theirs: list[Json], yours: list[Json], sides: tuple[Alignment, Alignment]
    ) -> Key | None:
        """Give the key of an array, if it was asked for or might pair what both inserted."""
        known = self._aligner.keys.get(id(base))
        if known is not None or not _may_be_paired(
            [theirs[j] for j in sides[0].added], [yours[k] for k in sides[1].added]
        ):
            return known
        return self._aligner.key_of(base)

    def _extended(self, theirs: list[Json], yours: list[Json], path: Tokens) -> list[Json] | None:
        """Give the shorter of two new arrays if the other one is that and more, else None."""
        nothing: list[Json] = []
        self._made.append(nothing)
        if not self._shares(nothing, path):
            return None
        shared: list[Json] = self._common_elements(nothing, theirs, yours, path)
        return shared if len(shared) == min(len(theirs), len(yours)) else None

    def _note_order(
        self, base: list[Json], theirs: list[Json], yours: list[Json], sides: tuple[Alignment, Alignment]
    ) -> None:
        """Note where the insertions of both sides at one place go by the order their neighbours are in."""
        if not sides[0].added or not sides[1].added:
            return
        anchors: list[int] | None = None
        there = sides[1].by_gap()
        for gap, run in sides[0].by_gap().items():
            if gap in there:
                anchors = _anchors(*sides, len(base)) if anchors is None else anchors
                at = bisect_right(anchors, gap)
                before = [base[i] for i in anchors[max(0, at - NEIGHBOURS) : at]]
                after = [base[i] for i in anchors[at : at + NEIGHBOURS]]
                here, mine = [theirs[j] for j in run], [yours[k] for k in there[gap]]
                places = places_in_order(before, here, mine, after)
                if places is None and gap < 0 and anchors[:1] == [0]:
                    places = [0] * len(mine)  # a list that grows at its front has the newer in front
                if places is not None:
                    self.orders.append(Order(here, mine, places))

    def _laid_out(
        self,
        base: list[Json],
        changed: dict[int, Json],
        inserted: dict[int, list[Json]],
        key: Key | None,
    ) -> list[Json]:
        ground: list[Json] = []
        origins: list[int | None] = []
        for i in range(-1, len(base)):
            if i >= 0:
                ground.append(changed.get(i, base[i]))
                origins.append(i)
            new = inserted.get(i, ())
            ground += new
            origins += [None] * len(new)
        self._made.append(ground)
        self._origins[id(ground)] = origins
        self._aligner.keys[id(ground)] = key
        if self._aligner.asks_for_key(base):
            self._aligner.asked[id(ground)] = key
        return ground

    def _edited_alike(
        self,
        base: list[Json],
        theirs: list[Json],
        yours: list[Json],
        sides: tuple[Alignment, Alignment],
        path: Tokens,
    ) -> dict[int, Json]:
        """Go on inside elements that both sides edited."""
        here, there = dict(sides[0].edited), dict(sides[1].edited)
        changed: dict[int, Json] = {}
        for i, j in here.items():
            if i in there:
                new = self._common(base[i], theirs[j], yours[there[i]], (*path, str(i)))
                if new is not base[i]:
                    changed[i] = new
        return changed

    def _inserted_alike(
        self,
        base: list[Json],
        theirs: list[Json],
        yours: list[Json],
        sides: tuple[Alignment, Alignment],
        key: Key | None,
    ) -> list[Pair]:
        """Pair what both inserted: of one key or equal in one place; anywhere, if it is both, or a name."""
        added = [(j, theirs[j]) for j in sides[0].added]
        other = [(k, yours[k]) for k in sides[1].added]
        mine, others = (self._named(row, key) for row in (added, other))
        if key is not None:
            mine, others = (
                mine + _taken_names(base, theirs, sides[0], others, key),
                others + _taken_names(base, yours, sides[1], mine, key),
            )
        if not {name for _, name in mine} & {name for _, name in others}:
            return []
        anchors = _Anchors(*sides, len(base))
        chunks: defaultdict[int, list[tuple[int, Hashable]]] = defaultdict(list)
        for k, name in others:
            chunks[anchors.before(1, k)].append((k, name))
        runs: defaultdict[int, list[tuple[int, Hashable]]] = defaultdict(list)
        for j, name in mine:
            runs[anchors.before(0, j)].append((j, name))
        if key is None:
            pairs = [pair for chunk, run in runs.items() for pair in longest_common(run, chunks[chunk])]
            if not all(map(_are_names, (base, theirs, yours))):
                return pairs
        else:
            pairs = [pair for chunk, run in runs.items() for pair in _paired(run, chunks[chunk])]
        near = {j for j, _ in pairs}
        far = _paired([named for named in mine if named[0] not in near], others)
        return sorted(pairs + [(j, k) for j, k in far if self._same(theirs[j], yours[k])])

    def _named(self, row: list[tuple[int, Json]], key: Key | None) -> list[tuple[int, Hashable]]:
        if key is None:
            return [(index, self._aligner.form(value)) for index, value in row]
        return [(index, name) for (index, _), name in zip(row, keys_of(row, key), strict=True)]

    def _shared(self, theirs: Json, yours: Json, path: Tokens) -> Json:
        """Give what two new elements of one key have in common."""
        if self._same(theirs, yours):
            return theirs
        if len(path) >= self._aligner.depth_max:
            raise LimitExceeded("depth", format_pointer(path))
        shared = {}
        for name, part in theirs.items():
            other = yours.get(name, ABSENT)
            if self._same(part, other):
                shared[name] = part
            elif type(part) is dict and type(other) is dict:
                shared[name] = self._shared(part, other, (*path, name))
            elif type(part) is list and type(other) is list:
                extended = self._extended(part, other, (*path, name))
                if extended is not None:
                    shared[name] = extended
        return shared


def _are_names(array: list[Json]) -> bool:
    """Tell whether an array lists names: strings (or null), none of them twice, and no lines of a text."""
    return (
        {str, NoneType}.issuperset(map(type, array))
        and len(set(array)) == len(array)
        and not any(name is not None and name.endswith("\n") for name in array)
    )


def _may_be_paired(here: list[Json], there: list[Json]) -> bool:
    """Tell whether two of some elements have a member with the same scalar, as those of one key do."""
    seen = {pair for element in here for pair in _named_scalars(element)}
    return any(pair in seen for element in there for pair in _named_scalars(element))


def _named_scalars(element: Json) -> Iterator[tuple[str, Hashable]]:
    if type(element) is dict:
        for name, part in element.items():
            if type(part) in NAMING:
                yield name, named(part)


def _taken_names(
    base: list[Json], target: list[Json], side: Alignment, others: list[tuple[int, Hashable]], key: Key
) -> list[tuple[int, Hashable]]:
    """Give elements that look renamed to what the other side inserted: rather they are what it inserted."""
    inserted = {name for _, name in others}
    if not inserted or not side.edited:
        return []
    names = keys_of([(j, target[j]) for _, j in side.edited], key)
    old_names = keys_of([(i, base[i]) for i, _ in side.edited], key)
    return [
        (j, name)
        for (_, j), name, old in zip(side.edited, names, old_names, strict=True)
        if name != old and name in inserted
    ]


def _paired(here: Row[Hashable], there: Row[Hashable]) -> list[Pair]:
    """Pair equal keys; each occurs once."""
    found = {key: k for k, key in there}
    return [(j, found[key]) for j, key in here if key in found]


class _Anchors:
    """The elements of base both sides kept in order: between two of them is one place."""

    def __init__(self, theirs: Alignment, yours: Alignment, length: int) -> None:
        self._gaps = (theirs.gaps(), yours.gaps())
        self._both = _anchors(theirs, yours, length)

    def place(self, index: int, other: int) -> int:
        """Give the element of base behind which both have what both added; where theirs has it, else."""
        here, there = self._gaps[0].of(index), self._gaps[1].of(other)
        return max(here, there) if self.before(0, index) == self.before(1, other) else here

    def before(self, side: int, index: int) -> int:
        """Give how many such elements are in front of one that a side added."""
        return bisect_right(self._both, self._gaps[side].of(index))


def _anchors(theirs: Alignment, yours: Alignment, length: int) -> list[int]:
    """List the elements of base that both sides kept in order."""
    lost = {i for side in (theirs, yours) for i in (*side.removed, *(i for i, _ in side.moved))}
    return [i for i in range(length) if i not in lost]
