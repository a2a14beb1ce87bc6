"""One's own edits of a document: as they were made, as they were sent, and what is stored of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from plait_merge import Absent, Json, Operation, parse_pointer

Patch: TypeAlias = list[dict[str, Any]]
"""RFC 6902, as JSON."""
Operations: TypeAlias = tuple[Operation, ...]
"""RFC 6902, read."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The lease that an edit is made under: it is refused once the lease is lost."""

    lock: str
    fence: int

    def as_json(self) -> dict[str, Json]:
        return {"id": self.lock, "fence": self.fence}


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit that is not sent yet.

    `patch` is RFC 6902 and applies to what was shown when the edit was made; a replica gives it out in the
    form that fits what is shown by now. Its values are shared: nobody may change them. `made_at` is wall
    clock seconds since 1970, for people and for ages.
    """

    key: str
    patch: Patch
    message: str | None = None
    made_at: float = 0.0
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Flight:
    """An edit as it is sent, over and over if need be: nothing in it ever changes.

    `patch` applies to revision `base` of the document in the store that is called `epoch`.
    """

    key: str
    base: int
    epoch: str
    patch: Patch
    message: str | None = None
    made_at: float = 0.0
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class State:
    """All that a replica is, to be stored: `pending` is stacked on `flight` as shown, that on `value`.

    `flight_shown` is the flight's patch in the form that fits `value`; None: there is no flight, or it does
    not fit what others did, and only the server can say what becomes of it.
    """

    revision: int
    value: Json | Absent
    epoch: str
    flight: Flight | None = None
    flight_shown: Patch | None = None
    pending: tuple[Edit, ...] = ()


def touches(patch: Patch, place: tuple[str, ...]) -> bool:
    """Tell whether a patch is about a place: at it, above it or inside it."""
    for operation in patch:
        for member in ("path", "from"):
            at = parse_pointer(operation[member]) if member in operation else None
            if at is not None and at[: len(place)] == place[: len(at)]:
                return True
    return not place
