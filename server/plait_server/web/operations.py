"""What came of queued edits: those sent with `Prefer: respond-async`."""

from aiohttp import web
from msgspec import Raw

from plait_server import wire
from plait_server.config import Settings
from plait_server.service import Operation, Service
from plait_server.service.moment import format_moment
from plait_server.web.edits import JSON, RETRY_AFTER_S, caller_of, operation_members, result_of
from plait_server.web.models import answers
from plait_server.web.pages import only_query, wait_of
from plait_server.web.problems import problem_body, problem_of_refusal
from plait_server.web.requests import request_id_of
from plait_server.web.routes import OPERATION, Route


class Operations:
    """The operation resource. It is its tenant's, as documents are: whoever may read those may read it."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._settings = settings

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                OPERATION,
                self.get,
                "Read what came of a queued edit, or wait for it",
                {200: answers.OperationBody},
                ("bad-header", "bad-query", "store-unavailable"),
                query=("wait",),
            ),
        )

    async def get(self, request: web.Request) -> web.Response:
        only_query(request, "wait")
        wait_s = wait_of(request, self._settings.operation_wait_max_s)
        name = request.match_info["operation"]
        operation = await self._service.queue.read(caller_of(request), name, wait_s)
        headers = {"Content-Type": JSON, "Cache-Control": "no-store"}
        if operation.status == "queued":
            headers["Retry-After"] = str(RETRY_AFTER_S)
        return web.Response(body=wire.encode(self._as_json(request, operation)), headers=headers)

    def _as_json(self, request: web.Request, operation: Operation) -> dict[str, object]:
        body = operation_members(operation)
        if operation.finished is not None:
            body["finished"] = format_moment(operation.finished)
        if operation.answer is not None:
            body["result"] = Raw(result_of(operation.answer, str(body["document"])))
        if operation.refusal is not None:
            document = operation.document
            named = {"collection": document.collection, "id": document.id}
            problem = problem_of_refusal(operation.refusal, named)
            body["problem"] = problem_body(problem, request_id_of(request), self._settings.problem_base)
        return body
