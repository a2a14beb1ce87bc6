"""Which of two strings names the newer version."""

from __future__ import annotations

import re
from typing import Final, Literal

from plait_merge.values import Absent, Json

_VERSION: Final = re.compile(r"(?<![0-9.])[0-9]++(?:\.[0-9]++){2,}+")
"""Three numbers or more with dots: `0.5` may be anything."""


def newer(theirs: Json | Absent, yours: Json | Absent) -> Literal["theirs", "yours"] | None:
    """Say which side's string names newer versions, if those are all that the two differ in.

    None where anything else differs too, or one version is newer here and another there. O(length).
    """
    if type(theirs) is not str or type(yours) is not str or _VERSION.split(theirs) != _VERSION.split(yours):
        return None
    versions = zip(*(map(_numbers, _VERSION.findall(text)) for text in (theirs, yours)), strict=True)
    are_theirs = {here > there for here, there in versions if here != there}
    if len(are_theirs) != 1:
        return None
    return "theirs" if are_theirs.pop() else "yours"


def _numbers(version: str) -> list[tuple[int, str]]:
    """Give what orders versions by number: as text, for numbers may be longer than Python reads."""
    numbers = [number.lstrip("0") for number in version.split(".")]
    return [(len(number), number) for number in numbers]
