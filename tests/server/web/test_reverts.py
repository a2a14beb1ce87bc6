"""Taking back over HTTP."""

from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

DOC = "/v1/docs/orders/7"
REVERT = f"{DOC}/revert"
EDIT = {"Content-Type": "application/vnd.plait.edit+json"}


@pytest.fixture
async def client(client: ClientSession) -> ClientSession:
    """A client of a server that has one document at revision 3."""
    async with client.put(DOC, json={"a": 1, "b": 1}, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    for name in "ab":
        patch = [{"op": "replace", "path": f"/{name}", "value": 2}]
        async with client.patch(DOC, json={"patch": patch}, headers=EDIT) as answer:
            assert answer.status == 200
    return client


async def revert(client: ClientSession, body: Any, **headers: str) -> ClientResponse:
    return await client.post(REVERT, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


async def value_of(client: ClientSession) -> Any:
    async with client.get(DOC) as answer:
        return await answer.json()


async def test_one_revision_is_taken_back_and_later_ones_stay(client: ClientSession) -> None:
    answer = await revert(client, {"revision": 2}, Plait_Author="ann")
    body = await answer.json()
    assert (answer.status, answer.headers["Plait-Revision"]) == (200, "4")
    assert (body["outcome"], body["revision"], body["base"]) == ("merged", 4, 2)
    assert body["patch"] == [{"op": "replace", "path": "/a", "value": 1}]
    assert [missed["revision"] for missed in body["missed"]] == [3]
    assert "ETag" not in answer.headers
    assert await value_of(client) == {"a": 1, "b": 2}
    async with client.get(f"{DOC}/revisions/4") as read:
        revision = await read.json()
    assert (revision["author"], revision["message"]) == ("ann", "Revert revision 2")


async def test_a_range_is_taken_back_and_a_revision_restored(client: ClientSession) -> None:
    assert (await revert(client, {"from": 2, "through": 3, "message": "start over"})).status == 200
    assert await value_of(client) == {"a": 1, "b": 1}
    assert (await revert(client, {"to": 3})).status == 200
    assert await value_of(client) == {"a": 2, "b": 2}
    async with client.get(f"{DOC}/revisions") as read:
        messages = [each["message"] for each in (await read.json())["revisions"][:2]]
    assert messages == ["Restore revision 3", "start over"]


async def test_a_deleted_document_comes_back_as_201(client: ClientSession) -> None:
    await client.delete(DOC, headers={"Plait-Base": "3"})
    answer = await revert(client, {"revision": 4}, Prefer="return=representation")
    body = await answer.json()
    assert (answer.status, body["outcome"], body["value"]) == (201, "created", {"a": 2, "b": 2})
    assert (answer.headers["Location"], answer.headers["ETag"]) == (DOC, '"5"')


async def test_an_overlap_is_a_conflict_to_be_settled(client: ClientSession) -> None:
    patch = [{"op": "replace", "path": "/a", "value": 3}]
    await client.patch(DOC, json={"patch": patch}, headers=EDIT)
    answer = await revert(client, {"revision": 2})
    problem = await answer.json(content_type=None)
    assert (answer.status, problem["type"]) == (409, "urn:plait:errors:merge-conflict")
    choices = {part["id"]: "yours" for part in problem["conflicts"]}
    async with client.post(f"{problem['instance']}/resolution", json={"choices": choices}) as settled:
        assert settled.status == 200
    assert await value_of(client) == {"a": 1, "b": 2}


async def test_preferences_and_keys_are_as_for_any_edit(client: ClientSession) -> None:
    answer = await revert(client, {"revision": 2, "dry_run": True})
    assert (answer.status, (await answer.json())["outcome"]) == (200, "would_merge")
    answer = await revert(client, {"revision": 2}, Prefer="return=minimal", Idempotency_Key="k")
    assert (answer.status, answer.headers["Preference-Applied"]) == (204, "return=minimal")
    again = await revert(client, {"revision": 2}, Prefer="return=minimal", Idempotency_Key="k")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (204, "true")
    other = await revert(client, {"revision": 3}, Idempotency_Key="k")
    assert (other.status, (await other.json(content_type=None))["title"]) == (422, "Idempotency key reused")
    assert (await revert(client, {"to": 1}, If_Match='"3"')).status == 412
    assert (await revert(client, {"to": 1}, If_Match='"4"')).status == 200
    assert await value_of(client) == {"a": 1, "b": 1}


async def test_a_lease_guards_against_taking_back_too(client: ClientSession) -> None:
    async with client.post(f"{DOC}/locks", json={"pointer": "/a"}, headers={"Plait-Author": "bob"}) as taken:
        lease = await taken.json()
    assert (await revert(client, {"revision": 2}, Plait_Author="ann")).status == 423
    assert (await revert(client, {"to": 1}, Plait_Author="ann")).status == 423
    assert (await revert(client, {"revision": 3}, Plait_Author="ann")).status == 200
    held = f"{lease['lock']};fence={lease['fence']}"
    assert (await revert(client, {"revision": 2}, Plait_Author="bob", Plait_Lock=held)).status == 200
    assert await value_of(client) == {"a": 1, "b": 1}


async def refused(client: ClientSession, answer: ClientResponse, status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = await answer.json(content_type="application/problem+json")
    assert (answer.status, problem["type"]) == (status, f"urn:plait:errors:{code}")
    assert problem["detail"].endswith(".")
    async with client.get(DOC) as read:
        assert read.headers["ETag"] == '"3"'
    return problem


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        1,
        "2",
        {"revision": 0},
        {"revision": -1},
        {"revision": "2"},
        {"revision": 2.0},
        {"revision": True},
        {"revision": 10**30},
        {"revision": 2, "to": 1},
        {"revision": 2, "from": 1, "through": 2},
        {"from": 2},
        {"through": 2},
        {"from_": 2, "through": 3},
        {"from": 3, "through": 2},
        {"to": 0},
        {"to": None},
        {"revision": 2, "patch": []},
        {"revision": 2, "merge": "both"},
        {"revision": 2, "message": 1},
        {"revision": 2, "dry_run": 1},
        {"revision": 1},
        {"from": 1, "through": 3},
    ],
)
async def test_what_is_no_revert_is_422(client: ClientSession, body: Any) -> None:
    await refused(client, await revert(client, body), 422, "invalid-value")


@pytest.mark.parametrize("body", [{"revision": 4}, {"from": 2, "through": 10**17}, {"to": 4}, {"to": 10**18}])
async def test_revisions_that_are_not_there_are_404(client: ClientSession, body: Any) -> None:
    await refused(client, await revert(client, body), 404, "not-found")


async def test_who_takes_a_creation_back_is_told_to_delete(client: ClientSession) -> None:
    problem = await refused(client, await revert(client, {"revision": 1}), 422, "invalid-value")
    assert problem["hint"] == "DELETE the document. Its history stays."


async def test_another_epoch_has_other_revisions(client: ClientSession) -> None:
    answer = await revert(client, {"revision": 2, "epoch": "other"})
    await refused(client, answer, 409, "base-unknown")


@pytest.mark.parametrize("header", ["Plait-Base", "If-None-Match"])
async def test_a_revert_has_no_other_base(client: ClientSession, header: str) -> None:
    value = "*" if header == "If-None-Match" else "2"
    answer = await client.post(REVERT, json={"revision": 2}, headers={header: value})
    problem = await refused(client, answer, 400, "bad-header")
    assert problem["header"] == header


async def test_a_revert_is_json_of_some_size(client: ClientSession) -> None:
    form = {"Content-Type": "text/plain"}
    answer = await client.post(REVERT, data=b'{"revision": 2}', headers=form)
    await refused(client, answer, 415, "unsupported-media-type")
    json_type = {"Content-Type": "application/json"}
    await refused(client, await client.post(REVERT, data=b"{", headers=json_type), 400, "malformed-json")
    large = b'{"revision": 2, "message": "' + b"x" * 300_000 + b'"}'
    await refused(client, await client.post(REVERT, data=large, headers=json_type), 413, "too-large")
    answer = await revert(client, {"revision": 2, "message": "x" * 5_000})
    assert (await refused(client, answer, 413, "too-large"))["limit"] == "message_bytes"
    await refused(client, await client.post(f"{REVERT}?revision=2", json={}), 400, "bad-query")


async def test_what_never_was_cannot_be_taken_back(client: ClientSession) -> None:
    for body in ({"revision": 1}, {"to": 1}):
        async with client.post("/v1/docs/orders/never/revert", json=body) as answer:
            assert answer.status == 404
