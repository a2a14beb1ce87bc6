"""The short road of merging whole values: each side set other fields of objects, and that is all.

Where theirs and yours differ, all three have a scalar in an object, and one side left it as it is in base.
So nothing has moved, no array has to be aligned, and base is looked at nowhere else: what both sides have
alike is right whoever made it. The long road (merge.py) answers the same.
"""

from __future__ import annotations

from plait_merge.outcome import Merged, Patch
from plait_merge.pointer import Tokens, format_pointer
from plait_merge.sameness import Sameness
from plait_merge.values import ABSENT, Absent, Json, same


def merge_fields(
    base: Json | Absent, theirs: Json | Absent, yours: Json | Absent, depth_max: int
) -> Merged | None:
    """Merge three objects of which each side set other fields; None where that is not all they did.

    One comparison of theirs with yours, at the speed of C. Values are shared with theirs and yours.
    """
    if not type(base) is type(theirs) is type(yours) is dict:
        return None
    fields = _Fields(depth_max)
    try:
        merged = fields.merge(base, theirs, yours, ())
        # As in theirs and as in yours: these two are equal in Python's sense; are they in that of JSON?
        if merged is None or not Sameness().confirm(*merged):
            return None
    except RecursionError:
        return None
    return Merged(merged[0], fields.patch)


class _Fields:
    """One such merge, and what yours set so far."""

    def __init__(self, depth_max: int) -> None:
        self.patch: Patch = []
        self._depth_max = depth_max

    def merge(
        self, base: dict[str, Json], theirs: dict[str, Json], yours: dict[str, Json], path: Tokens
    ) -> tuple[dict[str, Json], dict[str, Json]] | None:
        """Give theirs with what yours set, and yours with what theirs set."""
        get = yours.get
        names = [name for name, here in theirs.items() if here != get(name, ABSENT)]
        if len(theirs) != len(yours) or len(path) >= self._depth_max:
            return None
        merged, other = theirs.copy(), yours.copy()
        for name in names:
            old, here, there = base.get(name, ABSENT), theirs[name], get(name, ABSENT)
            if type(old) is type(here) is type(there) is dict:
                parts = self.merge(old, here, there, (*path, name))
                if parts is None:
                    return None
                merged[name], other[name] = parts
            elif not _OTHERS.isdisjoint((type(old), type(here), type(there))):
                return None
            elif same(old, here):
                merged[name] = there
                self.patch.append({"op": "replace", "path": format_pointer((*path, name)), "value": there})
            elif same(old, there):
                other[name] = here
            else:
                return None
        return merged, other


_OTHERS = {dict, list, Absent}
