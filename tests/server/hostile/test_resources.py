"""Attacks on time and memory: each is bounded, as seen from outside, and nobody else feels it."""

import asyncio
import gzip
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientSession
from yarl import URL

from server.faults.serving import Server
from server.hostile.neighbour import compact, connected, nobody_feels_it, send, status

pytestmark = pytest.mark.asyncio(loop_scope="module")

CPU_S_MAX = 6.0
"""What one attack may make the server compute. The slowest machine this runs on is shared by many."""
JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MANY = 10_000
WAITERS = 400


async def put(client: ClientSession, path: str, value: Any, **headers: str) -> int:
    return await status(client, "PUT", path, compact(value), Content_Type=JSON, **headers)


async def patch(client: ClientSession, path: str, operations: Any, **headers: str) -> int:
    return await status(client, "PATCH", path, compact(operations), Content_Type=JSON_PATCH, **headers)


def replaced(pointer: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": pointer, "value": value}


# Patches

LONG = [0] * 500_000
ATTACKS: dict[str, tuple[Any, list[dict[str, Any]], set[int]]] = {
    # name: the document, the patch, what may come of it
    "ten thousand inserts at the front": (
        {"l": [0] * 300_000},
        [{"op": "add", "path": "/l/0", "value": 0}] * 7_000,
        {200},
    ),
    "removals from the front": (LONG, [{"op": "remove", "path": "/0"}] * 7_500, {200}),
    "a chain of moves": (
        {"a": LONG[:400_000]},
        [{"op": "move", "from": f"/{'ab'[n % 2]}", "path": f"/{'ba'[n % 2]}"} for n in range(6_000)],
        {200},
    ),
    "moves ever deeper": (
        {"a": {}, "b": {}},
        [{"op": "add", "path": "/a" + "/a" * n, "value": {}} for n in range(60)] * 30,
        {200, 413, 422},
    ),
    "tests of all of it": (
        {"l": LONG[:60_000], "n": 0},
        [
            {"op": "test", "path": "", "value": {"l": LONG[:60_000], "n": 0}},
            *[{"op": "test", "path": "", "value": 0}] * 3_000,
        ],
        {409},
    ),
    "copies that are not much each": (
        {"l": []},
        [
            {"op": "add", "path": "/x", "value": "y" * 100},
            *[{"op": "copy", "from": "/x", "path": "/l/-"}] * 6_000,
        ],
        {200},
    ),
    "copies of copies": (
        {"x": [1] * 10},
        [{"op": "copy", "from": "", "path": "/x/0"}] * 5_000,
        {413},
    ),
    "pointers like patterns": (
        {"a" * 500: 1},
        [{"op": "add", "path": "/" + "~0~1" * 1_000 + str(n), "value": 0} for n in range(60)],
        {200},
    ),
    "members that nearly collide": (
        {"k" * 200 + str(n): n for n in range(4_000)},
        [replaced("/" + "k" * 200 + str(n), -n) for n in range(1_000)],
        {200},
    ),
    "sums of long integers": (
        {"n": int("7" * 900)},
        [{"op": "test", "path": "/n", "value": int("7" * 899 + "8")}] * 250,
        {409},
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_patch_costs_no_more_than_its_share(server: Server, name: str) -> None:
    document, operations, expected = ATTACKS[name]
    path = f"/v1/docs/attacks/{name.replace(' ', '-')}"
    async with nobody_feels_it(server, CPU_S_MAX) as client:
        assert await put(client, path, document, If_None_Match="*") == 201
        assert await patch(client, path, operations) in expected


# Merges

Merge = tuple[Any, list[dict[str, Any]], list[dict[str, Any]], set[int]]


def guards() -> Merge:
    """Thousands of members, all changed by others; every edit of yours is guarded."""
    document = {f"k{n}": 0 for n in range(2_400)}
    theirs = [replaced(f"/k{n}", 1) for n in range(2_400)]
    yours = [{"op": "test", "path": f"/k{n}", "value": 0} for n in range(2_400)]
    return document, theirs, [*yours, *[replaced(f"/k{n}", 2) for n in range(2_400)]], {409}


def inserts() -> Merge:
    """Both put thousands of elements at the same place."""
    theirs = [{"op": "add", "path": "/0", "value": n} for n in range(5_000)]
    yours = [{"op": "add", "path": "/0", "value": -n} for n in range(5_000)]
    return [0], theirs, yours, {200}


def shuffles() -> Merge:
    """Both move every element somewhere else, one by one."""
    theirs = [{"op": "move", "from": "/4999", "path": f"/{n}"} for n in range(5_000)]
    yours = [{"op": "move", "from": "/0", "path": f"/{4_999 - n}"} for n in range(5_000)]
    return list(range(5_000)), theirs, yours, {200, 409}


def removals() -> Merge:
    """Others remove what you edit, from the front on."""
    theirs = [{"op": "remove", "path": "/0"}] * 5_000
    yours = [replaced(f"/{n}/v", 2) for n in range(5_000)]
    return [{"v": 0} for _ in range(5_000)], theirs, yours, {409}


@pytest.mark.parametrize("merge", [guards, inserts, shuffles, removals], ids=lambda merge: merge.__name__)
async def test_a_costly_merge_is_done_aside(server: Server, merge: Callable[[], Merge]) -> None:
    document, theirs, yours, expected = merge()
    path = f"/v1/docs/merges/{merge.__name__}"
    async with nobody_feels_it(server, CPU_S_MAX, 150_000_000) as client:
        assert await put(client, path, document, If_None_Match="*") == 201
        assert await patch(client, path, theirs) == 200
        assert await patch(client, path, yours, Plait_Base="1") in expected


ARRAYS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "reversed": lambda array: array[::-1],
    "shuffled": lambda array: random.Random(1).sample(array, len(array)),
    "every other one": lambda array: array[::2],
    "turned": lambda array: array[len(array) // 2 :] + array[: len(array) // 2],
}
ELEMENTS: dict[str, Callable[[int], Any]] = {
    "numbers": lambda n: n,
    "few numbers": lambda n: n % 7,
    "the same": lambda n: 0,
    "objects": lambda n: {"id": n, "v": [n % 3]},
}


@pytest.mark.parametrize("elements", ELEMENTS)
@pytest.mark.parametrize("arrays", ARRAYS)
async def test_a_long_array_put_in_another_order_is_compared_aside(
    server: Server, arrays: str, elements: str
) -> None:
    """Both put the whole document: one in another order, one with a few elements changed."""
    array = [ELEMENTS[elements](n) for n in range(MANY)]
    path = f"/v1/docs/arrays/{arrays}-{elements}".replace(" ", "-")
    async with nobody_feels_it(server, CPU_S_MAX, 150_000_000) as client:
        assert await put(client, path, array, If_None_Match="*") == 201
        assert await put(client, path, ARRAYS[arrays](array), Plait_Base="1") == 200
        yours = [*array[: MANY // 2], "yours", *array[MANY // 2 + 2 :]]
        assert await put(client, path, yours, Plait_Base="1") in (200, 409)


# Rules

SCHEMAS: dict[str, tuple[Any, Any]] = {
    "nested-repeats": ({"properties": {"s": {"pattern": "^(a+)+$"}}}, {"s": "a" * 900_000 + "!"}),
    "alternatives": ({"properties": {"s": {"pattern": "(a|aa|aaa)*b$"}}}, {"s": "a" * 500_000}),
    "unique-arrays": ({"properties": {"l": {"uniqueItems": True}}}, {"l": [[n] for n in range(90_000)]}),
    "unique-integers": (
        {"properties": {"l": {"uniqueItems": True}}},
        {"l": [10**900 + n for n in range(1_000)]},
    ),
    "contains": ({"properties": {"l": {"contains": {"const": -1}}}}, {"l": list(range(100_000))}),
    "names": (
        {"patternProperties": {f"^{'a' * n}": {"type": "string"} for n in range(1, 20)}},
        {"a" * n: 1 for n in range(1_000)},
    ),
    "recursion": (
        {
            "$defs": {"a": {"anyOf": [{"items": {"$ref": "#/$defs/a"}}, {"type": "string"}]}},
            "$ref": "#/$defs/a",
        },
        json.loads("[" * 60 + "]" * 60),
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
async def test_a_costly_schema_is_refused_or_bounded(server: Server, name: str) -> None:
    schema, document = SCHEMAS[name]
    async with nobody_feels_it(server, CPU_S_MAX, 150_000_000) as client:
        path = f"/v1/collections/{name}"
        assert await put(client, path, {"schema": schema}, If_None_Match="*") in (201, 422)
        body = compact(document)
        assert await status(client, "POST", f"/v1/docs/{name}", body, Content_Type=JSON) in (201, 422)


async def test_a_policy_of_many_rules_is_bounded(server: Server) -> None:
    """As many rules as fit, on a merge that asks all of them."""
    rules = [{"at": f"/*{'/*' * (n % 20)}/k{n}", "array": "set"} for n in range(2_000)]
    path = "/v1/docs/policed/1"
    async with nobody_feels_it(server, CPU_S_MAX) as client:
        policy = {"policy": {"rules": rules}}
        assert await put(client, "/v1/collections/policed", policy, If_None_Match="*") in (201, 413, 422)
        document = {f"k{n}": [n] for n in range(2_000)}
        assert await put(client, path, document, If_None_Match="*") == 201
        assert await patch(client, path, [replaced(f"/k{n}", [n, 1]) for n in range(2_000)]) == 200
        yours = [replaced(f"/k{n}", [n, 2]) for n in range(2_000)]
        assert await patch(client, path, yours, Plait_Base="1") in (200, 409)


# Much at once


async def test_a_batch_of_a_hundred_large_edits_is_bounded(server: Server) -> None:
    """Four megabytes: a hundred new documents at once, then a hundred that all conflict."""
    async with nobody_feels_it(server, CPU_S_MAX, 150_000_000) as client:
        values = [[n % 90 + 10] * 13_000 for n in range(100)]
        made = [{"document": f"large/{n}", "value": value, "create": True} for n, value in enumerate(values)]
        assert await batch(client, made) == 200
        moved = [
            {"document": f"large/{n}", "patch": [replaced(f"/{k}", 0) for k in range(100)]}
            for n in range(100)
        ]
        assert await batch(client, moved) == 200
        behind = [{**edit, "patch": [replaced(f"/{k}", 7) for k in range(100)], "base": 1} for edit in moved]
        assert await batch(client, behind) == 409
        assert await batch(client, [*moved, {"document": "large/100", "patch": []}]) == 413


async def batch(client: ClientSession, edits: list[dict[str, Any]]) -> int:
    return await status(client, "POST", "/v1/batch", compact({"edits": edits}), Content_Type=JSON)


async def test_deep_json_in_large_bodies_costs_what_flat_json_does(server: Server) -> None:
    column = b"[" * 900 + b"]" * 900
    body = b'{"edits":[' + b",".join([column] * 2_300) + b"]}"
    async with nobody_feels_it(server, CPU_S_MAX, 400_000_000) as client:
        for _ in range(2):
            assert await status(client, "POST", "/v1/batch", body, Content_Type=JSON) == 413


async def test_what_is_asked_of_history_is_bounded_by_what_it_is(server: Server) -> None:
    """The widest ranges there are, of a document of many revisions, by twenty at a time. Each revision made
    a copy of the whole array: kept all together they would be hundreds of megabytes."""
    path, revisions = "/v1/docs/history/1", 400
    async with nobody_feels_it(server, 3 * CPU_S_MAX, 150_000_000) as client:
        assert await put(client, path, {"l": [0] * 100_000}, If_None_Match="*") == 201
        for first in range(0, revisions, 20):
            edits = (patch(client, path, [replaced(f"/l/{first + n}", n + 1)]) for n in range(20))
            assert set(await asyncio.gather(*edits)) == {200}
        last = revisions + 1
        late = (patch(client, path, [replaced("/l/99999", n)], Plait_Base="2") for n in range(8))
        assert set(await asyncio.gather(*late)) == {200, 409}
        for below in (
            f"/diff?from=0&to={last}",
            f"/diff?from={last}&to=1",
            "/diff?from=1&to=999999999999999999",
            f"/blame?limit=500&revision={last}",
            "/revisions?limit=999999999",
            f"?revision={last // 2}",
            "?at=0001-01-01T00:00:00Z",
            "?at=9999-12-31T23:59:59Z",
        ):
            asked = (status(client, "GET", path + below, b"") for _ in range(20))
            assert set(await asyncio.gather(*asked)) <= {200, 400, 404}
        for taken_back in (
            {"from": 1, "through": 10**18},
            {"from": 2, "through": last, "dry_run": True},
            {"from": 2, "through": last},
            {"to": 1},
            {"revision": 10**18},
        ):
            body = compact(taken_back)
            assert await status(client, "POST", f"{path}/revert", body, Content_Type=JSON) < 500


async def test_what_is_kept_of_a_document_has_an_end(server: Server) -> None:
    """Labels, leases and queued edits: each is taken until there are as many as there may be."""
    path = "/v1/docs/kept/1"
    async with nobody_feels_it(server, 3 * CPU_S_MAX) as client:
        assert await put(client, path, {"n": 0, "l": [0] * 150}, If_None_Match="*") == 201
        labels = [await put(client, f"{path}/labels/l{n}", {"revision": 1}) for n in range(300)]
        assert labels.count(201) == 256
        assert set(labels[256:]) < {409, 413, 422, 429, 503}
        leases = [
            await status(
                client,
                "POST",
                f"{path}/locks",
                compact({"pointer": f"/l/{n}", "ttl_s": 1}),
                Content_Type=JSON,
            )
            for n in range(150)
        ]
        assert leases.count(201) >= 100
        assert set(leases) <= {201, 409, 413, 429, 503}
        queued: list[int] = []
        for first in range(0, 1_200, 100):
            edits = (
                patch(client, path, [replaced("/n", first + n)], Prefer="respond-async", Plait_Base="1")
                for n in range(100)
            )
            queued += await asyncio.gather(*edits)
        assert set(queued) <= {202, 503}


# Who only waits


async def test_those_who_wait_for_ever_cost_little(server: Server) -> None:
    """Hundreds of long polls, streams of events and sockets that follow, and never read."""
    async with nobody_feels_it(server, CPU_S_MAX) as client:
        assert await put(client, "/v1/docs/waited/1", {"n": 0}, If_None_Match="*") == 201
        stream = b"GET /v1/docs/waited/1/events HTTP/1.1\r\nHost: x\r\n\r\n"
        async with connected(server, WAITERS) as streams:
            await asyncio.gather(*(send(each, [stream]) for each in streams))
            polls = [
                asyncio.create_task(status(client, "GET", "/v1/changes?wait=60&limit=1", b""))
                for _ in range(WAITERS)
            ]
            sockets = [
                await client.ws_connect("/v1/live", protocols=["plait.v1.json"]) for _ in range(WAITERS // 4)
            ]
            for socket in sockets:
                await socket.send_str('{"t":"hello"}')
                await socket.send_str('{"t":"sub","id":1,"doc":"waited/1"}')
            for n in range(50):
                assert await patch(client, "/v1/docs/waited/1", [replaced("/n", str(n) * 500)]) == 200
            assert set(await asyncio.gather(*polls)) == {200}
            for socket in sockets:
                await socket.close()


async def test_edits_sent_one_after_another_without_waiting_are_answered_in_order(server: Server) -> None:
    """A thousand requests in one write."""
    async with nobody_feels_it(server, CPU_S_MAX) as client, connected(server) as (stream,):
        assert await put(client, "/v1/docs/piped/1", {"n": 0}, If_None_Match="*") == 201
        body = compact([{"op": "add", "path": "/n", "value": 1}, {"op": "add", "path": "/m", "value": None}])
        edits = b"".join(
            b"PATCH /v1/docs/piped/1 HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (JSON_PATCH.encode(), len(each), each)
            for each in (body.replace(b"null", b"%d" % n) for n in range(1_000))
        )
        sending = asyncio.create_task(send(stream, [edits]))
        revisions: list[int] = []
        while len(revisions) < 1_000:
            head = await stream[0].readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            revisions.append(json.loads(await stream[0].readexactly(length))["revision"])
        assert revisions == list(range(2, 1_002))
        await sending


# Small and odd


async def test_small_requests_that_are_refused_cost_little(server: Server) -> None:
    """Thousands of them; each is told why."""
    refused = [
        ("GET", "/v1/docs/kept/x?revision=" + "9" * 17, b"", 404),
        ("GET", "/nowhere", b"", 404),
        ("BREW", "/v1/docs/small/1", b"", 400),
        ("POST", "/v1/docs/small/1", b"", 405),
        ("PATCH", "/v1/docs/small/1", b"[", 400),
        ("PUT", "/v1/docs/small/1", b"{}", 428),
    ]
    async with nobody_feels_it(server, 2 * CPU_S_MAX) as client:
        for _ in range(10):
            for method, path, body, expected in refused:
                media_type = JSON_PATCH if method == "PATCH" else JSON
                told = await asyncio.gather(
                    *(status(client, method, path, body, Content_Type=media_type) for _ in range(50))
                )
                assert set(told) == {expected}, path


async def test_lists_of_thousands_of_tags_are_read_or_refused(server: Server) -> None:
    """As long as one header may be, as many headers as there may be, and longer."""
    path = "/v1/docs/tagged/1"
    async with nobody_feels_it(server, CPU_S_MAX) as client:
        assert await put(client, path, {}, If_None_Match="*") == 201
        fits = ", ".join(f'"{n}"' for n in range(2, 1_000))
        assert await put(client, path, {}, If_Match=fits) == 412
        assert await put(client, path, {}, If_Match=fits + ', "1"') == 200
        assert await put(client, path, {}, If_Match=", ".join(f'"{n}"' for n in range(MANY))) == 431
        assert await status(client, "GET", path, b"", If_None_Match='W/"' + "x" * 8_000 + '"') == 200
        assert await put(client, path, {}, If_Match='"' + ", " * 4_000) == 400
        headers = [("If-Match", fits), ("Content-Type", JSON)] + [("If-Match", fits)] * 7
        async with client.put(path, data=b"[]", headers=headers) as answer:
            assert answer.status == 412


async def test_a_cursor_of_another_list_leads_nowhere_bad(server: Server) -> None:
    async with nobody_feels_it(server, CPU_S_MAX) as client:
        for n in range(3):
            assert await put(client, f"/v1/docs/listed/{n}", {"a": 0, "b": 0}, If_None_Match="*") == 201
            assert await patch(client, f"/v1/docs/listed/{n}", [replaced("/a", 1)]) == 200
        lists = [
            "/v1/docs/listed?limit=1",
            "/v1/docs/listed/1/revisions?limit=1",
            "/v1/docs/listed/1/blame?limit=1",
            "/v1/docs/listed/2/blame?limit=1",
            "/v1/changes?limit=1",
        ]
        cursors = []
        for path in lists:
            async with client.get(path) as answer:
                assert answer.status == 200
                cursors.append((await answer.json())["cursor"])
        assert None not in cursors
        for path in (*lists, "/v1/docs/listed/1/conflicts?limit=1"):
            name = "since" if "changes" in path else "cursor"
            for cursor in (*cursors, cursors[1][:-1], cursors[4] + "0", "\x00", "x" * 2_000):
                asked = URL(path).update_query({name: cursor})
                assert await status(client, "GET", str(asked), b"") in (200, 400, 404, 410)


ODD_QUERIES = (
    *("%00", "a=%00", "%00=%ff", "limit=%00", "=", "%", "%zz", "[]={}", "&" * 8_000),
    *("x" * 8_000, "x" * 9_000, "a=1&" * 2_000, "limit=1&" * 1_000, "limit=" + "9" * 8_000),
)


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/docs/odd", "/v1/docs/odd/1", "/v1/changes", "/v1/live", "/healthz"]
)
async def test_an_odd_query_is_refused_or_ignored(server: Server, path: str) -> None:
    async with server.client() as client:
        for query in ODD_QUERIES:
            asked = URL(f"{server.url}{path}?{query}", encoded=True)
            async with client.get(asked) as answer:
                assert answer.status in (200, 400, 404, 431), query
                assert answer.status < 400 or answer.content_type == "application/problem+json"


async def test_what_is_compressed_is_not_unpacked(server: Server) -> None:
    """A hundred megabytes in a hundred kilobytes, in a body and in a frame."""
    bomb = gzip.compress(b" " * 100_000_000)
    async with nobody_feels_it(server, CPU_S_MAX) as client:
        for coding in ("gzip", "deflate", "gzip, gzip", "identity, gzip"):
            for method, path in (("PUT", "/v1/docs/odd/1"), ("POST", "/v1/batch")):
                told = await status(client, method, path, bomb, Content_Type=JSON, Content_Encoding=coding)
                assert told == 415
        async with client.ws_connect("/v1/live", protocols=["plait.v1.json"], compress=15) as websocket:
            assert websocket.compress == 0
