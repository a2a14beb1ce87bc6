"""One row per method and path: what serves it and what it says about itself in the OpenAPI document."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from aiohttp import web
from aiohttp.web_urldispatcher import AbstractRoute, UrlDispatcher, UrlMappingMatchInfo
from pydantic import BaseModel

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

COLLECTION_PATTERN: Final = "[a-z][a-z0-9_-]{0,62}"
# Two dots are a step in a path, not a name; nobody could reach such a document.
ID_PATTERN: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]{1,128}"
REVISION_PATTERN: Final = "[1-9][0-9]{0,17}"
CONFLICT_PATTERN: Final = "[A-Za-z0-9_-]{1,64}"
OPERATION_PATTERN: Final = "[0-9A-Z]{26}"
LOCK_PATTERN: Final = "[A-Za-z0-9_-]{1,64}"
LABEL_PATTERN: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]{1,64}"

FRONT: Final = "/v1"
"""The only path that may end in a slash."""
COLLECTION: Final = f"{FRONT}/docs/{{collection:{COLLECTION_PATTERN}}}"
DOCUMENT: Final = f"{COLLECTION}/{{id:{ID_PATTERN}}}"
EVENTS: Final = f"{DOCUMENT}/events"
REVISIONS: Final = f"{DOCUMENT}/revisions"
REVISION: Final = f"{REVISIONS}/{{revision:{REVISION_PATTERN}}}"
DIFF: Final = f"{DOCUMENT}/diff"
BLAME: Final = f"{DOCUMENT}/blame"
REVERT: Final = f"{DOCUMENT}/revert"
LABELS: Final = f"{DOCUMENT}/labels"
LABEL: Final = f"{LABELS}/{{label:{LABEL_PATTERN}}}"
CONFLICTS: Final = f"{DOCUMENT}/conflicts"
CONFLICT: Final = f"{CONFLICTS}/{{conflict:{CONFLICT_PATTERN}}}"
RESOLUTION: Final = f"{CONFLICT}/resolution"
OPERATION: Final = f"{FRONT}/operations/{{operation:{OPERATION_PATTERN}}}"
LOCKS: Final = f"{DOCUMENT}/locks"
LOCK: Final = f"{LOCKS}/{{lock:{LOCK_PATTERN}}}"
BATCH: Final = f"{FRONT}/batch"
RULES: Final = f"{FRONT}/collections/{{collection:{COLLECTION_PATTERN}}}"


COLLECTION_RULE: Final = "A collection is named by one of a-z and up to 62 of a-z, 0-9, _ and -."
ID_RULE: Final = (
    "A document is named by 1 to 128 of a-z, A-Z, 0-9, ., _, ~ and -; . and .. alone are no names."
)
NOT_HERE: Final = (
    "There is no such resource. GET /v1 says what this server is, GET /openapi.json all it serves."
)


@dataclass(frozen=True, slots=True)
class Route:
    """A method of a path.

    `answers` maps each success status to the model of its body, or None where it has none or is any
    JSON; `problems` are the codes it can end in besides those every route shares, `refusal` the model of
    its problem documents where they have members of their own; `body` maps the media types it reads to
    their models; `query` and `headers` name what it looks at, `required` what it cannot do without of the
    query; `media_types` are what an answer comes in.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[int, type[BaseModel] | None]
    problems: tuple[str, ...] = ()
    body: dict[str, type[BaseModel] | None] | None = None
    query: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ("application/json",)
    refusal: type[BaseModel] | None = None


class Router(UrlDispatcher):
    """aiohttp's router, which looks for a document first: nearly every request asks for one.

    aiohttp cuts a path down, part by part, until it knows what it begins with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.of_documents: dict[str, AbstractRoute] = {}

    async def resolve(self, request: web.Request) -> UrlMappingMatchInfo:
        named = document_at(request.rel_url.raw_path)
        route = None if named is None else self.of_documents.get(request.method)
        if named is None or route is None:
            return await super().resolve(request)
        return UrlMappingMatchInfo({"collection": named[0], "id": named[1]}, route)


def document_at(raw_path: str) -> tuple[str, str] | None:
    """Name the document at a path as it was sent: its collection and id. No name needs an escape; a path
    that has one is left to aiohttp."""
    named = _DOCUMENT.fullmatch(raw_path)
    return None if named is None else (named[1], named[2])


_DOCUMENT = re.compile(f"{FRONT}/docs/({COLLECTION_PATTERN})/({ID_PATTERN})")


def register(
    application: web.Application, routes: tuple[Route, ...], guard: Callable[[Handler], Handler]
) -> None:
    """Add every route, HEAD beside each GET, and OPTIONS for every path; `guard` wraps each handler."""
    router = application._router = Router()  # aiohttp has no public way to give one any more
    by_path: dict[str, list[Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, []).append(route)
    for path, rows in by_path.items():
        resource = router.add_resource(path)
        for route in rows:
            handler = guard(route.handler)
            resource.add_route(route.method, handler)
            if route.method == "GET":
                resource.add_route("HEAD", handler)
            if path == FRONT:
                router.add_route(route.method, f"{FRONT}/", handler)
        resource.add_route("OPTIONS", guard(_options(rows)))
        if path == DOCUMENT:
            router.of_documents = {route.method: route for route in resource}


def why_not_found(raw_path: str) -> str:
    """Say why a path, as it was sent, leads nowhere: mostly it names something as nothing can be named."""
    named = raw_path.removeprefix("/v1/docs/").removeprefix("/v1/collections/")
    if named == raw_path:
        return NOT_HERE
    collection, *below = [unquote(segment) for segment in named.split("/")]
    if not re.fullmatch(COLLECTION_PATTERN, collection):
        return COLLECTION_RULE
    if below and not re.fullmatch(ID_PATTERN, below[0]):
        return ID_RULE
    return NOT_HERE


def methods(rows: list[Route]) -> str:
    """List the methods of one path as an Allow header does."""
    named = {route.method for route in rows} | {"OPTIONS"}
    return ", ".join(sorted(named | {"HEAD"} if "GET" in named else named))


def _options(rows: list[Route]) -> Handler:
    headers = {"Allow": methods(rows)}
    for route in rows:
        if route.method == "PATCH" and route.body:
            headers["Accept-Patch"] = ", ".join(route.body)

    async def options(request: web.Request) -> web.Response:
        return web.Response(status=204, headers=headers)

    return options
