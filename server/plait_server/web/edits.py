"""From headers and a body to an `Edit`, and from its answer back to a response."""

from collections.abc import Awaitable
from hashlib import blake2b
from typing import Final

from aiohttp import web
from multidict import istr

from plait_merge.values import ABSENT, Json
from plait_server import wire
from plait_server.errors import RevisionCompacted, Unavailable
from plait_server.service import (
    Answer,
    Caller,
    DocumentKey,
    Edit,
    EditKind,
    Hold,
    IdempotencyKey,
    IfMatch,
    Operation,
    Service,
)
from plait_server.service.moment import format_moment
from plait_server.web.conditions import (
    BadHeader,
    Return,
    Tags,
    etag,
    read_base,
    read_key,
    read_lock,
    read_respond_async,
    read_return,
    read_tags,
    single,
)
from plait_server.web.requests import Head, author_of, trace_of
from plait_server.web.written import WrittenAtOnce

TENANT: Final = "default"
JSON: Final = "application/json"

# Names looked up for every edit; an istr is not lowered again each time.
_BASE: Final = istr("Plait-Base")
_IF_MATCH: Final = istr("If-Match")
_IF_NONE_MATCH: Final = istr("If-None-Match")
_LOCK: Final = istr("Plait-Lock")
_KEY: Final = istr("Idempotency-Key")
_PREFER: Final = istr("Prefer")
_MEANINGFUL: Final = (istr("Content-Type"), _BASE, _IF_MATCH, _IF_NONE_MATCH)
EDIT_HEADERS: Final = (
    "Plait-Base",
    "If-Match",
    "If-None-Match",
    "Plait-Lock",
    "Idempotency-Key",
    "Prefer",
    "Plait-Author",
    "traceparent",
)

RETRY_AFTER_S: Final = 1
"""Until it is worth asking again what came of a queued edit; to wait for it is better."""

_RESULT: Final = (
    b'{"document":"%b","revision":%d,"base":%b,"outcome":"%b","patch":%b,"missed":%b,"epoch":"%b"%b}'
)


def caller_of(head: Head) -> Caller:
    """Name the caller. Every tenant is the same one as long as there is no access control."""
    author = author_of(head)
    return Caller(TENANT, author, author)


def document_of(request: web.Request) -> DocumentKey:
    """Name the document of the path."""
    named = request.match_info
    return DocumentKey(named["collection"], named["id"])


def check_room(service: Service, request: web.Request, caller: Caller, document: DocumentKey | None) -> None:
    """Refuse an edit for which there is no room, before its body is read; but who asks for it is queued.

    Raises HotDocument, Overloaded.
    """
    try:
        service.check_room(caller, document)
    except Unavailable:
        if _PREFER not in request.headers or _wait_s(request) is None:
            raise


def edit_of(head: Head, kind: EditKind, content: Json, body: bytes) -> Edit:
    """Put together what a write asks for. Raises BadHeader."""
    headers = head.headers
    base, epoch = None, None
    stated = single(headers, _BASE)
    if stated is not None:
        base, epoch = read_base(stated)
    return Edit(
        kind=kind,
        content=content,
        base=base,
        epoch=epoch,
        if_match=_if_match(read_tags(headers, _IF_MATCH)) if _IF_MATCH in headers else None,
        if_none_match=_IF_NONE_MATCH in headers and _only_if_new(read_tags(headers, _IF_NONE_MATCH)),
        lock=lock_of(head) if _LOCK in headers else None,
        key=key_of(head, body) if _KEY in headers else None,
        trace=trace_of(head),
        weight_bytes=len(body),
    )


def _if_match(tags: Tags | None) -> IfMatch | None:
    if tags is None:
        return None
    return IfMatch(revisions=tuple(sorted(tags.revisions)), any=tags.any, weak=bool(tags.weak))


def _only_if_new(tags: Tags | None) -> bool:
    if tags is None:
        return False
    if not tags.any:
        raise BadHeader("If-None-Match", "a write understands only `*`, for: create, never replace.")
    return True


def lock_of(head: Head) -> Hold | None:
    """Read which lease a write is made under. Raises BadHeader."""
    stated = single(head.headers, _LOCK)
    return None if stated is None else Hold(*read_lock(stated))


def key_of(head: Head, body: bytes) -> IdempotencyKey | None:
    """Read the idempotency key, with a fingerprint of everything that gives the request its meaning."""
    stated = single(head.headers, _KEY)
    if stated is None:
        return None
    said = [head.method, head.path]
    said += [", ".join(head.headers.getall(name, ())) for name in _MEANINGFUL]
    meant = "\n".join(said).encode(errors="replace") + b"\n\n" + body
    return IdempotencyKey(read_key(stated), blake2b(meant, digest_size=16).hexdigest())


