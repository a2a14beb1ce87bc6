"""Conflicts as resources: what is kept of one, how it is shown, and its settlement as a patch."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from msgspec import Raw, Struct, json

from plait_merge import (
    ABSENT,
    ChoiceError,
    Conflict,
    Conflicted,
    Facet,
    Inapplicable,
    Json,
    LimitExceeded,
    Limits,
    MalformedPatch,
    Policy,
    Rebased,
    apply_operations,
    read_patch,
    resolve,
)
from plait_server import errors
from plait_server.service.answer import ConflictView
from plait_server.service.decision import rebase_over
from plait_server.service.limits import ServiceLimits
from plait_server.service.lineage import Ancestor, carry_over, see
from plait_server.service.misfit import Misfit, SchemaConflict, find_misfit
from plait_server.service.moment import format_moment
from plait_server.service.refusal import bad_choice, inapplicable, malformed, too_large
from plait_server.service.request import DocumentKey, MergeMode
from plait_server.service.revision import Revision, join_missed
from plait_server.service.rules import Rules
from plait_server.service.store_time import StoreTime
from plait_server.store import ConflictRecord
from plait_server.wire import encode


class Kept(Struct, frozen=True, omit_defaults=True):
    """The body of a conflict in the store: what was submitted. The engine works out the rest again.

    `rules` is the revision of the collection's settings under which it was found.
    """

    patch: Json
    message: str | None = None
    previous: str | None = None
    merge: MergeMode = "auto"
    extended: bool = False
    rules: int = 0


_decoder = json.Decoder(Kept)


def read_kept(record: ConflictRecord) -> Kept:
    return _decoder.decode(record.body)


def view_conflict(
    document: DocumentKey,
    record: ConflictRecord,
    time: StoreTime,
    members: dict[str, object] | None = None,
    cursor: str | None = None,
) -> ConflictView:
    """Show a kept conflict, in full with the members of its problem document."""
    return ConflictView(
        id=record.id,
        document=document,
        author=record.author,
        opened=record.opened,
        expires=time.on_the_wall(record.expires),
        base_revision=record.base,
        head_revision=record.head,
        resolved=record.resolved,
        resolved_revision=record.resolved_revision,
        previous=read_kept(record).previous,
        members=members,
        cursor=cursor,
    )


def conflict_of(
    base: Revision, since: Sequence[Revision], kept: Kept, rules: Rules, limits: Limits
) -> Conflicted | Misfit:
    """Work a kept conflict out again: the engine gives the same for the same. Raises LookupError if not."""
    try:
        operations = read_patch(kept.patch, limits, extended=kept.extended)
        outcome = rebase_over(kept.merge, base, since, operations, limits, rules)
    except LimitExceeded as error:
        raise LookupError("the conflict is beyond the limits now") from error
    found: object = outcome
    if isinstance(outcome, Rebased) and rules.schema is not None and outcome.value is not ABSENT:
        own = apply_operations(base.value, operations, limits)
        found = find_misfit(rules.schema, base, since, own, outcome.value, operations)
    if not isinstance(found, Conflicted | Misfit):
        raise LookupError("the engine no longer finds this conflict")
    return found


def settle(
    theirs: Revision, conflicted: Conflicted | Misfit, choices: Mapping[str, Json], limits: Limits
) -> Json:
    """Turn a choice per conflict into a patch against `theirs`. Raises InvalidValue, TooLarge."""
    try:
        if isinstance(conflicted, Misfit):
            return conflicted.patch(choices)
        return resolve(theirs.value, conflicted, choices)
    except ChoiceError as error:
        raise bad_choice(error) from error
    except LimitExceeded as error:
        raise too_large(error, limits) from error


def merge_conflict(
    document: DocumentKey,
    conflicted: Conflicted | Misfit,
    changes: int,
    base: int,
    since: Sequence[Revision],
    limits: ServiceLimits,
    conflict: str | None,
) -> errors.MergeConflict:
    """Tell the caller about a conflict of an edit of so many `changes`.

    `conflict` is the id it is kept under, None where it is not.
    """
    members = conflict_members(document, conflicted, base, since, limits)
    if conflict is not None:
        members["conflict"] = conflict
    return errors.MergeConflict(_sentence(conflicted, changes, base, since), members)


def carried(
    document: DocumentKey,
    ancestor: Ancestor,
    submitted: Json,
    base: Revision,
    since: Sequence[Revision],
    committed: Revision,
    limits: ServiceLimits,
    policy: Policy | None,
) -> Json:
    """Give an edit that was made on what its author saw after `ancestor` as one made on `committed`.

    Raises MergeConflict and what any patch is refused with.
    """
    try:
        operations = read_patch(submitted, limits.values, extended=True)
        sight = see(ancestor, base, since, committed, policy)
        outcome = carry_over(sight, operations, limits.values, policy)
    except MalformedPatch as error:
        raise malformed(error) from error
    except LimitExceeded as error:
        raise too_large(error, limits.values) from error
    if isinstance(outcome, LimitExceeded):
        raise too_large(outcome, limits.values)
    if isinstance(outcome, Inapplicable):
        raise inapplicable(outcome, operations)
    if isinstance(outcome, Conflicted):
        members = {
            **conflict_members(document, outcome, ancestor.root, (committed,), limits),
            "missed": None,
        }
        raise errors.MergeConflict(
            "The edit overlaps what others did before the one it was made on.", members
        )
    return outcome.patch


def conflict_members(
    document: DocumentKey,
    conflicted: Conflicted | Misfit,
    base: int,
    since: Sequence[Revision],
    limits: ServiceLimits,
    first: int = 0,
) -> dict[str, object]:
    """Give the members of the problem document. `since` leads from the base to the conflict's head.

    A page of the conflicts is shown, from number `first`. What is large is encoded already. Cost:
    about 0.2 ms for each conflict shown, so many of them belong off the event loop.
    """
    shown = conflicted.conflicts[first : first + limits.conflicts_shown_max]
    missed = join_missed(since, limits.missed_revisions_max, limits.missed_bytes_max)
    return {
        "base_revision": base,
        "head_revision": since[-1].n,
        "conflicts_total": len(conflicted.conflicts),
        "conflicts": _raw([_show(document, each, base, since, limits) for each in shown]),
        "clean_operations": list(conflicted.clean_operations),
        "clean_patch": _raw(conflicted.clean_patch),
        "missed": None if missed is None else Raw(missed),
    }


def _raw(value: object) -> Raw:
    return Raw(encode(value))


def _sentence(conflicted: Conflicted | Misfit, changes: int, base: int, since: Sequence[Revision]) -> str:
    if isinstance(conflicted, Misfit):
        return "Merged with what others did, the document would not fit the schema of its collection."
    count = len({operation for each in conflicted.conflicts for operation in each.your_operations})
    first, last = base + 1, since[-1].n
    revisions = f"revision {last}" if first == last else f"revisions {first}-{last}"
    overlap = "overlaps" if count == 1 else "overlap"
    return f"{count} of {changes} {'change' if changes == 1 else 'changes'} {overlap} {revisions}."


def _show(
    document: DocumentKey,
    conflict: Conflict | SchemaConflict,
    base: int,
    since: Sequence[Revision],
    limits: ServiceLimits,
) -> dict[str, object]:
    """Show a conflict: patches of theirs by revision and author, links in place of long values."""
    longest, head = limits.conflict_value_bytes_max, since[-1].n
    shown: dict[str, object] = conflict.as_json()
    del shown["their_patches"]
    shown["base"] = _facet(conflict.base, longest, _link(document, base, conflict.pointer))
    theirs = _facet(conflict.theirs, longest, _link(document, head, conflict.pointer_theirs))
    shown["theirs"] = {**theirs, **_origin(conflict, since)}
    shown["yours"] = _facet(conflict.yours, longest)
    shown["resolutions"] = {
        choice: _unless_long(patch, longest) for choice, patch in conflict.resolutions.items()
    }
    return shown


def _facet(facet: Facet, longest: int, link: str | None = None) -> dict[str, object]:
    """Show what one side has; `link` is where it can be read. What the caller sent is nowhere else."""
    if not facet.present:
        return {"present": False}
    value = _unless_long(facet.value, longest)
    if value is not None:
        return {"present": True, "value": value}
    truncated: dict[str, object] = {"present": True, "truncated": True}
    return truncated if link is None else {**truncated, "link": link}


def _link(document: DocumentKey, revision: int, pointer: str | None) -> str | None:
    if pointer is None:
        return None
    part = f"&pointer={quote(pointer)}" if pointer else ""
    return f"/v1/docs/{document.name}?revision={revision}{part}"


def _unless_long(value: Json, longest: int) -> Raw | None:
    encoded = encode(value)
    return Raw(encoded) if len(encoded) <= longest else None


def _origin(conflict: Conflict | SchemaConflict, since: Sequence[Revision]) -> dict[str, object]:
    """Say which revisions made theirs what it is; author, time and message are the last one's."""
    revisions = [since[index] for index in conflict.their_patches]
    if not revisions:
        return {}
    last = revisions[-1]
    return {
        "revision": last.n,
        "revisions": [revision.n for revision in revisions],
        "author": last.record.author,
        "at": format_moment(last.record.at),
        "message": last.record.message,
    }
