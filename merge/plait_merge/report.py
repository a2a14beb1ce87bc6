"""Reporting what clashes: every conflict as data, all at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from plait_merge.effect import Effect
from plait_merge.outcome import Conflict, Conflicted, Dependent, Facet, by_place
from plait_merge.pointer import format_pointer
from plait_merge.settlement import Settlement
from plait_merge.strand import BASE, Node, Strand
from plait_merge.values import ABSENT
from plait_merge.weave import Guard, Knot, Weave


def report(weave: Weave, settlement: Settlement) -> Conflicted:
    """Return all conflicts of a weave that somebody has to settle, and what of yours is clean."""
    failed = settlement.failed
    guards = _together(_guard(weave, guard, settlement) for guard in failed)
    conflicts = [*guards, *(_conflict(weave, knot, settlement) for knot in settlement.open)]
    conflicts.sort(key=by_place)
    clean = () if failed else _clean_operations(weave, settlement.clean)
    return Conflicted(tuple(conflicts), settlement.clean_patch(), clean, _settlement=settlement)


def _clean_operations(weave: Weave, made: set[Effect]) -> tuple[int, ...]:
    """Return the operations whose whole net effect is in the clean patch."""
    waiting = {
        index
        for effect in weave.yours.all
        if effect not in made and (effect in weave.contested or not effect.agreed)
        for index in effect.why
    }
    return tuple(index for index in range(len(weave.operations)) if index not in waiting)


def _conflict(weave: Weave, knot: Knot, settlement: Settlement) -> Conflict:
    clash = knot.clash
    theirs, yours = weave.nodes(clash)
    pointer_theirs, facet_theirs = _facet(weave.theirs.strand, theirs)
    pointer_yours, facet_yours = _facet(weave.yours.strand, yours)
    return Conflict(
        kind=clash.kind,
        pointer=weave.pointer(clash.subject),
        pointer_theirs=pointer_theirs,
        pointer_yours=pointer_yours,
        base=Facet(clash.subject.raw if isinstance(clash.subject, Node) else ABSENT),
        theirs=facet_theirs,
        yours=facet_yours,
        your_operations=_dates(knot.yours),
        their_patches=_dates(knot.theirs),
        depends=_depends(weave, knot),
        _settlement=settlement,
    )


def _facet(strand: Strand, node: Node | None) -> tuple[str | None, Facet]:
    if node is None or strand.gone(node):
        return None, Facet(ABSENT)
    return format_pointer(strand.tokens(node)), Facet(strand.value(node))


def _dates(effects: Iterable[Effect]) -> tuple[int, ...]:
    return tuple(sorted({index for effect in effects for index in effect.why}))


def _depends(weave: Weave, knot: Knot) -> tuple[Dependent, ...]:
    there = weave.yours.strand
    waiting = weave.needs.dependents(knot.yours)
    return tuple(
        Dependent(None if there.gone(e.node) else format_pointer(there.tokens(e.node)), _dates([e]))
        for e in weave.in_order(e for e in waiting if e not in weave.contested and not e.agreed)
    )


def _guard(weave: Weave, guard: Guard, settlement: Settlement) -> Conflict:
    here = weave.theirs.strand
    node = guard.node
    known = node.mint == BASE
    pointer_theirs, theirs = _facet(here, node if known else None)
    return Conflict(
        kind="guard",
        pointer=weave.pointer(node) if known else format_pointer(guard.path),
        pointer_theirs=pointer_theirs,
        pointer_yours=format_pointer(guard.path),
        base=Facet(node.raw if known else ABSENT),
        theirs=theirs,
        yours=Facet(guard.value),
        your_operations=(guard.operation,),
        their_patches=tuple(sorted(weave.theirs.patches_around(node))),
        _settlement=settlement,
    )


def _together(guards: Iterable[Conflict]) -> list[Conflict]:
    """Report the same test only once, with all operations that made it."""
    found: dict[str, Conflict] = {}
    for guard in guards:
        first = found.get(guard.id)
        operations = guard.your_operations if first is None else first.your_operations + guard.your_operations
        found[guard.id] = replace(guard, your_operations=operations)
    return list(found.values())
