"""What changed inside a text, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from difflib import SequenceMatcher

Part = tuple[Literal["same", "removed", "added"], str]


def word_changes(before: str, after: str) -> list[Part]:
    """Give the parts of both texts in order: what is the same, what was removed, what was added.

    Texts of more than a few thousand words, or with too little in common to be read side by side, are removed
    and added whole.
    """
    old, new = _WORD(before), _WORD(after)
    if max(len(old), len(new)) > _WORDS_MAX:
        return _whole(before, after)
    from difflib import SequenceMatcher

    matcher = SequenceMatcher(None, old, new, autojunk=False)
    parts = list(_parts(matcher, old, new))
    common = sum(len(text) for kind, text in parts if kind == "same" and not text.isspace())
    return parts if 4 * common >= min(len(before), len(after)) else _whole(before, after)


_WORD: Final = re.compile(r"\w+|\s+|[^\w\s]").findall
_WORDS_MAX: Final = 4_000


def _parts(matcher: SequenceMatcher[str], old: list[str], new: list[str]) -> Iterator[Part]:
    for kind, i, j, k, end in matcher.get_opcodes():
        if kind == "equal":
            yield "same", "".join(old[i:j])
            continue
        if i < j:
            yield "removed", "".join(old[i:j])
        if k < end:
            yield "added", "".join(new[k:end])


def _whole(before: str, after: str) -> list[Part]:
    return [("removed", before), ("added", after)]
