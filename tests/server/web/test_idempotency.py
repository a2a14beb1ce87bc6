"""One key, one edit: however often it is sent."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession

DOC = "/v1/docs/orders/7"
PATCH = {"Content-Type": "application/json-patch+json"}
ADD = [{"op": "add", "path": "/list/-", "value": 1}]


@pytest.fixture
async def client(client: ClientSession) -> ClientSession:
    """A client of a server that has one document with an empty list."""
    async with client.put(DOC, json={"list": [], "n": 0}, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    return client


async def send(
    client: ClientSession, key: str, operations: Any = ADD, **headers: str
) -> tuple[int, Any, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    headers = {**PATCH, "Plait-Base": "1", "Idempotency-Key": key, **named}
    async with client.patch(DOC, json=operations, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None), answer.headers


async def test_the_same_key_gives_the_same_answer_and_one_edit(client: ClientSession) -> None:
    first = await send(client, '"k1"')
    again = await send(client, '"k1"')
    assert (first[0], again[0]) == (200, 200)
    assert "Idempotency-Replayed" not in first[2]
    assert again[2]["Idempotency-Replayed"] == "true"
    for member in ("revision", "outcome", "patch", "base"):
        assert first[1][member] == again[1][member]
    async with client.get(DOC) as read:
        assert await read.json() == {"list": [1], "n": 0}


async def test_a_key_is_the_same_with_and_without_quotes(client: ClientSession) -> None:
    await send(client, '"k1"')
    assert (await send(client, "k1"))[2]["Idempotency-Replayed"] == "true"


async def test_a_replay_is_found_before_its_base_is_judged(client: ClientSession) -> None:
    """A retry's base is stale by definition, also under If-Match."""
    first = await send(client, "k1", If_Match='"1"')
    again = await send(client, "k1", If_Match='"1"')
    assert (first[0], again[0], again[1]["revision"]) == (200, 200, 2)


@pytest.mark.parametrize(
    "other",
    [
        {"operations": [{"op": "add", "path": "/list/-", "value": 2}]},
        {"Plait_Base": "2"},
        {"If_Match": '"1"'},
        {"Content_Type": "application/merge-patch+json"},
    ],
)
async def test_another_request_under_the_same_key_is_422(
    client: ClientSession, other: dict[str, Any]
) -> None:
    await send(client, "k1")
    status, body, _ = await send(client, "k1", **other)
    assert (status, body["type"]) == (422, "urn:plait:errors:idempotency-key-reused")


async def test_a_key_belongs_to_its_caller(client: ClientSession) -> None:
    await send(client, "k1", Plait_Author="ann")
    other = [{"op": "add", "path": "/list/-", "value": 2}]
    status, body, headers = await send(client, "k1", other, Plait_Author="bob")
    assert (status, body["revision"]) == (200, 3)
    assert "Idempotency-Replayed" not in headers


async def test_a_refusal_is_remembered_too(client: ClientSession) -> None:
    await send(client, "k0", [{"op": "replace", "path": "/n", "value": 1}])
    over = [{"op": "replace", "path": "/n", "value": 2}]
    first = await send(client, "k1", over)
    again = await send(client, "k1", over)
    assert (first[0], again[0]) == (409, 409)
    assert again[2]["Idempotency-Replayed"] == "true"
    assert first[1]["instance"] == again[1]["instance"]


async def test_many_sends_at_once_make_one_edit(client: ClientSession) -> None:
    answers = await asyncio.gather(*(send(client, "k1") for _ in range(16)))
    for status, body, headers in answers:
        if status == 409:
            assert body["type"] == "urn:plait:errors:idempotency-in-progress"
            assert (headers["Plait-Should-Retry"], headers["Retry-After"].isdigit()) == ("true", True)
        else:
            assert (status, body["revision"]) == (200, 2)
    assert any(status == 200 for status, _, _ in answers)
    async with client.get(DOC) as read:
        assert (await read.json())["list"] == [1]


async def test_every_write_takes_a_key(client: ClientSession) -> None:
    key = {"Idempotency-Key": "made"}
    places = set()
    for _ in range(2):
        async with client.post("/v1/docs/orders", json={"n": 1}, headers=key) as answer:
            assert answer.status == 201
            places.add(answer.headers["Location"])
    assert len(places) == 1
    for _ in range(2):
        headers = {"If-None-Match": "*", "Idempotency-Key": "put"}
        async with client.put("/v1/docs/orders/8", json={}, headers=headers) as answer:
            assert (answer.status, answer.headers["ETag"]) == (201, '"1"')
    for _ in range(2):
        headers = {"If-Match": '"1"', "Idempotency-Key": "delete"}
        async with client.delete("/v1/docs/orders/8", headers=headers) as answer:
            assert (answer.status, answer.headers["Plait-Revision"]) == (204, "2")
    assert answer.headers["Idempotency-Replayed"] == "true"
