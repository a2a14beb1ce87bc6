"""Undo and redo of one's own edits: the inverse of an edit, rebased over everything that came after it."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from plait_client.replica.drift import ACCEPTED, between
from plait_client.replica.edit import Patch
from plait_merge import (
    Absent,
    Conflicted,
    Inapplicable,
    Json,
    LimitExceeded,
    Rebased,
    apply,
    invert,
    rebase,
)

UNDO_EDITS_MAX: Final = 100
"""Older edits of one's own cannot be undone step by step; they are in the history."""


@dataclass(frozen=True, slots=True)
class Done:
    """An edit of one's own: `patch` as it was made on `before`."""

    key: str
    before: Json | Absent
    patch: Patch

    @property
    def after(self) -> Json | Absent:
        """What the edit made of it."""
        return apply(self.before, self.patch, ACCEPTED)

    def inverse(self) -> Patch:
        """Give what takes the edit back, made on `after`."""
        return invert(self.before, self.patch, ACCEPTED)

    def inverse_on(self, shown: Json | Absent) -> Rebased | Conflicted | Inapplicable | LimitExceeded:
        """Take the edit back in what is shown now, keeping everything that was done since.

        What was done since is worked out by `diff`; parts nobody touched are shared and cost nothing.
        """
        after = self.after
        return rebase(after, [between(after, shown)], self.inverse())


class UndoStack:
    """What can be undone and redone, newest last. A new edit empties what could be redone.

    An edit that came to nothing after all is forgotten, and what it took back stands again.
    """

    def __init__(self) -> None:
        self.undoable: deque[Done] = deque(maxlen=UNDO_EDITS_MAX)
        self.redoable: deque[Done] = deque(maxlen=UNDO_EDITS_MAX)

    def did(self, done: Done) -> None:
        """Note a new edit."""
        self.undoable.append(done)
        self.redoable.clear()

    def took_back(self, taken: Done, done: Done) -> None:
        """Note that what was done last, or undone last, was taken back by `done`."""
        if self.undoable and self.undoable[-1] is taken:
            self.redoable.append(done)
            self.undoable.pop()
        else:
            self.undoable.append(done)
            self.redoable.pop()

    def forget(self, done: Done, taken: Done | None = None) -> None:
        """An edit came to nothing; `taken` is what it was to take back, or to make again."""
        for stack, other in ((self.undoable, self.redoable), (self.redoable, self.undoable)):
            with suppress(ValueError):
                stack.remove(done)
                if taken is not None:
                    other.append(taken)
