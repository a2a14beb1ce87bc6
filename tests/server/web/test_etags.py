"""Tags: strong, one per view, never given to who may not hold what they name."""

import pytest
from aiohttp import ClientSession

DOC = "/v1/docs/orders/7"
PATCH = {"Content-Type": "application/json-patch+json"}
EDIT = [{"op": "replace", "path": "/a", "value": 2}]


@pytest.fixture
async def client(client: ClientSession) -> ClientSession:
    """A client of a server that has one document, at revision 1."""
    value = {"a": 1, "b": [1, 2]}
    async with client.put(DOC, json=value, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    return client


@pytest.mark.parametrize("seen", ['"1"', 'W/"1"', '"0", "1"', "*"])
async def test_who_has_it_gets_304_with_the_headers_of_200(client: ClientSession, seen: str) -> None:
    async with client.get(DOC) as read, client.get(DOC, headers={"If-None-Match": seen}) as again:
        assert (again.status, await again.read()) == (304, b"")
        for name in ("ETag", "Vary", "Cache-Control"):
            assert again.headers[name] == read.headers[name]


@pytest.mark.parametrize("seen", ['"2"', '"1-0123456789ab"', '"01"'])
async def test_who_has_something_else_gets_the_value(client: ClientSession, seen: str) -> None:
    async with client.get(DOC, headers={"If-None-Match": seen}) as again:
        assert again.status == 200


async def test_a_view_has_a_tag_of_its_own(client: ClientSession) -> None:
    tags = set()
    for pointer in ("", "/a", "/b", "/b/0"):
        async with client.get(DOC, params={"pointer": pointer}) as read:
            tags.add(read.headers["ETag"])
        async with client.get(DOC, params={"pointer": pointer}, headers={"If-None-Match": '"1"'}) as again:
            assert again.status == (304 if pointer == "" else 200)
    assert len(tags) == 4
    assert '"1"' in tags


async def test_the_tag_of_a_view_changes_nothing(client: ClientSession) -> None:
    async with client.get(DOC, params={"pointer": "/a"}) as read:
        tag = read.headers["ETag"]
    async with client.patch(DOC, json=EDIT, headers={**PATCH, "If-Match": tag}) as answer:
        assert answer.status == 412


@pytest.mark.parametrize("tags", ['"1"', '"7", "1"', 'W/"9", "1"', "*"])
async def test_a_matching_tag_lets_an_edit_pass(client: ClientSession, tags: str) -> None:
    async with client.patch(DOC, json=EDIT, headers={**PATCH, "If-Match": tags}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE", "GET"])
async def test_a_weak_tag_never_matches_and_earns_a_hint(client: ClientSession, method: str) -> None:
    media_type = PATCH["Content-Type"] if method == "PATCH" else "application/json"
    headers = {"Content-Type": media_type, "If-Match": 'W/"1"'}
    async with client.request(method, DOC, json=EDIT, headers=headers) as answer:
        body = await answer.json(content_type="application/problem+json")
    assert (answer.status, body["weak_etag"]) == (412, True)
    assert "Plait-Base" in body["hint"]


async def test_if_match_on_a_read_is_honoured(client: ClientSession) -> None:
    async with client.get(DOC, headers={"If-Match": '"1"'}) as answer:
        assert answer.status == 200
    async with client.get(DOC, headers={"If-Match": '"2"'}) as answer:
        assert answer.status == 412


async def test_a_tag_is_not_given_where_others_edits_were_merged_in(client: ClientSession) -> None:
    """With it, a client that patched its own copy could pass a later If-Match without having seen them."""
    async with client.patch(DOC, json=EDIT, headers=PATCH) as answer:
        assert answer.status == 200
    other = [{"op": "add", "path": "/c", "value": 3}]
    async with client.patch(DOC, json=other, headers={**PATCH, "Plait-Base": "1"}) as answer:
        assert (await answer.json())["outcome"] == "merged"
        assert "ETag" not in answer.headers


async def test_if_none_match_on_a_write_creates_or_nothing(client: ClientSession) -> None:
    async with client.patch(DOC, json=EDIT, headers={**PATCH, "If-None-Match": "*"}) as answer:
        assert answer.status == 412
    async with client.put(DOC, json={}, headers={"If-None-Match": '"7"'}) as answer:
        assert answer.status == 400
