"""What the engine refuses, in words a person understands and members a program reads."""

from collections.abc import Sequence
from typing import Final

from plait_merge import (
    ABSENT,
    Absent,
    ChoiceError,
    Inapplicable,
    Json,
    LimitExceeded,
    Limits,
    MalformedPatch,
    Operation,
    array_index,
    format_pointer,
    parse_pointer,
)
from plait_server import errors
from plait_server.service.schema import Violation
from plait_server.wire import encode

POINTER_CHARACTERS_MAX = 100
"""Longer pointers are cut in a sentence; the member beside it has the whole."""
FOUND_BYTES_MAX = 1_000
FOUND_PARTS_MAX = 100
"""What is found is shown up to here, and only described beyond."""


def malformed(error: MalformedPatch) -> errors.MalformedPatch:
    """Refuse what is no patch."""
    members = None if error.operation is None else {"operation": error.operation}
    return errors.MalformedPatch(_sentence(str(error)), members)


def bad_choice(error: ChoiceError) -> errors.InvalidValue:
    """Refuse a choice that cannot be made."""
    return errors.InvalidValue(_sentence(str(error)), {"conflict": error.conflict})


def too_large(error: LimitExceeded, limits: Limits) -> errors.TooLarge:
    """Refuse what passes a limit of the engine."""
    maximum = getattr(limits, f"{error.limit}_max")
    detail = _TOO_LARGE[error.limit].format(maximum)
    return errors.TooLarge(detail, {"limit": error.limit, "maximum": maximum, "pointer": error.pointer})


_TOO_LARGE: Final = {
    "depth": "The document would be nested deeper than {} levels.",
    "operations": "The patch has more than {} operations.",
    "pointer_bytes": "A pointer is longer than {} bytes.",
    "integer_digits": "An integer has more than {} digits.",
    "copied_bytes": "The copies a patch makes would add more than {} bytes.",
    "value_bytes": "A value is larger than {} bytes.",
}


def inapplicable(error: Inapplicable, operations: Sequence[Operation]) -> errors.PlaitServerError:
    """Refuse a patch that does not fit its base; TestFailed where a `test` is false there."""
    number, operation = error.operation, operations[error.operation]
    detail = f"Operation {number} ({_named(operation)}): {_obstacle(error, operation)}."
    members = {
        "operation": number,
        "pointer": error.pointer,
        "reason": error.reason,
        "found": show(error.found),
    }
    refusal = errors.TestFailed if error.reason == "test" else errors.PatchInapplicable
    return refusal(detail, members)


def violated(violations: Sequence[Violation]) -> errors.SchemaViolation:
    """Refuse what does not fit the schema of its collection."""
    return errors.SchemaViolation(
        "The document would not fit the schema of its collection.",
        {"errors": [violation.as_json() for violation in violations]},
    )


def _named(operation: Operation) -> str:
    path = _cut(format_pointer(operation.path))
    if operation.source is None:
        return f"{operation.op} {path}"
    return f"{operation.op} {_cut(format_pointer(operation.source))} to {path}"


def _cut(pointer: str) -> str:
    if not pointer:
        return "the document"
    return pointer if len(pointer) <= POINTER_CHARACTERS_MAX else pointer[:POINTER_CHARACTERS_MAX] + "…"


def _obstacle(error: Inapplicable, operation: Operation) -> str:
    """Say what is in the way, as the second half of a sentence."""
    match error.reason:
        case "test":
            return "the value there is another one"
        case "index":
            return _bounds(error)
        case "no-container":
            return f"on the way there is {_kind(error.found)}, which has no parts"
        case "into-itself":
            return "nothing can be moved into a part of itself"
        case "unsupported":
            return f"{operation.op} is no operation of plain JSON Patch; Plait's own media type takes it"
        case "type":
            return f"what is there is {_kind(error.found)}, and only numbers are added up"
        case "range":
            return "the sum would be no finite number"
        case _:
            return _absence(error, operation)


def _bounds(error: Inapplicable) -> str:
    """Say what is wrong with an index; which token of the pointer it is does not matter for that."""
    count = len(error.found)
    indices = [array_index(token) for token in parse_pointer(error.pointer)]
    size = f"the array there has {count or 'no'} {'element' if count == 1 else 'elements'}"
    if any(index is not None and index >= count for index in indices):
        return size
    return f"{size}, and an element is named by its number"


def _absence(error: Inapplicable, operation: Operation) -> str:
    if error.found is ABSENT:
        return "there is no document"
    if operation.op in ("add", "move", "copy") and error.pointer == format_pointer(operation.path):
        return "there is no object or array to put it in"
    return f"there is nothing at {_cut(error.pointer)}"


def _kind(found: Json | Absent) -> str:
    match found:
        case None:
            return "null"
        case bool():
            return "true" if found else "false"
        case str():
            return "a string"
        case dict():
            return "an object"
        case list():
            return "an array"
        case _:
            return "a number"


def show(found: Json | Absent) -> dict[str, object]:
    """Show what is there; what is long is described by its kind and size."""
    if found is ABSENT:
        return {"present": False}
    kind, size = _measure(found)
    if size <= FOUND_PARTS_MAX and len(encode(found)) <= FOUND_BYTES_MAX:
        return {"present": True, "value": found}
    return {"present": True, "truncated": True, **kind}


def _measure(found: Json) -> tuple[dict[str, object], int]:
    match found:
        case dict():
            return {"kind": "object", "members": len(found)}, len(found)
        case list():
            return {"kind": "array", "elements": len(found)}, len(found)
        case str():
            return {"kind": "string", "characters": len(found)}, len(found) // FOUND_BYTES_MAX
        case _:
            return {"kind": "number"}, 0


def _sentence(words: str) -> str:
    """Make a sentence of the engine's words."""
    return f"{words[0].upper()}{words[1:].removesuffix('.')}."
