"""`GET /v1/changes`: every revision of every document, for what is built on them."""

from aiohttp import web
from msgspec import Raw

from plait_server import wire
from plait_server.config import Settings
from plait_server.service import RevisionView, Service
from plait_server.service.moment import format_moment
from plait_server.web.edits import caller_of
from plait_server.web.models import answers
from plait_server.web.pages import CURSOR_CHARACTERS_MAX, limit_of, only_query, wait_of
from plait_server.web.problems import Problem
from plait_server.web.routes import Route


class Changes:
    """The feed: at least once, in order for each document."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._settings = settings

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                "/v1/changes",
                self.get,
                "Read what was committed since a cursor, or wait for it",
                {200: answers.ChangeList},
                ("bad-header", "bad-query", "cursor-expired", "store-unavailable"),
                query=("since", "wait", "limit"),
            ),
        )

    async def get(self, request: web.Request) -> web.Response:
        only_query(request, "since", "wait", "limit")
        since = request.query.get("since")
        if since is not None and len(since) > CURSOR_CHARACTERS_MAX:
            raise Problem("bad-query", "?since= takes the cursor of the answer before.")
        wait_s = wait_of(request, self._settings.changes_wait_max_s)
        page = await self._service.changes(
            caller_of(request), since, limit_of(request, self._settings), wait_s
        )
        body = {"changes": [_as_json(each) for each in page.items], "cursor": page.cursor}
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        return web.Response(body=wire.encode(body), headers=headers)


def _as_json(revision: RevisionView) -> dict[str, object]:
    body: dict[str, object] = {
        "document": revision.document.name,
        "revision": revision.revision,
        "kind": revision.kind,
        "author": revision.author,
        "at": format_moment(revision.at),
        "message": revision.message,
        "patch": Raw(revision.patch),
    }
    return {**body, "compacted": True} if revision.compacted else body
