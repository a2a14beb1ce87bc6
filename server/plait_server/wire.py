"""JSON as it crosses the wire: strict on the way in, compact on the way out.

`parse` is the door for what strangers send; `decode` reads back what this server wrote itself.
msgspec does the work and already refuses NaN, Infinity, numbers beyond a double, lone surrogates
and broken UTF-8; integers stay exact. What it lets through (depth, very long integers, repeated
member names) is looked for here on the raw bytes, so that an ordinary edit pays about a
microsecond for it and nothing is walked in Python.
"""

import json
import re
from itertools import accumulate

import msgspec

from plait_merge.values import Json

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""One level down, and one up: -1, as a signed byte."""
_STEPS_AT_ONCE = 65_536
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


class MalformedJson(ValueError):
    """The bytes are not JSON. The message is for people and quotes nothing of the input."""


class UnacceptableJson(ValueError):
    """The bytes are JSON, but no document may hold this value.

    `limit` names the limit that was passed, `maximum` is what it allows; None where none was.
    """

    def __init__(self, detail: str, limit: str | None = None, maximum: int | None = None) -> None:
        super().__init__(detail)
        self.limit = limit
        self.maximum = maximum


def encode(value: object) -> bytes:
    """Write a JSON value compactly, as UTF-8. Cost: about 3 ms per megabyte."""
    return _encoder.encode(value)


def decode(body: bytes) -> Json:
    """Read JSON that this server wrote. Raises ValueError on anything else."""
    return _decoder.decode(body)


def parse(body: bytes, depth_max: int, integer_digits_max: int, wrapping_levels: int = 0) -> Json:
    """Read JSON from a stranger. What stands around its values may take `wrapping_levels` more.

    Raises MalformedJson for what is not JSON, and UnacceptableJson for numbers out of range,
    integers of more than `integer_digits_max` digits, containers nested deeper than `depth_max`
    and repeated member names. Cost: about 15 ms per megabyte, a microsecond for a small edit.
    """
    try:
        value = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise UnacceptableJson("A number is out of range.") from error
    except UnicodeDecodeError as error:
        raise MalformedJson("The body is not UTF-8.") from error
    except ValueError as error:
        raise MalformedJson(f"{error}.") from error
    except RecursionError as error:
        raise _too_deep(depth_max) from error
    levels = depth_max + wrapping_levels
    if body.count(b"[") + body.count(b"{") > levels and _is_deeper(body, levels):
        raise _too_deep(depth_max)
    if len(body) > integer_digits_max and _has_longer_integer(body, integer_digits_max):
        detail = f"An integer has more than {integer_digits_max} digits."
        raise UnacceptableJson(detail, "integer_digits", integer_digits_max)
    if b":" in body and _may_repeat_a_name(body, value):
        _refuse_repeated_names(body)
    return value


def _too_deep(depth_max: int) -> UnacceptableJson:
    return UnacceptableJson(f"A value is nested deeper than {depth_max} levels.", "depth", depth_max)


def _is_deeper(body: bytes, levels: int) -> bool:
    """Tell whether valid JSON is nested deeper. Cost: about 0.1 µs a bracket, however deep they are."""
    steps = memoryview(_STRING.sub(b"", body).translate(_STEPS, _NOT_BRACKETS)).cast("b")
    level = 0
    # In parts, so that other threads have their turns.
    for start in range(0, len(steps), _STEPS_AT_ONCE):
        reached = list(accumulate(steps[start : start + _STEPS_AT_ONCE], initial=level))
        if max(reached) > levels:
            return True
        level = reached[-1]
    return False


def _has_longer_integer(body: bytes, digits_max: int) -> bool:
    run = rb"(?<![0-9])[0-9]{%d,}+" % (digits_max + 1)
    if not re.search(run, body):
        return False
    # A long run may also stand in a string, or in a fraction, where it costs no exactness.
    return re.search(rb"(?<![.eE+])" + run + rb"(?![.eE])", _STRING.sub(b'""', body)) is not None


def _may_repeat_a_name(body: bytes, value: Json) -> bool:
    """Compare the colons sent with those that are left once the value is written again.

    Each repeated name loses one; only an escape (`\\u003a`) could hide that, so escapes are looked
    at in full.
    """
    return b"\\u003" in body or body.count(b":") != encode(value).count(b":")


def _refuse_repeated_names(body: bytes) -> None:
    json.loads(body, object_pairs_hook=_unrepeated)


def _unrepeated(members: list[tuple[str, object]]) -> dict[str, object]:
    seen = dict(members)
    if len(seen) != len(members):
        raise UnacceptableJson("A member name is repeated in one object.")
    return seen
