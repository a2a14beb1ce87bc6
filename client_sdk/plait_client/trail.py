"""The last revisions of a document, as operations."""

from __future__ import annotations

from collections import deque
from typing import Final

from plait_client.drift import Operations
from plait_merge import Json

REVISIONS_MAX: Final = 1_000
PARTS_MAX: Final = 200_000
"""So many operations and parts of their values are kept in all; a long text counts as several."""
CHARACTERS_OF_A_PART: Final = 64


class Trail:
    """What led from one revision to the next, up to now; bounded in number and in size."""

    __slots__ = ("_parts", "_steps")

    def __init__(self) -> None:
        self._steps: deque[tuple[int, int, Operations, int]] = deque()
        self._parts = 0

    def append(self, prev: int, revision: int, operations: Operations) -> None:
        """Note that *operations* led from *prev*, the end so far, to *revision*. O(operations, values)."""
        parts = sum([1 + _parts(operation.value) for operation in operations])
        self._steps.append((prev, revision, operations, parts))
        self._parts += parts
        while self._steps and (len(self._steps) > REVISIONS_MAX or self._parts > PARTS_MAX):
            self._parts -= self._steps.popleft()[3]

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


def _parts(value: Json) -> int:
    count, waiting = 0, [value]
    while waiting:
        part = waiting.pop()
        count += 1
        if type(part) is dict:
            waiting.extend(part.values())
        elif type(part) is list:
            waiting.extend(part)
        elif type(part) is str:
            count += len(part) // CHARACTERS_OF_A_PART
    return count
