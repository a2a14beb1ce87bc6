"""Rules of a collection over HTTP: set and read, obeyed by every way of editing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from plait_merge import policy_schema
from server.live.client import opened

Serve = Callable[..., Awaitable[ClientSession]]

RULES = "/v1/collections/orders"
DOC = "/v1/docs/orders/7"
PATCH = {"Content-Type": "application/json-patch+json"}
EDIT = {"Content-Type": "application/vnd.plait.edit+json"}
NEW = {"If-None-Match": "*"}
SUMS = {"rules": {"/n": {"scalar": "sum"}}}
NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}, "maxProperties": 2}


async def ask(client: ClientSession, method: str, path: str, **request: Any) -> tuple[int, Any]:
    async with client.request(method, path, **request) as answer:
        return answer.status, await answer.json(content_type=None)


async def put_rules(client: ClientSession, settings: Any, **headers: str) -> tuple[int, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(client, "PUT", RULES, json=settings, headers=named or NEW)


async def create(client: ClientSession, value: Any) -> None:
    async with client.put(DOC, json=value, headers=NEW) as answer:
        assert answer.status == 201


async def edit(client: ClientSession, *patch: dict[str, Any], **rest: Any) -> tuple[int, Any]:
    return await ask(client, "PATCH", DOC, json={"patch": patch, **rest}, headers=EDIT)


def set_to(pointer: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": pointer, "value": value}


def inc(pointer: str, value: Any = 1) -> dict[str, Any]:
    return {"op": "inc", "path": pointer, "value": value}


def pointers(body: Any) -> list[str]:
    return [each["pointer"] for each in body["errors"]]


async def test_a_collection_without_settings_has_the_defaults(client: ClientSession) -> None:
    async with client.get(RULES) as answer:
        assert (answer.status, answer.headers["ETag"]) == (200, '"0"')
        assert await answer.json() == {
            "collection": "orders",
            "revision": 0,
            "policy": None,
            "schema": None,
            "merge": "auto",
            "retention": None,
            "author": None,
            "at": None,
        }


async def test_settings_are_set_read_and_kept(serve: Serve) -> None:
    client = await serve()
    status, first = await put_rules(client, {"policy": SUMS}, If_None_Match="*", Plait_Author="ann")
    assert (status, first["revision"], first["policy"], first["author"]) == (201, 1, SUMS, "ann")
    async with client.put(RULES, json={"schema": NUMBERS}, headers={"If-Match": '"1"'}) as answer:
        assert (answer.status, answer.headers["ETag"]) == (200, '"2"')
        second = await answer.json()
    assert (second["policy"], second["schema"], second["merge"]) == (None, NUMBERS, "auto")
    assert await ask(client, "GET", RULES) == (200, second)
    assert await ask(client, "GET", f"{RULES}?revision=1") == (200, first)
    assert (await ask(client, "GET", f"{RULES}?revision=3"))[0] == 404
    assert (await ask(client, "GET", f"{RULES}?revision=x"))[0] == 400
    async with client.get(RULES, headers={"If-None-Match": '"2"'}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
    async with client.get(RULES, headers={"If-Match": '"1"'}) as answer:
        assert answer.status == 412


async def test_settings_survive_a_restart(serve: Serve, runners: list[Any]) -> None:
    client = await serve()
    await put_rules(client, {"schema": NUMBERS, "merge": "strict"})
    await runners[0].cleanup()
    client = await serve()
    _, body = await ask(client, "GET", RULES)
    assert (body["revision"], body["schema"], body["merge"]) == (1, NUMBERS, "strict")
    assert (await ask(client, "PUT", DOC, json={"a": "x"}, headers=NEW))[0] == 422


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 428),
        ({"If-None-Match": "*"}, 412),
        ({"If-Match": '"0"'}, 412),
        ({"If-Match": '"2"'}, 412),
        ({"If-Match": 'W/"1"'}, 412),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": "1"}, 400),
        ({"If-None-Match": '"1"'}, 400),
        ({"If-Match": '"1"', "If-None-Match": "*"}, 400),
        ({"If-Match": '"1"'}, 200),
        ({"If-Match": '"0", "1"'}, 200),
        ({"If-Match": "*"}, 200),
    ],
)
async def test_who_sets_it_has_seen_what_was_set(
    client: ClientSession, headers: dict[str, str], status: int
) -> None:
    await put_rules(client, {"merge": "strict"})
    answered, body = await ask(client, "PUT", RULES, json={"policy": SUMS}, headers=headers)
    assert answered == status
    _, now = await ask(client, "GET", RULES)
    assert now["revision"] == (2 if status == 200 else 1)
    if status == 412:
        assert body["head_revision"] == 1


async def test_the_defaults_may_be_named_by_their_tag(client: ClientSession) -> None:
    assert (await put_rules(client, {}, If_Match="*"))[0] == 412
    assert (await put_rules(client, {}, If_Match='"0"'))[0] == 201
    assert (await put_rules(client, {}, If_Match='"1"'))[0] == 200


@pytest.mark.parametrize(
    ("settings", "at"),
    [
        ([], ["#/"]),
        ({"polcy": {}}, ["#/polcy"]),
        ({"revision": 1}, ["#/revision"]),
        ({"merge": "never"}, ["#/merge"]),
        ({"merge": None}, ["#/merge"]),
        ({"policy": 1}, ["#/policy"]),
        ({"policy": {"rules": {"/n": {"scalr": "sum"}}}}, ["#/policy/rules/~1n/scalr"]),
        ({"schema": "{}"}, ["#/schema"]),
        ({"schema": {"properties": {"a": {"type": 1}}}}, ["#/schema/properties/a/type"]),
        ({"schema": {"$ref": "http://127.0.0.1:9/"}, "policy": []}, ["#/policy", "#/schema"]),
    ],
)
async def test_what_is_wrong_with_settings_is_said_by_place(
    client: ClientSession, settings: Any, at: list[str]
) -> None:
    status, body = await put_rules(client, settings)
    assert (status, body["type"]) == (422, "urn:plait:errors:invalid-value")
    assert pointers(body) == at
    assert (await ask(client, "GET", RULES))[1]["revision"] == 0


async def test_a_word_that_is_not_known_comes_with_those_that_are(client: ClientSession) -> None:
    _, body = await put_rules(client, {"policy": {"rules": {"/n": {"scalar": "add"}}}})
    (error,) = body["errors"]
    assert "sum" in error["known"]


async def test_settings_are_bounded(serve: Serve) -> None:
    client = await serve(collections_max=1, schema_bytes_max=1_000)
    status, body = await put_rules(client, {"schema": {"title": "x" * 2_000}})
    assert (status, body["limit"], body["maximum"]) == (413, "schema_bytes", 1_000)
    assert (await put_rules(client, {}))[0] == 201
    status, body = await ask(client, "PUT", "/v1/collections/other", json={}, headers=NEW)
    assert (status, body["limit"]) == (413, "collections")
    deep = "[" * 200 + "]" * 200
    headers = {"If-Match": '"1"', "Content-Type": "application/json"}
    status, body = await ask(client, "PUT", RULES, data=f'{{"schema": {deep}}}', headers=headers)
    assert (status, body["limit"]) == (413, "depth")
    assert (await ask(client, "PUT", RULES, data="{}", headers={"Content-Type": "text/plain"}))[0] == 415
    assert (await ask(client, "PUT", RULES, data="{", headers=headers))[0] == 400
    _, front = await ask(client, "GET", "/v1")
    assert (front["limits"]["collections_max"], front["limits"]["schema_bytes_max"]) == (1, 1_000)


async def test_a_name_that_is_none_is_explained(client: ClientSession) -> None:
    status, body = await ask(client, "GET", "/v1/collections/Orders")
    assert (status, "a-z" in body["detail"]) == (404, True)


async def test_of_many_who_set_it_at_once_each_time_one_passes(client: ClientSession) -> None:
    await put_rules(client, {})
    for n in range(1, 11):
        settings = [{"policy": {"version": f"{n}-{writer}"}} for writer in range(6)]
        answers = await asyncio.gather(*(put_rules(client, each, If_Match=f'"{n}"') for each in settings))
        assert sorted(status for status, _ in answers) == [200] + [412] * 5
        winner = next(body for status, body in answers if status == 200)
        assert await ask(client, "GET", RULES) == (200, winner)


async def test_a_policy_decides_and_history_names_it(client: ClientSession) -> None:
    await put_rules(client, {"policy": SUMS})
    await create(client, {"n": 5})
    assert (await edit(client, set_to("/n", 4), base=1))[0] == 200
    status, body = await edit(client, set_to("/n", 7), base=1)
    assert (status, body["outcome"], body["patch"]) == (200, "merged", [set_to("/n", 6)])
    assert body["notes"] == [{"note": "sum", "operation": 0, "pointer": "/n"}]
    _, revisions = await ask(client, "GET", f"{DOC}/revisions")
    assert [each.get("policy") for each in revisions["revisions"]] == [1, None, None]
    assert (await ask(client, "GET", f"{DOC}/revisions/3"))[1]["policy"] == 1


async def test_strictness_is_for_edits_that_do_not_say(client: ClientSession) -> None:
    await put_rules(client, {"merge": "strict"})
    await create(client, {"a": 0, "b": 0})
    await edit(client, set_to("/a", 1), base=1)
    plain = {"json": [set_to("/b", 1)], "headers": {**PATCH, "Plait-Base": "1"}}
    for status, body in (
        await ask(client, "PATCH", DOC, **plain),
        await edit(client, set_to("/b", 1), base=1),
        await edit(client, set_to("/b", 1), base=1, merge="auto"),
        await ask(client, "PUT", DOC, json={"a": 0, "b": 1}, headers={"Plait-Base": "1"}),
    ):
        assert (status, body["head_revision"], body["changed"]) == (412, 2, ["/a"])
    assert (await edit(client, set_to("/b", 1), base=1, merge="yours"))[0] == 200


async def test_every_way_to_edit_obeys_the_schema(client: ClientSession) -> None:
    await create(client, {"a": 1})
    await put_rules(client, {"schema": NUMBERS})
    bad = {"a": "x"}
    merge_patch = {"Content-Type": "application/merge-patch+json"}
    for answer in (
        await ask(client, "POST", "/v1/docs/orders", json=bad),
        await ask(client, "PUT", "/v1/docs/orders/8", json=bad, headers=NEW),
        await ask(client, "PUT", DOC, json=bad, headers={"If-Match": '"1"'}),
        await ask(client, "PUT", DOC, json=bad, headers={"Plait-Base": "1"}),
        await ask(client, "PATCH", DOC, json=[set_to("/a", "x")], headers=PATCH),
        await ask(client, "PATCH", DOC, json=bad, headers=merge_patch),
        await edit(client, set_to("/a", "x")),
    ):
        status, body = answer
        assert (status, body["type"]) == (422, "urn:plait:errors:schema-violation")
        assert body["errors"] == [{"detail": 'This is not of type "number".', "pointer": "/a"}]
    assert (await ask(client, "GET", DOC)) == (200, {"a": 1})


async def test_edits_that_fit_alone_only_are_a_conflict_that_can_be_settled(client: ClientSession) -> None:
    await put_rules(client, {"schema": NUMBERS})
    await create(client, {"a": 1})
    assert (await edit(client, {"op": "add", "path": "/b", "value": 1}, base=1))[0] == 200
    status, body = await edit(client, {"op": "add", "path": "/c", "value": 1}, base=1)
    assert (status, body["type"]) == (409, "urn:plait:errors:merge-conflict")
    (conflict,) = body["conflicts"]
    assert (conflict["kind"], conflict["pointer"], conflict["resolutions"]) == ("schema", "", {"theirs": []})
    assert [facet["value"] for facet in (conflict["base"], conflict["theirs"], conflict["yours"])] == [
        {"a": 1},
        {"a": 1, "b": 1},
        {"a": 1, "c": 1},
    ]
    assert pointers(conflict) == [""]
    _, kept = await ask(client, "GET", body["instance"])
    assert kept["conflicts"] == [conflict]
    resolution = body["instance"] + "/resolution"
    choice = {"choices": {conflict["id"]: "yours"}}
    assert (await ask(client, "POST", resolution, json=choice))[0] == 422
    patch = [{"op": "remove", "path": "/b"}, {"op": "add", "path": "/c", "value": 1}]
    assert (await ask(client, "POST", resolution, json={"patch": patch}))[0] == 200
    assert (await ask(client, "GET", DOC)) == (200, {"a": 1, "c": 1})


async def test_inc_is_listed_and_belongs_to_plaits_own_media_type(client: ClientSession) -> None:
    _, front = await ask(client, "GET", "/v1")
    assert {"inc", "collections"} <= set(front["features"])
    await create(client, {"n": 1, "s": "1"})
    status, body = await ask(client, "PATCH", DOC, json=[inc("/n")], headers=PATCH)
    assert (status, body["type"], body["reason"]) == (
        422,
        "urn:plait:errors:patch-inapplicable",
        "unsupported",
    )
    for pointer, reason in (("/s", "type"), ("/x", "missing")):
        status, body = await edit(client, inc(pointer))
        assert (status, body["reason"], body["pointer"]) == (422, reason, pointer)
    assert (await edit(client, inc("/n", "1")))[0] == 400
    status, body = await edit(client, inc("/n", 2), base=1)
    assert (status, body["patch"]) == (200, [set_to("/n", 3)])
    _, revision = await ask(client, "GET", f"{DOC}/revisions/2")
    assert (revision["patch"], revision["submitted"]) == ([set_to("/n", 3)], [inc("/n", 2)])
    assert (await ask(client, "GET", DOC))[1]["n"] == 3


@pytest.mark.parametrize("based", [False, True])
async def test_what_many_writers_count_adds_up(client: ClientSession, based: bool) -> None:
    """Each says again and again what it saw at the beginning, or nothing."""
    await create(client, {"n": 0})
    rest = {"base": 1} if based else {}

    async def write(writer: int) -> None:
        for n in range(20):
            headers = {**EDIT, "Idempotency-Key": f"{writer}-{n}"}
            body = {"patch": [inc("/n", writer + 1)], **rest}
            for _ in range(1 + n % 2):
                assert (await ask(client, "PATCH", DOC, json=body, headers=headers))[0] == 200

    await asyncio.gather(*(write(writer) for writer in range(50)))
    assert (await ask(client, "GET", DOC)) == (200, {"n": 20 * sum(range(1, 51))})


async def test_sums_add_up_between_values_that_others_set(client: ClientSession) -> None:
    """From revision to revision a sum adds what it says; a value is what it says."""
    await create(client, {"n": 0})

    async def count(writer: int) -> None:
        for _ in range(20):
            assert (await edit(client, inc("/n"), base=1, message="inc"))[0] == 200

    async def set_it(writer: int) -> None:
        for n in range(20):
            assert (await edit(client, set_to("/n", writer * 1_000 + n), message="set"))[0] == 200

    await asyncio.gather(
        *(count(writer) for writer in range(10)), *(set_it(writer) for writer in range(1, 5))
    )
    _, page = await ask(client, "GET", f"{DOC}/revisions?limit=500")
    revisions = page["revisions"][::-1]
    assert len(revisions) == 281
    value = 0
    for revision in revisions[1:]:
        now = revision["patch"][0]["value"]
        if revision["message"] == "inc":
            assert now == value + 1
        value = now
    assert (await ask(client, "GET", DOC))[1]["n"] == value


async def test_a_live_connection_counts_on_its_own_unanswered_edits(client: ClientSession) -> None:
    """While another does so too, under rules of the collection."""
    await put_rules(client, {"schema": NUMBERS, "policy": {"rules": {"/s": {"scalar": "sum"}}}})
    await create(client, {"n": 0, "s": 0})

    async def write(name: str) -> None:
        async with opened(client, headers={"Plait-Author": name}) as live:
            await live.say(t="hello")
            await live.hear_until("welcome")
            base: Any = 1
            for number in range(1, 21):
                patch = [inc("/n"), set_to("/s", number)]
                await live.say(
                    t="edit", id=number, doc="orders/7", base=base, key=f"{name}{number}", patch=patch
                )
                base = {"key": f"{name}{number}"}
            for number in range(1, 21):
                assert (await live.hear_until("applied"))["id"] == number
            await live.say(t="edit", id=99, doc="orders/7", patch=[set_to("/n", "x")])
            problem = await live.hear_until("problem", id=99)
            assert (problem["type"], problem["status"]) == ("urn:plait:errors:schema-violation", 422)

    await asyncio.gather(write("ann"), write("bob"))
    assert (await ask(client, "GET", DOC)) == (200, {"n": 40, "s": 40})


async def test_the_description_holds_the_schema_of_policies(client: ClientSession) -> None:
    _, description = await ask(client, "GET", "/openapi.json")
    settings = description["components"]["schemas"]["CollectionSettings"]
    assert policy_schema() in settings["properties"]["policy"]["anyOf"]
    assert set(settings["properties"]) == {"policy", "schema", "merge", "retention"}
