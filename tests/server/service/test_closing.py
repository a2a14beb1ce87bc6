"""A document that is closed leaves memory at once: nothing that happened to it keeps it in a cycle."""

import gc
from collections.abc import Iterator

import pytest

from plait_server.errors import BatchRefused
from plait_server.service import Batch, Edit, IdempotencyKey, IfMatch, Service
from plait_server.service.document import OpenDocument
from server.service.bench import ANN, ORDER, decided, put, refusal, replacing, turns

KEY = IdempotencyKey("again", "print")
HISTORIES = {
    "edited": [replacing("/n", 2), replacing("/n", 3)],
    "merged": [replacing("/n", 2), replacing("/list/0", 2, base=1)],
    "in conflict": [replacing("/n", 2), replacing("/n", 3, base=1)],
    "not as it was": [replacing("/n", 2, if_match=IfMatch((7,)))],
    "without a base": [replacing("/n", 2, base=9)],
    "without a place": [replacing("/nowhere/n", 2)],
    "sent again": [replacing("/n", 2, key=KEY), replacing("/n", 2, key=KEY)],
    "refused again": [replacing("/nowhere/n", 2, key=KEY), replacing("/nowhere/n", 2, key=KEY)],
    "deleted": [Edit(kind="delete")],
}


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Let nobody look for cycles."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def in_memory() -> int:
    return sum(type(each) is OpenDocument for each in gc.get_objects())


async def close_all(service: Service) -> None:
    await turns()
    service._documents.sweep(-1)
    await turns()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("history", HISTORIES)
async def test_whatever_was_asked_of_it(service: Service, history: str) -> None:
    before = in_memory()
    await put(service, {"n": 1, "list": [1]})
    for edit in HISTORIES[history]:
        await decided(service.edit(ANN, ORDER, edit))
    await close_all(service)
    assert in_memory() == before


@pytest.mark.usefixtures("no_collector")
async def test_after_a_batch_that_was_refused(service: Service) -> None:
    before = in_memory()
    await put(service, {"n": 1})
    with pytest.raises(BatchRefused):
        await service.batch(ANN, Batch(edits=((ORDER, replacing("/nowhere/n", 1)),)))
    await close_all(service)
    assert in_memory() == before


@pytest.mark.usefixtures("no_collector")
async def test_after_queued_edits(service: Service) -> None:
    before = in_memory()
    await put(service, {"n": 1})
    await service.queue.submit(ANN, ORDER, replacing("/n", 2), wait_s=10)
    await refusal(service.queue.submit(ANN, ORDER, replacing("/nowhere/n", 2), wait_s=10))
    await close_all(service)
    assert in_memory() == before
