"""The feed and server-sent events."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from plait_merge import ABSENT, apply
from plait_server.web.connections import Runner
from server.live.client import Copies, create, edit, replace

Serve = Callable[..., Awaitable[ClientSession]]


async def changes(client: ClientSession, **query: Any) -> dict[str, Any]:
    async with client.get("/v1/changes", params=query) as answer:
        assert answer.status == 200
        page: dict[str, Any] = await answer.json()
    return page


async def test_the_feed_is_all_of_history_in_order(client: ClientSession) -> None:
    """A read model that is made from nothing else is what the documents are."""
    for number in range(3):
        await create(client, f"orders/{number}", {"n": 0})
    for number in range(9):
        await replace(client, f"orders/{number % 3}", "/n", number + 1)
    model: dict[str, Any] = {}
    cursor: dict[str, str] = {}
    while (page := await changes(client, limit=5, **cursor))["changes"]:
        for change in page["changes"]:
            revision, value = model.get(change["document"], (0, ABSENT))
            assert change["revision"] == revision + 1
            model[change["document"]] = (change["revision"], apply(value, change["patch"]))
        cursor = {"since": page["cursor"]}
    assert model == {f"orders/{number}": (4, {"n": number + 7}) for number in range(3)}


async def test_a_cursor_at_the_end_stays_good(client: ClientSession) -> None:
    await create(client, "orders/1", {"n": 0})
    end = (await changes(client))["cursor"]
    assert await changes(client, since=end) == {"changes": [], "cursor": end}
    await replace(client, "orders/1", "/n", 1)
    assert [each["revision"] for each in (await changes(client, since=end))["changes"]] == [2]


async def test_the_feed_waits_for_a_change(client: ClientSession) -> None:
    await create(client, "orders/1", {"n": 0})
    end = (await changes(client))["cursor"]
    waiting = asyncio.create_task(changes(client, since=end, wait=30))
    await asyncio.sleep(0)
    await replace(client, "orders/1", "/n", 1)
    async with asyncio.timeout(10):
        assert len((await waiting)["changes"]) == 1
    assert (await changes(client, since=end, limit=1, wait=30))["changes"]


@pytest.mark.parametrize(
    ("query", "status"),
    [("since=x", 400), ("since=", 400), ("wait=-1", 400), ("wait=nan", 400), ("limit=0", 400), ("x=1", 400)],
)
async def test_what_the_feed_does_not_understand_is_a_problem(
    client: ClientSession, query: str, status: int
) -> None:
    async with client.get(f"/v1/changes?{query}") as answer:
        assert (answer.status, answer.content_type) == (status, "application/problem+json")


async def test_a_cursor_of_another_epoch_has_expired(client: ClientSession) -> None:
    async with client.get("/v1/changes?since=b3RoZXIuMQ") as answer:
        assert answer.status == 410
        assert (await answer.json())["type"].endswith("cursor-expired")


async def event(answer: ClientResponse) -> dict[str, str]:
    """Read the next event; comments and the retry line are none."""
    while True:
        async with asyncio.timeout(10):
            lines = (await answer.content.readuntil(b"\n\n")).decode().split("\n")
        told = dict(line.split(": ", 1) for line in lines if line and not line.startswith(":"))
        if "event" in told:
            return told


async def test_events_are_the_frames_and_can_be_resumed(client: ClientSession) -> None:
    await create(client, "orders/1", {"n": 0})
    copies, path = Copies(), "/v1/docs/orders/1/events"
    async with client.get(path) as answer:
        assert answer.content_type == "text/event-stream"
        assert [(await event(answer))["event"] for _ in range(3)] == ["welcome", "snapshot", "caught_up"]
        await replace(client, "orders/1", "/n", 1)
        told = await event(answer)
        assert (told["event"], told["id"]) == ("rev", "2")
    copies.revisions["orders/1"], copies.values["orders/1"] = 2, {"n": 1}
    await edit(client, "orders/1", {"op": "add", "path": "/m", "value": 1})
    async with client.get(path, headers={"Last-Event-ID": "2"}) as answer:
        await event(answer)
        copies.take(json.loads((await event(answer))["data"]))
    assert copies.values["orders/1"] == {"n": 1, "m": 1}


async def test_events_end_with_the_server(serve: Serve, runners: list[Runner]) -> None:
    client = await serve()
    await create(client, "orders/1", {"n": 0})
    async with client.get("/v1/docs/orders/1/events") as answer:
        ending = asyncio.create_task(runners[0].cleanup())
        while (await event(answer))["event"] != "goaway":
            pass
        async with asyncio.timeout(10):
            assert await answer.content.read() == b""
        await ending


async def test_events_of_what_is_not_there_are_a_problem(client: ClientSession) -> None:
    async with client.get("/v1/docs/orders/1/events") as answer:
        assert (answer.status, answer.content_type) == (404, "application/problem+json")
    async with client.get("/v1/docs/orders/1/events?from=x") as answer:
        assert answer.status == 400
