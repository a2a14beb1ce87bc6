"""An edit that is decided later: how it is kept, named, and shown to its tenant."""

import asyncio
from hashlib import blake2b
from typing import Literal

from msgspec import Struct, json
from msgspec.structs import replace

from plait_server.errors import InvalidValue, PlaitServerError
from plait_server.service.answer import Answer
from plait_server.service.idempotency import StoredAnswer, encode_answer
from plait_server.service.identifier import spell
from plait_server.service.request import Caller, DocumentKey, Edit, IdempotencyKey
from plait_server.store import KeyTaken, OperationDone, OperationRecord


class Operation(Struct, frozen=True, kw_only=True):
    """An edit that was accepted to be decided later.

    It waits until it is finished, with an answer or with what it is refused with: see `status`. Times are
    milliseconds since 1970.
    """

    id: str
    document: DocumentKey
    accepted: int
    finished: int | None = None
    answer: Answer | None = None
    refusal: PlaitServerError | None = None

    @property
    def status(self) -> Literal["queued", "done", "refused"]:
        if self.refusal is not None:
            return "refused"
        return "queued" if self.answer is None else "done"


class Queued(Struct, eq=False):
    """An accepted edit in memory, as it is stored, or one that is being accepted.

    `accepted` gives how it is stored, or the answer that its idempotency key has already; `finished` what it
    is finished with, or None where the store knows.
    """

    record: OperationRecord
    caller: Caller
    key: IdempotencyKey | None
    accepted: asyncio.Future[OperationRecord | KeyTaken]
    finished: asyncio.Future[OperationDone | None]

    @property
    def document(self) -> DocumentKey:
        return DocumentKey(self.record.address.collection, self.record.address.id)


class _Keyed(Struct, frozen=True):
    key: IdempotencyKey | None = None


_encoder = json.Encoder()
_decoder = json.Decoder(Edit)
_key_decoder = json.Decoder(_Keyed)


def encode_edit(edit: Edit) -> bytes:
    """Write an edit as it is kept until its turn comes."""
    return _encoder.encode(edit)


def read_edit(body: bytes) -> Edit:
    """Read a kept edit: the very one that was submitted. Raises InvalidValue."""
    try:
        return _decoder.decode(body)
    except ValueError as error:
        raise InvalidValue("The queued edit cannot be read any more.") from error


def read_key_of(body: bytes) -> IdempotencyKey | None:
    """Read only the idempotency key of a kept edit; None where it cannot be read."""
    try:
        return _key_decoder.decode(body).key
    except ValueError:
        return None


def keyed_id(caller: Caller, key: IdempotencyKey) -> str:
    """Name the operation of an idempotency key: the same for the same, so that the store takes it once."""
    scope = _encoder.encode((caller.subject, key.key))
    return spell(int.from_bytes(blake2b(scope, digest_size=16).digest(), "big"))


def operation_done(
    operation: str, stored: StoredAnswer, key: IdempotencyKey | None, at: int, expires: int
) -> OperationDone:
    """Write up what came of a queued edit at some moment."""
    answer = replace(stored, fingerprint=None if key is None else key.fingerprint)
    return OperationDone(operation, encode_answer(answer), at, expires)
