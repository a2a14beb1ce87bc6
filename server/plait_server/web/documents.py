"""Documents: create, put, patch, get, head, delete, list."""

import re
from collections.abc import Mapping
from typing import Final, TypeVar

from aiohttp import web

from plait_merge.pointer import InvalidPointer, array_index, parse_pointer
from plait_merge.values import ABSENT, Absent, Json
from plait_server import wire
from plait_server.config import Settings
from plait_server.service import (
    Begun,
    Caller,
    DocumentKey,
    DocumentView,
    Edit,
    EditKind,
    Hold,
    Operation,
    Service,
)
from plait_server.service.moment import format_moment, parse_moment
from plait_server.web.conditions import BadHeader, etag, read_tags, view_etag
from plait_server.web.door import Parser, bound_message, only_json, read_body, read_model
from plait_server.web.edits import (
    EDIT_HEADERS,
    JSON,
    EditAnswers,
    caller_of,
    check_room,
    document_of,
    edit_of,
    knows_its_base,
    queued_response,
)
from plait_server.web.models import answers, bodies
from plait_server.web.pages import cursor_of, limit_of, only_query, page_response, revision_of
from plait_server.web.problems import WEAK_TAG_HINT, Problem
from plait_server.web.requests import Head
from plait_server.web.routes import COLLECTION, DOCUMENT, LABEL_PATTERN, Route
from plait_server.web.short_road import take_under_way

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
EDIT: Final = "application/vnd.plait.edit+json"
PATCH_TYPES: Final[Mapping[str, EditKind]] = {JSON_PATCH: "patch", MERGE_PATCH: "merge_patch", EDIT: "patch"}
ACCEPT_PATCH: Final = {"Accept-Patch": ", ".join(PATCH_TYPES)}

WRITE_PROBLEMS: Final = (
    "bad-header",
    "bad-query",
    "malformed-json",
    "request-timeout",
    "too-large",
    "invalid-value",
    "idempotency-in-progress",
    "idempotency-key-reused",
    "precondition-failed",
    "hot-document",
    "overloaded",
    "store-unavailable",
    "outcome-unknown",
)
Stated = TypeVar("Stated", int, str, Hold)
MERGE_PROBLEMS: Final = (
    "merge-conflict",
    "base-unknown",
    "base-unavailable",
    "deleted",
    "locked",
    "stale-fence",
)


