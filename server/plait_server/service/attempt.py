"""One attempt at one edit of one document: decide it on the document's tip, put it on the way to the disk,
wait until it is there.

    submit_at_once    conditions, base, decision, proposal; nobody comes between
    submit_in_turn    the same, where something has to be read first or takes long
    answer            when it is durable, or was refused
    conclude          the same, without waiting, where it is durable

Nothing that was decided on a tip not yet durable is answered before that tip is: with a commit of its
own it follows in the queue, without one it waits.
"""

import asyncio
from collections.abc import Callable, Sequence
from copy import copy

from msgspec import Struct

from plait_server import errors
from plait_server.service.answer import Answer, Outcome
from plait_server.service.collections import Collections
from plait_server.service.committer import Committer
from plait_server.service.conflict import Kept, merge_conflict
from plait_server.service.decision import (
    Change,
    Decision,
    Overlap,
    changed_pointers,
    check_conditions,
    decide,
)
from plait_server.service.document import OpenDocument
from plait_server.service.documents import Documents
from plait_server.service.idempotency import (
    IdempotencyKeys,
    StoredAnswer,
    encode_answer,
    read_answer,
    stored_refusal,
)
from plait_server.service.identifier import identifier
from plait_server.service.limits import ServiceLimits
from plait_server.service.locks import Locks
from plait_server.service.operation import operation_done
from plait_server.service.replay import Replay
from plait_server.service.request import Caller, DocumentKey, Edit, IdempotencyKey
from plait_server.service.revision import Revision, join_missed
from plait_server.service.rules import Rules
from plait_server.service.store_time import StoreTime
from plait_server.store import (
    AlreadyDone,
    AlreadySettled,
    Commit,
    CommitResult,
    Committed,
    ConflictRecord,
    FenceStale,
    HeadMoved,
    Hold,
    KeyRecord,
    KeyTaken,
    OperationDone,
    RevisionRecord,
)
from plait_server.wire import encode

STORED_REFUSALS = (
    errors.MergeConflict,
    errors.TestFailed,
    errors.PreconditionFailed,
    errors.PatchInapplicable,
    errors.SchemaViolation,
)
"""Refusals that are answers: kept under an idempotency key. The others may turn out differently."""
PASSING = (errors.HotDocument, errors.Overloaded, errors.StoreUnavailable, errors.OutcomeUnknown)
"""Refusals that are no result of a queued edit: it waits until they are over."""
CONFLICTS_AT_ONCE = 8
"""More than this are written up off the event loop: each comes with patches of its own."""
LATE_REVISIONS = 200
"""An edit that missed more than this is rebased off the event loop."""
STEPS_MAX = 1_000
"""So is one that may have to follow more operations than this: up to 50 us each."""


class Pipeline(Struct, frozen=True):
    """Everything an edit meets on its way."""

    documents: Documents
    collections: Collections
    committer: Committer
    keys: IdempotencyKeys
    replay: Replay
    locks: Locks
    limits: ServiceLimits
    epoch: str
    clock: Callable[[], float]
    """Seconds since 1970, for people: it may step."""
    time: StoreTime
    """What is kept expires by it."""
    random_bytes: Callable[[int], bytes]

    async def answer_before(self, caller: Caller, key: IdempotencyKey | None) -> Answer | None:
        """Give the answer that is kept under a key, None where there is none. Raises a kept refusal."""
        stored = None if key is None else await self.keys.stored(caller, key)
        if key is None or stored is None:
            return None
        return await self.replay.answer(caller, read_answer(stored, key))

    def done(
        self, operation: str, answer: StoredAnswer, key: IdempotencyKey | None, at: int
    ) -> OperationDone:
        """Give what the store is to keep of a queued edit that came to an answer at some moment."""
        expires = self.time.now() + int(self.limits.operation_ttl_s * 1000)
        return operation_done(operation, answer, key, at, expires)


