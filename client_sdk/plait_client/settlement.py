"""How conflicts come about on this side, and how each kind is settled.

The server keeps what it refused: that is settled there, by choices. What clashed here, before it was sent,
is settled here, by the same engine, and the outcome is an edit like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from plait_client.conflict import MergeConflict, fields_of_engine, fields_of_problem
from plait_client.errors import InvalidPatch, NotFound, Overlapped, PlaitError
from plait_client.live.frame import Part
from plait_client.replica.drift import ACCEPTED, between
from plait_client.replica.edit import Edit, Hold, Patch
from plait_client.replica.replica import Failed
from plait_client.resolvers import Resolver, decide
from plait_client.saved import Saved, saved_of
from plait_client.saving.records import FailedEdit
from plait_client.unsaved import Unsaved
from plait_client.wire import request
from plait_client.wire.transport import Request, Transport
from plait_merge import ABSENT, Absent, Conflicted, Json, rebase, resolve

SETTLED_BY_RULE_MAX: Final = 5
"""So often a resolver settles one edit that others keep overtaking."""

Learn = Callable[[Saved], Awaitable[Saved]]
SaveOn = Callable[["Json | Absent", Patch, "str | None"], Awaitable[Saved]]
Under = Callable[[], "Hold | None"]


async def settle_by_rule(conflict: MergeConflict, resolver: Resolver) -> Saved:
    """Let a resolver decide, as often as others are faster. Raises MergeConflict for what it leaves open."""
    for _ in range(SETTLED_BY_RULE_MAX):
        if not await decide(conflict, resolver):
            break
        try:
            return await conflict.save()
        except MergeConflict as again:
            conflict = again
    raise conflict


class Settlement:
    """Makes the conflicts of one document. `learn` takes the result of a write that is no waiting edit;
    `save_on` saves a patch that was made on some value; `under` gives the lease that a choice is made under.
    """

    def __init__(
        self,
        document: str,
        transport: Transport,
        unsaved: Unsaved,
        learn: Learn,
        save_on: SaveOn,
        under: Under,
    ) -> None:
        self._document = document
        self._transport = transport
        self._unsaved = unsaved
        self._learn = learn
        self._save_on = save_on
        self.under = under

    def of_problem(self, error: Overlapped, message: str | None, key: str | None = None) -> MergeConflict:
        """Make the conflict of an edit that the server refused."""
        problem: Any = error.problem or {}
        return MergeConflict(
            error.detail,
            self._document,
            fields_of_problem(problem),
            _SettledThere(self, problem.get("instance")),
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

    async def resolve_there(self, conflict: MergeConflict, write: Request, message: str | None) -> Saved:
        """Settle a conflict that the server keeps."""
        try:
            answer = await self._transport.send(write)
        except Overlapped as error:
            raise await self._again(conflict, self.of_problem(error, message)) from None
        saved = await self._learn(saved_of(answer, request.key_of(write)))
        await self._settled(conflict)
        return saved

    def of_failed(self, failed: Failed) -> PlaitError:
        """Make the error of an edit that clashed with others' changes before it was sent."""
        if not isinstance(failed.reason, Conflicted):
            return InvalidPatch(f"The edit cannot be made any more: {failed.reason}.")
        return self.of_engine(
            failed.reason, failed.edit, failed.base, failed.theirs, failed.revision, failed.parts
        )

    def restored(self, failed: FailedEdit) -> PlaitError:
        """Make the error of an edit that an outbox kept, conflicts as they were."""
        stored: Any = failed.conflict or {}
        if "problem" in stored:
            overlapped = Overlapped(failed.reason, problem=stored["problem"])
            return self.of_problem(overlapped, failed.message, failed.key)
        if "theirs" in stored:
            base, theirs = _of_list(stored["base"]), _of_list(stored["theirs"])
            found = rebase(base, [between(base, theirs)], failed.patch, limits=ACCEPTED)
            if isinstance(found, Conflicted):
                edit = Edit(failed.key, failed.patch, failed.message, failed.made_at)
                parts = [Part(**part) for part in stored.get("parts", ())]
                return self.of_engine(found, edit, base, theirs, stored["head_revision"], parts)
        return InvalidPatch(failed.reason)

    def of_engine(
        self,
        conflicted: Conflicted,
        edit: Edit,
        base: Json | Absent,
        theirs: Json | Absent,
        head_revision: int,
        parts: Sequence[Part] = (),
    ) -> MergeConflict:
        """Make a conflict that the merge engine found here: the edit was made on `base`, and would have to be
        made on `theirs`."""

        async def settle(conflict: MergeConflict, message: str | None) -> Saved:
            patch = resolve(theirs, conflicted, conflict.choices())
            try:
                saved = await self._save_on(theirs, patch, message)
            except MergeConflict as again:
                raise await self._again(conflict, again) from None
            await self._settled(conflict)
            return saved

        fields = fields_of_engine(conflicted.conflicts, parts)
        clash = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
        return MergeConflict(
            f"Others changed {clash} that the edit changes, too.",
            self._document,
            fields,
            settle,
            head_revision=head_revision,
            clean=len(conflicted.clean_operations),
            message=edit.message,
            key=edit.key,
            stored={
                "base": _as_list(base),
                "theirs": _as_list(theirs),
                "head_revision": head_revision,
                "parts": [{"rev": part.rev, "author": part.author, "at": part.at} for part in parts],
            },
        )

    async def _again(self, conflict: MergeConflict, again: MergeConflict) -> MergeConflict:
        """Let a newer conflict take the place of one that was settled too late."""
        again.draft = conflict.draft
        await self._unsaved._clashed_again(conflict.key, again)
        return again

    async def _settled(self, conflict: MergeConflict) -> None:
        if conflict.key is not None:
            await self._unsaved.discard(conflict.key)


class _SettledThere:
    """Settles one conflict that the server keeps. The same choices are the same request, however often."""

    def __init__(self, settlement: Settlement, instance: object) -> None:
        self._settlement = settlement
        self._instance = instance
        self._last: Request | None = None

    async def __call__(self, conflict: MergeConflict, message: str | None) -> Saved:
        if not isinstance(self._instance, str):
            raise NotFound("The server keeps this conflict no longer: make the edit again.")
        under = self._settlement.under()
        write = request.resolution(self._instance, conflict.choices(), message, under)
        if self._last is None or (self._last.body, _lock(self._last)) != (write.body, _lock(write)):
            self._last = write
        return await self._settlement.resolve_there(conflict, self._last, message)


def _lock(write: Request) -> str | None:
    return write.headers.get("Plait-Lock")


def _as_list(value: Json | Absent) -> list[Json]:
    """Write a value that may be absent, which JSON has no word for."""
    return [] if isinstance(value, Absent) else [value]


def _of_list(stored: list[Json]) -> Json | Absent:
    return stored[0] if stored else ABSENT
