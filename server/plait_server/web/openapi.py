"""The OpenAPI 3.1 document, made from the route table, the models and the catalogue of problems."""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final, NamedTuple

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from plait_server import wire
from plait_server.config import Settings
from plait_server.web.models import refusals
from plait_server.web.problems import MEDIA_TYPE, PROBLEMS, Kind
from plait_server.web.routes import (
    BLAME,
    COLLECTION,
    COLLECTION_PATTERN,
    CONFLICT,
    CONFLICT_PATTERN,
    CONFLICTS,
    DIFF,
    DOCUMENT,
    FRONT,
    ID_PATTERN,
    LABEL,
    LABEL_PATTERN,
    LOCK,
    LOCK_PATTERN,
    LOCKS,
    OPERATION,
    OPERATION_PATTERN,
    RESOLUTION,
    REVERT,
    REVISION,
    REVISION_PATTERN,
    REVISIONS,
    Route,
)

JSON: Final = "application/json"
_SCHEMAS: Final = "#/components/schemas/"
_VARIABLE: Final = re.compile(r"\{(\w+):(?:[^{}]|\{[^{}]*\})*\}")

TAGS: Final = r'^\s*(\*|(W/)?"[^\x00-\x20"\x7f]*"\s*(,\s*(W/)?"[^\x00-\x20"\x7f]*"\s*)*,?)\s*$'


class Link(NamedTuple):
    """What can be done next, and where what it needs stands: OpenAPI's runtime expressions."""

    method: str
    path: str
    parameters: Mapping[str, str]


