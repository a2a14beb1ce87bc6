"""Finding where two sides' effects cannot both be: the rules of merge.md, section 4, one method each.

Every rule is asked both ways round, with X the side whose change stands in the way and Y the side whose
effect meets it. What both sides did alike is marked as agreed; what clashes becomes a `Clash`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from plait_merge.effect import Act, Effect, Effects
from plait_merge.key import Form, Keys, key_of, value_form
from plait_merge.number import is_number
from plait_merge.outcome import Kind
from plait_merge.pointer import pointer_order
from plait_merge.policy import DEFAULT, Policy, Rule
from plait_merge.strand import BASE, THEIRS, YOURS, Node, base_tokens
from plait_merge.subject import Element, Member, Subject, subject_tokens
from plait_merge.values import Json, same


@dataclass(frozen=True, slots=True)
class Clash:
    """Effects that cannot all be, and what they clash over."""

    kind: Kind
    subject: Subject
    effects: tuple[Effect, ...]


Newcomers: TypeAlias = dict[Node, list[Effect]]
"""Elements, and the effects that put each where it is or gave it what it is known by."""


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
        self.joined: list[Effect] = []  # elements of yours that were made one with theirs', by key
        self._paired: set[Effect] = set()
        self.keyless: list[Effect] = []  # elements of yours without a key where there should be one
        self._compare_members()
        if policy is not None and policy.groups:
            self._compare_arrays(policy)
        self._compare_gaps()
        self._compare_contents()
        for x, y in ((theirs, yours), (yours, theirs)):
            self._meet_contents(x, y)
            self._meet_removals(x, y)
            self._meet_places(x, y)
            self._meet_containers(x, y)
        if policy is not None and policy.groups:
            self._compare_wholes(policy)

    def _clash(self, kind: Kind, subject: Subject, *effects: Effect) -> None:
        self.clashes.append(Clash(kind, subject, effects))

    def rule(self, subject: Subject) -> Rule:
        """Return what the policy says where something is."""
        if self.policy is None:
            return DEFAULT
        return self.policy.at(tuple(subject_tokens(subject, self.theirs.strand)))

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
            if self._alike(theirs.node, yours.node) and not self._counts(rule, bodies[0].raw, mergeable):
                self._agree(theirs, yours)
                return
            if mergeable:
                self._merge_objects(theirs, yours)
                return
        self._clash("add_add", member, theirs, yours)

    def _counts(self, rule: Rule, value: Json, mergeable: bool = False) -> bool:
        """Say whether adding a value twice is not the same as once, or may not be the same inside of it."""
        if self.policy is None or not self.policy.counts:
            return False
        return mergeable or rule.scalar == "exclusive" or (rule.scalar == "sum" and is_number(value))

    def _merge_objects(self, theirs: Effect, yours: Effect) -> None:
        """Make two added objects one: what yours has in it becomes arrivals in theirs'."""
        self._agree(theirs, yours)
        here, there = self.theirs.strand.body(theirs.node), self.yours.strand.body(yours.node)
        self.twins[there] = here
        for name in self._names(there):
            kid = self.yours.strand.member(yours.node, name)
            if kid is None:
                continue
            mine = self._arrival(self.yours, kid, here, name, yours)
            mine.outer, mine.own = theirs, there
            other = self.theirs.strand.member(theirs.node, name)
            if other is not None:
                counterpart = self._arrival(self.theirs, other, here, name, theirs)
                self._compare_arrivals(counterpart, mine, Member(here, name))

    def _names(self, body: Node) -> list[str]:
        view = self.yours.strand.views.get(body.owner)
        added = () if view is None else view.members or ()
        assert isinstance(body.raw, dict)
        return [*body.raw, *(name for name in added if name not in body.raw)]

    def _arrival(self, side: Effects, node: Node, body: Node, name: str, outer: Effect) -> Effect:
        effect = side.place.get(node)
        if effect is None:
            effect = side.add(Effect(Act.ARRIVE, side.strand.side, node, outer.why))
            effect.needs.extend(outer.needs)
            side.arrive[node] = effect
        effect.body, effect.at = body, name
        return effect

    def _alike(self, theirs: Node, yours: Node) -> bool:
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
        if type(mine.raw) is not type(other.raw):
            return same(mine.raw, other.raw) if not isinstance(mine.raw, (dict, list)) else False
        if isinstance(mine.raw, dict):
            left, right = here.members_of(theirs), there.members_of(yours)
            return left.keys() == right.keys() and all(self._alike(left[n], right[n]) for n in left)
        if isinstance(mine.raw, list):
            elements, others = here.elements_of(theirs), there.elements_of(yours)
            return len(elements) == len(others) and all(map(self._alike, elements, others))
        return same(mine.raw, other.raw)

    def _agree(self, theirs: Effect, yours: Effect) -> None:
        theirs.agreed = yours.agreed = True
        self.alike[yours] = theirs

    # Sets and keyed arrays: what both put in is the same wherever they put it.

    def _compare_arrays(self, policy: Policy) -> None:
        here, there = self._newcomers(self.theirs), self._newcomers(self.yours)
        for body, mine in there.items():
            if self.theirs.strand.gone(body) or self.theirs.strand.body(body.owner) is not body:
                continue
            if self.rule(body.owner).array == "set":
                self._compare_values(here.get(body, {}), mine)
            else:
                self._compare_keys(body, here.get(body, {}), mine)

    def _newcomers(self, side: Effects) -> dict[Node, Newcomers]:
        """Return what may be new in sets and keyed arrays of base: by array and element, what made it so."""
        found: dict[Node, Newcomers] = {}
        for effect in side.all:
            for body, element, name in _elements(effect):
                rule = self.rule(body.owner)
                if (name is None and rule.array in ("set", "keyed")) or name in rule.key:
                    found.setdefault(body, {}).setdefault(element, []).append(effect)
        return found

    def _compare_values(self, theirs: Newcomers, yours: Newcomers) -> None:
        """In a set, equal elements both sides added count once."""
        here, there = self.theirs.strand, self.yours.strand
        known = {value_form(here.value(node)): effects[0] for node, effects in theirs.items()}
        for node, (effect, *_) in yours.items():
            other = known.get(value_form(there.value(node)))
            if other is not None and other.is_arrival and effect.act is Act.ARRIVE:
                if self._alike(other.node, node):
                    self._agree(other, effect)
                elif node not in self.yours.holding:
                    effect.agreed = True  # theirs moved one like it in
                    self.alike[effect] = other

    def _compare_keys(self, body: Node, theirs: Newcomers, yours: Newcomers) -> None:
        """In a keyed array, two elements that have one key are one element or a conflict."""
        here = {key: node for node, key in self._new_keys(self.theirs, body, theirs)}
        for node, key in self._new_keys(self.yours, body, yours):
            if key is None:
                self.keyless += [effect for effect in yours[node] if effect.act is Act.ARRIVE]
            elif key in here and here[key] is not node:
                self._compare_elements(Element(body, here[key], node), theirs[here[key]], yours[node])

    def _new_keys(
        self, side: Effects, body: Node, nodes: Iterable[Node]
    ) -> Iterator[tuple[Node, Form | None]]:
        """Yield those of *nodes* that have a key they did not have in base, or none."""
        members = self.rule(body.owner).key
        keys = Keys(side.strand.value(body.owner), members)
        for node in nodes:
            key = keys.of(side.strand.value(node))
            if key is None or node.up is not body or key != key_of(node.raw, members):
                yield node, key

    def _compare_elements(self, element: Element, theirs: list[Effect], yours: list[Effect]) -> None:
        other, mine = theirs[0], yours[0]
        if (
            other.act is mine.act is Act.ARRIVE
            and other.node is element.theirs
            and mine.node is element.yours
        ):
            if self._alike(other.node, mine.node):
                self._agree(other, mine)
                return
            if self._is_mergeable(other.node, mine.node, subject_tokens(element, self.theirs.strand)):
                self._merge_objects(other, mine)
                self.joined.append(mine)
                return
        self._clash("duplicate_key", element, *theirs, *yours)
        self._paired.update((*theirs, *yours))

    def _is_mergeable(self, theirs: Node, yours: Node, place: list[str]) -> bool:
        """Say whether two objects both added, at *place*, merge member by member."""
        assert self.policy is not None
        left, right = self.theirs.strand.members_of(theirs), self.yours.strand.members_of(yours)
        for name in left.keys() & right.keys():
            if not self._alike(left[name], right[name]):
                rule = self.policy.at((*place, name))
                bodies = self.theirs.strand.body(left[name]), self.yours.strand.body(right[name])
                if all(type(body.raw) is dict for body in bodies) and rule.object == "merge":
                    if not self._is_mergeable(left[name], right[name], [*place, name]):
                        return False
                elif not decides_additions(rule, bodies[0].raw, bodies[1].raw):
                    return False
        return True

    def _unpaired(self, run: list[Effect]) -> list[Effect]:
        return [effect for effect in run if not effect.agreed and effect not in self._paired]

    # Atomic values: edits inside by both sides are edits of the whole.

    def _compare_wholes(self, policy: Policy) -> None:
        here, there = self._inside_wholes(self.theirs), self._inside_wholes(self.yours)
        wholes: dict[Node, set[Effect]] = {}
        for node, mine in there.items():
            other = here.get(node)
            if other is None or self.theirs.strand.gone(node) or self.yours.strand.gone(node):
                continue
            if not all(effect.agreed for effect in (*other, *mine)):
                wholes[node] = {*other, *mine}
        self.clashes = [clash for clash in self.clashes if not _is_covered(clash, wholes)]
        for node in wholes:
            self._clash("edit_edit", node, *here[node], *there[node])

    def _inside_wholes(self, side: Effects) -> dict[Node, dict[Effect, None]]:
        """Return the effects in and on each atomic value of base."""
        inside: dict[Node, dict[Effect, None]] = {}
        for effect in side.all:
            if not effect.implied:
                for holder in _held_by(side, effect):
                    if self.is_whole(holder):
                        inside.setdefault(holder, {})[effect] = None
        return inside

    def is_whole(self, node: Node) -> bool:
        """Say whether the policy makes a value of base one thing."""
        if node is self.theirs.strand.void or type(node.raw) not in (dict, list):
            return False
        rule = self.rule(node)
        return (rule.object if type(node.raw) is dict else rule.array) == "atomic"

    # Runs in one gap: both are kept, save that whole runs that are equal count once.

    def _compare_gaps(self) -> None:
        for gap, mine in self.yours.gaps.items():
            run = self.theirs.gaps.get(gap)
            if run:
                self._compare_runs(gap[0].owner, run, mine)

    def _compare_runs(self, array: Node, theirs: list[Effect], yours: list[Effect]) -> None:
        rule = self.rule(array)
        if rule.array == "set":
            return
        if rule.array == "keyed":
            theirs, yours = self._unpaired(theirs), self._unpaired(yours)
        alike = len(theirs) == len(yours) and all(map(self._alike, _nodes(theirs), _nodes(yours)))
        if alike and rule.array != "log":
            for pair in zip(theirs, yours, strict=True):
                self._agree(*pair)
        elif rule.order == "strict" and theirs and yours:
            self._clash("order", array, *theirs, *yours)

    # Contents.

    def _compare_contents(self) -> None:
        for node, mine in self.yours.content.items():
            other = self.theirs.content.get(node)
            if other is None:
                continue
            if self._same_content(node) and not self._adds_up(node):
                self._agree(other, mine)
                self.twins[self.yours.strand.body(node)] = self.theirs.strand.body(node)
            else:
                self._clash(self._kind_of_edits(node), node, other, mine)

    def _adds_up(self, node: Node) -> bool:
        """Say whether the same value set by both is more than once that value: counters, and `exclusive`."""
        if node in self.theirs.strand.added or node in self.yours.strand.added:
            return True
        if self.policy is None or not self.policy.counts:
            return False
        rule = self.rule(node)
        numbers = is_number(node.raw) and is_number(self.yours.strand.body(node).raw)
        return rule.scalar == "exclusive" or (rule.scalar == "sum" and numbers)

    def _kind_of_edits(self, node: Node) -> Kind:
        values = (node.raw, self.theirs.strand.body(node).raw, self.yours.strand.body(node).raw)
        is_text = self.policy is not None and all(type(value) is str for value in values)
        return "text" if is_text and self.rule(node).text is not None else "edit_edit"

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
                    self._clash("replace_edit", top, x.content[top], effect)
                elif effect.node in x.dead and not x.dead[effect.node].implied:
                    both = (x.dead[effect.node], effect)
                    self._agree(*(both if x is self.theirs else both[::-1]))
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
                    self._agree(other, effect)
                else:
                    self._clash("move_move", node, other, effect)

    def _same_place(self, theirs: Effect, yours: Effect) -> bool:
        assert theirs.body is not None
        assert yours.body is not None
        return theirs.at == yours.at and self._same_body(theirs.body, yours.body)

    def _same_body(self, theirs: Node, yours: Node) -> bool:
        if theirs is yours or self.twins.get(yours) is theirs:
            return True
        if theirs.owner.mint == BASE or yours.owner.mint == BASE:
            return False  # two new contents of one thing are one only where they agree
        here, there = self.theirs.strand, self.yours.strand
        up, over = here.up(theirs.owner), there.up(yours.owner)
        return (
            here.slot(theirs.owner) == there.slot(yours.owner)
            and up is not None
            and over is not None
            and self._same_body(up, over)
        )

    def _meet_containers(self, x: Effects, y: Effects) -> None:
        """What Y put into a container of base meets what X did to that container."""
        for effect in list(y.all):
            body = effect.body
            if not effect.is_arrival or body is None or body.mint != BASE or body.owner is x.strand.void:
                continue
            if x.strand.gone(body):
                self._meet(x, y, effect, body)
            elif x.strand.body(body) is not body:
                self._clash("replace_edit", body, x.content[body], effect)

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
                self._clash("replace_edit", holder, x.content[holder], effect)
            else:
                self._clash("remove_edit", node, x.death(node), effect)
            return

    def _meet_moved(self, x: Effects, y: Effects, effect: Effect, node: Node) -> None:
        top, replaced = self._top_gone(x, node)
        place = y.place[node]
        effects = (effect,) if effect is place else (effect, place)
        if replaced:
            self._clash("replace_edit", top, x.content[top], *effects)
        elif top is not node and top in y.strand.chain(node):
            self._clash("remove_edit", top, x.death(top), *effects)
        else:
            self._clash("move_remove", node, x.death(node), *effects)

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
                self._clash("cycle", min(circle, key=_base_pointer), *(e for e in moves if not e.agreed))
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


