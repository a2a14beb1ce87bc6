"""Writing effects as a patch: RFC 6902 operations against theirs, with the indices that hold at the time.

The writer works on theirs' strand as on a living document: each operation it writes is also made there, so
that every pointer is right when it is used. Things are put in place from the outside in; what stands in the
way is moved on first, and two members that change places go by a spare one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from plait_merge.effect import Act, Effect, Effects
from plait_merge.outcome import Patch
from plait_merge.pointer import format_pointer
from plait_merge.strand import BASE, Node, Slot, Strand, View
from plait_merge.values import ABSENT, Json, same

BUSY_MAX = 48  # things that wait for one another to make room; what comes then is parked


class Layer(Strand):
    """Theirs' strand, to be written on without changing it."""

    def __init__(self, under: Strand) -> None:
        self.void = under.void
        self.side = under.side
        self.views = _Layered(under.views)

    def gone(self, node: Node) -> bool:
        return self._is_gone(node)

    def view(self, node: Node) -> View:
        views = self.views
        view = dict.get(views, node)
        if view is None:
            under = views.get(node)
            view = views[node] = View(node) if under is None else _copied(under, node)
        return view


class _Layered(dict[Node, View]):
    """Views of its own, and those under them."""

    __slots__ = ("under",)

    def __init__(self, under: dict[Node, View]) -> None:
        super().__init__()
        self.under = under

    def get(self, node: Node, default: Any = None) -> Any:
        view = dict.get(self, node)
        return self.under.get(node, default) if view is None else view

    def __missing__(self, node: Node) -> View:
        return self.under[node]

    def __contains__(self, node: object) -> bool:
        return dict.__contains__(self, node) or node in self.under


def _copied(view: View, node: Node) -> View:
    copy = View(node)
    copy.up, copy.at, copy.dead, copy.body, copy.moved = view.up, view.at, view.dead, view.body, view.moved
    copy.members = None if view.members is None else dict(view.members)
    copy.order = None if view.order is None else list(view.order)
    return copy


@dataclass(frozen=True, slots=True)
class Target:
    """Where an identity shall be: at a member of *body*, in a gap of it, or at its own place in it."""

    body: Node
    at: Slot
    home: bool = False


