"""Edits of several documents that are saved together, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from msgspec import Struct

from plait_client.conflict import Field, MergeConflict, Side, fields_of_problem
from plait_client.context import Context
from plait_client.document import Document
from plait_client.draft import changed, draft_of, own_patch, own_value
from plait_client.errors import BaseUnknown, NotFound, Overlapped, PlaitError, TransportError
from plait_client.history import read_history
from plait_client.replica.drift import ACCEPTED
from plait_client.replica.edit import Patch
from plait_client.resolvers import Resolver, decide
from plait_client.saved import Saved, read_saved
from plait_client.settlement import SETTLED_BY_RULE_MAX
from plait_client.wire import request
from plait_client.wire.transport import Request
from plait_merge import (
    ABSENT,
    Absent,
    Conflicted,
    Inapplicable,
    Json,
    Policy,
    apply,
    read_patch,
    rebase,
    resolve,
)

DELETED: Patch = [{"op": "remove", "path": ""}]


@dataclass(slots=True)
class _Part:
    """What a batch does to one document: `patch` is made on revision `base`, which was `view`."""

    document: Document
    act: Literal["edit", "patch", "create", "delete"]
    base: int | None = None
    epoch: str = ""
    view: Json | Absent = ABSENT
    draft: Json | Absent = ABSENT
    patch: Patch = field(default_factory=list)

    def as_json(self) -> dict[str, Json]:
        """Give it as the wire takes it."""
        hold = self.document._leases.current(self.patch)
        edit: dict[str, Json] = {"document": self.document.name}
        if self.act == "create":
            edit |= {"value": self.draft, "create": True}
        elif self.act == "delete":
            edit |= {"delete": True, "base": self.base}
        else:
            edit |= {"patch": self.patch, "base": self.base}
        return edit if hold is None else {**edit, "lock": hold.as_json()}

    def frozen(self) -> _Part:
        """Give it as it was sent, whatever becomes of its draft."""
        return replace(self, act="patch") if self.act == "edit" else self


class Batch:
    """Edits of several documents on their way to be saved together; `AsyncPlait.batch` makes it.

    A document is named, and read anew, or given as it is open here. What is done to one is done to what is
    confirmed of it once your own edits of it are sent; others' edits meanwhile are merged, as with any edit.
    """

    def __init__(self, context: Context, message: str | None) -> None:
        self._saved: dict[str, Saved] = {}
        self._context = context
        self._message = message
        self._parts: dict[str, _Part] = {}
        self._sent: list[_Part] = []
        self._write: Request | None = None

    def __repr__(self) -> str:
        return f"<Batch of {', '.join(self._parts) or 'nothing'}>"

    @property
    def saved(self) -> dict[str, Saved]:
        """What became of each document, by its name; {} as long as it is not saved."""
        return self._saved

    async def edit(self, document: str | Document) -> Any:
        """Give a plain copy of a document; what differs in the end is its edit. Raises NotFound, Deleted."""
        part = await self._part(document, "edit")
        if part.draft is ABSENT:
            part.draft = draft_of(part.view)
        return part.draft

    async def patch(self, document: str | Document, patch: Patch) -> None:
        """Add a JSON Patch, with `inc` if need be, made on the document as it is after what was added before.

        Raises InvalidPatch for what is none; whether it fits is decided with the batch.
        """
        own = own_patch(patch, extended=True)
        part = await self._part(document, "patch")
        part.patch += own

    async def inc(self, document: str | Document, pointer: str, by: int | float = 1) -> None:
        """Add to a number, whatever others add to it meanwhile."""
        operation = {"op": "inc", "path": pointer, "value": own_value(by)}
        part = await self._part(document, "patch")
        part.patch.append(operation)

    async def create(self, name: str, value: Json) -> None:
        """Create a document: `collection/id`. The batch is refused where it is there already."""
        own = own_value(value)
        documents = self._context.documents
        document = documents.find(request.check_name(name)) or documents.new(name)
        self._add(_Part(document, "create", draft=own))

    async def delete(self, document: str | Document) -> None:
        """Delete a document; its history stays."""
        part = await self._part(document, "delete")
        part.patch = [*DELETED]

    async def save(self) -> dict[str, Saved]:
        """Save it all, or nothing: `async with` does so on leaving. Gives what became of each document.

        The first call makes the request, every other one sends the very same again: after an error with
        `outcome_unknown` the batch is not made twice. Who is cancelled here takes nothing back.

        Raises BatchConflict where edits overlap others', and as the edits do by themselves: NotFound,
        TestFailed, InvalidPatch, Locked; `error.problem["errors"]` then names each that was refused.
        """
        self._context.check_open()
        if self._write is None:
            self._freeze()
        if self._sent and not self._saved:
            await self._delivered()
        return self._saved

    def _freeze(self) -> None:
        """Make the request; what is in it never changes again."""
        for part in self._parts.values():
            if part.act == "edit":
                part.patch = changed(part.view, part.draft)
        self._sent = [part for part in self._parts.values() if part.patch or part.act == "create"]
        epochs = {part.epoch for part in self._sent if part.act != "create"}
        if len(epochs) > 1:
            raise BaseUnknown("The server was restored from a backup since: make the batch again.")
        edits = [part.as_json() for part in self._sent]
        epoch = epochs.pop() if epochs else None
        self._write = request.batch(edits, self._message, epoch)

    async def _delivered(self) -> None:
        """Send it and take over what comes of it, also for who does not live to hear it."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._context.begin(self._deliver(told))
        await asyncio.shield(told)

    async def _deliver(self, told: asyncio.Future[None]) -> None:
        try:
            await self._send()
        except Exception as error:
            told.set_exception(error)
            told.exception()  # nobody has to wait
        else:
            told.set_result(None)

    async def _send(self) -> None:
        assert self._write is not None
        try:
            answer = await self._context.transport.send(self._write)
        except Overlapped as error:
            raise await self._overlapped(error) from None
        results = answer.read_as(_Results).results
        if len(results) != len(self._sent):
            raise TransportError("The answer has another number of results.", outcome_unknown=True)
        key = request.key_of(self._write)
        saved = [read_saved(result, key, answer.attempts) for result in results]
        self._saved = {part.document.name: each for part, each in zip(self._sent, saved, strict=True)}
        for part, each in zip(self._sent, saved, strict=True):
            await part.document._learn(each)
            self._context.documents.keep(part.document)

    async def _overlapped(self, error: Overlapped) -> BatchConflict:
        """Make the conflict of a batch, and read its documents: who tries again sees what is there."""
        problem: Any = error.problem or {}
        refused = {each.get("edit"): each for each in problem.get("errors", ()) if isinstance(each, Mapping)}
        clashes = [(part, refused[n]) for n, part in enumerate(self._sent) if n in refused]
        self._context.counters.conflicts += len(clashes)
        for part, _ in clashes:
            await part.document._look_again()
        return BatchConflict(error, self._context, self._message, self._sent, clashes)

    async def _part(self, document: str | Document, act: Literal["edit", "patch", "delete"]) -> _Part:
        """Give what is done to a document so far, or begin it."""
        self._check_unsent()
        name = document if isinstance(document, str) else document.name
        known = self._parts.get(name)
        if known is not None and known.act == act != "delete":
            return known
        opened = await self._context.documents.open(name) if isinstance(document, str) else document
        if opened._context is not self._context:
            raise ValueError(f"{name} is open in another client")
        await opened._all_sent()
        confirmed = opened._replica.confirmed
        view = opened._present(confirmed.value)
        return self._add(_Part(opened, act, confirmed.revision, confirmed.epoch, view))

    def _add(self, part: _Part) -> _Part:
        self._check_unsent()
        if part.document.name in self._parts:
            raise ValueError(f"{part.document.name} is in the batch in another way already")
        self._parts[part.document.name] = part
        return part

    def _check_unsent(self) -> None:
        if self._write is not None:
            raise ValueError("the batch was sent already")


