"""Two revisions compared over HTTP, who set what, and what was at a moment."""

from typing import Any

import pytest
from aiohttp import ClientSession

DOC = "/v1/docs/orders/7"
EDIT = {"Content-Type": "application/vnd.plait.edit+json"}
PATCH_TYPE = "application/json-patch+json"


@pytest.fixture
async def client(client: ClientSession) -> ClientSession:
    """A client of a server that has one document: created by ann, edited by bob, edited by carol."""
    new = {"If-None-Match": "*", "Plait-Author": "ann"}
    async with client.put(DOC, json={"a": 1, "rows": [{"x": 1}, {"x": 2}]}, headers=new) as answer:
        assert answer.status == 201
    for author, patch in (
        ("bob", [{"op": "replace", "path": "/a", "value": 2}]),
        ("carol", [{"op": "move", "from": "/rows/1", "path": "/rows/0"}]),
    ):
        headers = {**EDIT, "Plait-Author": author}
        async with client.patch(DOC, json={"patch": patch}, headers=headers) as answer:
            assert answer.status == 200
    return client


async def told(client: ClientSession, path: str, status: int = 200, **headers: str) -> Any:
    async with client.get(f"{DOC}{path}", headers=headers) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json(content_type=None)


async def code_of(client: ClientSession, path: str, status: int, **headers: str) -> str:
    problem = await told(client, path, status, **headers)
    assert problem["detail"].endswith(".")
    return str(problem["type"]).rpartition(":")[2]


async def test_a_diff_is_a_bare_json_patch(client: ClientSession) -> None:
    async with client.get(f"{DOC}/diff?from=1&to=2") as answer:
        assert (answer.status, answer.content_type) == (200, PATCH_TYPE)
        assert await answer.json(content_type=PATCH_TYPE) == [{"op": "replace", "path": "/a", "value": 2}]
        assert (answer.headers["Plait-Revision"], answer.headers["Cache-Control"]) == ("2", "private")
        assert str(answer.links["version-history"]["url"]).endswith(f"{DOC}/revisions")
        assert str(answer.links["latest-version"]["url"]).endswith(DOC)


async def test_a_diff_goes_either_way_and_to_the_head_by_itself(client: ClientSession) -> None:
    assert await told(client, "/diff?from=2&to=1") == [{"op": "replace", "path": "/a", "value": 1}]
    assert await told(client, "/diff?from=2") == [{"op": "move", "from": "/rows/1", "path": "/rows/0"}]
    assert await told(client, "/diff?from=3") == []
    [whole] = await told(client, "/diff?from=0&to=1")
    assert (whole["op"], whole["path"]) == ("add", "")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", PATCH_TYPE),
        ("", PATCH_TYPE),
        (PATCH_TYPE, PATCH_TYPE),
        ("application/*", PATCH_TYPE),
        ("application/json", "application/json"),
        ("text/plain", "text/plain"),
        ("TEXT/*;q=0.1", "text/plain"),
        ("text/plain;q=0.5, application/json-patch+json;q=0.4", "text/plain"),
        ("text/plain;q=0, */*", PATCH_TYPE),
        ("text/html, */*;q=0.8", PATCH_TYPE),
        ("text/plain;charset=utf-8", "text/plain"),
    ],
)
async def test_the_caller_says_in_which_form_he_wants_a_diff(
    client: ClientSession, accept: str, media_type: str
) -> None:
    async with client.get(f"{DOC}/diff?from=1&to=2", headers={"Accept": accept}) as answer:
        assert (answer.status, answer.content_type) == (200, media_type)
        assert "Accept" in answer.headers["Vary"]
        if media_type == "text/plain":
            assert await answer.text() == "/a: 1 became 2\n"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "accept", ["text/html", "text/plain;q=0", "*/*;q=0", "image/png, x", "text/plain;q=nan"]
)
async def test_what_no_diff_can_be_is_406(client: ClientSession, accept: str) -> None:
    assert await code_of(client, "/diff?from=1&to=2", 406, Accept=accept) == "not-acceptable"


async def test_each_diff_has_a_tag_of_its_own(client: ClientSession) -> None:
    tags = set()
    asked = [
        (query, accept)
        for query in ("from=1&to=2", "from=1&to=3", "from=2&to=3", "from=0&to=3")
        for accept in (PATCH_TYPE, "text/plain")
    ]
    for query, accept in asked:
        async with client.get(f"{DOC}/diff?{query}", headers={"Accept": accept}) as answer:
            tag = answer.headers["ETag"]
            tags.add(tag)
        seen = {"Accept": accept, "If-None-Match": tag}
        async with client.get(f"{DOC}/diff?{query}", headers=seen) as again:
            assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", tag)
        async with client.get(f"{DOC}/diff?{query}", headers={"Accept": accept, "If-Match": '"3"'}) as again:
            assert again.status == 412
    assert len(tags) == len(asked)
    assert not tags & {'"1"', '"2"', '"3"'}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?to=2",
        "?from=",
        "?from=x",
        "?from=-1",
        "?from=1.0",
        "?from=1&to=0",
        "?from=1&to=",
        "?from=1&to=1e2",
        "?from=%D9%A1",
        "?from=1_0",
        "?from=1&from=2",
        "?from=1&until=2",
        "?from=" + "9" * 30,
    ],
)
async def test_an_odd_query_of_a_diff_is_400(client: ClientSession, query: str) -> None:
    assert await code_of(client, f"/diff{query}", 400) == "bad-query"


