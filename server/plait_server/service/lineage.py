"""Edits made on an edit of one's own that was not answered yet: a fast typist is never in his own way.

The author of such an edit sees his base and his own edits, nothing of what others did meanwhile. Call
that his view. His first edit was committed over others' revisions; the next one speaks about the view,
not about what was committed. What leads from the view to what was committed is the drift: the others'
revisions, as they are after his edit. The next edit is rebased over the drift alone, so everything his
own edits made keeps its identity, and from there on it is an ordinary edit with an ordinary base.

Where nobody else was in between, view and committed value are one and nothing is worked out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from msgspec import Struct

from plait_merge import (
    ABSENT,
    Absent,
    Conflicted,
    Inapplicable,
    Json,
    LimitExceeded,
    Limits,
    Operation,
    Policy,
    Rebased,
    TouchIndex,
    apply_operations,
    diff,
    format_pointer,
    guarded,
    read_patch,
    rebase,
    same,
)
from plait_merge.number import total
from plait_merge.outcome import Patch
from plait_merge.patch import without_increments
from plait_merge.values import find
from plait_server.service.answer import Answer
from plait_server.service.revision import STORED, Revision

Operations = tuple[Operation, ...]


class Sight(Struct, frozen=True):
    """What an author sees after an edit of his, and what leads from there to what was committed."""

    view: Json | Absent
    drift: Operations


class Ancestor(Struct, eq=False):
    """An accepted edit of one's own, as those made on it need it.

    `submitted` was made on `parent`, or else on revision `root`; `base` is the revision the service
    decided it on and `revision` the one it led to (the head, if it changed nothing).
    """

    submitted: Json
    parent: "Ancestor | None"
    root: int
    base: int
    revision: int
    changed: bool
    sight: Sight | None = None

    @property
    def plain(self) -> bool:
        """Whether nobody was in between: the author sees what was committed."""
        alone = self.revision - self.base == (1 if self.changed else 0)
        return self.sight is None and alone and (self.parent is None or self.parent.plain)


def ancestor_of(submitted: Json, parent: Ancestor | None, answer: Answer) -> Ancestor:
    """Note an accepted edit down."""
    base = answer.base or 0
    ancestor = Ancestor(
        submitted=submitted,
        parent=parent,
        root=base if parent is None else parent.root,
        base=base,
        revision=answer.revision,
        changed=answer.outcome != "noop",
    )
    if ancestor.plain:
        # A chain of plain edits needs no memory: the last one's revision says everything.
        ancestor.parent, ancestor.root, ancestor.submitted = None, answer.revision, None
        ancestor.base = ancestor.revision
        ancestor.changed = False
    return ancestor


def see(
    ancestor: Ancestor,
    base: Revision,
    since: Sequence[Revision],
    committed: Revision,
    policy: Policy | None = None,
) -> Sight:
    """Work out what the author saw after `ancestor`, and the drift; once.

    `base` is the revision it was decided on, `since` lead from there to before `committed`, where it
    ended. The parent, if there is one, has been seen. Cost: a rebase of others' revisions.
    """
    if ancestor.sight is None:
        parent = ancestor.parent
        before = Sight(base.value, ()) if parent is None or parent.sight is None else parent.sight
        theirs = (*before.drift, *_flat(since))
        submitted = read_patch(ancestor.submitted, STORED, extended=True)
        ancestor.sight = _sight(before.view, submitted, theirs, committed.value, policy)
        ancestor.parent = None
    return ancestor.sight


def _flat(revisions: Iterable[Revision]) -> Operations:
    return tuple([operation for revision in revisions for operation in revision.operations])


def _sight(
    before: Json | Absent,
    yours: Operations,
    theirs: Operations,
    committed: Json | Absent,
    policy: Policy | None,
) -> Sight:
    plain = without_increments(before, yours, STORED)
    yours = tuple([operation for operation in plain if operation.op != "test"])
    view = apply_operations(before, yours, STORED)
    moved = rebase(before, [yours], theirs, policy, limits=STORED)
    if not isinstance(moved, Rebased):
        # A merge mode decided an overlap: which parts of it are whose is not asked any more.
        return Sight(view, _between(view, committed))
    drift = read_patch(moved.patch, STORED)
    if not same(moved.value, committed):
        # Seen from the other side two insertions at one place stand in the other order.
        drift = (*drift, *_between(moved.value, committed))
    return Sight(view, drift)


def _between(before: Json | Absent, after: Json | Absent) -> Operations:
    if before is ABSENT or after is ABSENT:
        whole = [] if after is before else [{"op": "add", "path": "", "value": after}]
        return read_patch(whole if after is not ABSENT else [{"op": "remove", "path": ""}], STORED)
    return read_patch(diff(before, after, STORED), STORED)


def carry_over(
    sight: Sight, operations: Operations, limits: Limits, policy: Policy | None = None
) -> Rebased | Conflicted | Inapplicable | LimitExceeded:
    """Rebase an edit that was made on the view over the drift: it then applies to what was committed.

    What it adds up is still an `inc` then, so that it adds up with what others did after that too.
    """
    outcome = rebase(sight.view, [sight.drift], operations, policy, limits=limits)
    if isinstance(outcome, Rebased) and any(operation.op == "inc" for operation in operations):
        return replace(outcome, patch=_with_sums(sight, operations, outcome.patch, policy))
    return outcome


def _with_sums(sight: Sight, operations: Operations, patch: Patch, policy: Policy | None) -> Patch:
    """Write a patch, in which what was added up is a value, with sums again.

    Where the edit itself changes what is around its sums that cannot be told: the patch then insists on the
    values it overwrites, so that nobody's sum is lost unseen.
    """
    committed = apply_operations(sight.view, sight.drift, STORED)
    sums = tuple([operation for operation in operations if operation.op == "inc"])
    rest = tuple([operation for operation in operations if operation.op != "inc"])
    if not _touch(rest, sums) and not _touch(sums, rest):
        moved = rebase(sight.view, [sight.drift], rest, policy, limits=STORED)
        added = rebase(sight.view, [sight.drift], sums, policy, limits=STORED)
        if isinstance(moved, Rebased) and isinstance(added, Rebased):
            return [*moved.patch, *[_sum(committed, each) for each in read_patch(added.patch, STORED)]]
    return guarded(committed, patch, STORED)


def _touch(some: Operations, others: Operations) -> bool:
    touched = TouchIndex()
    touched.record(some, 1)
    return touched.overlaps(others, 0)


def _sum(committed: Json | Absent, operation: Operation) -> dict[str, Json]:
    before = find(committed, operation.path)
    added = total(operation.value, -before)
    return {"op": "inc", "path": format_pointer(operation.path), "value": added}
