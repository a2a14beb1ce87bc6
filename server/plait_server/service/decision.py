"""What becomes of an edit: pure rules, from a document's revisions and what was submitted.

conditions     what the caller demands of the head           412, 428, 404, 410, base-unknown
submission     what was sent, as a patch against its base    400, 413
decision       rebased over what happened since              a change, nothing, 422, 409
"""

from collections.abc import Callable, Sequence
from itertools import chain as joined

from msgspec import Struct
from msgspec.structs import replace

from plait_merge import (
    ABSENT,
    Absent,
    ChoiceError,
    Conflicted,
    Inapplicable,
    Json,
    LimitExceeded,
    Limits,
    Operation,
    Rebased,
    adds_up,
    apply_operations,
    changes_nothing,
    diff,
    format_pointer,
    merge_patch,
    read_patch,
    rebase,
    resolve,
    same,
)
from plait_merge import MalformedPatch as NotAPatch
from plait_merge.outcome import Choice
from plait_merge.patch import without_increments
from plait_merge.values import find
from plait_server import errors
from plait_server.service.document import OpenDocument
from plait_server.service.limits import ServiceLimits
from plait_server.service.misfit import Misfit, find_misfit
from plait_server.service.refusal import inapplicable, malformed, show, too_large, violated
from plait_server.service.request import Edit, MergeMode
from plait_server.service.revision import STORED, Revision
from plait_server.service.rules import Rules
from plait_server.service.schema import Schema
from plait_server.store import RevisionKind
from plait_server.wire import encode

CHANGED_POINTERS_MAX = 100
COUNT_MAX = 2**53


class Submission(Struct, frozen=True):
    """A patch against its base, as operations and as they were sent (or worked out from a value)."""

    operations: tuple[Operation, ...]
    patch: Json


class Change(Struct, frozen=True):
    """A new revision: `patch` (JSON) leads from the tip to `value`, which takes at most `size_bound` bytes.

    `submitted` is the patch as submitted, where it differs; `notes` what the merge has to say.
    """

    kind: RevisionKind
    value: Json | Absent
    operations: tuple[Operation, ...]
    patch: bytes
    submitted: bytes | None
    size_bound: int
    notes: tuple[dict[str, Json], ...] = ()


class Unchanged(Struct, frozen=True):
    """The edit is in the tip already."""


class Overlap(Struct, frozen=True):
    """The edit overlaps what happened since, or does not fit together with it."""

    submission: Submission
    conflicted: Conflicted | Misfit


Decision = Change | Unchanged | Overlap


def ruled(edit: Edit, rules: Rules) -> Edit:
    """Let the collection say how an edit merges that does not say so itself."""
    if edit.merge == "auto" != rules.merge:
        return replace(edit, merge=rules.merge)
    return edit


def check_conditions(
    edit: Edit, tip: Revision, epoch: str, changed: Callable[[int], list[str] | None]
) -> int:
    """Judge what the caller demands of the document, and give the number of the edit's base.

    `changed` lists the pointers changed since a revision, where that is known. Raises NotFound,
    PreconditionFailed, PreconditionRequired, Deleted or BaseUnknown.
    """
    creates = edit.kind == "create" or (edit.kind == "put" and edit.if_none_match)
    if tip.live and (creates or edit.if_none_match):
        raise _failed("The document exists.", tip)
    if creates and edit.kind == "put" and edit.if_match is not None:
        raise _failed("There is no document to match.", tip)
    if creates:
        return tip.n
    if tip.n == 0:
        if edit.kind == "put" and edit.base is None and edit.if_match is None:
            raise _required("To create a document, send If-None-Match: *.")
        raise errors.NotFound("There is no such document.")
    _check_if_match(edit, tip, changed)
    if edit.base is None and edit.if_match is None:
        if edit.kind in ("put", "delete"):
            raise _required(
                "Say what you have seen: Plait-Base (base in a batch) to merge, "
                "If-Match (if_match) to insist on it.",
                tip,
            )
        if not tip.live:
            raise deleted(tip)
    if edit.epoch is not None and edit.epoch != epoch:
        raise _base_unknown("The base belongs to another epoch of this store.", tip, epoch)
    base = tip.n if edit.base is None else edit.base
    if not 1 <= base <= tip.n:
        raise _base_unknown(f"There is no revision {base} of this document.", tip, epoch)
    if edit.merge == "strict" and base != tip.n:
        raise _failed(f"The document moved: it is at revision {tip.n}.", tip, changed(base))
    return base


