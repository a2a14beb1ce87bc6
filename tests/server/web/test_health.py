"""What the server says about itself."""

from collections.abc import Awaitable, Callable

from aiohttp import ClientSession

Serve = Callable[..., Awaitable[ClientSession]]


async def test_the_front_page_says_what_to_detect(serve: Serve) -> None:
    client = await serve(patch_bytes_max=1_000)
    async with client.get("/v1") as answer:
        body = await answer.json()
    assert (answer.status, body["name"], body["versions"]) == (200, "plait", ["v1"])
    assert body["limits"]["patch_bytes_max"] == 1_000
    assert body["limits"]["idempotency_ttl_s"] == 86_400
    assert "application/vnd.plait.edit+json" in body["patch_types"]
    assert {"conflicts", "idempotency", "locks"} <= set(body["features"])
    assert not {"audit", "webhooks"} & set(body["features"])


async def test_it_lives_and_is_ready(client: ClientSession) -> None:
    async with client.get("/healthz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})
    async with client.get("/readyz") as answer:
        assert (answer.status, (await answer.json())["status"]) == (200, "ready")


async def test_every_answer_says_who_may_keep_it_and_which_request_it_answers(client: ClientSession) -> None:
    for path in ("/v1", "/healthz", "/readyz", "/openapi.json", "/v1/docs/c"):
        async with client.get(path) as answer:
            assert answer.headers["Cache-Control"] == "private"
            assert answer.headers["X-Request-Id"]
            assert answer.headers["Server"] == "plait"


async def test_a_slash_at_the_end_of_the_front_page_is_forgiven(client: ClientSession) -> None:
    async with client.get("/v1") as plain, client.get("/v1/") as slashed:
        assert (slashed.status, await slashed.json()) == (200, await plain.json())
