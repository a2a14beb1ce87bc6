"""Batches: edits of several documents in one request, all made or none."""

from typing import Final

from aiohttp import web
from multidict import istr

from plait_merge.values import Json
from plait_server.config import Settings
from plait_server.errors import BatchRefused
from plait_server.service import (
    Batch,
    BatchAnswer,
    DocumentKey,
    Edit,
    EditKind,
    Hold,
    IdempotencyKey,
    IfMatch,
    Service,
)
from plait_server.web.conditions import BadHeader, Return, read_return
from plait_server.web.documents import MERGE_PROBLEMS, WRITE_PROBLEMS
from plait_server.web.door import BATCH_LEVELS, Parser, bound_message, only_json, read_body, read_model
from plait_server.web.edits import JSON, caller_of, key_of, result_of
from plait_server.web.models import answers, bodies, refusals
from plait_server.web.pages import only_query
from plait_server.web.problems import Problem, problem_of_refusal
from plait_server.web.requests import trace_of
from plait_server.web.routes import BATCH, Route
from plait_server.web.written import WrittenAtOnce

_PREFER: Final = istr("Prefer")
_OF_ONE_DOCUMENT: Final = tuple(map(istr, ("If-Match", "If-None-Match", "Plait-Base", "Plait-Lock")))


class Batches:
    """The one place that takes edits of several documents."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._parser = Parser(settings)

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "POST",
                BATCH,
                self.post,
                "Edit several documents: all edits are made, or none",
                {200: answers.BatchResult, 204: None},
                (
                    *WRITE_PROBLEMS,
                    *MERGE_PROBLEMS,
                    "malformed-patch",
                    "patch-inapplicable",
                    "precondition-required",
                    "schema-violation",
                    "test-failed",
                    "unsupported-media-type",
                ),
                {JSON: bodies.BatchBody},
                headers=("Idempotency-Key", "Prefer", "Plait-Author", "traceparent"),
                refusal=refusals.BatchProblem,
            ),
        )

    async def post(self, request: web.Request) -> web.StreamResponse:
        only_query(request)
        only_json(request.content_type)
        for name in _OF_ONE_DOCUMENT:
            if name in request.headers:
                raise BadHeader(name, "a batch has several documents; its edits say what each is made on.")
        caller, settings = caller_of(request), self._settings
        self._service.check_room(caller, None)
        body = await read_body(request, settings.batch_bytes_max, settings.body_timeout_s, "batch_bytes")
        stated = self._stated(await self._parser.patch(body, BATCH_LEVELS))
        key, trace = key_of(request, body), trace_of(request)
        batch = Batch(
            edits=tuple(
                [(_document(each.document), _edit(each, stated, key, trace)) for each in stated.edits]
            ),
            key=key,
            dry_run=stated.dry_run,
            weight_bytes=len(body),
        )
        try:
            answer = await self._service.batch(caller, batch)
        except BatchRefused as refused:
            raise self._problem(refused, batch) from refused
        return _response(request, answer)

    def _stated(self, content: Json) -> bodies.BatchBody:
        most = self._settings.batch_edits_max
        edits = content.get("edits") if isinstance(content, dict) else None
        if isinstance(edits, list) and len(edits) > most:
            detail = f"A batch has at most {most} edits."
            raise Problem("too-large", detail, {"limit": "batch_edits", "maximum": most})
        stated = read_model(bodies.BatchBody, content, "The body is not a batch.")
        bound_message(stated.message, self._settings)
        return stated

    def _problem(self, refused: BatchRefused, batch: Batch) -> Problem:
        """Say why nothing is made: every refused edit, as the problem it would be alone."""
        entries = []
        for number, refusal in refused.refusals.items():
            document = batch.edits[number][0]
            problem = problem_of_refusal(refusal, {"collection": document.collection, "id": document.id})
            kind = problem.kind
            entries.append(
                {
                    "edit": number,
                    "document": document.name,
                    "type": self._settings.problem_base + kind.code,
                    "title": kind.title,
                    "status": kind.status,
                    "detail": problem.detail,
                    **problem.members,
                }
            )
        count, of = len(entries), len(batch.edits)
        detail = f"{count} of {of} edits {'is' if count == 1 else 'are'} refused, so nothing is written."
        members: dict[str, object] = {"errors": entries}
        refusals = refused.refusals.values()
        waits = [wait for each in refusals if isinstance(wait := each.members.get("retry_after_s"), int)]
        is_passing = all(each.retry for each in refusals)
        if is_passing and waits:
            members["retry_after_s"] = max(waits)
        headers = {"Idempotency-Replayed": "true"} if refused.replayed else None
        return Problem(refused.first.code, detail, members, headers, retry=is_passing)


def _document(name: str) -> DocumentKey:
    collection, _, id = name.partition("/")
    return DocumentKey(collection, id)


def _edit(
    stated: bodies.BatchEdit, batch: bodies.BatchBody, key: IdempotencyKey | None, trace: str | None
) -> Edit:
    kind: EditKind = "put"
    content: Json = stated.value
    if stated.patch is not None:
        kind, content = "patch", stated.patch
    elif stated.delete:
        kind = "delete"
    return Edit(
        kind=kind,
        content=content,
        base=stated.base,
        epoch=batch.epoch,
        if_match=None if stated.if_match is None else IfMatch((stated.if_match,)),
        if_none_match=stated.create,
        merge=stated.merge,
        extended=True,
        message=batch.message,
        dry_run=batch.dry_run,
        key=key,
        trace=trace,
        lock=None if stated.lock is None else Hold(stated.lock.id, stated.lock.fence),
    )


def _response(request: web.Request, answer: BatchAnswer) -> web.StreamResponse:
    prefer = request.headers.get(_PREFER)
    fields = "Cache-Control: private\r\n"
    if answer.replayed:
        fields += "Idempotency-Replayed: true\r\n"
    if prefer is not None and read_return(prefer) is Return.MINIMAL:
        return WrittenAtOnce(204, f"{fields}Preference-Applied: return=minimal\r\n", b"")
    results = [result_of(each, each.document.name) for each in answer.answers]
    body = b'{"results":[%b],"epoch":"%b"}' % (b",".join(results), answer.answers[0].epoch.encode())
    return WrittenAtOnce(200, f"{fields}Content-Type: {JSON}\r\n", body)
