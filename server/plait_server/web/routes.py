"""One row per method and path: what serves it and what it says about itself in the OpenAPI document."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from pydantic import BaseModel

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

COLLECTION_PATTERN: Final = "[a-z][a-z0-9_-]{0,62}"
# Two dots are a step in a path, not a name; nobody could reach such a document.
ID_PATTERN: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]{1,128}"
REVISION_PATTERN: Final = "[1-9][0-9]{0,17}"
CONFLICT_PATTERN: Final = "[A-Za-z0-9_-]{1,64}"

COLLECTION: Final = f"/v1/docs/{{collection:{COLLECTION_PATTERN}}}"
DOCUMENT: Final = f"{COLLECTION}/{{id:{ID_PATTERN}}}"
REVISIONS: Final = f"{DOCUMENT}/revisions"
REVISION: Final = f"{REVISIONS}/{{revision:{REVISION_PATTERN}}}"
CONFLICTS: Final = f"{DOCUMENT}/conflicts"
CONFLICT: Final = f"{CONFLICTS}/{{conflict:{CONFLICT_PATTERN}}}"
RESOLUTION: Final = f"{CONFLICT}/resolution"


@dataclass(frozen=True, slots=True)
class Route:
    """A method of a path.

    `answers` maps each success status to the model of its body, or None where it has none or is any
    JSON; `problems` are the codes it can end in besides those every route shares; `body` maps the
    media types it reads to their models; `query` and `headers` name what it looks at.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[int, type[BaseModel] | None]
    problems: tuple[str, ...] = ()
    body: dict[str, type[BaseModel] | None] | None = None
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()


def register(
    application: web.Application, routes: tuple[Route, ...], guard: Callable[[Handler], Handler]
) -> None:
    """Add every route, HEAD beside each GET, and OPTIONS for every path; `guard` wraps each handler."""
    by_path: dict[str, list[Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, []).append(route)
    for path, rows in by_path.items():
        resource = application.router.add_resource(path)
        for route in rows:
            handler = guard(route.handler)
            resource.add_route(route.method, handler)
            if route.method == "GET":
                resource.add_route("HEAD", handler)
        resource.add_route("OPTIONS", guard(_options(rows)))


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