PATH_VARIABLES: Final = {
    "collection": ("A kind of documents.", COLLECTION_PATTERN),
    "id": ("A document of the collection.", ID_PATTERN),
    "revision": ("A revision: 1, 2, 3 … without gaps.", REVISION_PATTERN),
    "conflict": ("A kept conflict.", CONFLICT_PATTERN),
    "operation": ("A queued edit.", OPERATION_PATTERN),
    "lock": ("A lease.", LOCK_PATTERN),
    "label": ("The name of a revision.", LABEL_PATTERN),
}
QUERY: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "limit": ("Entries in one page.", {"type": "integer", "minimum": 1}),
    "cursor": ("The cursor of the page before.", {"type": "string"}),
    "revision": ("An earlier revision.", {"type": "integer", "minimum": 1}),
    "label": ("The revision with this label.", {"type": "string", "pattern": f"^{LABEL_PATTERN}$"}),
    "since": ("The cursor of the answer before; without one, from the beginning.", {"type": "string"}),
    "wait": ("Seconds to wait where there is nothing to tell yet.", {"type": "number", "minimum": 0}),
    "fence": ("The fencing number of the lease.", {"type": "integer", "minimum": 1}),
    "ticket": ("A ticket from POST /v1/tickets.", {"type": "string"}),
    "from": ("The revision to begin at; 0 is before the first.", {"type": "integer", "minimum": 0}),
    "to": ("The revision to end at; without it, the head.", {"type": "integer", "minimum": 1}),
    "at": ("A moment, RFC 3339: what was the head then.", {"type": "string", "format": "date-time"}),
    "pointer": ("A part of the document, as JSON Pointer; it has a tag of its own.", {"type": "string"}),
}
HEADERS: Final = {
    "Accept": "What is wanted; text/plain is for people.",
    "Plait-Base": "The revision the edit was made against: others' later edits are merged.",
    "If-Match": "Fail with 412 if the document is another than this tag names.",
    "If-None-Match": "On a write `*`: create, never replace. On a read: 304 if this is what it would send.",
    "Plait-Lock": "The lease the edit is made under: `<id>;fence=17`.",
    "Idempotency-Key": "Names this one edit, so that it can be sent again: 1-255 visible ASCII characters.",
    "Prefer": "return=minimal or return=representation; respond-async, and wait=seconds with it (RFC 7240).",
    "Authorization": "A bearer token.",
    "Sec-WebSocket-Protocol": "plait.v1.json, and plait.bearer.<base64url of the token> to say who it is.",
    "Last-Event-ID": "The revision the client is at; it wins over ?from=.",
    "Plait-Author": "Who edits, kept in history.",
    "traceparent": "W3C Trace Context, kept in history.",
}
ANSWER_HEADERS: Final = {
    "RateLimit-Policy": 'The quotas of this server, where it has some: "name";q=<requests>;w=<seconds>.',
    "RateLimit": 'What they leave to the caller, where he is known: "name";r=<requests>;t=<seconds>.',
    "Plait-Should-Retry": "Whether the same request may succeed later: true or false.",
    "Retry-After": "Seconds after which to send the request again; not the same for everybody.",
}
QUOTA_HEADERS: Final = ("RateLimit-Policy", "RateLimit")
HEADER_PATTERNS: Final = {
    "Plait-Base": r'^\s*[0-9]{1,18}\s*(;\s*epoch="[0-9A-Za-z_.~-]{1,64}"\s*)?$',
    "If-Match": TAGS,
    "If-None-Match": TAGS,
    "Plait-Lock": rf'^\s*("{LOCK_PATTERN}"|{LOCK_PATTERN})\s*;\s*fence={REVISION_PATTERN}\s*$',
    "Idempotency-Key": r"^\s*[!-~]{1,300}\s*$",
    "Plait-Author": r"^[^\x00-\x1f\x7f]{1,255}$",
    "Last-Event-ID": r"^\s*[0-9]{0,15}\s*$",
}
"""What is none of these is refused; most of what is one of them is taken."""
THIS: Final = {"collection": "$request.path.collection", "id": "$request.path.id"}
MADE: Final = {**THIS, "revision": "$response.body#/revision"}
LINKS: Final[Mapping[tuple[str, str], tuple[Link, ...]]] = {
    ("PUT", DOCUMENT): (
        Link("PATCH", DOCUMENT, {**THIS, "Plait-Base": "$response.body#/revision"}),
        Link("PUT", DOCUMENT, {**THIS, "Plait-Base": "$response.body#/revision"}),
        Link("DELETE", DOCUMENT, {**THIS, "Plait-Base": "$response.body#/revision"}),
        Link("GET", DOCUMENT, MADE),
        Link("GET", REVISION, MADE),
        Link("GET", DIFF, {**THIS, "from": "$response.body#/base", "to": "$response.body#/revision"}),
        Link("GET", BLAME, MADE),
        Link("POST", REVERT, THIS),
        Link("PUT", LABEL, THIS),
        Link("POST", LOCKS, THIS),
        Link("GET", CONFLICTS, THIS),
    ),
    ("PATCH", DOCUMENT): (
        Link("PATCH", DOCUMENT, {**THIS, "Plait-Base": "$response.body#/revision"}),
        Link("GET", REVISION, MADE),
        Link("GET", DIFF, {**THIS, "from": "$response.body#/base", "to": "$response.body#/revision"}),
    ),
    ("GET", COLLECTION): (
        Link(
            "GET",
            COLLECTION,
            {"collection": "$request.path.collection", "cursor": "$response.body#/cursor"},
        ),
    ),
    ("GET", REVISIONS): (Link("GET", REVISIONS, {**THIS, "cursor": "$response.body#/cursor"}),),
    ("GET", BLAME): (Link("GET", BLAME, {**THIS, "cursor": "$response.body#/cursor"}),),
    ("GET", CONFLICTS): (
        Link("GET", CONFLICT, {**THIS, "conflict": "$response.body#/conflicts/0/id"}),
        Link("POST", RESOLUTION, {**THIS, "conflict": "$response.body#/conflicts/0/id"}),
    ),
    ("PUT", LABEL): (
        Link("GET", DOCUMENT, {**THIS, "label": "$request.path.label"}),
        Link("DELETE", LABEL, {**THIS, "label": "$request.path.label"}),
    ),
    ("POST", LOCKS): tuple(
        Link(method, LOCK, {**THIS, "lock": "$response.body#/lock", **fence})
        for method, fence in (("GET", {}), ("PUT", {}), ("DELETE", {"fence": "$response.body#/fence"}))
    ),
    ("GET", f"{FRONT}/changes"): (Link("GET", f"{FRONT}/changes", {"since": "$response.body#/cursor"}),),
}
QUEUED: Final = (Link("GET", OPERATION, {"operation": "$response.body#/operation"}),)
COUNTED_PROBLEMS: Final = ("quota-exceeded",)
"""Of all that is counted: the paths of the contract, not those that say how the process is."""
SHARED_PROBLEMS: Final = (
    "bad-request",
    "not-found",
    "method-not-allowed",
    "expectation-failed",
    "headers-too-large",
    "internal",
    "overloaded",
)


class Description:
    """`/openapi.json`: written once, when it is first asked for."""

    def __init__(self, routes: tuple[Route, ...], settings: Settings) -> None:
        self._routes = (*routes, self.route())
        self._problem_base = settings.problem_base

    def route(self) -> Route:
        return Route("GET", "/openapi.json", self.get, "Describe this contract as OpenAPI 3.1", {200: None})

    async def get(self, request: web.Request) -> web.Response:
        return web.Response(body=self._body, content_type=JSON, headers={"Cache-Control": "private"})

    @cached_property
    def _body(self) -> bytes:
        return wire.encode(describe(self._routes, self._problem_base))


def describe(routes: Iterable[Route], problem_base: str) -> dict[str, Any]:
    """Describe `routes` as an OpenAPI document."""
    rows = list(routes)
    paths: dict[str, dict[str, Any]] = {}
    served = {(route.method, route.path): _operation_id(route) for route in rows}
    for route in rows:
        operation = _operation(route, problem_base, served)
        paths.setdefault(template(route.path), {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Plait",
            "version": version("plait"),
            "summary": "JSON documents that many people edit at the same time",
        },
        "paths": paths,
        "components": {"schemas": _schemas(rows), "headers": _answer_headers()},
    }