def _elements(effect: Effect) -> Iterator[tuple[Node, Node, str | None]]:
    """Yield what an effect puts into arrays of base or changes there: array, element, member of that."""
    node, body = effect.node, effect.body
    if effect.is_arrival and body is not None and body.mint == BASE:
        if type(body.raw) is list:
            yield body, node, None
        elif body.up is not None and type(body.up.raw) is list and isinstance(effect.at, str):
            yield body.up, body, effect.at
    up = node.up
    if node.mint == BASE and up is not None:
        if type(up.raw) is list:
            if effect.act is Act.CONTENT:
                yield up, node, None
        elif up.up is not None and type(up.up.raw) is list:
            yield up.up, up, str(node.at)


def _held_by(side: Effects, effect: Effect) -> Iterator[Node]:
    """Yield the values of base that an effect changes something in, and the one whose content it changes."""
    if effect.act is Act.CONTENT:
        yield effect.node
    if effect.node.mint == BASE:
        yield from _around(effect.node)
    body = effect.own or effect.body
    if effect.is_arrival and body is not None:
        yield from (node for node in (body.owner, *side.strand.chain(body.owner)) if node.mint == BASE)


def _around(node: Node) -> Iterator[Node]:
    """Yield what base has around *node*."""
    up = node.up
    while up is not None:
        yield up.owner
        up = up.owner.up


def _is_covered(clash: Clash, wholes: Mapping[Node, set[Effect]]) -> bool:
    """Say whether a clash is a part of one over a whole around it."""
    subject = clash.subject
    start = subject if isinstance(subject, Node) else subject.body.owner
    around = (node for node in (start, *_around(start)) if node in wholes)
    return any(wholes[node].issuperset(clash.effects) for node in around)


def decides_additions(rule: Rule, theirs: Json, yours: Json) -> bool:
    """Say whether a rule can decide between two values both sides added at one member."""
    numbers = is_number(theirs) and is_number(yours)
    return (
        rule.resolver is not None
        or rule.scalar in ("theirs", "yours")
        or (numbers and rule.scalar in ("max", "min", "sum"))
    )


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
                    if len(circle) > 1 or node in edges[node]:
                        found.append(frozenset(circle))
            elif up in index:
                low[node] = min(low[node], index[up])
            else:
                trail.append((up, iter(edges[up])))
    return found
