"""Polling: what is new in a document, asked for."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import ClientSession, web

from plait_client.errors import NotFound, TransportError
from plait_client.live.follower import CaughtUp, Moved, Replaced, Subscription
from plait_client.live.polling import poll
from plait_client.wire.retry import Retry
from plait_client.wire.transport import Transport
from plait_merge import ABSENT
from server.live.client import create, replace

Answering = Callable[..., Awaitable[Transport]]


async def test_a_copy_begins_with_the_document_and_is_led_on(client: ClientSession) -> None:
    await create(client, "orders/1", {"n": 0})
    transport, copy = Transport(client), Subscription()
    replaced, caught_up = await poll(transport, "orders/1", copy)
    assert isinstance(replaced, Replaced)
    assert (replaced.revision, replaced.value, caught_up) == (1, {"n": 0}, CaughtUp(1))
    assert await poll(transport, "orders/1", copy) == [CaughtUp(1)]
    for n in range(1, 121):
        await replace(client, "orders/1", "/n", n)
    moved, caught_up = await poll(transport, "orders/1", copy)
    assert isinstance(moved, Moved)
    assert (moved.prev, moved.revision, caught_up) == (1, 121, CaughtUp(121))
    assert [operation["value"] for operation in moved.patch] == list(range(1, 121))
    assert [part.rev for part in moved.parts] == list(range(2, 122))


async def test_the_keys_of_edits_are_told(client: ClientSession) -> None:
    await create(client, "orders/1", {"n": 0})
    patch = b'[{"op":"replace","path":"/n","value":1}]'
    headers = {"Idempotency-Key": '"k1"', "Content-Type": "application/json-patch+json"}
    async with client.patch("/v1/docs/orders/1", data=patch, headers=headers):
        moved, _ = await poll(Transport(client), "orders/1", Subscription(1))
    assert isinstance(moved, Moved)
    assert [part.key for part in moved.parts] == ["k1"]


async def test_a_deleted_document_has_no_value(client: ClientSession) -> None:
    await create(client, "orders/1", {"n": 0})
    transport, copy = Transport(client), Subscription(1)
    async with client.delete("/v1/docs/orders/1", headers={"If-Match": "*"}):
        moved, _ = await poll(transport, "orders/1", copy)
    assert isinstance(moved, Moved)
    assert moved.patch == [{"op": "remove", "path": ""}]
    assert await poll(transport, "orders/1", copy) == [CaughtUp(2)]
    replaced, _ = await poll(transport, "orders/1", Subscription())
    assert isinstance(replaced, Replaced)
    assert replaced.value is ABSENT


async def test_a_document_that_never_was_is_not_found(client: ClientSession) -> None:
    with pytest.raises(NotFound):
        await poll(Transport(client), "orders/1", Subscription())


@pytest.mark.parametrize("revision", [1, 2])
async def test_another_epoch_replaces_the_copy(client: ClientSession, revision: int) -> None:
    """Whether the numbers agree or not."""
    await create(client, "orders/1", {"n": 0})
    copy = Subscription(revision, "another")
    replaced, caught_up = await poll(Transport(client), "orders/1", copy)
    assert isinstance(replaced, Replaced)
    assert (replaced.reason, caught_up) == ("epoch", CaughtUp(1))
    assert copy.epoch == replaced.epoch != "another"


async def test_a_revision_nobody_made_replaces_the_copy(client: ClientSession) -> None:
    await create(client, "orders/1", {"n": 0})
    replaced, _ = await poll(Transport(client), "orders/1", Subscription(9))
    assert isinstance(replaced, Replaced)
    assert (replaced.reason, replaced.revision) == ("unknown", 1)


@pytest.fixture
async def answering() -> AsyncIterator[Answering]:
    """Give a transport to a server whose document is at revision 5 and whose history is made up."""
    async with AsyncExitStack() as ends:

        async def started(*pages: Any, epoch: str | None = "e", head: str = "5") -> Transport:
            left = iter(pages)

            async def document(_: web.Request) -> web.Response:
                headers = {"Plait-Revision": head} | ({"Plait-Epoch": epoch} if epoch else {})
                return web.json_response({"n": 5}, headers=headers)

            async def revisions(_: web.Request) -> web.Response:
                return web.json_response(next(left))

            app = web.Application()
            app.router.add_get("/v1/docs/orders/1", document)
            app.router.add_get("/v1/docs/orders/1/revisions", revisions)
            runner = web.AppRunner(app)
            await runner.setup()
            ends.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            session = await ends.enter_async_context(ClientSession(f"http://{host}:{port}"))
            return Transport(session, Retry(attempts=1))

        yield started


def page(*revisions: int, cursor: str | None = None) -> dict[str, Any]:
    entries = [{"revision": n, "author": "", "at": "", "patch": []} for n in revisions]
    return {"revisions": entries, "cursor": cursor}


async def test_history_is_read_page_by_page(answering: Answering) -> None:
    copy = Subscription(1, "e")
    moved, _ = await poll(await answering(page(6, 5, 4, cursor="3"), page(3, 2, 1)), "orders/1", copy)
    assert isinstance(moved, Moved)
    assert [part.rev for part in moved.parts] == [2, 3, 4, 5, 6]
    assert copy.revision == 6


@pytest.mark.parametrize("pages", [[page(5, 4)], [page(5, cursor="a"), page(cursor="b")]])
async def test_where_history_is_gone_the_document_replaces_the_copy(
    answering: Answering, pages: list[Any]
) -> None:
    replaced, caught_up = await poll(await answering(*pages), "orders/1", Subscription(1, "e"))
    assert replaced == Replaced(5, {"n": 5}, "e", "compacted")
    assert caught_up == CaughtUp(5)


async def test_who_missed_too_much_is_given_the_document(answering: Answering) -> None:
    pages = [page(*range(1_500 - n, 1_400 - n, -1), cursor=f"{n}") for n in range(0, 1_400, 100)]
    replaced, _ = await poll(await answering(*pages), "orders/1", Subscription(1, "e"))
    assert replaced == Replaced(5, {"n": 5}, "e", "lagging")


async def test_an_answer_that_is_late_is_no_news(answering: Answering) -> None:
    """History may have told of more than reading the document does."""
    copy = Subscription(7, "e")
    assert await poll(await answering(), "orders/1", copy) == [CaughtUp(7)]


@pytest.mark.parametrize(
    "body", [page(5, 3, 2), {}, [], page(5, 4, 3, 2) | {"revisions": 7}, {"revisions": [{}]}]
)
async def test_a_history_that_makes_no_sense_moves_nothing(answering: Answering, body: Any) -> None:
    copy = Subscription(1, "e")
    with pytest.raises(TransportError):
        await poll(await answering(body), "orders/1", copy)
    assert (copy.revision, copy.epoch) == (1, "e")


@pytest.mark.parametrize("said", [{"epoch": None}, {"head": "x"}])
async def test_an_answer_that_does_not_say_where_it_is_moves_nothing(answering: Answering, said: Any) -> None:
    copy = Subscription()
    with pytest.raises(TransportError):
        await poll(await answering(**said), "orders/1", copy)
    assert copy.revision is None
