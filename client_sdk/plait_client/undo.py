"""Undo and redo of one's own edits: the inverse of an edit, rebased over everything that came after it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from plait_merge import (
    Absent,
    Conflicted,
    Inapplicable,
    Json,
    LimitExceeded,
    Rebased,
    apply,
    diff,
    invert,
    rebase,
)
from plait_merge.outcome import Patch

UNDO_EDITS_MAX: Final = 100
"""Older edits of one's own cannot be undone step by step; they are in the history."""


@dataclass(frozen=True, slots=True)
class Done:
    """An edit of one's own: `patch` as it was made on `before`."""

    before: Json | Absent
    patch: Patch

    def inverse_on(self, shown: Json | Absent) -> Rebased | Conflicted | Inapplicable | LimitExceeded:
        """Take the edit back in what is shown now, keeping everything that was done since.

        What was done since is worked out by `diff`; parts nobody touched are shared and cost nothing.
        """
        after = apply(self.before, self.patch)
        return rebase(after, [diff(after, shown)], invert(self.before, self.patch))


class UndoStack:
    """What can be undone and redone, newest last. A new edit empties what could be redone."""

    def __init__(self) -> None:
        self.undoable: deque[Done] = deque(maxlen=UNDO_EDITS_MAX)
        self.redoable: deque[Done] = deque(maxlen=UNDO_EDITS_MAX)

    def did(self, done: Done) -> None:
        self.undoable.append(done)
        self.redoable.clear()
