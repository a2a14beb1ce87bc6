"""The slow model of a merge: lift every node, compare everything.

An oracle, written from the two documents that say what a merge means and from nothing else; it shares no
rule with the engine. It favours what can be checked by reading over what is fast: every node of the base
becomes an identity, each side is replayed on a tree of identities, what a side did is read off by comparing
whole trees, and every effect of one side is held against every effect of the other.

    merge_patches(base, theirs, yours) -> Merged | Conflicts | Refused

The stages, in order of appearance: `Tree` (identities), `Replay` (operations), `read_effects` (net effects),
`Merge` (pairs, overlaps, conflicts, outcomes), guards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from plait_merge.pointer import format_pointer, parse_pointer
from plait_merge.values import ABSENT, same

Json: TypeAlias = Any
Patch: TypeAlias = list[dict[str, Json]]
Side: TypeAlias = Literal["theirs", "yours"]
Choice: TypeAlias = Literal["theirs", "yours", "base"]
Contested: TypeAlias = tuple[str, str]
"""A conflict as it is compared: its kind and its pointer in base."""

SIDES: Final[tuple[Side, Side]] = ("theirs", "yours")
ALL_CHOICES: Final[frozenset[Choice]] = frozenset({"theirs", "yours", "base"})
ONLY_THEIRS: Final[frozenset[Choice]] = frozenset({"theirs"})
KINDS: Final = (
    "cycle",
    "move_move",
    "move_remove",
    "remove_edit",
    "replace_edit",
    "edit_edit",
    "add_add",
)


@dataclass(frozen=True)
class Merged:
    """Both sides kept whole."""

    value: Json


@dataclass(frozen=True)
class Conflicts:
    """What overlaps, with the choices that have a meaning; `clean` is the value with `theirs` for all."""

    offered: dict[Contested, frozenset[Choice]]
    clean: Json
    settle: Callable[[Mapping[Contested, Choice]], Json]

    @property
    def conflicts(self) -> frozenset[Contested]:
        return frozenset(self.offered)


@dataclass(frozen=True)
class Refused:
    """Your patch does not apply to base: the index of the operation and why."""

    operation: int
    reason: str


def merge_patches(base: Json, theirs: Sequence[Patch], yours: Patch) -> Merged | Conflicts | Refused:
    """Merge your patch with the chain of theirs, both made against base. Any value may be ABSENT."""
    their_side = read_effects(replay(base, theirs, "theirs"))
    try:
        your_replay = replay(base, [yours], "yours")
    except Refusal as refusal:
        return Refused(refusal.operation, refusal.reason)
    merge = Merge(their_side, read_effects(your_replay))
    failed = frozenset(failed_guards(base, their_side, yours, your_replay))
    if not failed and not merge.conflicts:
        return Merged(merge.outcome({}).value)

    offered = merge.offered() if not failed else dict.fromkeys(merge.conflicts, ONLY_THEIRS)
    offered |= dict.fromkeys(failed, ONLY_THEIRS)

    def settle(choices: Mapping[Contested, Choice]) -> Json:
        if choices.keys() != offered.keys() or any(choices[name] not in offered[name] for name in offered):
            raise ValueError("one choice for every conflict, of those offered")
        return their_side.tree.value() if failed else merge.outcome(choices).value

    return Conflicts(offered, settle(dict.fromkeys(offered, "theirs")), settle)


# ------------------------------------------------------------------------------------------- identities

Node: TypeAlias = str
"""An identity. Of base: "=" and its pointer. Minted: the side, "+" and a number."""

HOUSE: Final[Node] = "house"
"""The invisible container; the document is its member "" (0001, number 1)."""
ROOM: Final = ""


class Entry(NamedTuple):
    """A place in an array: `home` (a base element where it was), `anchor` (a dead one), `guest` (put in)."""

    kind: Literal["home", "anchor", "guest"]
    node: Node

    @property
    def live(self) -> bool:
        return self.kind != "anchor"


@dataclass
class Content:
    """What a node holds. A new content of an old identity has another `generation`."""

    generation: int
    kind: Literal["object", "array", "scalar"]
    scalar: Json = None
    members: dict[str, Node] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def copy(self) -> Content:
        return Content(self.generation, self.kind, self.scalar, dict(self.members), list(self.entries))

    def elements(self) -> list[Node]:
        return [entry.node for entry in self.entries if entry.live]

    def children(self) -> list[Node]:
        return [*self.members.values(), *self.elements()]


OLD: Final = 0


class Tree:
    """Identities and what they hold, from the house down; nodes out of reach are dead."""

    def __init__(self, contents: dict[Node, Content]) -> None:
        self.contents = contents

    @classmethod
    def lift(cls, base: Json) -> Tree:
        tree = cls({HOUSE: Content(OLD, "object")})
        if base is not ABSENT:
            tree.contents[HOUSE].members[ROOM] = "="
            tree._lift("=", base)
        return tree

    def _lift(self, node: Node, value: Json) -> None:
        content = self.contents[node] = Content(OLD, kind_of(value))
        for token, part in parts_of(value):
            child = node + format_pointer([token])
            self._lift(child, part)
            if content.kind == "object":
                content.members[token] = child
            else:
                content.entries.append(Entry("home", child))
        if content.kind == "scalar":
            content.scalar = value

    def copy(self) -> Tree:
        return Tree({node: content.copy() for node, content in self.contents.items()})

    def parents(self) -> dict[Node, Node]:
        """Every living node but the house, with the container it is in."""
        found: dict[Node, Node] = {}
        waiting = [HOUSE]
        while waiting:
            node = waiting.pop()
            for child in self.contents[node].children():
                assert child not in found, f"{child} is in two places"
                found[child] = node
                waiting.append(child)
        return found

    def value(self, node: Node = HOUSE) -> Json:
        content = self.contents[node]
        if node == HOUSE:
            return self.value(content.members[ROOM]) if ROOM in content.members else ABSENT
        if content.kind == "object":
            return {name: self.value(child) for name, child in content.members.items()}
        if content.kind == "array":
            return [self.value(child) for child in content.elements()]
        return content.scalar

    def below(self, node: Node) -> Iterator[Node]:
        """The nodes strictly below one."""
        for child in self.contents[node].children():
            yield child
            yield from self.below(child)


def kind_of(value: Json) -> Literal["object", "array", "scalar"]:
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else "scalar"


def parts_of(value: Json) -> list[tuple[str, Json]]:
    if isinstance(value, dict):
        return list(value.items())
    return [(str(index), part) for index, part in enumerate(value)] if isinstance(value, list) else []


def is_base(node: Node) -> bool:
    return node == HOUSE or node.startswith("=")


# ------------------------------------------------------------------------------------------- operations


class Refusal(Exception):
    """An operation does not apply."""

    def __init__(self, operation: int, reason: str) -> None:
        super().__init__(operation, reason)
        self.operation = operation
        self.reason = reason


class Slot(NamedTuple):
    """Where an operation points: a member, or an index among the living elements."""

    container: Node
    name: str | None
    at: int


class Guard(NamedTuple):
    """A `test` that held: at which operation, of which identity, expecting what."""

    operation: int
    node: Node
    value: Json
    pointer: str


class Replay:
    """One side's operations on a tree of identities (0001, number 2)."""

    def __init__(self, base: Tree, side: Side) -> None:
        self.base = base
        self.tree = base.copy()
        self.side = side
        self.guards: list[Guard] = []
        self.copied: dict[Node, list[tuple[Node, int]]] = {}
        """A copy, with the nodes it was made from and their contents at that moment."""
        self._removed: dict[tuple[Node, int, str], Node] = {}
        self._numbers = count(1)
        self._operation = 0

    def run(self, patch: Patch) -> None:
        self._removed.clear()
        for self._operation, operation in enumerate(patch):
            path = parse_pointer(operation["path"])
            source = parse_pointer(operation["from"]) if "from" in operation else ()
            match operation["op"]:
                case "add":
                    self._add(path, operation["value"])
                case "remove":
                    self._remove(path)
                case "replace":
                    self._renew(self._find(path), operation["value"])
                case "move":
                    self._move(source, path)
                case "copy":
                    self._copy(source, path)
                case "test":
                    self._test(path, operation["value"])
                case _:
                    self._refuse("unsupported")

    def _refuse(self, reason: str) -> None:
        raise Refusal(self._operation, reason)

    # -- the six

    def _add(self, path: Sequence[str], value: Json) -> None:
        slot = self._slot(path, adding=True)
        content = self.tree.contents[slot.container]
        if slot.name is None:
            self._put(slot, self._mint(value))
            return
        removed = self._removed.get((slot.container, content.generation, slot.name))
        if slot.name in content.members:
            self._renew(content.members[slot.name], value)
        elif removed is not None and removed not in self.tree.parents():
            content.members[slot.name] = removed
            self._renew(removed, value)
        else:
            self._put(slot, self._mint(value))

    def _remove(self, path: Sequence[str]) -> None:
        node = self._find(path)
        slot = self._slot(path)
        if slot.name is not None:
            generation = self.tree.contents[slot.container].generation
            self._removed[slot.container, generation, slot.name] = node
        self._take(slot)

    def _move(self, source: Sequence[str], path: Sequence[str]) -> None:
        node = self._find(source)
        if tuple(path[: len(source)]) == tuple(source):
            if len(path) > len(source):
                self._refuse("into-itself")
            return
        was = self._slot(source)
        entries = list(self.tree.contents[was.container].entries)
        self._take(was)
        slot = self._slot(path, adding=True)
        if slot == was:
            # "-" or a pointer to its own place: nothing happened, anchors included.
            self.tree.contents[was.container].entries = entries
            return
        self._put(slot, node)

    def _copy(self, source: Sequence[str], path: Sequence[str]) -> None:
        seen = self._find(source)
        made_from = [(node, self.tree.contents[node].generation) for node in (seen, *self.tree.below(seen))]
        value = self.tree.value(seen)
        slot = self._slot(path, adding=True)
        node = self._mint(value)
        self.copied[node] = made_from
        self._put(slot, node)

    def _test(self, path: Sequence[str], value: Json) -> None:
        node = self._find(path)
        if not same(self.tree.value(node), value):
            self._refuse("test")
        self.guards.append(Guard(self._operation, node, value, format_pointer(path)))

    # -- places

    def _find(self, path: Sequence[str]) -> Node:
        slot = self._slot(path)
        content = self.tree.contents[slot.container]
        return content.members[slot.name] if slot.name is not None else content.elements()[slot.at]

    def _slot(self, path: Sequence[str], adding: bool = False) -> Slot:
        node = HOUSE
        tokens = [ROOM, *path]
        for token in tokens[:-1]:
            slot = self._step(node, token, adding=False)
            content = self.tree.contents[node]
            node = content.members[slot.name] if slot.name is not None else content.elements()[slot.at]
        return self._step(node, tokens[-1], adding)

    def _step(self, container: Node, token: str, adding: bool) -> Slot:
        content = self.tree.contents[container]
        if content.kind == "scalar":
            self._refuse("no-container")
        if content.kind == "object":
            if not adding and token not in content.members:
                self._refuse("missing")
            return Slot(container, token, 0)
        length = len(content.elements())
        if adding and token == "-":
            return Slot(container, None, length)
        if not re.fullmatch("0|[1-9][0-9]*", token, re.ASCII):
            self._refuse("index")
        if int(token) >= length + adding:
            self._refuse("missing")
        return Slot(container, None, int(token))

    def _take(self, slot: Slot) -> None:
        content = self.tree.contents[slot.container]
        if slot.name is not None:
            del content.members[slot.name]
            return
        node = content.elements()[slot.at]
        at = next(i for i, entry in enumerate(content.entries) if entry.live and entry.node == node)
        if content.entries[at].kind == "home":
            content.entries[at] = Entry("anchor", node)
        else:
            del content.entries[at]

    def _put(self, slot: Slot, node: Node) -> None:
        content = self.tree.contents[slot.container]
        if slot.name is not None:
            content.members[slot.name] = node
            return
        # Directly after the living element on its left, before any anchors (number 11).
        at = 0
        if slot.at > 0:
            left = content.elements()[slot.at - 1]
            at = 1 + next(i for i, entry in enumerate(content.entries) if entry.live and entry.node == left)
        content.entries.insert(at, Entry("guest", node))

    # -- contents

    def _mint(self, value: Json) -> Node:
        node = f"{self.side}+{next(self._numbers)}"
        self._renew(node, value)
        return node

    def _renew(self, node: Node, value: Json) -> None:
        content = Content(next(self._numbers), kind_of(value))
        for token, part in parts_of(value):
            child = self._mint(part)
            if content.kind == "object":
                content.members[token] = child
            else:
                content.entries.append(Entry("guest", child))
        if content.kind == "scalar":
            content.scalar = value
        self.tree.contents[node] = content


def replay(base: Json, patches: Sequence[Patch], side: Side) -> Replay:
    """Replay a chain; raises Refusal."""
    done = Replay(Tree.lift(base), side)
    for patch in patches:
        done.run(patch)
    return done


# ------------------------------------------------------------------------------------------ net effects


class Effect(NamedTuple):
    """The unit that is kept or dropped: one facet of one identity, changed by one side."""

    side: Side
    facet: Literal["dead", "moved", "replaced", "arrived"]
    node: Node


class Place(NamedTuple):
    """Where a node is: the container, and the name or the gap there. A new array is one gap, the head."""

    container: Node
    key: tuple[str, str | int]


@dataclass
class SideEffects:
    """One side, read off its final tree (0001, number 3)."""

    side: Side
    base: Tree
    tree: Tree
    parents: dict[Node, Node]
    effects: set[Effect]
    same_as: dict[Node, Node]
    """Nodes of a new content that turned out to be no change, with the nodes of base they are."""
    copied: dict[Node, list[tuple[Node, int]]]

    def has(self, facet: Literal["dead", "moved", "replaced", "arrived"], node: Node) -> bool:
        return Effect(self.side, facet, node) in self.effects

    def alive(self, node: Node) -> bool:
        return node == HOUSE or node in self.parents

    def renewed(self, node: Node) -> bool:
        """Whether a base identity holds a new content on this side."""
        return is_base(node) and self.alive(node) and self.tree.contents[node].generation != OLD

    def chain(self, node: Node) -> list[Node]:
        """The node and what it is in, up to the house, in this side's final tree."""
        found = [node]
        while found[-1] != HOUSE:
            found.append(self.parents[found[-1]])
        return found

    def name(self, node: Node) -> str | None:
        """The member name a node has on this side."""
        members = self.tree.contents[self.parents[node]].members
        return next((name for name, child in members.items() if child == node), None)

    def place(self, node: Node) -> Place:
        container = self.parents[node]
        content = self.tree.contents[container]
        name = self.name(node)
        key = ("gap", gap_of(content, node)) if name is None else ("member", name)
        return Place(container, key)

    def owner(self, minted: Node) -> Effect:
        """The effect that brought a minted node: its own arrival, or what it is a part of."""
        if self.has("arrived", minted):
            return Effect(self.side, "arrived", minted)
        container = self.parents[minted]
        return Effect(self.side, "replaced", container) if is_base(container) else self.owner(container)


