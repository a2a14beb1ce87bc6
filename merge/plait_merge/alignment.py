"""Which element of one array is which of another: a guess, for sides that are known as whole values only."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

from plait_merge.elementkey import Keys, key_of
from plait_merge.keys import Key, infer_key, keys_of
from plait_merge.sameness import Sameness
from plait_merge.transfer import is_recognizable
from plait_merge.values import Json, LimitExceeded

ALIGNMENT_CELLS_MAX: Final = 16_000_000
"""How many pairs of elements one aligner may compare exactly, 4,000 by 4,000 (64 of them cost one step).

Past it elements that are unique on both sides are anchors, and only what stands between two is compared.
"""

LIKENESS_COMPARISONS_MAX: Final = 100_000
"""How many parts one aligner may compare to see what is alike; past it, position pairs elements."""

OWN_LEAVES_MIN: Final = 2
"""How many scalars that no other member has make a member known again under another name."""

Pair: TypeAlias = tuple[int, int]
"""Where one element stands in base, and in target."""

T = TypeVar("T")

Row: TypeAlias = Sequence[tuple[int, T]]
"""Some elements of an array in order, or keys of them, each with its index."""


class Alignment(NamedTuple):
    """What became of the elements of two arrays, by index; all but what moved or was edited in order."""

    start: int
    """How many elements are equal at the front; like those at the end, they are named nowhere else."""
    kept: list[Pair]
    """Those between the ends that are in both and kept their order: the equal and the edited ones."""
    edited: list[Pair]
    """Those of the kept and the moved that are not the same."""
    moved: list[Pair]
    removed: list[int]
    added: list[int]

    def gaps(self) -> Gaps:
        return Gaps(self)

    def by_gap(self) -> dict[int, list[int]]:
        """Give what was added by what it stands after, as `Gaps` has it."""
        gaps = Gaps(self)
        found: defaultdict[int, list[int]] = defaultdict(list)
        for index in self.added:
            found[gaps.of(index)].append(index)
        return found


class Gaps:
    """Which gap of base each added element of one side stands in: after which of base's elements."""

    def __init__(self, alignment: Alignment) -> None:
        self._start = alignment.start
        self._targets = [j for _, j in alignment.kept]
        self._bases = [i for i, _ in alignment.kept]

    def of(self, index: int) -> int:
        """Give the element of base that one added at an index of the target stands after, -1 for none."""
        at = bisect_right(self._targets, index)
        return self._bases[at - 1] if at else self._start - 1


class TooWide(Exception):
    """Two arrays differ in more than can be aligned within the bounds."""


