"""Numbers as they were sent, on their whole way: in, merged, stored, out, and after a crash."""

from aiohttp import ClientSession

from server.faults.conftest import Start


async def status(
    client: ClientSession,
    method: str,
    path: str,
    body: bytes,
    media_type: str,
    condition: dict[str, str] | None = None,
) -> int:
    headers = {"Content-Type": media_type, **(condition or {})}
    async with client.request(method, path, data=body, headers=headers) as answer:
        return answer.status


async def test_an_integer_of_thirty_digits_stays_exact_on_its_whole_way(start: Start) -> None:
    first, second = b"123456789012345678901234567890", b"-987654321098765432109876543210"
    path, value = "/v1/docs/orders/7", b'{"n":%b,"m":%b}'
    server = await start()
    async with server.client() as client:
        created = value % (first, first)
        assert await status(client, "PUT", path, created, "application/json", {"If-None-Match": "*"}) == 201
        patch = b'[{"op":"test","path":"/n","value":%b},{"op":"replace","path":"/m","value":%b}]'
        assert (
            await status(client, "PATCH", path, patch % (first, second), "application/json-patch+json") == 200
        )
        # One digit apart, and the same as a double.
        assert (
            await status(
                client, "PATCH", path, patch % (first[:-1] + b"1", b"0"), "application/json-patch+json"
            )
            == 409
        )
    await server.kill()
    server = await start()
    async with server.client() as client:
        for place, expected in (
            (path, value % (first, second)),
            (f"{path}?revision=1", created),
            (f"{path}?pointer=/m", second),
        ):
            async with client.get(place) as answer:
                assert await answer.read() == expected
        async with client.get(f"{path}/revisions/2") as answer:
            assert second in await answer.read()
