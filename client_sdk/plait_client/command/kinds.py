"""Where a merge stopped and what happened there, in words."""

from __future__ import annotations

from collections.abc import Iterable

from plait_merge import Conflict


def listed(places: Iterable[str]) -> str:
    """List the first few places, and say how many more there are."""
    first = list(places)
    more = [f"{len(first) - _LISTED_MAX} more"] if len(first) > _LISTED_MAX else []
    return ", ".join(first[:_LISTED_MAX] + more)


_LISTED_MAX = 3


def place(conflict: Conflict) -> str:
    """Say where it is; of a long pointer the end."""
    pointer = conflict.pointer or "the whole document"
    return pointer if len(pointer) <= _PLACE_MAX else "…" + pointer[1 - _PLACE_MAX :]


_PLACE_MAX = 60


def what_happened(conflict: Conflict) -> str:
    """Say what the two sides did, from your side."""
    removed = _REMOVED if conflict.yours.present else _REMOVED_BY_YOU
    return removed.get(conflict.kind) or _WORDS.get(conflict.kind, conflict.kind)


_WORDS = {
    "guard": "a value that was tested is another one now",
    "cycle": "each side moved one of two things into the other",
    "move_move": "moved to two different places",
    "replace_edit": "replaced by one side, edited inside by the other",
    "edit_edit": "changed differently by both",
    "add_add": "added differently by both",
    "duplicate_key": "two elements with one key",
    "order": "put in two different orders",
    "schema": "the merged value breaks the schema",
    "text": "this text changed at one place by both",
}
_REMOVED = {
    "remove_edit": "removed by theirs, edited by you",
    "move_remove": "removed by theirs, moved by you",
}
_REMOVED_BY_YOU = {
    "remove_edit": "removed by you, edited by theirs",
    "move_remove": "removed by you, moved by theirs",
}
