"""A turn: some queued edits of one document, decided in their order and synced together.

    propose     decide an edit on the tip, put it on the way to the disk; the next one builds on it
    conclude    when all of them are durable or failed: say how many, from the first on, are finished

An edit is finished by the very commit that writes what it does: killed in between, it is decided again or
found done, never both. Where one fails, so do those after it, which were built on it: their turn comes again,
in the same order.
"""

import asyncio
import logging
from collections.abc import Sequence
from enum import Enum

from plait_server import errors
from plait_server.service.attempt import PASSING, Attempt, Pipeline
from plait_server.service.decision import ruled
from plait_server.service.document import OpenDocument
from plait_server.service.idempotency import StoredAnswer, decode_answer, stored_refusal
from plait_server.service.operation import Queued, read_edit
from plait_server.store import AlreadyDone, Committed, HeadMoved, KeyTaken, OperationDone, Store

log = logging.getLogger(__name__)

Proposal = Attempt | StoredAnswer
"""An edit on its way to the disk, or what it is refused with where it did not get that far."""


async def take_turn(
    pipeline: Pipeline, store: Store, turn: Sequence[Queued]
) -> Sequence[OperationDone | None]:
    """Decide queued edits of one document; say for each that is finished, from the first on, with what.

    None: the store knows. The others wait for another turn: what is in their way may pass.
    """
    address = turn[0].record.address
    try:
        document = pipeline.documents.get(address) or await pipeline.documents.open(address)
    except errors.Unavailable:
        return ()
    document.users += 1
    try:
        proposals = await _propose_all(pipeline, document, turn)
        finished: list[OperationDone | None] = []
        for queued, proposal in zip(turn, proposals, strict=False):
            outcome = await _conclude(pipeline, store, queued, proposal)
            if outcome is _Verdict.AGAIN:
                break
            finished.append(outcome if isinstance(outcome, OperationDone) else None)
        return finished
    finally:
        document.users -= 1
        pipeline.documents.release(document)


async def _propose_all(pipeline: Pipeline, document: OpenDocument, turn: Sequence[Queued]) -> list[Proposal]:
    """Propose edits one after the other, up to one that has to wait; wait for what becomes of them."""
    proposals: list[Proposal] = []
    for queued in turn:
        proposal = await _propose(pipeline, document, queued)
        if proposal is None:
            break
        proposals.append(proposal)
        # Let others do something: this may be a long row.
        await asyncio.sleep(0)
    results = [each.result for each in proposals if isinstance(each, Attempt) and each.result]
    if results:
        await asyncio.wait(results)
        for result in results:
            result.exception()  # seen, also where nobody looks at it any more
    return proposals


async def _propose(pipeline: Pipeline, document: OpenDocument, queued: Queued) -> Proposal | None:
    """Decide an edit and put it on its way; None where it has to wait."""
    if document.stale:
        return None
    try:
        edit = read_edit(queued.record.body)
        rules = pipeline.collections.of(queued.record.address.tenant, queued.record.address.collection)
        attempt = Attempt(
            pipeline,
            queued.caller,
            queued.document,
            rules,
            ruled(edit, rules),
            document,
            document.tip,
            queued.record.id,
        )
        if not attempt.submit_at_once():
            await attempt.submit_in_turn()
    except PASSING:
        return None
    except errors.PlaitServerError as refusal:
        return stored_refusal(queued.document, refusal)
    except Exception:
        # It is in nobody's way: what was decided once would fail again and again.
        log.exception("The queued edit %s failed", queued.record.id)
        return stored_refusal(queued.document, errors.Internal("The server failed to decide the edit."))
    return None if attempt.result is None else attempt


class _Verdict(Enum):
    BEFORE = "before"
    """It was finished before, and the store knows with what."""
    AGAIN = "again"
    """What it was built on failed."""


async def _conclude(
    pipeline: Pipeline, store: Store, queued: Queued, proposal: Proposal
) -> OperationDone | _Verdict:
    """Say what an edit is finished with; see to it where its own commit could not."""
    try:
        outcome = await _outcome(pipeline, queued, proposal)
        if not isinstance(outcome, StoredAnswer):
            return outcome
        done = pipeline.done(queued.record.id, outcome, queued.key, int(pipeline.clock() * 1000))
        await store.finish_operation(queued.record.address.tenant, done)
    except PASSING:
        return _Verdict.AGAIN
    # Where it was finished before, that stands.
    return _Verdict.BEFORE


async def _outcome(
    pipeline: Pipeline, queued: Queued, proposal: Proposal
) -> OperationDone | StoredAnswer | _Verdict:
    """Give what an edit was finished with by its own commit, or what it came to and is still to be kept."""
    if isinstance(proposal, StoredAnswer):
        return proposal
    assert proposal.result is not None
    match await proposal.result:
        case Committed():
            if proposal.key_record is not None:
                pipeline.keys.remember(queued.caller, proposal.key_record)
            assert proposal.done is not None
            return proposal.done
        case AlreadyDone():
            return _Verdict.BEFORE
        case HeadMoved():
            return _Verdict.AGAIN
        case KeyTaken(record) if queued.key and record.fingerprint == queued.key.fingerprint:
            return decode_answer(record.answer)
    try:
        await proposal.answer()
    except PASSING:
        raise
    except errors.PlaitServerError as refusal:
        return stored_refusal(queued.document, refusal, proposal.tip.n, proposal.base or None)
    return _Verdict.AGAIN
