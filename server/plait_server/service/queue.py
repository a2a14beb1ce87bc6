"""Queued edits: accepted now, decided later, those of one document in the order they were accepted in.

    submit     durable in the store, many at once in one transaction, before anybody is told
    turns      a few documents at the same time (turns.py), in turn (rota.py); a turn decides some edits
               of one document and finishes each by the commit that writes what it does (turn.py)
    read       what came of one, also long after; waiting for it where that is asked for

The store is the truth: what is here is read from it at the start.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

from msgspec.structs import replace

from plait_server import errors
from plait_server.service.answer import Answer
from plait_server.service.attempt import Pipeline
from plait_server.service.idempotency import StoredAnswer, check_fingerprint, decode_answer, read_answer
from plait_server.service.identifier import identifier
from plait_server.service.operation import Operation, Queued, encode_edit, keyed_id, read_key_of
from plait_server.service.request import Caller, DocumentKey, Edit, IdempotencyKey, address_of
from plait_server.service.turns import Turns
from plait_server.store import Address, KeyTaken, OperationDone, OperationRecord, Store

ACCEPTED_AT_ONCE = 1_000
TURNS_QUIET = 2
"""As in `committer`: so many turns of the event loop, those who are about to submit are waited for."""
LOADED_AT_ONCE = 1_000
LOADED_BYTES_AT_ONCE = 4_194_304
LOOK_AGAIN_S = 5.0

log = logging.getLogger(__name__)
Key = TypeVar("Key")


class Queue:
    """The queued edits of all documents. `load` what is in the store before anything else."""

    def __init__(self, pipeline: Pipeline, store: Store) -> None:
        self._pipeline = pipeline
        self._limits = pipeline.limits
        self._store = store
        self._known: dict[tuple[str, str], Queued] = {}
        self._of_document: Counter[Address] = Counter()
        self._of_tenant: Counter[str] = Counter()
        self._bytes = 0
        self._arriving: deque[Queued] = deque()
        self._accepting: asyncio.Task[None] | None = None
        self._turns = Turns(pipeline, store, self._forget)
        self._newest = 0
        self._is_unsure = False
        self._released: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closing = False

    def __len__(self) -> int:
        return len(self._known)

    async def load(self) -> None:
        """Take back what the store has. Raises StoreUnavailable."""
        while True:
            records = await self._store.waiting_operations(
                above=self._newest, limit=LOADED_AT_ONCE, bytes_max=LOADED_BYTES_AT_ONCE
            )
            if not records:
                return
            for record in records:
                self._newest = record.place
                self._take_back(record)

    async def submit(
        self, caller: Caller, document: DocumentKey, edit: Edit, wait_s: float = 0
    ) -> Answer | Operation:
        """Accept an edit, durably; it is decided when its turn comes.

        Gives its answer where it is decided within `wait_s`, or where its idempotency key has one; raises it
        where that is a refusal. Raises HotDocument or Overloaded where too many wait already, and then keeps
        nothing of it; IdempotencyKeyReused, IdempotencyInProgress, StoreUnavailable, OutcomeUnknown. A dry
        run cannot be queued.
        """
        assert not edit.dry_run
        accepted = await self._accept(caller, document, edit)
        if isinstance(accepted, StoredAnswer):
            return await self._pipeline.replay.answer(caller, accepted)
        is_first = accepted.done is None
        if is_first and not wait_s:
            return _waiting(accepted)
        operation = await self.read(caller, accepted.id, wait_s)
        if operation.refusal is not None:
            operation.refusal.replayed = not is_first
            operation.refusal.kept = edit.key is not None
            raise operation.refusal
        return operation if operation.answer is None else replace(operation.answer, replayed=not is_first)

    async def read(self, caller: Caller, id: str, wait_s: float = 0) -> Operation:
        """Say what came of a queued edit of the caller's tenant, waiting so long where it is not decided yet.

        Raises NotFound, also when its time is over, and StoreUnavailable.
        """
        queued, wait_s = self._known.get((caller.tenant, id)), min(wait_s, self._limits.operation_wait_max_s)
        if queued is not None and wait_s:
            ends: set[asyncio.Future[Any]] = {queued.finished, self._released}
            await asyncio.wait(ends, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        record = None if queued is None else _remembered(queued)
        if record is None:
            record = await self._store.operation(caller.tenant, id)
        if record is None or (record.expires is not None and record.expires <= self._pipeline.time.now()):
            raise errors.NotFound("There is no such operation, or none any more.")
        return _waiting(record) if record.answer is None else await self._finished(caller, record)

    def release(self) -> None:
        """Let nobody wait for a turn any more, as `close` does: they are told how things are."""
        if not self._released.done():
            self._released.set_result(None)

    async def close(self) -> None:
        """Finish the turns under way and accept what has arrived; the rest waits in the store."""
        self.release()
        self.closing = True
        if self._accepting is not None:
            await self._accepting
        await self._turns.close()

    async def _accept(
        self, caller: Caller, document: DocumentKey, edit: Edit
    ) -> OperationRecord | StoredAnswer:
        """Take an edit in, or join the one with the same idempotency key, or give the answer of that key."""
        key, keys = edit.key, self._pipeline.keys
        if key is None:
            id = identifier(self._now(), self._pipeline.random_bytes)
            return _accepted(await asyncio.shield(self._take_in(caller, document, edit, id).accepted), key)
        id = keyed_id(caller, key)
        queued = self._known.get((caller.tenant, id))
        if queued is None:
            remembered = keys.begin(caller, key)
            if remembered is not None:
                return read_answer(remembered, key)
            try:
                queued = self._take_in(caller, document, edit, id)
            except errors.PlaitServerError:
                keys.end(caller, key)
                raise
        elif queued.key is not None:
            check_fingerprint(queued.key.fingerprint, key)
        return _accepted(await asyncio.shield(queued.accepted), key)

    def _take_in(self, caller: Caller, document: DocumentKey, edit: Edit, id: str) -> Queued:
        """Let an edit wait to be accepted. Raises HotDocument, Overloaded."""
        address = address_of(caller, document)
        body = encode_edit(edit)
        self._check_room(address, len(body))
        name = None if edit.key is None else edit.key.key
        record = OperationRecord(address, id, caller.subject, caller.author, body, self._now(), key=name)
        queued = self._note(record, edit.key)
        self._arriving.append(queued)
        self._accept_arriving()
        return queued

    def _check_room(self, address: Address, size: int) -> None:
        limits = self._limits
        if self.closing:
            raise errors.Overloaded("The server is closing.")
        most = limits.queue_document_edits_max
        if self._of_document[address] >= most:
            members = {"limit": "queue_document_edits", "maximum": most}
            raise errors.HotDocument(f"{most} queued edits of this document wait for their turn.", members)
        for limit, used, most in (
            ("queue_tenant_edits", self._of_tenant[address.tenant] + 1, limits.queue_tenant_edits_max),
            ("queue_edits", len(self._known) + 1, limits.queue_edits_max),
            ("queue_bytes", self._bytes + size, limits.queue_bytes_max),
        ):
            if used > most:
                members = {"limit": limit, "maximum": most}
                raise errors.Overloaded("Too many queued edits wait for their turn.", members)

    def _note(self, record: OperationRecord, key: IdempotencyKey | None) -> Queued:
        """Hold an edit in memory; it counts from now on."""
        loop = asyncio.get_running_loop()
        caller = Caller(record.address.tenant, record.caller, record.author)
        queued = Queued(record, caller, key, loop.create_future(), loop.create_future())
        self._known[record.address.tenant, record.id] = queued
        self._of_document[record.address] += 1
        self._of_tenant[record.address.tenant] += 1
        self._bytes += len(record.body)
        return queued

    def _forget(self, queued: Queued, done: OperationDone | None = None) -> None:
        """Let go of an edit that is finished, or was not accepted."""
        address = queued.record.address
        del self._known[address.tenant, queued.record.id]
        self._bytes -= len(queued.record.body)
        _count_down(self._of_document, address)
        _count_down(self._of_tenant, address.tenant)
        if queued.key is not None:
            self._pipeline.keys.end(queued.caller, queued.key)
        queued.finished.set_result(done)

    def _accept_arriving(self) -> None:
        if self._accepting is None and not self.closing:
            self._accepting = asyncio.create_task(self._accept_all(), name="accepting queued edits")

    async def _accept_all(self) -> None:
        """Store what arrives, all that is there in one transaction; while that is synced more gathers."""
        try:
            while self._arriving or self._is_unsure:
                await self._gather()
                batch = [self._arriving.popleft() for _ in range(min(len(self._arriving), ACCEPTED_AT_ONCE))]
                await self._accept_batch(batch)
                if self._is_unsure and not self._arriving:
                    asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self._accept_arriving)
                    return
        finally:
            self._accepting = None

    async def _gather(self) -> None:
        quiet = 0
        while quiet < TURNS_QUIET:
            before = len(self._arriving)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._arriving) == before else 0

    async def _accept_batch(self, batch: Sequence[Queued]) -> None:
        newest = self._newest
        try:
            if self._is_unsure:
                await self.load()
            records = [queued.record for queued in batch]
            results = await self._store.accept_operations(records, self._pipeline.time.now())
        except errors.PlaitServerError as error:
            # What is there although nobody could say so has its turn as soon as it is found. What was found
            # now was passed over where it arrived again: it is looked for once more.
            self._is_unsure = self._is_unsure or isinstance(error, errors.OutcomeUnknown)
            self._newest = newest
            self._turn_away(batch, error)
        except Exception as error:
            log.exception("The store failed in a way it should not")
            self._newest = newest
            self._turn_away(batch, errors.StoreUnavailable(f"The store failed: {type(error).__name__}."))
        else:
            self._is_unsure = False
            for queued, result in zip(batch, results, strict=True):
                self._settle(queued, result)

    def _turn_away(self, batch: Sequence[Queued], error: errors.PlaitServerError) -> None:
        for queued in batch:
            self._forget(queued)
            # An error of one's own: a shared one would gather everybody's traceback.
            queued.accepted.set_exception(type(error)(error.detail, error.members))

    def _settle(self, queued: Queued, result: OperationRecord | KeyTaken) -> None:
        """Let an edit that is stored now wait for its turn; one that was there before keeps its place."""
        if isinstance(result, OperationRecord) and result.body == queued.record.body:
            queued.record = result
            self._line_up(queued)
        else:
            self._forget(queued)
            if isinstance(result, OperationRecord) and result.done is None:
                self._take_back(result)
        queued.accepted.set_result(result)

    def _take_back(self, record: OperationRecord) -> None:
        """Let an edit that was accepted before wait for its turn."""
        if (record.address.tenant, record.id) in self._known:
            return
        key = read_key_of(record.body)
        queued = self._note(record, key)
        queued.accepted.set_result(record)
        if key is not None:
            with suppress(errors.PlaitServerError):
                self._pipeline.keys.begin(queued.caller, key)
        self._line_up(queued)

    def _line_up(self, queued: Queued) -> None:
        self._newest = max(self._newest, queued.record.place)
        self._turns.line_up(queued)

    async def _finished(self, caller: Caller, record: OperationRecord) -> Operation:
        assert record.answer is not None
        answer = refusal = None
        try:
            answer = await self._pipeline.replay.answer(caller, decode_answer(record.answer))
        except errors.PlaitServerError as error:
            if not error.replayed:
                raise
            refusal = error
        return Operation(
            id=record.id,
            document=DocumentKey(record.address.collection, record.address.id),
            accepted=record.accepted,
            finished=record.done,
            answer=answer,
            refusal=refusal,
        )

    def _now(self) -> int:
        return int(self._pipeline.clock() * 1000)


def _count_down(counter: Counter[Key], key: Key) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _accepted(
    accepted: OperationRecord | KeyTaken, key: IdempotencyKey | None
) -> OperationRecord | StoredAnswer:
    """Read how an edit was accepted. Raises IdempotencyKeyReused where its key belongs to another one."""
    if isinstance(accepted, KeyTaken):
        assert key is not None
        return read_answer(accepted.record, key)
    if key is not None:
        check_fingerprint(_fingerprint(accepted), key)
    return accepted


def _fingerprint(record: OperationRecord) -> str | None:
    if record.answer is not None:
        return decode_answer(record.answer).fingerprint
    key = read_key_of(record.body)
    return None if key is None else key.fingerprint


def _remembered(queued: Queued) -> OperationRecord | None:
    """Give an accepted edit as the store has it, where that is known without asking."""
    if not queued.finished.done():
        return queued.record if queued.accepted.done() else None
    done = queued.finished.result()
    if done is None:
        return None
    return replace(queued.record, body=b"", done=done.done, answer=done.answer, expires=done.expires)


def _waiting(record: OperationRecord) -> Operation:
    document = DocumentKey(record.address.collection, record.address.id)
    return Operation(id=record.id, document=document, accepted=record.accepted)