def _check_if_match(edit: Edit, tip: Revision, changed: Callable[[int], list[str] | None]) -> None:
    condition = edit.if_match
    if condition is None or (tip.live and (condition.any or tip.n in condition.revisions)):
        return
    if condition.weak:
        raise errors.PreconditionFailed(
            "A weak entity tag never matches. Send the strong one the document came with.",
            {"head_revision": tip.n, "weak_etag": True},
        )
    if not tip.live:
        raise _failed("The document is deleted.", tip)
    seen = condition.revisions[0] if len(condition.revisions) == 1 else 0
    raise _failed(f"The document moved: it is at revision {tip.n}.", tip, changed(seen))


def submission_of(edit: Edit, base: Revision, limits: Limits) -> Submission:
    """Read what was sent as a patch against `base`. Values and merge patches are compared with it.

    Raises MalformedPatch, TooLarge or PatchInapplicable. Cost: for values, the size of the document.
    """
    try:
        if edit.kind == "patch":
            operations = read_patch(edit.content, limits, extended=edit.extended)
            _refuse_deletion(operations, base.value)
            return Submission(operations, edit.content)
        patch = _patch_of(edit, base.value, limits)
        return Submission(read_patch(patch, limits), patch)
    except NotAPatch as error:
        raise malformed(error) from error
    except LimitExceeded as error:
        raise too_large(error, limits) from error


def _patch_of(edit: Edit, base: Json | Absent, limits: Limits) -> Json:
    if edit.kind == "create" or edit.if_none_match:
        return [{"op": "add", "path": "", "value": edit.content}]
    if edit.kind == "put":
        return diff(base, edit.content, limits)
    if edit.kind == "merge_patch":
        return diff(base, merge_patch(base, edit.content), limits)
    return [{"op": "remove", "path": ""}] if base is not ABSENT else []


def _refuse_deletion(operations: tuple[Operation, ...], base: Json | Absent) -> None:
    for number, operation in enumerate(operations):
        if operation.op == "remove" and not operation.path:
            raise errors.PatchInapplicable(
                f"Operation {number} (remove the document): a patch cannot delete it; DELETE does.",
                {"operation": number, "pointer": "", "reason": "unsupported", "found": show(base)},
            )


def decide(
    edit: Edit,
    base: Revision,
    since: Sequence[Revision],
    document: OpenDocument,
    limits: ServiceLimits,
    rules: Rules,
) -> Decision:
    """Decide what an edit does to the document's tip, to which `since` leads from its base.

    Where nobody touched what the edit is about (the document's index, made for the policy of these rules,
    knows), or it only adds to numbers, it applies to the tip as it does to its base, and what it missed needs
    no replay. Raises MalformedPatch, PatchInapplicable, TestFailed, SchemaViolation or TooLarge.
    """
    submission = submission_of(edit, base, limits.values)
    operations = submission.operations
    if (
        base is document.tip
        or not document.touched_since(operations, base.n)
        or (rules.policy is None and _adds_up(base, since, operations))
    ):
        decision = _apply(submission, document, limits)
    else:
        decision = _merge(edit.merge, submission, base, since, document, limits, rules)
    if rules.schema is None or not isinstance(decision, Change) or decision.value is ABSENT:
        return decision
    return _fitting(rules.schema, decision, submission, base, since, limits)


def _adds_up(base: Revision, since: Sequence[Revision], operations: tuple[Operation, ...]) -> bool:
    if not operations or operations[0].op != "inc":
        return False
    theirs = joined.from_iterable([revision.operations for revision in since])
    return adds_up(base.value, theirs, operations)


