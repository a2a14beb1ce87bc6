"""Several documents in one request: all edits are made, or none."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import pytest
from aiohttp import ClientSession

Serve = Callable[..., Awaitable[ClientSession]]
Sent = tuple[int, Any, Any]


@pytest.fixture
async def client(client: ClientSession) -> ClientSession:
    """A client of a server that has an order and three articles, each at revision 2."""
    for document, value in (
        ("orders/7", {"lines": [], "note": "a"}),
        ("stock/1", {"count": 5}),
        ("stock/2", {"count": 5}),
        ("stock/3", {"count": 5}),
    ):
        async with client.put(f"/v1/docs/{document}", json=value, headers={"If-None-Match": "*"}) as answer:
            assert answer.status == 201
        await edit(client, document, [{"op": "add", "path": "/x", "value": 0}])
    return client


async def edit(client: ClientSession, document: str, patch: Any) -> int:
    headers = {"Content-Type": "application/json-patch+json"}
    async with client.patch(f"/v1/docs/{document}", json=patch, headers=headers) as answer:
        assert answer.status == 200
        revision: int = (await answer.json())["revision"]
        return revision


async def send(client: ClientSession, edits: Any, headers: dict[str, str] | None = None, **rest: Any) -> Sent:
    body = BytesIO(json.dumps({"edits": edits, **rest}).encode())
    headers = {"Content-Type": "application/json", **(headers or {})}
    async with client.post("/v1/batch", data=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None), answer.headers


async def revision_of(client: ClientSession, document: str) -> int:
    async with client.head(f"/v1/docs/{document}") as answer:
        return int(answer.headers.get("Plait-Revision", 0))


async def value_of(client: ClientSession, document: str) -> Any:
    async with client.get(f"/v1/docs/{document}") as answer:
        return await answer.json(content_type=None)


def inc(document: str, by: int = 1, **rest: Any) -> dict[str, Any]:
    return {"document": document, "patch": [{"op": "inc", "path": "/count", "value": by}], **rest}


def note(value: Any, **rest: Any) -> dict[str, Any]:
    return {
        "document": "orders/7",
        "patch": [{"op": "replace", "path": "/note", "value": value}],
        **rest,
    }


async def test_every_kind_of_edit_is_made_and_answered_in_order(client: ClientSession) -> None:
    status, body, headers = await send(
        client,
        [
            note("b", base=1),
            inc("stock/1", -1, if_match=2),
            {"document": "orders/8", "value": {"new": True}, "create": True},
            {"document": "stock/2", "value": {"count": 9, "x": 0}, "base": 1},
            {"document": "stock/3", "delete": True, "base": 2},
        ],
        message="all of it",
    )
    assert status == 200
    assert [
        (each["document"], each["revision"], each["base"], each["outcome"]) for each in body["results"]
    ] == [
        ("orders/7", 3, 1, "merged"),
        ("stock/1", 3, 2, "applied"),
        ("orders/8", 1, None, "created"),
        ("stock/2", 3, 1, "merged"),
        ("stock/3", 3, 2, "deleted"),
    ]
    assert [entry["revision"] for entry in body["results"][0]["missed"]] == [2]
    assert body["results"][1]["patch"] == [{"op": "replace", "path": "/count", "value": 4}]
    assert (headers["Cache-Control"], headers["Content-Type"]) == ("private", "application/json")
    assert {body["epoch"]} == {each["epoch"] for each in body["results"]}
    assert await value_of(client, "orders/7") == {"lines": [], "note": "b", "x": 0}
    async with client.get("/v1/docs/stock/1/revisions/3") as answer:
        assert (await answer.json())["message"] == "all of it"


async def test_all_refusals_are_reported_at_once_and_nothing_is_written(client: ClientSession) -> None:
    await edit(client, "orders/7", [{"op": "replace", "path": "/note", "value": "mine"}])
    status, body, headers = await send(
        client,
        [
            inc("stock/1"),
            note("yours", base=2),
            inc("stock/9"),
            {"document": "stock/2", "patch": [{"op": "remove", "path": "/none"}]},
            {"document": "stock/3", "value": 1},
        ],
    )
    assert (status, body["status"], body["title"]) == (422, 422, "Patch does not apply to its base")
    assert body["type"] == "urn:plait:errors:patch-inapplicable"
    assert body["detail"] == "4 of 5 edits are refused, so nothing is written."
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Plait-Should-Retry"] == "false"
    refused = {entry["edit"]: entry for entry in body["errors"]}
    assert [(n, each["document"], each["status"], each["type"][17:]) for n, each in refused.items()] == [
        (1, "orders/7", 409, "merge-conflict"),
        (2, "stock/9", 404, "not-found"),
        (3, "stock/2", 422, "patch-inapplicable"),
        (4, "stock/3", 428, "precondition-required"),
    ]
    assert (refused[1]["base_revision"], refused[1]["head_revision"]) == (2, 3)
    assert refused[1]["conflicts"][0]["theirs"]["value"] == "mine"
    assert "instance" not in refused[1]
    assert refused[3]["operation"] == 0
    assert await revision_of(client, "stock/1") == 2
    async with client.get("/v1/docs/orders/7/conflicts") as answer:
        assert (await answer.json())["conflicts"] == []


@pytest.mark.parametrize(
    ("second", "code", "status"),
    [
        (inc("stock/9"), "not-found", 404),
        ({"document": "stock/1", "value": 1}, "precondition-required", 428),
        ({"document": "stock/1", "patch": [{"op": "test", "path": "/x", "value": 1}]}, "test-failed", 409),
        (inc("stock/1", if_match=1), "precondition-failed", 412),
        ({"document": "stock/1", "patch": [{}]}, "malformed-patch", 400),
        (inc("stock/1", base=9), "base-unknown", 409),
    ],
)
async def test_the_whole_is_the_kind_of_what_is_wrong_first_conflicts_last(
    client: ClientSession, second: Any, code: str, status: int
) -> None:
    await edit(client, "orders/7", [{"op": "replace", "path": "/note", "value": "mine"}])
    sent = await send(client, [note("yours", base=2), second])
    assert (sent[0], sent[1]["type"]) == (status, f"urn:plait:errors:{code}")
    only_conflicts = await send(client, [note("yours", base=2), inc("stock/1")])
    assert (only_conflicts[0], only_conflicts[1]["type"]) == (409, "urn:plait:errors:merge-conflict")
    assert only_conflicts[1]["detail"] == "1 of 2 edits is refused, so nothing is written."


async def test_a_guard_on_one_document_stands_for_the_others(client: ClientSession) -> None:
    """An edit that only tests changes nothing, and without it the others are not made."""
    guard = {"document": "stock/1", "patch": [{"op": "test", "path": "/count", "value": 5}]}
    status, body, _ = await send(client, [guard, note("sold")])
    assert (status, [each["outcome"] for each in body["results"]]) == (200, ["noop", "applied"])
    await edit(client, "stock/1", [{"op": "replace", "path": "/count", "value": 0}])
    status, body, _ = await send(client, [guard, note("sold again")])
    assert (status, body["type"]) == (409, "urn:plait:errors:test-failed")
    assert (await value_of(client, "orders/7"))["note"] == "sold"


async def test_a_lease_stops_the_batches_of_others_and_is_named_by_its_holder(
    client: ClientSession,
) -> None:
    ann, bob = {"Plait-Author": "ann"}, {"Plait-Author": "bob"}
    async with client.post("/v1/docs/stock/1/locks", json={"pointer": "/count"}, headers=ann) as answer:
        lease = await answer.json()
    both = [inc("stock/2"), inc("stock/1")]
    status, body, headers = await send(client, both, headers={**bob, "Idempotency-Key": "k"})
    assert (status, body["type"], headers["Plait-Should-Retry"]) == (423, "urn:plait:errors:locked", "true")
    assert 1 <= int(headers["Retry-After"]) <= 30
    (refused,) = body["errors"]
    assert (refused["edit"], refused["holder"], refused["pointer"]) == (1, "ann", "/count")
    # Sending it again cannot help where something else is wrong too.
    await edit(client, "orders/7", [{"op": "replace", "path": "/note", "value": "mine"}])
    status, body, headers = await send(client, [*both, note("yours", base=2)], headers=bob)
    assert (status, len(body["errors"]), headers["Plait-Should-Retry"]) == (423, 2, "false")
    assert "Retry-After" not in headers
    hold = {"id": lease["lock"], "fence": lease["fence"]}
    for other in ({**hold, "fence": hold["fence"] + 1}, {**hold, "id": "none"}):
        status, body, _ = await send(client, [inc("stock/2"), inc("stock/1", lock=other)], headers=ann)
        assert (status, [each["edit"] for each in body["errors"]]) == (409, [1])
        assert body["type"] == "urn:plait:errors:stale-fence"
    assert [await revision_of(client, f"stock/{n}") for n in (1, 2)] == [2, 2]
    status, _, _ = await send(client, [inc("stock/2"), inc("stock/1", lock=hold)], headers=ann)
    assert (status, await revision_of(client, "stock/1")) == (200, 3)
    async with client.delete(
        f"/v1/docs/stock/1/locks/{lease['lock']}",
        headers={**ann, "Plait-Lock": f"{lease['lock']};fence={lease['fence']}"},
    ) as answer:
        assert answer.status == 204
    # A refusal for a lease burns no key.
    status, _, headers = await send(client, both, headers={**bob, "Idempotency-Key": "k"})
    assert (status, "Idempotency-Replayed" in headers) == (200, False)


async def test_a_schema_refuses_the_whole_batch(client: ClientSession) -> None:
    rules = {"schema": {"properties": {"count": {"minimum": 0}}}}
    headers = {"If-None-Match": "*"}
    async with client.put("/v1/collections/stock", json=rules, headers=headers) as answer:
        assert answer.status == 201
    status, body, _ = await send(client, [note("b"), inc("stock/1", -6), inc("stock/2", -5)])
    assert (status, body["type"]) == (422, "urn:plait:errors:schema-violation")
    assert [(each["edit"], each["errors"][0]["pointer"]) for each in body["errors"]] == [(1, "/count")]
    # Two that fit each, and not together, are a conflict of kind schema.
    await edit(client, "stock/1", [{"op": "replace", "path": "/count", "value": 3}])
    status, body, _ = await send(client, [note("b"), inc("stock/1", -4, base=2)])
    assert (status, body["errors"][0]["conflicts"][0]["kind"]) == (409, "schema")
    assert await revision_of(client, "orders/7") == 2


async def test_merge_modes_are_those_of_each_edit_and_of_its_collection(client: ClientSession) -> None:
    await edit(client, "orders/7", [{"op": "replace", "path": "/note", "value": "mine"}])
    await edit(client, "stock/1", [{"op": "replace", "path": "/count", "value": 0}])
    edits = [note("yours", base=2, merge="yours"), {**inc("stock/1"), "base": 2, "merge": "strict"}]
    status, body, _ = await send(client, edits)
    assert (status, [each["edit"] for each in body["errors"]]) == (412, [1])
    status, body, _ = await send(client, edits[:1])
    assert (status, (await value_of(client, "orders/7"))["note"]) == (200, "yours")
    async with client.put(
        "/v1/collections/stock", json={"merge": "strict"}, headers={"If-None-Match": "*"}
    ) as answer:
        assert answer.status == 201
    status, body, _ = await send(client, [inc("stock/1", base=2), inc("stock/2", base=2)])
    assert (status, [each["edit"] for each in body["errors"]]) == (412, [0])


async def test_a_dry_run_says_what_would_be_and_stores_nothing(client: ClientSession) -> None:
    edits = [note("b", base=1), inc("stock/1"), {"document": "orders/8", "value": 1, "create": True}]
    status, body, _ = await send(client, edits, dry_run=True)
    assert status == 200
    assert [(each["outcome"], each["revision"]) for each in body["results"]] == [
        ("would_merge", 2),
        ("would_apply", 2),
        ("would_apply", 0),
    ]
    assert await revision_of(client, "orders/7") == 2
    status, body, _ = await send(client, [*edits, inc("stock/9")], dry_run=True)
    assert (status, [each["edit"] for each in body["errors"]]) == (404, [3])


async def test_minimal_is_204(client: ClientSession) -> None:
    status, body, headers = await send(client, [inc("stock/1")], headers={"Prefer": "return=minimal"})
    assert (status, body, headers["Preference-Applied"]) == (204, None, "return=minimal")
    assert await revision_of(client, "stock/1") == 3


async def test_a_batch_has_one_key_for_all_of_it(client: ClientSession) -> None:
    key = {"Idempotency-Key": '"k1"'}
    first = await send(client, [inc("stock/1"), inc("stock/2")], headers=key)
    again = await send(client, [inc("stock/1"), inc("stock/2")], headers=key)
    assert (first[0], again[0], again[2]["Idempotency-Replayed"]) == (200, 200, "true")
    assert "Idempotency-Replayed" not in first[2]
    assert first[1] == again[1]
    assert (await value_of(client, "stock/1"))["count"] == 6
    other = await send(client, [inc("stock/1", 2), inc("stock/2")], headers=key)
    assert (other[0], other[1]["type"]) == (422, "urn:plait:errors:idempotency-key-reused")
    async with client.patch(
        "/v1/docs/stock/1", json=[], headers={"Content-Type": "application/json-patch+json", **key}
    ) as answer:
        assert answer.status == 422


async def test_a_refused_batch_is_refused_again_alike(client: ClientSession) -> None:
    """Also after what it was refused for is gone; and a refusal that may turn out differently is not kept."""
    await edit(client, "orders/7", [{"op": "replace", "path": "/note", "value": "mine"}])
    edits = [note("yours", base=2), inc("stock/1", if_match=1), inc("stock/2")]
    first = await send(client, edits, headers={"Idempotency-Key": "k1"})
    await edit(client, "orders/7", [{"op": "replace", "path": "/note", "value": "more"}])
    again = await send(client, edits, headers={"Idempotency-Key": "k1"})
    assert (first[0], again[0], again[2]["Idempotency-Replayed"]) == (412, 412, "true")
    assert first[1]["errors"] == again[1]["errors"]
    missing = [inc("stock/9")]
    assert (await send(client, missing, headers={"Idempotency-Key": "k2"}))[0] == 404
    async with client.put("/v1/docs/stock/9", json={"count": 0}, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    assert (await send(client, missing, headers={"Idempotency-Key": "k2"}))[0] == 200


async def test_many_sends_at_once_make_one_batch(client: ClientSession) -> None:
    key = {"Idempotency-Key": "k1"}
    answers = await asyncio.gather(*(send(client, [inc("stock/1"), inc("stock/2")], key) for _ in range(16)))
    for status, body, _ in answers:
        if status == 409:
            assert body["type"] == "urn:plait:errors:idempotency-in-progress"
        else:
            assert (status, [each["revision"] for each in body["results"]]) == (200, [3, 3])
    assert any(status == 200 for status, _, _ in answers)
    assert (await value_of(client, "stock/1"))["count"] == 6


async def test_subscribers_hear_of_each_document(client: ClientSession) -> None:
    async with client.get("/v1/changes") as answer:
        cursor = (await answer.json())["cursor"]
    await send(client, [inc("stock/1"), inc("stock/2")], headers={"Idempotency-Key": "k1"})
    async with client.get("/v1/changes", params={"since": cursor}) as answer:
        changes = (await answer.json())["changes"]
    assert [(each["document"], each["revision"]) for each in changes] == [("stock/1", 3), ("stock/2", 3)]


GOOD = inc("stock/1")
BAD_EDITS: list[Any] = [
    None,
    1,
    "orders/7",
    [],
    {},
    {"document": "stock/1"},
    {"patch": []},
    {"document": 1, "patch": []},
    {"document": None, "patch": []},
    {"document": ["stock", "1"], "patch": []},
    {"document": "stock", "patch": []},
    {"document": "stock/", "patch": []},
    {"document": "/1", "patch": []},
    {"document": "stock/1/revisions", "patch": []},
    {"document": "stock/1\n", "patch": []},
    {"document": "stock/..", "patch": []},
    {"document": "stock/.", "patch": []},
    {"document": "Stock/1", "patch": []},
    {"document": "stock/é", "patch": []},
    {"document": "stock/1%00", "patch": []},
    {"document": "stock/" + "x" * 129, "patch": []},
    {"document": "s" * 64 + "/1", "patch": []},
    {**GOOD, "patch": None},
    {**GOOD, "patch": {}},
    {**GOOD, "patch": "[]"},
    {**GOOD, "value": 1},
    {**GOOD, "delete": True},
    {**GOOD, "create": True},
    {**GOOD, "base": "2"},
    {**GOOD, "base": 0},
    {**GOOD, "base": -1},
    {**GOOD, "base": 2.0},
    {**GOOD, "base": True},
    {**GOOD, "base": 10**19},
    {**GOOD, "if_match": "2"},
    {**GOOD, "if_match": [2]},
    {**GOOD, "merge": "ours"},
    {**GOOD, "merge": None},
    {**GOOD, "lock": "l"},
    {**GOOD, "lock": {}},
    {**GOOD, "lock": {"id": "l"}},
    {**GOOD, "lock": {"id": "l", "fence": "1"}},
    {**GOOD, "lock": {"id": 1, "fence": 1}},
    {**GOOD, "lock": {"id": "l", "fence": 0}},
    {**GOOD, "lock": {"id": "l", "fence": 1, "x": 1}},
    {**GOOD, "resolves": "01J"},
    {**GOOD, "message": "each"},
    {**GOOD, "dry_run": True},
    {**GOOD, "epoch": "x"},
    {**GOOD, "unknown": 1},
    {"document": "stock/1", "delete": 1},
    {"document": "stock/1", "delete": False},
    {"document": "stock/1", "value": 1, "delete": True},
    {"document": "stock/1", "value": 1, "create": "yes"},
    {"document": "stock/1", "value": 1, "create": True, "base": 2},
    {"document": "stock/1", "value": 1, "create": True, "if_match": 2},
    {"document": "stock/1", "value": 1, "create": True, "merge": "yours"},
]
BAD_BODIES: list[Any] = [
    [],
    {},
    None,
    1,
    "x",
    {"edits": []},
    {"edits": {}},
    {"edits": None},
    {"edits": "x"},
    {"edits": [GOOD], "message": 1},
    {"edits": [GOOD], "dry_run": 1},
    {"edits": [GOOD], "dry_run": "true"},
    {"edits": [GOOD], "epoch": ""},
    {"edits": [GOOD], "epoch": 1},
    {"edits": [GOOD], "base": 2},
    {"edits": [GOOD], "unknown": 1},
]


async def refused(client: ClientSession, body: Any, status: int, code: str) -> dict[str, Any]:
    async with client.post("/v1/batch", data=body, headers={"Content-Type": "application/json"}) as answer:
        problem: dict[str, Any] = await answer.json(content_type="application/problem+json")
    assert (answer.status, problem["type"]) == (status, f"urn:plait:errors:{code}"), problem
    assert problem["detail"].endswith(".")
    assert [await revision_of(client, f"stock/{n}") for n in (1, 2, 3)] == [2, 2, 2]
    return problem


@pytest.mark.parametrize("edit", BAD_EDITS, ids=lambda edit: json.dumps(edit)[:60])
async def test_what_is_no_edit_is_422_and_points_at_it(client: ClientSession, edit: Any) -> None:
    body = json.dumps({"edits": [inc("stock/2"), edit]})
    problem = await refused(client, body, 422, "invalid-value")
    assert all(cause["pointer"].startswith("#/edits/1") for cause in problem["errors"])


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: json.dumps(body)[:60])
async def test_what_is_no_batch_is_422(client: ClientSession, body: Any) -> None:
    await refused(client, json.dumps(body), 422, "invalid-value")


@pytest.mark.parametrize("body", [b"", b"[", b"NaN", b'{"edits":[\xff]}', b'{"edits":[{"value":"\\ud800"}]}'])
async def test_what_is_no_json_is_400(client: ClientSession, body: bytes) -> None:
    await refused(client, body, 400, "malformed-json")


async def test_two_edits_of_one_document_are_422_and_named(client: ClientSession) -> None:
    body = json.dumps({"edits": [inc("stock/1"), inc("stock/2"), inc("stock/1")]})
    problem = await refused(client, body, 422, "invalid-value")
    assert (problem["edits"], problem["document"]) == ([0, 2], "stock/1")


async def test_an_epoch_of_another_store_makes_every_base_unknown(client: ClientSession) -> None:
    status, body, _ = await send(client, [inc("stock/1", base=1), inc("stock/2", base=2)], epoch="other")
    assert (status, [each["type"][17:] for each in body["errors"]]) == (409, ["base-unknown"] * 2)


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "Plait-Base", "Plait-Lock"])
async def test_a_condition_on_one_document_does_not_fit_a_batch(client: ClientSession, name: str) -> None:
    status, body, _ = await send(client, [inc("stock/1")], headers={name: "2"})
    assert (status, body["type"], body["header"]) == (400, "urn:plait:errors:bad-header", name)


async def test_another_media_type_is_415(client: ClientSession) -> None:
    headers = {"Content-Type": "application/json-patch+json"}
    async with client.post("/v1/batch", data=b"{}", headers=headers) as answer:
        assert answer.status == 415


async def test_limits_are_named(serve: Serve) -> None:
    client = await serve(batch_edits_max=3, batch_bytes_max=10_000, batch_operations_max=5)
    none = {"op": "test", "path": "", "value": 0}
    for edits, limit in (
        ([{"document": f"a/{n}", "patch": []} for n in range(4)], "batch_edits"),
        ([{"document": f"a/{n}", "patch": [none] * 2} for n in range(3)], "batch_operations"),
        ([{"document": "a/1", "value": "x" * 10_000, "create": True}], "batch_bytes"),
    ):
        status, body, _ = await send(client, edits)
        assert (status, body["limit"]) == (413, limit)
        assert str(body["maximum"]) in body["detail"]
    async with client.get("/v1") as answer:
        front = await answer.json()
    assert "batch" in front["features"]
    assert (front["limits"]["batch_edits_max"], front["limits"]["batch_operations_max"]) == (3, 5)


async def test_a_document_over_its_limits_refuses_the_batch(serve: Serve) -> None:
    client = await serve(document_bytes_max=100)
    deep: Any = 0
    for _ in range(66):
        deep = [deep]
    for value, limit in (("x" * 100, "document_bytes"), (deep, "depth"), (10**1_001, "integer_digits")):
        body = f'{{"edits":[{{"document":"a/1","value":{json.dumps(value)},"create":true}}]}}'
        async with client.post(
            "/v1/batch", data=body, headers={"Content-Type": "application/json"}
        ) as answer:
            assert answer.status == 413
            problem = await answer.json(content_type="application/problem+json")
        assert limit in {problem.get("limit"), *(each["limit"] for each in problem.get("errors", []))}


async def test_a_hundred_documents_are_one_batch(client: ClientSession) -> None:
    edits = [{"document": f"many/{n}", "value": {"n": n}, "create": True} for n in range(100)]
    status, body, _ = await send(client, edits)
    assert (status, {each["outcome"] for each in body["results"]}) == (200, {"created"})
    edits = [
        {"document": f"many/{n}", "patch": [{"op": "add", "path": "/x", "value": "y" * 30_000}], "base": 1}
        for n in range(100)
    ]
    status, body, _ = await send(client, edits)
    assert (status, [each["revision"] for each in body["results"]]) == (200, [2] * 100)
    status, body, _ = await send(client, [{**each, "merge": "strict"} for each in edits])
    assert (status, len(body["errors"])) == (412, 100)
    edits = [
        {"document": f"many/{n}", "patch": [{"op": "add", "path": "/x", "value": "z" * 30_000}], "base": 1}
        for n in range(100)
    ]
    status, body, _ = await send(client, edits)
    assert (status, len(body["errors"])) == (409, 100)
    shown = sum(len(json.dumps(each)) for each in body["errors"])
    assert shown < 500_000, "together they show no more than one conflict may"
