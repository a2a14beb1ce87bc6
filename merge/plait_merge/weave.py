"""Two strands over one base, woven: what is clean, what clashes, and any settlement of it as a patch.

A conflict is a set of effects of theirs and a set of effects of yours. `theirs` keeps the first and drops the
second, `yours` the other way round, `base` drops both: so any combination of choices is a set of effects, and
one writer turns every set into a patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from plait_merge.diff import diff
from plait_merge.effect import Act, Effect, Effects
from plait_merge.outcome import KINDS, Choice, Conflict, Conflicted, Dependent, Facet, Note, Patch
from plait_merge.overlap import Clash, Member, Overlaps, base_tokens, pointer_order
from plait_merge.patch import Operation, apply_operations, read_patch
from plait_merge.pointer import Tokens, format_pointer
from plait_merge.strand import BASE, THEIRS, YOURS, Node, Strand, weft
from plait_merge.values import ABSENT, Absent, Json, same
from plait_merge.writer import Layer, Writer

Operations = Sequence[Operation]


class ChoiceError(ValueError):
    """A choice that is missing, unknown, or without meaning for its conflict. `.conflict` is its id."""

    def __init__(self, conflict: str, detail: str) -> None:
        super().__init__(f"conflict {conflict}: {detail}")
        self.conflict = conflict
        self.detail = detail


@dataclass(slots=True, eq=False)
class Knot:
    """Clashes that share an effect and so can only be settled together."""

    clash: Clash  # the one that gives kind and pointer
    theirs: set[Effect]
    yours: set[Effect]


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
        self.knots = self._tie(self.overlaps.clashes)
        self.failed = [test for test in strands[1].tests if not self._holds(*test)]

    @property
    def is_clean(self) -> bool:
        return not self.knots and not self.failed

    # Clean.

    def write(self) -> Patch:
        """Write what yours did on theirs. Only for a clean weave, and only once: it is written in place."""
        made = [effect for effect in self.yours.all if not effect.agreed]
        world = Layer(self.theirs.strand) if self.yours.moved else self.theirs.strand
        return Writer(world, self.theirs, self.yours, made).write()

    def notes(self) -> tuple[Note, ...]:
        """Tell of copies whose source theirs has changed since."""
        here, there = self.theirs.strand, self.yours.strand
        return tuple(
            Note("stale_copy", copy.operation, format_pointer(there.tokens(copy.node)))
            for copy in there.copies
            if not there.gone(copy.node) and self._is_stale(copy.source, here)
        )

    def _is_stale(self, source: Node, here: Strand) -> bool:
        if source.mint != BASE or (not here.gone(source) and source not in self.theirs.stirred):
            return False
        return here.gone(source) or not same(here.value(source), source.raw)

    # Guards.

    def _holds(self, operation: int, node: Node, value: Json, path: Tokens) -> bool:
        """Say whether a test that is true on base is true where yours is replayed on theirs."""
        here = self.theirs.strand
        if node.mint == BASE and not here.gone(node) and node not in self.theirs.stirred:
            return True
        before = [o for o in self.operations[:operation] if o.op != "test"]
        if not before:
            return not here.gone(node) and same(here.value(node), value)
        return Weave(self.base, self.patches, before).shows(path, value)

    def shows(self, path: Tokens, value: Json) -> bool:
        """Say whether the identity yours has at *path* has *value* where yours wins every conflict."""
        made, undone = self._closed(
            {effect for effect in self.yours.all if not effect.agreed and not effect.implied}
            | {effect for knot in self.knots for effect in knot.yours},
            {effect for knot in self.knots for effect in knot.theirs},
        )
        node = self.yours.strand.find(path)
        world = Layer(self.theirs.strand)
        patch = Writer(world, self.theirs, self.yours, self._listed(made), undone, plain=False).write()
        at = self._tokens_in(world, node)
        if at is None:
            return False
        there = apply_operations(self.theirs.strand.document(), read_patch(patch))
        return same(apply_operations(there, [Operation("copy", (), tuple(at), ABSENT)]), value)

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

    # Conflicts.

    def _tie(self, clashes: Sequence[Clash]) -> list[Knot]:
        """Tie clashes that share an effect, or of which one needs an effect of another."""
        if not clashes:
            return []
        self._link()
        groups = _Groups()
        for clash in clashes:
            groups.join(clash.effects)
        contested = {effect for clash in clashes for effect in clash.effects}
        within = [(inner, outer) for inner, outer in self.overlaps.within if outer in contested]
        for inner, outer in within:
            groups.join((outer, inner))
        contested.update(inner for inner, _ in within)
        self._link_copies(contested)
        for effect in contested:
            groups.join([effect, *(need for need in _all_needs(effect) if need in contested)])
        knots: dict[Effect, Knot] = {}
        for clash in clashes:
            top = groups.find(clash.effects[0])
            knot = knots.get(top)
            if knot is None:
                knots[top] = knot = Knot(clash, set(), set())
            elif self._rank(clash) < self._rank(knot.clash):
                knot.clash = clash
        for effect in contested:
            knot = knots[groups.find(effect)]
            (knot.theirs if effect.side == THEIRS else knot.yours).add(effect)
        return sorted(knots.values(), key=lambda knot: pointer_order(self._pointer(knot.clash.subject)))

    def _rank(self, clash: Clash) -> tuple[int, object]:
        return KINDS.index(clash.kind), pointer_order(self._pointer(clash.subject))

    def _pointer(self, subject: Node | Member) -> list[str]:
        if isinstance(subject, Node):
            return base_tokens(subject)
        owner = subject.body.owner
        if owner is self.theirs.strand.void:
            return []
        return [*(base_tokens(owner) if owner.mint == BASE else self._pointer_of_added(owner)), subject.name]

    def _pointer_of_added(self, node: Node) -> list[str]:
        view = self.theirs.strand.views.get(node)
        up, at = (node.up, node.at) if view is None else (view.up, view.at)
        assert up is not None
        assert isinstance(at, str)
        return self._pointer(Member(up, at))

    def conflicted(self) -> Conflicted:
        """Return all conflicts, and what of yours is clean."""
        woven = [(self._conflict(knot), knot) for knot in self.knots]
        conflicts = [*_together(self._guards()), *(conflict for conflict, _ in woven)]
        self.by_id = {conflict.id: knot for conflict, knot in woven}
        conflicts.sort(key=lambda conflict: _order(conflict.pointer))
        if self.failed:
            return Conflicted(tuple(conflicts), [], (), _weave=self)
        made = self._clean()
        waiting = {index for knot in self.knots for effect in knot.yours for index in effect.why}
        waiting |= {i for e in self.yours.all if not e.agreed and e not in made for i in e.why}
        clean = tuple(i for i in range(len(self.operations)) if i not in waiting)
        return Conflicted(tuple(conflicts), self._write(made, set()), clean, _weave=self)

    def _guards(self) -> list[Conflict]:
        here = self.theirs.strand
        guards = []
        for operation, node, value, path in self.failed:
            living = not here.gone(node) if node.mint == BASE else False
            causes = [e for e in self.theirs.all if node in self._around(e)]
            guards.append(
                Conflict(
                    kind="guard",
                    pointer=format_pointer(base_tokens(node) if node.mint == BASE else path),
                    pointer_theirs=format_pointer(here.tokens(node)) if living else None,
                    pointer_yours=format_pointer(path),
                    base=Facet(node.raw if node.mint == BASE else ABSENT),
                    theirs=Facet(here.value(node) if living else ABSENT),
                    yours=Facet(value),
                    your_operations=(operation,),
                    their_patches=tuple(sorted({i for e in causes for i in e.why})),
                    _settle=_only_theirs,
                )
            )
        return guards

    def _around(self, effect: Effect) -> set[Node]:
        """Return the identities of base that an effect of theirs is at, in or around."""
        around: set[Node] = set()
        for start in (effect.node, effect.body):
            node = start.owner if start is not None and start.mint == BASE else None
            while node is not None:
                around.add(node)
                node = node.up.owner if node.up is not None else None
        if effect.act in (Act.DEAD, Act.CONTENT):
            return _Below(effect.node, around)
        return around

    def _conflict(self, knot: Knot) -> Conflict:
        subject = knot.clash.subject
        here, there = self.theirs.strand, self.yours.strand
        if isinstance(subject, Node):
            nodes: tuple[Node | None, Node | None] = (subject, subject)
            base = subject.raw
        else:
            found = {e.side: e.node for e in knot.clash.effects if e.at == subject.name and e.is_arrival}
            nodes = (found.get(THEIRS), found.get(YOURS))
            base = ABSENT
        theirs, yours = _facet(here, nodes[0]), _facet(there, nodes[1])
        return Conflict(
            kind=knot.clash.kind,
            pointer=format_pointer(self._pointer(subject)),
            pointer_theirs=theirs[0],
            pointer_yours=yours[0],
            base=Facet(base),
            theirs=theirs[1],
            yours=yours[1],
            your_operations=tuple(sorted({i for e in knot.yours for i in e.why})),
            their_patches=tuple(sorted({i for e in knot.theirs for i in e.why})),
            depends=self._depends(knot),
            _settle=lambda conflict: self._resolutions(knot),
        )

    def _depends(self, knot: Knot) -> tuple[Dependent, ...]:
        there = self.yours.strand
        clashing = {e for k in self.knots for e in k.yours}
        found = [e for e in self.yours.all if e not in clashing and not e.agreed and _reaches(e, knot.yours)]
        return tuple(
            Dependent(
                None if there.gone(e.node) else format_pointer(there.tokens(e.node)),
                tuple(sorted(set(e.why))),
            )
            for e in found
        )

    # What an effect needs of its own side.

    def _link(self) -> None:
        for side in (self.theirs, self.yours):
            for effect in list(side.all):
                self._link_effect(side, effect)

    def _link_effect(self, side: Effects, effect: Effect) -> None:
        if effect.is_arrival:
            self._link_container(side, effect)
            self._link_member(side, effect)
        if effect.act in (Act.DEAD, Act.CONTENT):
            for moved in side.moved:
                if moved is not effect.node and _left(side.strand, moved, effect.node):
                    effect.needs.append(side.place[moved])

    def _link_container(self, side: Effects, effect: Effect) -> None:
        """A thing needs what it lies in to be there, and not inside the thing itself."""
        strand = side.strand
        body = effect.body
        assert body is not None
        if body.mint == strand.side:
            cause = side.content.get(body.owner) if body.owner.mint == BASE else side.maker(body.owner)
            if cause is not None:
                effect.needs.append(cause)
        if effect.act is Act.PLACE:
            for holder in strand.chain(effect.node):
                if holder in side.place and _came_from(holder, effect.node):
                    effect.needs.append(side.place[holder])

    def _link_member(self, side: Effects, effect: Effect) -> None:
        """A thing at a member needs what base has there to be gone."""
        body = effect.body
        assert body is not None
        if body.mint != BASE or not isinstance(body.raw, dict) or effect.at not in body.raw:
            return
        occupant = body.kid(effect.at)
        if occupant is effect.node:
            return
        cause = side.place.get(occupant) or side.dead.get(occupant)
        if cause is not None:
            effect.needs.append(cause)

    def _link_copies(self, contested: set[Effect]) -> None:
        """A clean copy of what its side set needs what it set."""
        for side in (self.theirs, self.yours):
            copies = [
                c for c in side.strand.copies if side.arrive.get(c.node, None) not in (None, *contested)
            ]
            inside = side.set_inside if copies else {}
            for copy in copies:
                effect = side.arrive[copy.node]
                seen = [cause for cause in inside.get(copy.source, ()) if cause is not effect]
                held = side.maker(copy.source)
                causes = seen if held is None else [held, *seen]
                if side.strand.body(copy.source).born < copy.step or held is None:
                    effect.needs.extend(e for e in causes if side.strand.body(e.node).born < copy.step)

    # Settling.

    def _clean(self) -> set[Effect]:
        clashing = {e for knot in self.knots for e in knot.yours}
        made, _ = self._closed({e for e in self.yours.all if not e.agreed and e not in clashing}, set())
        return made

    def _closed(self, made: set[Effect], undone: set[Effect]) -> tuple[set[Effect], set[Effect]]:
        """Drop from *made*, and add to *undone*, what cannot be without something that is dropped."""
        kept = made | {effect for effect in self.yours.all if effect.agreed}
        undone = set(undone)
        changed = True
        while changed:
            lost = {e for e in kept if any(need not in kept for need in e.needs)}
            fallen = {e for e in self.theirs.all if e not in undone and any(n in undone for n in e.needs)}
            kept -= lost
            undone |= fallen
            changed = bool(lost or fallen)
        twins = self.overlaps.alike
        return {e for e in kept if not e.agreed or twins.get(e) in undone}, undone

    def _write(
        self,
        made: set[Effect],
        undone: set[Effect],
        values: dict[Node, Json] | None = None,
        members: dict[tuple[Node, str], Json] | None = None,
    ) -> Patch:
        return Writer(
            Layer(self.theirs.strand), self.theirs, self.yours, self._listed(made), undone, values, members
        ).write()

    def _listed(self, made: set[Effect]) -> list[Effect]:
        return [effect for effect in self.yours.all if effect in made]

    def _resolutions(self, knot: Knot) -> dict[str, Patch]:
        """Write each choice for one conflict, the others left as theirs, what depends on it included."""
        found: dict[str, Patch] = {}
        for choice in ("theirs", "yours", "base", "both"):
            if self.offers(knot, choice):
                found[choice] = [] if choice == "theirs" else self.settle({id(knot): choice}, alone=True)
        return found

    def offers(self, knot: Knot, choice: str) -> bool:
        """Say whether *choice* has a meaning for this conflict."""
        if choice == "base":
            return not any(e.implied for e in (*knot.theirs, *knot.yours))
        if choice == "both":
            return self._both(knot) is not None
        return True

    def _both(self, knot: Knot) -> Facet | None:
        """Return the deep merge of two contents, where it is clean."""
        node = knot.clash.subject
        if knot.clash.kind not in ("edit_edit", "replace_edit") or not isinstance(node, Node):
            return None
        if self.theirs.moved or self.yours.moved or not isinstance(node.raw, (dict, list)):
            return None
        theirs, yours = self.theirs.strand.value(node), self.yours.strand.value(node)
        if not isinstance(theirs, type(node.raw)) or not isinstance(yours, type(node.raw)):
            return None
        return _merged(node.raw, theirs, yours)

    def settle(self, choices: Mapping[int, Choice], *, alone: bool = False) -> Patch:
        """Write a settlement: a choice by `id(knot)`, `theirs` where none is given.

        *alone* leaves out what of yours is clean and does not depend on a knot chosen.
        """
        chosen = [(knot, choices.get(id(knot), "theirs")) for knot in self.knots]
        made: set[Effect] = set()
        undone: set[Effect] = set()
        values: dict[Node, Json] = {}
        members: dict[tuple[Node, str], Json] = {}
        for knot, choice in chosen:
            side = self._put_value(knot, choice, values, members)
            if side in ("yours", "base"):
                undone |= knot.theirs
            if side == "yours":
                made |= knot.yours
        clashing = {e for knot in self.knots for e in knot.yours}
        free = {e for e in self.yours.all if not e.agreed and e not in clashing}
        if alone:
            free = {e for e in free if _reaches(e, made)}
        made, undone = self._closed(made | free, undone)
        return self._write(made, undone, values, members)

    def resolved(self, conflicts: Iterable[Conflict], choices: Mapping[str, Choice]) -> Patch:
        """Write the settlement *choices* ask for, by conflict id. Raises ChoiceError."""
        known = {conflict.id: conflict for conflict in conflicts}
        for name in choices.keys() - known.keys():
            raise ChoiceError(name, "there is no such conflict")
        for name, conflict in known.items():
            if name not in choices:
                raise ChoiceError(name, "has no choice")
            self._check_choice(conflict, choices[name])
        if self.failed:
            return []
        return self.settle({id(knot): choices[name] for name, knot in self.by_id.items()})

    def _check_choice(self, conflict: Conflict, choice: Choice) -> None:
        if isinstance(choice, str):
            knot = self.by_id.get(conflict.id)
            if choice not in ("theirs", "yours", "base", "both"):
                raise ChoiceError(conflict.id, f"{choice[:40]!r} is no choice")
            if choice != "theirs" and (self.failed or knot is None or not self.offers(knot, choice)):
                raise ChoiceError(conflict.id, f"{choice!r} has no meaning for it")
        elif not isinstance(choice, Mapping) or choice.keys() != {"value"}:
            raise ChoiceError(conflict.id, 'a choice is a word or {"value": …}')
        elif self.failed or conflict.kind in ("move_move", "cycle"):
            raise ChoiceError(conflict.id, "a value has no meaning for it")

    def _put_value(
        self,
        knot: Knot,
        choice: Choice,
        values: dict[Node, Json],
        members: dict[tuple[Node, str], Json],
    ) -> str:
        """Note a chosen value, and return the side whose effects go with it."""
        if isinstance(choice, str) and choice != "both":
            return choice
        if isinstance(choice, str):
            both = self._both(knot)
            assert both is not None
            value: Json = both.value
        else:
            value = choice["value"]
        subject = knot.clash.subject
        if isinstance(subject, Member):
            members[subject.body, subject.name] = value
            return "theirs"
        values[subject] = value
        return "yours" if self.theirs.strand.gone(subject) else "theirs"


class _Below(set[Node]):
    """A set of nodes, and all that came in with one of them."""

    def __init__(self, top: Node, others: set[Node]) -> None:
        super().__init__(others)
        self.top = top

    def __contains__(self, node: object) -> bool:
        while isinstance(node, Node):
            if node is self.top or set.__contains__(self, node):
                return True
            node = node.up.owner if node.up is not None else None
        return False


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


def _facet(strand: Strand, node: Node | None) -> tuple[str | None, Facet]:
    if node is None or strand.gone(node):
        return None, Facet(ABSENT)
    return format_pointer(strand.tokens(node)), Facet(strand.value(node))


def _came_from(node: Node, holder: Node) -> bool:
    """Say whether base has *node* inside *holder*."""
    up = node.up
    while up is not None:
        if up.owner is holder:
            return True
        up = up.owner.up
    return False


def _left(strand: Strand, moved: Node, holder: Node) -> bool:
    """Say whether *moved* was taken out of *holder*, not out of something that was itself taken out."""
    up = moved.up
    if up is None or not _came_from(moved, holder):
        return False
    return up.owner is holder or strand.gone(up.owner)


def _reaches(effect: Effect, wanted: set[Effect]) -> bool:
    """Say whether *effect* needs, directly or by others, one of *wanted*."""
    return any(need in wanted for need in _all_needs(effect))


def _all_needs(effect: Effect) -> Iterator[Effect]:
    """Yield what *effect* needs, directly or by others."""
    seen: set[Effect] = set()
    stack = [effect]
    while stack:
        for need in stack.pop().needs:
            if need not in seen:
                seen.add(need)
                stack.append(need)
                yield need


def _order(pointer: str) -> list[tuple[int, int, str]]:
    return pointer_order(pointer.split("/")[1:])


def _together(guards: Iterable[Conflict]) -> list[Conflict]:
    """Report the same test only once, with all operations that made it."""
    found: dict[str, Conflict] = {}
    for guard in guards:
        first = found.get(guard.id)
        operations = guard.your_operations if first is None else first.your_operations + guard.your_operations
        found[guard.id] = replace(guard, your_operations=operations)
    return list(found.values())


def _only_theirs(conflict: Conflict) -> dict[str, Patch]:
    return {"theirs": []}


def _merged(base: Json, theirs: Json, yours: Json) -> Facet | None:
    """Merge three values, or None where that is not clean."""
    chain, patch = [read_patch(diff(base, theirs))], read_patch(diff(base, yours))
    weave = Weave(base, chain, patch)
    if not weave.is_clean:
        return None
    return Facet(apply_operations(theirs, read_patch(weave.write())))
