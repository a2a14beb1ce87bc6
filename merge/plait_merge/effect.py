"""Net effects: what one side did, in the end, to each identity.

Intermediate places do not exist for the other side; only what is left when a whole chain has been replayed
is compared (merge.md, section 4, rule 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from functools import cached_property

from plait_merge.strand import BASE, Copy, Node, Slot, Strand
from plait_merge.values import same


class Act(Enum):
    DEAD = auto()  # an identity of base cannot be reached any more
    PLACE = auto()  # an identity of base is somewhere else
    CONTENT = auto()  # an identity of base holds something new
    ARRIVE = auto()  # something new is in a container of base


class Effect:
    """One facet of one identity, changed by one side.

    `body` and `at` say where a PLACE or ARRIVE puts it; `why` which operations (theirs: patches) made it;
    `agreed` that the other side did the same; `implied` that a removal took it along with what held it;
    In an object both sides added, `outer` is what theirs added and `own` the body yours had it in.
    `needs` lists the effects of the same side without which it cannot be; `number` counts a side's effects.
    """

    __slots__ = (
        "act",
        "agreed",
        "at",
        "body",
        "implied",
        "needs",
        "node",
        "number",
        "outer",
        "own",
        "side",
        "why",
    )

    def __init__(
        self, act: Act, side: int, node: Node, why: list[int], body: Node | None = None, at: Slot = ""
    ) -> None:
        self.act = act
        self.side = side
        self.node = node
        self.why = why
        self.body = body
        self.at = at
        self.agreed = False
        self.implied = False
        self.needs: list[Effect] = []
        self.number = 0
        self.outer: Effect | None = None
        self.own: Node | None = None

    @property
    def is_arrival(self) -> bool:
        return self.act is Act.PLACE or self.act is Act.ARRIVE

    @property
    def first(self) -> int:
        return self.why[0] if self.why else 0


class Effects:
    """All net effects of one strand, by what they concern."""

    def __init__(self, strand: Strand) -> None:
        self.strand = strand
        self.all: list[Effect] = []
        self.dead: dict[Node, Effect] = {}
        self.place: dict[Node, Effect] = {}
        self.content: dict[Node, Effect] = {}
        self.arrive: dict[Node, Effect] = {}
        self.members: dict[tuple[Node, str], Effect] = {}  # arrivals at members of base's objects
        self.gaps: dict[tuple[Node, int], list[Effect]] = {}  # runs in gaps of base's arrays, in order
        self.run_first: dict[tuple[Node, int], int] = {}  # the first operation of each run
        self.moved: list[Node] = []  # identities of base that are alive and elsewhere
        strand.finish()
        _unchange(strand)
        self._collect()

    def add(self, effect: Effect) -> Effect:
        effect.number = len(self.all)
        self.all.append(effect)
        return effect

    def death(self, node: Node) -> Effect:
        """Return the effect that *node* is dead; one of its own if it went with what held it."""
        effect = self.dead.get(node)
        if effect is None:
            effect = self.add(Effect(Act.DEAD, self.strand.side, node, self._why_gone(node)))
            effect.implied = True
            self.dead[node] = effect
        return effect

    def maker(self, node: Node) -> Effect | None:
        """Return the effect by which this side made *node*, or made what it holds."""
        strand = self.strand
        while node.mint != BASE:
            effect = self.arrive.get(node)
            up = strand.up(node)
            if effect is not None or up is None:
                return effect
            node = up.owner
        return self.content.get(node)

    @cached_property
    def set_inside(self) -> dict[Node, list[Effect]]:
        """What this side set, by each thing it is in now, in the order it was set."""
        inside: dict[Node, list[Effect]] = {}
        effects = [*self.content.values(), *self.arrive.values()]
        effects.sort(key=self.step)
        for effect in effects:
            for holder in self.strand.chain(effect.node):
                inside.setdefault(holder, []).append(effect)
        return inside

    def step(self, effect: Effect) -> int:
        """Return the step of the replay from which on what *effect* set was where it is now."""
        view = self.strand.views.get(effect.node)
        return max(self.strand.body(effect.node).born, 0 if view is None else view.since)

    def _why_gone(self, node: Node) -> list[int]:
        held: Node | None = node
        while held is not None:
            for cause in (self.dead.get(held), self.content.get(held)):
                if cause is not None:
                    return cause.why
            held = held.up.owner if held.up is not None else None
        return []

    def _collect(self) -> None:
        strand = self.strand
        for node in strand.changed:
            if node.mint == BASE:
                self._collect_touched(node)
                continue
            view = strand.views[node]
            if view.moved and not strand.gone(node):
                self._collect_arrival(Effect(Act.ARRIVE, strand.side, node, view.why, view.up, view.at))
        for (body, gap), run in self.gaps.items():
            if len(run) > 1:
                self.run_first[body, gap] = min(effect.first for effect in run)
                here = {effect.node: effect for effect in run}
                self.gaps[body, gap] = [here[node] for node in strand.run(body, gap) if node in here]

    @cached_property
    def copied(self) -> dict[Node, Copy]:
        return {copy.node: copy for copy in self.strand.copies}

    @cached_property
    def stirred(self) -> dict[Node, set[int]]:
        """All identities of base that this side changed, or changed something in, and what did so."""
        stirred: dict[Node, set[int]] = {}
        for effect in self.all:
            for node in self._holders(effect):
                stirred.setdefault(node, set()).update(effect.why)
        return stirred

    def _holders(self, effect: Effect) -> Iterator[Node]:
        """Yield the identities of base an effect shows in: where it was, and where it is now."""
        node: Node | None = effect.node if effect.node.mint == BASE else None
        while node is not None:
            yield node
            node = node.up.owner if node.up is not None else None
        if effect.is_arrival:
            yield from (holder for holder in self.strand.chain(effect.node) if holder.mint == BASE)

    def patches_around(self, node: Node) -> set[int]:
        """Return what changed *node*, or anything in it or around it."""
        around = set(self.stirred.get(node, ()))
        held: Node | None = node
        while held is not None:
            for cause in (self.dead.get(held), self.content.get(held)):
                if cause is not None:
                    around.update(cause.why)
            held = held.up.owner if held.up is not None else None
        return around

    @cached_property
    def holding(self) -> set[Node]:
        """All things that identities of base have moved into."""
        return {holder for node in self.moved for holder in self.strand.chain(node)}

    def _collect_touched(self, node: Node) -> None:
        strand = self.strand
        view = strand.views.get(node)
        if view is None:
            return  # taken back with what held it
        if strand.gone(node):
            up = node.up
            is_effect = (
                (view.dead or view.moved)
                and up is not None
                and not strand.gone(up.owner)
                and strand.body(up.owner) is up
            )
            # Wherever it was on the way, it has no place but the one base knows.
            view.up, view.at, view.moved, view.dead = up, node.at, False, is_effect
            if is_effect:
                self.dead[node] = self.add(Effect(Act.DEAD, strand.side, node, view.why))
            return
        if view.moved:
            self.moved.append(node)
            self._collect_arrival(Effect(Act.PLACE, strand.side, node, view.why, view.up, view.at))
        if view.body is not node:
            self.content[node] = self.add(Effect(Act.CONTENT, strand.side, node, view.why_body))

    def _collect_arrival(self, effect: Effect) -> None:
        body = effect.body
        assert body is not None
        if effect.act is Act.PLACE:
            self.place[effect.node] = effect
        elif body.mint == BASE:
            self.arrive[effect.node] = effect
        else:
            return  # a part of something else that is new
        self.add(effect)
        if body.mint != BASE:
            return
        if isinstance(effect.at, str):
            self.members[body, effect.at] = effect
        else:
            self.gaps.setdefault((body, effect.at), []).append(effect)


def _unchange(strand: Strand) -> None:
    """Take back new contents that equal what base had there."""
    forgotten: set[Node] = set()
    concerned: set[Node] | None = None
    for node in strand.changed:
        view = strand.views.get(node)
        if node.mint != BASE or view is None or view.body is node:
            continue
        if isinstance(node.raw, (dict, list)):
            if type(view.body.raw) is not type(node.raw):
                continue
            concerned = _concerned(strand) if concerned is None else concerned
            if node in concerned:
                continue
        if same(strand.value(node), node.raw):
            forgotten.update(strand.forget(node))
    if forgotten:
        for view in strand.views.values():  # what had come into those contents went with them
            if view.moved and view.up is not None and view.up.owner in forgotten:
                view.dead = True


def _concerned(strand: Strand) -> set[Node]:
    """Return what an identity of base that lives on has moved out of, or into."""
    moved = [node for node in strand.changed if node.mint == BASE and _lives_elsewhere(strand, node)]
    return {holder for node in moved for holder in (*_origins(node), *strand.chain(node))}


def _lives_elsewhere(strand: Strand, node: Node) -> bool:
    """Say whether *node* has moved and can be reached; asked while contents are being taken back."""
    view = strand.views.get(node)
    if view is None or not view.moved:
        return False
    while node is not strand.void:
        view = strand.views.get(node)
        up = node.up if view is None else view.up
        if (view is not None and view.dead) or up is None or strand.body(up.owner) is not up:
            return False
        node = up.owner
    return True


def _origins(node: Node) -> Iterator[Node]:
    """Yield what base has *node* in."""
    up = node.up
    while up is not None:
        yield up.owner
        up = up.owner.up
