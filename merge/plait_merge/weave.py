"""Two strands over one base, woven: what is clean, and what clashes.

A conflict is a set of effects of theirs and a set of effects of yours. `theirs` keeps the first and drops the
second, `yours` the other way round, `base` drops both: so any combination of choices is a set of effects, and
one writer turns every set into a patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from plait_merge.effect import Act, Effect, Effects
from plait_merge.layer import Layer
from plait_merge.needs import Needs
from plait_merge.outcome import KINDS, Note, Patch
from plait_merge.overlap import Clash, Member, Overlaps, base_tokens
from plait_merge.patch import Operation, apply_operations, read_patch
from plait_merge.pointer import Tokens, format_pointer, pointer_order
from plait_merge.strand import BASE, THEIRS, YOURS, Node, Strand, weft
from plait_merge.values import ABSENT, Absent, Json, same
from plait_merge.writer import write, write_settled

Operations = Sequence[Operation]
GUARD_REPLAYS_MAX = 16  # tests judged by a replay of all before them; further ones fail unseen


@dataclass(slots=True, eq=False)
class Knot:
    """Clashes that share an effect, or of which one needs another: they can only be settled together."""

    clash: Clash  # the one that gives kind and pointer
    theirs: set[Effect]
    yours: set[Effect]

    @property
    def effects(self) -> set[Effect]:
        return self.theirs | self.yours


class Guard(NamedTuple):
    """A `test` of yours: the operation's index, what it looked at, the value it wants, and where."""

    operation: int
    node: Node
    value: Json
    path: Tokens


