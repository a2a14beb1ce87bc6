"""Writing operations down while making them on a document, so that each pointer is right when used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from plait_merge.effect import Effect, Effects
from plait_merge.outcome import Patch
from plait_merge.pointer import format_pointer
from plait_merge.strand import BASE, Node, Slot, Strand
from plait_merge.values import Json, same


class Pen:
    """Write what yours did on *world*. A `silent` pen makes the moves and writes nothing."""

    def __init__(self, world: Strand, yours: Effects) -> None:
        self.world = world
        self.yours = yours
        self.patch: Patch = []
        self.silent = False
        self._ranks: dict[Node, int] = {}
        self._last: dict[tuple[Node, Slot], int] = {}
        self._put: dict[Node, tuple[Node, int]] = {}

    def in_order(self, made: Iterable[Effect]) -> list[Effect]:
        """Order effects as yours made them, the elements of one run together and in their order."""
        ranked: list[tuple[int, int, Effect]] = []
        for effect in made:
            first, rank = effect.first, 0
            if effect.is_arrival and isinstance(effect.at, int) and effect.body is not None:
                run = self.yours.gaps.get((effect.body, effect.at), ())
                if len(run) > 1:
                    if effect.node not in self._ranks:
                        self._ranks.update((other.node, i) for i, other in enumerate(run))
                    first, rank = self.yours.run_first[effect.body, effect.at], self._ranks[effect.node]
            ranked.append((first, rank, effect))
        ranked.sort(key=lambda entry: entry[:2])
        return [effect for _, _, effect in ranked]

    # Pointers.

    def member_path(self, body: Node, name: str) -> list[str]:
        return [] if body.owner is self.world.void else [*self.world.tokens(body.owner), name]

    def source_of(self, node: Node, value: Json) -> list[str] | None:
        """Return where *node* can still be copied from: what was copied stands there, untouched by yours."""
        copy = self.yours.copied.get(node)
        if copy is None or copy.source.mint != BASE or copy.source in self.yours.stirred:
            return None
        world, source = self.world, copy.source
        if self.yours.strand.gone(source) or world.gone(source):
            return None
        if not same(world.value(source), copy.seen) or not same(value, copy.seen):
            return None
        return world.tokens(source)

    # Elements.

    def insert(self, node: Node, body: Node, gap: int) -> int:
        """Put *node* into its run, which comes last in the gap, and return the index."""
        index = self._index(node, body, gap)
        view = self.world.view(node)
        view.up, view.at, view.moved = body, gap, True
        self.world.insert_element(body, index, node)
        self._put[node] = (body, gap)
        return index

    def _index(self, node: Node, body: Node, gap: int) -> int:
        if body.mint == self.yours.strand.side:
            return self._index_in_own(node, body)
        rank, last = self._ranks.get(node, 0), self._last.get((body, gap), -1)
        if rank < last:  # put in out of turn, because something else needed it
            for later in self.yours.gaps[body, gap][rank + 1 :]:
                if self._put.get(later.node) == (body, gap):
                    return self.world.position(later.node)
        self._last[body, gap] = max(rank, last)
        return self.world.place_in_gap(body, gap)

    def _index_in_own(self, node: Node, body: Node) -> int:
        order = self.yours.strand.views[body.owner].order
        here = self.world.views[body.owner].order
        assert order is not None
        assert here is not None
        present = set(here)
        return sum(1 for entry in order[: order.index(node)] if entry in present)

    # Operations.

    def replace(self, path: list[str], value: Json) -> None:
        self._write({"op": "replace", "path": format_pointer(path), "value": value})

    def add(self, path: list[str], value: Json, source: list[str] | None = None) -> None:
        """Add *value*, as a copy of what is at *source* if that is given."""
        if source is not None:
            self._write({"op": "copy", "from": format_pointer(source), "path": format_pointer(path)})
        else:
            self._write({"op": "add", "path": format_pointer(path), "value": value})

    def move(self, source: list[str], path: list[str]) -> None:
        """Move, by the end of its array if it goes into the element after it: no move may look inwards."""
        if path == source or self.silent:
            return
        if path[: len(source)] == source:
            array = self.world.find(tuple(source[:-1]))
            end = [*source[:-1], str(len(self.world.elements_of(array)))]
            self._write({"op": "move", "from": format_pointer(source), "path": format_pointer(end)})
            source = end
        self._write({"op": "move", "from": format_pointer(source), "path": format_pointer(path)})

    def remove(self, node: Node) -> None:
        self._write({"op": "remove", "path": format_pointer(self.world.tokens(node))})
        self.world.detach(node)
        self.world.view(node).dead = True

    def choose(self, op: str, path: list[str], value: Json) -> None:
        """Put a chosen value at *path*: into the operation that just made something there, if one did."""
        pointer = format_pointer(path)
        last = self.patch[-1] if self.patch else {}
        if last.get("path") == pointer and "value" in last:
            last["value"] = value
        else:
            self._write({"op": op, "path": pointer, "value": value})

    def _write(self, operation: dict[str, Any]) -> None:
        if not self.silent:
            self.patch.append(operation)
