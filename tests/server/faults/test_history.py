"""The check of a history is no rubber stamp."""

import pytest
from aiohttp import ClientSession

from server.faults.history import check_history

DOCUMENT = "orders/7"
FIRST, SECOND, THIRD = (f"edit-{number:016x}" for number in (1, 2, 3))


WRONG = (
    ({FIRST: 2, SECOND: 3, THIRD: 4}, "was acknowledged at 4"),
    ({FIRST: 3, SECOND: 2}, "was acknowledged at 3"),
    ({FIRST: 2}, "nobody was told"),
)


async def test_it_sees_what_is_missing_elsewhere_or_strange(client: ClientSession) -> None:
    async with client.put(f"/v1/docs/{DOCUMENT}", json={}, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    for token in (FIRST, SECOND):
        headers = {"Content-Type": "application/merge-patch+json"}
        async with client.patch(f"/v1/docs/{DOCUMENT}", json={token: token}, headers=headers) as answer:
            assert answer.status == 200
    await check_history(client, DOCUMENT, {FIRST: 2, SECOND: 3})
    for acknowledged, complaint in WRONG:
        with pytest.raises(AssertionError, match=complaint):
            await check_history(client, DOCUMENT, acknowledged)
