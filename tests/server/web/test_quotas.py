"""Quotas and bounds over HTTP: told in every answer, refused before the body, over in time."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from plait_server.config import ConfigError, load
from plait_server.web.requests import network_of
from server.web.metered import metered
from server.web.test_connections import problem, talk

Serve = Callable[..., Awaitable[ClientSession]]
DOC = "/v1/docs/orders/1"
NEW = {"If-None-Match": "*", "Content-Type": "application/json"}
PATCH = {"Content-Type": "application/json-patch+json"}
ITEM = r'"[a-z0-9-]+"'
POLICIES = re.compile(rf"{ITEM};q=\d+;w=\d+(, {ITEM};q=\d+;w=\d+)*")
STANDINGS = re.compile(rf"{ITEM};r=\d+;t=\d+(, {ITEM};r=\d+;t=\d+)*")


def told(answer: ClientResponse) -> dict[str, int]:
    """What an answer says is left, by quota; every answer has to say it, and when there is more."""
    (policies,) = answer.headers.getall("RateLimit-Policy")
    (standings,) = answer.headers.getall("RateLimit")
    assert POLICIES.fullmatch(policies)
    assert STANDINGS.fullmatch(standings)
    return {name: int(left) for name, left in re.findall(r'"([^"]+)";r=(\d+)', standings)}


def setting(value: int) -> bytes:
    return json.dumps([{"op": "replace", "path": "/n", "value": value}]).encode()


async def test_every_answer_says_what_is_left(serve: Serve) -> None:
    """Successes of all kinds, refusals of all kinds, and what reaches no handler."""
    client = await serve(rate_limit_caller="50/minute;500/day", rate_limit_tenant_writes="70/hour")
    left, steps = 50, 0
    for method, path, status, headers, data in (
        ("PUT", DOC, 201, NEW, b'{"n":0}'),
        ("GET", DOC, 200, {}, None),
        ("HEAD", DOC, 200, {}, None),
        ("GET", DOC, 304, {"If-None-Match": '"1"'}, None),
        ("PATCH", DOC, 200, PATCH, setting(1)),
        ("PATCH", DOC, 204, {**PATCH, "Prefer": "return=minimal"}, setting(2)),
        ("PATCH", DOC, 400, PATCH, b"{"),
        ("PATCH", DOC, 415, {"Content-Type": "text/plain"}, b"x"),
        ("PATCH", DOC, 412, {**PATCH, "If-Match": '"1"'}, setting(9)),
        ("GET", "/v1/docs/orders/none", 404, {}, None),
        ("GET", "/v1/docs/orders?limit=x", 400, {}, None),
        ("POST", "/v1/tickets", 201, {}, None),
        ("GET", "/v1", 200, {}, None),
        ("DELETE", DOC, 204, {"If-Match": "*"}, None),
        ("GET", DOC, 410, {}, None),
    ):
        async with client.request(method, path, headers=headers, data=data) as answer:
            assert answer.status == status, await answer.text()
            left, steps = left - 1, steps + 1
            assert told(answer)["caller-60s"] == left
    assert told(answer)["caller-86400s"] == 500 - steps
    assert told(answer)["tenant-writes-3600s"] == 70 - 8


async def test_what_does_not_count_says_what_is_left_too(serve: Serve) -> None:
    """Whether the process lives may be asked at any time, and what there is not costs nothing."""
    client = await serve(rate_limit_caller="2/hour")
    for method, path in (
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
        ("OPTIONS", DOC),
        ("GET", "/nowhere"),
        ("POST", DOC),
    ):
        async with client.request(method, path) as answer:
            assert answer.status in (200, 204, 404, 405)
            assert told(answer) == {"caller-3600s": 2}


async def test_without_quotas_nobody_is_told_of_any(client: ClientSession) -> None:
    async with client.get("/v1") as answer:
        assert (await answer.json())["rate_limits"] == []
        assert not [name for name in answer.headers if name.startswith("RateLimit")]


async def test_the_front_page_names_the_quotas(serve: Serve) -> None:
    client = await serve(rate_limit_caller="10/second", rate_limit_caller_writes="5 per 2 seconds")
    async with client.get("/v1") as answer:
        assert (await answer.json())["rate_limits"] == [
            {"name": "caller-writes-2s", "scope": "caller", "writes_only": True, "quota": 5, "window_s": 2},
            {"name": "caller-1s", "scope": "caller", "writes_only": False, "quota": 10, "window_s": 1},
        ]
        policies = answer.headers["RateLimit-Policy"]
    assert policies == '"caller-writes-2s";q=5;w=2, "caller-1s";q=10;w=1'


async def test_one_request_too_many_is_refused_and_the_next_in_time_is_not(tmp_path: Path) -> None:
    async with metered(tmp_path, rate_limit_caller="3/minute") as server:
        for left in (2, 1, 0):
            async with server.client.get("/v1") as answer:
                assert (answer.status, told(answer)) == (200, {"caller-60s": left})
        async with server.client.get("/v1") as answer:
            body = await answer.json()
            assert (answer.status, told(answer)) == (429, {"caller-60s": 0})
        assert answer.headers["Plait-Should-Retry"] == "true"
        assert answer.headers["Cache-Control"] == "no-store"
        assert body["type"] == "urn:plait:errors:quota-exceeded"
        assert (body["limit"], body["maximum"], body["window_s"]) == ("caller-60s", 3, 60)
        assert body["violated-policies"] == ["caller-60s"]
        wait_s = int(answer.headers["Retry-After"])
        assert wait_s == body["retry_after_s"] > 60
        server.clock.now += wait_s
        async with server.client.get("/v1") as answer:
            assert answer.status == 200


async def test_a_clock_that_is_set_back_locks_nobody_out(tmp_path: Path) -> None:
    async with metered(tmp_path, rate_limit_caller="1/minute") as server:
        async with server.client.get("/v1") as answer:
            assert answer.status == 200
        server.clock.now -= 3_600
        async with server.client.get("/v1") as answer:
            assert answer.status == 200
        async with server.client.get("/v1") as answer:
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) < 120


@pytest.mark.parametrize("frame", [b"Content-Length: 100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
async def test_a_refusal_does_not_wait_for_the_body(serve: Serve, frame: bytes) -> None:
    client = await serve(rate_limit_caller_writes="1/hour")
    head = b"PUT /v1/docs/c/%d HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIf-None-Match: *\r\n"
    first = await talk(client, head % 1 + b"Content-Length: 2\r\n\r\n[]", until_closed=False)
    assert first.startswith(b"HTTP/1.1 201")
    answer = await talk(client, head % 2 + frame, until_closed=False)
    status, code, headers = problem(answer)
    assert (status, code) == (429, "quota-exceeded")
    assert headers["ratelimit"].startswith('"caller-writes-3600s";r=0;t=')


async def test_a_refusal_burns_no_key(tmp_path: Path) -> None:
    async with metered(tmp_path, rate_limit_caller_writes="1/minute") as server:
        async with server.client.put(DOC, data=b'{"n":0}', headers=NEW) as answer:
            assert answer.status == 201
        keyed = {**PATCH, "Idempotency-Key": '"one"'}
        async with server.client.patch(DOC, data=setting(1), headers=keyed) as answer:
            assert answer.status == 429
        server.clock.now += int(answer.headers["Retry-After"])
        async with server.client.patch(DOC, data=setting(1), headers=keyed) as answer:
            assert (answer.status, (await answer.json())["revision"]) == (200, 2)
            assert "Idempotency-Replayed" not in answer.headers


async def test_each_author_has_a_quota_and_all_share_the_tenants(serve: Serve) -> None:
    client = await serve(rate_limit_caller="2/hour", rate_limit_tenant="5/hour")
    got: list[int] = []
    for author in ("ann", "ann", "ann", "bob", "bob", "cyd", "cyd"):
        async with client.get("/v1", headers={"Plait-Author": author}) as answer:
            got.append(answer.status)
            if answer.status == 429:
                got.append((await answer.json())["limit"])
    assert got == [200, 200, 429, "caller-3600s", 200, 200, 200, 429, "tenant-3600s"]


async def test_who_says_he_comes_from_elsewhere_is_not_believed(serve: Serve) -> None:
    client = await serve(rate_limit_caller="1/hour")
    got = []
    for n in range(3):
        elsewhere = {"X-Forwarded-For": f"192.0.2.{n}", "Forwarded": f"for=192.0.2.{n}"}
        async with client.get("/v1", headers=elsewhere) as answer:
            got.append(answer.status)
    assert got == [200, 429, 429]


async def test_who_says_nonsense_of_himself_counts_as_nobody(serve: Serve) -> None:
    client = await serve(rate_limit_caller="2/hour")
    got = []
    for author in ("x" * 300, "y" * 300, "z" * 300):
        async with client.get("/v1/docs/c", headers={"Plait-Author": author}) as answer:
            got.append((answer.status, told(answer)["caller-3600s"]))
    assert got == [(400, 1), (400, 0), (429, 0)]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "20010db800010002"),
        ("2001:db8:1:2::9", "20010db800010002"),
        ("fe80::1%eth0", "fe80000000000000"),
        ("/run/plait:1", "/run/plait:1"),
        ("", ""),
    ],
)
def test_an_address_counts_with_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


async def test_a_hot_document_is_refused_before_the_body_and_the_others_go_on(tmp_path: Path) -> None:
    async with metered(tmp_path, document_edits_waiting_max=2, edits_waiting_max=8) as server:
        client = server.client
        for path in (DOC, "/v1/docs/orders/2"):
            async with client.put(path, data=b'{"n":0}', headers=NEW) as answer:
                assert answer.status == 201
        server.store.gate.clear()
        waiting = [asyncio.create_task(_edit(client, DOC, n)) for n in range(1, 6)]
        done, pending = await asyncio.wait(waiting, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 3:
            more, pending = await asyncio.wait(pending, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        for each in done:
            status, headers, body = await each
            assert (status, body["type"]) == (503, "urn:plait:errors:hot-document")
            assert (body["limit"], body["maximum"]) == ("document_edits_waiting", 2)
            assert int(headers["Retry-After"]) > 0
        head = b"PATCH /v1/docs/orders/1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json-patch+json\r\n"
        unread = await talk(client, head + b"Content-Length: 9999\r\n\r\n", until_closed=False)
        assert problem(unread)[:2] == (503, "hot-document")
        other = asyncio.create_task(_edit(client, "/v1/docs/orders/2", 1))
        await asyncio.sleep(0)
        server.store.gate.set()
        assert (await other)[0] == 200
        assert [(await each)[0] for each in pending] == [200, 200]
        assert (await _edit(client, DOC, 9))[0] == 200


async def _edit(client: ClientSession, path: str, value: int) -> tuple[int, Any, Any]:
    async with client.patch(path, data=setting(value), headers=PATCH) as answer:
        return answer.status, answer.headers, await answer.json()


async def test_not_all_who_are_refused_are_told_to_come_back_at_once(serve: Serve) -> None:
    client = await serve(rate_limit_caller="1/hour")
    waits = set()
    for n in range(40):
        async with client.get("/v1") as answer:
            if n:
                waits.add(int(answer.headers["Retry-After"]))
    assert len(waits) > 5


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("rate_limit_caller", "10/sec", "written like 100/second"),
        ("rate_limit_caller", "fast", "written like 100/second"),
        ("rate_limit_tenant", "0/second", "a number from 1"),
        ("rate_limit_tenant", "1/minute;2/60 seconds", "two quotas for one window"),
        ("rate_limit_caller_writes", f"{10**16}/day", "a number from 1"),
        ("rate_limit_tenant_writes", f"{'9' * 5_000}/day", "written like 100/second"),
        ("rate_limit_storage", "cupboard://", "unknown storage scheme"),
        ("rate_limit_storage", "memory", "unknown storage scheme"),
        ("rate_limit_counters_max", 0, "greater than or equal to 1"),
    ],
)
def test_a_quota_that_is_none_is_refused_in_words(name: str, value: object, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({name: value})
    assert str(caught.value).startswith(f"The setting {name!r} cannot be ")
    assert why in str(caught.value)
