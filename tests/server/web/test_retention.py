"""Retention over HTTP and live: how it is set, and what is told of what is gone."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from plait_merge import ABSENT, apply
from server.live.client import Copies, connected

DOC = "/v1/docs/orders/7"
RULES = "/v1/collections/orders"
KEEP_FIVE = {"retention": {"revisions": 5}}
Serve = Callable[..., Awaitable[ClientSession]]


async def retain(client: ClientSession, settings: dict[str, Any], **headers: str) -> tuple[int, Any]:
    async with client.put(RULES, json=settings, headers=headers or {"If-None-Match": "*"}) as answer:
        return answer.status, await answer.json()


@pytest.fixture
async def client(serve: Serve) -> ClientSession:
    """A client of a server where one document has 21 revisions, of which the newest five are kept."""
    client = await serve(compaction_interval_s=0.05)
    async with client.put(DOC, json={"n": 1, "mine": 0}, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    for n in range(2, 22):
        key = {"Idempotency-Key": f'"edit-{n}"', "Content-Type": "application/json-patch+json"}
        patch = [{"op": "replace", "path": "/n", "value": n}]
        async with client.patch(DOC, json=patch, headers=key) as answer:
            assert answer.status == 200
    assert (await retain(client, KEEP_FIVE))[0] == 201
    async with asyncio.timeout(20):
        while (await get(client, f"{DOC}/revisions"))["oldest"] != 17:
            pass
        # What the store has let go is still told from memory, until that lets go of it too.
        while True:
            async with client.get(f"{DOC}?revision=15") as answer:
                if answer.status == 410:
                    return client


async def get(client: ClientSession, path: str, status: int = 200) -> Any:
    async with client.get(path) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def test_retention_is_a_setting_like_any_other(serve: Serve) -> None:
    client = await serve()
    status, body = await retain(client, {"retention": {"revisions": 1_000, "days": 30.5}})
    stated = {"revisions": 1_000, "days": 30.5, "labelled": True}
    assert (status, body["revision"], body["retention"]) == (201, 1, stated)
    status, body = await retain(client, {}, **{"If-Match": '"1"'})
    assert (status, body["revision"], body["retention"]) == (200, 2, None)
    assert (await get(client, f"{RULES}?revision=1"))["retention"] == stated
    assert (await get(client, RULES))["retention"] is None


@pytest.mark.parametrize(
    ("retention", "pointer"),
    [
        ({}, "#/retention"),
        ({"labelled": False}, "#/retention"),
        ({"revisions": 0}, "#/retention/revisions"),
        ({"revisions": 1.5}, "#/retention/revisions"),
        ({"revisions": "5"}, "#/retention/revisions"),
        ({"days": 0}, "#/retention/days"),
        ({"days": 10**6}, "#/retention/days"),
        ({"labelled": 1}, "#/retention/labelled"),
        ({"years": 1}, "#/retention/years"),
        (5, "#/retention"),
    ],
)
async def test_a_retention_that_is_none_is_refused(
    client: ClientSession, retention: Any, pointer: str
) -> None:
    status, problem = await retain(client, {"retention": retention}, **{"If-Match": '"1"'})
    assert (status, problem["type"].rpartition(":")[2]) == (422, "invalid-value")
    assert pointer in [each["pointer"] for each in problem["errors"]]
    assert (await get(client, RULES))["revision"] == 1


async def test_what_is_gone_is_said_to_be(client: ClientSession) -> None:
    listed = await get(client, f"{DOC}/revisions?limit=100")
    assert [each["revision"] for each in listed["revisions"]] == list(range(21, 16, -1))
    assert (listed["cursor"], listed["oldest"]) == (None, 17)
    for path in (f"{DOC}?revision=16", f"{DOC}/revisions/16", f"{DOC}?revision=1"):
        problem = await get(client, path, 410)
        assert (problem["type"].rpartition(":")[2], problem["oldest"]) == ("revision-compacted", 17)
    headers = {"Plait-Base": "16", "Content-Type": "application/json-patch+json"}
    patch = [{"op": "replace", "path": "/mine", "value": 1}]
    async with client.patch(DOC, json=patch, headers=headers) as answer:
        problem = await answer.json()
        assert (answer.status, answer.headers["Plait-Should-Retry"]) == (409, "false")
        assert (problem["type"].rpartition(":")[2], problem["oldest_base"]) == ("base-unavailable", 17)
    async with client.patch(DOC, json=patch, headers={**headers, "Plait-Base": "17"}) as answer:
        assert (answer.status, (await answer.json())["outcome"]) == (200, "merged")
    async with client.put(f"{DOC}/labels/old", json={"revision": 16}) as answer:
        assert (answer.status, (await answer.json())["oldest"]) == (410, 17)


@pytest.mark.parametrize("prefer", [None, "return=representation", "return=minimal"])
async def test_an_answer_is_given_again_without_what_is_gone(
    client: ClientSession, prefer: str | None
) -> None:
    headers = {"Idempotency-Key": '"edit-9"', "Content-Type": "application/json-patch+json"}
    headers |= {} if prefer is None else {"Prefer": prefer}
    patch = [{"op": "replace", "path": "/n", "value": 9}]
    async with client.patch(DOC, json=patch, headers=headers) as answer:
        assert answer.headers["Idempotency-Replayed"] == "true"
        assert answer.headers["Plait-Revision"] == "9"
        if prefer == "return=minimal":
            assert answer.status == 204
        else:
            body = await answer.json()
            assert (answer.status, body["revision"], body["outcome"], body["patch"]) == (
                200,
                9,
                "applied",
                None,
            )
            assert "value" not in body


async def test_the_feed_leads_to_the_head_from_nothing(client: ClientSession) -> None:
    """The oldest revision is told as the whole value, so a reader needs nothing of what is gone."""
    changes = (await get(client, "/v1/changes"))["changes"]
    assert [each["revision"] for each in changes] == [17, 18, 19, 20, 21]
    assert [each.get("compacted", False) for each in changes] == [True, False, False, False, False]
    assert changes[0]["patch"] == [{"op": "add", "path": "", "value": {"n": 17, "mine": 0}}]
    values: list[Any] = [ABSENT, {"something": "else"}]
    for value in values:
        for change in changes:
            value = apply(value, change["patch"])
        assert value == {"n": 21, "mine": 0}


async def test_a_deletion_that_is_the_oldest_is_told_to_anybody(client: ClientSession) -> None:
    """Who has the document removes it; who has not is none the worse."""
    async with client.delete(DOC, headers={"Plait-Base": "21"}) as answer:
        assert answer.status == 204
    await retain(client, {"retention": {"revisions": 1}}, **{"If-Match": '"1"'})
    async with asyncio.timeout(20):
        while (await get(client, f"{DOC}/revisions"))["oldest"] != 22:
            pass
    (change,) = (await get(client, "/v1/changes"))["changes"]
    assert (change["kind"], change["compacted"]) == ("delete", True)
    values: list[Any] = [ABSENT, {"n": 21}]
    for value in values:
        assert apply(value, change["patch"]) is ABSENT


@pytest.mark.parametrize("at", [1, 15])
async def test_who_resumes_from_what_is_gone_begins_anew(client: ClientSession, at: int) -> None:
    copies = Copies()
    copies.revisions["orders/7"], copies.values["orders/7"] = at, {"n": at}
    async with connected(client, copies) as live:
        await live.say(t="sub", id=1, doc="orders/7", **{"from": at})
        reset = await live.hear_until("reset")
        assert reset["reason"] == "compacted"
        await live.hear_until("caught_up")
    assert (copies.values["orders/7"], copies.resets) == ({"n": 21, "mine": 0}, 1)


async def test_who_resumes_from_just_before_what_is_kept_misses_nothing(client: ClientSession) -> None:
    copies = Copies()
    copies.revisions["orders/7"], copies.values["orders/7"] = 16, {"n": 16, "mine": 0}
    async with connected(client, copies) as live:
        await live.say(t="sub", id=1, doc="orders/7", **{"from": 16})
        await live.hear_until("caught_up")
    assert (copies.values["orders/7"], copies.resets) == ({"n": 21, "mine": 0}, 0)


async def test_events_resumed_from_what_is_gone_begin_anew(client: ClientSession) -> None:
    told = []
    async with client.get(f"{DOC}/events", headers={"Last-Event-ID": "3"}) as answer:
        while "caught_up" not in told:
            async with asyncio.timeout(10):
                lines = (await answer.content.readuntil(b"\n\n")).decode().split("\n")
            event = dict(line.split(": ", 1) for line in lines if line and not line.startswith(":"))
            told += [event["event"]] if "event" in event else []
            if event.get("event") == "reset":
                assert json.loads(event["data"])["reason"] == "compacted"
    assert told == ["welcome", "reset", "snapshot", "caught_up"]


async def test_what_is_gone_cannot_be_blamed_compared_or_taken_back(client: ClientSession) -> None:
    """What was set before the oldest revision has nobody's name; what is asked of before it is 410."""
    assert await get(client, f"{DOC}/blame") == {
        "document": "orders/7",
        "revision": 21,
        "leaves": [
            (await get(client, f"{DOC}/blame?pointer=/n"))["leaves"][0],
            {"pointer": "/mine", "revision": 17, "author": None, "at": None, "before": True},
        ],
        "cursor": None,
    }
    created = "2000-01-01T00:00:00Z"
    for path in (
        f"{DOC}/blame?revision=16",
        f"{DOC}/diff?from=1",
        f"{DOC}/diff?from=20&to=16",
        f"{DOC}?at={created}",
    ):
        problem = await get(client, path, 410)
        assert (problem["type"], problem["oldest"]) == ("urn:plait:errors:revision-compacted", 17)
    for body in ({"revision": 16}, {"revision": 17}, {"from": 3, "through": 20}, {"to": 1}):
        async with client.post(f"{DOC}/revert", json=body) as answer:
            problem = await answer.json(content_type=None)
        assert (answer.status, problem["oldest"]) == (410, 17)
    async with client.post(f"{DOC}/revert", json={"from": 18, "through": 21}) as answer:
        assert (answer.status, (await answer.json())["patch"]) == (
            200,
            [{"op": "replace", "path": "/n", "value": 17}],
        )


async def test_a_queued_edit_on_what_is_gone_is_refused(client: ClientSession) -> None:
    headers = {"Plait-Base": "16", "Content-Type": "application/json-patch+json", "Prefer": "respond-async"}
    patch = [{"op": "replace", "path": "/mine", "value": 1}]
    async with client.patch(DOC, json=patch, headers=headers) as answer:
        assert answer.status == 202
        path = answer.headers["Location"]
    operation = await get(client, f"{path}?wait=10")
    problem = operation["problem"]
    assert (operation["status"], problem["status"], problem["oldest_base"]) == ("refused", 409, 17)
    assert problem["type"].endswith("base-unavailable")
