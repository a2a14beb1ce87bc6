"""Documents of a given size and of one shape, and edits of them."""

import math
from typing import Any

from plait_merge import Json, Operation, read_patch

ITEM_BYTES = 110
ITEM_OVERHEAD_BYTES = 43


def document(size: int) -> dict[str, Any]:
    """Make an object of about `size` bytes as JSON: sections, pages, items, members.

    Each container on the way to a leaf, four tokens deep, has at most 21 members (at 1 MB).
    """
    width = width_of(size)
    title = "x" * max(4, size // width**3 - ITEM_OVERHEAD_BYTES)
    return {
        f"s{section:02}": {
            f"p{page:02}": {
                f"i{item:02}": {"title": title, "count": 0, "done": False} for item in range(width)
            }
            for page in range(width)
        }
        for section in range(width)
    }


def width_of(size: int) -> int:
    """Tell how many sections, pages and items a document of that size has."""
    return max(2, round(math.cbrt(size / ITEM_BYTES)))


def pointers(size: int) -> list[str]:
    """List the pointers of every count in such a document, neighbours far apart."""
    width = width_of(size)
    return [
        f"/s{section:02}/p{page:02}/i{item:02}/count"
        for item in range(width)
        for page in range(width)
        for section in range(width)
    ]


def flat(members: int) -> dict[str, Any]:
    """Make one object with so many members."""
    return {f"m{number:05}": 0 for number in range(members)}


def replacing(pointer: str, value: Json) -> dict[str, Any]:
    """Make the operation that sets one place."""
    return {"op": "replace", "path": pointer, "value": value}


def read(patch: list[dict[str, Any]]) -> tuple[Operation, ...]:
    """Make a patch the engine knows already, as the server does once per edit."""
    return read_patch(patch)
