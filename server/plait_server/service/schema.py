"""JSON Schemas (draft 2020-12) of collections: read once with suspicion, then asked for every change.

Nothing is ever fetched; patterns run on an engine without backtracking; what a schema may cost is measured
before it is used (`workload`).
"""

import re
from collections.abc import Hashable, Sequence
from typing import Any, Final

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError
from msgspec import Struct

from plait_merge import Json, format_pointer
from plait_merge.pointer import pointer_order
from plait_server.service.workload import SchemaError, Workload, measure
from plait_server.wire import encode

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
VIOLATIONS_MAX: Final = 20
DETAIL_CHARACTERS_MAX: Final = 300
PATTERN_BYTES_MAX: Final = 1_048_576
"""What one compiled pattern may take."""
LISTED_WORK_MAX: Final = 400_000
"""Checks times bytes: beyond, not every violation is looked for, which could take seconds."""
NUMBERS_US_MAX: Final = 1_000_000
"""What comparing the long integers of a document may take, in microseconds."""
TOO_LARGE: Final = "The document does not fit the schema. It is too large to say where."

TOO_LONG: Final = "The document has too many long integers to be checked."
NOT_UNIQUE: Final = "This has equal elements"

_LONG_INTEGER: Final = re.compile(rb"[0-9]{20,}")


class Violation(Struct, frozen=True):
    """A place of a document that does not fit, and why, as a sentence."""

    pointer: str
    detail: str

    def as_json(self) -> dict[str, str]:
        return {"detail": self.detail, "pointer": self.pointer}


class Schema:
    """A compiled schema."""

    __slots__ = ("_validator", "_workload")

    def __init__(self, validator: Draft202012Validator, workload: Workload) -> None:
        self._validator = validator
        self._workload = workload

    def violations(self, value: Json) -> Sequence[Violation]:
        """Say where a document does not fit, by place; nothing where it does.

        The process stands still meanwhile. Cost: a document that fits, microseconds per kilobyte.
        """
        body = encode(value)
        if _comparing_takes_us(body) * self._workload.checks > NUMBERS_US_MAX:
            return (Violation("", TOO_LONG),)
        if self._validator.is_valid(value):
            return ()
        if self._workload.checks * len(body) <= LISTED_WORK_MAX:
            found = list({_violation(error): None for error in self._validator.iter_errors(value)})
        elif self._workload.branches:
            return (Violation("", TOO_LARGE),)
        else:
            found = [_first(self._validator, value)]
        found.sort(key=lambda each: (pointer_order(each.pointer.split("/")[1:]), each.detail))
        return found[:VIOLATIONS_MAX]


def read_schema(schema: Json, depth_max: int) -> Schema:
    """Compile a schema for documents so deep at most. Raises SchemaError."""
    if not isinstance(schema, dict | bool):
        raise SchemaError("", "a schema is an object, true or false")
    if isinstance(schema, dict) and str(schema.get("$schema", DIALECT)).removesuffix("#") != DIALECT:
        raise SchemaError("/$schema", f"the schema has to be one of {DIALECT}")
    try:
        validator = Draft202012Validator(
            schema,
            offline=True,
            mask="this",
            validate_formats=True,
            keywords={"uniqueItems": UniqueItems},
            pattern_options=RegexOptions(size_limit=PATTERN_BYTES_MAX, dfa_size_limit=PATTERN_BYTES_MAX),
        )
    except ValidationError as error:
        raise SchemaError(_pointer(error), _detail(error.message)) from None
    except ValueError as error:
        raise SchemaError("", _detail(str(error))) from None
    return Schema(validator, measure(schema, depth_max))


class UniqueItems:
    """The keyword of that name. The validator's own compares each two of the elements it cannot hash."""

    def __init__(self, schema: dict[str, Any], value: object, path: list[str | int]) -> None:
        self._holds = value is True

    def validate(self, instance: Any) -> None:
        if self._holds and type(instance) is list and len(set(map(_hashable, instance))) < len(instance):
            raise ValueError(NOT_UNIQUE)


def _hashable(value: Json) -> Hashable:
    """Give something that is equal where two values are: 1 and 1.0 are, true and 1 are not.

    Numbers as text, whose hash nobody can foresee: many numbers may be made that share a hash.
    """
    kind = type(value)
    if value is None or isinstance(value, str):
        return value
    if kind is list:
        return ("array", *map(_hashable, value))
    if kind is dict:
        return ("object", frozenset([(name, _hashable(each)) for name, each in value.items()]))
    if kind is float and value.is_integer():
        value = int(value)
    return (value,) if kind is bool else (repr(value),)


def _comparing_takes_us(body: bytes) -> float:
    """Say about how long it takes to compare each long integer with another number once."""
    return sum(0.5 + len(digits) ** 2 / 15_000 for digits in _LONG_INTEGER.findall(body))


def _first(validator: Draft202012Validator, value: Json) -> Violation:
    try:
        validator.validate(value)
    except ValidationError as error:
        return _violation(error)
    return Violation("", TOO_LARGE)


def _violation(error: ValidationError) -> Violation:
    return Violation(_pointer(error), _detail(error.message))


def _pointer(error: ValidationError) -> str:
    return format_pointer([str(token) for token in error.instance_path])


def _detail(message: str) -> str:
    message = message.partition("\n")[0]
    if len(message) > DETAIL_CHARACTERS_MAX:
        message = message[:DETAIL_CHARACTERS_MAX] + "…"
    return f"{message[:1].upper()}{message[1:].removesuffix('.')}."
