"""Leases over HTTP: taken, named, renewed, given up; obeyed by every way of writing."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from server.live.client import opened

Serve = Callable[..., Awaitable[ClientSession]]

DOC = "/v1/docs/orders/7"
LOCKS = f"{DOC}/locks"
PATCH = {"Content-Type": "application/json-patch+json"}
EDIT = {"Content-Type": "application/vnd.plait.edit+json"}
ANN = {"Plait-Author": "ann"}
BOB = {"Plait-Author": "bob"}
VALUE = {"lines": [{"n": 0}, {"n": 1}], "title": "A"}


async def ask(client: ClientSession, method: str, path: str, **request: Any) -> tuple[int, Any]:
    async with client.request(method, path, **request) as answer:
        return answer.status, await answer.json(content_type=None)


@pytest.fixture
async def order(client: ClientSession) -> ClientSession:
    """A client of a server that has an order."""
    async with client.put(DOC, json=VALUE, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    return client


async def take(client: ClientSession, pointer: str = "/lines/1", **rest: Any) -> dict[str, Any]:
    status, lease = await ask(client, "POST", LOCKS, json={"pointer": pointer, **rest}, headers=ANN)
    assert status == 201, lease
    return dict(lease)


def named(lease: dict[str, Any]) -> dict[str, str]:
    return {"Plait-Lock": f"{lease['lock']};fence={lease['fence']}"}


def set_to(pointer: str, value: Any) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": pointer, "value": value}]


async def edit(client: ClientSession, pointer: str, value: Any, **headers: str) -> tuple[int, Any]:
    return await ask(client, "PATCH", DOC, json=set_to(pointer, value), headers={**PATCH, **headers})


async def test_a_lease_is_answered_with_all_its_holder_needs(order: ClientSession) -> None:
    async with order.post(LOCKS, json={"pointer": "/lines/1", "ttl_s": 5}, headers=ANN) as answer:
        assert answer.status == 201
        lease = await answer.json()
        assert answer.headers["Location"] == f"{LOCKS}/{lease['lock']}"
        assert answer.headers["Cache-Control"] == "private"
    assert re.fullmatch(r"[0-9A-Z]{26}", lease.pop("lock"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", lease.pop("expires"))
    assert lease == {
        "document": "orders/7",
        "pointer": "/lines/1",
        "revision": 1,
        "holder": "ann",
        "ttl_s": 5,
        "fence": 1,
    }


async def test_others_are_told_whose_it_is_and_when_to_come_back(order: ClientSession) -> None:
    lease = await take(order, ttl_s=20)
    async with order.patch(DOC, json=set_to("/lines/1/n", 5), headers={**PATCH, **BOB}) as answer:
        assert (answer.status, answer.headers["Plait-Should-Retry"]) == (423, "true")
        problem = await answer.json()
        assert answer.headers["Retry-After"] == str(problem.pop("retry_after_s"))
        assert 19 <= int(answer.headers["Retry-After"]) <= 20
    assert problem.pop("request_id")
    assert problem == {
        "type": "urn:plait:errors:locked",
        "title": "Locked",
        "status": 423,
        "detail": "ann has a lease there.",
        "holder": "ann",
        "pointer": "/lines/1",
        "expires": lease["expires"],
    }
    assert (await edit(order, "/title", "B", **BOB))[0] == 200
    assert (await edit(order, "/lines/1/n", 5, **ANN, **named(lease)))[0] == 200


@pytest.mark.parametrize(
    ("method", "body", "headers"),
    [
        ("PUT", {"title": "A"}, {"If-Match": "*"}),
        ("PUT", {"title": "A"}, {"Plait-Base": "1"}),
        ("PATCH", {"lines": None}, {"Content-Type": "application/merge-patch+json"}),
        ("PATCH", {"patch": set_to("/lines/1/n", 5), "dry_run": True}, EDIT),
        ("DELETE", None, {"Plait-Base": "1"}),
        ("DELETE", None, {"If-Match": '"1"'}),
    ],
)
async def test_every_way_of_writing_meets_it_and_may_name_it(
    order: ClientSession, method: str, body: Any, headers: dict[str, str]
) -> None:
    lease = await take(order)
    assert (await ask(order, method, DOC, json=body, headers={**BOB, **headers}))[0] == 423
    stale = {**named(lease), **headers}
    assert (await ask(order, method, DOC, json=body, headers={**BOB, **stale}))[0] == 409
    assert (await ask(order, method, DOC, json=body, headers={**ANN, **stale}))[0] in (200, 204)


async def test_an_edit_body_names_it_too_and_never_another_one(order: ClientSession) -> None:
    lease = await take(order)
    hold = {"id": lease["lock"], "fence": lease["fence"]}
    body = {"patch": set_to("/lines/1/n", 5), "lock": hold}
    other = {**hold, "fence": hold["fence"] + 1}
    assert (await ask(order, "PATCH", DOC, json=body, headers={**EDIT, **ANN}))[0] == 200
    assert (await ask(order, "PATCH", DOC, json=body, headers={**EDIT, **ANN, **named(lease)}))[0] == 200
    differing = body | {"lock": other}
    status, problem = await ask(order, "PATCH", DOC, json=differing, headers={**EDIT, **ANN, **named(lease)})
    assert (status, problem["header"]) == (400, "Plait-Lock")
    status, problem = await ask(order, "PATCH", DOC, json=differing, headers={**EDIT, **ANN})
    assert (status, problem["type"]) == (409, "urn:plait:errors:stale-fence")
    assert problem["fence"] == other["fence"]


@pytest.mark.parametrize(
    "stated",
    [
        "",
        "x",
        "x;fence=",
        "x;fence=0",
        "x;fence=-1",
        "x;fence=1_0",
        "x;fence=٣",
        ";fence=1",
        "x fence=1",
        f"x;fence={'9' * 19}",
        f"{'a' * 65};fence=1",
        '"x;fence=1',
        "x;fence=1;fence=2",
        "x/../y;fence=1",
    ],
)
async def test_a_header_that_names_no_lease_is_refused(order: ClientSession, stated: str) -> None:
    status, problem = await edit(order, "/title", "B", **{"Plait-Lock": stated.encode().decode("latin-1")})
    assert (status, problem["type"]) == (400, "urn:plait:errors:bad-header")


async def test_a_quoted_lease_is_one_too(order: ClientSession) -> None:
    lease = await take(order)
    quoted = f'"{lease["lock"]}" ; fence={lease["fence"]}'
    assert (await edit(order, "/lines/1/n", 5, **ANN, **{"Plait-Lock": quoted}))[0] == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "malformed-json"),
        (b"[]", "invalid-value"),
        (b"{}", "invalid-value"),
        (b'{"pointer": 7}', "invalid-value"),
        (b'{"pointer": "lines"}', "invalid-value"),
        (b'{"pointer": "/x"}', "not-found"),
        (b'{"pointer": "", "ttl_s": 0}', "invalid-value"),
        (b'{"pointer": "", "ttl_s": -1}', "invalid-value"),
        (b'{"pointer": "", "ttl_s": "5"}', "invalid-value"),
        (b'{"pointer": "", "ttl_s": true}', "invalid-value"),
        (b'{"pointer": "", "ttl_s": 1e400}', "invalid-value"),
        (b'{"pointer": "", "ttl_s": %b}' % (b"9" * 999), "invalid-value"),
        (b'{"pointer": "", "ttl_s": 3600.5}', "too-large"),
        (b'{"pointer": "", "wait_s": 5}', "invalid-value"),
        (b'{"pointer": "/%b"}' % (b"a" * 4_096), "too-large"),
    ],
)
async def test_what_asks_for_no_lease_is_refused(order: ClientSession, body: bytes, code: str) -> None:
    headers = {"Content-Type": "application/json"}
    status, problem = await ask(order, "POST", LOCKS, data=body, headers=headers)
    assert (status < 500, problem["type"]) == (True, f"urn:plait:errors:{code}")
    assert await ask(order, "GET", LOCKS) == (200, {"locks": []})


async def test_the_shortest_lease_is_one(order: ClientSession) -> None:
    assert (await take(order, "", ttl_s=1e-9))["fence"] == 1


async def test_a_lease_wants_json_and_no_query(order: ClientSession) -> None:
    assert (await ask(order, "POST", LOCKS, data="{}", headers=PATCH))[0] == 415
    assert (await ask(order, "POST", f"{LOCKS}?x=1", json={"pointer": ""}))[0] == 400
    assert (await ask(order, "POST", "/v1/docs/orders/8/locks", json={"pointer": ""}))[0] == 404
    assert (await ask(order, "GET", "/v1/docs/orders/8/locks"))[0] == 404


async def test_a_second_one_over_it_is_refused(order: ClientSession) -> None:
    lease = await take(order)
    for pointer in ("", "/lines", "/lines/1", "/lines/1/n"):
        status, problem = await ask(order, "POST", LOCKS, json={"pointer": pointer}, headers=BOB)
        assert (status, problem["holder"], problem["pointer"]) == (423, "ann", "/lines/1")
        assert lease["lock"] not in str(problem)
    assert (await ask(order, "POST", LOCKS, json={"pointer": "/lines/0"}, headers=BOB))[0] == 201


async def test_what_names_a_lease_is_shown_to_its_holder_only(order: ClientSession) -> None:
    lease = await take(order)
    assert await ask(order, "GET", LOCKS, headers=ANN) == (200, {"locks": [lease]})
    shown = {name: value for name, value in lease.items() if name not in ("lock", "fence")}
    assert await ask(order, "GET", LOCKS, headers=BOB) == (200, {"locks": [shown]})
    there = f"{LOCKS}/{lease['lock']}"
    assert await ask(order, "GET", there, headers=ANN) == (200, lease)
    assert (await ask(order, "GET", there, headers=BOB))[0] == 404
    assert (await ask(order, "GET", f"{LOCKS}/x", headers=ANN))[0] == 404


async def test_it_is_renewed_and_given_up_with_its_fence(order: ClientSession) -> None:
    lease = await take(order, ttl_s=20)
    there, fence = f"{LOCKS}/{lease['lock']}", lease["fence"]
    status, renewed = await ask(order, "PUT", there, json={"fence": fence, "ttl_s": 60}, headers=ANN)
    assert (status, renewed["ttl_s"], renewed["fence"]) == (200, 60, fence)
    assert renewed["expires"] > lease["expires"]
    for headers, wrong in ((ANN, fence + 1), (BOB, fence)):
        assert (await ask(order, "PUT", there, json={"fence": wrong}, headers=headers))[0] == 409
        assert (await ask(order, "DELETE", f"{there}?fence={wrong}", headers=headers))[0] == 409
    assert (await ask(order, "DELETE", there, headers=ANN))[0] == 428
    assert (await ask(order, "DELETE", f"{there}?fence=x", headers=ANN))[0] == 400
    assert (await ask(order, "DELETE", f"{LOCKS}/x", headers={**ANN, **named(lease)}))[0] == 400
    assert (await ask(order, "DELETE", f"{there}?fence={fence + 1}", headers={**ANN, **named(lease)}))[
        0
    ] == 400
    assert (await ask(order, "DELETE", there, headers={**ANN, **named(lease)}))[0] == 204
    assert (await edit(order, "/lines/1/n", 5, **BOB))[0] == 200
    assert (await ask(order, "DELETE", f"{there}?fence={fence}", headers=ANN))[0] == 409


async def test_one_that_was_taken_over_is_stale(order: ClientSession) -> None:
    """The fence of who came later is higher, and who was late is told so."""
    first = await take(order, ttl_s=0.05)
    async with asyncio.timeout(5):
        while (await ask(order, "POST", LOCKS, json={"pointer": "/lines"}, headers=BOB))[0] != 201:
            pass
    status, problem = await edit(order, "/lines/1/n", 5, **ANN, **named(first))
    assert (status, problem["type"]) == (409, "urn:plait:errors:stale-fence")
    assert (await ask(order, "GET", DOC))[1] == VALUE


async def test_of_those_who_ask_at_once_exactly_one_gets_it(order: ClientSession) -> None:
    asked = [
        ask(order, "POST", LOCKS, json={"pointer": pointer}, headers={"Plait-Author": f"writer {number}"})
        for number, pointer in enumerate(("", "/lines", "/lines/1", "/lines/1/n") * 8)
    ]
    statuses = [status for status, _ in await asyncio.gather(*asked)]
    assert sorted(statuses) == [201] + [423] * 31


async def test_a_refusal_leaves_the_key_as_it_was(order: ClientSession) -> None:
    lease = await take(order)
    key = {"Idempotency-Key": "k"}
    assert (await edit(order, "/lines/1/n", 5, **BOB, **key))[0] == 423
    await ask(order, "DELETE", f"{LOCKS}/{lease['lock']}", headers={**ANN, **named(lease)})
    assert (await edit(order, "/lines/1/n", 5, **BOB, **key))[1]["revision"] == 2
    assert (await edit(order, "/lines/1/n", 5, **BOB, **key))[1]["revision"] == 2


async def test_an_edit_under_a_lease_sent_again_is_answered_alike(order: ClientSession) -> None:
    lease = await take(order)
    headers = {**ANN, **named(lease), "Idempotency-Key": "k"}
    first = await edit(order, "/lines/1/n", 5, **headers)
    await ask(order, "DELETE", f"{LOCKS}/{lease['lock']}", headers={**ANN, **named(lease)})
    assert first == await edit(order, "/lines/1/n", 5, **headers)


async def test_a_request_for_a_lease_sent_again_gives_the_same_one(order: ClientSession) -> None:
    headers = {**ANN, "Idempotency-Key": "k"}
    first = await ask(order, "POST", LOCKS, json={"pointer": "/lines/1"}, headers=headers)
    async with order.post(LOCKS, json={"pointer": "/lines/1"}, headers=headers) as answer:
        assert (answer.status, answer.headers["Idempotency-Replayed"]) == (201, "true")
        assert (201, await answer.json()) == first


async def test_caps_are_named(serve: Serve) -> None:
    client = await serve(document_locks_max=1, locks_max=2)
    for number in range(3):
        await ask(client, "PUT", f"/v1/docs/orders/{number}", json=VALUE, headers={"If-None-Match": "*"})
    at = "/v1/docs/orders/{}/locks"
    assert (await ask(client, "POST", at.format(0), json={"pointer": "/title"}))[0] == 201
    status, problem = await ask(client, "POST", at.format(0), json={"pointer": "/lines"})
    assert (status, problem["limit"], problem["maximum"]) == (413, "document_locks", 1)
    assert (await ask(client, "POST", at.format(1), json={"pointer": ""}))[0] == 201
    status, problem = await ask(client, "POST", at.format(2), json={"pointer": ""})
    assert (status, problem["limit"], problem["maximum"]) == (503, "locks", 2)


async def test_a_resolution_names_it_by_the_header(order: ClientSession) -> None:
    await edit(order, "/lines/1/n", 5, **BOB)
    _, conflict = await edit(order, "/lines/1/n", 6, **ANN, **{"Plait-Base": "1"})
    lease = await take(order)
    choices = {"choices": {part["id"]: "yours" for part in conflict["conflicts"]}}
    path = f"{conflict['instance']}/resolution"
    assert (await ask(order, "POST", path, json=choices, headers=BOB))[0] == 423
    assert (await ask(order, "POST", path, json=choices, headers={**ANN, **named(lease)}))[0] == 200


async def test_a_live_edit_obeys_and_names_it(order: ClientSession) -> None:
    lease = await take(order)
    hold = {"id": lease["lock"], "fence": lease["fence"]}
    frame = {"t": "edit", "doc": "orders/7", "patch": set_to("/lines/1/n", 5)}
    async with opened(order, headers=BOB) as live:
        await live.say(**frame, id=1)
        problem = await live.hear_until("problem", id=1)
        assert (problem["status"], problem["holder"], problem["retry"]) == (423, "ann", True)
        await live.say(**frame, id=2, lock=hold)
        assert (await live.hear_until("problem", id=2))["status"] == 409
        await live.say(**frame, id=3, lock={"id": "a\n", "fence": 1})
        assert (await live.hear_until("problem", id=3))["status"] == 400
    async with opened(order, headers=ANN) as live:
        await live.say(**frame, id=1, lock=hold, key="k")
        assert (await live.hear_until("applied", id=1))["rev"] == 2
        # Made on one's own edit that may not have been answered yet: the lease goes with each of them.
        await live.say(**frame, id=2, lock=hold, base={"key": "k"}, key="m")
        assert (await live.hear_until("applied", id=2))["outcome"] == "noop"
        await live.say(**{**frame, "patch": set_to("/lines/1/n", 6)}, id=3, base={"key": "k"})
        assert (await live.hear_until("problem", id=3))["status"] == 423


async def test_a_client_can_tell_that_there_are_leases(client: ClientSession) -> None:
    _, front = await ask(client, "GET", "/v1")
    assert "locks" in front["features"]
    assert front["limits"]["lock_ttl_max_s"] == 3_600
