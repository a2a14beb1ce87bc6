"""How conflicts come about on this side, and how each kind is settled.

The server keeps what it refused: that is settled there, by choices. What clashed here, before it was sent,
is settled here, by the same engine, and the outcome is an edit like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from plait_client import request
from plait_client.conflict import MergeConflict, fields_of_engine, fields_of_problem
from plait_client.errors import InvalidPatch, NotFound, Overlapped, PlaitError
from plait_client.frame import Part
from plait_client.outbox import FailedEdit
from plait_client.replica import Failed
from plait_client.saved import Saved
from plait_client.transport import Answer, Transport
from plait_client.unsaved import Unsaved
from plait_merge import ABSENT, Absent, Conflicted, Json, diff, rebase, resolve
from plait_merge.outcome import Patch

Learn = Callable[[Answer], Awaitable[Saved]]
SaveOn = Callable[["Json | Absent", Patch, "str | None"], Awaitable[Saved]]


class Settlement:
    """Makes the conflicts of one document. `learn` takes the answer to a write that is no waiting edit,
    `save_on` saves a patch that was made on some value."""

    def __init__(
        self, document: str, transport: Transport, unsaved: Unsaved, learn: Learn, save_on: SaveOn
    ) -> None:
        self._document = document
        self._transport = transport
        self._unsaved = unsaved
        self._learn = learn
        self._save_on = save_on

    def of_problem(self, error: Overlapped, message: str | None, key: str | None = None) -> MergeConflict:
        """Make the conflict of an edit that the server refused."""
        problem: Any = error.problem or {}
        return MergeConflict(
            error.detail,
            self._document,
            fields_of_problem(problem),
            self._settle_there,
            base_revision=problem.get("base_revision"),
            head_revision=problem.get("head_revision"),
            clean=len(problem.get("clean_operations", ())),
            message=message,
            key=key,
            stored={"problem": problem},
            problem=error.problem,
            request_id=error.request_id,
            attempts=error.attempts,
        )

    async def _settle_there(self, conflict: MergeConflict, message: str | None) -> Saved:
        instance = (conflict.problem or {}).get("instance")
        if not isinstance(instance, str):
            raise NotFound("The server keeps this conflict no longer: make the edit again.")
        try:
            answer = await self._transport.send(request.resolution(instance, conflict.choices(), message))
        except Overlapped as error:
            again = self.of_problem(error, message, conflict.key)
            again.draft = conflict.draft
            raise again from None
        await self._settled(conflict)
        return await self._learn(answer)

    async def _settled(self, conflict: MergeConflict) -> None:
        if conflict.key is not None:
            await self._unsaved.discard(conflict.key)

    def of_failed(self, failed: Failed) -> PlaitError:
        """Make the error of an edit that clashed with others' changes before it was sent."""
        if isinstance(failed.reason, Conflicted):
            return self.of_engine(
                failed.reason,
                failed.theirs,
                stored={
                    "base": _as_list(failed.base),
                    "theirs": _as_list(failed.theirs),
                    "head_revision": failed.revision,
                },
                message=failed.edit.message,
                key=failed.edit.key,
                head_revision=failed.revision,
                parts=failed.parts,
            )
        return InvalidPatch(f"The edit cannot be made any more: {failed.reason}.")

    def restored(self, failed: FailedEdit) -> PlaitError:
        """Make the error of an edit that an outbox kept, conflicts as they were."""
        stored: Any = failed.conflict or {}
        if "problem" in stored:
            return self.of_problem(
                Overlapped(failed.reason, problem=stored["problem"]), failed.message, failed.key
            )
        if "theirs" in stored:
            base, theirs = _of_list(stored["base"]), _of_list(stored["theirs"])
            found = rebase(base, [diff(base, theirs)], failed.patch)
            if isinstance(found, Conflicted):
                return self.of_engine(
                    found,
                    theirs,
                    message=failed.message,
                    key=failed.key,
                    stored=stored,
                    head_revision=stored["head_revision"],
                )
        return InvalidPatch(failed.reason)

    def of_engine(
        self,
        conflicted: Conflicted,
        theirs: Json | Absent,
        *,
        message: str | None = None,
        key: str | None = None,
        stored: Json = None,
        head_revision: int | None = None,
        parts: Sequence[Part] = (),
    ) -> MergeConflict:
        """Make a conflict that the merge engine found here; its patches apply to `theirs`."""

        async def settle(conflict: MergeConflict, message: str | None) -> Saved:
            patch = resolve(theirs, conflicted, conflict.choices())
            saved = await self._save_on(theirs, patch, message)
            await self._settled(conflict)
            return saved

        authors = {part.author for part in parts}
        fields = fields_of_engine(conflicted.conflicts, authors.pop() if len(authors) == 1 else None)
        clash = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
        return MergeConflict(
            f"Others changed {clash} that the edit changes, too.",
            self._document,
            fields,
            settle,
            head_revision=head_revision,
            clean=len(conflicted.clean_operations),
            message=message,
            key=key,
            stored=stored,
        )


def _as_list(value: Json | Absent) -> list[Json]:
    """Write a value that may be absent, which JSON has no word for."""
    return [] if isinstance(value, Absent) else [value]


def _of_list(stored: list[Json]) -> Json | Absent:
    return stored[0] if stored else ABSENT
