"""The story of an edit.

    Editor.edit     seen before? -> the same answer again
      attempt       open the document; conditions, base, decision   (decision.py: pure, no waiting)
      propose       speculative tip in memory, commit in the queue  (at once: nobody comes between)
      answer        wait until it is durable, or was refused        (committer.py)
                    built on something that failed? -> decide again what was submitted

One edit of one document is decided at a time, many documents at once. Whoever waits may be cancelled:
what was put in the queue goes its way.

    Editor.begin    the same as far as the queue, where that needs no waiting; then, when its result is there,
      conclude      the answer, if it simply holds
      go_on         otherwise the rest of the story
"""

import asyncio
from collections.abc import Coroutine

from msgspec import Struct

from plait_server import errors
from plait_server.service.admission import Admission
from plait_server.service.answer import Answer
from plait_server.service.attempt import STORED_REFUSALS, Attempt, Pipeline
from plait_server.service.decision import ruled
from plait_server.service.document import OpenDocument
from plait_server.service.idempotency import read_answer
from plait_server.service.request import Caller, DocumentKey, Edit, IdempotencyKey, address_of
from plait_server.store import CommitResult

PAUSE_S = 0.005


class Begun(Struct, frozen=True):
    """An edit that was decided at once. It counts as under way until it is concluded, or was gone on with."""

    caller: Caller
    edit: Edit
    attempt: Attempt

    @property
    def result(self) -> asyncio.Future[CommitResult] | None:
        """What the disk will say; None where nothing is on its way there."""
        return self.attempt.result


class Editor:
    """Takes edits from submission to their answers."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.admission = Admission(pipeline.limits, pipeline.documents)
        self.closing = False
        self._drained = asyncio.Event()

    def edit(
        self, caller: Caller, document: DocumentKey, edit: Edit, begun: Attempt | None = None
    ) -> Coroutine[None, None, Answer]:
        """Take an edit from submission to its answer, or go on with the attempt that was `begun`.

        Raises what it is refused with.
        """
        if edit.key is None or edit.dry_run:
            return self._until_decided(caller, document, edit, begun)
        return self._once(caller, document, edit, edit.key, begun)

    def begin(self, caller: Caller, document: DocumentKey, edit: Edit) -> Begun | None:
        """Decide an edit and put it on its way to the disk, where nothing has to be waited for before that.

        None: nothing was done. Else, when its result is there, `conclude` it, or `go_on`.
        """
        pipeline = self.pipeline
        opened = pipeline.documents.get(address_of(caller, document))
        if opened is None or self.closing or self.admission.is_hot(opened) or not self._is_new(caller, edit):
            return None
        if not self.admission.take(caller.tenant):
            self._forget(caller, edit)
            return None
        begun, submitted = Begun(caller, edit, self._attempt(caller, document, edit, opened)), False
        try:
            submitted = begun.attempt.submit_at_once()
        finally:
            if not submitted:
                self._end(begun)
        return begun if submitted else None

    def conclude(self, begun: Begun) -> Answer | None:
        """Give the answer to an edit whose result is there, if it was simply accepted; else None: `go_on`."""
        answer = begun.attempt.conclude()
        if answer is not None:
            self._end(begun)
        return answer

    def go_on(self, begun: Begun) -> Coroutine[None, None, Answer]:
        """Answer an edit that was begun and cannot be concluded at once. Raises what it is refused with."""
        return self.edit(begun.caller, begun.attempt.key, begun.edit, begun.attempt)

    def _is_new(self, caller: Caller, edit: Edit) -> bool:
        """Note that the request of a key is under way, if it is not known; one without a key never is."""
        if edit.key is None or edit.dry_run:
            return True
        try:
            return self.pipeline.keys.begin(caller, edit.key) is None
        except errors.PlaitServerError:
            return False

    def _forget(self, caller: Caller, edit: Edit) -> None:
        if edit.key is not None and not edit.dry_run:
            self.pipeline.keys.end(caller, edit.key)

    def _end(self, begun: Begun) -> None:
        self._let_go(begun.attempt)
        self._forget(begun.caller, begun.edit)
        self.leave(begun.caller)

    async def close(self) -> None:
        """Finish the edits under way; refuse those that come later."""
        self.closing = True
        if not self.admission.idle:
            await self._drained.wait()

    async def _once(
        self, caller: Caller, document: DocumentKey, edit: Edit, key: IdempotencyKey, begun: Attempt | None
    ) -> Answer:
        """Take an edit that may have been sent before."""
        remembered = None if begun else self.pipeline.keys.begin(caller, key)
        if remembered is not None:
            return await self.pipeline.replay.answer(caller, read_answer(remembered, key))
        try:
            return await self._until_decided(caller, document, edit, begun)
        except (errors.Unavailable, *STORED_REFUSALS):
            raise
        except errors.PlaitServerError:
            # Refusals that are not stored say nothing about the first request with this key.
            stored = await self.pipeline.keys.stored(caller, key)
            if stored is None:
                raise
            return await self.pipeline.replay.answer(caller, read_answer(stored, key))
        finally:
            self.pipeline.keys.end(caller, key)

    async def _until_decided(
        self, caller: Caller, key: DocumentKey, edit: Edit, begun: Attempt | None
    ) -> Answer:
        """Take an edit, again while what it was decided on fails."""
        documents, address = self.pipeline.documents, address_of(caller, key)
        if begun is None:
            self.enter(caller)
        try:
            for round_ in range(self.pipeline.limits.rounds_max):
                if round_ > 1:
                    await self.pause(round_)
                attempt = begun
                if attempt is None:
                    document = documents.get(address) or await documents.open(address)
                    if self.admission.is_hot(document):
                        raise self.admission.hot_document()
                    attempt = self._attempt(caller, key, edit, document)
                try:
                    if begun is None and not attempt.submit_at_once():
                        await attempt.submit_in_turn()
                    answer = await attempt.answer()
                finally:
                    self._let_go(attempt)
                if answer is not None:
                    return answer
                begun = None
            raise errors.HotDocument("Others kept changing the document first.")
        finally:
            self.leave(caller)

    def _attempt(self, caller: Caller, key: DocumentKey, edit: Edit, document: OpenDocument) -> Attempt:
        """Begin to use a document, until `_let_go`."""
        document.users += 1
        rules = self.pipeline.collections.of(caller.tenant, key.collection)
        return Attempt(self.pipeline, caller, key, rules, ruled(edit, rules), document, document.tip)

    def _let_go(self, attempt: Attempt) -> None:
        attempt.document.users -= 1
        self.pipeline.documents.release(attempt.document)

    def enter(self, caller: Caller, edits: int = 1) -> None:
        """Note that edits are under way, until `leave`. Raises Overloaded."""
        if self.closing:
            raise errors.Overloaded("The server is closing.")
        if not self.admission.take(caller.tenant, edits):
            raise self.admission.overloaded()

    def leave(self, caller: Caller, edits: int = 1) -> None:
        self.admission.give_back(caller.tenant, edits)
        if self.closing and self.admission.idle:
            self._drained.set()

    async def pause(self, round_: int) -> None:
        """Wait a random part of a time that doubles, so that those in each other's way part."""
        part = int.from_bytes(self.pipeline.random_bytes(2), "big") / 65_536
        await asyncio.sleep(part * PAUSE_S * 2**round_)
