"""The story of a batch: edits of several documents, of which all are made or none.

    BatchEditor.edit  seen before? -> the same answer again
      attempts        one for each edit, each decided on the tip of its document        (attempt.py)
      propose         all hold -> their commits as one unit, in one step
                      one does not -> nothing but what is kept under the key
      answer          when the unit is durable; without one, when every tip it was decided on is
                      built on something that failed? -> decide all of it again

Where that takes more than one step of the event loop, the documents are held meanwhile, in the order of
their addresses: whoever waits for one holds only such as come before it, so nobody waits in a circle.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack

from msgspec import Struct

from plait_server import errors
from plait_server.service.answer import BatchAnswer
from plait_server.service.attempt import (
    LATE_REVISIONS,
    STEPS_MAX,
    STORED_REFUSALS,
    Attempt,
    Pipeline,
    answer_to_keep,
)
from plait_server.service.decision import Overlap, ruled
from plait_server.service.document import OpenDocument
from plait_server.service.edit import Editor
from plait_server.service.idempotency import StoredAnswers, encode_answer, read_answers
from plait_server.service.request import Batch, Caller, DocumentKey, IdempotencyKey
from plait_server.store import Address, Commit, CommitResult, Committed, FenceStale, KeyRecord, KeyTaken


class BatchEditor:
    """Takes batches from submission to their answers."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._pipeline = editor.pipeline

    async def edit(self, caller: Caller, batch: Batch) -> BatchAnswer:
        """Make all edits of a batch or none. Raises BatchRefused, InvalidValue, TooLarge, Unavailable."""
        self._check(batch)
        if batch.key is None or batch.dry_run:
            return await self._until_decided(caller, batch)
        return await self._once(caller, batch, batch.key)

    def _check(self, batch: Batch) -> None:
        """Refuse a batch for which there is never room, and one with two edits of one document."""
        places = self._pipeline.limits.edits_waiting_max
        if len(batch.edits) > places:
            members: dict[str, object] = {"limit": "edits_waiting", "maximum": places}
            raise errors.TooLarge(f"At most {places} edits are under way at once.", members)
        most = self._pipeline.limits.batch_operations_max
        patches = [edit.content for _, edit in batch.edits if edit.kind == "patch"]
        if sum(map(len, patches)) > most:
            members = {"limit": "batch_operations", "maximum": most}
            raise errors.TooLarge(f"The patches of a batch have at most {most} operations together.", members)
        numbers: dict[DocumentKey, int] = {}
        for number, (document, _) in enumerate(batch.edits):
            first = numbers.setdefault(document, number)
            if first != number:
                raise errors.InvalidValue(
                    f"Edits {first} and {number} are of one document; put them into one patch.",
                    {"edits": [first, number], "document": document.name},
                )

    async def _once(self, caller: Caller, batch: Batch, key: IdempotencyKey) -> BatchAnswer:
        """Take a batch that may have been sent before."""
        keys, replay = self._pipeline.keys, self._pipeline.replay
        remembered = keys.begin(caller, key)
        if remembered is not None:
            return await replay.batch(caller, batch, read_answers(remembered, key))
        try:
            return await self._until_decided(caller, batch)
        except errors.BatchRefused as refused:
            if _is_stored(refused.refusals.values()):
                raise
            # Refusals that are not stored say nothing about the first request with this key.
            stored = await keys.stored(caller, key)
            if stored is None:
                raise
            return await replay.batch(caller, batch, read_answers(stored, key))
        finally:
            keys.end(caller, key)

    async def _until_decided(self, caller: Caller, batch: Batch) -> BatchAnswer:
        """Take a batch, again while what it was decided on fails."""
        pipeline = self._pipeline
        addresses = [Address(caller.tenant, key.collection, key.id) for key, _ in batch.edits]
        self._editor.enter(caller, len(addresses))
        try:
            for round_ in range(pipeline.limits.rounds_max):
                if round_ > 1:
                    await self._editor.pause(round_)
                documents: list[OpenDocument] = []
                try:
                    await self._open(addresses, documents)
                    attempt = _BatchAttempt(pipeline, caller, batch, self._attempts(caller, batch, documents))
                    if not attempt.submit_at_once():
                        await attempt.submit_in_turn()
                    answer = await attempt.answer()
                finally:
                    for document in documents:
                        document.users -= 1
                        pipeline.documents.release(document)
                if answer is not None:
                    return answer
            raise errors.HotDocument("Others kept changing the documents first.")
        finally:
            self._editor.leave(caller, len(addresses))

    async def _open(self, addresses: Sequence[Address], opened: list[OpenDocument]) -> None:
        """Open documents, note that they are used, and append them to `opened`."""
        documents, admission = self._pipeline.documents, self._editor.admission
        found = [*map(documents.get, addresses)]
        if None in found:
            await asyncio.gather(*map(documents.open, addresses))
            found = [None] * len(addresses)
        for address, known in zip(addresses, found, strict=True):
            document = known or documents.get(address) or await documents.open(address)
            if admission.is_hot(document):
                raise admission.hot_document()
            document.users += 1
            opened.append(document)

    def _attempts(self, caller: Caller, batch: Batch, documents: Sequence[OpenDocument]) -> list[Attempt]:
        pipeline, attempts = self._pipeline, []
        for (key, edit), document in zip(batch.edits, documents, strict=True):
            rules = pipeline.collections.of(caller.tenant, key.collection)
            attempts.append(Attempt(pipeline, caller, key, rules, ruled(edit, rules), document, document.tip))
        return attempts


