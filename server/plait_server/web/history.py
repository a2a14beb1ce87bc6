"""History: the revisions of a document, what is different between two of them, and who set what."""

from typing import Final

from aiohttp import web
from msgspec import Raw

from plait_server.config import Settings
from plait_server.service import RevisionView, Service
from plait_server.service.history import Leaf
from plait_server.service.moment import format_moment
from plait_server.web.accept import preferred
from plait_server.web.conditions import view_etag
from plait_server.web.documents import is_unchanged
from plait_server.web.edits import caller_of, document_of
from plait_server.web.models import answers
from plait_server.web.pages import cursor_of, limit_of, only_query, page_response, revision_of
from plait_server.web.problems import Problem
from plait_server.web.routes import BLAME, DIFF, REVISION, REVISIONS, Route

READ_PROBLEMS = ("bad-header", "bad-query", "store-unavailable")
FOR_PEOPLE: Final = "text/plain"
DIFF_TYPES: Final = ("application/json-patch+json", FOR_PEOPLE, "application/json")


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
                {200: answers.RevisionList},
                READ_PROBLEMS,
                query=("limit", "cursor"),
            ),
            Route(
                "GET",
                REVISION,
                self.one,
                "Read one revision: its patch, its base, who, when and why",
                {200: answers.RevisionBody},
                (*READ_PROBLEMS, "revision-compacted"),
            ),
            Route(
                "GET",
                DIFF,
                self.diff,
                "Compare two revisions: as JSON Patch, or as text for people",
                {200: None, 304: None},
                (*READ_PROBLEMS, "not-acceptable", "precondition-failed", "revision-compacted"),
                query=("from", "to"),
                required=("from",),
                headers=("Accept", "If-None-Match", "If-Match"),
                media_types=DIFF_TYPES,
            ),
            Route(
                "GET",
                BLAME,
                self.blame,
                "Say who set each part of a document last, and when",
                {200: answers.BlameBody},
                (*READ_PROBLEMS, "deleted", "revision-compacted"),
                query=("pointer", "revision", "limit", "cursor"),
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

    async def diff(self, request: web.Request) -> web.Response:
        only_query(request, "from", "to")
        media_type = preferred(request.headers.get("Accept"), DIFF_TYPES)
        first, last = revision_of(request, "from", 0), revision_of(request, "to")
        if first is None:
            raise Problem("bad-query", "The parameter from says which revision to begin at.")
        history, document = self._service.history, document_of(request)
        compared = await history.compare(caller_of(request), document, first, last)
        n = compared.after.n
        tag = view_etag(n, f"diff {first} {media_type}")
        path = f"/v1/docs/{document.name}"
        response = web.Response()
        headers = response.headers
        headers["ETag"] = tag
        headers["Cache-Control"] = "private"
        headers["Vary"] = "Accept, Authorization"
        headers["Plait-Revision"] = str(n)
        headers["Plait-Epoch"] = self._service.epoch
        headers["Link"] = f'<{path}/revisions>; rel="version-history", <{path}>; rel="latest-version"'
        if is_unchanged(request, tag):
            response.set_status(304)
            return response
        headers["X-Content-Type-Options"] = "nosniff"
        if media_type == FOR_PEOPLE:
            headers["Content-Type"] = f"{FOR_PEOPLE}; charset=utf-8"
            response.body = (await history.describe(compared)).encode()
        else:
            headers["Content-Type"] = media_type
            response.body = await history.diff(compared)
        return response

    async def blame(self, request: web.Request) -> web.Response:
        only_query(request, "pointer", "revision", "limit", "cursor")
        view = await self._service.history.blame(
            caller_of(request),
            document_of(request),
            request.query.get("pointer", ""),
            revision_of(request),
            limit_of(request, self._settings),
            cursor_of(request),
        )
        leaves = [_leaf_as_json(leaf, view.oldest) for leaf in view.leaves]
        return page_response(
            request,
            {
                "document": view.document.name,
                "revision": view.revision,
                "leaves": leaves,
                "cursor": view.cursor,
            },
        )


def _leaf_as_json(leaf: Leaf, oldest: int) -> dict[str, object]:
    """Write a leaf; `oldest` is where history begins, if what is before was compacted away."""
    setter = leaf.setter
    if setter.revision <= oldest:
        return {"pointer": leaf.pointer, "revision": oldest, "author": None, "at": None, "before": True}
    return {
        "pointer": leaf.pointer,
        "revision": setter.revision,
        "author": setter.author,
        "at": format_moment(setter.at),
    }


def _as_json(revision: RevisionView) -> dict[str, object]:
    body: dict[str, object] = {
        "document": revision.document.name,
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
