"""The patch that takes revisions back: an edit against the last of them, which everything later merges with.

What is taken back is known operation by operation, so the inverse is made of the revisions' own patches: what
they moved is moved back, what they removed comes back as it was, and nothing is guessed from values that look
alike. Where those patches are too many, or hold a deletion, the two values are compared instead.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from plait_merge import Json, Limits, compose, diff, invert
from plait_server.service.revision import STORED, Revision, followed
from plait_server.wire import decode

OPERATIONS_MAX: Final = 1_000
REVISIONS_MAX: Final = 100
"""Of more than these the values are compared."""

Patch = list[dict[str, Json]]


def reverse(before: Revision, revisions: Sequence[Revision], limits: Limits) -> Patch:
    """Give the patch, against the last of some revisions, that leads back to `before`, the one before them.

    It may hold `inc`: what they added to a number is taken off again, whatever that comes to by then.
    The last of `revisions` comes with its value; where they are very many, only that one is given.
    Cost: what their patches weigh, or else the size of the document.
    """
    after = revisions[-1]
    if _is_made_of_patches(before, revisions):
        undone, state = [], before
        for each in revisions:
            undone.append(_undo(state.value, each))
            state = followed(state.value, each)
        patch = _in_short(compose(*undone[::-1]))
        if len(patch) <= limits.operations_max:
            return patch
    return diff(after.value, before.value, limits)


def _is_made_of_patches(before: Revision, revisions: Sequence[Revision]) -> bool:
    """Say whether the revisions are all there, and few and plain enough to take them back one by one."""
    return (
        revisions[0].n == before.n + 1
        and all(revision.record.kind == "edit" for revision in revisions)
        and sum(len(revision.operations) for revision in revisions) <= OPERATIONS_MAX
    )


def _in_short(patch: Patch) -> Patch:
    """Leave out what is overwritten later, where nothing but values is set, each in a place of its own."""
    pointers = sorted({operation["path"] for operation in patch})
    if any(operation["op"] != "replace" for operation in patch) or any(
        inner.startswith(f"{outer}/") for outer, inner in pairwise(pointers)
    ):
        return patch
    return list({operation["path"]: operation for operation in patch}.values())


def _undo(before: Json, revision: Revision) -> Patch:
    """Give what takes one revision back."""
    undone = invert(before, [operation.as_json() for operation in revision.operations], STORED)
    added = _added(revision)
    if not added:
        return undone
    return [_take_off(each, added) for each in undone]


def _take_off(undone: dict[str, Json], added: dict[str, Json]) -> dict[str, Json]:
    pointer = undone["path"]
    if undone["op"] != "replace" or pointer not in added:
        return undone
    return {"op": "inc", "path": pointer, "value": -added[pointer]}


def _added(revision: Revision) -> dict[str, Json]:
    """Give what a revision added to numbers, by pointer: where all it did there was one `inc`."""
    submitted = revision.record.submitted
    if submitted is None or b'"inc"' not in submitted:
        return {}
    pointers = [operation.as_json()["path"] for operation in revision.operations]
    return {
        operation["path"]: operation["value"]
        for operation in decode(submitted)
        if operation["op"] == "inc" and pointers.count(operation["path"]) == 1
    }
