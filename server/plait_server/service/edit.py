"""The story of an edit.

    Editor.edit     seen before? -> the same answer again
      attempt       open the document; conditions, base, decision   (decision.py: pure, no waiting)
      propose       speculative tip in memory, commit in the queue  (at once: nobody comes between)
      conclude      wait until it is durable, or was refused        (committer.py)
                    built on something that failed? -> decide again what was submitted

Nothing that was decided on a tip not yet durable is answered before that tip is: with a commit of its
own it follows in the queue, without one it waits. One edit of one document is decided at a time, many
documents at once. Whoever waits may be cancelled: what was put in the queue goes its way.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from msgspec import Struct
from msgspec.structs import replace

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
from plait_server.service.idempotency import IdempotencyKeys, StoredAnswer, encode_answer, read_answer
from plait_server.service.identifier import identifier
from plait_server.service.limits import ServiceLimits
from plait_server.service.replay import Replay
from plait_server.service.request import Caller, DocumentKey, Edit, IdempotencyKey
from plait_server.service.revision import Revision, join_missed
from plait_server.service.rules import Rules
from plait_server.store import (
    Address,
    AlreadySettled,
    Commit,
    CommitResult,
    Committed,
    ConflictRecord,
    HeadMoved,
    KeyRecord,
    KeyTaken,
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
PAUSE_S = 0.005
CONFLICTS_AT_ONCE = 8
"""More than this are written up off the event loop: each comes with patches of its own."""
LATE_REVISIONS = 200
"""An edit that missed more than this is rebased off the event loop."""


class Editor:
    """Everything an edit meets on its way."""

    def __init__(
        self,
        documents: Documents,
        collections: Collections,
        committer: Committer,
        keys: IdempotencyKeys,
        replay: Replay,
        limits: ServiceLimits,
        epoch: str,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.documents = documents
        self.collections = collections
        self.committer = committer
        self.keys = keys
        self.replay = replay
        self.limits = limits
        self.epoch = epoch
        self.clock = clock
        self.random_bytes = random_bytes
        self.closing = False
        self._under_way = 0
        self._drained = asyncio.Event()

    def edit(self, caller: Caller, document: DocumentKey, edit: Edit) -> Coroutine[None, None, Answer]:
        """Take an edit from submission to its answer. Raises what it is refused with."""
        if edit.key is None or edit.dry_run:
            return self._until_decided(caller, document, edit)
        return self._once(caller, document, edit, edit.key)

    async def close(self) -> None:
        """Finish the edits under way; refuse those that come later."""
        self.closing = True
        if self._under_way:
            await self._drained.wait()

    async def _once(self, caller: Caller, document: DocumentKey, edit: Edit, key: IdempotencyKey) -> Answer:
        """Take an edit that may have been sent before."""
        remembered = self.keys.begin(caller, key)
        if remembered is not None:
            return await self.replay.answer(caller, remembered)
        try:
            return await self._until_decided(caller, document, edit)
        except (errors.Unavailable, *STORED_REFUSALS):
            raise
        except errors.PlaitServerError:
            # Refusals that are not stored say nothing about the first request with this key.
            stored = await self.keys.stored(caller, key)
            if stored is None:
                raise
            return await self.replay.answer(caller, stored)
        finally:
            self.keys.end(caller, key)

    async def _until_decided(self, caller: Caller, key: DocumentKey, edit: Edit) -> Answer:
        """Take an edit, again while what it was decided on fails."""
        if self.closing or self.committer.full:
            raise errors.Overloaded("The server is closing." if self.closing else "Too many edits wait.")
        address = Address(caller.tenant, key.collection, key.id)
        self._under_way += 1
        try:
            for round_ in range(self.limits.rounds_max):
                if round_ > 1:
                    await self._pause(round_)
                document = self.documents.get(address) or await self.documents.open(address)
                document.users += 1
                try:
                    rules = self.collections.of(caller.tenant, key.collection)
                    attempt = _Attempt(self, caller, key, rules, _ruled(edit, rules), document, document.tip)
                    if not attempt.submit_at_once():
                        await attempt.submit_in_turn()
                    answer = await attempt.answer()
                finally:
                    document.users -= 1
                    self.documents.release(document)
                if answer is not None:
                    return answer
            raise errors.HotDocument("Others kept changing the document first.")
        finally:
            self._under_way -= 1
            if self.closing and not self._under_way:
                self._drained.set()

    async def _pause(self, round_: int) -> None:
        """Wait a random part of a time that doubles, so that those in each other's way part."""
        part = int.from_bytes(self.random_bytes(2), "big") / 65_536
        await asyncio.sleep(part * PAUSE_S * 2**round_)


