"""What can be made of patches themselves: the patch that takes one back, several as one, one that insists."""

from __future__ import annotations

from typing import Any, TypeAlias

from plait_merge.effect import Act, Effects
from plait_merge.patch import Operation, Replay, apply_operations, read_patch
from plait_merge.pointer import Tokens, format_pointer
from plait_merge.strand import YOURS, Strand, base_tokens, weft
from plait_merge.values import ABSENT, LIMITS, Json, Limits

Patch: TypeAlias = list[dict[str, Any]]


def invert(before: Json, patch: Patch, limits: Limits = LIMITS) -> Patch:
    """Give the patch that takes *patch*, made on *before*, back: applied after it, it gives *before* again.

    It is inverse operation by operation, so that things keep their identity: a move is moved back, an edit
    edited back, what was removed is added again as it was. A `test` leaves nothing. Only the order of members
    is not restored. Up to three operations for one; values are shared with *before* and *patch*. Costs twice
    what `apply` does, and raises the same.
    """
    operations = read_patch(patch, limits)
    apply_operations(before, operations, limits)
    replay = Replay(before)
    return [undo for undone in reversed([_undo(replay, o) for o in operations]) for undo in undone]


def compose(*patches: Patch) -> Patch:
    """Give one patch that does what all of them do, one after the other."""
    return [operation for patch in patches for operation in patch]


def guarded(before: Json, patch: Patch, limits: Limits = LIMITS) -> Patch:
    """Give *patch* with a `test` in front for each value of *before* that it removes or overwrites.

    Rebased, such a patch is refused where the other side changed any of them. What it only moves or adds to
    is not tested. O(operations x depth) and the widths on the way; raises as `apply` does.
    """
    operations = read_patch(patch, limits)
    apply_operations(before, operations, limits)
    strand = Strand(weft(before), YOURS)
    strand.replay(operations)
    lost = [e.node for e in Effects(strand).all if e.act is Act.DEAD or e.act is Act.CONTENT]
    return [*({"op": "test", "path": format_pointer(base_tokens(n)), "value": n.raw} for n in lost), *patch]


def _undo(replay: Replay, operation: Operation) -> Patch:
    """Make one operation, and give what takes it back."""
    if operation.op == "move":
        return _undo_move(replay, operation)
    op, path = operation.op, operation.path
    if op == "test":
        return []
    old, is_element = replay.find(path), False
    if op == "add" or op == "copy":
        path, is_element = _landing(replay, path)
    replay.step(operation)
    if op == "remove":
        return [_add(path, old)]
    return [_remove(path) if is_element or old is ABSENT else _replace(path, old)]


def _undo_move(replay: Replay, operation: Operation) -> Patch:
    source = operation.source
    assert source is not None
    if source == operation.path:
        return []
    if operation.path == ():
        return _undo_rise(replay, operation)
    is_member = type(replay.find(source[:-1])) is dict
    value = replay.take(source)
    path, is_element = _landing(replay, operation.path)
    old = replay.find(path)
    replay.put(path, value)
    if path == source:
        return []
    came_out_of_it = source[: len(path)] == path
    if is_element and came_out_of_it:
        # What held it stands behind it now, and nothing is moved to a place "in itself": they swap first.
        behind = (*path[:-1], str(int(path[-1]) + 1))
        return [_move(path, behind), _move(behind, source)]
    if is_element or old is ABSENT:
        return [_move(path, source)]
    if is_member and not came_out_of_it:
        return [_move(path, source), _add(path, old)]
    aside = _spare(replay, path)
    return [_move(path, aside), _add(path, old), _move(aside, source)]


def _undo_rise(replay: Replay, operation: Operation) -> Patch:
    """Undo the move of a part over the whole document, beside which there is no place to move it aside."""
    whole = replay.find(())
    replay.freeze()
    replay.step(operation)
    return [_replace((), whole)]


def _landing(replay: Replay, path: Tokens) -> tuple[Tokens, bool]:
    """Say where something put at a path comes to be ("-" as an index), and whether among elements."""
    around = replay.find(path[:-1]) if path else ABSENT
    if type(around) is not list:
        return path, False
    return ((*path[:-1], str(len(around))) if path[-1] == "-" else path), True


def _spare(replay: Replay, path: Tokens) -> Tokens:
    """Give a member beside a path at which nothing is."""
    around = replay.find(path[:-1])
    name = path[-1] + "~"
    while name in around:
        name += "~"
    return (*path[:-1], name)


def _add(path: Tokens, value: Json) -> dict[str, Json]:
    return {"op": "add", "path": format_pointer(path), "value": value}


def _remove(path: Tokens) -> dict[str, Json]:
    return {"op": "remove", "path": format_pointer(path)}


def _replace(path: Tokens, value: Json) -> dict[str, Json]:
    return {"op": "replace", "path": format_pointer(path), "value": value}


def _move(source: Tokens, path: Tokens) -> dict[str, Json]:
    return {"op": "move", "from": format_pointer(source), "path": format_pointer(path)}
