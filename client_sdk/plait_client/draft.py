"""What comes from the program: copies of a document to change at will, and copies that nobody can change."""

from __future__ import annotations

from plait_client.errors import InvalidPatch, TestFailed
from plait_client.replica.edit import Patch
from plait_merge import (
    ABSENT,
    Inapplicable,
    InvalidValue,
    Json,
    LimitExceeded,
    MalformedPatch,
    check_value,
    diff,
    read_patch,
)

UNFIT = (Inapplicable, InvalidValue, LimitExceeded, MalformedPatch)


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


def own_value(value: Json) -> Json:
    """Give a copy of a value that the program goes on holding. Raises InvalidPatch for what is no JSON."""
    try:
        check_value(value)
    except UNFIT as error:
        raise unfit(error) from error
    return draft_of(value)


def own_patch(patch: Patch, *, extended: bool = False) -> Patch:
    """Give a copy of a patch that the program goes on holding. Raises InvalidPatch for what is none.

    A patch that takes the whole document away is none: deleting is an act of its own. `extended` takes `inc`,
    where the server decides alone what becomes of the document.
    """
    try:
        operations = read_patch(patch, extended=extended)
    except UNFIT as error:
        raise unfit(error) from error
    if any(operation.op == "remove" and not operation.path for operation in operations):
        raise InvalidPatch("A patch cannot remove the document: delete it.")
    return [
        operation.as_json()
        if operation.value is ABSENT
        else operation._replace(value=own_value(operation.value)).as_json()
        for operation in operations
    ]


def changed(view: Json, draft: Json) -> Patch:
    """Give what was changed in a draft, as a patch that is nobody else's. Raises InvalidPatch."""
    if draft is ABSENT:
        raise InvalidPatch("An edit cannot remove the document: delete it.")
    try:
        patch = diff(view, draft)
    except (LimitExceeded, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise InvalidPatch(f"That is no JSON value for a document: {error}.") from error
    for operation in patch:
        if "value" in operation:
            operation["value"] = own_value(operation["value"])
    return patch


def unfit(error: Exception) -> InvalidPatch | TestFailed:
    """Say what is wrong with an edit that was not even sent."""
    if isinstance(error, Inapplicable) and error.reason == "test":
        return TestFailed(f"The value at {error.pointer!r} is another one.")
    return InvalidPatch(f"The edit does not fit: {error}.")
