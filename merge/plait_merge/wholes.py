"""Atomic values: where both sides changed something inside of one, they changed one thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from plait_merge.effect import Act, Effect, Effects
from plait_merge.strand import BASE, Node

if TYPE_CHECKING:
    from plait_merge.overlap import Clash, Overlaps


def clash_over_wholes(overlaps: Overlaps) -> None:
    """Add a clash for each atomic value of base that both sides changed; it takes the place of those inside.

    Where all they did was alike there is none. O(effects x depth).
    """
    here, there = _inside_wholes(overlaps, overlaps.theirs), _inside_wholes(overlaps, overlaps.yours)
    wholes: dict[Node, set[Effect]] = {}
    for node, mine in there.items():
        other = here.get(node)
        if other is None or (overlaps.theirs.strand.gone(node) and overlaps.yours.strand.gone(node)):
            continue
        if not all(effect.agreed for effect in (*other, *mine)):
            wholes[node] = {*other, *mine}
    overlaps.clashes = [clash for clash in overlaps.clashes if not _is_covered(clash, wholes)]
    for node in wholes:
        overlaps.clash(overlaps.kind_of_edits(node), node, *here[node], *there[node])


def _inside_wholes(overlaps: Overlaps, side: Effects) -> dict[Node, dict[Effect, None]]:
    """Return the effects in and on each atomic value of base, in order."""
    inside: dict[Node, dict[Effect, None]] = {}
    known: dict[Node, bool] = {}
    for effect in side.all:
        if not effect.implied:
            for holder in _changed_by(side, effect):
                if holder not in known:
                    known[holder] = overlaps.is_whole(holder)
                if known[holder]:
                    inside.setdefault(holder, {})[effect] = None
    return inside


def _changed_by(side: Effects, effect: Effect) -> Iterator[Node]:
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
