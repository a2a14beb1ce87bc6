"""What is JSON here: every text that parsers do not agree about, through every door."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from server.faults.serving import Server
from server.hostile.minefield import MALFORMED, TAKEN, TOO_LARGE, UNACCEPTABLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"Content-Type": "application/json"}
NEW = {**JSON, "If-None-Match": "*"}
REFUSED = {
    **{name: (body, 400, "malformed-json", None) for name, body in MALFORMED.items()},
    **{name: (body, 422, "invalid-value", None) for name, body in UNACCEPTABLE.items()},
    **{name: (body, 413, "too-large", limit) for name, (body, limit) in TOO_LARGE.items()},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: Server) -> AsyncIterator[ClientSession]:
    """A client of a server that has one document."""
    async with server.client() as client:
        async with client.put("/v1/docs/mines/all", data=b"{}", headers=NEW) as answer:
            assert answer.status == 201
        yield client


@pytest.mark.parametrize("name", TAKEN)
async def test_what_is_taken_comes_back_as_it_was_meant(client: ClientSession, name: str) -> None:
    """From memory, as a part of a document, and from history."""
    sent, meant = TAKEN[name]
    path = f"/v1/docs/mines/{name}"
    async with client.put(path, data=sent, headers=NEW) as answer:
        assert answer.status == 201, await answer.text()
    async with client.get(path) as answer:
        assert await answer.read() == meant
    if name != "y_64_levels":
        patch = b'[{"op":"add","path":"","value":{"x":%b}}]' % sent
        headers = {"Content-Type": "application/json-patch+json"}
        async with client.patch(path, data=patch, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
        async with client.get(path, params={"pointer": "/x"}) as answer:
            assert await answer.read() == meant
    async with client.put(path, data=b"[]", headers={**JSON, "If-Match": "*"}) as answer:
        assert answer.status == 200
    async with client.get(path, params={"revision": "1"}) as answer:
        assert await answer.read() == meant


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize(
    ("method", "media_type", "around"),
    [
        ("PUT", "application/json", b"%b"),
        ("PATCH", "application/merge-patch+json", b'{"x":%b}'),
        ("PATCH", "application/json-patch+json", b'[{"op":"add","path":"/x","value":%b}]'),
        ("PATCH", "application/vnd.plait.edit+json", b'{"patch":[{"op":"add","path":"/x","value":%b}]}'),
    ],
    ids=["document", "merge-patch", "patch", "edit"],
)
async def test_what_is_refused_is_refused_for_what_it_is(
    client: ClientSession, name: str, method: str, media_type: str, around: bytes
) -> None:
    sent, status, code, limit = REFUSED[name]
    headers = {"Content-Type": media_type, "If-Match": '"1"'}
    async with client.request(method, "/v1/docs/mines/all", data=around % sent, headers=headers) as answer:
        problem = json.loads(await answer.read())
    assert (answer.status, problem["type"]) == (status, f"urn:plait:errors:{code}")
    assert problem.get("limit") == limit
    async with client.get("/v1/docs/mines/all") as answer:
        assert await answer.read() == b"{}"
