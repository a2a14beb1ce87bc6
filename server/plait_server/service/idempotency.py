"""Idempotency keys: one logical request has one effect, and every answer to it is the same.

Memory knows the requests under way and the recent answers; the store knows all of them, and its unique
constraint decides. So a fresh key costs no read.
"""

from collections import OrderedDict

from msgspec import Struct, json

from plait_merge import Json
from plait_server.errors import IdempotencyInProgress, IdempotencyKeyReused, PlaitServerError
from plait_server.service.request import Caller, DocumentKey, IdempotencyKey
from plait_server.service.store_time import StoreTime
from plait_server.store import KeyRecord, Store

Scope = tuple[str, str, str]
ANSWER_BYTES_MAX = 4_096
"""Larger answers are not kept in memory; the store has them."""


class StoredAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A decided answer, small: enough to give it again.

    `outcome` is that of an Answer, or the code of a refusal; then `detail` and `members` are its own,
    and `conflict` is the id under which a merge conflict is kept. `fingerprint` is that of the idempotency
    key, where the answer is that of a queued edit.
    """

    outcome: str
    collection: str
    id: str
    revision: int
    base: int | None = None
    settled: str | None = None
    notes: tuple[dict[str, Json], ...] = ()
    conflict: str | None = None
    detail: str | None = None
    members: dict[str, object] | None = None
    fingerprint: str | None = None
    rules: int = 0
    """The revision of the settings that a merge conflict which is not kept was found by."""


class StoredAnswers(Struct, frozen=True, omit_defaults=True):
    """The decided answer to a batch: those to all its edits, or those to the edits numbered in `refused`."""

    answers: tuple[StoredAnswer, ...]
    refused: tuple[int, ...] = ()


_decoder = json.Decoder(StoredAnswer)
_batch_decoder = json.Decoder(StoredAnswers)
_encoder = json.Encoder()


def encode_answer(answer: StoredAnswer | StoredAnswers) -> bytes:
    return _encoder.encode(answer)


def decode_answer(answer: bytes) -> StoredAnswer:
    return _decoder.decode(answer)


def stored_refusal(
    document: DocumentKey, refusal: PlaitServerError, revision: int = 0, base: int | None = None
) -> StoredAnswer:
    """Make a refusal small: `revision` is the head it was decided on."""
    return StoredAnswer(
        outcome=refusal.code,
        collection=document.collection,
        id=document.id,
        revision=revision,
        base=base,
        detail=refusal.detail,
        members=dict(refusal.members),
    )


class IdempotencyKeys:
    """The keys of all callers. Scope: tenant, caller, key."""

    def __init__(self, store: Store, recent_max: int, time: StoreTime) -> None:
        self._store = store
        self._recent_max = recent_max
        self._time = time
        self._under_way: dict[Scope, str] = {}
        self._recent: OrderedDict[Scope, KeyRecord] = OrderedDict()

    def begin(self, caller: Caller, key: IdempotencyKey) -> KeyRecord | None:
        """Give what is known here of the key; else note that the request is under way until `end`.

        Raises IdempotencyKeyReused, IdempotencyInProgress.
        """
        scope = (caller.tenant, caller.subject, key.key)
        record = self._recent.get(scope)
        if record is not None and record.expires > self._time.now():
            return record
        fingerprint = self._under_way.get(scope)
        if fingerprint is None:
            self._under_way[scope] = key.fingerprint
            return None
        if fingerprint != key.fingerprint:
            raise _reused()
        raise IdempotencyInProgress("The first request with this idempotency key is still running.")

    def end(self, caller: Caller, key: IdempotencyKey) -> None:
        self._under_way.pop((caller.tenant, caller.subject, key.key), None)

    def remember(self, caller: Caller, record: KeyRecord) -> None:
        """Keep an answer that is durable within reach, unless it is a large one."""
        if len(record.answer) > ANSWER_BYTES_MAX:
            return
        self._recent[caller.tenant, caller.subject, record.key] = record
        if len(self._recent) > self._recent_max:
            self._recent.popitem(last=False)

    async def stored(self, caller: Caller, key: IdempotencyKey) -> KeyRecord | None:
        """Ask the store for the key. Raises StoreUnavailable."""
        return await self._store.key(caller.tenant, caller.subject, key.key, self._time.now())


def read_answer(record: KeyRecord, key: IdempotencyKey) -> StoredAnswer:
    """Read a stored answer back. Raises IdempotencyKeyReused if it answers another request."""
    check_fingerprint(record.fingerprint, key)
    return decode_answer(record.answer)


def read_answers(record: KeyRecord, key: IdempotencyKey) -> StoredAnswers:
    """Read the stored answer to a batch back. Raises IdempotencyKeyReused if it answers another request."""
    check_fingerprint(record.fingerprint, key)
    return _batch_decoder.decode(record.answer)


def check_fingerprint(fingerprint: str | None, key: IdempotencyKey) -> None:
    """Raise IdempotencyKeyReused where a key belongs to another request."""
    if fingerprint != key.fingerprint:
        raise _reused()


def _reused() -> IdempotencyKeyReused:
    return IdempotencyKeyReused("This idempotency key was used for another request.")
