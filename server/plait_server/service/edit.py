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
from collections.abc import Callable, Sequence

from plait_server import errors
from plait_server.service.answer import Answer, Outcome
from plait_server.service.committer import Committer
from plait_server.service.conflict import Kept, merge_conflict
from plait_server.service.decision import (
    Change,
    Decision,
    Overlap,
    Past,
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
from plait_server.service.request import Caller, DocumentKey, Edit
from plait_server.service.revision import Revision, join_missed
from plait_server.store import (
    Address,
    AlreadySettled,
    Commit,
    CommitResult,
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
)
"""Refusals that are answers: kept under an idempotency key. The others may turn out differently."""
PAUSE_S = 0.005
LATE_REVISIONS = 100
"""An edit that missed more than this is rebased off the event loop."""


class Editor:
    """Everything an edit meets on its way."""

    def __init__(
        self,
        documents: Documents,
        committer: Committer,
        keys: IdempotencyKeys,
        replay: Replay,
        limits: ServiceLimits,
        epoch: str,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.documents = documents
        self.committer = committer
        self.keys = keys
        self.replay = replay
        self.limits = limits
        self.epoch = epoch
        self.clock = clock
        self.random_bytes = random_bytes

    async def edit(self, caller: Caller, document: DocumentKey, edit: Edit) -> Answer:
        """Take an edit from submission to its answer. Raises what it is refused with."""
        if edit.key is None or edit.dry_run:
            return await self._until_decided(caller, document, edit)
        remembered = self.keys.begin(caller, edit.key)
        if remembered is not None:
            return await self.replay.answer(caller, remembered)
        try:
            return await self._until_decided(caller, document, edit)
        except (errors.Unavailable, *STORED_REFUSALS):
            raise
        except errors.PlaitServerError:
            # Refusals that are not stored say nothing about the first request with this key.
            stored = await self.keys.stored(caller, edit.key)
            if stored is None:
                raise
            return await self.replay.answer(caller, stored)
        finally:
            self.keys.end(caller, edit.key)

    async def _until_decided(self, caller: Caller, key: DocumentKey, edit: Edit) -> Answer:
        address = Address(caller.tenant, key.collection, key.id)
        for round_ in range(self.limits.rounds_max):
            if round_ > 1:
                await self._pause(round_)
            if self.committer.full:
                raise errors.Overloaded("Too many edits are waiting for the disk.")
            document = self.documents.get(address) or await self.documents.open(address)
            document.users += 1
            try:
                answer = await _Attempt(self, caller, key, edit, document).answer()
            finally:
                document.users -= 1
                self.documents.release(document)
            if answer is not None:
                return answer
        raise errors.HotDocument("Others kept changing the document first.")

    async def _pause(self, round_: int) -> None:
        """Wait a random part of a time that doubles, so that those in each other's way part."""
        part = int.from_bytes(self.random_bytes(2), "big") / 65_536
        await asyncio.sleep(part * PAUSE_S * 2**round_)


class _Attempt:
    """One attempt at one edit, on the document as it is in memory now."""

    __slots__ = (
        "_base",
        "_caller",
        "_conflict",
        "_decision",
        "_document",
        "_edit",
        "_editor",
        "_key",
        "_key_record",
        "_refusal",
        "_result",
        "_revision",
        "_since",
        "_tip",
    )

    def __init__(
        self, editor: Editor, caller: Caller, key: DocumentKey, edit: Edit, document: OpenDocument
    ) -> None:
        self._editor = editor
        self._caller = caller
        self._key = key
        self._edit = edit
        self._document = document
        self._tip = document.tip
        self._base = 0
        self._since: Sequence[Revision] = ()
        self._decision: Decision | None = None
        self._refusal: errors.PlaitServerError | None = None
        self._result: asyncio.Future[CommitResult] | None = None
        self._revision: Revision | None = None
        self._key_record: KeyRecord | None = None
        self._conflict: str | None = None

    async def answer(self) -> Answer | None:
        """Give the answer; None when the edit was decided on something that failed. Raises refusals."""
        document = self._document
        if document.deciding.locked() or not self._decide_at_once():
            async with document.deciding:
                await self._decide_at_leisure()
                if document.stale:
                    return None
                self._propose()
        else:
            self._propose()
        return await self._conclude()

    # Deciding

    def _decide_at_once(self) -> bool:
        """Decide without waiting for anything; False where that is not possible, or would take long."""
        document = self._document
        self._tip = document.tip
        try:
            self._check_conditions()
            base = document.at(self._base)
            if base is None or self._takes_long():
                return False
            self._decide(base, () if base is self._tip else document.since(base.n, self._tip.n))
        except errors.PlaitServerError as refusal:
            self._refusal = refusal
        return True

    async def _decide_at_leisure(self) -> None:
        """Decide with what has to be read first, off the event loop where it takes long."""
        document = self._document
        self._tip = document.tip
        try:
            self._check_conditions()
            base, since = await self._editor.documents.span(document, self._base, self._tip.n)
            if self._takes_long():
                await asyncio.to_thread(self._decide, base, since)
            else:
                self._decide(base, since)
        except errors.Unavailable:
            raise
        except errors.PlaitServerError as refusal:
            self._refusal = refusal

    def _check_conditions(self) -> None:
        self._base = check_conditions(self._edit, self._tip, self._editor.epoch, self._changed_since)

    def _changed_since(self, n: int) -> list[str] | None:
        if self._document.at(n) is None:
            return None
        return changed_pointers(self._document.since(n, self._tip.n))

    def _takes_long(self) -> bool:
        edit, document, long = self._edit, self._document, self._editor.limits.offload_bytes_min
        if edit.weight_bytes > long:
            return True
        if edit.kind == "put" or edit.kind == "merge_patch":
            return document.size_bound > long
        return self._tip.n - self._base > LATE_REVISIONS and not document.indexed

    def _decide(self, base: Revision, since: Sequence[Revision]) -> None:
        self._since = since
        past = Past(base, since, self._tip)
        self._decision = decide(self._edit, past, self._document, self._editor.limits)

    # Proposing

    def _propose(self) -> None:
        """Put what was decided on the way to the disk: at once, so that the next edit builds on it."""
        edit, decision = self._edit, self._decision
        if edit.dry_run:
            return
        at = int(self._editor.clock() * 1000)
        record = conflict = settles = None
        if isinstance(decision, Change):
            record = self._revise(decision, at)
            settles = edit.resolves
        elif isinstance(decision, Overlap):
            conflict = self._keep(decision, at)
        elif decision is not None:
            settles = edit.resolves
        if edit.key is not None and (self._refusal is None or isinstance(self._refusal, STORED_REFUSALS)):
            self._key_record = self._answer_to_keep(at)
        if record or conflict or settles or self._key_record:
            commit = Commit(
                self._document.address, self._tip.n, at, record, self._key_record, conflict, settles
            )
            self._result = self._editor.committer.put(commit, self._document, self._revision)

    def _revise(self, change: Change, at: int) -> RevisionRecord:
        """Make the new revision the tip."""
        edit, caller, n = self._edit, self._caller, self._tip.n + 1
        self._revision = Revision(
            n, change.kind, change.operations, change.patch, change.value, caller.author, at, edit.message
        )
        self._document.append(self._revision, change.size_bound)
        return RevisionRecord(
            n,
            change.kind,
            change.patch,
            self._base or None,
            change.submitted,
            caller.author,
            caller.subject,
            None if edit.key is None else edit.key.key,
            at,
            edit.message,
            edit.trace,
        )

    def _keep(self, overlap: Overlap, at: int) -> ConflictRecord:
        """Keep the conflict as a resource."""
        edit, editor = self._edit, self._editor
        self._conflict = identifier(at, editor.random_bytes)
        return ConflictRecord(
            id=self._conflict,
            author=self._caller.author,
            base=self._base,
            head=self._tip.n,
            body=encode(Kept(overlap.submission.patch, edit.message, edit.resolves)),
            opened=at,
            expires=at + int(editor.limits.conflict_ttl_s * 1000),
        )

    def _answer_to_keep(self, at: int) -> KeyRecord:
        key = self._edit.key
        assert key is not None
        expires = at + int(self._editor.limits.idempotency_ttl_s * 1000)
        answer = encode_answer(self._stored_answer())
        return KeyRecord(self._caller.subject, key.key, key.fingerprint, answer, at, expires)

    def _stored_answer(self) -> StoredAnswer:
        refusal, key = self._refusal, self._key
        if refusal is not None:
            return StoredAnswer(
                outcome=refusal.code,
                collection=key.collection,
                id=key.id,
                revision=self._tip.n,
                base=self._base or None,
                detail=refusal.detail,
                members=dict(refusal.members),
            )
        return StoredAnswer(
            outcome=self._outcome() if self._conflict is None else errors.MergeConflict.code,
            collection=key.collection,
            id=key.id,
            revision=self._tip.n if self._revision is None else self._revision.n,
            base=self._base or None,
            settled=self._edit.resolves,
            conflict=self._conflict,
        )

    # Concluding

    async def _conclude(self) -> Answer | None:
        """Wait until the answer may be given, and give it. None: it has to be decided again."""
        if self._result is None:
            if not await self._document.durable(self._tip):
                return None
        else:
            result = await self._result
            if isinstance(result, HeadMoved):
                return None
            if isinstance(result, KeyTaken):
                return await self._answer_of_the_first(result)
            if isinstance(result, AlreadySettled):
                raise self._already_settled(result)
            if self._key_record is not None:
                self._editor.keys.remember(self._caller, self._key_record)
        if self._refusal is not None:
            raise self._refusal
        if isinstance(self._decision, Overlap):
            raise await self._merge_conflict(self._decision)
        return self._accepted()

    async def _answer_of_the_first(self, taken: KeyTaken) -> Answer:
        """Answer as the first request with this key was answered: this one has no effect."""
        key, editor = self._edit.key, self._editor
        assert key is not None
        stored = read_answer(taken.record, key)
        editor.keys.remember(self._caller, taken.record)
        return await editor.replay.answer(self._caller, stored)

    def _already_settled(self, result: AlreadySettled) -> errors.PlaitServerError:
        if result.revision is None:
            return errors.InvalidValue(
                "There is no such conflict to resolve.", {"resolves": self._edit.resolves}
            )
        return errors.AlreadyResolved("The conflict was settled before.", {"revision": result.revision})

    async def _merge_conflict(self, overlap: Overlap) -> errors.MergeConflict:
        arguments = (overlap.conflicted, self._base, self._since, self._editor.limits, self._conflict)
        if self._takes_long() or self._document.size_bound > self._editor.limits.offload_bytes_min:
            return await asyncio.to_thread(merge_conflict, *arguments)
        return merge_conflict(*arguments)

    def _accepted(self) -> Answer:
        change, limits = self._decision, self._editor.limits
        if isinstance(change, Change):
            patch, value = change.patch, change.value
        else:
            patch, value = b"[]", self._tip.value
        return Answer(
            outcome=self._outcome(),
            document=self._key,
            revision=self._tip.n if self._revision is None else self._revision.n,
            base=self._base or None,
            patch=patch,
            missed=join_missed(self._since, limits.missed_revisions_max, limits.missed_bytes_max),
            epoch=self._editor.epoch,
            value=value,
            settled=self._edit.resolves,
        )

    def _outcome(self) -> Outcome:
        change, late = self._decision, self._base != self._tip.n
        if not isinstance(change, Change):
            return "noop"
        if self._edit.dry_run:
            return "would_merge" if late else "would_apply"
        if change.kind == "create":
            return "created"
        if change.kind == "delete":
            return "deleted"
        return "merged" if late else "applied"
