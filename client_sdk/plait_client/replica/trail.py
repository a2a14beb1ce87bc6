"""The last revisions of a document, as operations."""

from __future__ import annotations

from collections import deque
from typing import Final

from plait_client.replica.edit import Operations
from plait_client.replica.weight import weight

REVISIONS_MAX: Final = 1_000
WEIGHT_MAX: Final = 500_000
"""So many operations and parts of their values are kept in all."""


class Trail:
    """What led from one revision to the next, up to now; bounded in number and in size."""

    __slots__ = ("_steps", "_weight")

    def __init__(self) -> None:
        self._steps: deque[tuple[int, int, Operations, int]] = deque()
        self._weight = 0

    def append(self, prev: int, revision: int, operations: Operations) -> None:
        """Note that *operations* led from *prev*, the end so far, to *revision*. O(operations, values)."""
        weighs = weight(operations)
        self._steps.append((prev, revision, operations, weighs))
        self._weight += weighs
        while self._steps and (len(self._steps) > REVISIONS_MAX or self._weight > WEIGHT_MAX):
            self._weight -= self._steps.popleft()[3]

    def since(self, revision: int) -> Operations | None:
        """Give what leads from a revision to the end; None where that is forgotten, or was never one step."""
        steps: list[Operations] = []
        for prev, upto, operations, _ in reversed(self._steps):
            if upto <= revision:
                break
            steps.append(operations)
            if prev == revision:
                return tuple([operation for step in reversed(steps) for operation in step])
        return None
