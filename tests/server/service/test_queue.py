"""Queued edits: accepted now, decided later, in order, each exactly once."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_server.errors import OutcomeUnknown, PlaitServerError, StoreUnavailable
from plait_server.service import (
    Answer,
    Caller,
    DocumentKey,
    Edit,
    IdempotencyKey,
    IfMatch,
    Operation,
    Service,
    ServiceLimits,
)
from plait_server.service.operation import encode_edit, read_edit
from server.service.bench import ANN, BOB, ORDER, Bench, begin, put, refusal, replacing, turns

KEY = IdempotencyKey("k", "fingerprint")


def appending(value: object, **rest: Any) -> Edit:
    return Edit(kind="patch", content=[{"op": "add", "path": "/log/-", "value": value}], **rest)


async def queued(service: Service, edit: Edit, document: DocumentKey = ORDER, caller: Caller = ANN) -> Operation:
    """Queue an edit, to be decided later."""
    operation = await service.queue.submit(caller, document, edit)
    assert isinstance(operation, Operation)
    assert operation.status == "queued"
    return operation


async def finished(service: Service, operation: Operation, caller: Caller = ANN) -> Operation:
    """Wait for what comes of a queued edit."""
    operation = await service.queue.read(caller, operation.id, 10)
    assert operation.status != "queued"
    return operation


async def log_of(service: Service, document: DocumentKey = ORDER) -> Any:
    return (await service.read(ANN, document)).value["log"]


async def test_edits_of_a_document_are_decided_in_the_order_they_were_accepted_in(bench: Bench) -> None:
    await put(bench.service, {"log": []})
    operations = [await queued(bench.service, appending(n, base=1)) for n in range(100)]
    ends = [await finished(bench.service, operation) for operation in operations]
    assert [end.answer and end.answer.revision for end in ends] == list(range(2, 102))
    assert await log_of(bench.service) == list(range(100))
