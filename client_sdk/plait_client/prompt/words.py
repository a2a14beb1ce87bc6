"""What changed inside a text, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Final, Literal

Part = tuple[Literal["same", "removed", "added"], str]

WORDS_MAX: Final = 400
"""Of each text, where they differ: comparing costs the product of both."""

# An escape of JSON, or a word or sign, each with the space behind it.
_WORD: Final = re.compile(r"(?:\\u[0-9a-f]{4}|\\.|\w+|[^\w\s])\s*|\s+", re.S).findall


def word_changes(before: str, after: str) -> list[Part]:
    """Give the parts of both texts in order: what is the same, what was removed, what was added.

    Where the texts differ in more than `WORDS_MAX` words, or have little in common there, that part is
    removed and added whole. O(length), and O(WORDS_MAX²) for what differs.
    """
    old, new = _WORD(before), _WORD(after)
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    middle = _compared(old[head : len(old) - tail], new[head : len(new) - tail])
    parts = [("same", "".join(old[:head])), *middle, ("same", "".join(old[len(old) - tail :]))]
    return [(kind, text) for kind, text in parts if text]


def _common(old: list[str], new: list[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))


def _compared(old: list[str], new: list[str]) -> list[Part]:
    whole: list[Part] = [("removed", "".join(old)), ("added", "".join(new))]
    if not old or not new or max(len(old), len(new)) > WORDS_MAX:
        return whole
    parts = list(_parts(SequenceMatcher(None, old, new, autojunk=False), old, new))
    shared = sum(len(text) for kind, text in parts if kind == "same")
    return parts if 4 * shared >= min(len(whole[0][1]), len(whole[1][1])) else whole


def _parts(matcher: SequenceMatcher[str], old: list[str], new: list[str]) -> Iterator[Part]:
    for kind, i, j, k, end in matcher.get_opcodes():
        if kind == "equal":
            yield "same", "".join(old[i:j])
        else:
            yield "removed", "".join(old[i:j])
            yield "added", "".join(new[k:end])
