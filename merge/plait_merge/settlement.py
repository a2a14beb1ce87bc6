"""Settling conflicts: any combination of choices, as one patch against theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial

from plait_merge.diff import diff
from plait_merge.effect import Act, Effect
from plait_merge.judge import judge
from plait_merge.layer import Layer
from plait_merge.needs import came_from
from plait_merge.outcome import Choice, Conflict, Facet, Note, Patch, Side
from plait_merge.patch import apply_operations, read_patch
from plait_merge.policy import Policy
from plait_merge.strand import BASE, YOURS, Node, base_tokens
from plait_merge.subject import Element, Member
from plait_merge.text import Allowance
from plait_merge.values import Json, LimitExceeded, has_more_parts
from plait_merge.verdict import Verdict
from plait_merge.weave import Guard, Knot, Outcome, Weave
from plait_merge.writer import write

BOTH_PARTS_MAX = 5_000  # values with more parts are not deeply merged just to offer it
CHOICES: tuple[Side, ...] = ("theirs", "yours", "base", "both")


class ChoiceError(ValueError):
    """A choice that is missing, unknown, or without meaning for its conflict. `.conflict` is its id."""

    def __init__(self, conflict: str, detail: str) -> None:
        super().__init__(conflict, detail)
        self.conflict = conflict
        self.detail = detail

    def __str__(self) -> str:
        return f"conflict {self.conflict}: {self.detail}"


class Settlement:
    """Settle the knots of a weave, which is asked for when there is something to settle.

    `inner` is one that merges two contents deeply: what they are as a whole is no deeper question.
    """

    def __init__(self, weave: Callable[[], Weave], *, inner: bool = False) -> None:
        self._ask = weave
        self._inner = inner
        self._deep: dict[Knot, Facet | None] = {}

    @cached_property
    def _weave(self) -> Weave:
        return self._ask()

    @cached_property
    def _knots(self) -> dict[tuple[str, str, str | None], Knot]:
        """The knots by kind and pointers, which together are one conflict's only."""
        weave = self._weave
        return {(knot.clash.kind, *weave.pointers(knot.clash)): knot for knot in weave.knots}

    # What the policy decides.

    @property
    def decided(self) -> Mapping[Knot, Verdict]:
        """The knots that the policy decides, or that come to a sum."""
        return self._verdicts if self._weave.is_ruled else {}

    @property
    def open(self) -> list[Knot]:
        """The knots that are left for somebody to decide."""
        knots, decided = self._weave.knots, self.decided
        return [knot for knot in knots if knot not in decided] if decided else knots

    @property
    def failed(self) -> list[Guard]:
        """The guards that do not hold where yours wins, or do not as the policy decides."""
        weave = self._weave
        return self._failed if weave.is_ruled and weave.guards else weave.failed

    @cached_property
    def _verdicts(self) -> dict[Knot, Verdict]:
        weave, texts = self._weave, Allowance()
        found = {knot: judge(weave, knot, partial(self._offers, knot, "both"), texts) for knot in weave.knots}
        return {knot: verdict for knot, verdict in found.items() if verdict is not None}

    @cached_property
    def _failed(self) -> list[Guard]:
        weave = self._weave
        return [guard for guard in weave.guards if guard in weave.failed or not self._holds(guard)]

    def _holds(self, guard: Guard) -> bool:
        """Say whether a guard that holds where yours wins does so as the policy decides."""
        if not self._weave.is_replayed(guard):
            return True
        replay = self._weave.replay_before(guard)
        settlement = Settlement(lambda: replay)
        if not settlement.decided:
            return True
        yours: list[tuple[Knot, Choice]] = [(knot, "yours") for knot in settlement.open]
        return replay.shows(guard, settlement._outcome([*yours, *settlement._decisions()], alone=False))

    def _decisions(self) -> list[tuple[Knot, Choice]]:
        return [(knot, verdict.choice) for knot, verdict in self.decided.items()]

    def notes(self) -> tuple[Note, ...]:
        """Tell what was decided, and by which word of the policy."""
        weave = self._weave
        notes = [
            Note(verdict.note, min(e.first for e in knot.yours), weave.pointer(knot.clash.subject))
            for knot, verdict in self.decided.items()
            if verdict.note is not None
        ]
        return tuple(sorted(notes, key=lambda note: (note.operation or 0, note.pointer)))

    # What somebody chooses.

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
        return [] if self.failed else self._settled([*chosen, *self._decisions()], alone=False)

    def resolutions(self, conflict: Conflict) -> dict[str, Patch]:
        """Write each choice that has a meaning for one conflict, the others as theirs."""
        knot = self._knot(conflict)
        found: dict[str, Patch] = {"theirs": []}
        if knot is not None and not self.failed:
            for choice in CHOICES[1:]:
                if self._offers(knot, choice):
                    found[choice] = self._settled([(knot, choice)], alone=True)
        return found

    def clean_patch(self) -> Patch:
        """Write what of yours is clean or decided."""
        weave = self._weave
        if self.failed:
            return []
        if self.decided:
            return self._settled(self._decisions(), alone=False)
        return write(weave.theirs, weave.yours, weave.in_order(self.clean))

    @cached_property
    def clean(self) -> set[Effect]:
        """The effects of yours that no conflict touches and that need none, or none that is not decided."""
        weave = self._weave
        if not self.decided:
            return weave.needs.standing(weave.yours.all, set(), weave.contested, set())
        decided = {effect for knot in self.decided for effect in knot.yours}
        return decided | self._outcome(self._decisions(), alone=False).made

    def _knot(self, conflict: Conflict) -> Knot | None:
        """Return what a conflict is about; None for a guard."""
        return self._knots.get((conflict.kind, conflict.pointer, conflict.pointer_yours))

    def _check(self, conflict: Conflict, choice: Choice) -> None:
        refused = bool(self.failed)
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
        return choice != "both" or _is_about_order(knot) or self._both(knot) is not None

    def _both(self, knot: Knot) -> Facet | None:
        """Return the deep merge of two contents, where it is clean."""
        if knot not in self._deep:
            self._deep[knot] = self._deeply_merged(knot)
        return self._deep[knot]

    def _deeply_merged(self, knot: Knot) -> Facet | None:
        node, weave = knot.clash.subject, self._weave
        if knot.clash.kind not in ("edit_edit", "replace_edit") or not isinstance(node, Node):
            return None
        if (self._inner and node.up is weave.theirs.strand.void) or weave.overlaps.is_whole(node):
            return None
        if self._is_crossed(node) or not isinstance(node.raw, (dict, list)):
            return None
        theirs, yours = weave.theirs.strand.value(node), weave.yours.strand.value(node)
        if not type(theirs) is type(yours) is type(node.raw):
            return None
        if any(has_more_parts(value, BOTH_PARTS_MAX) for value in (node.raw, theirs, yours)):
            return None
        policy = None if weave.policy is None else weave.policy.under(tuple(base_tokens(node)))
        return _merged(node.raw, theirs, yours, policy)

    def _is_crossed(self, node: Node) -> bool:
        """Say whether a side moved something, where deep merges are asked for into or out of a thing."""
        sides = self._weave.theirs, self._weave.yours
        if self._weave.overlaps.rule(node).replace == "opaque":
            return any(side.moved for side in sides)
        ways = ((side.strand, moved) for side in sides for moved in side.moved)
        return any(node in strand.chain(moved) or came_from(moved, node) for strand, moved in ways)

    def _settled(self, choices: Iterable[tuple[Knot, Choice]], *, alone: bool) -> Patch:
        """Write *choices*; *alone* with nothing of yours but what depends on them."""
        return self._weave.write_outcome(
            Layer(self._weave.theirs.strand), self._outcome(choices, alone=alone)
        )

    def _outcome(self, choices: Iterable[tuple[Knot, Choice]], *, alone: bool) -> Outcome:
        weave = self._weave
        made: set[Effect] = set()
        undone: set[Effect] = set()
        values: dict[Node, Json] = {}
        members: dict[tuple[Node, str], Json] = {}
        for knot, choice in choices:
            side = self._put_value(knot, choice, values, members)
            if side in ("yours", "base"):
                undone |= knot.theirs
            if side in ("yours", "both"):
                made |= knot.yours
        undone = weave.needs.fallen(undone, made, weave.contested)
        wanted = weave.needs.alone(made, weave.contested) if alone else weave.yours.all
        kept = weave.needs.standing(wanted, made, weave.contested, undone)
        if alone and self._is_circular(kept, undone):
            # Theirs moved something into what only another, clean, move of yours takes out.
            kept = weave.needs.standing(weave.yours.all, made, weave.contested, undone)
        return Outcome(kept, undone, values, members)

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
            if _is_about_order(knot):
                return "both"
            both = self._both(knot)
            assert both is not None
            value: Json = both.value
        else:
            value = choice["value"]
        subject = knot.clash.subject
        if isinstance(subject, Member):
            members[subject.body, subject.name] = value
        else:
            values[subject.theirs if isinstance(subject, Element) else subject] = value
        is_scalar = not isinstance(value, (dict, list))
        if is_scalar and knot in self.decided and knot.clash.kind in ("edit_edit", "add_add", "text"):
            return "both"  # what either side made of what it had set stays, as do copies of it
        return "yours" if isinstance(subject, Node) and self._weave.theirs.strand.gone(subject) else "theirs"


def _is_about_order(knot: Knot) -> bool:
    return all(clash.kind == "order" for clash in knot.clashes)


def _merged(base: Json, theirs: Json, yours: Json, policy: Policy | None) -> Facet | None:
    """Merge three values; None where that is not clean, or they or what comes of it are too deep for it."""
    try:
        weave = Weave(base, [read_patch(diff(base, theirs))], read_patch(diff(base, yours)), policy)
        settlement = Settlement(lambda: weave, inner=True)
        if settlement.open:
            return None
        patch = settlement.clean_patch() if weave.knots else weave.write()
        return Facet(apply_operations(theirs, read_patch(patch)))
    except LimitExceeded:
        return None