class Weave:
    """Compare *theirs* (patches in order) and *yours* over *base*; all must apply where they belong."""

    def __init__(self, base: Json | Absent, theirs: Sequence[Operations], yours: Operations) -> None:
        self.base = base
        self.patches = theirs
        self.operations = yours
        void = weft(base)
        strands = Strand(void, THEIRS), Strand(void, YOURS)
        for index, operations in enumerate(theirs):
            strands[0].replay(operations, index)
        strands[1].replay(yours)
        self.theirs = Effects(strands[0])
        self.yours = Effects(strands[1])
        self.overlaps = Overlaps(self.theirs, self.yours)
        self.contested: set[Effect] = set()
        self.overlaps.find_circles(set())
        self.knots = self._tie() if self.overlaps.clashes else []
        self._replays: dict[int, Weave] = {}
        self.failed = [guard for test in strands[1].tests if not self._holds(guard := Guard(*test))]

    @property
    def is_clean(self) -> bool:
        return not self.knots and not self.failed

    # Clean.

    def write(self) -> Patch:
        """Write what yours did on theirs. Only for a clean weave, and only once: it is written in place."""
        made = [effect for effect in self.yours.all if not effect.agreed]
        return write(self.theirs, self.yours, made, last=True)

    def notes(self) -> tuple[Note, ...]:
        """Tell of copies whose source theirs has changed since."""
        there = self.yours.strand
        return tuple(
            Note("stale_copy", copy.operation, format_pointer(there.tokens(copy.node)))
            for copy in there.copies
            if not there.gone(copy.node) and self._is_stale(copy.source)
        )

    def _is_stale(self, source: Node) -> bool:
        here = self.theirs.strand
        if source.mint != BASE:
            return False
        return here.gone(source) or (
            source in self.theirs.stirred and not same(here.value(source), source.raw)
        )

    # Knots.

    def _tie(self) -> list[Knot]:
        self.needs = Needs(self.theirs, self.yours, self.overlaps.alike)
        clashes = self.overlaps.clashes
        grown = True
        while grown:  # what lies on a circle is contested, and what needs that may be dropped too
            contested = {effect for clash in clashes for effect in clash.effects}
            grown = self.overlaps.find_circles(contested | set(self.needs.dependents(contested)))
        groups = _Groups()
        for clash in clashes:
            groups.join(clash.effects)
            self.contested.update(clash.effects)
        within = [(inner, outer) for inner, outer in self.overlaps.within if outer in self.contested]
        for inner, outer in within:
            groups.join((outer, inner))
        self.contested.update(inner for inner, _ in within)
        self.needs.link_copies(self.contested)
        for effect in [effect for effect in self.contested if effect.needs]:
            groups.join([effect, *(need for need in self.needs.of(effect) if need in self.contested)])
        knots: dict[Effect, Knot] = {}
        for clash in clashes:
            top = groups.find(clash.effects[0])
            knot = knots.get(top)
            if knot is None:
                knots[top] = Knot(clash, set(), set())
            elif self._rank(clash) < self._rank(knot.clash):
                knot.clash = clash
        for effect in self.contested:
            knot = knots[groups.find(effect)]
            (knot.theirs if effect.side == THEIRS else knot.yours).add(effect)
        return list(knots.values())

    def _rank(self, clash: Clash) -> tuple[int, object]:
        return KINDS.index(clash.kind), pointer_order(self.pointer(clash.subject))

    def pointer(self, subject: Node | Member) -> list[str]:
        """Return where base has an identity, or would have a member, as tokens."""
        if isinstance(subject, Node):
            return base_tokens(subject)
        owner = subject.body.owner
        if owner is self.theirs.strand.void:
            return []
        if owner.mint == BASE:
            return [*base_tokens(owner), subject.name]
        here = self.theirs.strand  # in an object both added
        up, at = here.up(owner), here.slot(owner)
        assert up is not None
        assert isinstance(at, str)
        return [*self.pointer(Member(up, at)), subject.name]

    # Guards.

    def _holds(self, guard: Guard) -> bool:
        """Say whether a test that is true on base is true where yours is replayed on theirs."""
        here = self.theirs.strand
        node = guard.node
        before = [o for o in self.operations[: guard.operation] if o.op != "test"]
        untouched = node.mint == BASE and not here.gone(node) and node not in self.theirs.stirred
        if untouched and not any(o.op == "move" for o in before):
            return True
        if not before:
            return not here.gone(node) and same(here.value(node), guard.value)
        replay = self._replays.get(len(before))
        if replay is None:
            if len(self._replays) == GUARD_REPLAYS_MAX:
                return False
            replay = self._replays[len(before)] = Weave(self.base, self.patches, before)
        return replay.shows(guard)

    def shows(self, guard: Guard) -> bool:
        """Say whether a guard holds where yours wins every conflict."""
        undone: set[Effect] = set()
        made = {effect for effect in self.yours.all if not effect.agreed and not effect.implied}
        if self.knots:
            chosen = {effect for knot in self.knots for effect in knot.yours}
            undone = self.needs.fallen({effect for knot in self.knots for effect in knot.theirs})
            made = self.needs.standing(made | chosen, chosen, self.contested, undone)
        node = self.yours.strand.find(guard.path)
        world = Layer(self.theirs.strand)
        patch = write_settled(world, self.theirs, self.yours, self.in_order(made), undone)
        at = self._tokens_in(world, node)
        if at is None:
            return False
        there = apply_operations(self.theirs.strand.document(), read_patch(patch))
        return same(apply_operations(there, [Operation("copy", (), tuple(at), ABSENT)]), guard.value)

    def _tokens_in(self, world: Strand, node: Node) -> list[str] | None:
        """Return where a thing of yours is in the world, where what both sides added alike is one thing."""
        maker = self.yours.maker(node) if node.mint == YOURS else None
        twin = None if maker is None else self.overlaps.alike.get(maker)
        if maker is None or twin is None or maker.act is not Act.ARRIVE:
            return None if world.gone(node) else world.tokens(node)
        if world.gone(twin.node):
            return None
        there = self.yours.strand
        return world.tokens(twin.node) + there.tokens(node)[len(there.tokens(maker.node)) :]

    def in_order(self, made: Iterable[Effect]) -> list[Effect]:
        """Return effects of yours in the order they are listed, which no hash seed changes."""
        return sorted(made, key=lambda effect: effect.number)


class _Groups:
    """Sets of effects that belong together (union-find)."""

    def __init__(self) -> None:
        self._up: dict[Effect, Effect] = {}

    def find(self, effect: Effect) -> Effect:
        top = effect
        while (up := self._up.get(top, top)) is not top:
            top = up
        while effect is not top:
            self._up[effect], effect = top, self._up[effect]
        return top

    def join(self, effects: Iterable[Effect]) -> None:
        first, *others = [self.find(effect) for effect in effects]
        for other in others:
            self._up[self.find(other)] = self.find(first)
