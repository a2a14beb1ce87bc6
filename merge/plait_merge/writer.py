"""Writing effects as a patch: RFC 6902 operations against theirs, with the indices that hold at the time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from plait_merge.arrangement import Arrangement
from plait_merge.effect import Act, Effect, Effects
from plait_merge.layer import Layer
from plait_merge.outcome import Patch
from plait_merge.pen import Pen
from plait_merge.strand import Node, Strand
from plait_merge.values import Json

Values = Mapping[Node, Json]
Members = Mapping[tuple[Node, str], Json]


def write(theirs: Effects, yours: Effects, made: Iterable[Effect], *, last: bool = False) -> Patch:
    """Write *made*, effects of yours, on theirs.

    If this is the *last* thing written, theirs' strand itself is written on, which is faster.
    O(effects x depth), and O(width) for an array it changes.
    """
    if yours.moved:
        return write_settled(Layer(theirs.strand), theirs, yours, made)
    pen = Pen(theirs.strand if last else Layer(theirs.strand), yours)
    _write_plain(pen, pen.in_order(made))
    return pen.patch


def write_settled(
    world: Layer,
    theirs: Effects,
    yours: Effects,
    made: Iterable[Effect],
    undone: Collection[Effect] = (),
    values: Values | None = None,
    members: Members | None = None,
) -> Patch:
    """Write *made* on theirs with *undone*, effects of theirs, taken back; only *world* is written on.

    *values* are contents chosen for identities, *members* for members nobody had: they come last.
    """
    pen = Pen(world, yours)
    undone = dict.fromkeys(sorted(undone, key=lambda effect: effect.number))  # in an order of its own
    # What was added inside something of theirs that is taken back is a part of yours again.
    kept = [e for e in made if e.act is not Act.ARRIVE or e.outer not in undone]
    Arrangement(world, pen, theirs, pen.in_order(kept), undone).write()
    _write_chosen(pen, values or {}, members or {})
    return pen.patch


def _write_plain(pen: Pen, made: list[Effect]) -> None:
    """Write where nothing moved and nothing is taken back: each effect is one operation."""
    taken = {(e.body, e.at) for e in made if e.act is Act.ARRIVE and isinstance(e.at, str)}
    world: Strand = pen.world
    for effect in made:
        node = effect.node
        if effect.act is Act.CONTENT:
            pen.replace(world.tokens(node), pen.yours.strand.value(node))
        elif effect.act is Act.ARRIVE:
            _write_arrival(pen, effect)
        elif (node.up, node.at) not in taken and not world.gone(node):
            pen.remove(node)  # else what arrives there takes its place


def _write_arrival(pen: Pen, effect: Effect) -> None:
    node, body, at = effect.node, effect.body, effect.at
    assert body is not None
    value = pen.yours.strand.value(node)
    source = pen.source_of(node, value)
    if isinstance(at, str):
        path = pen.member_path(body, at)
    else:
        path = [*pen.world.tokens(body.owner), str(pen.insert(node, body, at))]
    pen.add(path, value, source)


def _write_chosen(pen: Pen, values: Values, members: Members) -> None:
    """Put the values chosen in their places; one inside another has none."""
    world = pen.world
    tops = {*values, *(world.member(body.owner, name) for body, name in members)}
    for node, value in values.items():
        if not world.gone(node) and tops.isdisjoint(world.chain(node)):
            pen.choose("replace", world.tokens(node), value)
    for (body, name), value in members.items():
        owner = body.owner
        if not world.gone(owner) and owner not in tops and tops.isdisjoint(world.chain(owner)):
            pen.choose("add", pen.member_path(body, name), value)
