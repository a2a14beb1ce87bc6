"""Finding where two sides' effects cannot both be: the rules of merge.md, section 4, one method each.

Every rule is asked both ways round, with X the side whose change stands in the way and Y the side whose
effect meets it. What both sides did alike is marked as agreed; what clashes becomes a `Clash`.
"""

from __future__ import annotations

from dataclasses import dataclass

from plait_merge.effect import Act, Effect, Effects
from plait_merge.elements import Elements
from plait_merge.outcome import Kind
from plait_merge.pointer import pointer_order
from plait_merge.policy import DEFAULT, Policy, Rule
from plait_merge.strand import BASE, THEIRS, YOURS, Node, Slot, base_tokens
from plait_merge.subject import Member, Subject, subject_tokens
from plait_merge.values import ABSENT, Json, same
from plait_merge.verdict import Values, counts_twice, is_text
from plait_merge.wholes import clash_over_wholes


@dataclass(frozen=True, slots=True)
class Clash:
    """Effects that cannot all be, and what they clash over."""

    kind: Kind
    subject: Subject
    effects: tuple[Effect, ...]


class Overlaps:
    """Compare two sides' net effects.

    `clashes` holds what cannot be; `arrivals` pairs objects both sides added at one member, which are merged
    member by member, with the body in yours that stands for the one in theirs.
    """

    def __init__(self, theirs: Effects, yours: Effects, policy: Policy | None = None) -> None:
        self.theirs = theirs
        self.yours = yours
        self.policy = policy
        self.clashes: list[Clash] = []
        self._circles: set[frozenset[Node]] = set()
        self.alike: dict[Effect, Effect] = {}  # effects of yours that theirs has as well
        self.within: list[tuple[Effect, Effect]] = []  # removals inside what the other side removed
        self.twins: dict[Node, Node] = {}  # bodies of yours that are one with a body of theirs
        self.elements: Elements | None = None
        self._compare_members()
        if policy is not None and policy.groups:
            self.elements = Elements(self, policy)
        self._compare_gaps()
        self._compare_contents()
        for x, y in ((theirs, yours), (yours, theirs)):
            self._meet_contents(x, y)
            self._meet_removals(x, y)
            self._meet_places(x, y)
            self._meet_containers(x, y)
        if policy is not None and policy.groups:
            clash_over_wholes(self)

    def clash(self, kind: Kind, subject: Subject, *effects: Effect) -> None:
        self.clashes.append(Clash(kind, subject, effects))

    def rule(self, subject: Subject) -> Rule:
        """Return what the policy says where something is."""
        if self.policy is None:
            return DEFAULT
        return self.policy.at(tuple(subject_tokens(subject, self.theirs.strand)))

    def is_whole(self, node: Node) -> bool:
        """Say whether the policy makes a value of base one thing."""
        if self.policy is None or node.up is None or type(node.raw) not in (dict, list):
            return False
        rule = self.rule(node)
        return (rule.object if type(node.raw) is dict else rule.array) in ("atomic", "lines")

    # Two arrivals at one member.

    def _compare_members(self) -> None:
        for key, mine in self.yours.members.items():
            other = self.theirs.members.get(key)
            if other is not None:
                self._compare_arrivals(other, mine, Member(*key))

    def _compare_arrivals(self, theirs: Effect, yours: Effect, member: Member) -> None:
        if theirs.node is yours.node:
            return  # the same identity moved to the same place; its places are compared below
        if theirs.act is yours.act is Act.ARRIVE:
            rule = self.rule(member)
            bodies = self.theirs.strand.body(theirs.node), self.yours.strand.body(yours.node)
            mergeable = all(type(body.raw) is dict for body in bodies) and rule.object == "merge"
            if self.are_alike(theirs.node, yours.node) and not self._counts(rule, bodies[0].raw, mergeable):
                self.agree(theirs, yours)
                return
            if mergeable:
                self.merge_objects(theirs, yours)
                return
        self.clash("add_add", member, theirs, yours)

    def _counts(self, rule: Rule, value: Json, mergeable: bool) -> bool:
        """Say whether adding a value twice is not the same as once, or may not be the same inside of it."""
        if self.policy is None or not self.policy.counts:
            return False
        return mergeable or counts_twice(rule, ABSENT, value)

    def merge_objects(self, theirs: Effect, yours: Effect) -> None:
        """Make two added objects one: what yours has in it becomes arrivals in theirs'."""
        self.agree(theirs, yours)
        here, there = self.theirs.strand.body(theirs.node), self.yours.strand.body(yours.node)
        self.twins[there] = here
        kids = self.yours.strand.members_of(yours.node)
        # What theirs put there later may have to go by itself: a copy goes with what it was made from.
        others = {
            name: self._arrival(self.theirs, kid, here, name, theirs)
            for name in dict.fromkeys((*kids, *self.theirs.strand.put_into(theirs.node)))
            if (kid := self.theirs.strand.member(theirs.node, name)) is not None
        }
        for name, kid in kids.items():
            mine = self._arrival(self.yours, kid, here, name, yours)
            mine.outer, mine.own = theirs, there
            if name in others:
                self._compare_arrivals(others[name], mine, Member(here, name))

    def _arrival(self, side: Effects, node: Node, body: Node, name: str, outer: Effect) -> Effect:
        effect = side.place.get(node)
        if effect is None:
            effect = side.add(Effect(Act.ARRIVE, side.strand.side, node, outer.why))
            side.arrive[node] = effect
        effect.body, effect.at = body, name
        return effect

    def are_alike(self, theirs: Node, yours: Node) -> bool:
        """Say whether two arrivals are one thing: one identity, or equal values with the same in them."""
        if theirs is yours:
            return True
        if theirs.mint == BASE or yours.mint == BASE:
            return False
        here, there = self.theirs.strand, self.yours.strand
        if not self.theirs.moved or not self.yours.moved:
            if theirs in self.theirs.holding or yours in self.yours.holding:
                return False
            return same(here.value(theirs), there.value(yours))
        return self._alike_inside(theirs, yours)

    def _alike_inside(self, theirs: Node, yours: Node) -> bool:
        here, there = self.theirs.strand, self.yours.strand
        mine, other = here.body(theirs), there.body(yours)
        kind = type(mine.raw)
        if kind is dict and type(other.raw) is dict:
            left, right = here.members_of(theirs), there.members_of(yours)
            return left.keys() == right.keys() and all(self.are_alike(left[n], right[n]) for n in left)
        if kind is list and type(other.raw) is list:
            elements, others = here.elements_of(theirs), there.elements_of(yours)
            return len(elements) == len(others) and all(map(self.are_alike, elements, others))
        return same(mine.raw, other.raw)

    def agree(self, theirs: Effect, yours: Effect) -> None:
        theirs.agreed = yours.agreed = True
        self.alike[yours] = theirs

    # Runs in one gap: both are kept, save that whole runs that are equal count once.

    def _compare_gaps(self) -> None:
        unordered: dict[Node, list[Effect]] = {}
        for gap, mine in self.yours.gaps.items():
            run = self.theirs.gaps.get(gap)
            if run:
                array = gap[0].owner
                unordered.setdefault(array, []).extend(self._compare_runs(array, run, mine))
        for array, effects in unordered.items():
            if effects:  # the order of an array is one thing, wherever in it both have put something
                self.clash("order", array, *effects)

    def _compare_runs(self, array: Node, theirs: list[Effect], yours: list[Effect]) -> list[Effect]:
        """Agree on equal runs, and return those for which somebody has to give an order."""
        rule = self.rule(array)
        if rule.array == "set":
            return []
        if rule.array == "keyed" and self.elements is not None:
            theirs, yours = self.elements.unpaired(theirs), self.elements.unpaired(yours)
        alike = len(theirs) == len(yours) and all(map(self.are_alike, _nodes(theirs), _nodes(yours)))
        if alike and rule.array != "log":
            for pair in zip(theirs, yours, strict=True):
                self.agree(*pair)
            return []
        return [*theirs, *yours] if rule.order == "strict" and theirs and yours else []

    # Contents.

    def _compare_contents(self) -> None:
        for node, mine in self.yours.content.items():
            other = self.theirs.content.get(node)
            if other is None:
                continue
            if self._same_content(node) and not self._adds_up(node):
                self.agree(other, mine)
                self.twins[self.yours.strand.body(node)] = self.theirs.strand.body(node)
            else:
                self.clash(self.kind_of_edits(node), node, other, mine)

    def _adds_up(self, node: Node) -> bool:
        """Say whether the same value set by both is more than once that value: counters, and `exclusive`."""
        if node in self.theirs.strand.added or node in self.yours.strand.added:
            return True
        if self.policy is None or not self.policy.counts:
            return False
        return counts_twice(self.rule(node), node.raw, self.yours.strand.body(node).raw)

    def kind_of_edits(self, node: Node) -> Kind:
        """Say what two edits of one value are: of a text that is merged as one, or of anything else."""
        if self.policy is None:
            return "edit_edit"
        values = Values(node.raw, self.theirs.strand.value(node), self.yours.strand.value(node))
        return "text" if is_text(self.rule(node), values) else "edit_edit"

    def _same_content(self, node: Node) -> bool:
        here, there = self.theirs.strand, self.yours.strand
        if self.theirs.moved or self.yours.moved:
            return self._alike_inside(node, node)
        return same(here.value(node), there.value(node))

    def _meet_contents(self, x: Effects, y: Effects) -> None:
        for effect in list(y.content.values()):
            if x.strand.gone(effect.node):
                self._meet(x, y, effect, effect.node)

    def _meet_removals(self, x: Effects, y: Effects) -> None:
        """What Y removed, X replaced what held it: X's new content may mean to keep it."""
        for effect in list(y.dead.values()):
            if not effect.implied and x.strand.gone(effect.node):
                top, replaced = self._top_gone(x, effect.node)
                if replaced:
                    self.clash("replace_edit", top, x.content[top], effect)
                elif effect.node in x.dead and not x.dead[effect.node].implied:
                    if x is self.theirs:
                        self.agree(x.dead[effect.node], effect)
                else:
                    rescued = self._rescued_around(x, y, effect.node, top)
                    self.within.append((effect, x.death(top if rescued is None else rescued)))

    def _rescued_around(self, x: Effects, y: Effects, node: Node, top: Node) -> Node | None:
        """Return the nearest thing around *node* that Y took out of *top*, which X removed."""
        up = node.up
        while up is not None and up.owner is not top:
            if up.owner in y.place:
                return None if top in y.strand.chain(up.owner) else up.owner
            up = up.owner.up
        return None

    # Places.

    def _meet_places(self, x: Effects, y: Effects) -> None:
        for node, effect in list(y.place.items()):
            other = x.place.get(node)
            if x.strand.gone(node):
                self._meet(x, y, effect, node)
            elif other is not None and x.strand.side == THEIRS:
                if self._same_place(other, effect):
                    self.agree(other, effect)
                else:
                    self.clash("move_move", node, other, effect)

    def _same_place(self, theirs: Effect, yours: Effect) -> bool:
        here, there = theirs.body, yours.body
        assert here is not None
        assert there is not None
        if not self._same_body(here, there):
            return False
        # Arrays that are one element by element have it at one place, by whatever way it came there.
        return theirs.at == yours.at or (here is not there and type(here.raw) is list)

    def _same_body(self, theirs: Node, yours: Node) -> bool:
        """Say whether a body of theirs and one of yours are one: base's, or parts of what both made alike."""
        if theirs is yours or self.twins.get(yours) is theirs:
            return True
        if theirs.owner.mint == BASE or yours.owner.mint == BASE:
            return False  # two new contents of one thing are one only where they agree
        here, there = self.theirs, self.yours
        other, mine = here.arrive.get(theirs.owner), there.arrive.get(yours.owner)
        if other is not None or mine is not None:
            return other is not None and mine is not None and self.alike.get(mine) is other
        up, over = here.strand.up(theirs.owner), there.strand.up(yours.owner)
        if up is None or over is None or not self._same_body(up, over):
            return False
        return self._index(here, theirs.owner) == self._index(there, yours.owner)

    def _index(self, side: Effects, node: Node) -> Slot:
        """Return at which member or index of what holds it *node* is."""
        up = side.strand.up(node)
        assert up is not None
        return side.strand.position(node) if type(up.raw) is list else side.strand.slot(node)

    def _meet_containers(self, x: Effects, y: Effects) -> None:
        """What Y put into a container of base meets what X did to that container."""
        for effect in list(y.all):
            body = effect.body
            if not effect.is_arrival or body is None or body.mint != BASE or body.owner is x.strand.void:
                continue
            if x.strand.gone(body):
                self._meet(x, y, effect, body)
            elif x.strand.body(body) is not body:
                self.clash("replace_edit", body, x.content[body], effect)

    # What lies in something the other side removed or replaced.

    def _meet(self, x: Effects, y: Effects, effect: Effect, node: Node) -> None:
        """Clash *effect*, at or in *node*, with what X did that *node* is gone."""
        while True:
            view = y.strand.views.get(node)
            if view is not None and view.moved:
                self._meet_moved(x, y, effect, node)
                return
            up = node.up
            assert up is not None
            holder = up.owner
            if x.strand.gone(holder):
                node = holder
                continue
            if x.strand.body(holder) is not up:
                self.clash("replace_edit", holder, x.content[holder], effect)
            else:
                self.clash("remove_edit", node, x.death(node), effect)
            return

    def _meet_moved(self, x: Effects, y: Effects, effect: Effect, node: Node) -> None:
        """Clash *effect* with what X did to *node*, which Y moved; the move clashes with that by itself."""
        top, replaced = self._top_gone(x, node)
        if replaced:
            self.clash("replace_edit", top, x.content[top], effect)
        elif top is not node and top in y.strand.chain(node):
            self.clash("remove_edit", top, x.death(top), effect)
        else:
            self.clash("move_remove", node, x.death(node), effect)

    def _top_gone(self, x: Effects, node: Node) -> tuple[Node, bool]:
        """Return the outermost cause that *node* is gone: what was removed, or (True) what was replaced."""
        while True:
            up = node.up
            assert up is not None
            if not x.strand.gone(up.owner):
                replaced = x.strand.body(up.owner) is not up
                return (up.owner if replaced else node), replaced
            node = up.owner

    # Circles.

    def find_circles(self, loose: set[Effect]) -> bool:
        """Find moves of both sides that would put something inside itself; say whether any are new.

        *loose* are the effects that a choice may drop. A node whose moves are all loose counts with the place
        it had in base as well, so that no choice can close a circle.
        """
        if not self.theirs.moved or not self.yours.moved:
            return False
        known = len(self._circles)
        ways = {node: self._ways(node, loose) for node in {**self.theirs.place, **self.yours.place}}
        for circle in circles({node: [up for _, up in ends] for node, ends in ways.items()}):
            moves = [e for n in circle for e, up in ways[n] if e is not None and up in circle]
            mixed = {effect.side for effect in moves if not effect.agreed} == {THEIRS, YOURS}
            if mixed and circle not in self._circles:
                self._circles.add(circle)
                self.clash("cycle", min(circle, key=_base_pointer), *(e for e in moves if not e.agreed))
        return len(self._circles) > known

    def _ways(self, node: Node, loose: set[Effect]) -> list[tuple[Effect | None, Node]]:
        """Return the places *node* may come to, each as the next moved node around it."""
        ways: list[tuple[Effect | None, Node]] = []
        places = [e for e in (self.theirs.place.get(node), self.yours.place.get(node)) if e is not None]
        for effect in places:
            assert effect.body is not None
            up = self._moved_around(effect.body, effect.side)
            if up is not None:
                ways.append((effect, up))
        if node.up is not None and loose.issuperset(e for e in places if not e.agreed):
            up = self._moved_around(node.up, BASE)
            if up is not None:
                ways.append((None, up))
        return ways

    def _moved_around(self, body: Node, side: int) -> Node | None:
        here, there = self.theirs.strand, self.yours.strand
        up: Node | None = self.twins.get(body, body)
        while up is not None and up.owner is not here.void:
            node = up.owner
            if node in self.theirs.place or node in self.yours.place:
                return node
            up = (there if node.mint == YOURS else here).up(node)
        return None


def _nodes(run: list[Effect]) -> list[Node]:
    return [effect.node for effect in run]


def _base_pointer(node: Node) -> list[tuple[int, int, str]]:
    return pointer_order(base_tokens(node))


def circles(edges: dict[Node, list[Node]]) -> list[frozenset[Node]]:
    """Return the sets of nodes that lie on common circles (Tarjan's strongly connected components)."""
    found: list[frozenset[Node]] = []
    index: dict[Node, int] = {}
    low: dict[Node, int] = {}
    stack: list[Node] = []
    waiting: set[Node] = set()
    for start in edges:
        trail = [(start, iter(edges[start]))] if start not in index else []
        while trail:
            node, ups = trail[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
                waiting.add(node)
            up = next((u for u in ups if u not in index or u in waiting), None)
            if up is None:
                trail.pop()
                if trail:
                    low[trail[-1][0]] = min(low[trail[-1][0]], low[node])
                if low[node] == index[node]:
                    circle = set()
                    while node in waiting:
                        last = stack.pop()
                        waiting.discard(last)
                        circle.add(last)
                    if len(circle) > 1:
                        found.append(frozenset(circle))
            elif up in index:
                low[node] = min(low[node], index[up])
            else:
                trail.append((up, iter(edges[up])))
    return found
