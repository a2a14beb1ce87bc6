"""Conflicts: the open ones of a document, one in full, and its resolution."""

from aiohttp import web

from plait_merge.values import Json
from plait_server.config import Settings
from plait_server.service import ConflictView, Service
from plait_server.service.moment import format_moment
from plait_server.web.documents import MERGE_PROBLEMS, WRITE_PROBLEMS
from plait_server.web.door import Parser, bound_message, only_json, read_body, read_model
from plait_server.web.edits import JSON, EditAnswers, caller_of, check_room, document_of, key_of, lock_of
from plait_server.web.history import READ_PROBLEMS
from plait_server.web.models import answers, bodies, refusals
from plait_server.web.pages import cursor_of, limit_of, only_query, page_response
from plait_server.web.problems import Problem
from plait_server.web.requests import trace_of
from plait_server.web.routes import CONFLICT, CONFLICTS, RESOLUTION, Route


class Conflicts:
    """The conflict resource."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._parser = Parser(settings)
        self._answers = EditAnswers(service)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                CONFLICTS,
                self.list,
                "List the open conflicts of a document",
                {200: refusals.ConflictList},
                READ_PROBLEMS,
                query=("limit", "cursor"),
            ),
            Route(
                "GET",
                CONFLICT,
                self.one,
                "Read a conflict with everything needed to settle it",
                {200: refusals.ConflictBody},
                (*READ_PROBLEMS, "revision-compacted"),
                query=("cursor",),
            ),
            Route(
                "POST",
                RESOLUTION,
                self.resolve,
                "Settle a conflict by a choice for each part, or by a patch",
                {200: answers.EditResult, 204: None},
                (
                    *WRITE_PROBLEMS,
                    *MERGE_PROBLEMS,
                    "malformed-patch",
                    "patch-inapplicable",
                    "schema-violation",
                    "test-failed",
                    "already-resolved",
                    "unsupported-media-type",
                ),
                {JSON: bodies.ResolutionBody},
                headers=("Plait-Lock", "Idempotency-Key", "Prefer", "Plait-Author", "traceparent"),
            ),
        )

    async def list(self, request: web.Request) -> web.Response:
        only_query(request, "limit", "cursor")
        page = await self._service.conflicts(
            caller_of(request), document_of(request), limit_of(request, self._settings), cursor_of(request)
        )
        conflicts = [_as_json(conflict) for conflict in page.items]
        return page_response(request, {"conflicts": conflicts, "cursor": page.cursor})

    async def one(self, request: web.Request) -> web.Response:
        only_query(request, "cursor")
        conflict = await self._service.conflict(
            caller_of(request), document_of(request), request.match_info["conflict"], cursor_of(request)
        )
        return page_response(request, {**_as_json(conflict), "cursor": conflict.cursor})

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        only_query(request)
        only_json(request.content_type)
        caller, document = caller_of(request), document_of(request)
        check_room(self._service, request, caller, document)
        body = await read_body(request, self._settings.patch_bytes_max, self._settings.body_timeout_s)
        stated = self._stated_resolution(await self._parser.patch(body))
        answer = await self._service.resolve(
            caller,
            document,
            request.match_info["conflict"],
            choices=stated.choices,
            patch=stated.patch,
            message=stated.message,
            lock=lock_of(request),
            key=key_of(request, body),
            trace=trace_of(request),
            weight_bytes=len(body),
        )
        return await self._answers.respond(request, caller, answer, known_base=True)

    def _stated_resolution(self, content: Json) -> bodies.ResolutionBody:
        stated = read_model(bodies.ResolutionBody, content, "The body is not a resolution.")
        if (stated.choices is None) == (stated.patch is None):
            raise Problem("invalid-value", "Send either choices or a patch.")
        bound_message(stated.message, self._settings)
        return stated


def _as_json(conflict: ConflictView) -> dict[str, object]:
    body: dict[str, object] = {
        "id": conflict.id,
        "document": conflict.document.name,
        "author": conflict.author,
        "opened": format_moment(conflict.opened),
        "expires": format_moment(conflict.expires),
        "base_revision": conflict.base_revision,
        "head_revision": conflict.head_revision,
        "resolved": None if conflict.resolved is None else format_moment(conflict.resolved),
        "resolved_revision": conflict.resolved_revision,
        "previous": conflict.previous,
    }
    details = {name: value for name, value in (conflict.members or {}).items() if name != "conflict"}
    return {**body, **details}
