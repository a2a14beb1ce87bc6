"""A conflict over HTTP: kept, read, settled."""

from typing import Any

import pytest
from aiohttp import ClientSession

DOC = "/v1/docs/orders/7"
PATCH = {"Content-Type": "application/json-patch+json", "Plait-Base": "1"}


def replace(pointer: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": pointer, "value": value}


@pytest.fixture
async def refused(client: ClientSession) -> dict[str, Any]:
    """The 409 of an edit of title and n, after bob had changed the title."""
    value = {"title": "A", "n": 1}
    async with client.put(DOC, json=value, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    theirs, yours = [replace("/title", "B")], [replace("/title", "C"), replace("/n", 2)]
    async with client.patch(DOC, json=theirs, headers={**PATCH, "Plait-Author": "bob"}) as answer:
        assert answer.status == 200
    async with client.patch(DOC, json=yours, headers=PATCH) as answer:
        assert answer.status == 409
        problem: dict[str, Any] = await answer.json(content_type="application/problem+json")
    return problem


async def test_the_problem_says_everything_needed_to_settle_it(refused: dict[str, Any]) -> None:
    assert refused["type"] == "urn:plait:errors:merge-conflict"
    assert (refused["base_revision"], refused["head_revision"]) == (1, 2)
    assert refused["instance"].startswith(f"{DOC}/conflicts/")
    (conflict,) = refused["conflicts"]
    assert (conflict["kind"], conflict["pointer"]) == ("edit_edit", "/title")
    assert conflict["base"] == {"present": True, "value": "A"}
    assert conflict["theirs"]["value"] == "B"
    assert (conflict["theirs"]["author"], conflict["theirs"]["revision"]) == ("bob", 2)
    assert conflict["yours"] == {"present": True, "value": "C"}
    assert conflict["resolutions"]["yours"] == [replace("/title", "C")]
    assert conflict["resolutions"]["theirs"] == []
    assert (refused["clean_operations"], refused["clean_patch"]) == ([1], [replace("/n", 2)])
    assert [missed["revision"] for missed in refused["missed"]] == [2]


async def test_it_is_kept_as_a_resource(client: ClientSession, refused: dict[str, Any]) -> None:
    async with client.get(refused["instance"]) as answer:
        kept = await answer.json()
    assert kept["conflicts"] == refused["conflicts"]
    assert (kept["base_revision"], kept["head_revision"], kept["resolved"]) == (1, 2, None)
    async with client.get(f"{DOC}/conflicts") as answer:
        (entry,) = (await answer.json())["conflicts"]
    assert refused["instance"].endswith(entry["id"])
    assert entry["id"] == kept["id"]


@pytest.mark.parametrize(
    ("choice", "title"), [("yours", "C"), ("theirs", "B"), ("base", "A"), ({"value": "D"}, "D")]
)
async def test_a_choice_settles_it_and_the_clean_part_goes_with_it(
    client: ClientSession, refused: dict[str, Any], choice: Any, title: str
) -> None:
    (conflict,) = refused["conflicts"]
    resolution = {"choices": {conflict["id"]: choice}, "message": "agreed"}
    async with client.post(refused["instance"] + "/resolution", json=resolution) as answer:
        assert (answer.status, answer.headers["Plait-Revision"]) == (200, "3")
    async with client.get(DOC) as answer:
        assert await answer.json() == {"title": title, "n": 2}
    async with client.get(f"{DOC}/revisions/3") as answer:
        assert (await answer.json())["message"] == "agreed"
    async with client.get(f"{DOC}/conflicts") as answer:
        assert (await answer.json())["conflicts"] == []
    async with client.get(refused["instance"]) as answer:
        assert (await answer.json())["resolved_revision"] == 3


async def test_a_patch_settles_it_too(client: ClientSession, refused: dict[str, Any]) -> None:
    resolution = {"patch": [replace("/title", "B and C")]}
    async with client.post(refused["instance"] + "/resolution", json=resolution) as answer:
        assert (answer.status, (await answer.json())["base"]) == (200, 2)
    async with client.get(DOC) as answer:
        assert await answer.json() == {"title": "B and C", "n": 1}


async def test_an_ordinary_edit_settles_it_with_resolves(
    client: ClientSession, refused: dict[str, Any]
) -> None:
    conflict = refused["instance"].rpartition("/")[2]
    edit = {"base": 2, "patch": [replace("/title", "D")], "resolves": conflict}
    headers = {"Content-Type": "application/vnd.plait.edit+json"}
    async with client.patch(DOC, json=edit, headers=headers) as answer:
        assert (answer.status, (await answer.json())["settled"]) == (200, conflict)
    async with client.get(f"{DOC}/conflicts") as answer:
        assert (await answer.json())["conflicts"] == []


async def test_it_is_settled_once(client: ClientSession, refused: dict[str, Any]) -> None:
    resolution = {"patch": [replace("/title", "D")]}
    async with client.post(refused["instance"] + "/resolution", json=resolution) as answer:
        assert answer.status == 200
    async with client.post(refused["instance"] + "/resolution", json=resolution) as answer:
        body = await answer.json(content_type=None)
    assert (answer.status, body["type"]) == (409, "urn:plait:errors:already-resolved")


async def test_a_resolution_may_conflict_again_and_names_the_old_one(
    client: ClientSession, refused: dict[str, Any]
) -> None:
    (conflict,) = refused["conflicts"]
    again = {"Content-Type": PATCH["Content-Type"], "Plait-Base": "2"}
    async with client.patch(DOC, json=[replace("/title", "B2")], headers=again) as answer:
        assert answer.status == 200
    resolution = {"choices": {conflict["id"]: "yours"}}
    async with client.post(refused["instance"] + "/resolution", json=resolution) as answer:
        problem = await answer.json(content_type=None)
    assert (answer.status, problem["instance"] != refused["instance"]) == (409, True)
    async with client.get(problem["instance"]) as answer:
        assert refused["instance"].endswith((await answer.json())["previous"])


@pytest.mark.parametrize(
    "resolution",
    [
        {},
        [],
        {"choices": {}},
        {"choices": {"unknown": "yours"}},
        {"choices": {"unknown": "ours"}, "patch": []},
        {"choices": "yours"},
        {"choices": None, "patch": None},
        {"patch": [], "message": 1},
        {"patch": [], "author": "me"},
    ],
)
async def test_missing_or_unknown_choices_are_422(
    client: ClientSession, refused: dict[str, Any], resolution: Any
) -> None:
    async with client.post(refused["instance"] + "/resolution", json=resolution) as answer:
        body = await answer.json(content_type=None)
    assert (answer.status, body["type"]) == (422, "urn:plait:errors:invalid-value")
    async with client.get(f"{DOC}/conflicts") as answer:
        assert len((await answer.json())["conflicts"]) == 1


async def test_an_unknown_choice_for_a_known_conflict_is_422(
    client: ClientSession, refused: dict[str, Any]
) -> None:
    (conflict,) = refused["conflicts"]
    for choice in ("mine", None, 1, {"values": 1}, ["yours"], "both"):
        resolution = {"choices": {conflict["id"]: choice}}
        async with client.post(refused["instance"] + "/resolution", json=resolution) as answer:
            assert answer.status == 422, choice


async def test_an_unknown_conflict_is_404(client: ClientSession, refused: dict[str, Any]) -> None:
    async with client.post(f"{DOC}/conflicts/none/resolution", json={"patch": []}) as answer:
        assert answer.status == 404
