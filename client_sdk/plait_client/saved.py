"""What became of an edit."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from plait_client.errors import TransportError
from plait_client.wire.transport import Answer


class Missed(Struct, frozen=True):
    """A revision that others made between what an edit was made on and the edit."""

    revision: int
    author: str
    at: str
    patch: list[dict[str, Any]]


class Saved(Struct, frozen=True, kw_only=True):
    """An edit that is kept for good.

    `outcome` is "applied", "merged" (others' edits are in the document's value already), "noop" (it changed
    nothing), "created", "deleted", "queued" (the server was not to be reached; the edit waits in the outbox,
    on disk) or "pending" (nobody waited for it); `revision` is None for the last two. `patch` is the edit as
    committed, None where it was sent again and its revision is compacted away by now; `missed` what it was
    merged over since `base`, None where that is too long to be told, or gone.
    `attempts` is how often it was sent.
    """

    outcome: Literal["created", "applied", "merged", "noop", "deleted", "queued", "pending"]
    revision: int | None = None
    base: int | None = None
    patch: list[dict[str, Any]] | None = []
    missed: list[Missed] | None = []
    epoch: str | None = None
    key: str = ""
    attempts: int = 0


def saved_of(answer: Answer, key: str = "") -> Saved:
    """Read the result of a write. Raises TransportError for an answer of another shape."""
    if answer.status == 204:
        return Saved(outcome="deleted", revision=answer.revision, key=key, attempts=answer.attempts)
    return read_saved(answer.json(), key, answer.attempts)


def read_saved(result: Any, key: str = "", attempts: int = 0) -> Saved:
    """Read the result of an edit. Raises TransportError for what is none."""
    try:
        saved = msgspec.convert(result, Saved)
    except msgspec.ValidationError as error:
        raise TransportError(
            f"The answer is no result of an edit: {error}.", attempts=attempts, outcome_unknown=True
        ) from error
    return msgspec.structs.replace(saved, key=key, attempts=attempts)
