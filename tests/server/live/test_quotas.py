"""Quotas on live connections: edits count wherever they come from."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from server.live.client import Live, connected, create, opened
from server.web.metered import metered

Serve = Callable[..., Awaitable[ClientSession]]
ANN = {"Plait-Author": "ann"}


async def say_edit(live: Live, number: int, **more: Any) -> None:
    patch = [{"op": "replace", "path": "/n", "value": number}]
    await live.say(t="edit", id=number, doc="orders/1", patch=patch, **more)


async def test_an_edit_too_many_is_a_problem_and_a_throttle_and_the_connection_stays(tmp_path: Path) -> None:
    async with metered(tmp_path, rate_limit_caller_writes="3/minute") as server:
        await create(server.client, "orders/1", {"n": 0})
        async with opened(server.client, headers=ANN) as live:
            await live.hear_until("welcome")
            for number in range(1, 5):
                await say_edit(live, number)
            problem = await live.hear_until("problem", id=4)
            assert problem["type"] == "urn:plait:errors:quota-exceeded"
            assert (problem["status"], problem["limit"]) == (429, "caller-writes-60s")
            throttle = await live.hear_until("throttle")
            assert throttle["retry_after_ms"] == problem["retry_after_s"] * 1_000 > 60_000
            server.clock.now += problem["retry_after_s"]
            await say_edit(live, 5)
            assert (await live.hear_until("applied", id=5))["rev"] == 5


async def test_http_and_live_edits_share_a_quota(tmp_path: Path) -> None:
    async with metered(tmp_path, rate_limit_caller_writes="2/minute") as server:
        body: dict[str, Any] = {
            "headers": {**ANN, "If-None-Match": "*", "Content-Type": "application/json"},
            "data": b"{}",
        }
        async with opened(server.client, headers=ANN) as live:
            await live.hear_until("welcome")
            async with server.client.put("/v1/docs/orders/1", **body) as answer:
                assert answer.status == 201
            await live.say(t="edit", id=1, doc="orders/1", patch=[{"op": "add", "path": "/n", "value": 0}])
            await live.hear_until("applied", id=1)
            async with server.client.put("/v1/docs/orders/2", **body) as answer:
                assert answer.status == 429
            await say_edit(live, 2)
            assert (await live.hear_until("problem", id=2))["status"] == 429


async def test_a_refused_live_edit_burns_no_key(tmp_path: Path) -> None:
    async with metered(tmp_path, rate_limit_caller_writes="1/minute") as server:
        await create(server.client, "orders/1", {"n": 0})
        async with opened(server.client, headers=ANN) as live:
            await live.hear_until("welcome")
            await say_edit(live, 1, key="a")
            await live.hear_until("applied", id=1)
            await say_edit(live, 2, key="b")
            problem = await live.hear_until("problem", id=2)
            server.clock.now += problem["retry_after_s"]
            await say_edit(live, 2, key="b")
            applied = await live.hear_until("applied", id=2)
            assert (applied["rev"], applied.get("replayed", False)) == (3, False)


async def test_edits_stay_in_order_while_they_are_counted(tmp_path: Path) -> None:
    """Also where the counters are a storage that makes them wait for each other."""
    for storage in ("memory://", "async+memory://"):
        folder = tmp_path / storage.partition(":")[0]
        folder.mkdir()
        async with metered(folder, rate_limit_caller="1000/hour", rate_limit_storage=storage) as server:
            await create(server.client, "orders/1", {"n": 0})
            async with opened(server.client, headers=ANN) as live:
                await live.hear_until("welcome")
                for number in range(1, 31):
                    await say_edit(live, number)
                for number in range(1, 31):
                    assert (await live.hear_until("applied", id=number))["rev"] == number + 1


async def test_a_hot_document_is_a_problem_and_a_throttle(tmp_path: Path) -> None:
    async with metered(tmp_path, document_edits_waiting_max=1) as server:
        await create(server.client, "orders/1", {"n": 0})
        async with connected(server.client) as live:
            server.store.gate.clear()
            await say_edit(live, 1)
            await say_edit(live, 2)
            problem = await live.hear_until("problem", id=2)
            assert problem["type"] == "urn:plait:errors:hot-document"
            assert (await live.hear_until("throttle"))["retry_after_ms"] >= 500
            server.store.gate.set()
            assert (await live.hear_until("applied", id=1))["rev"] == 2


async def test_what_opens_a_stream_says_what_is_left(serve: Serve) -> None:
    client = await serve(rate_limit_caller="9/hour")
    await create(client, "orders/1", {"n": 0})
    async with client.get("/v1/docs/orders/1/events") as answer:
        assert answer.status == 200
        assert answer.headers["RateLimit"].startswith('"caller-3600s";r=7;t=')
    async with client.ws_connect("/v1/live", protocols=["plait.v1.json"]) as websocket:
        opening = websocket._response
        assert opening.status == 101
        assert opening.headers["RateLimit"].startswith('"caller-3600s";r=6;t=')
        assert opening.headers["RateLimit-Policy"] == '"caller-3600s";q=9;w=3600'