class Documents:
    """The document resource."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._parser = Parser(settings)
        self._answers = EditAnswers(service)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "PATCH",
                DOCUMENT,
                self.patch,
                "Edit a document; edits that do not overlap others' are merged",
                {200: answers.EditResult, 202: answers.OperationBody, 204: None},
                (
                    *WRITE_PROBLEMS,
                    *MERGE_PROBLEMS,
                    "malformed-patch",
                    "unsupported-patch",
                    "patch-inapplicable",
                    "schema-violation",
                    "test-failed",
                    "already-resolved",
                ),
                {JSON_PATCH: None, MERGE_PATCH: None, EDIT: bodies.EditBody},
                headers=EDIT_HEADERS,
            ),
            Route(
                "GET",
                DOCUMENT,
                self.get,
                "Read a document, a part of it or an earlier revision",
                {200: None, 304: None},
                (
                    "bad-header",
                    "bad-query",
                    "deleted",
                    "revision-compacted",
                    "precondition-failed",
                    "store-unavailable",
                ),
                query=("revision", "at", "label", "pointer"),
                headers=("If-None-Match", "If-Match"),
            ),
            Route(
                "PUT",
                DOCUMENT,
                self.put,
                "Create a document, or replace it strictly or by merge",
                {200: answers.EditResult, 201: answers.EditResult, 202: answers.OperationBody, 204: None},
                (
                    *WRITE_PROBLEMS,
                    *MERGE_PROBLEMS,
                    "precondition-required",
                    "schema-violation",
                    "unsupported-media-type",
                ),
                {JSON: None},
                headers=EDIT_HEADERS,
            ),
            Route(
                "DELETE",
                DOCUMENT,
                self.delete,
                "Delete a document; its history stays",
                {202: answers.OperationBody, 204: None},
                (*WRITE_PROBLEMS, *MERGE_PROBLEMS, "precondition-required"),
                headers=EDIT_HEADERS,
            ),
            Route(
                "POST",
                COLLECTION,
                self.post,
                "Create a document under an id the server chooses",
                {201: answers.EditResult, 202: answers.OperationBody},
                (*WRITE_PROBLEMS, "schema-violation", "stale-fence", "unsupported-media-type"),
                {JSON: None},
                headers=("Idempotency-Key", "Prefer", "Plait-Author", "traceparent"),
            ),
            Route(
                "GET",
                COLLECTION,
                self.list,
                "List the documents of a collection",
                {200: answers.DocumentList},
                ("bad-query", "bad-header", "store-unavailable"),
                query=("limit", "cursor"),
            ),
        )

    async def patch(self, request: web.Request) -> web.StreamResponse:
        under_way = take_under_way(request)
        if under_way is not None:
            caller, known_base = under_way.caller, knows_its_base(under_way.edit)
            try:
                decided = await under_way.answer
            finally:
                # It knows the refusal, that knows the frames it came through, and this would be one.
                del under_way
            return await self._answers.respond(request, caller, decided, known_base=known_base)
        only_query(request)
        media_type = _media_type(request)
        if media_type not in PATCH_TYPES:
            raise Problem(
                "unsupported-patch", f"Send one of {ACCEPT_PATCH['Accept-Patch']}.", None, ACCEPT_PATCH
            )
        caller, document = caller_of(request), document_of(request)
        check_room(self._service, request, caller, document)
        body = await read_body(request, self._settings.patch_bytes_max, self._settings.body_timeout_s)
        content = await self._parser.patch(body)
        edit = self._edit(request, media_type, content, body)
        answer = await self._answers.decide(request, caller, document, edit)
        return await self._answers.respond(request, caller, answer, known_base=knows_its_base(edit))

    def begin_patch(self, head: Head, document: DocumentKey, body: bytes) -> Begun | None:
        """Decide a PATCH whose body is read, if nothing has to be waited for before the disk; else None, and
        nothing is done. Raises whatever `patch` would answer with a problem."""
        media_type = _media_type(head)
        is_small = self._parser.is_short(body) and len(body) <= self._settings.patch_bytes_max
        if media_type not in PATCH_TYPES or not is_small:
            return None
        caller = caller_of(head)
        edit = self._edit(head, media_type, self._parser.at_once(body), body)
        return self._service.begin_edit(caller, document, edit)

    def _edit(self, head: Head, media_type: str, content: Json, body: bytes) -> Edit:
        if media_type == EDIT:
            return self._stated_edit(head, content, body)
        return edit_of(head, PATCH_TYPES[media_type], content, body)

    def _stated_edit(self, head: Head, content: Json, body: bytes) -> Edit:
        """Read Plait's own media type: what the headers can say may stand in the body too."""
        stated = read_model(bodies.EditBody, content, "The body is not an edit.", "malformed-patch")
        bound_message(stated.message, self._settings)
        plain = edit_of(head, "patch", stated.patch, body)
        named = None if stated.lock is None else Hold(stated.lock.id, stated.lock.fence)
        return Edit(
            kind="patch",
            content=stated.patch,
            base=_agreed("Plait-Base", "base", plain.base, stated.base),
            epoch=_agreed("Plait-Base", "epoch", plain.epoch, stated.epoch),
            if_match=plain.if_match,
            if_none_match=plain.if_none_match,
            merge=stated.merge,
            extended=True,
            message=stated.message,
            resolves=stated.resolves,
            dry_run=stated.dry_run,
            lock=_agreed("Plait-Lock", "lock", plain.lock, named),
            key=plain.key,
            trace=plain.trace,
            weight_bytes=len(body),
        )

    async def put(self, request: web.Request) -> web.StreamResponse:
        only_query(request)
        caller, document = caller_of(request), document_of(request)
        content, body = await self._document_in(request, caller, document)
        edit = edit_of(request, "put", content, body)
        answer = await self._answers.decide(request, caller, document, edit)
        return await self._answers.respond(request, caller, answer, known_base=True)

    async def post(self, request: web.Request) -> web.StreamResponse:
        only_query(request)
        caller, collection = caller_of(request), request.match_info["collection"]
        content, body = await self._document_in(request, caller, None)
        edit = edit_of(request, "create", content, body)
        document = self._service.new_document(collection)
        answer = await self._answers.decide(request, caller, document, edit)
        return await self._answers.respond(request, caller, answer, known_base=True)

    async def _document_in(
        self, request: web.Request, caller: Caller, document: DocumentKey | None
    ) -> tuple[Json, bytes]:
        only_json(_media_type(request))
        check_room(self._service, request, caller, document)
        settings = self._settings
        body = await read_body(
            request, settings.document_bytes_max, settings.body_timeout_s, "document_bytes"
        )
        return await self._parser.document(body), body

    async def delete(self, request: web.Request) -> web.StreamResponse:
        only_query(request)
        caller = caller_of(request)
        edit = edit_of(request, "delete", None, b"")
        answer = await self._answers.decide(request, caller, document_of(request), edit)
        if isinstance(answer, Operation):
            return queued_response(answer)
        response = web.Response(status=204)
        response.headers["Cache-Control"] = "private"
        response.headers["Plait-Revision"] = str(answer.revision)
        if answer.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response

    async def get(self, request: web.Request) -> web.Response:
        only_query(request, "revision", "at", "label", "pointer")
        caller, document = caller_of(request), document_of(request)
        revision = await self._revision_of(request, caller, document)
        view = await self._service.read(caller, document, revision)
        pointer = request.query.get("pointer", "")
        body = wire.encode(_part(view, pointer)) if pointer else view.body
        tag = view_etag(view.revision, pointer) if pointer else etag(view.revision)
        response = web.Response()
        headers = response.headers
        headers["ETag"] = tag
        headers["Cache-Control"] = "private"
        headers["Vary"] = "Authorization"
        headers["Plait-Revision"] = str(view.revision)
        headers["Plait-Epoch"] = view.epoch
        headers["Plait-At"] = format_moment(view.at)
        if view.author:
            headers["Plait-Author"] = view.author
        headers["Link"] = _links(view)
        if is_unchanged(request, tag):
            response.set_status(304)
            return response
        headers["Content-Type"] = JSON
        headers["X-Content-Type-Options"] = "nosniff"
        response.body = body
        return response

    async def _revision_of(self, request: web.Request, caller: Caller, document: DocumentKey) -> int | None:
        """Find the revision that is asked for, by its number, a moment or a label; None: the head."""
        if len({"revision", "at", "label"} & request.query.keys()) > 1:
            raise Problem("bad-query", "The parameters revision, at and label name the same thing: send one.")
        if "at" in request.query:
            return await self._service.history.at(caller, document, _moment_of(request))
        if "label" in request.query:
            return (await self._service.label(caller, document, _label_of(request))).revision
        return revision_of(request)

    async def list(self, request: web.Request) -> web.Response:
        only_query(request, "limit", "cursor")
        page = await self._service.list(
            caller_of(request),
            request.match_info["collection"],
            limit_of(request, self._settings),
            cursor_of(request),
        )
        documents = [
            {
                "document": entry.document.name,
                "revision": entry.revision,
                "created": format_moment(entry.created),
                "updated": format_moment(entry.updated),
            }
            for entry in page.items
        ]
        return page_response(request, {"documents": documents, "cursor": page.cursor})


