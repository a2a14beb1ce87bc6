"""Sets and keyed arrays: elements are the same by what they hold, wherever either side put them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from plait_merge.effect import Act, Effect, Effects
from plait_merge.elementkey import Form, Keys, key_of, value_form
from plait_merge.number import is_number
from plait_merge.policy import Policy, Rule
from plait_merge.strand import BASE, Node
from plait_merge.subject import Element, subject_tokens
from plait_merge.values import Json
from plait_merge.version import newer

if TYPE_CHECKING:
    from plait_merge.overlap import Overlaps

Newcomers: TypeAlias = dict[Node, list[Effect]]
"""Elements, and the effects that put each where it is or gave it what it is known by."""


class Elements:
    """Compare what both sides have that is new in the sets and keyed arrays of base.

    `joined` holds elements of yours that were made one with theirs', by key, and `keyless` those that should
    have a key of their own and have none.
    """

    def __init__(self, overlaps: Overlaps, policy: Policy) -> None:
        self.joined: list[Effect] = []
        self.keyless: list[Effect] = []
        self._overlaps = overlaps
        self._policy = policy
        self._paired: set[Effect] = set()
        theirs, yours = self._newcomers(overlaps.theirs), self._newcomers(overlaps.yours)
        for array, newcomers in yours.items():
            if self._overlaps.rule(array.owner).array == "set":
                self._compare_values(theirs.get(array, {}), newcomers)
            else:
                self._compare_keys(array, theirs.get(array, {}), newcomers)

    def unpaired(self, run: list[Effect]) -> list[Effect]:
        """Return those elements of a run that are as in a list, with no counterpart on the other side."""
        return [effect for effect in run if not effect.agreed and effect not in self._paired]

    def _newcomers(self, side: Effects) -> dict[Node, Newcomers]:
        """Return what may be new, by array and element, with what made it so."""
        found: dict[Node, Newcomers] = {}
        for effect in side.all:
            for array, element, name in _places_in(effect):
                rule = self._overlaps.rule(array.owner)
                is_new = rule.array in ("set", "keyed") if name is None else name in rule.key
                if is_new and side.strand.up(element) is array and self._is_shared(array):
                    found.setdefault(array, {}).setdefault(element, []).append(effect)
        return found

    def _is_shared(self, array: Node) -> bool:
        """Say whether both sides still have an array of base, with what base had in it."""
        strands = self._overlaps.theirs.strand, self._overlaps.yours.strand
        return all(not strand.gone(array) and strand.body(array.owner) is array for strand in strands)

    # Sets.

    def _compare_values(self, theirs: Newcomers, yours: Newcomers) -> None:
        """Count equal elements both sides added once; what a side itself added twice stays twice."""
        overlaps = self._overlaps
        here, there = overlaps.theirs.strand, overlaps.yours.strand
        known: dict[Form, list[Effect]] = {}
        for node, (effect, *_) in theirs.items():
            if effect.is_arrival:
                known.setdefault(value_form(here.value(node)), []).append(effect)
        for node, (effect, *_) in yours.items():
            others = known.get(value_form(there.value(node)))
            if not others or effect.act is not Act.ARRIVE:
                continue
            if overlaps.are_alike(others[0].node, node):
                overlaps.agree(others.pop(0), effect)

    # Keyed arrays.

    def _compare_keys(self, array: Node, theirs: Newcomers, yours: Newcomers) -> None:
        """Make two elements that have one key one element, or a clash."""
        here = {key: node for node, key in self._keys(self._overlaps.theirs, array, theirs)}
        for node, key in self._keys(self._overlaps.yours, array, yours):
            if key is None:
                self.keyless += [effect for effect in yours[node] if effect.act is Act.ARRIVE]
            elif key in here and here[key] is not node:
                self._compare_elements(Element(array, here[key], node), theirs[here[key]], yours[node])

    def _keys(self, side: Effects, array: Node, nodes: Iterable[Node]) -> Iterator[tuple[Node, Form | None]]:
        """Yield those of *nodes* that have a key they did not have in base, or none."""
        members = self._overlaps.rule(array.owner).key
        keys = Keys(side.strand.value(array.owner), members)
        for node in nodes:
            key = keys.of(side.strand.value(node))
            if key is None or node.up is not array or key != key_of(node.raw, members):
                yield node, key

    def _compare_elements(self, element: Element, theirs: list[Effect], yours: list[Effect]) -> None:
        overlaps = self._overlaps
        other, mine = theirs[0], yours[0]
        if other.act is mine.act is Act.ARRIVE and (other.node, mine.node) == (element.theirs, element.yours):
            if overlaps.are_alike(other.node, mine.node):
                overlaps.agree(other, mine)
                return
            is_strict = overlaps.rule(element.body.owner).keys == "strict"
            place = subject_tokens(element, overlaps.theirs.strand)
            if not is_strict and self._is_mergeable(other.node, mine.node, place):
                overlaps.merge_objects(other, mine)
                self.joined.append(mine)
                return
        overlaps.clash("duplicate_key", element, *theirs, *yours)
        self._paired.update((*theirs, *yours))

    def _is_mergeable(self, theirs: Node, yours: Node, place: list[str]) -> bool:
        """Say whether two objects both added, at *place*, merge member by member."""
        here, there = self._overlaps.theirs.strand, self._overlaps.yours.strand
        left, right = here.members_of(theirs), there.members_of(yours)
        for name in left.keys() & right.keys():
            if not self._overlaps.are_alike(left[name], right[name]):
                rule = self._policy.at((*place, name))
                values = here.body(left[name]).raw, there.body(right[name]).raw
                if type(values[0]) is type(values[1]) is dict and rule.object == "merge":
                    if not self._is_mergeable(left[name], right[name], [*place, name]):
                        return False
                elif not _is_decided(rule, *values):
                    return False
        return True


def _is_decided(rule: Rule, theirs: Json, yours: Json) -> bool:
    """Say whether a rule decides between two values both sides added at one member."""
    if rule.resolver is not None or rule.scalar in ("theirs", "yours"):
        return True
    if rule.scalar == "newest":
        return newer(theirs, yours) is not None
    return rule.scalar in ("max", "min", "sum") and is_number(theirs) and is_number(yours)


def _places_in(effect: Effect) -> Iterator[tuple[Node, Node, str | None]]:
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
