"""History: what was done, by whom, over what."""

from typing import Any

import pytest
from aiohttp import ClientSession

DOC = "/v1/docs/orders/7"
EDIT = {"Content-Type": "application/vnd.plait.edit+json"}


def replace(pointer: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": pointer, "value": value}


@pytest.fixture
async def client(client: ClientSession) -> ClientSession:
    """A client of a server that has one document: created, edited, edited by merge, deleted."""
    async with client.put(DOC, json={"a": [1], "b": 1}, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    ann = {"base": 1, "patch": [{"op": "add", "path": "/a/0", "value": 0}], "message": "a zero"}
    async with client.patch(DOC, json=ann, headers={**EDIT, "Plait-Author": "ann"}) as answer:
        assert answer.status == 200
    bob = {"base": 1, "patch": [{"op": "test", "path": "/b", "value": 1}, replace("/a/0", 2)]}
    async with client.patch(DOC, json=bob, headers={**EDIT, "Plait-Author": "bob"}) as answer:
        assert (answer.status, (await answer.json())["patch"]) == (200, [replace("/a/1", 2)])
    async with client.delete(DOC, headers={"Plait-Base": "3"}) as answer:
        assert answer.status == 204
    return client


async def test_history_is_listed_newest_first(client: ClientSession) -> None:
    async with client.get(f"{DOC}/revisions") as answer:
        revisions = (await answer.json())["revisions"]
    assert [(entry["revision"], entry["kind"]) for entry in revisions] == [
        (4, "delete"),
        (3, "edit"),
        (2, "edit"),
        (1, "create"),
    ]
    assert revisions[0]["patch"] == [{"op": "remove", "path": ""}]
    assert revisions[3]["patch"] == [{"op": "add", "path": "", "value": {"a": [1], "b": 1}}]


async def test_a_merged_revision_keeps_what_was_submitted_and_over_what(client: ClientSession) -> None:
    async with client.get(f"{DOC}/revisions/3") as answer:
        revision = await answer.json()
    assert (revision["author"], revision["base"]) == ("bob", 1)
    assert revision["patch"] == [replace("/a/1", 2)]
    assert revision["submitted"] == [{"op": "test", "path": "/b", "value": 1}, replace("/a/0", 2)]


async def test_a_revision_keeps_author_message_and_time(client: ClientSession) -> None:
    async with client.get(f"{DOC}/revisions/2") as answer:
        revision = await answer.json()
    assert (revision["author"], revision["message"]) == ("ann", "a zero")
    assert revision["submitted"] is None
    assert revision["at"].endswith("Z")


async def test_a_revision_names_the_key_it_was_sent_with(client: ClientSession) -> None:
    headers = {"If-None-Match": "*", "Idempotency-Key": '"mine"'}
    async with client.put("/v1/docs/orders/8", json={}, headers=headers):
        pass
    async with client.get("/v1/docs/orders/8/revisions") as answer:
        assert [each["key"] for each in (await answer.json())["revisions"]] == ["mine"]


async def test_history_is_paged(client: ClientSession) -> None:
    seen = []
    at: str | None = f"{DOC}/revisions?limit=3"
    while at is not None:
        async with client.get(at) as answer:
            seen += [entry["revision"] for entry in (await answer.json())["revisions"]]
            following = answer.links.get("next")
            at = str(following["url"]) if following else None
    assert seen == [4, 3, 2, 1]


@pytest.mark.parametrize("revision", ["5", "999999999999999999"])
async def test_a_revision_that_is_not_there_is_404(client: ClientSession, revision: str) -> None:
    async with client.get(f"{DOC}/revisions/{revision}") as answer:
        assert answer.status == 404