class Aligner:
    """Aligns any number of pairs of arrays within one set of bounds.

    The values have to live, and to stay as they are, as long as it does: what is known of them is kept by
    identity. `keys` says which members name the elements of an array (by the id of what base has there),
    `asked` which should, or None for none, where somebody says so.
    """

    def __init__(self, depth_max: int, sameness: Sameness | None = None) -> None:
        self.sameness = sameness or Sameness()
        self.keys: dict[int, Key | None] = {}
        self.asked: dict[int, Key | None] = {}
        self._keyless: set[int] = set()
        self.depth_max = depth_max
        self._forms = _Forms(depth_max)
        self._cells_left = ALIGNMENT_CELLS_MAX
        self._comparisons_left = LIKENESS_COMPARISONS_MAX
        self._aligned: dict[Pair, Alignment] = {}
        self._versions: dict[int, list[list[Json]]] = {}
        self._alive: list[Json] = []

    def align(self, base: list[Json], target: list[Json]) -> Alignment:
        """Align two arrays; raises TooWide, and LimitExceeded("depth").

        Elements that a key names are the same where their keys are. Others are where they are equal, as many
        as can be in order; what is left in one gap between those is paired by likeness. The rest has moved if
        an equal one is elsewhere, or has come or gone.
        """
        known = self._aligned.get((id(base), id(target)))
        if known is None:
            known = self._aligned[id(base), id(target)] = self._align(base, target)
        return known

    def _align(self, base: list[Json], target: list[Json]) -> Alignment:
        start, end = self.sameness.equal_ends(base, target)
        gone: Row[Json] = [(index, base[index]) for index in range(start, len(base) - end)]
        come: Row[Json] = [(index, target[index]) for index in range(start, len(target) - end)]
        if not gone or not come:
            return Alignment(start, [], [], [], [i for i, _ in gone], [j for j, _ in come])
        self.compare_with(base, [target])
        key = self.key_of(base)
        if key is not None and self.asks_for_key(base):
            return self._align_asked(base, target, start, gone, come, key)
        if not any(target is version for version in self._versions[id(base)]):
            key = infer_key([base, target])  # what was found in others need not be in this one
        if key is not None:
            return self._align_keyed(base, target, start, gone, come, key)
        return self._align_unkeyed(start, gone, come)

    def compare_with(self, base: list[Json], targets: list[list[Json]]) -> None:
        """Note all the versions of an array that its elements are to be named alike in."""
        if id(base) not in self._versions:
            self._versions[id(base)] = [base, *targets]

    def key_of(self, base: list[Json]) -> Key | None:
        """Give the members that name each element of an array in all versions; decided when first asked."""
        if id(base) not in self.keys:
            versions = self._versions[id(base)]
            asked = self.asked.get(id(base))
            if asked is not None and not any(key_of(e, asked) for version in versions for e in version):
                self._keyless.add(id(base))
            self.keys[id(base)] = asked if self.asks_for_key(base) else infer_key(versions)
        return self.keys[id(base)]

    def asks_for_key(self, base: list[Json]) -> bool:
        """Tell whether the key of an array is what was asked for, and not inferred."""
        return id(base) in self.asked and id(base) not in self._keyless

    def is_keyless(self, base: list[Json]) -> bool:
        """Tell whether no element of an array, in any version, has the key that was asked for."""
        if self.asked.get(id(base)) is not None:
            self.key_of(base)
        return id(base) in self._keyless

    def part(self, base: list[Json], target: list[Json], removed: list[int]) -> Alignment:
        """Align two arrays again, with those removed by the other side removed and added, not edited."""
        known = self.align(base, target)
        lost = set(removed)
        parted = {pair for pair in known.edited if pair[0] in lost}
        if parted:
            known = self._aligned[id(base), id(target)] = known._replace(
                kept=[pair for pair in known.kept if pair not in parted],
                edited=[pair for pair in known.edited if pair not in parted],
                removed=sorted([*known.removed, *(i for i, _ in parted)]),
                added=sorted([*known.added, *(j for _, j in parted)]),
            )
        return known

    def renamed(
        self, base: dict[str, Json], target: dict[str, Json], gone: Collection[str], come: Collection[str]
    ) -> list[tuple[str, str]]:
        """Pair objects that have gone from one with those that have come to it: edited, under another name.

        Two are one if half of the names in the larger are in common, half of all scalars, and half of those
        that no other member has: records of one kind look alike. What looks like two others is neither.
        O(size of base and of what has come), and none past the bound on comparisons.
        """
        here = {name: self._leaves(base[name]) for name in gone if type(base[name]) is dict}
        there = {name: self._leaves(target[name]) for name in come if type(target[name]) is dict}
        own, own_there = _owners(here), _owners(there)
        if len(own.keys() & own_there.keys()) < OWN_LEAVES_MIN:
            return []
        for name, part in base.items():
            if self._comparisons_left < 0:
                return []
            if name not in here:
                for leaf in self._each_leaf(name, part):
                    self._comparisons_left -= 1
                    own.pop(leaf, None)
                    own_there.pop(leaf, None)
        owned, owned_there = Counter(own.values()), Counter(own_there.values())
        shared = Counter([(name, own_there[leaf]) for leaf, name in own.items() if leaf in own_there])
        pairs = [
            (old, new)
            for (old, new), count in shared.items()
            if count >= OWN_LEAVES_MIN
            and 2 * count >= max(owned[old], owned_there[new])
            and 2 * (here[old] & there[new]).total() >= max(here[old].total(), there[new].total())
            and 2 * len(base[old].keys() & target[new].keys()) >= max(len(base[old]), len(target[new]))
        ]
        found = Counter([name for pair in pairs for name in pair])
        return [(old, new) for old, new in pairs if found[old] == found[new] == 1]

    def form(self, value: Json) -> Hashable:
        """Give what is equal for values that are the same; raises LimitExceeded("depth")."""
        return self._forms.of(value)

    def keep(self, value: Json) -> None:
        """Keep a value made for a comparison alive, so that no id in it comes back as another's."""
        self._alive.append(value)

    def _keyed_by_form(self, row: Row[Json]) -> Row[Hashable]:
        return [(index, self._forms.of(value)) for index, value in row]

    def _align_keyed(
        self, base: list[Json], target: list[Json], start: int, gone: Row[Json], come: Row[Json], key: Key
    ) -> Alignment:
        pairs = _paired(keys_of(gone, key), gone, keys_of(come, key), come)
        kept, moved, edited = self._in_order(base, target, pairs)
        gone, come = _without(pairs, gone, come)
        renamed = [pair for here, there in _gaps(kept, gone, come) for pair in self._likely(here, there)]
        if renamed:
            gone, come = _without(renamed, gone, come)
            kept = sorted(kept + renamed)
            edited += renamed
        return Alignment(start, kept, edited, moved, [i for i, _ in gone], [j for j, _ in come])

    def _align_asked(
        self, base: list[Json], target: list[Json], start: int, gone: Row[Json], come: Row[Json], key: Key
    ) -> Alignment:
        """Align by the key that was asked for, and as in a list what has none, or one others have too."""
        here, there = Keys(base, key), Keys(target, key)
        names, names_there = [here.of(old) for _, old in gone], [there.of(new) for _, new in come]
        pairs = _paired(names, gone, names_there, come)
        kept, moved, edited = self._in_order(base, target, pairs)
        nameless, nameless_there = _nameless(names, gone), _nameless(names_there, come)
        for one, other in list(_gaps(kept, nameless, nameless_there)):
            equal = self._equal(one, other)
            alike = [
                pair for gap in _gaps(equal, *_without(equal, one, other)) for pair in self._likely(*gap)
            ]
            kept = sorted(kept + equal + alike)
            edited += alike
        gone, come = _without([*kept, *moved], gone, come)
        return Alignment(start, kept, sorted(edited), moved, [i for i, _ in gone], [j for j, _ in come])

    def _in_order(
        self, base: list[Json], target: list[Json], pairs: list[Pair]
    ) -> tuple[list[Pair], list[Pair], list[Pair]]:
        """Tell which pairs kept their order, which moved, and which of all are not the same."""
        differing = self.sameness.differing([base[i] for i, _ in pairs], [target[j] for _, j in pairs])
        kept = _longest_rising(pairs)
        staying = set(kept)
        moved = [pair for pair in pairs if pair not in staying]
        return kept, moved, [pairs[at] for at in differing]

    def _align_unkeyed(self, start: int, gone: Row[Json], come: Row[Json]) -> Alignment:
        equal = self._equal(gone, come)
        gone, come = _without(equal, gone, come)
        moved = self._moved(gone, come)
        gone, come = _without(moved, gone, come)
        edited = [pair for here, there in _gaps(equal, gone, come) for pair in self._likely(here, there)]
        gone, come = _without(edited, gone, come)
        kept = sorted(equal + edited)
        return Alignment(start, kept, edited, moved, [i for i, _ in gone], [j for j, _ in come])

    def _equal(self, base: Row[Json], target: Row[Json]) -> list[Pair]:
        """Pair equal elements in order: shared references first, then whatever is equal."""
        shared = _anchors(_identities(base), _identities(target))
        pairs = list(shared)
        for here, there in _gaps(shared, base, target):
            pairs += self._common(self._keyed_by_form(here), self._keyed_by_form(there))
        return sorted(pairs)

    def _common(self, here: Row[Hashable], there: Row[Hashable], anchored: bool = False) -> list[Pair]:
        """Pair equal keys in order: as many as can be, or around anchors where that would cost too much."""
        here, there = _only_of(here, there), _only_of(there, here)
        cells = len(here) * len(there)
        if cells <= self._cells_left:
            self._cells_left -= cells
            return longest_common(here, there)
        if anchored:
            raise TooWide
        anchors = _anchors(here, there)
        pairs = list(anchors)
        for gap in _gaps(anchors, here, there):
            pairs += self._common(*gap, anchored=True)
        return pairs

    def _moved(self, gone: Row[Json], come: Row[Json]) -> list[Pair]:
        """Pair what is gone with an equal one that has come elsewhere, first with first."""
        if not gone or not come:
            return []
        waiting: defaultdict[Hashable, deque[int]] = defaultdict(deque)
        for index, form in self._keyed_by_form(gone):
            waiting[form].append(index)
        return [
            (waiting[form].popleft(), index) for index, form in self._keyed_by_form(come) if waiting.get(form)
        ]

    def _likely(self, gone: Row[Json], come: Row[Json]) -> list[Pair]:
        """Pair what is left in one gap: containers that are alike, scalars where both sides have as many."""
        alike = self._alike(_containers(gone), _containers(come))
        pairs = list(alike)
        for here, there in _gaps(alike, _scalars(gone), _scalars(come)):
            if len(here) == len(there):
                pairs += zip([i for i, _ in here], [j for j, _ in there], strict=True)
        return sorted(pairs)

    def _alike(self, gone: Row[Json], come: Row[Json]) -> list[Pair]:
        """Pair containers that are alike so that most stays, or by position if that costs too much."""
        if not gone or not come:
            return []
        here, there = [self._leaves(old) for _, old in gone], [self._leaves(new) for _, new in come]
        comparisons = sum(map(len, here)) * len(come) + sum(map(len, there)) * len(gone)
        if comparisons > self._comparisons_left:
            side_by_side = zip(gone, come, here, there, strict=False)
            return [(i, j) for (i, old), (j, new), a, b in side_by_side if self._likeness(old, new, a, b)]
        self._comparisons_left -= comparisons
        recognized = self._recognized(gone, come)
        likeness = [
            [
                self._likeness(old, new, a, b, (i, j) in recognized)
                for (j, new), b in zip(come, there, strict=True)
            ]
            for (i, old), a in zip(gone, here, strict=True)
        ]
        return [(gone[row][0], come[column][0]) for row, column in _heaviest(likeness)]

    def _leaves(self, container: Json) -> Counter[Hashable]:
        """Count the scalars in a container, each with the name of the member it is in, or in an array of."""
        return Counter(self._each_leaf("", container))

    def _each_leaf(self, name: str, value: Json) -> Iterator[Hashable]:
        waiting: list[tuple[str, Json]] = [(name, value)]
        while waiting:
            name, value = waiting.pop()
            if (type(value) is not dict and type(value) is not list) or not value:
                yield name, self._forms.of(value)
            elif type(value) is dict:
                waiting += value.items()
            else:
                waiting += [(name, part) for part in value]

    def _recognized(self, gone: Row[Json], come: Row[Json]) -> set[Pair]:
        """Pair objects that share a member no other of them has, if it holds enough to be known again."""
        here, there = self._marks(gone), self._marks(come)
        return {(i, there[mark]) for mark, i in here.items() if mark in there}

    def _marks(self, row: Row[Json]) -> dict[Hashable, int]:
        """Map the recognizable members that occur once to the element they are in."""
        return _once(
            [
                (index, (name, self._forms.of(part)))
                for index, value in row
                if type(value) is dict
                for name, part in value.items()
                if is_recognizable(part)
            ]
        )

    def _likeness(
        self, old: Json, new: Json, here: Counter[Hashable], there: Counter[Hashable], known: bool = False
    ) -> int:
        """Count what two containers have in common: scalars anywhere in them, and whole parts.

        If neither comes to half of the larger one, that counts for nothing, unless one is known to be the
        other: a cell of a notebook is, by its source, however much there is in new outputs.
        """
        if type(old) is not type(new):
            return 0
        common = sum([min(count, there[leaf]) for leaf, count in here.items() if leaf in there])
        parts = self._common_parts(old, new)
        is_alike = (
            known or 2 * common >= max(here.total(), there.total()) or 2 * parts >= max(len(old), len(new))
        )
        return common + parts if is_alike else 0

    def _common_parts(self, old: Json, new: Json) -> int:
        form = self._forms.of
        if type(old) is dict:
            return sum([name in new and form(part) == form(new[name]) for name, part in old.items()])
        return (Counter(map(form, old)) & Counter(map(form, new))).total()


