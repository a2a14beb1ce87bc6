"""Collections: what holds for their documents."""

from typing import Final

from aiohttp import web

from plait_merge.values import Json
from plait_server import wire
from plait_server.config import Settings
from plait_server.service import CollectionSettings, IfMatch, Retention, Rules, Service
from plait_server.service.moment import format_moment
from plait_server.web.conditions import BadHeader, etag, read_tags
from plait_server.web.door import Parser, only_json, read_body, read_model
from plait_server.web.edits import JSON, caller_of
from plait_server.web.models import answers, bodies
from plait_server.web.pages import only_query, revision_of
from plait_server.web.problems import WEAK_TAG_HINT, Problem
from plait_server.web.routes import RULES, Route

NO_SETTINGS: Final = "These are no settings of a collection."


class Collections:
    """The collection resource."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._parser = Parser(settings)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                RULES,
                self.get,
                "Read what holds for the documents of a collection: policy, schema, strictness, retention",
                {200: answers.CollectionBody, 304: None},
                ("bad-header", "bad-query", "precondition-failed", "store-unavailable"),
                query=("revision",),
                headers=("If-None-Match", "If-Match"),
            ),
            Route(
                "PUT",
                RULES,
                self.put,
                "Set what holds for the documents of a collection from now on",
                {200: answers.CollectionBody, 201: answers.CollectionBody},
                (
                    "bad-header",
                    "bad-query",
                    "malformed-json",
                    "request-timeout",
                    "too-large",
                    "invalid-value",
                    "precondition-failed",
                    "precondition-required",
                    "store-unavailable",
                    "outcome-unknown",
                    "unsupported-media-type",
                ),
                {JSON: bodies.CollectionSettings},
                headers=("If-Match", "If-None-Match", "Plait-Author"),
            ),
        )

    async def get(self, request: web.Request) -> web.Response:
        only_query(request, "revision")
        name = request.match_info["collection"]
        rules = await self._service.collection(caller_of(request), name, revision_of(request))
        tag = etag(rules.revision)
        required, seen = read_tags(request.headers, "If-Match"), read_tags(request.headers, "If-None-Match")
        if required is not None and not required.matches_strongly(tag):
            members = {"weak_etag": True, "hint": WEAK_TAG_HINT} if required.weak else None
            raise Problem("precondition-failed", f"The tag of this is {tag}.", members)
        if seen is not None and seen.matches_weakly(tag):
            return web.Response(status=304, headers={"ETag": tag, "Cache-Control": "private"})
        return _response(name, rules, 200)

    async def put(self, request: web.Request) -> web.Response:
        only_query(request)
        only_json(request.content_type)
        body = await read_body(request, self._settings.patch_bytes_max, self._settings.body_timeout_s)
        settings = settings_of(await self._parser.patch(body))
        name, caller = request.match_info["collection"], caller_of(request)
        before = (await self._service.collection(caller, name)).revision
        rules = await self._service.put_collection(caller, name, settings, _condition_of(request))
        return _response(name, rules, 201 if rules.revision == 1 and not before else 200)


def _condition_of(request: web.Request) -> IfMatch | None:
    """Read which settings may be replaced; None: there must be none. Raises BadHeader, Problem."""
    seen, absent = read_tags(request.headers, "If-Match"), read_tags(request.headers, "If-None-Match")
    if absent is not None and not absent.any:
        raise BadHeader("If-None-Match", "a write understands only `*`, for: set, never replace.")
    if absent is not None and seen is not None:
        raise BadHeader("If-None-Match", "says that there is nothing, and If-Match that there is something.")
    if absent is not None:
        return None
    if seen is None:
        raise Problem(
            "precondition-required",
            "Send the ETag the settings were read with as If-Match; for the first ones, If-None-Match: *.",
        )
    revisions = tuple(sorted(seen.revisions)) + ((0,) if "0" in seen.strong else ())
    return IfMatch(revisions=revisions, any=seen.any, weak=bool(seen.weak))


def settings_of(content: Json) -> CollectionSettings:
    """Read the settings of a collection from a stranger. Raises Problem."""
    stated = read_model(bodies.CollectionSettings, content, NO_SETTINGS)
    return CollectionSettings(stated.policy, stated.schema_, stated.merge, _retention(stated.retention))


def _retention(stated: bodies.Retention | None) -> Retention | None:
    if stated is None:
        return None
    if not stated.model_fields_set:
        # By its defaults it would let go all but what is labelled: nobody means that by saying nothing.
        cause = {"detail": "It does not say what to keep; null keeps all.", "pointer": "#/retention"}
        raise Problem("invalid-value", NO_SETTINGS, {"errors": [cause]})
    return Retention(stated.revisions, stated.days, stated.labelled)


def _response(name: str, rules: Rules, status: int) -> web.Response:
    settings = rules.settings
    body = {
        "collection": name,
        "revision": rules.revision,
        "policy": settings.policy,
        "schema": settings.schema,
        "merge": settings.merge,
        "retention": settings.retention,
        "author": rules.author if rules.revision else None,
        "at": format_moment(rules.at) if rules.revision else None,
    }
    headers = {"ETag": etag(rules.revision), "Cache-Control": "private", "X-Content-Type-Options": "nosniff"}
    return web.Response(status=status, body=wire.encode(body), content_type=JSON, headers=headers)