class _Results(Struct, frozen=True):
    results: list[dict[str, Any]]


class BatchConflict(PlaitError):
    """Edits of a batch overlap what others did. Nothing of the batch was written.

    `conflicts` has a `MergeConflict` for each document that clashes; iterating gives the fields of all of
    them. Decide each and `save`: that sends the whole batch again, as a new one. Saving one of `conflicts`
    does the same.
    """

    def __init__(
        self,
        error: Overlapped,
        context: Context,
        message: str | None,
        parts: Sequence[_Part],
        clashes: Sequence[tuple[_Part, Mapping[str, Any]]],
    ) -> None:
        super().__init__(
            error.detail, problem=error.problem, request_id=error.request_id, attempts=error.attempts
        )
        self.message = message
        self._context = context
        self._parts = parts
        self._clashes = {part.document.name: problem for part, problem in clashes}
        self._last: tuple[Json, Batch] | None = None
        self.conflicts = tuple([self._conflict(part, problem) for part, problem in clashes])

    def __iter__(self) -> Iterator[Field]:
        return iter([field for conflict in self.conflicts for field in conflict])

    def __len__(self) -> int:
        return sum([len(conflict) for conflict in self.conflicts])

    def __bool__(self) -> bool:
        return True

    @property
    def undecided(self) -> tuple[Field, ...]:
        return tuple([field for field in self if not field.decided])

    def choose_all(self, side: Side) -> None:
        """Decide every undecided field that offers this side for it."""
        for conflict in self.conflicts:
            conflict.choose_all(side)

    async def save(self, message: str | None = None) -> dict[str, Saved]:
        """Save the batch with these choices, all or nothing. Gives what became of each document.

        Raises ValueError while a field is undecided, BatchConflict where others were there again meanwhile,
        and as `Batch.save` does; called again it sends the very same again.
        """
        if self.undecided:
            places = ", ".join(repr(field.pointer) for field in self.undecided)
            raise ValueError(f"undecided: {places}")
        choices: Json = [conflict.choices() for conflict in self.conflicts]
        if self._last is None or self._last[0] != choices:
            self._last = choices, await self._again(message if message is not None else self.message)
        return await self._last[1].save()

    async def _again(self, message: str | None) -> Batch:
        """Make the batch that has the choices in it."""
        batch = Batch(self._context, message)
        chosen = {conflict.document: conflict for conflict in self.conflicts}
        for part in self._parts:
            conflict = chosen.get(part.document.name)
            batch._add(part.frozen() if conflict is None else await self._settled(part, conflict))
        return batch

    async def _settled(self, part: _Part, conflict: MergeConflict) -> _Part:
        """Give a part that clashed as one made on what it clashed with, with the choices in it."""
        choices = conflict.choices()
        gone = f"The conflict of {part.document.name} is no more: make the edit again."
        if conflict.head_revision is None or part.base is None:
            raise NotFound(f"The server does not say what {part.document.name} clashes with.")
        missed = await self._missed(part.document.name, part.base, conflict.head_revision)
        policy = await self._policy(part.document.name.partition("/")[0])
        try:
            theirs, found = _found(part, missed, policy)
        except (ValueError, Inapplicable) as error:
            raise NotFound(gone) from error
        if isinstance(found, Conflicted) and {each.id for each in found.conflicts} == choices.keys():
            patch = resolve(theirs, found, choices)
        elif all(choice == "theirs" for choice in choices.values()):  # a schema's, which only servers find
            patch = []
        else:
            raise NotFound(gone)
        act: Literal["patch", "delete"] = "delete" if patch == DELETED else "patch"
        return replace(part, act=act, base=conflict.head_revision, view=theirs, draft=ABSENT, patch=patch)

    async def _policy(self, collection: str) -> Json:
        answer = await self._context.transport.send(request.rules(collection))
        stated: Json = answer.read_as(dict[str, Any]).get("policy")
        return stated

    async def _missed(self, name: str, base: int, head: int) -> list[Patch]:
        """Give what others did from one revision to another, oldest first."""
        told = self._clashes[name].get("missed")
        if told:
            return [each["patch"] for each in told]
        missed: list[Patch] = []
        async with aclosing(read_history(self._context.transport, name)) as history:
            async for revision in history:
                if revision.revision <= base:
                    break
                if revision.revision <= head:
                    missed.append(revision.patch)
        return missed[::-1]

    def _conflict(self, part: _Part, problem: Mapping[str, Any]) -> MergeConflict:
        async def settle(conflict: MergeConflict, message: str | None) -> Saved:
            saved = await self.save(message)
            return saved.get(conflict.document) or Saved(outcome="noop", revision=conflict.head_revision)

        return MergeConflict(
            str(problem.get("detail", self.detail)),
            part.document.name,
            fields_of_problem(problem),
            settle,
            draft=part.draft,
            base_revision=problem.get("base_revision"),
            head_revision=problem.get("head_revision"),
            clean=len(problem.get("clean_operations", ())),
            message=self.message,
            problem=problem,
            request_id=self.request_id,
            attempts=self.attempts,
        )


def _found(part: _Part, missed: Sequence[Patch], policy: Json) -> tuple[Json | Absent, object]:
    """Work a conflict out again as the server did: the same is found for the same.

    Raises ValueError (a PolicyError is one) and Inapplicable where something is not as it was.
    """
    theirs = part.view
    for patch in missed:
        theirs = apply(theirs, patch, ACCEPTED)
    ruled = None if policy is None else Policy.read(policy)
    yours = read_patch(part.patch, ACCEPTED, extended=True)
    return theirs, rebase(part.view, missed, yours, ruled, limits=ACCEPTED)


async def save_by_rule(batch: Batch, resolver: Resolver | None) -> None:
    """Save a batch; a resolver decides its conflicts, as often as others are faster."""
    try:
        await batch.save()
        return
    except BatchConflict as clash:
        conflict = clash
    for _ in range(SETTLED_BY_RULE_MAX if resolver is not None else 0):
        for each in conflict.conflicts:
            assert resolver is not None
            await decide(each, resolver)
        if conflict.undecided:
            break
        try:
            batch._saved = await conflict.save()
            return
        except BatchConflict as again:
            conflict = again
    batch._context.events.conflict(conflict)
    raise conflict
