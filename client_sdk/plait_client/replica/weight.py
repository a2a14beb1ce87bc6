"""How much there is in operations, so that what is kept of them and done with them can be bounded."""

from __future__ import annotations

from typing import Final

from plait_client.replica.edit import Operations
from plait_merge import Json

OPERATION_PARTS: Final = 16
"""What an operation counts besides its value: looking at it costs about as much as so many parts."""
CHARACTERS_OF_A_PART: Final = 64


def weight(operations: Operations) -> int:
    """Count the parts of all values, and each operation as OPERATION_PARTS. O(values)."""
    return sum([OPERATION_PARTS + _parts(operation.value) for operation in operations])


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