class _BatchAttempt(Struct):
    """One attempt at a batch, on its documents as they are in memory now."""

    pipeline: Pipeline
    caller: Caller
    batch: Batch
    attempts: list[Attempt]
    key_record: KeyRecord | None = None
    result: asyncio.Future[CommitResult] | None = None

    def submit_at_once(self) -> bool:
        """Decide and propose without waiting for anything; False where that cannot be, or takes long."""
        for attempt in self.attempts:
            document = attempt.document
            if document.stale or document.deciding.locked() or not attempt.find_base():
                return False
        if self._takes_long():
            return False
        for attempt in self.attempts:
            attempt.index()
        self._decide()
        self._propose()
        return True

    async def submit_in_turn(self) -> None:
        """Decide and propose while nobody else decides about one of the documents, with what has to be read
        first, off the event loop where it takes long."""
        async with AsyncExitStack() as turn:
            for attempt in sorted(self.attempts, key=lambda attempt: attempt.document.address):
                await turn.enter_async_context(attempt.document.deciding)
            for attempt in self.attempts:
                await attempt.read_base()
                attempt.index()
                await asyncio.sleep(0)  # others go on between what each of these has to work out
            if self._takes_long():
                await asyncio.to_thread(self._decide)
            else:
                self._decide()
            if all(attempt.stands() for attempt in self.attempts):
                self._propose()

    def _takes_long(self) -> bool:
        """Say whether the decisions together belong off the event loop."""
        size, late, steps = self.batch.weight_bytes, 0, 0
        for attempt in self.attempts:
            if attempt.refusal is None:
                size += attempt.document.size_bound if attempt.reads_all else 0
                steps += attempt.steps
            if attempt.since:
                late += len(attempt.since) + attempt.document.unindexed(attempt.rules.policy)
        long = self.pipeline.limits.offload_bytes_min
        return size > long or late > LATE_REVISIONS or steps > STEPS_MAX

    def _decide(self) -> None:
        for attempt in self.attempts:
            attempt.decide()

    @property
    def _refused(self) -> list[int]:
        """The numbers of the edits that are refused."""
        return [
            number
            for number, attempt in enumerate(self.attempts)
            if attempt.refusal is not None or isinstance(attempt.decision, Overlap)
        ]

    def _propose(self) -> None:
        """Put what was decided on the way to the disk: all in one step, so that nobody comes between."""
        if self.batch.dry_run:
            return
        pipeline, attempts, refused = self.pipeline, self.attempts, self._refused
        at = int(pipeline.clock() * 1000)
        records = [None if refused else attempt.revise(at) for attempt in attempts]
        self._keep_answer(refused)
        if not any(records) and self.key_record is None:
            return
        # Also those that change nothing: a guard holds when the others are written, or nothing is.
        unit, key = pipeline.committer.new_unit(), self.key_record
        for attempt, record in zip(attempts, records, strict=True):
            document = attempt.document
            commit = Commit(document.address, attempt.tip.n, at, record, key, held=attempt.held, unit=unit)
            self.result = pipeline.committer.put(commit, document, attempt.revision, self.result)
            key = None

    def _keep_answer(self, refused: Sequence[int]) -> None:
        """Note what is to be kept under the key: the answers, or all refusals where those are answers."""
        key, attempts = self.batch.key, self.attempts
        if key is None:
            return
        if refused:
            attempts = [attempts[number] for number in refused]
            refusals = [attempt.refusal for attempt in attempts if attempt.refusal is not None]
            if not _is_stored(refusals):
                return
        answers = StoredAnswers(tuple([attempt.stored_answer() for attempt in attempts]), tuple(refused))
        self.key_record = answer_to_keep(self.pipeline, self.caller, key, encode_answer(answers))

    async def answer(self) -> BatchAnswer | None:
        """Wait until the answer may be given, and give it. Raises BatchRefused.

        None: something it was decided on failed, or rules were changed meanwhile, and all has to be decided
        again.
        """
        if self.result is None:
            if not await self._durable():
                return None
        else:
            result = await self.result
            if not isinstance(result, Committed):
                return await self._not_committed(result)
            if self.key_record is not None:
                self.pipeline.keys.remember(self.caller, self.key_record)
        refused = self._refused
        if refused:
            raise await self._refusal(refused)
        return BatchAnswer([attempt.accepted() for attempt in self.attempts])

    async def _durable(self) -> bool:
        """Wait until every tip something was decided on is durable; False if one failed, or rules did."""
        if any(attempt.outdated or attempt.document.stale for attempt in self.attempts):
            return False
        for attempt in self.attempts:
            if not await attempt.document.durable(attempt.tip):
                return False
        return True

    async def _not_committed(self, result: CommitResult) -> BatchAnswer | None:
        if isinstance(result, FenceStale):
            raise errors.BatchRefused(dict(self._stale(result.lock)))
        if not isinstance(result, KeyTaken):
            return None
        # The first request with this key was answered: this one has no effect.
        pipeline, key = self.pipeline, self.batch.key
        assert key is not None
        stored = read_answers(result.record, key)
        pipeline.keys.remember(self.caller, result.record)
        return await pipeline.replay.batch(self.caller, self.batch, stored)

    def _stale(self, lock: str) -> Iterator[tuple[int, errors.PlaitServerError]]:
        """Refuse the edit that named a lease which the store has not."""
        for number, attempt in enumerate(self.attempts):
            for hold in attempt.held:
                if hold.lock == lock:
                    yield number, self.pipeline.locks.stale(attempt.document, hold)

    async def _refusal(self, refused: Sequence[int]) -> errors.BatchRefused:
        refusals: dict[int, errors.PlaitServerError] = {}
        overlaps = sum(self.attempts[number].refusal is None for number in refused)
        limits = self.pipeline.limits.shared(overlaps)
        for number in refused:
            attempt = self.attempts[number]
            if attempt.refusal is not None:
                refusals[number] = attempt.refusal
            elif isinstance(attempt.decision, Overlap):
                refusals[number] = await attempt.merge_conflict(attempt.decision, limits)
                await asyncio.sleep(0)  # others go on between those that are worked out here
        return errors.BatchRefused(refusals)


def _is_stored(refusals: Iterable[errors.PlaitServerError]) -> bool:
    """Say whether refusals are kept under a key: only where none may turn out differently."""
    return all(isinstance(refusal, STORED_REFUSALS) for refusal in refusals)