class Writer:
    """Write *made* (effects of yours) on theirs, with *undone* (effects of theirs) taken back.

    *values* are contents chosen for identities, *members* for members nobody had; they are put there last.
    *world* is written on. Call `write` once.
    """

    def __init__(
        self,
        world: Strand,
        theirs: Effects,
        yours: Effects,
        made: Iterable[Effect],
        undone: Collection[Effect] = (),
        values: dict[Node, Json] | None = None,
        members: dict[tuple[Node, str], Json] | None = None,
        *,
        plain: bool = True,
    ) -> None:
        self.plain = plain and not undone and not yours.moved
        self.world = world
        self.silent = False  # the outcome is written at once, nothing on the way
        self.was_absent = world.member(world.void, "") is None
        self.yours = yours
        self.strand = yours.strand
        self.patch: Patch = []
        self.undone = list(undone)
        taken_back = set(undone)
        self.stay_dead: set[Node] = set()
        if not self.plain:
            self.stay_dead = {node for node, effect in theirs.dead.items() if effect not in taken_back}
        self.run_index: dict[Node, int] = {}
        # What was added inside something of theirs that is taken back is a part of yours again.
        self.made = self._in_order(
            e for e in made if e.act is not Act.ARRIVE or e.outer is None or e.outer not in undone
        )
        self.values = values or {}
        self.members = members or {}
        self.copied = yours.copied
        self.targets: dict[Node, Target] = {}
        self.contents: dict[Node, Node] = {}
        self.doomed: list[Node] = []
        self.placed: set[Node] = set()
        self.waiting: dict[Node, None] = {}
        self.held: set[Node] = set()
        self.busy: set[Node] = set()
        self.swept: set[Node] = set()
        self.last: dict[tuple[Node, Slot], int] = {}

    def write(self) -> Patch:
        """Return the patch. O(effects x depth), and O(width) for an array it changes."""
        if self.plain:
            self._write_plain()
        else:
            self._aim()
            self.silent = self._concerns_the_document()
            self._write_all()
            if self.silent:
                self.silent = False
                self._write_whole()
        self._write_chosen()
        return self.patch

    def _write_chosen(self) -> None:
        """Put the values chosen in their places; one inside another has none."""
        world = self.world
        tops = {*self.values, *(world.member(body.owner, name) for body, name in self.members)}
        for node, value in self.values.items():
            if not world.gone(node) and tops.isdisjoint(world.chain(node)):
                self._emit_value("replace", self.path(node), value)
        for (body, name), value in self.members.items():
            owner = body.owner
            if not world.gone(owner) and owner not in tops and tops.isdisjoint(world.chain(owner)):
                self._emit_value("add", self._member_path(body, name), value)

    def path(self, node: Node) -> list[str]:
        return [] if node is self.world.void else self.world.tokens(node)

    def _member_path(self, body: Node, name: str) -> list[str]:
        return [] if body.owner is self.world.void else [*self.path(body.owner), name]

    def _in_order(self, made: Iterable[Effect]) -> list[Effect]:
        """Order effects as yours made them, the elements of one run together and in their order."""
        ranked: list[tuple[int, int, Effect]] = []
        for effect in made:
            first, index = effect.first, 0
            if effect.is_arrival and isinstance(effect.at, int) and effect.body is not None:
                run = self.yours.gaps.get((effect.body, effect.at), ())
                if len(run) > 1:
                    if effect.node not in self.run_index:
                        self.run_index.update((e.node, i) for i, e in enumerate(run))
                    first, index = self.yours.run_first[effect.body, effect.at], self.run_index[effect.node]
            ranked.append((first, index, effect))
        ranked.sort(key=lambda entry: entry[:2])
        return [effect for _, _, effect in ranked]

    # The plain case: nothing moved, nothing taken back. Each effect is one operation.

    def _write_plain(self) -> None:
        taken = {(e.body, e.at) for e in self.made if e.act is Act.ARRIVE and isinstance(e.at, str)}
        for effect in self.made:
            node = effect.node
            if effect.act is Act.CONTENT:
                self._emit("replace", self.world.tokens(node), self.strand.value(node))
            elif effect.act is Act.ARRIVE:
                self._write_arrival(effect)
            elif (node.up, node.at) not in taken and not self.world.gone(node):
                self._remove(node)  # else what arrives there takes its place

    def _write_arrival(self, effect: Effect) -> None:
        node, body, at = effect.node, effect.body, effect.at
        assert body is not None
        value = self.strand.value(node)
        source = self._copied_from(node, value)
        if isinstance(at, str):
            path = self._member_path(body, at)
        else:
            path = [*self.path(body.owner), str(self._insert(node, body, at))]
        self._emit_new(source, path, value)

    # The general case.

    def _aim(self) -> None:
        """Say for every identity concerned where it shall be and what it shall hold."""
        taken_back = set(self.undone)
        for effect in self.made:
            if effect.is_arrival:
                assert effect.body is not None
                apart = effect.own is not None and effect.outer in taken_back
                self.targets[effect.node] = Target(effect.own if apart else effect.body, effect.at)  # type: ignore[arg-type]
            elif effect.act is Act.CONTENT:
                self.contents[effect.node] = self.strand.views[effect.node].body
            else:
                self.doomed.append(effect.node)
        dead = set(self.doomed)
        home: list[Node] = []
        for effect in self.undone:
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

    def _write_all(self) -> None:
        self.waiting = dict.fromkeys(self.targets)
        effects = (*sorted(self.undone, key=lambda effect: (_depth(effect.node), effect.number)), *self.made)
        for effect in effects:
            if effect.act is not Act.CONTENT and effect.node in self.targets:
                self._settle(effect.node)
        for effect in effects:
            if effect.act is Act.CONTENT and effect.node in self.contents:
                self._hold(effect.node)
        for node in self.doomed:
            if not self.world.gone(node):
                self._rescue(node)
                self._remove(node)

    def _concerns_the_document(self) -> bool:
        """Say whether the document itself comes, goes or changes places with something in it."""
        void = self.world.void
        return any(
            effect.act is not Act.CONTENT and (effect.node.up is void or effect.body is void)
            for effect in (*self.undone, *self.made)
        )

    def _write_whole(self) -> None:
        """Write the outcome at once: around the document there is no place to move things by."""
        value = self.world.document()
        if value is not ABSENT:
            self.patch = [{"op": "add", "path": "", "value": value}]
        else:
            self.patch = [] if self.was_absent else [{"op": "remove", "path": ""}]

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
        if occupant is not None and self._vacate(occupant, node):
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
        self._sweep(self._rescue(node))
        body = self.contents[node]
        if body is node:
            self._restore(node)
        else:
            self._adopt(node)
        self._emit("replace", self.world.tokens(node), self.world.value(node))

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
        if node.mint == self.strand.side or node is holder or world.gone(node):
            return False
        return holder in world.chain(node)

    def _sweep(self, late: list[Node]) -> None:
        """Note what comes too late to be moved: it is added anew, as it stands."""
        for node in late:
            self.swept.add(node)
            self.world.detach(node)
            self.world.view(node).dead = True

    def _vacate(self, occupant: Node, node: Node) -> bool:
        """Make room for *node*. False: *occupant* is done with, and what comes may take its place."""
        if occupant in self.targets and occupant not in self.placed:
            if self._awaits(occupant):
                self._park(occupant)
            else:
                self._settle(occupant)
            return True
        late = [
            other
            for other in self._rescue(occupant)
            if other is not node and not self._is_inside(other, node)  # what is in it comes along
        ]
        if late:
            self._park(occupant)
            return True
        return False

    def _awaits(self, node: Node) -> bool:
        """Say whether *node* has to wait: for something about to be placed, which it shall go into."""
        if len(self.busy) >= BUSY_MAX:
            return True
        target = self.targets[node]
        body: Node | None = target.body
        while body is not None and body.owner is not self.world.void:
            if body.owner in self.busy:
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
        self._emit_from("move", source, world.tokens(node))

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
            path = world.tokens(node)
            self._emit_move(node, source, path)
            return
        if node in self.swept:
            world.view(node).dead = False
        elif node.mint == BASE:
            world.view(node).dead = False
            self._restore(node)
        else:
            self._adopt(node)
        value = world.value(node)
        copied = self._copied_from(node, value)
        self._attach(node, target)
        self._emit_new(copied, world.tokens(node), value)

    def _attach(self, node: Node, target: Target) -> None:
        world = self.world
        if isinstance(target.at, str):
            world.attach_member(node, target.body, target.at)
        elif target.home:
            view = world.view(node)
            view.up, view.at, view.moved = target.body, target.at, False
            world.insert_element(target.body, world.place_of_element(target.body, target.at), target.at)
        else:
            self._insert(node, target.body, target.at)

    def _insert(self, node: Node, body: Node, gap: int) -> int:
        """Put *node* into its run, which comes last in the gap, and return the index."""
        world = self.world
        index = self._index_in_gap(node, body, gap)
        view = world.view(node)
        view.up, view.at, view.moved = body, gap, True
        world.insert_element(body, index, node)
        return index

    def _index_in_gap(self, node: Node, body: Node, gap: int) -> int:
        if body.mint == self.strand.side:
            return self._index_in_own(node, body)
        rank = self.run_index.get(node, 0)
        last = self.last.get((body, gap), -1)
        if rank < last:  # placed out of turn, because something else needed it
            for later in self.yours.gaps[body, gap][rank + 1 :]:
                if later.node in self.placed and self.targets[later.node] == self.targets[node]:
                    return self.world.position(later.node)
        self.last[body, gap] = max(rank, last)
        return self.world.place_in_gap(body, gap)

    def _index_in_own(self, node: Node, body: Node) -> int:
        order = self.strand.views[body.owner].order
        here = self.world.views[body.owner].order
        assert order is not None
        assert here is not None
        present = set(here)
        return sum(1 for entry in order[: order.index(node)] if entry in present)

    def _adopt(self, node: Node) -> None:
        """Bring something of yours into the world, without what of base has moved into it: that follows."""
        view = self.strand.views.get(node)
        if view is None:
            self.world.view(node)
            return
        own = self.world.view(node)
        own.body = view.body
        own.members = own.order = None
        if view.members is not None:
            own.members = {}
            for name, kid in view.members.items():
                if kid is None or kid.mint != BASE:
                    own.members[name] = kid
                elif name in view.body.raw:
                    own.members[name] = None
        if view.order is not None:
            own.order = [entry for entry in view.order if isinstance(entry, int) or entry.mint != BASE]
        in_place = [kid for kid in (view.body.kids or {}).values() if self.strand.up(kid) is view.body]
        for kid in (*in_place, *(own.members or {}).values(), *(own.order or ())):
            if isinstance(kid, Node) and kid in self.strand.views:
                kid_view = self.strand.views[kid]
                here = self.world.view(kid)
                here.up, here.at, here.moved, here.dead = (
                    kid_view.up,
                    kid_view.at,
                    kid_view.moved,
                    kid_view.dead,
                )
                self._adopt(kid)

    def _restore(self, node: Node) -> None:
        """Give *node* what base had in it, save what lives on elsewhere."""
        world = self.world
        view = world.view(node)
        view.body = node
        view.members = view.order = None
        for kid in (node.kids or {}).values():
            kid_view = world.views.get(kid)
            if kid in self.stay_dead:
                world.view(kid).dead = True
                self._leave_out(node, kid)
                continue
            elsewhere = kid_view is not None and kid_view.moved and not world.gone(kid)
            if elsewhere or kid in self.swept:
                self._leave_out(node, kid)
                continue
            if kid_view is None and not kid.kids:
                continue
            fresh = world.view(kid)
            fresh.up, fresh.at, fresh.moved, fresh.dead = node, kid.at, False, False
            self._restore(kid)

    def _leave_out(self, node: Node, kid: Node) -> None:
        view = self.world.view(node)
        if isinstance(kid.at, str):
            view.members = view.members or {}
            view.members[kid.at] = None
        else:
            view.order = view.order or list(range(len(node.raw)))
            view.order.remove(kid.at)

    def _remove(self, node: Node) -> None:
        self._emit("remove", self.world.tokens(node))
        self.world.detach(node)
        self.world.view(node).dead = True

    # The operations.

    def _emit(self, op: str, path: list[str], *value: Json) -> None:
        if self.silent:
            return
        operation: dict[str, Any] = {"op": op, "path": format_pointer(path)}
        if value:
            operation["value"] = value[0]
        self.patch.append(operation)

    def _emit_from(self, op: str, source: list[str], path: list[str]) -> None:
        if not self.silent:
            self.patch.append({"op": op, "from": format_pointer(source), "path": format_pointer(path)})

    def _emit_move(self, node: Node, source: list[str], path: list[str]) -> None:
        """Move, by the end of its array if it goes into the element after it: no move may look inwards."""
        if path == source or self.silent:
            return
        if path[: len(source)] == source:
            end = [*source[:-1], str(len(self.world.elements_at(source[:-1])))]
            self._emit_from("move", source, end)
            source = end
        self._emit_from("move", source, path)

    def _emit_new(self, source: list[str] | None, path: list[str], value: Json) -> None:
        if source is not None:
            self._emit_from("copy", source, path)
        else:
            self._emit("add", path, value)

    def _emit_value(self, op: str, path: list[str], value: Json) -> None:
        """Put a chosen value at *path*: into the operation that just made something there, if one did."""
        pointer = format_pointer(path)
        last = self.patch[-1] if self.patch else {}
        if last.get("path") == pointer and last["op"] in ("add", "replace"):
            last["value"] = value
        else:
            self._emit(op, path, value)

    def _copied_from(self, node: Node, value: Json) -> list[str] | None:
        """Return where *node* can still be copied from: what was copied stands there, untouched by yours."""
        copy = self.copied.get(node)
        if copy is None or copy.source.mint != BASE or copy.source in self.yours.stirred:
            return None
        if self.strand.gone(copy.source):
            return None
        world, source = self.world, copy.source
        if world.gone(source) or not same(world.value(source), copy.seen) or not same(value, copy.seen):
            return None
        return world.tokens(source)


def _depth(node: Node) -> int:
    depth = 0
    while node.up is not None:
        node = node.up.owner
        depth += 1
    return depth
