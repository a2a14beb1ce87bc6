"""Settling conflicts: any combination of choices, as one patch against theirs."""

from __future__ import annotations

from collections.abc import Mapping

from plait_merge.diff import diff
from plait_merge.effect import Effect
from plait_merge.outcome import Choice, Facet, Patch, Side
from plait_merge.overlap import Member
from plait_merge.patch import apply_operations, read_patch
from plait_merge.strand import Node
from plait_merge.values import Json
from plait_merge.weave import Knot, Weave
from plait_merge.writer import Layer, Writer

CHOICES: tuple[Side, ...] = ("theirs", "yours", "base", "both")


class ChoiceError(ValueError):
    """A choice that is missing, unknown, or without meaning for its conflict. `.conflict` is its id."""

    def __init__(self, conflict: str, detail: str) -> None:
        super().__init__(f"conflict {conflict}: {detail}")
        self.conflict = conflict
        self.detail = detail


class Settlement:
    """Settle the knots of a weave, each by its conflict's id."""

    def __init__(self, weave: Weave, knots: Mapping[str, Knot], guards: frozenset[str]) -> None:
        self._weave = weave
        self._knots = knots
        self._guards = guards

    def patch(self, choices: Mapping[str, Choice]) -> Patch:
        """Write the settlement *choices* ask for, with all of yours that is clean. Raises ChoiceError."""
        for name in choices:
            if name not in self._knots and name not in self._guards:
                raise ChoiceError(name, "there is no such conflict")
        for name in (*self._knots, *self._guards):
            if name not in choices:
                raise ChoiceError(name, "has no choice")
            self._check(name, choices[name])
        if self._guards:
            return []
        return self._settled({name: choices[name] for name in self._knots}, alone=False)

    def resolutions(self, name: str) -> dict[str, Patch]:
        """Write each choice that has a meaning for one conflict, all others left as theirs."""
        if name in self._guards:
            return {"theirs": []}
        knot = self._knots[name]
        found: dict[str, Patch] = {"theirs": []}
        for choice in CHOICES[1:]:
            if not self._guards and self._offers(knot, choice):
                found[choice] = self._settled({name: choice}, alone=True)
        return found

    def clean_patch(self) -> Patch:
        """Write what of yours is clean."""
        return [] if self._weave.failed else self._write(self.clean(), set())

    def clean(self) -> set[Effect]:
        """Return the effects of yours that no conflict touches and that need none."""
        weave = self._weave
        return weave.needs.standing(weave.yours.all, set(), weave.contested, set())

    def _check(self, name: str, choice: Choice) -> None:
        if isinstance(choice, str):
            if choice not in CHOICES:
                raise ChoiceError(name, f"{choice[:40]!r} is no choice")
            if choice != "theirs" and (self._guards or not self._offers(self._knots[name], choice)):
                raise ChoiceError(name, f"{choice!r} has no meaning for it")
        elif not isinstance(choice, Mapping) or choice.keys() != {"value"}:
            raise ChoiceError(name, 'a choice is a word or {"value": …}')
        elif self._guards or self._knots[name].clash.kind in ("move_move", "cycle"):
            raise ChoiceError(name, "a value has no meaning for it")

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
        return _merged(node.raw, theirs, yours)

    def _settled(self, choices: Mapping[str, Choice], *, alone: bool) -> Patch:
        """Write *choices*; *alone* with nothing of yours but what depends on them."""
        weave = self._weave
        made: set[Effect] = set()
        undone: set[Effect] = set()
        values: dict[Node, Json] = {}
        members: dict[tuple[Node, str], Json] = {}
        for name, choice in choices.items():
            knot = self._knots[name]
            side = self._put_value(knot, choice, values, members)
            if side in ("yours", "base"):
                undone |= knot.theirs
            if side == "yours":
                made |= knot.yours
        undone = weave.needs.fallen(undone)
        wanted = weave.needs.alone(made, weave.contested) if alone else weave.yours.all
        kept = weave.needs.standing(wanted, made, weave.contested, undone)
        return self._write(kept, undone, values, members)

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
        weave = self._weave
        world = Layer(weave.theirs.strand)
        writer = Writer(world, weave.theirs, weave.yours, weave.in_order(made), undone, values, members)
        return writer.write()


def _merged(base: Json, theirs: Json, yours: Json) -> Facet | None:
    """Merge three values, or None where that is not clean."""
    weave = Weave(base, [read_patch(diff(base, theirs))], read_patch(diff(base, yours)))
    if not weave.is_clean:
        return None
    return Facet(apply_operations(theirs, read_patch(weave.write())))