def _owners(members: dict[str, Counter[Hashable]]) -> dict[Hashable, str]:
    """Map the leaves that are in one member only to that."""
    counts = Counter([leaf for leaves in members.values() for leaf in leaves])
    return {leaf: name for name, leaves in members.items() for leaf in leaves if counts[leaf] == 1}


def _paired(
    names: list[Hashable], gone: Row[Json], names_there: list[Hashable], come: Row[Json]
) -> list[Pair]:
    """Pair elements of one name, None being none."""
    there = {name: j for name, (j, _) in zip(names_there, come, strict=True) if name is not None}
    return [(i, there[name]) for name, (i, _) in zip(names, gone, strict=True) if name in there]


def _nameless(names: list[Hashable], row: Row[Json]) -> Row[Json]:
    return [indexed for name, indexed in zip(names, row, strict=True) if name is None]


def _without(pairs: list[Pair], base: Row[T], target: Row[T]) -> tuple[Row[T], Row[T]]:
    """Leave out what is paired."""
    here, there = {i for i, _ in pairs}, {j for _, j in pairs}
    return [row for row in base if row[0] not in here], [row for row in target if row[0] not in there]


def _gaps(pairs: list[Pair], base: Row[T], target: Row[T]) -> Iterator[tuple[Row[T], Row[T]]]:
    """Cut two rows at pairs that are in order; where one side has nothing, there is no gap."""
    if not base or not target:
        return
    i = j = 0
    for here, there in pairs:
        i_end, j_end = bisect_left(base, (here,), i), bisect_left(target, (there,), j)
        if i < i_end and j < j_end:
            yield base[i:i_end], target[j:j_end]
        i, j = bisect_left(base, (here + 1,), i_end), bisect_left(target, (there + 1,), j_end)
    if i < len(base) and j < len(target):
        yield base[i:], target[j:]


