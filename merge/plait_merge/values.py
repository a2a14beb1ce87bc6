"""JSON values: what is absent, what is the same, what is within limits.

A value is exactly what a JSON parser makes: `dict` with `str` names, `list`, `str`, `int`, `float`, `bool`,
`None`, no subclasses. Values are shared freely between documents and patches, so nobody may change one in
place. Nothing here recurses: a hostile value costs time in proportion to its size, never the stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, TypeAlias, final

from plait_merge.pointer import Tokens, format_pointer

Json: TypeAlias = Any
"""A JSON value, or ABSENT where a signature says so.

Not a recursive union: `dict` and `list` are invariant, so a checker would refuse `dict[str, int]` for it.
"""


@final
class Absent:
    """The type of ABSENT: nothing is there, which is not null. Falsy, and one object for ever."""

    __slots__ = ()
    _only: Absent | None = None

    def __new__(cls) -> Absent:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "ABSENT"

    def __copy__(self) -> Absent:
        return self

    def __deepcopy__(self, memo: object) -> Absent:
        return self

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Limits:
    """The most a stranger may hand in; what a limit is called in errors is its name here without `_max`."""

    depth_max: int = 64
    operations_max: int = 10_000
    pointer_bytes_max: int = 4096
    integer_digits_max: int = 1000
    copied_bytes_max: int = 1_048_576
    value_bytes_max: int = 4_194_304


LIMITS: Final = Limits()

BOUNDLESS: Final = Limits(*[2**62] * len(Limits.__slots__))
"""For what is known to be within the limits that hold, whatever they are."""


class LimitExceeded(Exception):
    """A limit is passed at a pointer. Raised by `apply` and the checks, returned by `rebase`."""

    def __init__(self, limit: str, pointer: str = "") -> None:
        super().__init__(limit, pointer)
        self.limit = limit
        self.pointer = pointer

    def __str__(self) -> str:
        return f"limit {self.limit} exceeded at {self.pointer!r}"


class InvalidValue(Exception):
    """Something that is not a JSON value stands at a pointer."""

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(pointer, reason)
        self.pointer = pointer
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason} at {self.pointer!r}"


def same(a: Json, b: Json) -> bool:
    """Tell whether two values are equal as JSON; ABSENT is the same as itself only.

    A bool is never a number, numbers compare by exact value (`1 == 1.0`, `-0 == 0`), members have no order.
    Costs nothing where the two share references, else the size of what is equal up to the first difference.
    """
    if a is b:
        return True
    kind = type(a)
    if kind is str:
        return type(b) is str and bool(a == b)
    if kind is dict or kind is list:
        return type(b) is kind and _same_containers(a, b)
    return _same_scalars(a, b)


def _same_containers(a: Json, b: Json) -> bool:
    """Compare two containers of one kind: the scalars in them first, containers inside them later.

    The two loops are one written twice: a shared one takes a third longer.
    """
    waiting = [(a, b)]
    while waiting:
        left, right = waiting.pop()
        if len(left) != len(right):
            return False
        if type(left) is dict:
            for name, x in left.items():
                y = right.get(name, ABSENT)
                if x is y:
                    continue
                kind = type(x)
                if kind is not type(y):
                    if not _same_scalars(x, y):
                        return False
                elif kind is dict or kind is list:
                    waiting.append((x, y))
                elif x != y:
                    return False
        else:
            for x, y in zip(left, right, strict=True):
                if x is y:
                    continue
                kind = type(x)
                if kind is not type(y):
                    if not _same_scalars(x, y):
                        return False
                elif kind is dict or kind is list:
                    waiting.append((x, y))
                elif x != y:
                    return False
    return True


def _same_scalars(a: Json, b: Json) -> bool:
    """Compare two values that are not one object, nor strings, nor containers of one kind."""
    kind, other = type(a), type(b)
    return (kind is int or kind is float) and (other is int or other is float) and bool(a == b)


def find(value: Json, path: Tokens) -> Json:
    """Give what is at *path* in *value*, ABSENT if nothing is; array indices are taken for well written."""
    try:
        for token in path:
            value = value[token] if type(value) is dict else value[int(token)]
    except (KeyError, IndexError, ValueError, TypeError):
        return ABSENT
    return value


def check_value(value: Json, limits: Limits = LIMITS, pointer: str = "") -> None:
    """Refuse what is not JSON, or is deeper or has longer integers than the limits allow.

    `pointer` is where the value stands, for the error; depth is counted from the value itself: a scalar has
    none, each container around it adds one. ABSENT is no value. Raises InvalidValue or LimitExceeded.
    """
    # The value itself stands in an invisible list, so that a scalar needs no road of its own.
    waiting: list[tuple[Json, int, _Where]] = [([value], 0, None)]
    while waiting:
        container, depth, where = waiting.pop()
        if depth > limits.depth_max:
            raise LimitExceeded("depth", pointer + _pointer(where))
        named = type(container) is dict
        for name, part in container.items() if named else enumerate(container):
            if named and not (type(name) is str and (name.isascii() or _is_unicode(name))):
                raise InvalidValue(pointer + _pointer(where), _name_fault(name))
            kind = type(part)
            if kind is dict or kind is list:
                waiting.append((part, depth + 1, (where, name)))
            elif kind is str:
                if not (part.isascii() or _is_unicode(part)):
                    raise InvalidValue(pointer + _pointer((where, name)), "string has a lone surrogate")
            elif kind is int:
                # A cheap bound first: 10 ** d has more than 3 * d bits.
                digits = limits.integer_digits_max
                if part.bit_length() > 3 * digits and abs(part) >= 10**digits:
                    raise LimitExceeded("integer_digits", pointer + _pointer((where, name)))
            elif kind is float:
                if not isfinite(part):
                    raise InvalidValue(pointer + _pointer((where, name)), "number is not finite")
            elif part is not None and kind is not bool:
                reason = f"{kind.__name__} is not a JSON type"
                raise InvalidValue(pointer + _pointer((where, name)), reason)


# The way to a part, as (the way to the container it is in, its name or index there); the invisible list
# has none. It becomes a pointer only when there is something to complain about.
_Where: TypeAlias = "tuple[_Where, str | int] | None"


def _pointer(where: _Where) -> str:
    tokens: list[str] = []
    while where is not None:
        where, name = where
        tokens.append(str(name))
    return format_pointer(tokens[-2::-1])


def _is_unicode(text: str) -> bool:
    """Tell whether a string has a UTF-8 form, which lone surrogates have not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name_fault(name: object) -> str:
    """Say what is wrong with a member name."""
    if type(name) is str:
        return "member name has a lone surrogate"
    return f"member name is a {type(name).__name__}, not a string"


def has_more_parts(value: Json, parts: int) -> bool:
    """Tell whether a value has more than `parts` members and elements in all. Costs no more than that."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if type(part) is dict or type(part) is list:
            parts -= len(part)
            if parts < 0:
                return True
            waiting.extend(part.values() if type(part) is dict else part)
    return False


def is_within_depth(value: Json, depth: int) -> bool:
    """Tell whether no more than `depth` containers of the value stand inside one another."""
    level = [value] if type(value) is dict or type(value) is list else []
    while level:
        if depth <= 0:
            return False
        depth -= 1
        level = [
            part
            for container in level
            for part in (container.values() if type(container) is dict else container)
            if type(part) is dict or type(part) is list
        ]
    return True
