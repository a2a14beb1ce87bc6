"""History: the revisions of a document, all of them and one."""

from aiohttp import web
from msgspec import Raw

from plait_server.config import Settings
from plait_server.service import RevisionView, Service
from plait_server.service.moment import format_moment
from plait_server.web import models
from plait_server.web.edits import caller_of, document_of
from plait_server.web.pages import cursor_of, limit_of, only_query, page_response
from plait_server.web.routes import REVISION, REVISIONS, Route

READ_PROBLEMS = ("bad-header", "bad-query", "store-unavailable")


class History:
    """The revisions of a document."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._settings = settings

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                REVISIONS,
                self.list,
                "List the revisions of a document, newest first",
                {200: models.RevisionList},
                READ_PROBLEMS,
                query=("limit", "cursor"),
            ),
            Route(
                "GET",
                REVISION,
                self.one,
                "Read one revision: its patch, its base, who, when and why",
                {200: models.RevisionBody},
                (*READ_PROBLEMS, "revision-compacted"),
            ),
        )

    async def list(self, request: web.Request) -> web.Response:
        only_query(request, "limit", "cursor")
        page = await self._service.revisions(
            caller_of(request), document_of(request), limit_of(request, self._settings), cursor_of(request)
        )
        revisions = [_as_json(revision) for revision in page.items]
        return page_response(request, {"revisions": revisions, "cursor": page.cursor, "oldest": page.oldest})

    async def one(self, request: web.Request) -> web.Response:
        only_query(request)
        n = int(request.match_info["revision"])
        revision = await self._service.revision(caller_of(request), document_of(request), n)
        return page_response(request, _as_json(revision))


def _as_json(revision: RevisionView) -> dict[str, object]:
    body: dict[str, object] = {
        "document": f"{revision.document.collection}/{revision.document.id}",
        "revision": revision.revision,
        "kind": revision.kind,
        "author": revision.author,
        "at": format_moment(revision.at),
        "message": revision.message,
        "key": revision.key,
        "base": revision.base,
        "patch": Raw(revision.patch),
        "submitted": None if revision.submitted is None else Raw(revision.submitted),
    }
    if revision.policy is not None:
        body["policy"] = revision.policy
    if revision.labels:
        body["labels"] = revision.labels
    return body
