"""JSON pointers (RFC 6901): a string on the wire, a tuple of tokens inside."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, TypeAlias

Tokens: TypeAlias = tuple[str, ...]
"""The unescaped reference tokens of a pointer; `()` is the whole document."""


class InvalidPointer(ValueError):
    """A text that is no JSON pointer: it does not start with "/", or has "~" before other than 0 and 1."""


def parse_pointer(text: str) -> Tokens:
    """Read a pointer; raises InvalidPointer. Short ones seen lately are remembered and share their tokens."""
    return _remembered(text) if len(text) <= _SHORT else _parse(text)


_SHORT: Final = 128


def _parse(text: str) -> Tokens:
    if not text:
        return ()
    if text[0] != "/":
        raise InvalidPointer(f'pointer {text[:80]!r} does not start with "/"')
    tokens = text.split("/")
    del tokens[0]
    if "~" not in text:
        return tuple(tokens)
    if _BAD_ESCAPE.search(text):
        raise InvalidPointer(f'pointer {text[:80]!r} has a "~" that is neither "~0" nor "~1"')
    return tuple([token.replace("~1", "/").replace("~0", "~") for token in tokens])


_remembered: Final = lru_cache(maxsize=4_096)(_parse)
_BAD_ESCAPE: Final = re.compile("~(?![01])")


def format_pointer(tokens: Iterable[str]) -> str:
    """Write a pointer: the inverse of `parse_pointer`."""
    return "".join(["/" + token.replace("~", "~0").replace("/", "~1") for token in tokens])


def pointer_order(tokens: list[str]) -> list[tuple[int, int, str]]:
    """Order pointers part by part, array parts by number."""
    return [(0, int(t), t) if t.isascii() and t.isdigit() and len(t) < 11 else (1, 0, t) for t in tokens]


def array_index(token: str) -> int | None:
    """Read an array index, or None: ASCII digits without leading zeros, at most ten of them.

    Python's `int` would take "01", "-1", "1_0", " 1" and Arabic digits as well.
    """
    if token.isdigit() and token.isascii() and (token[0] != "0" or token == "0") and len(token) <= 10:
        return int(token)
    return None
