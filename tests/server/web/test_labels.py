"""Labels over HTTP: names of revisions that can be read by them."""

from typing import Any

import pytest
from aiohttp import ClientSession

DOC = "/v1/docs/orders/7"
LABELS = f"{DOC}/labels"


@pytest.fixture
async def client(client: ClientSession) -> ClientSession:
    """A client of a server that has one document of three revisions."""
    async with client.put(DOC, json={"n": 1}, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    for n in (2, 3):
        async with client.put(DOC, json={"n": n}, headers={"Plait-Base": str(n - 1)}) as answer:
            assert answer.status == 200
    return client


async def put(client: ClientSession, name: str, body: Any, **headers: str) -> tuple[int, Any]:
    async with client.put(f"{LABELS}/{name}", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def code(client: ClientSession, method: str, path: str, **rest: Any) -> tuple[int, str]:
    async with client.request(method, path, **rest) as answer:
        return answer.status, (await answer.json())["type"].rpartition(":")[2]


async def test_a_label_is_put_read_moved_and_taken_away(client: ClientSession) -> None:
    status, label = await put(client, "v1.0", {"revision": 2}, **{"Plait-Author": "ann"})
    assert (status, label.pop("previous_revision")) == (201, None)
    assert (label["label"], label["revision"], label["author"]) == ("v1.0", 2, "ann")
    assert label["at"].endswith("Z")
    async with client.get(LABELS) as answer:
        assert (answer.status, await answer.json()) == (200, {"labels": [label]})
    async with client.get(DOC, params={"label": "v1.0"}) as answer:
        assert (answer.status, await answer.json(), answer.headers["ETag"]) == (200, {"n": 2}, '"2"')
    status, again = await put(client, "v1.0", {"revision": 2})
    assert (status, again) == (200, {**label, "previous_revision": 2})
    status, moved = await put(client, "v1.0", {"revision": 3})
    assert (status, moved["revision"], moved["previous_revision"]) == (200, 3, 2)
    async with client.get(f"{DOC}/revisions") as answer:
        listed = (await answer.json())["revisions"]
    assert [(each["revision"], each.get("labels")) for each in listed] == [
        (3, ["v1.0"]),
        (2, None),
        (1, None),
    ]
    async with client.get(f"{DOC}/revisions/3") as answer:
        assert (await answer.json())["labels"] == ["v1.0"]
    async with client.delete(f"{LABELS}/v1.0") as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    assert await code(client, "DELETE", f"{LABELS}/v1.0") == (404, "not-found")
    assert await code(client, "GET", DOC, params={"label": "v1.0"}) == (404, "not-found")


async def test_a_deleted_document_keeps_its_labels_and_takes_others(client: ClientSession) -> None:
    async with client.delete(DOC, headers={"Plait-Base": "3"}) as answer:
        assert answer.status == 204
    assert (await put(client, "last", {"revision": 3}))[0] == 201
    assert (await put(client, "gone", {"revision": 4}))[0] == 201
    async with client.get(DOC, params={"label": "last"}) as answer:
        assert (answer.status, await answer.json()) == (200, {"n": 3})
    assert await code(client, "GET", DOC, params={"label": "gone"}) == (410, "deleted")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"revision": 0},
        {"revision": "2"},
        {"revision": 2.0},
        {"revision": True},
        {"revision": 2, "x": 1},
        [],
    ],
)
async def test_what_names_no_revision_is_refused(client: ClientSession, body: Any) -> None:
    assert await code(client, "PUT", f"{LABELS}/v1", json=body) == (422, "invalid-value")


@pytest.mark.parametrize(
    ("method", "path", "rest", "expected"),
    [
        ("PUT", f"{LABELS}/v1", {"json": {"revision": 9}}, (404, "not-found")),
        ("PUT", "/v1/docs/orders/none/labels/v1", {"json": {"revision": 1}}, (404, "not-found")),
        ("GET", "/v1/docs/orders/none/labels", {}, (404, "not-found")),
        ("PUT", f"{LABELS}/{'x' * 65}", {"json": {"revision": 1}}, (404, "not-found")),
        ("PUT", f"{LABELS}/%C3%A9", {"json": {"revision": 1}}, (404, "not-found")),
        (
            "PUT",
            f"{LABELS}/v1",
            {"data": b"{", "headers": {"Content-Type": "application/json"}},
            (400, "malformed-json"),
        ),
        ("PUT", f"{LABELS}/v1", {"data": b"x"}, (415, "unsupported-media-type")),
        ("PUT", f"{LABELS}/v1?x=1", {"json": {"revision": 1}}, (400, "bad-query")),
        ("GET", f"{DOC}?label=v1&revision=1", {}, (400, "bad-query")),
        ("GET", f"{DOC}?label=none", {}, (404, "not-found")),
        ("GET", f"{DOC}?label=%C3%A9%00", {}, (400, "bad-query")),
        ("GET", f"{DOC}?label=%ED%A0%80", {}, (400, "bad-query")),
        ("GET", f"{DOC}?label=", {}, (400, "bad-query")),
        ("GET", f"{DOC}?label=a&label=b", {}, (400, "bad-query")),
        ("POST", LABELS, {"json": {}}, (405, "method-not-allowed")),
    ],
)
async def test_what_cannot_be_is_a_problem(
    client: ClientSession, method: str, path: str, rest: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert await code(client, method, path, **rest) == expected


async def test_a_document_has_so_many_labels(serve: Any) -> None:
    client = await serve(labels_max=1)
    async with client.put(DOC, json={}, headers={"If-None-Match": "*"}):
        pass
    assert (await put(client, "a", {"revision": 1}))[0] == 201
    status, problem = await put(client, "b", {"revision": 1})
    assert (status, problem["limit"], problem["maximum"]) == (413, "labels", 1)