def gap_of(content: Content, node: Node) -> int:
    """The gap a guest is in: the number of the base element on its left, living or dead; -1 is the head."""
    gap = -1
    for entry in content.entries:
        if entry.kind == "guest" and entry.node == node:
            return gap
        gap += entry.kind != "guest"
    raise AssertionError(f"{node} is no guest here")


def read_effects(done: Replay) -> SideEffects:
    """Compare a side's final tree with base."""
    base, tree, side = done.base, done.tree, done.side
    same_as = _undo_equal_contents(base, tree)
    _undo_returned_elements(tree)
    parents, base_parents = tree.parents(), base.parents()
    effects: set[Effect] = set()
    for node, container in base_parents.items():
        if node not in parents:
            if _lives_with_old_content(container, tree, parents):
                effects.add(Effect(side, "dead", node))
            continue
        if tree.contents[node].generation != OLD:
            effects.add(Effect(side, "replaced", node))
        if _moved(node, container, base, tree, parents):
            effects.add(Effect(side, "moved", node))
    for node, container in parents.items():
        if not is_base(node) and is_base(container) and tree.contents[container].generation == OLD:
            effects.add(Effect(side, "arrived", node))
    return SideEffects(side, base, tree, parents, effects, same_as, done.copied)


def _lives_with_old_content(node: Node, tree: Tree, parents: dict[Node, Node]) -> bool:
    return node == HOUSE or (node in parents and tree.contents[node].generation == OLD)


def _moved(node: Node, container: Node, base: Tree, tree: Tree, parents: dict[Node, Node]) -> bool:
    content = tree.contents[container] if parents[node] == container else None
    if content is None or content.generation != OLD:
        return True
    if content.kind == "object":
        was = next(name for name, child in base.contents[container].members.items() if child == node)
        return content.members.get(was) != node
    return Entry("home", node) not in content.entries