@pytest.mark.parametrize("query", ["from=4", "from=1&to=4", "from=999999999999999999"])
async def test_a_diff_of_revisions_that_are_not_there_is_404(client: ClientSession, query: str) -> None:
    assert await code_of(client, f"/diff?{query}", 404) == "not-found"


async def test_each_leaf_says_who_set_it_and_when(client: ClientSession) -> None:
    body = await told(client, "/blame")
    assert (body["document"], body["revision"], body["cursor"]) == ("orders/7", 3, None)
    assert [(leaf["pointer"], leaf["revision"], leaf["author"]) for leaf in body["leaves"]] == [
        ("/a", 2, "bob"),
        ("/rows/0/x", 1, "ann"),
        ("/rows/1/x", 1, "ann"),
    ]
    assert all(leaf["at"].endswith("Z") for leaf in body["leaves"])


async def test_blame_is_paged_and_may_be_of_a_part_and_of_the_past(client: ClientSession) -> None:
    seen: list[str] = []
    at: str | None = f"{DOC}/blame?limit=1"
    while at is not None:
        async with client.get(at) as answer:
            seen += [leaf["pointer"] for leaf in (await answer.json())["leaves"]]
            following = answer.links.get("next")
            at = str(following["url"]) if following else None
    assert seen == ["/a", "/rows/0/x", "/rows/1/x"]
    part = await told(client, "/blame?pointer=/rows/1&revision=2")
    assert (part["revision"], [leaf["pointer"] for leaf in part["leaves"]]) == (2, ["/rows/1/x"])
    [leaf] = (await told(client, "/blame?pointer=/a&revision=1"))["leaves"]
    assert (leaf["revision"], leaf["author"]) == (1, "ann")


@pytest.mark.parametrize(
    "query",
    [
        "?pointer=a",
        "?pointer=/~",
        "?revision=0",
        "?revision=x",
        "?limit=0",
        "?cursor=x",
        "?cursor=3",
        "?cursor=9.0",
        "?cursor=3.0&revision=2",
        "?cursor=" + "1." * 1_500,
        "?depth=1",
    ],
)
async def test_an_odd_query_of_a_blame_is_400(client: ClientSession, query: str) -> None:
    assert await code_of(client, f"/blame{query}", 400) == "bad-query"


@pytest.mark.parametrize("query", ["?pointer=/b", "?pointer=/rows/2", "?pointer=/rows/-", "?revision=4"])
async def test_a_blame_of_what_is_not_there_is_404(client: ClientSession, query: str) -> None:
    assert await code_of(client, f"/blame{query}", 404) == "not-found"


async def test_a_moment_stands_for_the_revision_that_was_the_head(client: ClientSession) -> None:
    for n in (1, 2, 3):
        at = (await told(client, f"/revisions/{n}"))["at"]
        async with client.get(DOC, params={"at": at}) as answer:
            revision = int(answer.headers["Plait-Revision"])
            assert revision >= n
            assert answer.headers["Plait-At"] <= at
            assert answer.headers["ETag"] == f'"{revision}"'
        async with client.get(DOC, params={"at": at, "pointer": "/a"}) as answer:
            assert await answer.json() == (1 if revision == 1 else 2)
    async with client.get(DOC, params={"at": "9999-01-01T00:00:00Z"}) as answer:
        assert answer.headers["Plait-Revision"] == "3"


async def test_before_it_was_created_there_is_no_document(client: ClientSession) -> None:
    assert await code_of(client, "?at=2000-01-01T00:00:00Z", 404) == "not-found"


@pytest.mark.parametrize(
    "query",
    [
        "?at=",
        "?at=now",
        "?at=2026-11-20",
        "?at=2026-11-20T12:00:00",
        "?at=1",
        "?at=2026-11-20T12:00:00Z&revision=1",
    ],
)
async def test_what_is_no_moment_is_400(client: ClientSession, query: str) -> None:
    assert await code_of(client, query, 400) == "bad-query"


async def test_a_deleted_document_keeps_its_past(client: ClientSession) -> None:
    before = (await told(client, "/revisions/3"))["at"]
    async with client.delete(DOC, headers={"Plait-Base": "3"}) as answer:
        assert answer.status == 204
    assert await code_of(client, "/blame", 410) == "deleted"
    assert await code_of(client, "?at=9999-01-01T00:00:00Z", 410) == "deleted"
    assert len((await told(client, "/blame?revision=3"))["leaves"]) == 3
    assert await told(client, "/diff?from=3") == [{"op": "remove", "path": ""}]
    async with client.get(DOC, params={"at": before}) as answer:
        assert answer.status in (200, 410)  # the deletion may be of the same millisecond


@pytest.mark.parametrize("path", ["/diff?from=0", "/blame", "?at=2026-11-20T12:00:00Z"])
async def test_a_document_that_never_was_has_no_past(client: ClientSession, path: str) -> None:
    async with client.get(f"/v1/docs/orders/never{path}") as answer:
        assert answer.status == 404


async def test_a_head_request_says_what_a_get_would(client: ClientSession) -> None:
    for path in ("/diff?from=1", "/blame", "?at=9999-01-01T00:00:00Z"):
        async with client.get(f"{DOC}{path}") as got, client.head(f"{DOC}{path}") as headed:
            assert headed.status == got.status == 200
            assert headed.headers.get("ETag") == got.headers.get("ETag")
            assert headed.headers["Content-Length"] == got.headers["Content-Length"]
