"""Giving an answer again: the same outcome, revision and patch, without doing anything."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from plait_merge import ABSENT, Conflicted
from plait_server import errors
from plait_server.service.answer import Answer, BatchAnswer, Outcome
from plait_server.service.collections import Collections
from plait_server.service.conflict import Kept, conflict_of, merge_conflict, read_kept
from plait_server.service.decision import ruled, submission_of
from plait_server.service.document import OpenDocument
from plait_server.service.documents import Documents
from plait_server.service.idempotency import StoredAnswer, StoredAnswers
from plait_server.service.limits import ServiceLimits
from plait_server.service.misfit import Misfit
from plait_server.service.request import Batch, Caller, DocumentKey, Edit
from plait_server.service.revision import Revision, join_missed
from plait_server.service.rules import Rules
from plait_server.store import Address, ConflictRecord, Store


def _by_code(refusal: type[errors.PlaitServerError]) -> dict[str, type[errors.PlaitServerError]]:
    own = {refusal.code: refusal} if hasattr(refusal, "code") else {}
    return own | {code: each for kind in refusal.__subclasses__() for code, each in _by_code(kind).items()}


REFUSALS: Mapping[str, type[errors.PlaitServerError]] = {
    code: refusal
    for code, refusal in _by_code(errors.PlaitServerError).items()
    if refusal is not errors.MergeConflict
}
"""By their codes, those that are stored as they are."""


class Replay:
    """The way back from what is stored of an answer, or of a conflict, to all of it."""

    def __init__(
        self,
        documents: Documents,
        collections: Collections,
        store: Store,
        limits: ServiceLimits,
        epoch: str,
    ) -> None:
        self._documents = documents
        self._collections = collections
        self._store = store
        self._limits = limits
        self._epoch = epoch

    async def answer(self, caller: Caller, stored: StoredAnswer) -> Answer:
        """Give a stored answer again. Raises it, marked as replayed, where it is a refusal.

        Where its revision was compacted away, the answer is the same without `patch` and `missed`.
        """
        address = _address(caller, stored)
        if stored.conflict is not None:
            refusal: errors.PlaitServerError = await self._conflict(address, stored)
        elif stored.detail is not None:
            refusal = REFUSALS[stored.outcome](stored.detail, stored.members)
        else:
            return await self._accepted(address, stored)
        refusal.replayed = True
        raise refusal

    async def batch(self, caller: Caller, batch: Batch, stored: StoredAnswers) -> BatchAnswer:
        """Give the stored answer to a batch again; `batch` is what was sent, now as then.

        Raises BatchRefused, marked as replayed.
        """
        if stored.refused:
            overlaps = sum(answer.outcome not in REFUSALS for answer in stored.answers)
            limits = self._limits.shared(overlaps)
            refused = errors.BatchRefused(
                {
                    number: await self._refusal_in_batch(caller, batch.edits[number][1], answer, limits)
                    for number, answer in zip(stored.refused, stored.answers, strict=True)
                }
            )
            refused.replayed = True
            raise refused
        return BatchAnswer(
            [await self._accepted(_address(caller, answer), answer) for answer in stored.answers],
            replayed=True,
        )

    async def conflicted(
        self, document: OpenDocument, record: ConflictRecord
    ) -> tuple[Conflicted | Misfit, list[Revision], Revision]:
        """Work a kept conflict out again: the conflict, what it missed, and the head it was found on.

        Raises LookupError where the engine finds it no longer (its limits were changed), BaseUnavailable
        where what it was found on was compacted away.
        """
        base, since = await self._documents.span(document, record.base, record.head)
        head = await self._documents.state(document, record.head)
        kept = read_kept(record)
        rules = await self._collections.at(document.address, kept.rules)
        found = await asyncio.to_thread(conflict_of, base, since, kept, rules, self._limits.values)
        return found, since, head

    async def _accepted(self, address: Address, stored: StoredAnswer) -> Answer:
        document = await self._documents.open(address)
        changed = stored.outcome != "noop"
        upto = stored.revision - 1 if changed else stored.revision
        base = upto if stored.base is None else stored.base
        missed = await self._revisions(document, base, upto)
        patch = b"[]"
        if changed:
            committed = await self._revisions(document, upto, stored.revision)
            patch = committed[0].patch if committed else b"null"
        return Answer(
            outcome=cast(Outcome, stored.outcome),
            document=DocumentKey(stored.collection, stored.id),
            revision=stored.revision,
            base=stored.base,
            patch=patch,
            missed=self._join(missed) if len(missed) == upto - base else None,
            epoch=self._epoch,
            value=ABSENT,
            replayed=True,
            settled=stored.settled,
            notes=stored.notes,
        )

    async def _revisions(self, document: OpenDocument, above: int, upto: int) -> Sequence[Revision]:
        """Give revisions for an answer; none where they are too many to be in it, or gone."""
        if upto - above > self._limits.missed_revisions_max:
            return ()
        if document.at(above) is not None:
            return document.since(above, upto)
        try:
            return await self._documents.chain(document.address, above, upto)
        except errors.RevisionCompacted:
            return ()

    async def _conflict(self, address: Address, stored: StoredAnswer) -> errors.MergeConflict:
        assert stored.conflict is not None
        record = await self._store.conflict(address, stored.conflict)
        if record is not None:
            try:
                conflicted, since, _ = await self.conflicted(await self._documents.open(address), record)
            except (LookupError, errors.BaseUnavailable, errors.RevisionCompacted):
                pass
            else:
                document = DocumentKey(stored.collection, stored.id)
                changes = len(read_kept(record).patch)
                return await asyncio.to_thread(
                    merge_conflict, document, conflicted, changes, record.base, since, self._limits, record.id
                )
        return _conflict_without_details(stored)

    async def _refusal_in_batch(
        self, caller: Caller, edit: Edit, stored: StoredAnswer, limits: ServiceLimits
    ) -> errors.PlaitServerError:
        if stored.outcome in REFUSALS:
            return REFUSALS[stored.outcome](stored.detail or "", stored.members)
        address = _address(caller, stored)
        rules = await self._collections.at(address, stored.rules)
        document = await self._documents.open(address)
        try:
            base, since = await self._documents.span(document, stored.base or 0, stored.revision)
            return await asyncio.to_thread(_found_again, stored, base, since, edit, rules, limits)
        except (LookupError, errors.BaseUnavailable):
            return _conflict_without_details(stored)

    def _join(self, revisions: Sequence[Revision]) -> bytes | None:
        return join_missed(revisions, self._limits.missed_revisions_max, self._limits.missed_bytes_max)


def _address(caller: Caller, stored: StoredAnswer) -> Address:
    return Address(caller.tenant, stored.collection, stored.id)


def _found_again(
    stored: StoredAnswer,
    base: Revision,
    since: Sequence[Revision],
    edit: Edit,
    rules: Rules,
    limits: ServiceLimits,
) -> errors.MergeConflict:
    """Work out again the conflict of an edit that is at hand. Raises LookupError if there is none."""
    try:
        patch = submission_of(edit, base, limits.values).patch
    except errors.PlaitServerError as error:
        raise LookupError("the edit is beyond the limits now") from error
    kept = Kept(patch=patch, merge=ruled(edit, rules).merge, extended=edit.extended)
    conflicted = conflict_of(base, since, kept, rules, limits.values)
    document = DocumentKey(stored.collection, stored.id)
    return merge_conflict(document, conflicted, len(patch), base.n, since, limits, None)


def _conflict_without_details(stored: StoredAnswer) -> errors.MergeConflict:
    members: dict[str, object] = {
        "base_revision": stored.base,
        "head_revision": stored.revision,
        "conflicts_total": 0,
        "conflicts": [],
        "clean_operations": [],
        "clean_patch": [],
        "missed": None,
    }
    return errors.MergeConflict("The edits overlapped; the conflict is no longer kept.", members)