class Attempt(Struct):
    """One attempt at one edit, on the document as it is in memory now."""

    pipeline: Pipeline
    caller: Caller
    key: DocumentKey
    rules: Rules
    edit: Edit
    document: OpenDocument
    # What it was decided on: the document's tip, the number of the base, the base, what came after it.
    tip: Revision
    operation: str | None = None
    """The queued edit that this one finishes."""
    base: int = 0
    ground: Revision | None = None
    since: Sequence[Revision] = ()
    # What came of it: one of the two; and what waits for the disk.
    decision: Decision | None = None
    refusal: errors.PlaitServerError | None = None
    """Never one that was raised: that knows the frames it came through, they know this attempt, and all
    three would stay, with the document, until somebody looks for cycles."""
    outdated: bool = False
    revision: Revision | None = None
    conflict: str | None = None
    key_record: KeyRecord | None = None
    done: OperationDone | None = None
    result: asyncio.Future[CommitResult] | None = None

    def submit_at_once(self) -> bool:
        """Decide and propose without waiting for anything; False where that cannot be, or takes long."""
        if self.document.deciding.locked() or not self.find_base() or self.takes_long():
            return False
        self.index()
        self.decide()
        self._propose()
        return True

    async def submit_in_turn(self) -> None:
        """Decide and propose when nobody else does, with what has to be read first, off the event loop
        where it takes long."""
        async with self.document.deciding:
            await self.read_base()
            self.index()
            if self.takes_long():
                await asyncio.to_thread(self.decide)
            else:
                self.decide()
            if self.stands():
                self._propose()

    def find_base(self) -> bool:
        """Judge the conditions on the tip and find the base; False where that has to be read first."""
        document = self.document
        tip = self.tip = document.tip
        self.refusal = None
        try:
            self._check_conditions()
        except errors.PlaitServerError as refusal:
            self.refusal = copy(refusal)
            return True
        if self.base == tip.n:
            self.ground = tip
            return True
        self.ground = document.at(self.base)
        if self.ground is None:
            return False
        self.since = document.since(self.base, tip.n)
        return True

    async def read_base(self) -> None:
        """Find the base, reading it if need be. Raises StoreUnavailable."""
        if self.find_base():
            return
        try:
            documents = self.pipeline.documents
            self.ground, self.since = await documents.span(self.document, self.base, self.tip.n)
        except errors.StoreUnavailable:
            raise
        except errors.PlaitServerError as refusal:
            self.refusal = copy(refusal)

    def index(self) -> None:
        """Make what tells a late decision who touched what; on the event loop, where that changes."""
        if self.since:
            self.document.index(self.rules.policy)

    def takes_long(self) -> bool:
        """Say whether the decision belongs off the event loop."""
        edit, long = self.edit, self.pipeline.limits.offload_bytes_min
        if self.refusal is not None:
            return False
        if edit.weight_bytes > long or (self.document.size_bound > long and self.reads_all):
            return True
        if self.tip.n - self.base > LATE_REVISIONS:
            return True
        document = self.document
        few = self.base >= document.floor and document.operations_bound(self.base) <= STEPS_MAX
        # Counted only where there may be many: to count takes long itself.
        return (not few or document.leases is not None) and self.steps > STEPS_MAX

    @property
    def steps(self) -> int:
        """How many operations it may have to follow: those it missed, and its own for every lease."""
        missed = sum([len(revision.operations) for revision in self.since])
        leases, content = self.document.leases, self.edit.content
        return missed + len(leases) * len(content) if leases and type(content) is list else missed

    @property
    def reads_all(self) -> bool:
        """Whether the decision looks at the whole document."""
        return self.edit.kind in ("put", "merge_patch") or self.rules.schema is not None

    def decide(self) -> None:
        """Decide, once the base is there, unless the edit is refused already."""
        if self.refusal is not None:
            return
        assert self.ground is not None
        pipeline = self.pipeline
        try:
            decision = decide(self.edit, self.ground, self.since, self.document, pipeline.limits, self.rules)
            if self.document.leases is not None:
                pipeline.locks.check_decision(self.document, self.edit.lock, decision)
            self.decision = decision
        except errors.PlaitServerError as refusal:
            self.refusal = copy(refusal)

    def stands(self) -> bool:
        """Say whether what it was decided on still holds: the document, and the rules, since what comes
        after others obeys those."""
        rules = self.pipeline.collections.of(self.caller.tenant, self.key.collection)
        self.outdated = rules is not self.rules
        return not self.outdated and not self.document.stale

    @property
    def held(self) -> tuple[Hold, ...]:
        """The leases that have to stand when it is written."""
        return () if self.edit.lock is None else (self.edit.lock,)

    def _check_conditions(self) -> None:
        self.base = check_conditions(self.edit, self.tip, self.pipeline.epoch, self._changed_since)
        if self.edit.lock is not None:
            self.pipeline.locks.check_hold(self.caller, self.document, self.edit.lock)

    def _changed_since(self, n: int) -> list[str] | None:
        if self.document.at(n) is None:
            return None
        return changed_pointers(self.document.since(n, self.tip.n))

    def _propose(self) -> None:
        """Put what was decided on the way to the disk: at once, so that the next edit builds on it."""
        edit, decision = self.edit, self.decision
        if edit.dry_run:
            return
        at = int(self.pipeline.clock() * 1000)
        record = conflict = settles = None
        if isinstance(decision, Change):
            record = self.revise(at)
            settles = edit.resolves
        elif isinstance(decision, Overlap):
            conflict = self._keep(decision, at)
        elif decision is not None:
            settles = edit.resolves
        if edit.key is not None and (self.refusal is None or isinstance(self.refusal, STORED_REFUSALS)):
            answer = encode_answer(self.stored_answer())
            self.key_record = answer_to_keep(self.pipeline, self.caller, edit.key, answer)
        if self.operation is not None and not isinstance(self.refusal, PASSING):
            self.done = self.pipeline.done(self.operation, self.stored_answer(), edit.key, at)
        if record or conflict or settles or self.key_record or self.done:
            commit = Commit(
                self.document.address,
                self.tip.n,
                at,
                record,
                self.key_record,
                conflict,
                settles,
                held=self.held,
                operation=self.done,
            )
            self.result = self.pipeline.committer.put(commit, self.document, self.revision)

    def revise(self, at: int) -> RevisionRecord | None:
        """Make the new revision the tip, if there is one."""
        edit, caller, rules, change = self.edit, self.caller, self.rules, self.decision
        if not isinstance(change, Change):
            return None
        merged = self.base != self.tip.n and rules.policy is not None
        record = RevisionRecord(
            self.tip.n + 1,
            change.kind,
            change.patch,
            self.base or None,
            change.submitted,
            caller.author,
            caller.subject,
            None if edit.key is None else edit.key.key,
            at,
            edit.message,
            edit.trace,
            rules.revision if merged else None,
        )
        self.revision = Revision(record.n, record, change.operations, change.value, edit.origin)
        self.document.append(self.revision, change.size_bound)
        return record

    def _keep(self, overlap: Overlap, at: int) -> ConflictRecord:
        """Keep the conflict as a resource."""
        edit, pipeline = self.edit, self.pipeline
        self.conflict = identifier(at, pipeline.random_bytes)
        kept = Kept(
            patch=overlap.submission.patch,
            message=edit.message,
            previous=edit.resolves,
            merge=edit.merge,
            extended=edit.extended,
            rules=self.rules.revision,
        )
        return ConflictRecord(
            id=self.conflict,
            author=self.caller.author,
            base=self.base,
            head=self.tip.n,
            body=encode(kept),
            opened=at,
            expires=pipeline.time.now() + int(pipeline.limits.conflict_ttl_s * 1000),
        )

    def stored_answer(self) -> StoredAnswer:
        """Give what is kept of the answer under an idempotency key."""
        key, overlaps = self.key, isinstance(self.decision, Overlap)
        if self.refusal is not None:
            return stored_refusal(key, self.refusal, self.tip.n, self.base or None)
        return StoredAnswer(
            outcome=errors.MergeConflict.code if overlaps else self._outcome(),
            collection=key.collection,
            id=key.id,
            revision=self.tip.n if self.revision is None else self.revision.n,
            base=self.base or None,
            settled=self.edit.resolves,
            notes=self.decision.notes if isinstance(self.decision, Change) else (),
            conflict=self.conflict,
            rules=self.rules.revision if overlaps and self.conflict is None else 0,
        )

    async def answer(self) -> Answer | None:
        """Wait until the answer may be given, and give it. Raises refusals.

        None: it was decided on something that failed, or by rules that were changed meanwhile, and has to
        be decided again.
        """
        if self.result is None:
            if self.outdated or self.document.stale or not await self.document.durable(self.tip):
                return None
        else:
            result = await self.result
            if not isinstance(result, Committed):
                return await self._not_committed(result)
            if self.key_record is not None:
                self.pipeline.keys.remember(self.caller, self.key_record)
        if self.refusal is not None:
            raise copy(self.refusal)
        if isinstance(self.decision, Overlap):
            raise await self.merge_conflict(self.decision, self.pipeline.limits)
        return self.accepted()

    def conclude(self) -> Answer | None:
        """Give the answer without waiting, where the result is there and simply holds."""
        result = self.result
        if result is None or self.refusal is not None or not isinstance(self.decision, Change):
            return None
        if not result.done() or result.cancelled() or result.exception() is not None:
            return None
        if not isinstance(result.result(), Committed):
            return None
        if self.key_record is not None:
            self.pipeline.keys.remember(self.caller, self.key_record)
        return self.accepted()

    async def _not_committed(
        self, result: HeadMoved | KeyTaken | AlreadySettled | FenceStale | AlreadyDone
    ) -> Answer | None:
        if isinstance(result, KeyTaken):
            return await self._answer_of_the_first(result)
        if isinstance(result, AlreadySettled):
            raise self._already_settled(result)
        if isinstance(result, FenceStale) and self.edit.lock is not None:
            raise self.pipeline.locks.stale(self.document, self.edit.lock)
        return None

    async def _answer_of_the_first(self, taken: KeyTaken) -> Answer:
        """Answer as the first request with this key was answered: this one has no effect."""
        key, pipeline = self.edit.key, self.pipeline
        assert key is not None
        stored = read_answer(taken.record, key)
        pipeline.keys.remember(self.caller, taken.record)
        return await pipeline.replay.answer(self.caller, stored)

    def _already_settled(self, result: AlreadySettled) -> errors.PlaitServerError:
        if result.revision is None:
            return errors.InvalidValue(
                "There is no such conflict to resolve.", {"resolves": self.edit.resolves}
            )
        return errors.AlreadyResolved("The conflict was settled before.", {"revision": result.revision})

    async def merge_conflict(self, overlap: Overlap, limits: ServiceLimits) -> errors.MergeConflict:
        """Tell the caller about an overlap, in as much detail as the limits allow."""
        changes = len(overlap.submission.operations)
        arguments = (
            self.key,
            overlap.conflicted,
            changes,
            self.base,
            self.since,
            limits,
            self.conflict,
        )
        many = len(overlap.conflicted.conflicts) > CONFLICTS_AT_ONCE
        if many or self.takes_long() or self.document.size_bound > limits.offload_bytes_min:
            return await asyncio.to_thread(merge_conflict, *arguments)
        return merge_conflict(*arguments)

    def accepted(self) -> Answer:
        """Give the answer to an edit that is not refused."""
        change, limits = self.decision, self.pipeline.limits
        if isinstance(change, Change):
            patch, value = change.patch, change.value
        else:
            patch, value = b"[]", self.tip.value
        return Answer(
            outcome=self._outcome(),
            document=self.key,
            revision=self.tip.n if self.revision is None else self.revision.n,
            base=self.base or None,
            patch=patch,
            missed=join_missed(self.since, limits.missed_revisions_max, limits.missed_bytes_max),
            epoch=self.pipeline.epoch,
            value=value,
            settled=self.edit.resolves,
            notes=change.notes if isinstance(change, Change) else (),
        )

    def _outcome(self) -> Outcome:
        change, late = self.decision, self.base != self.tip.n
        if not isinstance(change, Change):
            return "noop"
        if self.edit.dry_run:
            return "would_merge" if late else "would_apply"
        if change.kind == "create":
            return "created"
        if change.kind == "delete":
            return "deleted"
        return "merged" if late else "applied"


def answer_to_keep(pipeline: Pipeline, caller: Caller, key: IdempotencyKey, answer: bytes) -> KeyRecord:
    """Make the record of an idempotency key from the answer as it is kept."""
    now = pipeline.time.now()
    expires = now + int(pipeline.limits.idempotency_ttl_s * 1000)
    return KeyRecord(caller.subject, key.key, key.fingerprint, answer, now, expires)
