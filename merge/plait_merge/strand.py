"""One side of a merge: base as that side has it, every value with its identity.

A patch says which value each operation touched, so identity is known and never guessed. A `Strand` replays
one side's patches on base and keeps, for each identity it touched, where it is now, whether it still
exists, and what its content is (merge.md, section 4, rules 1-3). Values nobody touched are never looked at.

Gaps follow the rule of Fluid's SharedTree: an element goes directly after the live element on its left,
before any places of removed ones, so a gap is named by an element of base and survives both sides' edits.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from plait_merge.elementkey import key_of
from plait_merge.number import Number, total
from plait_merge.patch import Operation
from plait_merge.pointer import Tokens
from plait_merge.policy import DEFAULT, Policy, Rule
from plait_merge.values import ABSENT, Absent, Json, same

BASE = -1
THEIRS = 0
YOURS = 1

Slot = str | int  # a member's name; for an element of base its index, for one in a gap the gap


class Node:
    """An identity, or (where *owner* is another) a new content that replaced an identity's own.

    `raw` is the value as it came in; values inside it become nodes in `kids` when a patch touches them.
    `up` is the node whose raw value it came in with, None for the top of an added value.
    """

    __slots__ = ("at", "born", "kids", "mint", "owner", "raw", "up")

    def __init__(self, raw: Json, up: Node | None, at: Slot, mint: int, born: int = 0) -> None:
        self.raw = raw
        self.up = up
        self.at = at
        self.mint = mint
        self.born = born  # the step of its side's replay
        self.owner = self
        self.kids: dict[Slot, Node] | None = None

    def kid(self, at: Slot) -> Node:
        """Return the identity of the value that came in at *at* of this one."""
        kids = self.kids
        if kids is None:
            kids = self.kids = {}
        kid = kids.get(at)
        if kid is None:
            kid = kids[at] = Node(self.raw[at], self, at, self.mint, self.born)
        return kid


class View:
    """An identity as one strand has it: where it is (`up`, `at`), whether `dead`, what it holds.

    `body` is the node itself or the content that replaced its own. `members` tells what differs from the
    body's members (None: nothing there), `order` the elements of an array: an int for one of the body's own
    in its place, a node for one in a gap.
    """

    __slots__ = ("at", "body", "dead", "members", "moved", "order", "since", "up", "why", "why_body")

    def __init__(self, node: Node) -> None:
        self.up = node.up
        self.at = node.at
        self.body = node
        self.dead = False
        self.moved = False
        self.since = 0  # the step at which it was put there
        self.members: dict[str, Node | None] | None = None
        self.order: list[int | Node] | None = None
        self.why: list[int] = []  # operations (theirs: patches) that made, moved or removed it
        self.why_body: list[int] = []  # ... that replaced what it holds


class Copy(NamedTuple):
    """A copy that was made: by which operation, at which step, into what, of what, and what was seen."""

    operation: int
    step: int
    node: Node
    source: Node
    seen: Json


class Strand:
    """Replay one side's patches, which must apply, on the tree under *void*.

    A *policy* says what identities are in arrays: in a set a new value is a new element, and in a keyed array
    what is added with the key of an element removed in the same patch is that element with a new content.
    """

    def __init__(self, void: Node, side: int, policy: Policy | None = None) -> None:
        self.void = void
        self.side = side
        self._policy = policy if policy is not None and policy.groups else None
        self.views: dict[Node, View] = {void: View(void)}
        self.tests: list[tuple[int, Node, Json, Tokens]] = []
        self.copies: list[Copy] = []
        self.added: dict[Node, Number] = {}  # numbers of base that were added to, and how much in all
        self._dropped: dict[tuple[Node, Hashable], Node] = {}  # by name, or by key in a keyed array
        self._clock = 0
        self._step = 0
        self.changed: dict[Node, None] = {}  # all that was put somewhere, removed, or given a new content
        self._moves: dict[Node, None] = {}  # identities of base that were put somewhere
        self._gone: dict[Node, bool] = {}
        self._cuts = False  # whether anything can be gone

    def replay(self, operations: Iterable[Operation], patch: int | None = None) -> None:
        """Replay one patch. Touches are dated *patch*, or each operation's index if it is None."""
        self._dropped.clear()
        for index, (op, path, source, value) in enumerate(operations):
            self._clock = index if patch is None else patch
            self._step += 1
            _ACTS[op](self, path, source, value)

    # What the operations do to identities.

    def _add(self, path: Tokens, source: Tokens | None, value: Json) -> None:
        parent, name, top = self._parent(path)
        self._blame(top)
        view = self.view(parent)
        body = view.body
        if type(body.raw) is list:
            if self._policy is None or not self._restore(view, name, value):
                self._put_element(Node(value, None, name, self.side, self._step), view, name)
            return
        occupant = self.member(parent, name)
        if occupant is None:
            occupant = self._dropped.pop((body, name), None)
            if occupant is None:
                self._put_member(Node(value, None, name, self.side, self._step), body, name)
                return
            self.view(occupant).dead = False
            self._put_member(occupant, body, name)
        self._rewrite(occupant, value)

    def _restore(self, array: View, name: str, value: Json) -> bool:
        """Add an element of a keyed array that was removed under that key just now; say whether one was."""
        key = key_of(value, self._rule(array.body).key)
        removed = None if key is None else self._dropped.pop((array.body, key), None)
        if removed is None:
            return False
        self.view(removed).dead = False
        self._moves[removed] = None
        self._put_element(removed, array, name)
        self._rewrite(removed, value)
        return True

    def _rule(self, body: Node) -> Rule:
        """Return the rule for an array; none but the default for one this side brought."""
        if self._policy is None or body.mint != BASE or type(body.raw) is not list:
            return DEFAULT
        return self._policy.at(tuple(base_tokens(body)))

    def _replace(self, path: Tokens, source: Tokens | None, value: Json) -> None:
        if self._policy is not None and path and self._is_in_set(path[:-1]):
            if not same(self.value(self.find(path)), value):
                self._remove(path, None, None)
                self._add(path, None, value)
            return
        node, top = self._reach(path)
        self._blame(top)
        self._rewrite(node, value)

    def _is_in_set(self, path: Tokens) -> bool:
        return self._rule(self.body(self.find(path))).array == "set"

    def _remove(self, path: Tokens, source: Tokens | None, value: Json) -> None:
        parent, name, top = self._parent(path)
        self._blame(top)
        node = self._take(parent, name)
        self._kill(node)
        body = self.views[parent].body
        if type(body.raw) is not list:
            self._dropped[body, name] = node
        elif self._policy is not None:
            key = key_of(self.value(node), self._rule(body).key)
            if key is not None:
                self._dropped[body, key] = node

    def _move(self, path: Tokens, source: Tokens | None, value: Json) -> None:
        assert source is not None
        if source == path or self._is_back(source, path):
            return
        parent, name, top = self._parent(source)
        self._blame(top)
        node = self._take(parent, name)
        if node.mint == BASE:
            self._moves[node] = None
        self._put(node, path)

    def _is_back(self, source: Tokens, path: Tokens) -> bool:
        """Say whether a move to the end of an array is one of its last element."""
        if not source or not path or path[-1] != "-" or source[:-1] != path[:-1]:
            return False
        array = self.view(self._reach(path[:-1])[0])
        return type(array.body.raw) is list and int(source[-1]) == len(_order(array)) - 1

    def _copy(self, path: Tokens, source: Tokens | None, value: Json) -> None:
        assert source is not None
        original, _ = self._reach(source)
        seen = self.value(original)
        node = Node(seen, None, "", self.side, self._step)
        self.copies.append(Copy(self._clock, self._step, node, original, seen))
        self._put(node, path)

    def _test(self, path: Tokens, source: Tokens | None, value: Json) -> None:
        node, _ = self._reach(path)
        self.tests.append((self._clock, node, value, path))

    def _inc(self, path: Tokens, source: Tokens | None, value: Json) -> None:
        """Add to a number, and remember how much if nothing else was done to what base has there."""
        node, top = self._reach(path)
        self._blame(top)
        is_bases = node.mint == BASE and (node in self.added or self.body(node) is node)
        added = total(self.added.get(node, 0), value)
        self._rewrite(node, total(self.value(node), value))
        if is_bases and added is not None:
            self.added[node] = added

    def _put(self, node: Node, path: Tokens) -> None:
        parent, name, top = self._parent(path)
        self._blame(top)
        view = self.view(parent)
        if type(view.body.raw) is list:
            self._put_element(node, view, name)
            return
        occupant = self.member(parent, name)
        if occupant is not None:
            self.detach(occupant)
            self._kill(occupant)
        self._put_member(node, view.body, name)

    def _put_member(self, node: Node, body: Node, name: str) -> None:
        self.attach_member(node, body, name)
        self._note_put(node)

    def _put_element(self, node: Node, array: View, name: str) -> None:
        order = _order(array)
        self.attach_element(node, array.body, len(order) if name == "-" else int(name))
        self._note_put(node)

    def _note_put(self, node: Node) -> None:
        self.changed[node] = None
        view = self.views[node]
        view.why.append(self._clock)
        view.since = self._step

    def _take(self, parent: Node, name: str) -> Node:
        view = self.view(parent)
        if type(view.body.raw) is list:
            entry = _order(view).pop(int(name))
            return view.body.kid(entry) if type(entry) is int else entry  # type: ignore[return-value]
        node = self.member(parent, name)
        assert node is not None
        self.detach(node)
        return node

    def _kill(self, node: Node) -> None:
        self.changed[node] = None
        self._cuts = True
        view = self.view(node)
        view.dead = True
        view.why.append(self._clock)

    def _rewrite(self, node: Node, value: Json) -> None:
        if self.added:
            self.added.pop(node, None)
        view = self.view(node)
        self._cuts = self._cuts or isinstance(view.body.raw, (dict, list))
        view.body = content = Node(value, None, "", self.side, self._step)
        content.owner = node
        view.members = view.order = None
        view.why_body.append(self._clock)
        self.changed[node] = None

    def _blame(self, top: Node | None) -> None:
        """Date a change inside something this side added or replaced: it is a part of that change."""
        if top is not None:
            view = self.views[top]
            (view.why if top.mint != BASE else view.why_body).append(self._clock)

    def _parent(self, path: Tokens) -> tuple[Node, str, Node | None]:
        if not path:
            return self.void, "", None
        parent, top = self._reach(path[:-1])
        return parent, path[-1], top

    def _reach(self, path: Tokens) -> tuple[Node, Node | None]:
        """Return the identity at *path*, and the outermost thing of this side's own that it is or lies in."""
        views = self.views
        node = self.void
        top: Node | None = None
        for token in ("", *path):
            view = views.get(node)
            if view is None:
                view = views[node] = View(node)
            body = view.body
            if node.mint == BASE:
                top = None if body is node else node
            elif top is None:
                top = node
            if type(body.raw) is dict:
                members = view.members
                kid = members.get(token) if members is not None else None
                node = kid if kid is not None else body.kid(token)
            else:
                entry = int(token) if view.order is None else view.order[int(token)]
                node = body.kid(entry) if type(entry) is int else entry  # type: ignore[assignment]
        view = views.get(node)
        if view is None:
            view = views[node] = View(node)
        if node.mint == BASE:
            return node, None if view.body is node else node
        return node, node if top is None else top

    # Where things are.

    def find(self, path: Tokens) -> Node:
        """Return the identity at *path*, which must exist."""
        return self._reach(path)[0]

    def document(self) -> Json | Absent:
        """Return the whole document as this side has it."""
        holder = self.value(self.void)
        assert isinstance(holder, dict)
        return holder.get("", ABSENT)

    def view(self, node: Node) -> View:
        view = self.views.get(node)
        if view is None:
            view = self.views[node] = View(node)
        return view

    def body(self, node: Node) -> Node:
        view = self.views.get(node)
        return node if view is None else view.body

    def up(self, node: Node) -> Node | None:
        """Return the body that holds *node*, None for what is nowhere."""
        view = self.views.get(node)
        return node.up if view is None else view.up

    def slot(self, node: Node) -> Slot:
        view = self.views.get(node)
        return node.at if view is None else view.at

    def member(self, parent: Node, name: str) -> Node | None:
        """Return what is at member *name* of *parent*, None if nothing is."""
        view = self.views.get(parent)
        body = parent if view is None else view.body
        if view is not None and view.members is not None and name in view.members:
            return view.members[name]
        raw = body.raw
        return body.kid(name) if isinstance(raw, dict) and name in raw else None

    def members_of(self, node: Node) -> dict[str, Node]:
        """Return the members of an object as identities. O(members)."""
        view = self.views.get(node)
        body = node if view is None else view.body
        assert isinstance(body.raw, dict)
        names = [*body.raw, *(view.members or () if view is not None else ())]
        found = {name: self.member(node, name) for name in names}
        return {name: kid for name, kid in found.items() if kid is not None}

    def put_into(self, node: Node) -> Iterable[str]:
        """Return the names of an object's members that differ from those its body came in with."""
        view = self.views.get(node)
        return () if view is None else view.members or ()

    def elements_of(self, node: Node) -> list[Node]:
        """Return the elements of an array as identities. O(elements)."""
        view = self.views.get(node)
        body = node if view is None else view.body
        assert isinstance(body.raw, list)
        entries = range(len(body.raw)) if view is None or view.order is None else view.order
        return [body.kid(entry) if isinstance(entry, int) else entry for entry in entries]

    def position(self, node: Node) -> int:
        """Return the index of *node* in the array it is in. O(log width), O(width) in an added array."""
        up = self.up(node)
        assert up is not None
        view = self.views.get(up.owner)
        moved = node in self.views and self.views[node].moved
        if view is None or view.order is None:
            assert type(node.at) is int
            return node.at
        order = view.order
        if not moved:
            return bisect_left(order, (node.at, 0), key=self._rank)
        return order.index(node, bisect_left(order, (self.views[node].at, 1), key=self._rank))

    def run(self, body: Node, gap: int) -> list[Node]:
        """Return what is in a gap of the array *body*, in order."""
        order = self.views[body.owner].order
        assert order is not None
        start = bisect_left(order, (gap, 1), key=self._rank)
        end = bisect_right(order, (gap, 1), key=self._rank)
        return [entry for entry in order[start:end] if not isinstance(entry, int)]

    def _rank(self, entry: int | Node) -> tuple[Any, int]:
        """Order an array's entries: each element of the body, then what is in the gap after it."""
        return (entry, 0) if isinstance(entry, int) else (self.views[entry].at, 1)

    def place_in_gap(self, body: Node, gap: int) -> int:
        """Return the index that comes last in *gap* of the array *body*."""
        view = self.views.get(body.owner)
        if view is None or view.order is None:
            return gap + 1
        return bisect_right(view.order, (gap, 1), key=self._rank)

    def place_of_element(self, body: Node, at: int) -> int:
        """Return the index at which the body's own element *at* belongs."""
        view = self.views.get(body.owner)
        return at if view is None or view.order is None else bisect_left(view.order, (at, 0), key=self._rank)

    def tokens(self, node: Node) -> list[str]:
        """Return the pointer of a living node as tokens."""
        tokens: list[str] = []
        views = self.views
        while True:
            view = views.get(node)
            up, at = (node.up, node.at) if view is None else (view.up, view.at)
            assert up is not None
            if type(up.raw) is list:
                tokens.append(str(self.position(node)))
            else:
                tokens.append(at)  # type: ignore[arg-type]
            node = up.owner
            if node is self.void:
                break
        tokens.pop()
        tokens.reverse()
        return tokens

    def gone(self, node: Node) -> bool:
        """Say whether *node* cannot be reached any more. Remembered: ask only when the replay is over."""
        if not self._cuts:
            return False
        known = self._gone.get(node)
        if known is None:
            known = self._gone[node] = self._is_gone(node)
        return known

    def _is_gone(self, node: Node) -> bool:
        if node is self.void:
            return False
        view = self.views.get(node)
        if view is not None and view.dead:
            return True
        up = node.up if view is None else view.up
        return up is None or self.body(up.owner) is not up or self.gone(up.owner)

    def chain(self, node: Node) -> Iterator[Node]:
        """Yield what holds *node*, innermost first, down from its parent to the root."""
        up = self.up(node)
        while up is not None and up.owner is not self.void:
            yield up.owner
            up = self.up(up.owner)

    def is_touched_inside(self, node: Node) -> bool:
        """Say whether anything in *node* may have been touched."""
        view = self.views.get(node)
        if view is None:
            return bool(node.kids)
        return bool(view.body.kids or view.members or view.order)

    def value(self, node: Node) -> Json:
        """Return the value of *node* as this strand has it; shared with base where nothing was touched."""
        view = self.views.get(node)
        body = node if view is None else view.body
        raw = body.raw
        if type(raw) is dict:
            return self._object(body, raw, (view.members if view is not None else None) or {})
        if type(raw) is list:
            return self._array(body, raw, None if view is None else view.order)
        return raw

    def _object(self, body: Node, raw: dict[str, Json], members: dict[str, Node | None]) -> Json:
        changed: dict[str, Json] = {}
        for name, kid in (body.kids or {}).items():
            if name not in members:
                value = self.value(kid)
                if value is not kid.raw:
                    changed[name] = value  # type: ignore[index]
        if not changed and not members:
            return raw
        out = {**raw, **changed}
        for name, node in members.items():
            out.pop(name, None)
            if node is not None:
                out[name] = self.value(node)
        return out

    def _array(self, body: Node, raw: list[Json], order: list[int | Node] | None) -> Json:
        kids = body.kids or {}
        if order is not None:
            return [
                self.value(entry) if isinstance(entry, Node) else self._own(raw, kids, entry)
                for entry in order
            ]
        changed = {at: value for at, kid in kids.items() if (value := self.value(kid)) is not kid.raw}
        return [changed.get(at, part) for at, part in enumerate(raw)] if changed else raw

    def _own(self, raw: list[Json], kids: dict[Slot, Node], at: int) -> Json:
        kid = kids.get(at)
        return raw[at] if kid is None else self.value(kid)

    # Moving identities about.

    def detach(self, node: Node) -> None:
        """Take *node* out of what holds it."""
        view = self.view(node)
        up = view.up
        assert up is not None
        holder = self.view(up.owner)
        if type(up.raw) is list:
            index = self.position(node)
            _order(holder).pop(index)
            return
        if holder.members is None:
            holder.members = {}
        name = view.at
        assert isinstance(name, str)
        if name in up.raw:
            holder.members[name] = None
        else:
            del holder.members[name]

    def attach_member(self, node: Node, body: Node, name: str) -> None:
        """Put *node* at a free member. Back at its own place, it has not moved."""
        holder = self.view(body.owner)
        if holder.members is None:
            holder.members = {}
        view = self.view(node)
        view.up = body
        view.at = name
        view.moved = not (node.up is body and node.at == name)
        if view.moved:
            holder.members[name] = node
        else:
            holder.members.pop(name, None)

    def attach_element(self, node: Node, body: Node, index: int) -> None:
        """Put *node* into an array before *index*: into the gap of what is on its left."""
        order = _order(self.view(body.owner))
        view = self.view(node)
        if index == 0:
            gap: Slot = -1
        else:
            left = order[index - 1]
            gap = left if isinstance(left, int) else self.views[left].at
        view.up = body
        view.at = gap
        view.moved = True
        order.insert(index, node)

    def insert_element(self, body: Node, index: int, entry: int | Node) -> None:
        _order(self.view(body.owner)).insert(index, entry)

    # What is left of all that.

    def finish(self) -> None:
        """Take back what had no net effect: moves to the same place, contents equal to what was there."""
        arrays: dict[Node, list[Node]] = {}
        for node in self._moves:
            if self._may_be_back(node):
                arrays.setdefault(node.up, []).append(node)  # type: ignore[arg-type]
        for body, nodes in arrays.items():
            # One that is back makes room for its neighbour to be: sweep both ways.
            ordered = self._in_order(body, nodes)
            for node in (*reversed(ordered), *ordered):
                self._unmove(node)

    def _in_order(self, body: Node, moved: list[Node]) -> list[Node]:
        """Put elements that moved in one array in the order they stand in. Each gap is looked at once."""
        places: dict[Node, tuple[Any, int]] = {}
        for node in moved:
            if node not in places:
                gap: Any = self.views[node].at
                places.update({there: (gap, n) for n, there in enumerate(self.run(body, gap))})
        return sorted(moved, key=places.__getitem__)

    def _may_be_back(self, node: Node) -> bool:
        view = self.views.get(node)
        body = node.up
        return (
            view is not None
            and view.moved
            and not view.dead
            and view.up is body
            and body is not None
            and type(body.raw) is list
            and self.body(body.owner) is body
        )

    def _unmove(self, node: Node) -> None:
        view = self.views[node]
        body = node.up
        if not view.moved or body is None:
            return
        order = self.views[body.owner].order
        assert order is not None
        assert isinstance(node.at, int)
        home = bisect_left(order, (node.at, 0), key=self._rank)
        for index in (home, home - 1):
            if 0 <= index < len(order) and order[index] is node:
                order[index] = node.at
                view.moved = False
                view.at = node.at
                break

    def forget(self, node: Node) -> set[Node]:
        """Take *node*, and all that came in with it, as it was at first; return all these."""
        view = self.view(node)
        view.body = node
        view.members = view.order = None
        forgotten = {node}
        waiting = [node]
        while waiting:
            for kid in (waiting.pop().kids or {}).values():
                if self.views.pop(kid, None) is not None:
                    forgotten.add(kid)
                    waiting.append(kid)
        return forgotten


def _order(view: View) -> list[int | Node]:
    if view.order is None:
        view.order = list(range(len(view.body.raw)))
    return view.order


_ACTS: Final[dict[str, Callable[[Strand, Tokens, Tokens | None, Any], None]]] = {
    "add": Strand._add,
    "replace": Strand._replace,
    "remove": Strand._remove,
    "move": Strand._move,
    "copy": Strand._copy,
    "test": Strand._test,
    "inc": Strand._inc,
}


def base_tokens(node: Node) -> list[str]:
    """Return the pointer base has *node* at, as tokens."""
    tokens: list[str] = []
    while node.up is not None:
        tokens.append(str(node.at))
        node = node.up.owner
    tokens.pop()
    tokens.reverse()
    return tokens


def weft(base: Json | Absent) -> Node:
    """Return the invisible container whose member "" is the document."""
    return Node({} if base is ABSENT else {"": base}, None, "", BASE)
