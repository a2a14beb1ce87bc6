"""Edits that are handed in and decided later."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

from msgspec import Struct

from plait_client.conflict import MergeConflict
from plait_client.context import Context
from plait_client.errors import DeadlineExceeded, Overlapped, PlaitError, error_of
from plait_client.resolvers import Resolver
from plait_client.saved import Saved, read_saved
from plait_client.settlement import settle_by_rule
from plait_client.wire import request

WAIT_S: Final = 10.0
"""So long the server is asked to wait for news at most."""
ASKED_AGAIN_S: Final = 0.5
"""After so long, drawn from 0, it is asked again where it does not wait."""

Status = Literal["queued", "done", "refused"]


class _Told(Struct, frozen=True):
    operation: str
    document: str
    status: Status
    accepted: str
    finished: str | None = None
    result: Any = None
    problem: dict[str, Any] | None = None


class Operation:
    """An edit that the server has accepted and decides when its turn comes.

    `id` finds it again, from any process (`AsyncPlait.operation`), as long as the server keeps it. `status`
    is "queued", "done" or "refused" as far as is known here, `accepted` and `finished` are RFC 3339.
    """

    def __init__(self, context: Context, told: _Told, message: str | None = None, key: str = "") -> None:
        self._context = context
        self._told = told
        self._message = message
        self._key = key
        self._saved: Saved | None = None
        self._conflict: MergeConflict | None = None

    def __repr__(self) -> str:
        return f"<Operation {self.id} on {self.document}, {self.status}>"

    @property
    def id(self) -> str:
        return self._told.operation

    @property
    def document(self) -> str:
        """The name of the document."""
        return self._told.document

    @property
    def status(self) -> Status:
        return self._told.status

    @property
    def accepted(self) -> str:
        return self._told.accepted

    @property
    def finished(self) -> str | None:
        return self._told.finished

    async def refresh(self) -> None:
        """Ask how it stands."""
        await self._ask(0)

    async def result(self, timeout_s: float | None = None, *, on_conflict: Resolver | None = None) -> Saved:
        """Wait for what becomes of it; the document has it then, where it is open.

        Raises what the edit was refused with, MergeConflict among it, which is settled as any other;
        DeadlineExceeded after `timeout_s`, and as any request does: it can be asked for again then.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self.status == "queued":
                    await self._wait()
        except TimeoutError as error:
            raise DeadlineExceeded(f"The edit of {self.document} is still in the queue.") from error
        if self._saved is None:
            self._saved = await self._outcome(on_conflict)
        return self._saved

    async def _wait(self) -> None:
        """Wait for news, as long as the server does."""
        transport = self._context.transport
        wait_s, asked = min(WAIT_S, transport.retry.attempt_timeout_s / 2), transport.clock()
        await self._ask(wait_s)
        if self.status == "queued" and transport.clock() - asked < wait_s / 2:
            await transport.sleep(transport.uniform(0, ASKED_AGAIN_S))

    async def _ask(self, wait_s: float) -> None:
        self._context.check_open()
        answer = await self._context.transport.send(request.operation(self.id, wait_s))
        self._told = answer.read_as(_Told)

    async def _outcome(self, resolver: Resolver | None) -> Saved:
        """Give what it came to; who asks again is told of the same conflict."""
        if self._conflict is not None:
            if resolver is None:
                raise self._conflict
            return await settle_by_rule(self._conflict, resolver)
        try:
            return await self._taken(resolver)
        except MergeConflict as conflict:
            self._conflict = conflict
            raise

    async def _taken(self, resolver: Resolver | None) -> Saved:
        """Take over what was decided."""
        documents = self._context.documents
        document = documents.find(self.document)
        if self._told.problem is None:
            saved = read_saved(self._told.result, self._key)
            return saved if document is None else await document._learn(saved)
        error = _refusal(self._told.problem)
        if not isinstance(error, Overlapped):
            raise error
        return await (document or documents.new(self.document))._overlapped(error, self._message, resolver)


def _refusal(problem: dict[str, Any]) -> PlaitError:
    status = problem.get("status")
    return error_of(status if isinstance(status, int) else 0, problem)


async def submit(context: Context, name: str, body: bytes, message: str | None) -> Operation:
    """Hand an edit in."""
    context.check_open()
    write = request.queued_edit(name, body)
    answer = await context.transport.send(write)
    if answer.status == 202:
        told = answer.read_as(_Told)
    else:  # the server decided at once
        told = _Told(operation="", document=name, status="done", accepted="", result=answer.json())
    return Operation(context, told, message, request.key_of(write))


async def find(context: Context, id: str) -> Operation:
    """Find an edit that was handed in."""
    answer = await context.transport.send(request.operation(id))
    return Operation(context, answer.read_as(_Told))