def _undo_equal_contents(base: Tree, tree: Tree) -> dict[Node, Node]:
    """Take back every new content that equals base's and neither holds nor lost an identity of elsewhere."""
    same_as: dict[Node, Node] = {}
    for node in list(base.parents()):
        alive = set(tree.parents())
        if node not in alive or tree.contents[node].generation == OLD:
            continue
        pairs: dict[Node, Node] = {}
        if not _mirrors(tree, node, base, node, pairs):
            continue
        # An identity that lives on, but not at its own place in here, was moved out of the old content.
        if any(inside in alive and pairs.get(inside) != inside for inside in base.below(node)):
            continue
        same_as.update(pairs)
        for inside in (node, *base.below(node)):
            tree.contents[inside] = base.contents[inside].copy()
    return same_as


def _mirrors(tree: Tree, node: Node, base: Tree, original: Node, pairs: dict[Node, Node]) -> bool:
    """Whether a subtree is base's in value and holds identities of base at their own places only."""
    if is_base(node) and node != original:
        return False
    pairs[node] = original
    new, old = tree.contents[node], base.contents[original]
    if new.kind != old.kind:
        return False
    if new.kind == "scalar":
        return same(new.scalar, old.scalar)
    if new.kind == "object":
        return new.members.keys() == old.members.keys() and all(
            _mirrors(tree, child, base, old.members[name], pairs) for name, child in new.members.items()
        )
    return len(new.elements()) == len(old.elements()) and all(
        _mirrors(tree, child, base, twin, pairs)
        for child, twin in zip(new.elements(), old.elements(), strict=True)
    )


def _undo_returned_elements(tree: Tree) -> None:
    """Bring every element home that has nothing living between its place and its own anchor.

    One at a time, the leftmost first, until none is left: two neighbours that changed sides may each have
    nothing living on the way home, and only one of them can have stayed.
    """
    for content in tree.contents.values():
        while _bring_one_home(content.entries):
            pass


def _bring_one_home(entries: list[Entry]) -> bool:
    for home, entry in enumerate(entries):
        if entry.kind != "anchor" or Entry("guest", entry.node) not in entries:
            continue
        at = entries.index(Entry("guest", entry.node))
        if not any(other.live for other in entries[min(home, at) + 1 : max(home, at)]):
            entries[home] = Entry("home", entry.node)
            del entries[at]
            return True
    return False


# -------------------------------------------------------------------------------------------- the merge


class Part(NamedTuple):
    """One overlap: its kind, its place, and what of each side it is made of."""

    kind: str
    tokens: tuple[str, ...]
    effects: frozenset[Effect]


class Outcome(NamedTuple):
    """A merged document, and the value of every identity in it."""

    value: Json
    values: dict[Node, Json]