def _merge(
    mode: MergeMode,
    submission: Submission,
    base: Revision,
    since: Sequence[Revision],
    document: OpenDocument,
    limits: ServiceLimits,
    rules: Rules,
) -> Decision:
    """Rebase what was submitted over what happened since."""
    operations = submission.operations
    outcome = rebase_over(mode, base, since, operations, limits.values, rules)
    if isinstance(outcome, Conflicted):
        return Overlap(submission, outcome)
    if isinstance(outcome, LimitExceeded):
        raise too_large(outcome, limits.values)
    if isinstance(outcome, Inapplicable):
        raise inapplicable(outcome, operations)
    if not outcome.patch:
        return Unchanged()
    notes = tuple([note.as_json() for note in outcome.notes])
    operations = read_patch(outcome.patch, STORED)
    return _change(operations, outcome.patch, outcome.value, submission, document, limits, notes)


def rebase_over(
    mode: MergeMode,
    base: Revision,
    since: Sequence[Revision],
    operations: tuple[Operation, ...],
    limits: Limits,
    rules: Rules,
) -> Rebased | Conflicted | Inapplicable | LimitExceeded:
    """Rebase operations over revisions; the policy, then the mode, decide what overlaps."""
    chain = [revision.operations for revision in since]
    outcome = rebase(base.value, chain, operations, rules.policy, limits=limits)
    if isinstance(outcome, Conflicted):
        return _settle(mode, since[-1], outcome, limits) or outcome
    return outcome


def _fitting(
    schema: Schema,
    change: Change,
    submission: Submission,
    base: Revision,
    since: Sequence[Revision],
    limits: ServiceLimits,
) -> Decision:
    """Ask the schema about a change. Raises SchemaViolation where nobody else has a part in it."""
    own = apply_operations(base.value, submission.operations, limits.values) if since else change.value
    found = find_misfit(schema, base, since, own, change.value, submission.operations)
    if isinstance(found, Misfit):
        return Overlap(submission, found)
    if found:
        raise violated(found)
    return change


def _apply(submission: Submission, document: OpenDocument, limits: ServiceLimits) -> Decision:
    """Apply what was submitted to the tip, as it is: nobody is in its way."""
    before, operations, patch = document.tip.value, submission.operations, submission.patch
    counted = _counted(before, operations[0]) if len(operations) == 1 else None
    if counted is not None:
        operations, patch = (counted,), [counted.as_json()]
    value = set_member(before, operations[0]) if len(operations) == 1 else ABSENT
    if value is before is not ABSENT:
        return Unchanged()
    if value is ABSENT:
        try:
            value = apply_operations(before, operations, limits.values)
        except Inapplicable as error:
            raise inapplicable(error, operations) from error
        except LimitExceeded as error:
            raise too_large(error, limits.values) from error
        if changes_nothing(before, value, operations):
            return Unchanged()
    if not all(map(_is_plain, operations, patch)):
        plain = without_increments(before, operations, limits.values)
        operations = tuple([operation for operation in plain if operation.op != "test"])
        patch = [operation.as_json() for operation in operations]
    return _change(operations, patch, value, submission, document, limits)


def _counted(value: Json | Absent, operation: Operation) -> Operation | None:
    """Write an `inc` as the `replace` it comes to, where that is an integer of few digits; the engine knows
    all about the others."""
    if operation.op != "inc":
        return None
    found, added = find(value, operation.path), operation.value
    if type(found) is not int or type(added) is not int or max(abs(found), abs(added)) > COUNT_MAX:
        return None
    return Operation("replace", operation.path, None, found + added)


def set_member(value: Json | Absent, operation: Operation) -> Json | Absent:
    """Apply an operation that sets a member of an object to a scalar, as most do, at a quarter of the cost.

    Gives what `apply_operations` does, the very value where the member is that already, and ABSENT where
    the operation is another one, meets an array or does not apply: the engine knows all about those.
    """
    op, path, _, new = operation
    if (op != "replace" and op != "add") or not path or type(new) is dict or type(new) is list:
        return ABSENT
    if type(value) is not dict:
        return ABSENT
    result = node = value.copy()
    *way, name = path
    for token in way:
        part = node.get(token)
        if type(part) is not dict:
            return ABSENT
        node[token] = node = part.copy()
    old = node.get(name, ABSENT)
    if same(old, new):
        return value
    if old is ABSENT and op == "replace":
        return ABSENT
    node[name] = new
    return result


