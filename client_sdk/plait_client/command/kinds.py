"""What happened where a merge stopped, in words."""

from __future__ import annotations

from plait_merge import Conflict


def in_words(conflict: Conflict) -> str:
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