def _identities(row: Row[Json]) -> Row[Hashable]:
    """Key containers by reference; scalars may be one object by chance."""
    return [(index, id(value)) for index, value in row if type(value) is dict or type(value) is list]


def _only_of(row: Row[Hashable], other: Row[Hashable]) -> Row[Hashable]:
    """Leave out the keys the other row has not."""
    keys = {key for _, key in other}
    return [keyed for keyed in row if keyed[1] in keys]


def _containers(row: Row[Json]) -> Row[Json]:
    return [(index, value) for index, value in row if type(value) is dict or type(value) is list]


def _scalars(row: Row[Json]) -> Row[Json]:
    return [(index, value) for index, value in row if type(value) is not dict and type(value) is not list]


def _anchors(here: Row[Hashable], there: Row[Hashable]) -> list[Pair]:
    """Pair keys that each row has once, as many as are in order: the heart of patience diff."""
    once, once_there = _once(here), _once(there)
    pairs = [(index, once_there[key]) for key, index in once.items() if key in once_there]
    return _longest_rising(pairs)


def _once(row: Row[Hashable]) -> dict[Hashable, int]:
    """Map the keys that occur once to their index, in order."""
    counts = Counter([key for _, key in row])
    return {key: index for index, key in row if counts[key] == 1}