def _is_plain(operation: Operation, submitted: dict[str, Json]) -> bool:
    """Say whether an operation can be kept as it was submitted: no guard, and no members of its own."""
    return len(submitted) == _MEMBERS.get(operation.op)


_MEMBERS = {"add": 3, "replace": 3, "move": 3, "copy": 3, "remove": 2}


def _settle(merge: MergeMode, tip: Revision, conflicted: Conflicted, limits: Limits) -> Rebased | None:
    """Settle every conflict for one side, if the caller asked for that. A guard never yields."""
    if merge not in ("theirs", "yours") or any(each.kind == "guard" for each in conflicted.conflicts):
        return None
    choices: dict[str, Choice] = {each.id: merge for each in conflicted.conflicts}
    try:
        patch = resolve(tip.value, conflicted, choices)
    except ChoiceError:
        return None
    return Rebased(apply_operations(tip.value, read_patch(patch, limits), limits), patch)


def _change(
    operations: tuple[Operation, ...],
    patch: Json,
    value: Json | Absent,
    submission: Submission,
    document: OpenDocument,
    limits: ServiceLimits,
    notes: tuple[dict[str, Json], ...] = (),
) -> Change:
    if value is ABSENT:
        kind: RevisionKind = "delete"
    else:
        kind = "edit" if document.tip.live else "create"
    encoded = encode(patch)
    size = bound_size(document.size_bound, value, operations, encoded, limits.document_bytes_max)
    is_other = patch is not submission.patch and patch != submission.patch
    submitted = encode(submission.patch) if is_other else None
    return Change(kind, value, operations, encoded, submitted, size, notes)


def bound_size(
    before: int, value: Json | Absent, operations: tuple[Operation, ...], patch: bytes, most: int
) -> int:
    """Bound the size of a value as JSON, without encoding it for each edit. Raises TooLarge.

    A patch adds at most its own bytes, unless it copies; one that begins with a whole new value holds
    all of it. Only where that passes the limit is the value encoded, to know exactly.
    """
    first = operations[0]
    bound = len(patch) if not first.path and first.op in ("add", "replace") else before + len(patch)
    if bound > most or (b'"copy"' in patch and any(operation.op == "copy" for operation in operations)):
        bound = 0 if value is ABSENT else len(encode(value))
        if bound > most:
            members = {"limit": "document_bytes", "maximum": most}
            raise errors.TooLarge(f"The document would take more than {most} bytes.", members)
    return bound


def changed_pointers(revisions: Sequence[Revision]) -> list[str] | None:
    """List the pointers that revisions wrote to; None where they are many."""
    pointers: dict[str, None] = {}
    for revision in revisions:
        for operation in revision.operations:
            if operation.source is not None and operation.op == "move":
                pointers[format_pointer(operation.source)] = None
            pointers[format_pointer(operation.path)] = None
            if len(pointers) > CHANGED_POINTERS_MAX:
                return None
    return list(pointers)


def deleted(tip: Revision) -> errors.Deleted:
    return errors.Deleted("The document is deleted.", {"revision": tip.n})


def _failed(detail: str, tip: Revision, changed: list[str] | None = None) -> errors.PreconditionFailed:
    members = {"head_revision": tip.n, "changed": changed} if tip.n else None
    return errors.PreconditionFailed(detail, members)


def _required(detail: str, tip: Revision | None = None) -> errors.PreconditionRequired:
    return errors.PreconditionRequired(detail, {"head_revision": tip.n} if tip else None)


def _base_unknown(detail: str, tip: Revision, epoch: str) -> errors.BaseUnknown:
    return errors.BaseUnknown(detail, {"head_revision": tip.n, "epoch": epoch})