def _ruled(edit: Edit, rules: Rules) -> Edit:
    """Let the collection say how an edit merges that does not say so itself."""
    if edit.merge == "auto" != rules.merge:
        return replace(edit, merge=rules.merge)
    return edit


class _Attempt(Struct):
    """One attempt at one edit, on the document as it is in memory now."""

    editor: Editor
    caller: Caller
    key: DocumentKey
    rules: Rules
    edit: Edit
    document: OpenDocument
    # What it was decided on: the document's tip, the number of the base, what came after it.
    tip: Revision
    base: int = 0
    since: Sequence[Revision] = ()
    # What came of it: one of the two; and what waits for the disk.
    decision: Decision | None = None
    refusal: errors.PlaitServerError | None = None
    outdated: bool = False
    revision: Revision | None = None
    conflict: str | None = None
    key_record: KeyRecord | None = None
    result: asyncio.Future[CommitResult] | None = None

    def submit_at_once(self) -> bool:
        """Decide and propose without waiting for anything; False where that cannot be, or takes long."""
        document = self.document
        if document.deciding.locked():
            return False
        tip = self.tip = document.tip
        try:
            self._check_conditions()
            base = tip if self.base == tip.n else document.at(self.base)
            if base is None or self._takes_long():
                return False
            if base is not tip:
                self.since = document.since(base.n, tip.n)
                document.index(self.rules.policy)
            self._decide(base)
        except errors.PlaitServerError as refusal:
            self.refusal = refusal
        self._propose()
        return True

    async def submit_in_turn(self) -> None:
        """Decide and propose when nobody else does, with what has to be read first, off the event loop
        where it takes long."""
        document = self.document
        async with document.deciding:
            self.tip = document.tip
            try:
                self._check_conditions()
                base, self.since = await self.editor.documents.span(document, self.base, self.tip.n)
                document.index(self.rules.policy)
                if self._takes_long():
                    await asyncio.to_thread(self._decide, base)
                else:
                    self._decide(base)
            except errors.Unavailable:
                raise
            except errors.PlaitServerError as refusal:
                self.refusal = refusal
            self.outdated = not self._rules_stand()
            if not document.stale and not self.outdated:
                self._propose()

    def _rules_stand(self) -> bool:
        """Say whether the rules it was decided under still hold: what comes after others obeys those."""
        return self.editor.collections.of(self.caller.tenant, self.key.collection) is self.rules

    def _check_conditions(self) -> None:
        self.base = check_conditions(self.edit, self.tip, self.editor.epoch, self._changed_since)

    def _changed_since(self, n: int) -> list[str] | None:
        if self.document.at(n) is None:
            return None
        return changed_pointers(self.document.since(n, self.tip.n))

    def _takes_long(self) -> bool:
        edit, document, long = self.edit, self.document, self.editor.limits.offload_bytes_min
        if edit.weight_bytes > long:
            return True
        if edit.kind == "put" or edit.kind == "merge_patch" or self.rules.schema is not None:
            return document.size_bound > long
        return self.tip.n - self.base > LATE_REVISIONS

    def _decide(self, base: Revision) -> None:
        self.decision = decide(self.edit, base, self.since, self.document, self.editor.limits, self.rules)

    def _propose(self) -> None:
        """Put what was decided on the way to the disk: at once, so that the next edit builds on it."""
        edit, decision = self.edit, self.decision
        if edit.dry_run:
            return
        at = int(self.editor.clock() * 1000)
        record = conflict = settles = None
        if isinstance(decision, Change):
            record = self._revise(decision, at)
            settles = edit.resolves
        elif isinstance(decision, Overlap):
            conflict = self._keep(decision, at)
        elif decision is not None:
            settles = edit.resolves
        if edit.key is not None and (self.refusal is None or isinstance(self.refusal, STORED_REFUSALS)):
            self.key_record = self._answer_to_keep(at)
        if record or conflict or settles or self.key_record:
            commit = Commit(self.document.address, self.tip.n, at, record, self.key_record, conflict, settles)
            self.result = self.editor.committer.put(commit, self.document, self.revision)

    def _revise(self, change: Change, at: int) -> RevisionRecord:
        """Make the new revision the tip."""
        edit, caller, rules = self.edit, self.caller, self.rules
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
        edit, editor = self.edit, self.editor
        self.conflict = identifier(at, editor.random_bytes)
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
            expires=at + int(editor.limits.conflict_ttl_s * 1000),
        )

    def _answer_to_keep(self, at: int) -> KeyRecord:
        key = self.edit.key
        assert key is not None
        expires = at + int(self.editor.limits.idempotency_ttl_s * 1000)
        answer = encode_answer(self._stored_answer())
        return KeyRecord(self.caller.subject, key.key, key.fingerprint, answer, at, expires)

    def _stored_answer(self) -> StoredAnswer:
        refusal, key = self.refusal, self.key
        if refusal is not None:
            return StoredAnswer(
                outcome=refusal.code,
                collection=key.collection,
                id=key.id,
                revision=self.tip.n,
                base=self.base or None,
                detail=refusal.detail,
                members=dict(refusal.members),
            )
        return StoredAnswer(
            outcome=self._outcome() if self.conflict is None else errors.MergeConflict.code,
            collection=key.collection,
            id=key.id,
            revision=self.tip.n if self.revision is None else self.revision.n,
            base=self.base or None,
            settled=self.edit.resolves,
            notes=self.decision.notes if isinstance(self.decision, Change) else (),
            conflict=self.conflict,
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
                self.editor.keys.remember(self.caller, self.key_record)
        if self.refusal is not None:
            raise self.refusal
        if isinstance(self.decision, Overlap):
            raise await self._merge_conflict(self.decision)
        return self._accepted()

    async def _not_committed(self, result: HeadMoved | KeyTaken | AlreadySettled) -> Answer | None:
        if isinstance(result, KeyTaken):
            return await self._answer_of_the_first(result)
        if isinstance(result, AlreadySettled):
            raise self._already_settled(result)
        return None

    async def _answer_of_the_first(self, taken: KeyTaken) -> Answer:
        """Answer as the first request with this key was answered: this one has no effect."""
        key, editor = self.edit.key, self.editor
        assert key is not None
        stored = read_answer(taken.record, key)
        editor.keys.remember(self.caller, taken.record)
        return await editor.replay.answer(self.caller, stored)

    def _already_settled(self, result: AlreadySettled) -> errors.PlaitServerError:
        if result.revision is None:
            return errors.InvalidValue(
                "There is no such conflict to resolve.", {"resolves": self.edit.resolves}
            )
        return errors.AlreadyResolved("The conflict was settled before.", {"revision": result.revision})

    async def _merge_conflict(self, overlap: Overlap) -> errors.MergeConflict:
        changes = len(overlap.submission.operations)
        arguments = (
            self.key,
            overlap.conflicted,
            changes,
            self.base,
            self.since,
            self.editor.limits,
            self.conflict,
        )
        many = len(overlap.conflicted.conflicts) > CONFLICTS_AT_ONCE
        if many or self._takes_long() or self.document.size_bound > self.editor.limits.offload_bytes_min:
            return await asyncio.to_thread(merge_conflict, *arguments)
        return merge_conflict(*arguments)

    def _accepted(self) -> Answer:
        change, limits = self.decision, self.editor.limits
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
            epoch=self.editor.epoch,
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