def _longest_rising(pairs: list[Pair]) -> list[Pair]:
    """Choose as many pairs as can be whose second parts rise; the first parts do. O(n log n).

    Of two that changed places, the one that came first stays.
    """
    places = [there for _, there in pairs]
    if places == sorted(places):
        return pairs
    highest: list[int] = []  # by length: minus the highest second part such a choice can begin with
    first: list[int] = []  # by length: which pair that is
    after: dict[int, int] = {}  # by pair: the one chosen after it
    for number in range(len(pairs) - 1, -1, -1):
        there = -pairs[number][1]
        length = bisect_left(highest, there)
        if length:
            after[number] = first[length - 1]
        highest[length : length + 1] = [there]
        first[length : length + 1] = [number]
    chosen: list[Pair] = []
    at = first[-1] if first else None
    while at is not None:
        chosen.append(pairs[at])
        at = after.get(at)
    return chosen


def longest_common(here: Row[Hashable], there: Row[Hashable]) -> list[Pair]:
    """Pair as many equal keys in order as can be.

    Bit-parallel (Hyyrö 2004): a row of the table of lengths is one integer whose bit j is 0 where the length
    grows from column j to j + 1, so a row costs a few operations on integers, not one for each column.
    """
    if len(here) < len(there):
        return [(i, j) for j, i in longest_common(there, here)]
    places: defaultdict[Hashable, int] = defaultdict(int)
    for column, (_, key) in enumerate(there):
        places[key] |= 1 << column
    everywhere = (1 << len(there)) - 1
    flat = everywhere
    rows = [flat]
    for _, key in here:
        grown = flat & places[key]
        flat = ((flat + grown) | (flat - grown)) & everywhere
        rows.append(flat)
    pairs: list[Pair] = []
    row, column = len(here), len(there)
    while row and column:
        if rows[row] >> (column - 1) & 1:
            column -= 1
        elif not rows[row - 1] >> (column - 1) & 1:
            row -= 1
        else:
            row, column = row - 1, column - 1
            pairs.append((here[row][0], there[column][0]))
    return pairs[::-1]


