"""Prefer: respond-async, and what came of it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from plait_server.web.connections import Runner

Serve = Callable[..., Awaitable[ClientSession]]

DOC = "/v1/docs/orders/7"
PATCH = {"Content-Type": "application/json-patch+json"}
QUEUED = {"Prefer": "respond-async"}
VALUE = {"n": 1, "title": "A"}


@pytest.fixture
async def client(client: ClientSession) -> ClientSession:
    """A client of a server that has one document, at revision 1."""
    async with client.put(DOC, json=VALUE, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    return client


def replacing(place: str, value: Any) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": place, "value": value}]


async def sent(client: ClientSession, method: str, path: str, **request: Any) -> tuple[int, Any, Any]:
    """Give status, headers and body."""
    async with client.request(method, path, **request) as answer:
        body = await answer.read()
        return answer.status, answer.headers, json.loads(body) if body else None


async def queued(client: ClientSession, method: str, path: str, **request: Any) -> Any:
    """Queue an edit; give the body of the 202."""
    headers = {**request.pop("headers", {}), **QUEUED}
    status, answered, body = await sent(client, method, path, headers=headers, **request)
    assert status == 202
    assert answered["Preference-Applied"] == "respond-async"
    assert answered["Location"] == f"/v1/operations/{body['operation']}"
    assert (answered["Cache-Control"], int(answered["Retry-After"]) > 0) == ("no-store", True)
    assert body.keys() == {"operation", "document", "status", "accepted"}
    assert body["status"] == "queued"
    return body


async def ended(client: ClientSession, accepted: Any) -> Any:
    """Wait for what comes of a queued edit."""
    path = f"/v1/operations/{accepted['operation']}"
    status, headers, body = await sent(client, "GET", path, params={"wait": "10"})
    assert (status, headers["Cache-Control"], "Retry-After" in headers) == (200, "no-store", False)
    assert accepted.items() - {("status", "queued")} <= body.items()
    assert body["finished"] >= body["accepted"]
    assert ("result" in body, "problem" in body) == (body["status"] == "done", body["status"] == "refused")
    return body


async def test_every_way_to_edit_a_document_can_be_queued(client: ClientSession) -> None:
    new = {"If-None-Match": "*"}
    made = await queued(client, "PUT", "/v1/docs/orders/8", json=VALUE, headers=new)
    named = await queued(client, "POST", "/v1/docs/orders", json=VALUE)
    changed = await queued(
        client, "PATCH", DOC, json=replacing("/n", 2), headers={**PATCH, "Plait-Base": "1"}
    )
    stated = {"patch": [{"op": "inc", "path": "/n", "value": 1}], "message": "one more"}
    edit = {"Content-Type": "application/vnd.plait.edit+json"}
    counted = await queued(client, "PATCH", DOC, json=stated, headers=edit)
    deleted = await queued(client, "DELETE", DOC, headers={"Plait-Base": "3"})
    ends = [(await ended(client, each))["result"] for each in (made, named, changed, counted, deleted)]
    assert [end["outcome"] for end in ends] == ["created", "created", "applied", "applied", "deleted"]
    assert [end["revision"] for end in ends] == [1, 1, 2, 3, 4]
    assert ends[3]["patch"] == replacing("/n", 3)
    status, _, value = await sent(client, "GET", f"/v1/docs/{named['document']}")
    assert (status, value) == (200, VALUE)
    assert (await sent(client, "GET", DOC))[0] == 410


async def test_a_revert_can_be_queued(client: ClientSession) -> None:
    await sent(client, "PATCH", DOC, json=replacing("/n", 2), headers=PATCH)
    end = await ended(client, await queued(client, "POST", f"{DOC}/revert", json={"revision": 2}))
    assert (end["result"]["outcome"], end["result"]["patch"]) == ("applied", replacing("/n", 1))


async def test_the_result_is_the_answer_of_the_edit(client: ClientSession) -> None:
    await sent(client, "PATCH", DOC, json=replacing("/title", "B"), headers=PATCH)
    headers = {**PATCH, "Plait-Base": "1"}
    result = (
        await ended(client, await queued(client, "PATCH", DOC, json=replacing("/n", 2), headers=headers))
    )["result"]
    assert (result["outcome"], result["revision"], result["base"]) == ("merged", 3, 1)
    assert [missed["revision"] for missed in result["missed"]] == [2]


async def test_the_problem_is_the_answer_of_the_edit_and_a_conflict_is_kept(client: ClientSession) -> None:
    await sent(client, "PATCH", DOC, json=replacing("/n", 2), headers=PATCH)
    headers = {**PATCH, "Plait-Base": "1"}
    status, _, direct = await sent(client, "PATCH", DOC, json=replacing("/n", 3), headers=headers)
    assert status == 409
    end = await ended(client, await queued(client, "PATCH", DOC, json=replacing("/n", 3), headers=headers))
    problem = end["problem"]
    assert end["status"] == "refused"
    differing = {"instance", "request_id", "conflicts"}
    assert {k: v for k, v in problem.items() if k not in differing} == {
        k: v for k, v in direct.items() if k not in differing
    }
    status, _, kept = await sent(client, "GET", problem["instance"])
    assert (status, kept["conflicts"]) == (200, problem["conflicts"])
    choices = {part["id"]: "yours" for part in problem["conflicts"]}
    path = f"{problem['instance']}/resolution"
    assert (await sent(client, "POST", path, json={"choices": choices}))[0] == 200


async def test_who_can_wait_a_little_gets_the_ordinary_answer(client: ClientSession) -> None:
    headers = {**PATCH, "Prefer": "respond-async, wait=10, return=representation", "Plait-Base": "1"}
    status, answered, body = await sent(client, "PATCH", DOC, json=replacing("/n", 2), headers=headers)
    assert (status, answered["ETag"], body["value"]["n"]) == (200, '"2"', 2)
    assert answered["Preference-Applied"] == "return=representation"
    assert "Idempotency-Replayed" not in answered
    headers["Prefer"] = "wait=10, respond-async"
    status, answered, problem = await sent(client, "PATCH", DOC, json=replacing("/n", 3), headers=headers)
    assert (status, problem["type"]) == (409, "urn:plait:errors:merge-conflict")
    assert problem["instance"].startswith(f"{DOC}/conflicts/")
    for headers in ({"If-Match": '"1"'}, {"If-Match": '"2"'}):
        status, answered, _ = await sent(
            client, "DELETE", DOC, headers={**headers, "Prefer": "respond-async, wait=10"}
        )
        assert status == (412 if headers["If-Match"] == '"1"' else 204)
    assert answered["Plait-Revision"] == "3"


async def test_the_same_key_is_the_same_operation_and_then_its_answer(client: ClientSession) -> None:
    headers = {**PATCH, "Idempotency-Key": '"k"'}
    first = await queued(client, "PATCH", DOC, json=replacing("/n", 2), headers=headers)
    end = await ended(client, first)
    for prefer in ({}, QUEUED, {"Prefer": "respond-async, wait=10"}):
        again, other = [
            await sent(client, "PATCH", DOC, json=replacing("/n", n), headers=headers | prefer)
            for n in (2, 3)
        ]
        assert (again[0], again[1]["Idempotency-Replayed"], again[2]) == (200, "true", end["result"])
        assert (other[0], other[2]["type"]) == (422, "urn:plait:errors:idempotency-key-reused")
    named = [
        await sent(client, "POST", "/v1/docs/orders", json=1, headers={"Idempotency-Key": '"c"'} | QUEUED)
        for _ in range(2)
    ]
    assert named[0][2]["document"] == named[1][2]["document"]


async def test_a_refusal_that_a_key_keeps_is_none_to_try_again(client: ClientSession) -> None:
    """Whatever was in the way is gone some day; with the key the answer stays. Without one it does not."""
    path, request = f"{DOC}/locks", {"json": replacing("/n", 2)}
    assert (await sent(client, "POST", path, json={"pointer": ""}))[0] == 201
    waiting = {**PATCH, "Prefer": "respond-async, wait=10"}
    told = [
        await sent(client, "PATCH", DOC, headers=waiting | key, **request)
        for key in ({}, {"Idempotency-Key": '"k"'}, {"Idempotency-Key": '"k"'})
    ]
    assert [status for status, _, _ in told] == [423] * 3
    assert [headers["Plait-Should-Retry"] for _, headers, _ in told] == ["true", "false", "false"]
    assert ["Retry-After" in headers for _, headers, _ in told] == [True, False, False]


HOSTILE = [
    "respond-async=1",
    '"respond-async"',
    "x-respond-async",
    "respond-asynchronous",
    'foo="a, respond-async"',
    'foo="a\\", respond-async, ',
    "respond_async",
    ", ;=, ,",
    "=respond-async",
    "respond-async=true, respond-async",
    "",
    '"' * 4_000,
    "," * 4_000,
    "\\" * 4_000,
    '"\\' * 2_000,
    "wait=5",
    "wait=respond-async",
]
MEANT = [
    "respond-async",
    "Respond-Async",
    "  respond-async  ",
    'respond-async=""',
    "respond-async; x=1",
    "return=minimal,respond-async",
    'foo="a, b", respond-async',
    "respond-async, wait",
    "respond-async, wait=",
    "respond-async, wait=-1",
    "respond-async, wait=1e9",
    "respond-async, wait=nan",
    "respond-async, wait=\u0665".encode().decode("latin-1"),
    "respond-async, wait=9999999999999999999999",
    "respond-async, wait=0, wait=30",
    "respond-async, respond-async=1",
]


@pytest.mark.parametrize("prefer", HOSTILE)
async def test_what_is_no_such_preference_is_ignored(client: ClientSession, prefer: str) -> None:
    headers = {**PATCH, "Prefer": prefer}
    assert (await sent(client, "PATCH", DOC, json=replacing("/n", 2), headers=headers))[0] == 200


@pytest.mark.parametrize("prefer", MEANT)
async def test_the_preference_is_found_and_an_odd_wait_is_none(client: ClientSession, prefer: str) -> None:
    headers = {**PATCH, "Prefer": prefer}
    status, _, body = await sent(client, "PATCH", DOC, json=replacing("/n", 2), headers=headers)
    assert status == 202
    assert (await ended(client, body))["status"] == "done"


async def test_a_preference_may_stand_in_a_header_of_its_own(client: ClientSession) -> None:
    headers = [*PATCH.items(), ("Prefer", "return=minimal"), ("Prefer", "respond-async")]
    status, _, _ = await sent(client, "PATCH", DOC, json=replacing("/n", 2), headers=headers)
    assert status == 202


async def test_a_dry_run_is_answered_at_once(client: ClientSession) -> None:
    headers = {"Content-Type": "application/vnd.plait.edit+json"} | QUEUED
    body = {"patch": replacing("/n", 2), "dry_run": True}
    status, _, result = await sent(client, "PATCH", DOC, json=body, headers=headers)
    assert (status, result["outcome"]) == (200, "would_apply")


async def test_what_is_wrong_with_the_request_itself_is_told_at_once(client: ClientSession) -> None:
    for body, headers, expected in (
        (b"[", PATCH, 400),
        (b"[]", {"Content-Type": "text/plain"}, 415),
        (b"[]", {**PATCH, "Plait-Base": "x"}, 400),
        (b"[]", {**PATCH, "Idempotency-Key": ""}, 400),
        (b"[1e999]", PATCH, 422),
    ):
        assert (await sent(client, "PATCH", DOC, data=body, headers=headers | QUEUED))[0] == expected


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("0" * 26, 404),
        ("x", 404),
        ("0" * 27, 404),
        ("%00" * 26, 404),
        ("0" * 26 + "?wait=nan", 400),
        ("0" * 26 + "?wait=-1", 400),
        ("0" * 26 + "?wait=1&wait=1", 400),
        ("0" * 26 + "?x=1", 400),
    ],
)
async def test_what_is_no_operation_is_not_found(client: ClientSession, path: str, status: int) -> None:
    found, headers, problem = await sent(client, "GET", f"/v1/operations/{path}")
    assert (found, problem["status"], headers["Plait-Should-Retry"]) == (status, status, "false")


@pytest.mark.parametrize(
    ("setting", "code"), [("queue_document_edits_max", "hot-document"), ("queue_bytes_max", "overloaded")]
)
async def test_a_full_queue_says_when_to_come_back(serve: Serve, setting: str, code: str) -> None:
    client = await serve(**{setting: 1})
    if setting == "queue_document_edits_max":
        # The second of two that arrive together finds the first.
        first = sent(client, "PATCH", DOC, json=[], headers=PATCH | QUEUED)
        second = sent(client, "PATCH", DOC, json=[], headers=PATCH | QUEUED)
        answers = await asyncio.gather(first, second)
        status, headers, problem = max(answers, key=lambda answer: answer[0])
    else:
        status, headers, problem = await sent(client, "PATCH", DOC, json=[], headers=PATCH | QUEUED)
    assert (status, problem["type"]) == (503, f"urn:plait:errors:{code}")
    assert (headers["Plait-Should-Retry"], int(headers["Retry-After"]) > 0) == ("true", True)


async def test_a_server_that_ends_tells_those_who_wait_where_to_ask(
    client: ClientSession, runners: list[Runner]
) -> None:
    """The whole queue may be waited for: nobody holds up the end."""
    headers = {**PATCH, "Prefer": "respond-async, wait=30"}
    waiting = [
        asyncio.create_task(sent(client, "PATCH", DOC, json=replacing("/n", n), headers=headers))
        for n in range(20)
    ]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await runners[0].cleanup()
    statuses = {(await each)[0] for each in waiting}
    assert statuses <= {200, 202, 503}
