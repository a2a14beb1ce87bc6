"""Judging the conflicts of a weave by its policy: what its rules decide where more than one value counts."""

from __future__ import annotations

from collections.abc import Callable

from plait_merge.effect import Act
from plait_merge.number import Number
from plait_merge.overlap import Clash
from plait_merge.pointer import format_pointer
from plait_merge.policy import Rule, Undecided
from plait_merge.strand import Node
from plait_merge.subject import Subject
from plait_merge.text import Allowance
from plait_merge.values import ABSENT, Absent, Json, check_value, same
from plait_merge.verdict import Values, Verdict, add_up, decide
from plait_merge.weave import Knot, Weave


def judge(weave: Weave, knot: Knot, both: Callable[[], bool], allowance: Allowance) -> Verdict | None:
    """Decide a conflict as the policy says; None where that is for somebody to do.

    What can only be settled together is decided only where every part would be decided alike. *both* tells
    whether the two contents merge deeply.
    """
    bench = _Bench(weave, both, allowance)
    verdict = bench.judge(knot.clash)
    if verdict is None:
        return None
    for clash in knot.clashes:
        other = verdict if clash is knot.clash else bench.judge(clash)
        is_its_own = clash.subject == knot.clash.subject or verdict.choice in ("theirs", "yours")
        if other is None or other.choice != verdict.choice or not is_its_own:
            return None
    return verdict


class _Bench:
    """The rules of a policy, one method each, tried in order."""

    def __init__(self, weave: Weave, both: Callable[[], bool], allowance: Allowance) -> None:
        self._weave = weave
        self._both = both
        self._allowance = allowance
        self._answers: dict[Subject, Json | Absent | Undecided] = {}

    def judge(self, clash: Clash) -> Verdict | None:
        values = self._values(clash)
        added = self._added(clash, values)
        if added is not None:
            return Verdict({"value": added}, None)
        if self._weave.policy is None:
            return None
        rule = self._weave.overlaps.rule(clash.subject)
        if rule.scalar == "exclusive":
            return None
        if rule.resolver is not None and clash.kind in _VALUED:
            return self._resolved(clash, rule.resolver, values)
        return (
            self._equal(clash, values)
            or self._deep(clash, rule)
            or self._position(clash)
            or decide(clash.kind, rule, values, self._allowance)
        )

    def _values(self, clash: Clash) -> Values:
        strands = self._weave.theirs.strand, self._weave.yours.strand
        theirs, yours = (
            ABSENT if node is None or strand.gone(node) else strand.value(node)
            for strand, node in zip(strands, self._weave.nodes(clash), strict=True)
        )
        return Values(clash.subject.raw if isinstance(clash.subject, Node) else ABSENT, theirs, yours)

    def _added(self, clash: Clash, values: Values) -> Number | None:
        node = clash.subject
        if clash.kind != "edit_edit" or not isinstance(node, Node):
            return None
        theirs, yours = self._weave.theirs.strand.added, self._weave.yours.strand.added
        return add_up(values, theirs.get(node), yours.get(node))

    def _resolved(self, clash: Clash, name: str, values: Values) -> Verdict | None:
        """Ask the application, for each place once."""
        weave = self._weave
        assert weave.policy is not None
        pointer = format_pointer(weave.policy.frame) + weave.pointer(clash.subject)
        if clash.subject not in self._answers:
            self._answers[clash.subject] = weave.policy.resolvers[name](*values, pointer)
        answer = self._answers[clash.subject]
        if isinstance(answer, Undecided):
            return None
        if same(answer, values.theirs):
            return Verdict("theirs", "resolver")
        if same(answer, values.yours):
            return Verdict("yours", "resolver")
        check_value(answer, pointer=pointer)
        return Verdict({"value": answer}, "resolver")

    def _equal(self, clash: Clash, values: Values) -> Verdict | None:
        """Both made the same of something atomic, by edits that differ."""
        node = clash.subject
        is_edit = clash.kind in ("edit_edit", "text")
        if not is_edit or not isinstance(node, Node) or not self._weave.overlaps.is_whole(node):
            return None
        is_within = all(effect.act is not Act.PLACE for effect in clash.effects)
        return Verdict("theirs", None) if is_within and same(values.theirs, values.yours) else None

    def _deep(self, clash: Clash, rule: Rule) -> Verdict | None:
        is_content = clash.kind in ("edit_edit", "replace_edit")
        return Verdict("both", "deep") if rule.replace == "deep" and is_content and self._both() else None

    def _position(self, clash: Clash) -> Verdict | None:
        """In a set and a keyed array it does not matter where something is, only that it is there."""
        node = clash.subject
        if not isinstance(node, Node) or node.up is None or type(node.up.raw) is not list:
            return None
        array = self._weave.overlaps.rule(node.up.owner).array
        if array != "set" and array != "keyed":
            return None
        moved = [effect for effect in clash.effects if effect.act is Act.PLACE]
        is_at_home = all(effect.body is node.up for effect in moved)
        is_gone = self._weave.theirs.strand.gone(node)
        if clash.kind == "move_move" and is_at_home:
            return Verdict("theirs", array)
        if clash.kind == "move_remove" and is_at_home and len(moved) + 1 == len(clash.effects):
            return Verdict("theirs" if is_gone else "yours", array)
        if clash.kind == "remove_edit" and array == "set":
            return Verdict("yours" if is_gone else "theirs", array)
        return None


_VALUED = ("remove_edit", "replace_edit", "edit_edit", "add_add", "duplicate_key", "text")
