"""Writers at once: strictness lets one through, merging loses nobody."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession

DOC = "/v1/docs/orders/7"
PATCH = {"Content-Type": "application/json-patch+json"}


async def send(client: ClientSession, operation: dict[str, Any], **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.patch(DOC, json=[operation], headers={**PATCH, **named}) as answer:
        await answer.read()
        return answer.status


async def create(client: ClientSession, value: Any) -> None:
    async with client.put(DOC, json=value, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201


@pytest.mark.parametrize("writers", [2, 8])
async def test_of_writers_with_one_tag_exactly_one_passes(client: ClientSession, writers: int) -> None:
    await create(client, {"n": 0})
    for revision in range(1, 51):
        statuses = await asyncio.gather(
            *(
                send(
                    client,
                    {"op": "replace", "path": "/n", "value": [revision, writer]},
                    If_Match=f'"{revision}"',
                )
                for writer in range(writers)
            )
        )
        assert sorted(statuses) == [200] + [412] * (writers - 1)


@pytest.mark.parametrize("writers", [2, 8])
async def test_of_writers_with_one_base_every_acknowledged_edit_is_there(
    client: ClientSession, writers: int
) -> None:
    await create(client, {})
    for _ in range(25):
        async with client.get(DOC) as read:
            base = read.headers["Plait-Revision"]
        names = [f"{base}-{writer}" for writer in range(writers)]
        statuses = await asyncio.gather(
            *(send(client, {"op": "add", "path": f"/{name}", "value": 1}, Plait_Base=base) for name in names)
        )
        assert statuses == [200] * writers
        async with client.get(DOC) as read:
            assert set(names) <= set(await read.json())


async def test_a_read_after_an_answer_sees_it(client: ClientSession) -> None:
    await create(client, {"n": 0})

    async def write_and_read(writer: int) -> None:
        for n in range(20):
            name = f"/{writer}-{n}"
            assert await send(client, {"op": "add", "path": name, "value": n}) == 200
            async with client.get(DOC, params={"pointer": name}) as read:
                assert await read.json() == n

    await asyncio.gather(*(write_and_read(writer) for writer in range(8)))