def _media_type(head: Head) -> str:
    stated = head.headers.get("Content-Type", "")
    return stated if stated in PATCH_TYPES else stated.partition(";")[0].strip().lower()


def _agreed(header: str, name: str, in_header: Stated | None, in_body: Stated | None) -> Stated | None:
    if in_header is not None and in_body is not None and in_header != in_body:
        raise BadHeader(header, f"the {name} there and in the body differ.")
    return in_body if in_header is None else in_header


def _moment_of(request: web.Request) -> int:
    """Read ?at=, in milliseconds since 1970."""
    try:
        return parse_moment(request.query["at"])
    except ValueError:
        detail = "The parameter at takes a moment such as 2026-11-20T12:00:00Z."
        raise Problem("bad-query", detail) from None


def _label_of(request: web.Request) -> str:
    """Read ?label=."""
    label = request.query["label"]
    if not re.fullmatch(LABEL_PATTERN, label):
        raise Problem("bad-query", "The parameter label takes a label such as v1.0.")
    return label


def _part(view: DocumentView, pointer: str) -> Json:
    try:
        tokens = parse_pointer(pointer)
    except InvalidPointer as error:
        raise Problem("bad-query", "The parameter pointer takes a JSON Pointer such as /lines/0.") from error
    part: Json | Absent = view.value
    for token in tokens:
        part = _member(part, token)
        if part is ABSENT:
            raise Problem("not-found", "The document has nothing at this pointer.", {"pointer": pointer})
    return part


def _member(container: Json, token: str) -> Json | Absent:
    if isinstance(container, dict):
        return container.get(token, ABSENT)
    index = array_index(token) if isinstance(container, list) else None
    return container[index] if index is not None and index < len(container) else ABSENT


def _links(view: DocumentView) -> str:
    path = f"/v1/docs/{view.document.name}"
    history = f'<{path}/revisions>; rel="version-history"'
    return history if view.head else f'{history}, <{path}>; rel="latest-version"'


def is_unchanged(request: web.Request, tag: str) -> bool:
    """Say whether the caller has what this tag names. Raises Problem where it insists on another."""
    required = read_tags(request.headers, "If-Match")
    if required is not None and not required.matches_strongly(tag):
        members = {"weak_etag": True, "hint": WEAK_TAG_HINT} if required.weak else None
        raise Problem("precondition-failed", f"The tag of this is {tag}.", members)
    seen = read_tags(request.headers, "If-None-Match")
    return seen is not None and seen.matches_weakly(tag)
