"""Taking back: a revision, a range of them, or everything since one."""

from typing import Final

from aiohttp import web
from msgspec.structs import replace

from plait_merge.values import Json
from plait_server.config import Settings
from plait_server.service import Answer, Caller, DocumentKey, Edit, Service
from plait_server.web.conditions import BadHeader
from plait_server.web.documents import MERGE_PROBLEMS, WRITE_PROBLEMS
from plait_server.web.door import Parser, bound_message, only_json, read_body, read_model
from plait_server.web.edits import JSON, EditAnswers, caller_of, check_room, document_of, edit_of
from plait_server.web.models import answers, bodies
from plait_server.web.pages import only_query
from plait_server.web.problems import Problem
from plait_server.web.routes import REVERT, Route

FORMS: Final = 'Send {"revision": n}, {"from": n, "through": n} or {"to": n}.'


class Reverts:
    """Edits that are made of history."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._parser = Parser(settings)
        self._answers = EditAnswers(service)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "POST",
                REVERT,
                self.revert,
                "Take revisions back and keep later ones, or restore a document to one",
                {200: answers.EditResult, 201: answers.EditResult, 202: answers.OperationBody, 204: None},
                (
                    *WRITE_PROBLEMS,
                    *MERGE_PROBLEMS,
                    "revision-compacted",
                    "schema-violation",
                    "unsupported-media-type",
                ),
                {JSON: bodies.RevertBody},
                headers=(
                    "If-Match",
                    "Plait-Lock",
                    "Idempotency-Key",
                    "Prefer",
                    "Plait-Author",
                    "traceparent",
                ),
            ),
        )

    async def revert(self, request: web.Request) -> web.StreamResponse:
        only_query(request)
        only_json(request.content_type)
        caller, document = caller_of(request), document_of(request)
        check_room(self._service, request, caller, document)
        body = await read_body(request, self._settings.patch_bytes_max, self._settings.body_timeout_s)
        stated = self._stated(await self._parser.patch(body))
        answer = await self._made(caller, document, stated, _edit(request, stated, body))
        if isinstance(answer, Edit):
            decided = await self._answers.decide(request, caller, document, answer)
            return await self._answers.respond(request, caller, decided, known_base=False)
        return await self._answers.respond(request, caller, answer, known_base=False)

    async def _made(
        self, caller: Caller, document: DocumentKey, stated: bodies.RevertBody, edit: Edit
    ) -> Edit | Answer:
        """Make the edit that was asked for; the answer, if it was made and answered before."""
        history = self._service.history
        match stated:
            case bodies.RevertBody(revision=int(n), from_=None, through=None, to=None):
                return await history.undoing(caller, document, n, n, edit)
            case bodies.RevertBody(revision=None, from_=int(first), through=int(last), to=None):
                return await history.undoing(caller, document, first, last, edit)
            case bodies.RevertBody(revision=None, from_=None, through=None, to=int(n)):
                return await history.restoring(caller, document, n, edit)
            case _:
                raise Problem("invalid-value", FORMS)

    def _stated(self, content: Json) -> bodies.RevertBody:
        stated = read_model(bodies.RevertBody, content, "The body is not a revert.")
        bound_message(stated.message, self._settings)
        return stated


def _edit(request: web.Request, stated: bodies.RevertBody, body: bytes) -> Edit:
    """Read how the edit is to be made; what it is made on and what it holds is the service's to say."""
    plain = edit_of(request, "patch", None, body)
    if plain.base is not None or plain.if_none_match:
        name = "If-None-Match" if plain.base is None else "Plait-Base"
        raise BadHeader(name, "what a revert is made on is said by the revisions in its body.")
    return replace(
        plain, epoch=stated.epoch, merge=stated.merge, message=stated.message, dry_run=stated.dry_run
    )