def _heaviest(weights: list[list[int]]) -> list[Pair]:
    """Choose cells that rise in row and column, none of them 0, so that they weigh the most together."""
    columns = len(weights[0])
    best = [[0] * (columns + 1)]
    for row in weights:
        above, left = best[-1], 0
        line = [0]
        for column, weight in enumerate(row):
            left = max(left, above[column + 1], above[column] + weight)
            line.append(left)
        best.append(line)
    chosen: list[Pair] = []
    row_number, column = len(weights), columns
    while row_number and column:
        here = best[row_number][column]
        if here == best[row_number][column - 1]:
            column -= 1
        elif here == best[row_number - 1][column]:
            row_number -= 1
        else:
            row_number, column = row_number - 1, column - 1
            chosen.append((row_number, column))
    return chosen[::-1]


class _Forms:
    """Gives values that are the same one hashable form, and others other ones.

    A container's form is an object of no content, kept for the container (by identity) and for the forms of
    its parts: no container is looked at twice, and no form is large. Nothing a stranger can choose decides
    a hash: long integers, whose hashes could be made to collide, stand as text.
    """

    def __init__(self, depth_max: int) -> None:
        self._depth_max = depth_max
        self._known: dict[int, object] = {}
        self._made: dict[Hashable, object] = {}

    def of(self, value: Json, depth: int = 1) -> Hashable:
        """Give the form of a value; raises LimitExceeded("depth")."""
        kind = type(value)
        if kind is str or value is None:
            return value  # type: ignore[no-any-return]
        if kind is dict or kind is list:
            known = self._known.get(id(value))
            return self._container(value, depth) if known is None else known
        if kind is bool:
            return _TRUE if value else _FALSE
        return _number(value)

    def _container(self, value: Json, depth: int) -> object:
        if depth > self._depth_max:
            raise LimitExceeded("depth")
        parts: Hashable
        if type(value) is dict:
            parts = frozenset([(name, self.of(part, depth + 1)) for name, part in value.items()])
        else:
            parts = tuple([self.of(part, depth + 1) for part in value])
        form = self._known[id(value)] = self._made.setdefault(parts, object())
        return form


_TRUE: Final = object()
_FALSE: Final = object()


def _number(value: int | float) -> Hashable:
    if -(2**60) < value < 2**60:
        return value
    if type(value) is float:
        if not value.is_integer():
            return value
        value = int(value)
    return ("number", hex(value))  # type: ignore[arg-type]
