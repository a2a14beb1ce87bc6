"""Arranging identities: the general case of writing, where things move or are taken back.

Things are put in place from the outside in; what stands in the way is moved on first, and two members that
change places go by a spare one. Around the document itself there is no place to move things by: where it
comes, goes or changes places with a part of it, the outcome is written at once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from plait_merge.effect import Act, Effect, Effects
from plait_merge.layer import Layer
from plait_merge.pen import Pen
from plait_merge.strand import BASE, Node, Slot, Strand
from plait_merge.values import ABSENT

BUSY_MAX = 48  # things that wait for one another to make room; what comes then is parked


@dataclass(frozen=True, slots=True)
class Target:
    """Where an identity shall be: at a member of *body*, in a gap of it, or at its own place in it."""

    body: Node
    at: Slot
    home: bool = False


class Arrangement:
    """Make *made* (effects of yours, in order) on *world*, with *undone* (effects of theirs) taken back.

    An identity is waiting, then busy (its own place is being made ready), then placed. What comes too late
    to be moved, because what it is in has to go first, is swept: added anew, as it stands.
    """

    def __init__(
        self, world: Layer, pen: Pen, theirs: Effects, made: list[Effect], undone: Collection[Effect]
    ) -> None:
        self.world = world
        self.pen = pen
        self.strand = pen.yours.strand
        self.stay_dead = {node for node, effect in theirs.dead.items() if effect not in undone}
        self.targets: dict[Node, Target] = {}
        self.contents: dict[Node, Node] = {}
        self.doomed: list[Node] = []
        self.waiting: dict[Node, None] = {}
        self.busy: set[Node] = set()
        self.placed: set[Node] = set()
        self.swept: set[Node] = set()
        self.held: set[Node] = set()
        self.opening: set[Node] = set()  # things about to hold their new content
        self._aim(made, undone)
        self.waiting = dict.fromkeys(self.targets)
        self.steps = (*sorted(undone, key=lambda effect: (_depth(effect.node), effect.number)), *made)

    def write(self) -> None:
        """Make it so, and write it down."""
        if not self._concerns_the_document():
            self._write_all()
            return
        was = self.world.document()
        self.pen.silent = True
        self._write_all()
        self.pen.silent = False
        value = self.world.document()
        if value is not ABSENT:
            self.pen.add([], value)
        elif was is not ABSENT:
            self.pen.patch.append({"op": "remove", "path": ""})

    def _concerns_the_document(self) -> bool:
        """Say whether the document itself comes, goes or changes places with something in it."""
        void = self.world.void
        return any(
            effect.act is not Act.CONTENT and (effect.node.up is void or effect.body is void)
            for effect in self.steps
        )

    def _write_all(self) -> None:
        for effect in self.steps:
            if effect.act is not Act.CONTENT and effect.node in self.targets:
                self._settle(effect.node)
        for effect in self.steps:
            if effect.act is Act.CONTENT and effect.node in self.contents:
                self._hold(effect.node)
        for node in self.doomed:
            if not self.world.gone(node):
                self._rescue(node)
                self.pen.remove(node)

    # What shall be.

    def _aim(self, made: list[Effect], undone: Collection[Effect]) -> None:
        """Say for every identity concerned where it shall be and what it shall hold."""
        for effect in made:
            if effect.is_arrival:
                assert effect.body is not None
                body = effect.body if effect.own is None or effect.outer not in undone else effect.own
                self.targets[effect.node] = Target(body, effect.at)
            elif effect.act is Act.CONTENT:
                self.contents[effect.node] = self.strand.views[effect.node].body
            else:
                self.doomed.append(effect.node)
        dead = set(self.doomed)
        home: list[Node] = []
        for effect in undone:
            node = effect.node
            if effect.act is Act.ARRIVE:
                self.doomed.append(node)
            elif effect.act is Act.CONTENT:
                self.contents.setdefault(node, node)
            elif node not in self.targets and node not in dead:
                assert node.up is not None
                self.targets[node] = Target(node.up, node.at, home=True)
                home.append(node)
        self._drop_vanishing(home, dead)

    def _drop_vanishing(self, home: list[Node], dead: set[Node]) -> None:
        """Do not put back what would be put into something that shall be gone itself."""
        for node in [n for n, body in self.contents.items() if body is n and self._vanishes(n, dead)]:
            del self.contents[node]
        for node in [n for n in home if self._vanishes(n, dead)]:
            del self.targets[node]
            self.doomed.append(node)

    def _vanishes(self, node: Node, dead: set[Node]) -> bool:
        world = self.world
        while node is not world.void:
            if node in dead:
                return True
            target = self.targets.get(node)
            if target is None and node in self.stay_dead:
                return True
            body = target.body if target is not None else self._strand_of(node).up(node)
            if body is None:
                return True
            owner = body.owner
            if owner.mint == BASE and self._final_body(owner) is not body:
                return True
            node = owner
        return False

    def _final_body(self, node: Node) -> Node:
        """Return what *node* shall hold in the end; what is put back holds what base had in it."""
        chosen = self.contents.get(node)
        if chosen is not None:
            return chosen
        return node if self.world.gone(node) else self.world.body(node)

    def _strand_of(self, node: Node) -> Strand:
        return self.strand if node.mint == self.strand.side else self.world

    # Putting things in place.

    def _settle(self, node: Node) -> None:
        """Put *node* where it shall be, after what holds it, and once what is there has made room."""
        if node in self.placed:
            return
        if node in self.busy:
            self._park(node)
            return
        self.busy.add(node)
        target = self.targets[node]
        self._ready(target.body)
        occupant = self._occupant(node, target)
        if occupant is not None:
            self._vacate(occupant, node)
            occupant = self._occupant(node, target)
        self._put(node, target, occupant)
        self.busy.discard(node)
        self.placed.add(node)
        del self.waiting[node]

    def _occupant(self, node: Node, target: Target) -> Node | None:
        if not isinstance(target.at, str):
            return None
        occupant = self.world.member(target.body.owner, target.at)
        return None if occupant is node else occupant

    def _ready(self, body: Node) -> None:
        """See to it that *body*, and all that holds it, is in the world."""
        node = body.owner
        strand = self.strand if body.mint == self.strand.side else self.world
        while node is not self.world.void:
            if node in self.contents and node not in self.busy:
                self._hold(node)
            if node in self.targets and node not in self.placed and node not in self.busy:
                self._settle(node)
                return
            up = strand.up(node)
            if up is None:
                return
            if up.mint == BASE:
                strand = self.world
            node = up.owner

    def _hold(self, node: Node) -> None:
        """Give *node* the content it shall hold, after what lives on elsewhere has left it."""
        if node in self.held:
            return
        self.held.add(node)
        up = self.world.up(node)
        if node in self.targets:
            self._settle(node)
        elif up is not None:
            self._ready(up)
        self.opening.add(node)
        self._sweep(self._rescue(node))
        self.opening.discard(node)
        body = self.contents[node]
        world = self.world
        if body is node:
            world.restore(node, self.stay_dead, self.swept)
        else:
            world.adopt(node, self.strand)
        self.pen.replace(world.tokens(node), world.value(node))

    def _rescue(self, node: Node) -> list[Node]:
        """Move out of *node* what shall live on elsewhere; return what cannot be moved out yet."""
        late = [waiting for waiting in self.busy if self._is_inside(waiting, node)]
        if not self.world.is_touched_inside(node):
            return late
        for waiting in [n for n in self.waiting if n not in self.busy and self._is_inside(n, node)]:
            if waiting in self.waiting:
                if self._awaits(waiting):
                    late.append(waiting)
                else:
                    self._settle(waiting)
        return late

    def _is_inside(self, node: Node, holder: Node) -> bool:
        world = self.world
        return node.mint != self.strand.side and not world.gone(node) and holder in world.chain(node)

    def _sweep(self, late: list[Node]) -> None:
        """Note what comes too late to be moved: it is added anew, as it stands."""
        for node in late:
            self.swept.add(node)
            self.world.detach(node)
            self.world.view(node).dead = True

    def _vacate(self, occupant: Node, node: Node) -> None:
        """Make room for *node*, unless *occupant* is done with: then what comes takes its place."""
        if occupant in self.targets and occupant not in self.placed:
            if self._awaits(occupant):
                self._park(occupant)
            else:
                self._settle(occupant)
            return
        late = [other for other in self._rescue(occupant) if other is not node]
        if not all(self._is_inside(other, node) for other in late):  # what is in it comes along
            self._park(occupant)

    def _awaits(self, node: Node) -> bool:
        """Say whether *node* has to wait: for something about to be placed, which it shall go into."""
        if len(self.busy) >= BUSY_MAX:
            return True
        target = self.targets[node]
        body: Node | None = target.body
        while body is not None and body.owner is not self.world.void:
            if body.owner in self.busy or (body.owner in self.opening and self.contents[body.owner] is body):
                return True
            holder = self.targets.get(body.owner)
            body = holder.body if holder is not None else self._strand_of(body.owner).up(body.owner)
        return False

    def _park(self, node: Node) -> None:
        """Move *node* to a spare member of the object it is in, until its place is free."""
        world = self.world
        body = world.up(node)
        assert body is not None
        name = str(world.slot(node))
        while world.member(body.owner, name) is not None or name in body.raw:
            name += "~"
        source = world.tokens(node)
        world.detach(node)
        world.attach_member(node, body, name)
        self.pen.move(source, world.tokens(node))

    def _put(self, node: Node, target: Target, occupant: Node | None) -> None:
        world = self.world
        living = node.mint == BASE and not world.gone(node)
        source = world.tokens(node) if living else None
        if source is not None:
            world.detach(node)
        if occupant is not None:
            world.detach(occupant)
            world.view(occupant).dead = True
        if source is not None:
            self._attach(node, target)
            self.pen.move(source, world.tokens(node))
            return
        if node in self.swept:
            world.view(node).dead = False
        elif node.mint == BASE:
            world.view(node).dead = False
            world.restore(node, self.stay_dead, self.swept)
        else:
            world.adopt(node, self.strand)
        value = world.value(node)
        copied = self.pen.source_of(node, value)
        self._attach(node, target)
        self.pen.add(world.tokens(node), value, copied)

    def _attach(self, node: Node, target: Target) -> None:
        world = self.world
        if isinstance(target.at, str):
            world.attach_member(node, target.body, target.at)
        elif target.home:
            world.put_home(node)
        else:
            self.pen.insert(node, target.body, target.at)


def _depth(node: Node) -> int:
    depth = 0
    while node.up is not None:
        node = node.up.owner
        depth += 1
    return depth