class Merge:
    """Two sides held against each other. `conflicts` has the effects each conflict is made of."""

    def __init__(self, theirs: SideEffects, yours: SideEffects) -> None:
        # A merge splits effects up further, so it takes copies.
        self.sides: dict[Side, SideEffects] = {
            "theirs": replace(theirs, effects=set(theirs.effects)),
            "yours": replace(yours, effects=set(yours.effects)),
        }
        self.base = theirs.base
        self.base_parents = self.base.parents()
        self.twin: dict[Node, Node] = {}
        """Minted nodes of both sides that are one thing: yours by theirs and theirs by yours."""
        self.parts: list[Part] = []
        self.joins: list[tuple[Effect, Effect]] = []
        """A removal inside what the other side removed: it goes with that removal if that is contested."""
        self.rescues: list[tuple[Effect, Effect]] = []
        """The death of a node the other side took out, and the removal it died of."""
        self._pair_contents()
        self._pair_arrivals()
        self._pair_runs()
        self._own_deaths()
        for side in SIDES:
            for effect in sorted(self._of(side)):
                self._overlaps_of(effect)
        self._overlaps_of_places()
        self._cycles()
        self.needs = {effect: self._needs(effect) for effect in self._all_effects()}
        self.sources = {effect: self._copy_sources(effect) for effect in self._all_effects()}
        self.conflicts = self._group()

    def _of(self, side: Side) -> set[Effect]:
        return self.sides[side].effects

    def _all_effects(self) -> list[Effect]:
        return sorted(self._of("theirs") | self._of("yours"))

    def _other(self, side: Side) -> SideEffects:
        return self.sides["yours" if side == "theirs" else "theirs"]

    # -- pairs: what both sides made alike (numbers 5, 10 and 11)

    def _pair_contents(self) -> None:
        theirs, yours = self.sides["theirs"], self.sides["yours"]
        for node in self.base_parents:
            if not (theirs.has("replaced", node) and yours.has("replaced", node)):
                continue
            if self._alike(node, node, same_content=True):
                self._pair_below(node, node)
            else:
                self._part(
                    "edit_edit", node, Effect("theirs", "replaced", node), Effect("yours", "replaced", node)
                )

    def _alike(self, mine: Node, other: Node, same_content: bool = False) -> bool:
        """Whether theirs' node and yours are the same identity, or minted alike with equal values.

        What was done in an identity of base is an effect of its own, and makes nothing around it unlike.
        """
        if not same_content and (is_base(mine) or is_base(other)):
            return mine == other
        theirs, yours = self.sides["theirs"].tree, self.sides["yours"].tree
        a, b = theirs.contents[mine], yours.contents[other]
        if a.kind != b.kind or a.members.keys() != b.members.keys() or len(a.elements()) != len(b.elements()):
            return False
        return (
            same(a.scalar, b.scalar)
            and all(self._alike(child, b.members[name]) for name, child in a.members.items())
            and all(self._alike(x, y) for x, y in zip(a.elements(), b.elements(), strict=True))
        )

    def _pair(self, mine: Node, other: Node) -> None:
        """Make two alike nodes one, all the way down."""
        if not is_base(mine):
            self.twin[mine], self.twin[other] = other, mine
            self._pair_below(mine, other)

    def _pair_below(self, mine: Node, other: Node) -> None:
        a = self.sides["theirs"].tree.contents[mine]
        b = self.sides["yours"].tree.contents[other]
        for name, child in a.members.items():
            self._pair(child, b.members[name])
        for x, y in zip(a.elements(), b.elements(), strict=True):
            self._pair(x, y)

    def _shared_containers(self) -> Iterator[tuple[Node, Content, Content]]:
        """The containers of base that live on both sides with the content they had."""
        theirs, yours = self.sides["theirs"], self.sides["yours"]
        for node in (HOUSE, *self.base_parents):
            if all(side.alive(node) and not side.renewed(node) for side in (theirs, yours)):
                yield node, theirs.tree.contents[node], yours.tree.contents[node]

    def _pair_arrivals(self) -> None:
        for node, a, b in self._shared_containers():
            was = self.base.contents[node].members
            for name in sorted(a.members.keys() & b.members.keys()):
                if was.get(name) not in (a.members[name], b.members[name]):
                    self._meet(a.members[name], b.members[name], self._member(node, name))

    def _meet(self, mine: Node, other: Node, tokens: tuple[str, ...]) -> None:
        """Two arrivals at one member."""
        if mine == other:
            return
        theirs, yours = self.sides["theirs"].tree.contents, self.sides["yours"].tree.contents
        minted = not is_base(mine) and not is_base(other)
        if minted and theirs[mine].kind == yours[other].kind == "object":
            self.twin[mine], self.twin[other] = other, mine
            self._meet_members(mine, other, tokens)
        elif minted and self._alike(mine, other):
            self._pair(mine, other)
        else:
            effects = {self._coming("theirs", mine), self._coming("yours", other)}
            self.parts.append(Part("add_add", tokens, frozenset(effects)))

    def _meet_members(self, mine: Node, other: Node, tokens: tuple[str, ...]) -> None:
        a = self.sides["theirs"].tree.contents[mine].members
        b = self.sides["yours"].tree.contents[other].members
        # Members of a shared new object are kept or dropped one by one.
        self._of("theirs").update(self._coming("theirs", child) for child in a.values())
        self._of("yours").update(self._coming("yours", child) for child in b.values())
        for name in sorted(a.keys() & b.keys()):
            self._meet(a[name], b[name], (*tokens, name))

    def _coming(self, side: Side, node: Node) -> Effect:
        return Effect(side, "moved" if is_base(node) else "arrived", node)

    def _pair_runs(self) -> None:
        for node, a, b in self._shared_containers():
            for gap in range(-1, len(self.base.contents[node].entries)):
                mine, other = run_at(a, gap), run_at(b, gap)
                if len(mine) == len(other) and all(map(self._one_in_a_run, mine, other)):
                    for x, y in zip(mine, other, strict=True):
                        self._pair(x, y)

    def _one_in_a_run(self, mine: Node, other: Node) -> bool:
        return mine == other or (not is_base(mine) and not is_base(other) and self._alike(mine, other))

    # -- pointers

    def _tokens(self, node: Node) -> tuple[str, ...]:
        return parse_pointer(node.removeprefix("=")) if node != HOUSE else ()

    def _member(self, container: Node, name: str) -> tuple[str, ...]:
        return () if container == HOUSE else (*self._tokens(container), name)

    def _order(self, tokens: tuple[str, ...]) -> list[tuple[int, str]]:
        """The order of pointers: array parts by number."""
        node: Node | None = "="
        order: list[tuple[int, str]] = []
        for token in tokens:
            in_array = node in self.base.contents and self.base.contents[node].kind == "array"
            order.append((int(token), "") if in_array and token.isdecimal() else (0, token))
            node = None if node is None else node + format_pointer([token])
        return order

    def _part(self, kind: str, node: Node, *effects: Effect) -> None:
        self.parts.append(Part(kind, self._tokens(node), frozenset(effects)))

    # -- overlaps: one effect of Y against everything X did (numbers 4 to 7)

    def _killer(self, x: SideEffects, node: Node) -> Effect:
        """What killed a dead node of base: the removal, or the replacement, of the topmost above it."""
        while not x.alive(self.base_parents[node]):
            node = self.base_parents[node]
        container = self.base_parents[node]
        return Effect(x.side, "replaced", container) if x.renewed(container) else Effect(x.side, "dead", node)

    def _own_deaths(self) -> None:
        """Give a facet of its own to each node one side took out of what the other removed (number 4)."""
        for x in self.sides.values():
            y = self._other(x.side)
            for effect in list(y.effects):
                if effect.facet == "moved" and not x.alive(effect.node):
                    killer = self._killer(x, effect.node)
                    if killer.facet == "dead" and killer.node not in y.chain(effect.node)[1:]:
                        own = Effect(x.side, "dead", effect.node)
                        x.effects.add(own)
                        if own != killer:
                            self.rescues.append((own, killer))

    def _overlaps_of(self, effect: Effect) -> None:
        y, x = self.sides[effect.side], self._other(effect.side)
        node = effect.node
        match effect.facet:
            case "replaced":
                self._overlaps_along(effect, x, y.chain(node), inside_first=False)
            case "arrived":
                self._overlaps_along(effect, x, y.chain(node)[1:])
            case "moved":
                if not x.alive(node):
                    self._taken_from_the_dead(effect, x, y)
                self._overlaps_along(effect, x, y.chain(node)[1:])
            case "dead":
                self._removal_along(effect, x, y)

    def _taken_from_the_dead(self, effect: Effect, x: SideEffects, y: SideEffects) -> None:
        """Y moved what X killed."""
        killer = self._killer(x, effect.node)
        if killer.facet == "replaced":
            self._part("replace_edit", killer.node, killer, effect)
        elif killer.node in y.chain(effect.node)[1:]:
            self._part("remove_edit", killer.node, killer, effect)
        else:
            self._part("move_remove", effect.node, Effect(x.side, "dead", effect.node), effect)

    def _overlaps_along(
        self, effect: Effect, x: SideEffects, chain: list[Node], inside_first: bool = True
    ) -> None:
        """Hold an effect against whatever X removed or replaced around it, in Y's own final tree.

        A node that lives for X and that either side moved ends the walk: X moved it out of what X removed or
        replaced, or Y moved it in there and it can stay where it was; the edit follows it.
        """
        y = self.sides[effect.side]
        for i, node in enumerate(chain):
            if not is_base(node):
                continue
            if not x.alive(node):
                self._inside_the_dead(effect, x, chain[i:])
            elif x.has("replaced", node) and (i > 0 or inside_first) and not y.has("replaced", node):
                self._part("replace_edit", node, Effect(x.side, "replaced", node), effect)
            if x.alive(node) and (x.has("moved", node) or y.has("moved", node)):
                return

    def _inside_the_dead(self, effect: Effect, x: SideEffects, chain: list[Node]) -> None:
        killer = self._killer(x, chain[0])
        if killer.facet == "replaced":
            self._part("replace_edit", killer.node, killer, effect)
        elif killer.node in chain:
            self._part("remove_edit", killer.node, killer, effect)
        else:
            rescued = self._rescued(x, chain)
            self._part("move_remove", rescued, Effect(x.side, "dead", rescued), effect)

    def _rescued(self, x: SideEffects, chain: list[Node]) -> Node:
        """The nearest node around that Y took out of what X removed."""
        y = self._other(x.side)
        return next(node for node in chain if y.has("moved", node) and x.has("dead", node))

    def _removal_along(self, effect: Effect, x: SideEffects, y: SideEffects) -> None:
        """Y's removal inside what X removed is agreement, and goes with it where that is contested."""
        node = effect.node
        container = self.base_parents[node]
        if x.has("moved", node):
            return
        chain = y.chain(container) if y.alive(container) else []
        if x.alive(node):
            for above in chain:
                if is_base(above) and x.has("replaced", above) and not y.has("replaced", above):
                    self._part("replace_edit", above, Effect(x.side, "replaced", above), effect)
                if x.has("moved", above) or y.has("moved", above):
                    return
            return
        killer = self._killer(x, node)
        if killer.facet == "replaced":
            self._part("replace_edit", killer.node, killer, effect)
        elif killer.node in chain:
            self.joins.append((effect, killer))
        elif killer.node != node and chain:
            rescued = self._rescued(x, chain)
            self._part("move_remove", rescued, Effect(x.side, "dead", rescued), effect)

    # -- overlaps of places (numbers 8 and 9)

    def _overlaps_of_places(self) -> None:
        for node in self.base_parents:
            theirs, yours = Effect("theirs", "moved", node), Effect("yours", "moved", node)
            if self._both(theirs, yours) and not self._agreed_move(node):
                self._part("move_move", node, theirs, yours)

    def _both(self, theirs: Effect, yours: Effect) -> bool:
        return theirs in self._of("theirs") and yours in self._of("yours")

    def _agreed_move(self, node: Node) -> bool:
        if not all(side.has("moved", node) for side in self.sides.values()):
            return False
        mine, other = (self.sides[side].place(node) for side in SIDES)
        if mine.key != other.key:
            return False
        if is_base(mine.container):
            return mine.container == other.container
        return self.twin.get(mine.container) == other.container

    def _agreed_content(self, node: Node) -> bool:
        both = all(side.has("replaced", node) for side in self.sides.values())
        return both and self._alike(node, node, same_content=True)

    def _cycles(self) -> None:
        """Report each circle that the moves of both sides close together."""
        movers = {
            node: [side for side in SIDES if self.sides[side].has("moved", node)]
            for node in self.base_parents
        }
        moved = [node for node, sides in movers.items() if sides]
        step = {(node, side): self._next_moved(node, side) for node in moved for side in movers[node]}
        found: set[frozenset[Effect]] = set()

        def walk(path: list[tuple[Node, Side]]) -> None:
            above = step[path[-1]]
            if above is None:
                return
            if above == path[0][0]:
                found.add(frozenset(Effect(side, "moved", node) for node, side in path))
            elif all(above != node for node, _ in path):
                for side in movers[above]:
                    walk([*path, (above, side)])

        for node in moved:
            for side in movers[node]:
                walk([(node, side)])
        for circle in found:
            top = min((effect.node for effect in circle), key=lambda node: self._order(self._tokens(node)))
            self._part("cycle", top, *(effect for effect in circle if not self._agreed_move(effect.node)))

    def _next_moved(self, node: Node, side: Side) -> Node | None:
        """The next moved node above one, starting from where that side put it."""
        node = self.sides[side].parents[node]
        while node != HOUSE:
            if not is_base(node):
                owner = next(s for s in self.sides.values() if node in s.parents and node in s.tree.contents)
                node = owner.parents[node]
            elif any(s.has("moved", node) for s in self.sides.values()):
                return node
            else:
                node = self.base_parents[node]
        return None

    # -- needs: what an effect cannot be without (number 15)

    def _needs(self, effect: Effect) -> list[frozenset[Effect]]:
        """Sets of effects; with none of a set kept, this one has no place or takes what must stay.

        A need is for what its own side did, even where the other side would have made room as well.
        """
        side = self.sides[effect.side]
        if effect.facet == "arrived":
            return self._needs_of_place(side, effect.node)
        if effect.facet == "moved":
            return self._needs_of_place(side, effect.node) + self._needs_against_circles(side, effect.node)
        return self._needs_of_ending(side, effect.node)

    def _needs_of_place(self, side: SideEffects, node: Node) -> list[frozenset[Effect]]:
        """The container must be there, and what base has at the member must be gone."""
        container = side.parents[node]
        if not is_base(container):
            owners = {side.owner(container)}
            if container in self.twin:
                owners.add(self._other(side.side).owner(self.twin[container]))
            return [frozenset(owners)]
        if side.renewed(container):
            makers = self.sides.values() if self._agreed_content(container) else [side]
            return [frozenset(Effect(maker.side, "replaced", container) for maker in makers)]
        name = side.name(node)
        occupant = None if name is None else self.base.contents[container].members.get(name)
        return [] if occupant in (None, node) else [self._gone(side, str(occupant))]

    def _gone(self, side: SideEffects, node: Node) -> frozenset[Effect]:
        """How a side got a node of base away from its place."""
        ways = (Effect(side.side, "dead", node), Effect(side.side, "moved", node))
        return frozenset(way for way in ways if way in side.effects)

    def _needs_against_circles(self, side: SideEffects, node: Node) -> list[frozenset[Effect]]:
        return [
            self._gone(side, above)
            for above in side.chain(node)[1:]
            if side.has("moved", above) and node in chain_from_home(side, above, self.base_parents)
        ]

    def _needs_of_ending(self, side: SideEffects, node: Node) -> list[frozenset[Effect]]:
        """A removed or replaced node needs that what was taken out of it stays out."""
        return [
            self._gone(side, inside)
            for inside in self.base.below(node)
            if side.has("moved", inside)
            and (self.base_parents[inside] == node or not side.alive(self.base_parents[inside]))
        ]

    def _copy_sources(self, effect: Effect) -> list[Effect]:
        """The effects that had set what a copy was made from."""
        side = self.sides[effect.side]
        found = []
        for node, generation in side.copied.get(effect.node, []) if effect.facet == "arrived" else []:
            if generation == OLD or not side.alive(node) or side.tree.contents[node].generation != generation:
                continue
            source = Effect(side.side, "replaced", node) if is_base(node) else side.owner(node)
            if source in side.effects and source != effect:
                found.append(source)
        return found

    # -- conflicts (number 14)

    def _group(self) -> dict[Contested, frozenset[Effect]]:
        groups = [set(part.effects) for part in self.parts]
        groups = joined(groups)
        for effect, removal in self.joins:
            for group in groups:
                if removal in group:
                    group.add(effect)
        groups = joined(groups)
        while (coupled := self._coupled(groups)) is not None:
            groups = joined([*groups, coupled])
        conflicts: dict[Contested, frozenset[Effect]] = {}
        for group in groups:
            parts = [part for part in self.parts if part.effects & group]
            first = min(parts, key=lambda part: (KINDS.index(part.kind), self._order(part.tokens)))
            name = (first.kind, format_pointer(first.tokens))
            assert name not in conflicts, f"two conflicts are called {name}"
            conflicts[name] = frozenset(group)
        return conflicts

    def _coupled(self, groups: list[set[Effect]]) -> set[Effect] | None:
        """Find effects of several conflicts that some combination of choices could not settle apart."""
        for group in groups:
            for effect in sorted(group):
                for need in self.needs[effect]:
                    if any(other in group and other.side == effect.side for other in need):
                        continue
                    relied_on = self._relied_on(need, groups, {effect})
                    if relied_on is not None and not relied_on <= group:
                        return group | relied_on
        return None

    def _relied_on(
        self, need: frozenset[Effect], groups: list[set[Effect]], seen: set[Effect]
    ) -> set[Effect] | None:
        """The contested effects a need rests on; None if something uncontested always fulfils it."""
        found: set[Effect] = set()
        for effect in need:
            if any(effect in group for group in groups):
                found.add(effect)
                continue
            if effect in seen:
                return None
            further = self.needs[effect] + [frozenset({source}) for source in self.sources[effect]]
            deeper = [self._relied_on(more, groups, seen | {effect}) for more in further]
            relied = set().union(*(some for some in deeper if some is not None))
            if not relied:
                return None
            found |= relied
        return found

    def offered(self) -> dict[Contested, frozenset[Choice]]:
        """What can be chosen: not `base` for a node whose place in base is in what stays removed."""
        return {
            name: ALL_CHOICES - {"base"}
            if any(own in group and removal not in group for own, removal in self.rescues)
            else ALL_CHOICES
            for name, group in self.conflicts.items()
        }

    # -- outcomes

    def outcome(self, choices: Mapping[Contested, Choice]) -> Outcome:
        """Keep what the choices keep and every clean effect that has a place; build the document."""
        assert choices.keys() == self.conflicts.keys(), "a choice for every conflict and for nothing else"
        contested = {effect for group in self.conflicts.values() for effect in group}
        kept = {effect for effect in self._all_effects() if effect not in contested}
        for name, choice in choices.items():
            kept |= {effect for effect in self.conflicts[name] if effect.side == choice}
        while lost := {effect for effect in kept if not self._held(effect, kept, effect in contested)}:
            assert not lost & contested, f"cannot be settled apart: {sorted(lost & contested)}"
            kept -= lost
        return Builder(self, kept).build()

    def _held(self, effect: Effect, kept: set[Effect], chosen: bool) -> bool:
        if not all(need & kept for need in self.needs[effect]):
            return False
        return chosen or all(source in kept for source in self.sources[effect])


