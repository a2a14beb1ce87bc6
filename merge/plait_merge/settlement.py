"""Settling conflicts: any combination of choices, as one patch against theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

from plait_merge.diff import diff
from plait_merge.effect import Act, Effect
from plait_merge.layer import Layer
from plait_merge.outcome import Choice, Conflict, Facet, Patch, Side
from plait_merge.overlap import Member
from plait_merge.patch import apply_operations, read_patch
from plait_merge.pointer import format_pointer
from plait_merge.strand import BASE, YOURS, Node
from plait_merge.values import Json, has_more_parts
from plait_merge.weave import Knot, Weave
from plait_merge.writer import write, write_settled

BOTH_PARTS_MAX = 5_000  # values with more parts are not deeply merged just to offer it
CHOICES: tuple[Side, ...] = ("theirs", "yours", "base", "both")


class ChoiceError(ValueError):
    """A choice that is missing, unknown, or without meaning for its conflict. `.conflict` is its id."""

    def __init__(self, conflict: str, detail: str) -> None:
        super().__init__(f"conflict {conflict}: {detail}")
        self.conflict = conflict
        self.detail = detail


class Settlement:
    """Settle the knots of a weave, which is asked for when there is something to settle."""

    def __init__(self, weave: Callable[[], Weave]) -> None:
        self._ask = weave

    @cached_property
    def _weave(self) -> Weave:
        return self._ask()

    @cached_property
    def _knots(self) -> dict[tuple[str, str], Knot]:
        """The knots by kind and pointer, which together are one conflict's only."""
        weave = self._weave
        return {(k.clash.kind, format_pointer(weave.pointer(k.clash.subject))): k for k in weave.knots}

    def patch(self, conflicts: Iterable[Conflict], choices: Mapping[str, Choice]) -> Patch:
        """Write the settlement *choices* ask for, by conflict id, with all of yours that is clean.

        Raises ChoiceError.
        """
        known = {conflict.id: conflict for conflict in conflicts}
        for name in choices:
            if name not in known:
                raise ChoiceError(name, "there is no such conflict")
        chosen: list[tuple[Knot, Choice]] = []
        for name, conflict in known.items():
            if name not in choices:
                raise ChoiceError(name, "has no choice")
            self._check(conflict, choices[name])
            knot = self._knot(conflict)
            if knot is not None:
                chosen.append((knot, choices[name]))
        return [] if self._weave.failed else self._settled(chosen, alone=False)

    def resolutions(self, conflict: Conflict) -> dict[str, Patch]:
        """Write each choice that has a meaning for one conflict, the others as theirs."""
        knot = self._knot(conflict)
        found: dict[str, Patch] = {"theirs": []}
        if knot is not None and not self._weave.failed:
            for choice in CHOICES[1:]:
                if self._offers(knot, choice):
                    found[choice] = self._settled([(knot, choice)], alone=True)
        return found

    def clean_patch(self) -> Patch:
        """Write what of yours is clean."""
        weave = self._weave
        made = set() if weave.failed else self.clean
        return write(weave.theirs, weave.yours, weave.in_order(made)) if made else []

    @cached_property
    def clean(self) -> set[Effect]:
        """The effects of yours that no conflict touches and that need none."""
        weave = self._weave
        return weave.needs.standing(weave.yours.all, set(), weave.contested, set())

    def _knot(self, conflict: Conflict) -> Knot | None:
        """Return what a conflict is about; None for a guard."""
        return self._knots.get((conflict.kind, conflict.pointer))

    def _check(self, conflict: Conflict, choice: Choice) -> None:
        refused = bool(self._weave.failed)
        knot = self._knot(conflict)
        if isinstance(choice, str):
            if choice not in CHOICES:
                raise ChoiceError(conflict.id, f"{choice[:40]!r} is no choice")
            if choice != "theirs" and (refused or knot is None or not self._offers(knot, choice)):
                raise ChoiceError(conflict.id, f"{choice!r} has no meaning for it")
        elif not isinstance(choice, Mapping) or choice.keys() != {"value"}:
            raise ChoiceError(conflict.id, 'a choice is a word or {"value": …}')
        elif refused or conflict.kind in ("move_move", "cycle"):
            raise ChoiceError(conflict.id, "a value has no meaning for it")

    def _offers(self, knot: Knot, choice: str) -> bool:
        if choice == "base":
            return not any(effect.implied for effect in knot.effects)
        return choice != "both" or self._both(knot) is not None

    def _both(self, knot: Knot) -> Facet | None:
        """Return the deep merge of two contents, where it is clean."""
        node, weave = knot.clash.subject, self._weave
        if knot.clash.kind not in ("edit_edit", "replace_edit") or not isinstance(node, Node):
            return None
        if weave.theirs.moved or weave.yours.moved or not isinstance(node.raw, (dict, list)):
            return None
        theirs, yours = weave.theirs.strand.value(node), weave.yours.strand.value(node)
        if not type(theirs) is type(yours) is type(node.raw):
            return None
        if any(has_more_parts(value, BOTH_PARTS_MAX) for value in (node.raw, theirs, yours)):
            return None
        return _merged(node.raw, theirs, yours)

    def _settled(self, choices: Iterable[tuple[Knot, Choice]], *, alone: bool) -> Patch:
        """Write *choices*; *alone* with nothing of yours but what depends on them."""
        weave = self._weave
        made: set[Effect] = set()
        undone: set[Effect] = set()
        values: dict[Node, Json] = {}
        members: dict[tuple[Node, str], Json] = {}
        for knot, choice in choices:
            side = self._put_value(knot, choice, values, members)
            if side in ("yours", "base"):
                undone |= knot.theirs
            if side == "yours":
                made |= knot.yours
        undone = weave.needs.fallen(undone)
        wanted = weave.needs.alone(made, weave.contested) if alone else weave.yours.all
        kept = weave.needs.standing(wanted, made, weave.contested, undone)
        if alone and self._is_circular(kept, undone):
            # Theirs moved something into what only another, clean, move of yours takes out.
            kept = weave.needs.standing(weave.yours.all, made, weave.contested, undone)
        return self._write(kept, undone, values, members)

    def _is_circular(self, made: set[Effect], undone: set[Effect]) -> bool:
        """Say whether something would end up inside itself."""
        theirs, yours = self._weave.theirs, self._weave.yours
        if not theirs.moved or not yours.moved:
            return False
        bodies = {e.node: e.body for e in theirs.place.values() if e not in undone}
        bodies.update((e.node, e.body) for e in made if e.act is Act.PLACE)
        for start in bodies:
            seen: set[Node] = set()
            body = bodies[start]
            while body is not None and body.owner not in seen:
                node = body.owner
                seen.add(node)
                strand = yours.strand if node.mint == YOURS else theirs.strand
                body = bodies.get(node) or (node.up if node.mint == BASE else strand.up(node))
            if body is not None:
                return True
        return False

    def _put_value(
        self,
        knot: Knot,
        choice: Choice,
        values: dict[Node, Json],
        members: dict[tuple[Node, str], Json],
    ) -> str:
        """Note a chosen value, and return the side whose effects go with it."""
        if isinstance(choice, str) and choice != "both":
            return choice
        if isinstance(choice, str):
            both = self._both(knot)
            assert both is not None
            value: Json = both.value
        else:
            value = choice["value"]
        subject = knot.clash.subject
        if isinstance(subject, Member):
            members[subject.body, subject.name] = value
            return "theirs"
        values[subject] = value
        return "yours" if self._weave.theirs.strand.gone(subject) else "theirs"

    def _write(
        self,
        made: set[Effect],
        undone: set[Effect],
        values: dict[Node, Json] | None = None,
        members: dict[tuple[Node, str], Json] | None = None,
    ) -> Patch:
        if not made and not undone and not values and not members:
            return []
        weave = self._weave
        world = Layer(weave.theirs.strand)
        ordered = weave.in_order(made)
        return write_settled(world, weave.theirs, weave.yours, ordered, undone, values, members)


def _merged(base: Json, theirs: Json, yours: Json) -> Facet | None:
    """Merge three values, or None where that is not clean."""
    weave = Weave(base, [read_patch(diff(base, theirs))], read_patch(diff(base, yours)))
    if not weave.is_clean:
        return None
    return Facet(apply_operations(theirs, read_patch(weave.write())))