class EditAnswers:
    """Write the answers to edits, for documents and for resolutions alike."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def decide(
        self, request: web.Request, caller: Caller, document: DocumentKey, edit: Edit
    ) -> Awaitable[Answer | Operation]:
        """Let an edit be decided: now, or when its turn comes where that is preferred.

        A dry run stores nothing, so it cannot wait.
        """
        if _PREFER not in request.headers or edit.dry_run:
            return self._service.edit(caller, document, edit)
        wait_s = _wait_s(request)
        if wait_s is None:
            return self._service.edit(caller, document, edit)
        return self._service.queue.submit(caller, document, edit, wait_s)

    async def respond(
        self, request: web.Request, caller: Caller, answer: Answer | Operation, *, known_base: bool
    ) -> web.StreamResponse:
        """Answer an edit; `known_base` says that the caller had stated what it edited."""
        if isinstance(answer, Operation):
            return queued_response(answer)
        prefer = request.headers.get(_PREFER)
        wanted = read_return(prefer) if prefer is not None else None
        value = None
        if wanted is Return.REPRESENTATION and answer.outcome != "deleted":
            value = await self._value(caller, answer)
            wanted = None if value is None else wanted
        return write_answer(answer, wanted, value, known_base=known_base)

    async def _value(self, caller: Caller, answer: Answer) -> bytes | None:
        """Give the document after the edit; None where an answer is given again and it is gone."""
        if answer.value is not ABSENT:
            return wire.encode(answer.value)
        try:
            return (await self._service.read(caller, answer.document, answer.revision)).body
        except RevisionCompacted:
            return None


def write_answer(
    answer: Answer, wanted: Return | None = None, value: bytes | None = None, *, known_base: bool
) -> WrittenAtOnce:
    """Write the answer to an edit; `value` is the document after it, where that is wanted."""
    document = answer.document.name
    created = answer.outcome == "created"
    fields = (
        f"Cache-Control: private\r\nPlait-Revision: {answer.revision}\r\n"
        f'Link: </v1/docs/{document}/revisions>; rel="version-history"\r\n'
    )
    if created:
        fields += f"Location: /v1/docs/{document}\r\n"
    if answer.replayed:
        fields += "Idempotency-Replayed: true\r\n"
    if wanted is not None:
        fields += f"Preference-Applied: return={wanted}\r\n"
    if _holds_the_document(answer, wanted, known_base):
        fields += f"ETag: {etag(answer.revision)}\r\n"
    if wanted is Return.MINIMAL or answer.outcome == "deleted":
        return WrittenAtOnce(201 if created else 204, fields, b"")
    body = result_of(answer, document, b"" if value is None else b',"value":%b' % value)
    return WrittenAtOnce(201 if created else 200, f"{fields}Content-Type: {JSON}\r\n", body)


def knows_its_base(edit: Edit) -> bool:
    """Say whether the caller stated what it edited."""
    return edit.base is not None or (edit.if_match is not None and not edit.if_match.any)


def _wait_s(request: web.Request) -> float | None:
    """Say how long the caller would wait for a queued edit; None where it is not to be queued."""
    return read_respond_async(", ".join(request.headers.getall(_PREFER)))


def result_of(answer: Answer, document: str, more: bytes = b"") -> bytes:
    """Write what became of an edit of `document`; `more` are further members, each after a comma."""
    if answer.notes:
        more = b',"notes":%b%b' % (wire.encode(answer.notes), more)
    if answer.settled is not None:
        more = b',"settled":"%b"%b' % (answer.settled.encode(), more)
    return _RESULT % (
        document.encode(),
        answer.revision,
        b"null" if answer.base is None else b"%d" % answer.base,
        answer.outcome.encode(),
        answer.patch,
        b"null" if answer.missed is None else answer.missed,
        answer.epoch.encode(),
        more,
    )


def operation_members(operation: Operation) -> dict[str, object]:
    """Give what is known of a queued edit before it is decided."""
    document = operation.document
    return {
        "operation": operation.id,
        "document": document.name,
        "status": operation.status,
        "accepted": format_moment(operation.accepted),
    }


def queued_response(operation: Operation) -> WrittenAtOnce:
    """Answer an edit that waits for its turn."""
    fields = (
        f"Cache-Control: no-store\r\nLocation: /v1/operations/{operation.id}\r\n"
        f"Preference-Applied: respond-async\r\nRetry-After: {RETRY_AFTER_S}\r\nContent-Type: {JSON}\r\n"
    )
    return WrittenAtOnce(202, fields, wire.encode(operation_members(operation)))


def _holds_the_document(answer: Answer, wanted: Return | None, known_base: bool) -> bool:
    """Tell whether the caller surely has what the tag would name.

    Who patched its own copy and was merged does not: with a tag it could pass a later If-Match
    without having seen the others' edits.
    """
    if answer.outcome == "created":
        return True
    if answer.outcome == "applied":
        return known_base or wanted is Return.REPRESENTATION
    return wanted is Return.REPRESENTATION and answer.outcome in ("merged", "noop")
