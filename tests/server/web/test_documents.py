"""Documents over HTTP: the methods, the decision rule, what each answer says."""

from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

DOC = "/v1/docs/orders/7"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
EDIT = "application/vnd.plait.edit+json"


async def create(client: ClientSession, value: Any, path: str = DOC) -> None:
    async with client.put(path, json=value, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201


async def patch(
    client: ClientSession, operations: Any, media_type: str = JSON_PATCH, **headers: str
) -> ClientResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.patch(DOC, json=operations, headers={"Content-Type": media_type, **named})


def replace(pointer: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": pointer, "value": value}


async def code(answer: ClientResponse) -> tuple[int, str]:
    document = await answer.json(content_type="application/problem+json")
    assert document["status"] == answer.status
    return answer.status, document["type"].rpartition(":")[2]


async def value(client: ClientSession) -> Any:
    async with client.get(DOC) as answer:
        return await answer.json()


async def test_put_creates_what_get_reads(client: ClientSession) -> None:
    async with client.put(DOC, json={"n": 1}, headers={"If-None-Match": "*"}) as created:
        assert created.status == 201
        assert created.headers["ETag"] == '"1"'
        assert created.headers["Location"] == DOC
        body = await created.json()
        assert (body["document"], body["revision"], body["outcome"]) == ("orders/7", 1, "created")
    async with client.get(DOC) as read:
        assert (read.status, await read.json()) == (200, {"n": 1})
        assert read.headers["ETag"] == '"1"'
        assert read.headers["Plait-Revision"] == "1"
        assert read.headers["Cache-Control"] == "private"
        assert read.headers["Plait-Epoch"] == body["epoch"]


async def test_a_document_says_who_wrote_it_and_when(client: ClientSession) -> None:
    async with client.put(DOC, json={}, headers={"If-None-Match": "*", "Plait-Author": "Zoë"}):
        pass
    async with client.get(DOC) as read, client.get(f"{DOC}/revisions/1") as revision:
        assert read.headers["Plait-Author"] == "Zoë"
        assert read.headers["Plait-At"] == (await revision.json())["at"]


async def test_post_creates_under_an_id_of_the_servers_choice(client: ClientSession) -> None:
    places = []
    for n in range(3):
        async with client.post("/v1/docs/orders", json={"n": n}) as created:
            assert (created.status, created.headers["ETag"]) == (201, '"1"')
            places.append(created.headers["Location"])
    # The first ten characters are the moment, in milliseconds: two may be made in one.
    moments = [place.rpartition("/")[2][:10] for place in places]
    assert (moments, len(set(places))) == (sorted(moments), 3)
    async with client.get(places[2]) as read:
        assert await read.json() == {"n": 2}


async def test_a_put_that_says_nothing_of_what_it_saw_is_428(client: ClientSession) -> None:
    async with client.put(DOC, json={}) as answer:
        assert await code(answer) == (428, "precondition-required")
    await create(client, {})
    async with client.delete(DOC) as answer:
        assert await code(answer) == (428, "precondition-required")


async def test_create_never_replaces(client: ClientSession) -> None:
    await create(client, {"n": 1})
    async with client.put(DOC, json={"n": 2}, headers={"If-None-Match": "*"}) as answer:
        assert await code(answer) == (412, "precondition-failed")
    assert await value(client) == {"n": 1}


async def test_put_replaces_strictly_with_if_match(client: ClientSession) -> None:
    await create(client, {"n": 1})
    async with client.put(DOC, json={"n": 2}, headers={"If-Match": '"1"'}) as answer:
        assert (answer.status, answer.headers["ETag"]) == (200, '"2"')
    async with client.put(DOC, json={"n": 3}, headers={"If-Match": '"1"'}) as answer:
        assert await code(answer) == (412, "precondition-failed")
        assert answer.headers["Plait-Revision"] == "2"
    assert await value(client) == {"n": 2}


async def test_put_merges_with_a_base_and_then_has_no_tag(client: ClientSession) -> None:
    await create(client, {"a": 1, "b": 1})
    await patch(client, [replace("/a", 2)], Plait_Base="1")
    async with client.put(DOC, json={"a": 1, "b": 2}, headers={"Plait-Base": "1"}) as answer:
        assert (answer.status, (await answer.json())["outcome"]) == (200, "merged")
        assert "ETag" not in answer.headers
    assert await value(client) == {"a": 2, "b": 2}


async def test_a_patch_at_the_head_is_applied(client: ClientSession) -> None:
    await create(client, {"n": 1})
    answer = await patch(client, [replace("/n", 2)], Plait_Base="1", Plait_Author="ann")
    body = await answer.json()
    assert answer.status == 200
    assert (answer.headers["ETag"], answer.headers["Plait-Revision"]) == ('"2"', "2")
    assert 'rel="version-history"' in answer.headers["Link"]
    assert {**body, "epoch": ""} == {
        "document": "orders/7",
        "revision": 2,
        "base": 1,
        "outcome": "applied",
        "patch": [replace("/n", 2)],
        "missed": [],
        "epoch": "",
    }


async def test_a_stale_patch_is_merged_and_told_what_it_missed(client: ClientSession) -> None:
    await create(client, {"a": 1, "b": 1})
    await patch(client, [replace("/a", 2)], Plait_Base="1", Plait_Author="bob")
    answer = await patch(client, [replace("/b", 2)], Plait_Base="1")
    body = await answer.json()
    assert (answer.status, body["outcome"], body["revision"]) == (200, "merged", 3)
    assert "ETag" not in answer.headers
    (missed,) = body["missed"]
    assert (missed["revision"], missed["author"], missed["patch"]) == (2, "bob", [replace("/a", 2)])
    assert await value(client) == {"a": 2, "b": 2}


async def test_a_patch_without_a_base_applies_to_the_head_and_has_no_tag(client: ClientSession) -> None:
    """Who did not say what it saw may not hold what the tag would name."""
    await create(client, {"n": 1})
    answer = await patch(client, [replace("/n", 2)])
    assert (answer.status, (await answer.json())["outcome"]) == (200, "applied")
    assert "ETag" not in answer.headers


async def test_overlap_is_409_and_changes_nothing(client: ClientSession) -> None:
    await create(client, {"title": "A"})
    await patch(client, [replace("/title", "B")], Plait_Base="1")
    answer = await patch(client, [replace("/title", "C")], Plait_Base="1")
    assert await code(answer) == (409, "merge-conflict")
    assert answer.headers["Plait-Should-Retry"] == "false"
    assert answer.headers["Plait-Revision"] == "2"
    assert await value(client) == {"title": "B"}


async def test_what_fails_on_its_own_base_is_422(client: ClientSession) -> None:
    await create(client, {"n": 1})
    answer = await patch(client, [replace("/n", 2), replace("/gone", 1)], Plait_Base="1")
    body = await answer.json(content_type=None)
    assert await code(answer) == (422, "patch-inapplicable")
    assert (body["operation"], body["pointer"]) == (1, "/gone")
    assert await value(client) == {"n": 1}


async def test_a_test_that_is_false_on_its_base_is_409(client: ClientSession) -> None:
    await create(client, {"n": 1})
    answer = await patch(client, [{"op": "test", "path": "/n", "value": 2}], Plait_Base="1")
    assert await code(answer) == (409, "test-failed")


async def test_if_match_refuses_to_merge(client: ClientSession) -> None:
    await create(client, {"a": 1, "b": 1})
    await patch(client, [replace("/a", 2)], If_Match='"1"')
    answer = await patch(client, [replace("/b", 2)], If_Match='"1"')
    assert await code(answer) == (412, "precondition-failed")
    assert await value(client) == {"a": 2, "b": 1}


async def test_if_match_alone_names_the_base(client: ClientSession) -> None:
    await create(client, {"n": 1})
    answer = await patch(client, [replace("/n", 2)], If_Match='"1"')
    assert ((await answer.json())["base"], answer.headers["ETag"]) == (1, '"2"')


async def test_preconditions_come_before_the_merge(client: ClientSession) -> None:
    await create(client, {"a": 1, "b": 1})
    await patch(client, [replace("/a", 2)], Plait_Base="1")
    answer = await patch(client, [replace("/b", 2)], Plait_Base="1", If_Match='"1"')
    assert await code(answer) == (412, "precondition-failed")
    answer = await patch(client, [replace("/b", 2)], Plait_Base="1", If_Match='"2"')
    assert (await answer.json())["outcome"] == "merged"


async def test_base_in_body_and_header_must_agree(client: ClientSession) -> None:
    await create(client, {"n": 1})
    edit = {"base": 1, "patch": [replace("/n", 2)]}
    answer = await patch(client, edit, EDIT, Plait_Base="2")
    assert await code(answer) == (400, "bad-header")
    answer = await patch(client, edit, EDIT, Plait_Base="1")
    assert answer.status == 200


@pytest.mark.parametrize("base", ["2", "0", "999999999999999999"])
async def test_a_base_above_the_head_is_unknown(client: ClientSession, base: str) -> None:
    await create(client, {"n": 1})
    answer = await patch(client, [replace("/n", 2)], Plait_Base=base)
    assert await code(answer) == (409, "base-unknown")


async def test_a_base_of_another_epoch_is_unknown(client: ClientSession) -> None:
    await create(client, {"n": 1})
    answer = await patch(client, [replace("/n", 2)], Plait_Base='1; epoch="elsewhere"')
    assert await code(answer) == (409, "base-unknown")


async def test_strict_refuses_what_theirs_and_yours_settle(client: ClientSession) -> None:
    await create(client, {"n": 1, "m": 1})
    await patch(client, [replace("/n", 2)], Plait_Base="1")
    edit = {"base": 1, "patch": [replace("/n", 3), replace("/m", 3)]}
    assert await code(await patch(client, {**edit, "merge": "strict"}, EDIT)) == (412, "precondition-failed")
    assert (await patch(client, {**edit, "merge": "theirs"}, EDIT)).status == 200
    assert await value(client) == {"n": 2, "m": 3}
    assert (await patch(client, {**edit, "merge": "yours"}, EDIT)).status == 200
    assert await value(client) == {"n": 3, "m": 3}


async def test_a_dry_run_decides_and_stores_nothing(client: ClientSession) -> None:
    await create(client, {"a": 1, "b": 1})
    edit = {"base": 1, "patch": [replace("/b", 2)], "dry_run": True}
    answer = await patch(client, edit, EDIT)
    assert (answer.status, (await answer.json())["outcome"]) == (200, "would_apply")
    assert "ETag" not in answer.headers
    await patch(client, [replace("/a", 2)])
    assert (await (await patch(client, edit, EDIT)).json())["outcome"] == "would_merge"
    answer = await patch(client, {**edit, "patch": [replace("/a", 3)]}, EDIT)
    assert await code(answer) == (409, "merge-conflict")
    assert "instance" not in await answer.json(content_type=None)
    assert await value(client) == {"a": 2, "b": 1}


async def test_nothing_changed_is_noop_and_no_revision(client: ClientSession) -> None:
    await create(client, {"n": 1})
    for operations in ([], [replace("/n", 1)], [{"op": "test", "path": "/n", "value": 1.0}]):
        answer = await patch(client, operations, Plait_Base="1")
        assert ((await answer.json())["outcome"], answer.headers["Plait-Revision"]) == ("noop", "1")
        assert "ETag" not in answer.headers


async def test_a_merge_patch_is_an_edit_of_its_base(client: ClientSession) -> None:
    await create(client, {"a": 1, "b": {"c": 1, "d": 1}})
    await patch(client, [replace("/b/c", 2)])
    answer = await patch(client, {"a": None, "b": {"d": 2}}, MERGE_PATCH, Plait_Base="1")
    assert (await answer.json())["outcome"] == "merged"
    assert await value(client) == {"b": {"c": 2, "d": 2}}


async def test_prefer_chooses_the_answer(client: ClientSession) -> None:
    await create(client, {"n": 1, "m": 1})
    answer = await patch(client, [replace("/n", 2)], Plait_Base="1", Prefer="return=minimal")
    assert (answer.status, await answer.read()) == (204, b"")
    assert answer.headers["Preference-Applied"] == "return=minimal"
    assert (answer.headers["Plait-Revision"], answer.headers["ETag"]) == ("2", '"2"')
    answer = await patch(client, [replace("/m", 2)], Plait_Base="1", Prefer="return=representation")
    body = await answer.json()
    assert (body["outcome"], body["value"]) == ("merged", {"n": 2, "m": 2})
    assert answer.headers["ETag"] == '"3"'
    answer = await patch(client, [], Prefer="return=representation")
    assert ((await answer.json())["value"], answer.headers["ETag"]) == ({"n": 2, "m": 2}, '"3"')


async def test_deleting_is_a_revision_and_so_is_creating_again(client: ClientSession) -> None:
    await create(client, {"n": 1})
    async with client.delete(DOC, headers={"If-Match": '"1"'}) as answer:
        assert (answer.status, answer.headers["Plait-Revision"]) == (204, "2")
    async with client.get(DOC) as answer:
        assert await code(answer) == (410, "deleted")
        assert answer.headers["Plait-Revision"] == "2"
    assert await code(await patch(client, [replace("/n", 2)])) == (410, "deleted")
    async with client.get(DOC, params={"revision": 1}) as answer:
        assert await answer.json() == {"n": 1}
    async with client.put(DOC, json={"n": 3}, headers={"If-None-Match": "*"}) as answer:
        assert (answer.status, answer.headers["ETag"]) == (201, '"3"')
    answer = await patch(client, [replace("/n", 4)], Plait_Base="1")
    assert await code(answer) == (409, "merge-conflict")
    (conflict,) = (await answer.json(content_type=None))["conflicts"]
    assert (conflict["kind"], conflict["pointer"]) == ("remove_edit", "")


async def test_deleting_what_is_deleted_is_no_revision(client: ClientSession) -> None:
    await create(client, {"n": 1})
    for _ in range(2):
        async with client.delete(DOC, headers={"Plait-Base": "1"}) as answer:
            assert (answer.status, answer.headers["Plait-Revision"]) == (204, "2")


async def test_deleting_over_others_changes_is_a_conflict(client: ClientSession) -> None:
    await create(client, {"n": 1})
    await patch(client, [replace("/n", 2)])
    async with client.delete(DOC, headers={"Plait-Base": "1"}) as answer:
        assert await code(answer) == (409, "merge-conflict")
    assert await value(client) == {"n": 2}


async def test_a_document_that_never_was_is_404_whatever_is_asked(client: ClientSession) -> None:
    asked = {"If-Match": '"1"', "Plait-Base": "1"}
    for answer in (
        await client.get(DOC),
        await client.head(DOC),
        await patch(client, [replace("/n", 1)]),
        await patch(client, [replace("/n", 1)], Plait_Base="1"),
        await client.get(f"{DOC}/revisions"),
        await client.get(f"{DOC}/revisions/1"),
        await client.get(f"{DOC}/conflicts"),
        await client.get(f"{DOC}/conflicts/01"),
        await client.delete(DOC, headers=asked),
    ):
        assert answer.status == 404, answer.url


async def test_head_is_get_without_the_value(client: ClientSession) -> None:
    await create(client, {"n": 1})
    async with client.get(DOC) as read, client.head(DOC) as head:
        same = {"ETag", "Content-Length", "Content-Type", "Plait-Revision", "Cache-Control", "Vary", "Link"}
        assert {name: head.headers[name] for name in same} == {name: read.headers[name] for name in same}
        assert (head.status, await head.read()) == (200, b"")


async def test_an_earlier_revision_can_be_read(client: ClientSession) -> None:
    await create(client, {"n": 1})
    await patch(client, [replace("/n", 2)])
    async with client.get(DOC, params={"revision": 1}) as answer:
        assert (await answer.json(), answer.headers["ETag"]) == ({"n": 1}, '"1"')
        assert 'rel="latest-version"' in answer.headers["Link"]
    async with client.get(DOC, params={"revision": 3}) as answer:
        assert await code(answer) == (404, "not-found")


async def test_a_part_can_be_read_by_pointer(client: ClientSession) -> None:
    await create(client, {"a/b": [{"c": 1}, None], "": {"~": 2}})
    for pointer, expected in (("/a~1b/0/c", 1), ("/a~1b/1", None), ("//~0", 2)):
        async with client.get(DOC, params={"pointer": pointer}) as answer:
            assert (answer.status, await answer.json()) == (200, expected)
    for pointer in ("/nowhere", "/a~1b/2", "/a~1b/-", "/a~1b/-1", "/a~1b/01", "/a~1b/1e0", "/a~1b/0/c/0"):
        async with client.get(DOC, params={"pointer": pointer}) as answer:
            assert await code(answer) == (404, "not-found")
    for pointer in ("a", "/~2", "/~"):
        async with client.get(DOC, params={"pointer": pointer}) as answer:
            assert await code(answer) == (400, "bad-query")


async def test_documents_are_listed_a_page_at_a_time(client: ClientSession) -> None:
    for n in range(5):
        await create(client, n, f"/v1/docs/orders/{n}")
    await create(client, 0, "/v1/docs/others/1")
    await client.delete("/v1/docs/orders/3", headers={"If-Match": '"1"'})
    seen = []
    at: str | None = "/v1/docs/orders?limit=2"
    while at is not None:
        async with client.get(at) as answer:
            page = await answer.json()
            seen += [entry["document"] for entry in page["documents"]]
            following = answer.links.get("next")
            at = str(following["url"]) if following else None
            assert (page["cursor"] is None) == (at is None)
    assert seen == ["orders/0", "orders/1", "orders/2", "orders/4"]


async def test_an_empty_collection_is_an_empty_list(client: ClientSession) -> None:
    async with client.get("/v1/docs/nothing") as answer:
        assert (answer.status, await answer.json()) == (200, {"documents": [], "cursor": None})


async def test_the_author_is_the_header_or_the_subject_of_the_token(client: ClientSession) -> None:
    await create(client, {"n": 0})
    await patch(client, [replace("/n", 1)], Plait_Author="ann")
    await patch(client, [replace("/n", 2)], Authorization="Bearer e30.eyJzdWIiOiAiYm9iIn0.x")
    async with client.get(f"{DOC}/revisions") as answer:
        authors = [revision["author"] for revision in (await answer.json())["revisions"]]
    assert authors[:2] == ["bob", "ann"]


async def test_options_says_what_can_be_done(client: ClientSession) -> None:
    async with client.options(DOC) as answer:
        assert answer.status == 204
        assert answer.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"
        assert answer.headers["Accept-Patch"] == ", ".join([JSON_PATCH, MERGE_PATCH, EDIT])
    async with client.options("/v1/docs/orders") as answer:
        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
