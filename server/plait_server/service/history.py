"""What can be asked of history, and what can be taken back of it.

at         which revision was the head at a moment
compare    two revisions; then `diff` says what leads from one to the other, `describe` says it to people
blame      who set each leaf
undoing    an edit that takes revisions back and keeps what came later
restoring  an edit that leads back to a revision, also of a deleted document
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import ParamSpec, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from plait_merge import (
    Blame,
    InvalidPointer,
    Json,
    Limits,
    Tokens,
    array_index,
    diff,
    format_pointer,
    parse_pointer,
    read_patch,
)
from plait_server import errors
from plait_server.service.answer import Answer
from plait_server.service.attempt import Pipeline
from plait_server.service.blame import Blames, Setter
from plait_server.service.decision import deleted
from plait_server.service.description import describe
from plait_server.service.document import OpenDocument
from plait_server.service.request import Caller, DocumentKey, Edit, address_of
from plait_server.service.reversal import REVISIONS_MAX, reverse
from plait_server.service.revision import STORED, Revision, before_the_first
from plait_server.store import Address, Store
from plait_server.wire import encode

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

JOBS_MAX = 2
"""Comparisons and the like that are under way at once: they are nothing to those who edit meanwhile."""


class Comparison(Struct, frozen=True):
    """Two revisions of a document, each with its value. Number 0 is the state before the first."""

    before: Revision
    after: Revision


class Leaf(Struct, frozen=True):
    """A scalar, or an empty object or array, and who set it."""

    pointer: str
    setter: Setter


class BlameView(Struct, frozen=True, kw_only=True):
    """A page of the leaves of a document at one revision, and the cursor of the next one.

    What was set by revision `oldest` may have been set before: those revisions were compacted away. 0: none.
    """

    document: DocumentKey
    revision: int
    oldest: int
    leaves: list[Leaf]
    cursor: str | None


class History:
    """The past of documents. Every function takes the caller first."""

    def __init__(self, store: Store, pipeline: Pipeline) -> None:
        self._store = store
        self._pipeline = pipeline
        self._documents = pipeline.documents
        self._limits = pipeline.limits
        self._jobs = asyncio.Semaphore(JOBS_MAX)
        # A long way back keeps a connection of the store busy: one at a time, so that others are free.
        self._walking = asyncio.Lock()
        self._blames = Blames(self._documents, store, self._limits, self._aside)

    async def at(self, caller: Caller, document: DocumentKey, moment: int) -> int:
        """Give the number of the revision that was the head at a moment (milliseconds since 1970).

        That is the newest revision made until then. Where the clock stepped back, and moments came twice,
        it is the one of the second time. Raises NotFound, RevisionCompacted.
        """
        opened = await self._existing(caller, document)
        n = opened.head.n
        while (recent := opened.at(n)) is not None:
            if recent.n and recent.record.at <= moment:
                return n
            n -= 1
        found = None
        if n > 0:
            async with self._walking:
                found = await self._store.revision_at(opened.address, moment)
        oldest = await self._oldest(opened.address)
        if found is not None and found >= oldest:
            return found
        if oldest > 1:
            raise errors.RevisionCompacted(
                f"What was then was compacted away; revision {oldest} is the oldest with all after it.",
                {"oldest": oldest},
            )
        raise errors.NotFound("The document was not there yet.")

    async def compare(
        self, caller: Caller, document: DocumentKey, before: int, after: int | None
    ) -> Comparison:
        """Give two revisions, in any order; the head, where none is named. Raises NotFound."""
        opened = await self._existing(caller, document)
        return Comparison(
            await self._state(opened, before) if before else before_the_first(),
            opened.head if after is None else await self._state(opened, after),
        )

    async def diff(self, compared: Comparison) -> bytes:
        """Give the JSON Patch that leads from one revision to the other, as JSON.

        It is made of the two values, not of what was done in between: as short as can be, and what was done
        and taken back is not in it. Cost: the size of the document.
        """
        return await self._aside(_diff, compared, self._limits.values)

    async def describe(self, compared: Comparison) -> str:
        """Say what is different, to people: at most a few hundred lines."""
        return await self._aside(_describe, compared, self._limits.values)

    async def blame(
        self,
        caller: Caller,
        document: DocumentKey,
        pointer: str,
        revision: int | None,
        limit: int,
        cursor: str | None,
    ) -> BlameView:
        """Say who set each leaf at or below a pointer, at the head or at another revision, in pages.

        A cursor holds on to the revision its first page was of. Raises NotFound, Deleted, BadQuery.
        """
        opened = await self._existing(caller, document)
        within, pinned = _tokens(pointer), None if cursor is None else _read_cursor(cursor)
        n = revision or opened.head.n
        if pinned is not None:
            n = pinned.revision
            if n > opened.head.n or (revision is not None and revision != n):
                raise _bad_cursor()
        state = await self._state(opened, n)
        if not state.live:
            raise deleted(state)
        limit = max(1, min(limit, self._limits.page_items_max))
        blame = await self._blames.at(opened, n)
        leaves, following = await self._aside(_page, blame, state, within, pinned, limit)
        # Looked up afterwards: what was followed began no later.
        oldest = min(n, await self._oldest(opened.address))
        return BlameView(
            document=document,
            revision=n,
            oldest=oldest if oldest > 1 else 0,
            leaves=leaves,
            cursor=following,
        )

    async def undoing(
        self, caller: Caller, document: DocumentKey, first: int, last: int, edit: Edit
    ) -> Edit | Answer:
        """Make the edit that takes revisions `first` to `last` back.

        It is made against the last of them: what came later is merged, or a conflict. `edit` says how, with
        which message and under which key; if it cannot be made, but was before under that key, its answer
        is given. Raises NotFound, and InvalidValue where they created the document.
        """
        return await self._made(caller, edit, self._undoing(caller, document, first, last, edit))

    async def restoring(self, caller: Caller, document: DocumentKey, n: int, edit: Edit) -> Edit | Answer:
        """Make the edit that leads to what was at a revision, by creating it again where it is deleted.

        It is made against the head: what others do at the same time is merged, or a conflict. `edit` and what
        is given are as for `undoing`. Raises NotFound, and InvalidValue where it was deleted then.
        """
        return await self._made(caller, edit, self._restoring(caller, document, n, edit))

    async def _made(self, caller: Caller, edit: Edit, making: Awaitable[Edit]) -> Edit | Answer:
        try:
            return await making
        except errors.Unavailable:
            raise
        except errors.PlaitServerError:
            answer = await self._pipeline.answer_before(caller, None if edit.dry_run else edit.key)
            if answer is None:
                raise
            return answer

    async def _undoing(
        self, caller: Caller, document: DocumentKey, first: int, last: int, edit: Edit
    ) -> Edit:
        opened = await self._existing(caller, document)
        self._check_epoch(edit, opened)
        if first > last:
            raise errors.InvalidValue("The range has no revisions: it ends before it begins.")
        before, revisions = await self._span(opened, first, last)
        if not before.live:
            raise errors.InvalidValue(
                f"Revision {first} created the document; to take that back, delete it.",
                {"hint": "DELETE the document. Its history stays."},
            )
        if not revisions[-1].live:
            if last == opened.head.n:
                return self._restoration(before, opened.head, edit, _undone(first, last))
            raise errors.InvalidValue(
                f"Revision {last} deleted the document, which was created again since.",
                {"hint": f'Restore what was there before: {{"to": {before.n}}}.'},
            )
        return replace(
            edit,
            kind="patch",
            content=await self._aside(reverse, before, revisions, self._limits.values),
            base=last,
            extended=True,
            message=edit.message or _undone(first, last),
            weight_bytes=sum(len(revision.patch) for revision in revisions),
        )

    async def _span(self, opened: OpenDocument, first: int, last: int) -> tuple[Revision, list[Revision]]:
        """Give the state before some revisions, and these, the last with its value; of many only that."""
        after = await self._state(opened, last)
        before = await self._state(opened, first - 1) if first > 1 else before_the_first()
        if first == 1 or first == last or last - first >= REVISIONS_MAX:
            return before, [after]
        if opened.at(before.n) is not None:
            return before, opened.since(before.n, last)
        revisions = await self._documents.chain(opened.address, before.n, last)
        return before, [*revisions[:-1], after]

    async def _restoring(self, caller: Caller, document: DocumentKey, n: int, edit: Edit) -> Edit:
        opened = await self._existing(caller, document)
        self._check_epoch(edit, opened)
        wanted = await self._state(opened, n)
        if not wanted.live:
            raise errors.InvalidValue(
                f"At revision {n} the document was deleted; to have it so again, delete it.",
                {"hint": "DELETE the document. Its history stays."},
            )
        return self._restoration(wanted, opened.head, edit, f"Restore revision {n}")

    def _restoration(self, wanted: Revision, head: Revision, edit: Edit, message: str) -> Edit:
        """Make the edit that leads from the head to what was; a deleted document is created again."""
        return replace(
            edit,
            kind="put",
            content=wanted.value,
            base=head.n if head.live else None,
            if_none_match=not head.live,
            message=edit.message or message,
            # Compared with the whole document: never on the event loop.
            weight_bytes=self._limits.offload_bytes_min + 1,
        )

    def _check_epoch(self, edit: Edit, opened: OpenDocument) -> None:
        epoch = self._pipeline.epoch
        if edit.epoch is not None and edit.epoch != epoch:
            raise errors.BaseUnknown(
                "The revision belongs to another epoch of this store.",
                {"head_revision": opened.head.n, "epoch": epoch},
            )

    async def _oldest(self, address: Address) -> int:
        """Give the oldest revision that is kept with all after it."""
        extent = await self._store.extent(address)
        return 1 if extent is None else extent.oldest

    async def _existing(self, caller: Caller, document: DocumentKey) -> OpenDocument:
        """Open a document that was created once."""
        opened = await self._documents.open(address_of(caller, document))
        if opened.head.n == 0:
            self._documents.release(opened)
            raise errors.NotFound("There is no such document.")
        return opened

    async def _state(self, opened: OpenDocument, n: int) -> Revision:
        if not 1 <= n <= opened.head.n:
            raise errors.NotFound(f"There is no revision {n} of this document.")
        return await self._documents.state(opened, n)

    async def _aside(
        self, job: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """Run what may take long off the event loop, a few at a time."""
        async with self._jobs:
            return await asyncio.to_thread(job, *arguments, **named)


def _undone(first: int, last: int) -> str:
    return f"Revert revision {last}" if first == last else f"Revert revisions {first} to {last}"


def _diff(compared: Comparison, limits: Limits) -> bytes:
    return encode(diff(compared.before.value, compared.after.value, limits))


def _describe(compared: Comparison, limits: Limits) -> str:
    before, after = compared.before.value, compared.after.value
    return describe(before, read_patch(diff(before, after, limits), STORED))


class _Cursor(Struct, frozen=True):
    """A leaf of a document at a revision, by its places: the how-manieth part of each container it is in."""

    revision: int
    places: tuple[int, ...]

    def __str__(self) -> str:
        return ".".join(map(str, (self.revision, *self.places)))


def _read_cursor(cursor: str) -> _Cursor:
    numbers = [array_index(each) for each in cursor.split(".")]
    if None in numbers or not numbers[0]:
        raise _bad_cursor()
    return _Cursor(numbers[0], tuple([number for number in numbers[1:] if number is not None]))


def _bad_cursor() -> errors.BadQuery:
    return errors.BadQuery("The parameter cursor takes the cursor of the page before.")


def _tokens(pointer: str) -> Tokens:
    try:
        return parse_pointer(pointer)
    except InvalidPointer:
        raise errors.BadQuery("The parameter pointer takes a JSON Pointer such as /lines/0.") from None


def _page(
    blame: Blame[Setter], state: Revision, within: Tokens, cursor: _Cursor | None, limit: int
) -> tuple[list[Leaf], str | None]:
    """Give so many leaves after a cursor, and the cursor of those that follow."""
    try:
        leaves = blame.leaves(state.value, within)
    except LookupError:
        members = {"pointer": format_pointer(within)}
        raise errors.NotFound("The document has nothing at this pointer.", members) from None
    if cursor is not None:
        try:
            leaves = blame.leaves(state.value, within, _tokens_of(state.value, cursor.places))
        except LookupError:
            raise _bad_cursor() from None
    taken = list(islice(leaves, limit + 1))
    items = [Leaf(format_pointer(tokens), setter) for tokens, setter in taken[:limit]]
    if len(taken) <= limit:
        return items, None
    return items, str(_Cursor(state.n, _places_of(state.value, taken[limit - 1][0])))


def _places_of(value: Json, tokens: Tokens) -> tuple[int, ...]:
    places = []
    for token in tokens:
        named = type(value) is dict
        places.append(list(value).index(token) if named else int(token))
        value = value[token if named else places[-1]]
    return tuple(places)


def _tokens_of(value: Json, places: tuple[int, ...]) -> Tokens:
    """Give the pointer of a leaf. Raises LookupError."""
    tokens = []
    for place in places:
        if type(value) is dict and place < len(value):
            tokens.append(next(islice(value, place, None)))
            value = value[tokens[-1]]
        elif type(value) is list:
            tokens.append(str(place))
            value = value[place]
        else:
            raise LookupError(place)
    return tuple(tokens)