def template(path: str) -> str:
    """Write a path of the route table as OpenAPI does: variables without their patterns."""
    return _VARIABLE.sub(r"{\1}", path)


def _operation(route: Route, problem_base: str, served: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "parameters": list(_parameters(route)),
        "responses": {**_successes(route, served), **_failures(route, problem_base)},
    }
    if route.body:
        content = {media_type: {"schema": _reference(model)} for media_type, model in route.body.items()}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _operation_id(route: Route) -> str:
    words = [re.sub(r"\W", "_", word) for word in template(route.path).split("/") if word not in ("", "v1")]
    return "_".join([route.method.lower(), *(word.strip("_") for word in words)])


def _parameters(route: Route) -> Iterable[dict[str, Any]]:
    for name in _VARIABLE.findall(route.path):
        description, pattern = PATH_VARIABLES[name]
        schema = {"type": "string", "pattern": f"^{pattern}$"}
        yield {"name": name, "in": "path", "required": True, "description": description, "schema": schema}
    for name in route.query:
        description, schema = QUERY[name]
        parameter = {"name": name, "in": "query", "description": description, "schema": schema}
        yield {**parameter, "required": True} if name in route.required else parameter
    for name in route.headers:
        schema = {"type": "string"}
        if name in HEADER_PATTERNS:
            schema["pattern"] = HEADER_PATTERNS[name]
        yield {"name": name, "in": "header", "description": HEADERS[name], "schema": schema}


def _successes(route: Route, served: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    successes = {
        str(status): _success(status, model, () if status in (101, 204, 304) else route.media_types)
        for status, model in route.answers.items()
    }
    links = _links(LINKS.get((route.method, route.path), ()), served)
    for status, followed in (("200", links), ("201", links), ("202", _links(QUEUED, served))):
        if followed and status in successes:
            successes[status]["links"] = followed
    return successes


def _links(links: tuple[Link, ...], served: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """Say what can be done next, of what is served, by the name of the operation."""
    followed = {served[link[:2]]: dict(link.parameters) for link in links if link[:2] in served}
    return {name: {"operationId": name, "parameters": each} for name, each in followed.items()}


def _success(status: int, model: type[BaseModel] | None, media_types: tuple[str, ...]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase, "headers": _told(QUOTA_HEADERS)}
    if media_types:
        answer["content"] = {media_type: {"schema": _reference(model)} for media_type in media_types}
    return answer


def _failures(route: Route, problem_base: str) -> dict[str, Any]:
    by_status: dict[int, list[Kind]] = {}
    counted = COUNTED_PROBLEMS if route.path.startswith(FRONT) else ()
    for code in sorted({*route.problems, *SHARED_PROBLEMS, *counted}):
        by_status.setdefault(PROBLEMS[code].status, []).append(PROBLEMS[code])
    return {
        str(status): _failure(by_status[status], problem_base, route.refusal) for status in sorted(by_status)
    }


def _failure(kinds: list[Kind], problem_base: str, refusal: type[BaseModel] | None) -> dict[str, Any]:
    if refusal is None and any(kind.code == "merge-conflict" for kind in kinds):
        refusal = refusals.ConflictProblem
    shapes = [_reference(refusals.ProblemBody), *([_reference(refusal)] if refusal else [])]
    types = {"properties": {"type": {"enum": [problem_base + kind.code for kind in kinds]}}}
    schema = {"allOf": [{"anyOf": shapes} if refusal else shapes[0], types]}
    retried = any(kind.retry for kind in kinds)
    return {
        "description": "; ".join(f"{kind.code}: {kind.title}" for kind in kinds),
        "headers": _told(name for name in ANSWER_HEADERS if retried or name != "Retry-After"),
        "content": {MEDIA_TYPE: {"schema": schema}},
    }


def _told(names: Iterable[str]) -> dict[str, Any]:
    """Refer to the headers of an answer that are no matter of its route."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _answer_headers() -> dict[str, Any]:
    return {
        name: {"description": description, "schema": {"type": "string"}}
        for name, description in ANSWER_HEADERS.items()
    }


def _reference(model: type[BaseModel] | None) -> dict[str, Any]:
    return {} if model is None else {"$ref": _SCHEMAS + model.__name__}


def _schemas(routes: list[Route]) -> dict[str, Any]:
    used: dict[str, type[BaseModel]] = {
        model.__name__: model for model in (refusals.ProblemBody, refusals.ConflictProblem)
    }
    for route in routes:
        for model in (*route.answers.values(), *(route.body or {}).values(), route.refusal):
            if model is not None:
                used[model.__name__] = model
    _, definitions = models_json_schema(
        [(model, "validation") for model in used.values()], ref_template=_SCHEMAS + "{model}"
    )
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas
