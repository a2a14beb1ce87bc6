"""Queued edits: accepted now, decided later, in order, each exactly once."""

from typing import Any

from plait_server.service import (
    Caller,
    DocumentKey,
    Edit,
    IdempotencyKey,
    Operation,
    Service,
)
from server.service.bench import ANN, ORDER, Bench, put

KEY = IdempotencyKey("k", "fingerprint")


def appending(value: object, **rest: Any) -> Edit:
    return Edit(kind="patch", content=[{"op": "add", "path": "/log/-", "value": value}], **rest)


async def queued(
    service: Service, edit: Edit, document: DocumentKey = ORDER, caller: Caller = ANN
) -> Operation:
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
