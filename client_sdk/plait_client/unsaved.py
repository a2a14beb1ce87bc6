"""Edits that could not be saved, and that nobody has taken back yet. They are kept until somebody decides."""

from __future__ import annotations

from dataclasses import dataclass, replace

from plait_client.conflict import MergeConflict
from plait_client.errors import PlaitError
from plait_client.replica.edit import Patch
from plait_client.saving.outbox import Outbox
from plait_client.saving.records import FailedEdit


@dataclass(frozen=True, slots=True)
class UnsavedEdit:
    """An edit that is not in its document. `made_at` is seconds since 1970.

    `error` says why: a `MergeConflict`, to be settled with its `save`, or a refusal for good.
    """

    document: str
    key: str
    patch: Patch
    message: str | None
    made_at: float
    error: PlaitError

    def as_stored(self) -> FailedEdit:
        """Give it as an outbox keeps it."""
        return FailedEdit(
            self.document,
            self.key,
            self.patch,
            self.message,
            self.made_at,
            self.error.detail,
            self.error.stored if isinstance(self.error, MergeConflict) else None,
        )


class Unsaved:
    """The unsaved edits of one client: those of this process, and those an outbox has from earlier ones."""

    def __init__(self, outbox: Outbox | None) -> None:
        self._outbox = outbox
        self._edits: dict[str, UnsavedEdit] = {}

    def failed(self) -> tuple[UnsavedEdit, ...]:
        """Give them all, the first that failed first."""
        return tuple(self._edits.values())

    async def discard(self, key: str) -> None:
        """Forget an edit: it was settled, or is not wanted any more. One that is not there is no error."""
        self._edits.pop(key, None)
        if self._outbox is not None:
            await self._outbox.discard(key)

    def add(self, unsaved: UnsavedEdit) -> None:
        """Keep an edit; whoever adds it also stores it."""
        self._edits[unsaved.key] = unsaved

    def restore(self, failed: FailedEdit, error: PlaitError) -> None:
        """Take in what the outbox has stored."""
        self.add(
            UnsavedEdit(failed.document, failed.key, failed.patch, failed.message, failed.made_at, error)
        )

    async def _clashed_again(self, key: str | None, again: MergeConflict) -> None:
        """Keep the newer conflict of an edit that was settled too late, if the edit is kept at all."""
        kept = self._edits.get(key or "")
        if kept is None:
            return
        stale, again.key = again.key, kept.key
        self._edits[kept.key] = newer = replace(kept, error=again)
        if self._outbox is not None:
            await self._outbox.keep(newer.as_stored())
        if stale is not None and stale != kept.key:
            await self.discard(stale)
