"""Two strands over one base, woven: what is clean, and what clashes.

A conflict is a set of effects of theirs and a set of effects of yours. `theirs` keeps the first and drops the
second, `yours` the other way round, `base` drops both: so any combination of choices is a set of effects, and
one writer turns every set into a patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from plait_merge.effect import Act, Effect, Effects
from plait_merge.layer import Layer
from plait_merge.needs import Needs
from plait_merge.outcome import KINDS, Note, NoteKind, Patch
from plait_merge.overlap import Clash, Overlaps
from plait_merge.patch import Operation, apply_operations, read_patch
from plait_merge.pointer import Tokens, format_pointer, pointer_order
from plait_merge.policy import Policy
from plait_merge.strand import BASE, THEIRS, YOURS, Node, Strand, weft
from plait_merge.subject import Element, Subject, subject_tokens
from plait_merge.values import BOUNDLESS, Absent, Json, find, same
from plait_merge.writer import write, write_settled

Operations = Sequence[Operation]
GUARD_REPLAYS_MAX = 16  # tests judged by a replay of all before them; further ones fail unseen


@dataclass(slots=True, eq=False)
class Knot:
    """Clashes that share an effect, or of which one needs another: they can only be settled together."""

    clash: Clash  # the one that gives kind and pointer
    clashes: list[Clash]
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


class Outcome(NamedTuple):
    """What a merge comes to: effects of yours made, of theirs taken back, and values put in their places."""

    made: set[Effect]
    undone: set[Effect]
    values: Mapping[Node, Json] = {}
    members: Mapping[tuple[Node, str], Json] = {}


class Weave:
    """Compare *theirs* (patches in order) and *yours* over *base*; all must apply where they belong."""

    def __init__(
        self,
        base: Json | Absent,
        theirs: Sequence[Operations],
        yours: Operations,
        policy: Policy | None = None,
    ) -> None:
        self.base = base
        self.policy = policy
        self.patches = theirs
        self.operations = yours
        void = weft(base)
        strands = Strand(void, THEIRS, policy), Strand(void, YOURS, policy)
        for index, operations in enumerate(theirs):
            strands[0].replay(operations, index)
        strands[1].replay(yours)
        self.theirs = Effects(strands[0])
        self.yours = Effects(strands[1])
        self.overlaps = Overlaps(self.theirs, self.yours, policy)
        self.contested: set[Effect] = set()
        self.overlaps.find_circles(set())
        self.knots = self._tie() if self.overlaps.clashes else []
        self._replays: dict[int, Weave] = {}
        # Whether more than conflicts may come of it: a policy decides some, and what was added adds up.
        self.is_ruled = bool(policy is not None or strands[0].added or strands[1].added)
        self.guards = [Guard(*test) for test in strands[1].tests]
        self.failed = [guard for guard in self.guards if not self._holds(guard)]

    @property
    def is_clean(self) -> bool:
        return not self.knots and not self.failed

    # Clean.

    def write(self) -> Patch:
        """Write what yours did on theirs. Only for a clean weave, and only once: it is written in place."""
        made = [effect for effect in self.yours.all if not effect.agreed]
        return write(self.theirs, self.yours, made, last=True)

    def notes(self) -> tuple[Note, ...]:
        """Tell of copies whose source theirs has changed since, and what keys made of elements of yours."""
        there = self.yours.strand
        stale = [
            Note("stale_copy", copy.operation, format_pointer(there.tokens(copy.node)))
            for copy in there.copies
            if not there.gone(copy.node) and self._is_stale(copy.source)
        ]
        elements = self.overlaps.elements
        if elements is None:
            return tuple(stale)
        return (*stale, *self._noted("keyed", elements.joined), *self._noted("unkeyed", elements.keyless))

    def _noted(self, note: NoteKind, added: Iterable[Effect]) -> Iterator[Note]:
        there = self.yours.strand
        for effect in added:
            yield Note(note, effect.first, format_pointer(there.tokens(effect.node)))

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
                knots[top] = Knot(clash, [clash], set(), set())
                continue
            knot.clashes.append(clash)
            if self._rank(clash) < self._rank(knot.clash):
                knot.clash = clash
        for effect in self.contested:
            knot = knots[groups.find(effect)]
            (knot.theirs if effect.side == THEIRS else knot.yours).add(effect)
        return list(knots.values())

    def _rank(self, clash: Clash) -> tuple[int, object]:
        tokens = subject_tokens(clash.subject, self.theirs.strand)
        return KINDS.index(clash.kind), pointer_order(tokens)

    def pointer(self, subject: Subject) -> str:
        """Return where base has an identity, or would have what was added."""
        return format_pointer(subject_tokens(subject, self.theirs.strand))

    def pointers(self, clash: Clash) -> tuple[str, str | None]:
        """Return where base and yours have what a clash is about; None where yours has nothing."""
        node, there = self.nodes(clash)[1], self.yours.strand
        at = None if node is None or there.gone(node) else format_pointer(there.tokens(node))
        return self.pointer(clash.subject), at

    def nodes(self, clash: Clash) -> tuple[Node | None, Node | None]:
        """Return what theirs and yours have where a clash is; None where a side put nothing."""
        subject = clash.subject
        if isinstance(subject, Node):
            return subject, subject
        if isinstance(subject, Element):
            return subject.theirs, subject.yours
        put = {effect.side: effect.node for effect in clash.effects}
        return put.get(THEIRS), put.get(YOURS)

    # Guards.

    def _holds(self, guard: Guard) -> bool:
        """Say whether a test that is true on base is true where yours is replayed on theirs."""
        here, node = self.theirs.strand, guard.node
        if not self.is_replayed(guard):
            return self._is_untouched(node) or (not here.gone(node) and same(here.value(node), guard.value))
        if len(self._replays) == GUARD_REPLAYS_MAX and len(self._before(guard)) not in self._replays:
            return False
        replay = self.replay_before(guard)
        return replay.shows(guard, replay.outcome_of_yours())

    def is_replayed(self, guard: Guard) -> bool:
        """Say whether what precedes a guard may matter to it."""
        before = self._before(guard)
        return bool(before) and not (
            self._is_untouched(guard.node) and all(operation.op != "move" for operation in before)
        )

    def _is_untouched(self, node: Node) -> bool:
        return node.mint == BASE and not self.theirs.strand.gone(node) and node not in self.theirs.stirred

    def _before(self, guard: Guard) -> list[Operation]:
        return [o for o in self.operations[: guard.operation] if o.op != "test"]

    def replay_before(self, guard: Guard) -> Weave:
        """Return this weave with no more of yours than what precedes a guard."""
        before = self._before(guard)
        replay = self._replays.get(len(before))
        if replay is None:
            replay = self._replays[len(before)] = Weave(self.base, self.patches, before, self.policy)
        return replay

    def outcome_of_yours(self) -> Outcome:
        """Return what there is where yours wins every conflict."""
        made = {effect for effect in self.yours.all if not effect.agreed and not effect.implied}
        if not self.knots:
            return Outcome(made, set())
        chosen = {effect for knot in self.knots for effect in knot.yours}
        undone = {effect for knot in self.knots for effect in knot.theirs}
        undone = self.needs.fallen(undone, chosen, self.contested)
        return Outcome(self.needs.standing(made | chosen, chosen, self.contested, undone), undone)

    def shows(self, guard: Guard, outcome: Outcome) -> bool:
        """Say whether a guard behind all of this is true of an outcome."""
        node = self.yours.strand.find(guard.path)
        world = Layer(self.theirs.strand)
        patch = self.write_outcome(world, outcome)
        at = self._tokens_in(world, node)
        if at is None:
            return False
        # Within the limits or not: that is for the answer to say, of which this is no part.
        operations = read_patch(patch, BOUNDLESS)
        there = apply_operations(self.theirs.strand.document(), operations, BOUNDLESS)
        return same(find(there, tuple(at)), guard.value)

    def write_outcome(self, world: Layer, outcome: Outcome) -> Patch:
        """Write an outcome as a patch against theirs."""
        made, undone, values, members = outcome
        if not made and not undone and not values and not members:
            return []
        written = [effect for effect in self.in_order(made) if not self._is_overwritten(effect, outcome)]
        return write_settled(world, self.theirs, self.yours, written, undone, values, members)

    def _is_overwritten(self, effect: Effect, outcome: Outcome) -> bool:
        """Say whether what an effect sets makes room for a chosen value at once."""
        if isinstance(self.yours.strand.body(effect.node).raw, (dict, list)):
            return False
        if effect.act is Act.CONTENT:
            return effect.node in outcome.values
        return effect.act is Act.ARRIVE and (effect.body, effect.at) in outcome.members

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
