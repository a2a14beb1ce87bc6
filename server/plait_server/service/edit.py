"""The story of an edit.

    Editor.edit     seen before? -> the same answer again
      attempt       open the document; conditions, base, decision   (decision.py: pure, no waiting)
      propose       speculative tip in memory, commit in the queue  (at once: nobody comes between)
      answer        wait until it is durable, or was refused        (committer.py)
                    built on something that failed? -> decide again what was submitted

One edit of one document is decided at a time, many documents at once. Whoever waits may be cancelled:
what was put in the queue goes its way.
"""

import asyncio
from collections.abc import Coroutine

from plait_server import errors
from plait_server.service.admission import Admission
from plait_server.service.answer import Answer
from plait_server.service.attempt import STORED_REFUSALS, Attempt, Pipeline
from plait_server.service.decision import ruled
from plait_server.service.idempotency import read_answer
from plait_server.service.request import Caller, DocumentKey, Edit, IdempotencyKey
from plait_server.store import Address

PAUSE_S = 0.005


class Editor:
    """Takes edits from submission to their answers."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.admission = Admission(pipeline.limits, pipeline.documents)
        self.closing = False
        self._drained = asyncio.Event()

    def edit(self, caller: Caller, document: DocumentKey, edit: Edit) -> Coroutine[None, None, Answer]:
        """Take an edit from submission to its answer. Raises what it is refused with."""
        if edit.key is None or edit.dry_run:
            return self._until_decided(caller, document, edit)
        return self._once(caller, document, edit, edit.key)

    async def close(self) -> None:
        """Finish the edits under way; refuse those that come later."""
        self.closing = True
        if not self.admission.idle:
            await self._drained.wait()

    async def _once(self, caller: Caller, document: DocumentKey, edit: Edit, key: IdempotencyKey) -> Answer:
        """Take an edit that may have been sent before."""
        remembered = self.pipeline.keys.begin(caller, key)
        if remembered is not None:
            return await self.pipeline.replay.answer(caller, read_answer(remembered, key))
        try:
            return await self._until_decided(caller, document, edit)
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

    async def _until_decided(self, caller: Caller, key: DocumentKey, edit: Edit) -> Answer:
        """Take an edit, again while what it was decided on fails."""
        pipeline = self.pipeline
        address = Address(caller.tenant, key.collection, key.id)
        self.begin(caller)
        try:
            for round_ in range(pipeline.limits.rounds_max):
                if round_ > 1:
                    await self.pause(round_)
                document = pipeline.documents.get(address) or await pipeline.documents.open(address)
                if self.admission.is_hot(document):
                    raise self.admission.hot_document()
                document.users += 1
                try:
                    rules = pipeline.collections.of(caller.tenant, key.collection)
                    attempt = Attempt(
                        pipeline, caller, key, rules, ruled(edit, rules), document, document.tip
                    )
                    if not attempt.submit_at_once():
                        await attempt.submit_in_turn()
                    answer = await attempt.answer()
                finally:
                    document.users -= 1
                    pipeline.documents.release(document)
                if answer is not None:
                    return answer
            raise errors.HotDocument("Others kept changing the document first.")
        finally:
            self.end(caller)

    def begin(self, caller: Caller, edits: int = 1) -> None:
        """Note that edits are under way, until `end`. Raises Overloaded."""
        if self.closing:
            raise errors.Overloaded("The server is closing.")
        if not self.admission.take(caller.tenant, edits):
            raise self.admission.overloaded()

    def end(self, caller: Caller, edits: int = 1) -> None:
        self.admission.give_back(caller.tenant, edits)
        if self.closing and self.admission.idle:
            self._drained.set()

    async def pause(self, round_: int) -> None:
        """Wait a random part of a time that doubles, so that those in each other's way part."""
        part = int.from_bytes(self.pipeline.random_bytes(2), "big") / 65_536
        await asyncio.sleep(part * PAUSE_S * 2**round_)
