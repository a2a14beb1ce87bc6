"""What an effect needs of its own side, and so what goes with it when it is dropped.

Something inside what a side added needs that to be there; something at a member needs what base had there to
be gone; a removal needs what was rescued from it to stay out; a copy needs what it copied to have been set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set

from plait_merge.effect import Act, Effect, Effects
from plait_merge.strand import BASE, Node


class Needs:
    """Link the effects of both sides to what they need. O(effects x depth)."""

    def __init__(self, theirs: Effects, yours: Effects, alike: dict[Effect, Effect]) -> None:
        self.theirs = theirs
        self.yours = yours
        self._twins = {same: effect for effect, same in alike.items()}  # of theirs, with yours'
        self._needed_by: dict[Effect, list[Effect]] = {}
        for side in (theirs, yours):
            for effect in list(side.all):
                if effect.is_arrival:
                    self._link_container(side, effect)
                    self._link_member(side, effect)
            for moved in side.moved:
                self._link_rescue(side, moved)

    def _link(self, effect: Effect, need: Effect | None) -> None:
        if need is not None and need is not effect:
            effect.needs.append(need)
            self._needed_by.setdefault(need, []).append(effect)

    def _link_container(self, side: Effects, effect: Effect) -> None:
        """A thing needs what it lies in to be there, and not inside the thing itself."""
        strand = side.strand
        body = effect.body
        assert body is not None
        if body.mint == strand.side:
            self._link(effect, side.maker(body.owner))
        if effect.act is Act.PLACE:
            for holder in strand.chain(effect.node):
                if holder in side.place and came_from(holder, effect.node):
                    self._link(effect, side.place[holder])

    def _link_member(self, side: Effects, effect: Effect) -> None:
        """A thing at a member needs what base has there to be gone."""
        body = effect.body
        assert body is not None
        if body.mint == BASE and isinstance(body.raw, dict) and effect.at in body.raw:
            occupant = body.kid(effect.at)
            if occupant is not effect.node:
                self._link(effect, side.place.get(occupant) or side.dead.get(occupant))

    def _link_rescue(self, side: Effects, moved: Node) -> None:
        """What removed or replaced a thing needs what was taken out of it to stay out."""
        up = moved.up
        held = up is not None and side.strand.gone(up.owner)
        while up is not None:
            node = up.owner
            for effect in (side.dead.get(node), side.content.get(node)):
                if effect is not None:
                    self._link(effect, side.place[moved])
            if not held:
                return  # what it was in lives on, wherever it is
            up = node.up

    def link_copies(self, contested: set[Effect]) -> None:
        """A clean copy needs what its side had set in what it copied."""
        for side in (self.theirs, self.yours):
            for copy in side.strand.copies:
                effect = side.arrive.get(copy.node)
                if effect is not None and effect not in contested:
                    for cause in _causes(side, copy.source, copy.step):
                        self._link(effect, cause)

    def of(self, *effects: Effect) -> Iterator[Effect]:
        """Yield what *effects* need, directly or by others."""
        return _reached(effects, lambda effect: effect.needs) if self._needed_by else iter(())

    def dependents(self, effects: Iterable[Effect]) -> Iterator[Effect]:
        """Yield what needs any of *effects*, directly or by others."""
        known = self._needed_by
        return _reached(effects, lambda e: known.get(e, ())) if known else iter(())

    def fallen(self, undone: set[Effect], chosen: set[Effect], contested: set[Effect]) -> set[Effect]:
        """Return *undone*, effects of theirs, with what cannot be without them.

        What yours made alike stays, with what is in it, if yours can be when of the *contested* effects only
        *chosen* are. A place is made room for by its own side only.
        """
        fallen = undone | set(self.dependents(undone))
        made = (effect for effect in fallen - undone if effect.act in (Act.ARRIVE, Act.CONTENT))
        twins = {twin: effect for effect in made if (twin := self._twins.get(effect)) is not None}
        if not twins:
            return fallen
        kept = twins.keys() - self._lost(twins, chosen, contested)
        stays = {twins[twin] for twin in kept if self._is_held(twin, kept, fallen)}
        known = self._needed_by
        return undone | set(_reached(undone, lambda e: (d for d in known.get(e, ()) if d not in stays)))

    def standing(
        self, made: Iterable[Effect], chosen: set[Effect], contested: set[Effect], fallen: set[Effect]
    ) -> set[Effect]:
        """Return what of *made*, effects of yours, can be when of the *contested* ones only *chosen* are.

        What both did alike is theirs', unless theirs' has *fallen*: then it stands for itself.
        """

        twins = [twin for effect in fallen if (twin := self._twins.get(effect)) is not None]
        candidates = [effect for effect in made if not effect.agreed]
        lost = self._lost([*candidates, *twins], chosen, contested)
        kept = {effect for effect in (*candidates, *twins) if effect not in lost}
        loose = {effect for effect in kept if not self._is_held(effect, kept, fallen)}
        return kept - loose - set(self.dependents(loose)) if loose else kept

    def _is_held(self, effect: Effect, kept: Set[Effect], fallen: set[Effect]) -> bool:
        """Say whether the object both added that *effect* lies in is there: theirs', or else yours."""
        while effect.outer is not None and effect.outer in fallen:
            twin = self._twins.get(effect.outer)
            if twin is None or twin not in kept:
                return False
            effect = twin
        return True

    def _lost(self, effects: Iterable[Effect], chosen: set[Effect], contested: set[Effect]) -> set[Effect]:
        """Return what cannot be because *effects* are, or need, something contested and not *chosen*."""
        effects = list(effects)
        around = {*effects, *self.of(*effects)}
        dropped = {effect for effect in around if effect in contested and effect not in chosen}
        return dropped | set(self.dependents(dropped))

    def alone(self, chosen: set[Effect], contested: set[Effect]) -> set[Effect]:
        """Return *chosen*, of yours, with the clean effects they need and those that need only them."""
        wanted = [*chosen, *self.dependents(chosen)]
        lost = self._lost(wanted, chosen, contested)
        found = [effect for effect in wanted if effect in chosen or effect not in lost]
        return {*found, *(need for need in self.of(*found) if need not in contested)}


def came_from(node: Node, holder: Node) -> bool:
    """Say whether base has *node* inside *holder*."""
    up = node.up
    while up is not None:
        if up.owner is holder:
            return True
        up = up.owner.up
    return False


def _causes(side: Effects, source: Node, step: int) -> Iterator[Effect]:
    """Yield the effects whose work was seen at *source* at a step of the replay."""
    strand = side.strand
    maker = None if strand.gone(source) else side.maker(source)
    if maker is not None and strand.body(source).born < step and strand.body(maker.node).born < step:
        yield maker
    for effect in side.set_inside.get(source, ()):
        if side.step(effect) >= step:
            return  # they come in the order they were set
        yield effect


def _reached(starts: Iterable[Effect], onward: Callable[[Effect], Iterable[Effect]]) -> Iterator[Effect]:
    seen: set[Effect] = set()
    stack = list(starts)
    while stack:
        for effect in onward(stack.pop()):
            if effect not in seen:
                seen.add(effect)
                stack.append(effect)
                yield effect
