"""Leases: what somebody works on, and nobody else may change meanwhile."""

from typing import Final

from aiohttp import web

from plait_server import wire
from plait_server.config import Settings
from plait_server.service import Hold, LockView, Service
from plait_server.service.moment import format_moment
from plait_server.web.conditions import BadHeader
from plait_server.web.door import Model, Parser, only_json, read_body, read_model
from plait_server.web.edits import JSON, caller_of, document_of, key_of, lock_of
from plait_server.web.models import answers, bodies
from plait_server.web.pages import PRIVATE, only_query
from plait_server.web.problems import Problem
from plait_server.web.routes import LOCK, LOCKS, Route

BODY_PROBLEMS: Final = (
    "bad-header",
    "bad-query",
    "malformed-json",
    "request-timeout",
    "too-large",
    "invalid-value",
    "unsupported-media-type",
    "hot-document",
    "store-unavailable",
)


class Locks:
    """The lease resource."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._parser = Parser(settings)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "POST",
                LOCKS,
                self.post,
                "Take a lease: nobody else may edit what is there as long as it stands",
                {201: answers.Lock},
                (*BODY_PROBLEMS, "locked", "deleted"),
                {JSON: bodies.LockBody},
                headers=("Idempotency-Key", "Plait-Author"),
            ),
            Route(
                "GET",
                LOCKS,
                self.list,
                "List the leases of a document",
                {200: answers.LockList},
                ("bad-query", "bad-header", "store-unavailable"),
                headers=("Plait-Author",),
            ),
            Route(
                "GET",
                LOCK,
                self.get,
                "Read a lease of one's own",
                {200: answers.Lock},
                ("bad-query", "bad-header", "store-unavailable"),
                headers=("Plait-Author",),
            ),
            Route(
                "PUT",
                LOCK,
                self.put,
                "Renew a lease",
                {200: answers.Lock},
                (*BODY_PROBLEMS, "stale-fence"),
                {JSON: bodies.RenewalBody},
                headers=("Plait-Author",),
            ),
            Route(
                "DELETE",
                LOCK,
                self.delete,
                "Give a lease up",
                {204: None},
                (
                    "bad-header",
                    "bad-query",
                    "precondition-required",
                    "stale-fence",
                    "hot-document",
                    "store-unavailable",
                ),
                query=("fence",),
                headers=("Plait-Lock", "Plait-Author"),
            ),
        )

    async def post(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        stated = await self._stated(bodies.LockBody, body)
        document = document_of(request)
        view = await self._service.locks.acquire(
            caller_of(request), document, stated.pointer, stated.ttl_s, key_of(request, body)
        )
        response = _response(_as_json(view), 201)
        if view.hold is not None:
            response.headers["Location"] = f"/v1/docs/{document.name}/locks/{view.hold.lock}"
        if view.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response

    async def list(self, request: web.Request) -> web.Response:
        only_query(request)
        views = await self._service.locks.standing(caller_of(request), document_of(request))
        return _response({"locks": [_as_json(view) for view in views]})

    async def get(self, request: web.Request) -> web.Response:
        only_query(request)
        lock = request.match_info["lock"]
        return _response(
            _as_json(await self._service.locks.read(caller_of(request), document_of(request), lock))
        )

    async def put(self, request: web.Request) -> web.Response:
        stated = await self._stated(bodies.RenewalBody, await self._body(request))
        hold = Hold(request.match_info["lock"], stated.fence)
        view = await self._service.locks.renew(caller_of(request), document_of(request), hold, stated.ttl_s)
        return _response(_as_json(view))

    async def delete(self, request: web.Request) -> web.Response:
        only_query(request, "fence")
        await self._service.locks.release(caller_of(request), document_of(request), _named(request))
        return web.Response(status=204, headers=PRIVATE)

    async def _body(self, request: web.Request) -> bytes:
        only_query(request)
        only_json(request.content_type)
        return await read_body(request, self._settings.patch_bytes_max, self._settings.body_timeout_s)

    async def _stated(self, model: type[Model], body: bytes) -> Model:
        content = await self._parser.patch(body)
        return read_model(model, content, "The body does not say what is asked for.")


def _named(request: web.Request) -> Hold:
    """Read which lease is given up: the one of the path, with the fence of the header or the query."""
    lock, hold, fence = request.match_info["lock"], lock_of(request), request.query.get("fence")
    if fence is not None:
        if not (fence.isascii() and fence.isdigit() and len(fence) <= 18):
            raise Problem("bad-query", "The parameter fence takes a fencing number such as 17.")
        hold = _agreeing(hold, Hold(lock, int(fence)))
    if hold is None:
        raise Problem("precondition-required", "Say which one, with its fence: Plait-Lock or ?fence=.")
    return _agreeing(Hold(lock, hold.fence), hold)


def _agreeing(in_header: Hold | None, other: Hold) -> Hold:
    if in_header is not None and in_header != other:
        raise BadHeader("Plait-Lock", "names another lease than the path and the query.")
    return other


def _response(body: dict[str, object], status: int = 200) -> web.Response:
    return web.Response(status=status, body=wire.encode(body), content_type=JSON, headers=PRIVATE)


def _as_json(view: LockView) -> dict[str, object]:
    body: dict[str, object] = {
        "document": view.document.name,
        "pointer": view.pointer,
        "revision": view.revision,
        "holder": view.holder,
        "ttl_s": view.ttl_s,
        "expires": format_moment(view.expires),
    }
    if view.hold is None:
        return body
    return {"lock": view.hold.lock, **body, "fence": view.hold.fence}
