"""JSON merge patches (RFC 7396): an object that looks like what it changes."""

from __future__ import annotations

from plait_merge.values import Json


def merge_patch(target: Json, patch: Json) -> Json:
    """Apply an RFC 7396 merge patch to a target, which may be ABSENT, and give the new value.

    Members of the patch that are null remove, objects merge, everything else replaces. Neither the target nor
    the patch is changed; what the patch does not name stays shared with the target, and arrays and scalars of
    the patch are shared with it. Costs the size of the patch and the widths of the objects it goes into.
    """
    if type(patch) is not dict:
        return patch
    merged = _copy(target)
    waiting = [(merged, patch)]
    while waiting:
        members, changes = waiting.pop()
        for name, change in changes.items():
            if change is None:
                members.pop(name, None)
            elif type(change) is dict:
                members[name] = inner = _copy(members.get(name))
                waiting.append((inner, change))
            else:
                members[name] = change
    return merged


def _copy(target: Json) -> dict[str, Json]:
    """Copy the members of an object; anything else has none to keep."""
    return target.copy() if type(target) is dict else {}
