"""The frames of `plait.v1.json` that a client listens to: what a server sends is checked here.

A client ignores frames and members that it does not know, because a newer server may send them.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from plait_merge import ABSENT, Absent, Json

REVISION_MAX: Final = 2**53 - 1
Revision = Annotated[int, Meta(ge=0, le=REVISION_MAX)]
Milliseconds = Annotated[int, Meta(ge=0)]


class MalformedFrame(Exception):
    """A frame of a known type that is not as the contract says: its connection is worth nothing."""


class ServerLimits(Struct, frozen=True):
    heartbeat_s: Annotated[float, Meta(gt=0)] = 25.0


class Welcome(Struct, frozen=True, tag_field="t", tag="welcome"):
    epoch: Annotated[str, Meta(min_length=1, max_length=64)]
    limits: ServerLimits = ServerLimits()


class Snapshot(Struct, frozen=True, tag_field="t", tag="snapshot"):
    doc: str
    rev: Revision
    value: Any | UnsetType = UNSET
    deleted: bool = False

    def __post_init__(self) -> None:
        if self.deleted == (self.value is not UNSET):
            raise ValueError("A snapshot has a value, or is of a deleted document.")

    @property
    def content(self) -> Json | Absent:
        return ABSENT if self.deleted else self.value


class Part(Struct, frozen=True):
    """One revision among those of a `rev`: who made it, when, and the key of the edit it came of."""

    rev: Revision
    author: str
    at: str
    key: str | None = None


class Rev(Struct, frozen=True, tag_field="t", tag="rev"):
    doc: str
    prev: Revision
    rev: Revision
    patch: list[dict[str, Any]]
    parts: list[Part]

    def __post_init__(self) -> None:
        if not self.prev < self.rev or len(self.parts) != self.rev - self.prev:
            raise ValueError("A rev names each revision after prev.")
        for number, part in enumerate(self.parts, self.prev + 1):
            if part.rev != number:
                raise ValueError("A rev names each revision once, in order.")


class CaughtUp(Struct, frozen=True, tag_field="t", tag="caught_up"):
    doc: str
    rev: Revision


class Reset(Struct, frozen=True, tag_field="t", tag="reset"):
    doc: str
    reason: str


class Problem(Struct, frozen=True, tag_field="t", tag="problem"):
    type: str
    status: int
    id: int | None = None
    doc: str | None = None
    retry: bool = False


class Throttle(Struct, frozen=True, tag_field="t", tag="throttle"):
    retry_after_ms: Milliseconds


class Heartbeat(Struct, frozen=True, tag_field="t", tag="hb"):
    heads: dict[str, Revision]


class Goaway(Struct, frozen=True, tag_field="t", tag="goaway"):
    reconnect_ms: tuple[Milliseconds, Milliseconds]

    def __post_init__(self) -> None:
        if self.reconnect_ms[0] > self.reconnect_ms[1]:
            raise ValueError("A goaway names the shorter time first.")


class Pong(Struct, frozen=True, tag_field="t", tag="pong"):
    id: int | None = None


AboutDocument = Snapshot | Rev | CaughtUp | Reset
ServerFrame = Welcome | AboutDocument | Problem | Throttle | Heartbeat | Goaway | Pong


class _Kind(Struct, frozen=True):
    t: str


_KNOWN: Final = frozenset(
    {"welcome", "snapshot", "rev", "caught_up", "reset", "problem", "throttle", "hb", "goaway", "pong"}
)
_frames: Final = msgspec.json.Decoder(ServerFrame)
_kinds: Final = msgspec.json.Decoder(_Kind)


def read_frame(text: bytes | str) -> ServerFrame | None:
    """Read what a server sent; None for what is no JSON object, or is of a type nobody knows.

    Raises MalformedFrame. Cost: a few microseconds, and what its values cost.
    """
    try:
        frame: ServerFrame = _frames.decode(text)
    except msgspec.ValidationError as error:
        if _kind_of(text) in _KNOWN:
            raise MalformedFrame(f"{error}") from error
        return None
    except RecursionError as error:
        raise MalformedFrame("A frame is nested too deep.") from error
    except ValueError:
        return None
    return frame


def _kind_of(text: bytes | str) -> str | None:
    try:
        return _kinds.decode(text).t
    except (ValueError, RecursionError):
        return None