def run_at(content: Content, gap: int) -> list[Node]:
    return [e.node for e in content.entries if e.kind == "guest" and gap_of(content, e.node) == gap]


def chain_from_home(side: SideEffects, node: Node, base_parents: dict[Node, Node]) -> list[Node]:
    """What a moved node would be in, on this side, had it not been moved."""
    above = base_parents[node]
    return side.chain(above) if side.alive(above) else []


def joined(groups: list[set[Effect]]) -> list[set[Effect]]:
    """Join groups that share an effect."""
    apart: list[set[Effect]] = []
    for group in groups:
        touching = [other for other in apart if other & group]
        apart = [other for other in apart if not other & group]
        apart.append(set().union(group, *touching))
    return apart


class Builder:
    """Build the document that a set of kept effects makes of base."""

    def __init__(self, merge: Merge, kept: set[Effect]) -> None:
        self.merge = merge
        self.kept = kept
        self.values: dict[Node, Json] = {}

    def build(self) -> Outcome:
        house = self._members(HOUSE)
        return Outcome(house.get(ROOM, ABSENT), self.values)

    def _emit(self, node: Node) -> Json:
        assert node not in self.values, f"{node} twice"
        self.values[node] = None
        if (twin := self.merge.twin.get(node)) is not None:
            self.values[twin] = None
        value = self._value(node)
        self.values[node] = value
        if twin is not None:
            self.values[twin] = value
        return value

    def _value(self, node: Node) -> Json:
        """The value of a node; minted twins and new contents that agree are built from both sides."""
        views = self._views(node)
        kind = views[0][1].kind if views else self.merge.base.contents[node].kind
        if not views:
            if kind == "object":
                return self._members(node)
            return self._elements(node) if kind == "array" else self.merge.base.contents[node].scalar
        if kind == "scalar":
            return views[0][1].scalar
        if kind == "array":
            side, content = views[0]
            return [self._emit(child) for child in content.elements() if self._comes(side, child)]
        value: dict[str, Json] = {}
        for side, content in views:
            for name, child in content.members.items():
                if self._comes(side, child) and not self._is_out(child):
                    assert name not in value, f"two at {name} of {node}"
                    value[name] = self._emit(child)
        return value

    def _views(self, node: Node) -> list[tuple[SideEffects, Content]]:
        """The contents a node has on the sides that made it new; none if it has base's."""
        sides = self.merge.sides
        if is_base(node):
            new = [side for side in sides.values() if Effect(side.side, "replaced", node) in self.kept]
            return [(side, side.tree.contents[node]) for side in new][:1]
        twins = {node, self.merge.twin.get(node, node)}
        return [
            (side, side.tree.contents[one])
            for side in sides.values()
            for one in twins
            if one.startswith(side.side) and one in side.parents
        ]

    def _is_out(self, node: Node) -> bool:
        return node in self.values

    def _comes(self, side: SideEffects, node: Node) -> bool:
        """Whether a node this side put somewhere is there in the outcome."""
        effect = self.merge._coming(side.side, node)
        if effect not in side.effects:
            return True
        return effect in self.kept or self._twin_effect(effect) in self.kept

    def _twin_effect(self, effect: Effect) -> Effect | None:
        other = self.merge._other(effect.side)
        if effect.facet == "arrived" and effect.node in self.merge.twin:
            return Effect(other.side, "arrived", self.merge.twin[effect.node])
        if effect.facet == "moved" and self.merge._agreed_move(effect.node):
            return Effect(other.side, "moved", effect.node)
        return None

    def _at_home(self, node: Node) -> bool:
        facets: tuple[Literal["dead"], Literal["moved"]] = ("dead", "moved")
        return not any(Effect(side, facet, node) in self.kept for side in SIDES for facet in facets)

    def _members(self, container: Node) -> dict[str, Json]:
        """The members of an object of base: who stayed, then who came."""
        was = self.merge.base.contents[container].members
        value = {name: self._emit(node) for name, node in was.items() if self._at_home(node)}
        for side, content in self._old_contents(container):
            for name, node in content.members.items():
                if was.get(name) != node and self._comes(side, node) and not self._is_out(node):
                    assert name not in value, f"two at {name} of {container}"
                    value[name] = self._emit(node)
        return value

    def _elements(self, container: Node) -> list[Json]:
        """The elements of an array of base, gap by gap: theirs' run, then yours."""
        homes = self.merge.base.contents[container].entries
        value: list[Json] = []
        for gap in range(-1, len(homes)):
            if gap >= 0 and self._at_home(homes[gap].node):
                value.append(self._emit(homes[gap].node))
            for side, content in self._old_contents(container):
                value.extend(
                    self._emit(node)
                    for node in run_at(content, gap)
                    if self._comes(side, node) and not self._is_out(node)
                )
        return value

    def _old_contents(self, container: Node) -> list[tuple[SideEffects, Content]]:
        return [
            (side, side.tree.contents[container])
            for side in self.merge.sides.values()
            if side.alive(container) and not side.renewed(container)
        ]


# ----------------------------------------------------------------------------------------------- guards


def failed_guards(base: Json, theirs: SideEffects, yours: Patch, done: Replay) -> Iterator[Contested]:
    """Judge each `test` on theirs with what precedes it in your patch, yours winning (number 12)."""
    for guard in done.guards:
        before = read_effects(replay(base, [yours[: guard.operation]], "yours"))
        merge = Merge(theirs, before)
        outcome = merge.outcome(dict.fromkeys(merge.conflicts, "yours"))
        node = before.same_as.get(guard.node, guard.node)
        if node not in outcome.values or not same(outcome.values[node], guard.value):
            yield "guard", node.removeprefix("=") if is_base(node) else guard.pointer
