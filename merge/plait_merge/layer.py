"""Theirs' strand as a document to be written on, with theirs left as it is."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from plait_merge.strand import BASE, Node, Strand, View


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

    def adopt(self, node: Node, strand: Strand) -> None:
        """Take *node* and what is in it over from *strand*, without what of base has moved into it."""
        view = strand.views.get(node)
        own = self.view(node)
        if view is None:
            return
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
        in_place = [kid for kid in (view.body.kids or {}).values() if strand.up(kid) is view.body]
        for kid in (*in_place, *(own.members or {}).values(), *(own.order or ())):
            if isinstance(kid, Node) and kid in strand.views:
                self._take_over(kid, strand.views[kid])
                self.adopt(kid, strand)

    def _take_over(self, node: Node, view: View) -> None:
        own = self.view(node)
        own.up, own.at, own.moved, own.dead = view.up, view.at, view.moved, view.dead

    def restore(self, node: Node, dead: Container[Node], elsewhere: Container[Node]) -> None:
        """Give *node* what base had in it, save what is *dead*, *elsewhere*, or lives in another place."""
        view = self.view(node)
        view.body = node
        view.members = view.order = None
        for kid in (node.kids or {}).values():
            there = self.views.get(kid)
            if kid in dead:
                self.view(kid).dead = True
                self._leave_out(node, kid)
            elif kid in elsewhere or (there is not None and there.moved and not self.gone(kid)):
                self._leave_out(node, kid)
            elif there is not None or kid.kids:
                fresh = self.view(kid)
                fresh.up, fresh.at, fresh.moved, fresh.dead = node, kid.at, False, False
                self.restore(kid, dead, elsewhere)

    def _leave_out(self, node: Node, kid: Node) -> None:
        view = self.view(node)
        if isinstance(kid.at, str):
            view.members = view.members or {}
            view.members[kid.at] = None
        else:
            view.order = view.order or list(range(len(node.raw)))
            view.order.remove(kid.at)

    def put_home(self, node: Node) -> None:
        """Put *node* back at its own place in an array of base."""
        view = self.view(node)
        assert node.up is not None
        assert isinstance(node.at, int)
        view.up, view.at, view.moved = node.up, node.at, False
        self.insert_element(node.up, self.place_of_element(node.up, node.at), node.at)


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
