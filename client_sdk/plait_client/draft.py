"""A plain copy of a document to change at will."""

from __future__ import annotations

from plait_merge import Json


def draft_of(value: Json) -> Json:
    """Copy containers, share what is in them: O(containers and members).

    A document that came from a server is at most as deep as its limit, so the stack is no worry.
    """
    if type(value) is dict:
        return {
            name: draft_of(part) if type(part) is dict or type(part) is list else part
            for name, part in value.items()
        }
    if type(value) is list:
        return [draft_of(part) if type(part) is dict or type(part) is list else part for part in value]
    return value
