"""Labels: names of the revisions of a document."""

from aiohttp import web

from plait_server import wire
from plait_server.config import Settings
from plait_server.service import LabelView, Service
from plait_server.service.moment import format_moment
from plait_server.web.door import Parser, only_json, read_body, read_model
from plait_server.web.edits import JSON, caller_of, document_of
from plait_server.web.models import answers, bodies
from plait_server.web.pages import PRIVATE, only_query, page_response
from plait_server.web.routes import LABEL, LABELS, Route


class Labels:
    """The labels of a document."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._parser = Parser(settings)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                LABELS,
                self.list,
                "List the labels of a document, by name",
                {200: answers.LabelList},
                ("bad-header", "bad-query", "store-unavailable"),
            ),
            Route(
                "PUT",
                LABEL,
                self.put,
                "Name a revision, which is kept for it; a label that names another one moves",
                {200: answers.PutLabel, 201: answers.PutLabel},
                (
                    "bad-header",
                    "bad-query",
                    "malformed-json",
                    "request-timeout",
                    "too-large",
                    "invalid-value",
                    "revision-compacted",
                    "store-unavailable",
                    "unsupported-media-type",
                ),
                {JSON: bodies.LabelledRevision},
                headers=("Plait-Author",),
            ),
            Route(
                "DELETE",
                LABEL,
                self.delete,
                "Take a label away; its revision goes too if nothing else keeps it",
                {204: None},
                ("bad-header", "bad-query", "store-unavailable"),
            ),
        )

    async def list(self, request: web.Request) -> web.Response:
        only_query(request)
        labels = await self._service.labels(caller_of(request), document_of(request))
        return page_response(request, {"labels": [_as_json(label) for label in labels]})

    async def put(self, request: web.Request) -> web.Response:
        only_query(request)
        only_json(request.content_type)
        body = await read_body(request, self._settings.patch_bytes_max, self._settings.body_timeout_s)
        content = await self._parser.patch(body)
        stated = read_model(bodies.LabelledRevision, content, "The body names no revision.")
        label, before = await self._service.put_label(
            caller_of(request), document_of(request), request.match_info["label"], stated.revision
        )
        answer = {**_as_json(label), "previous_revision": None if before is None else before.revision}
        return web.Response(
            status=201 if before is None else 200,
            body=wire.encode(answer),
            content_type=JSON,
            headers=PRIVATE,
        )

    async def delete(self, request: web.Request) -> web.Response:
        only_query(request)
        name = request.match_info["label"]
        await self._service.drop_label(caller_of(request), document_of(request), name)
        return web.Response(status=204, headers=PRIVATE)


def _as_json(label: LabelView) -> dict[str, object]:
    return {
        "label": label.label,
        "revision": label.revision,
        "author": label.author,
        "at": format_moment(label.at),
    }
