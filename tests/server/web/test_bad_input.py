"""Bad input of every kind: a clear 4xx problem, nothing changed, never a 500."""

import json
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession
from yarl import URL

from address import address_of
from plait_server.web.health import PUBLISHED_LIMITS

Serve = Callable[..., Awaitable[ClientSession]]

DOC = "/v1/docs/orders/7"
VALUE = {"list": [1, 2, 3], "n": 1, "s": "x"}
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
EDIT = "application/vnd.plait.edit+json"


@pytest.fixture
async def client(client: ClientSession) -> ClientSession:
    """A client of a server that has one document, at revision 1."""
    async with client.put(DOC, json=VALUE, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    return client


def as_it_is(client: ClientSession, path: str) -> URL:
    """Make a URL of a path that is sent as it is written here."""
    host, port = address_of(client)
    return URL(f"http://{host}:{port}{path}", encoded=True)


async def refused(client: ClientSession, answer: ClientResponse, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is this problem, whole, and that the document is as it was."""
    problem: dict[str, Any] = await answer.json(content_type="application/problem+json")
    assert (answer.status, problem["type"]) == (status, f"urn:plait:errors:{code}")
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Plait-Should-Retry"] == "false"
    assert "Traceback" not in json.dumps(problem)
    assert is_a_sentence(problem["detail"]), problem["detail"]
    assert all(is_a_sentence(cause["detail"]) for cause in problem.get("errors", []))
    if code == "too-large":
        assert f"{problem['limit']}_max" in PUBLISHED_LIMITS
        assert str(problem["maximum"]) in problem["detail"]
    async with client.get(DOC) as read:
        assert (read.headers["ETag"], await read.json()) == ('"1"', VALUE)
    return problem


def is_a_sentence(detail: str) -> bool:
    return detail[0].isupper() and detail.endswith(".") and " None" not in detail


async def patch(
    client: ClientSession, body: bytes, media_type: str = JSON_PATCH, **headers: str
) -> ClientResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.patch(DOC, data=BytesIO(body), headers={"Content-Type": media_type, **named})


def add(value: bytes) -> bytes:
    return b'[{"op":"add","path":"/x","value":' + value + b"}]"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"NaN",
        add(b"NaN"),
        add(b"Infinity"),
        add(b'"\\ud800"'),
        add(b'"\xff"'),
        b"\x00",
        b"\xef\xbb\xbf[]",
    ],
)
@pytest.mark.parametrize("media_type", [JSON_PATCH, MERGE_PATCH, EDIT])
async def test_what_is_not_json_is_400(client: ClientSession, media_type: str, body: bytes) -> None:
    await refused(client, await patch(client, body, media_type), 400, "malformed-json")


@pytest.mark.parametrize("body", [b"{", b"NaN", b'"\\udfff"'])
async def test_a_document_that_is_not_json_is_400(client: ClientSession, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "If-Match": '"1"'}
    await refused(client, await client.put(DOC, data=body, headers=headers), 400, "malformed-json")


@pytest.mark.parametrize("value", [b"1e400", b"-1e400", b'{"a":1,"a":2}'])
async def test_what_no_document_may_hold_is_422(client: ClientSession, value: bytes) -> None:
    await refused(client, await patch(client, add(value)), 422, "invalid-value")
    headers = {"Content-Type": "application/json", "If-Match": '"1"'}
    await refused(client, await client.put(DOC, data=value, headers=headers), 422, "invalid-value")


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        (b"[" * 10_000 + b"]" * 10_000, "depth"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "depth"),
        (b"[" * 64 + b"]" * 64, "depth"),
        (b"9" * 1_001, "integer_digits"),
    ],
)
async def test_a_value_over_a_limit_is_413_and_names_it(
    client: ClientSession, value: bytes, limit: str
) -> None:
    problem = await refused(client, await patch(client, add(value)), 413, "too-large")
    assert problem["limit"] == limit


@pytest.mark.parametrize("levels", [65, 66, 68, 1_000])
async def test_a_depth_is_refused_by_the_limit_of_the_document_not_of_the_body(
    client: ClientSession, levels: int
) -> None:
    deep = b"[" * levels + b"]" * levels
    for answer in (
        await patch(client, add(deep)),
        await patch(client, b'{"patch":' + add(deep) + b"}", EDIT),
        await patch(client, b'{"x":' + deep + b"}", MERGE_PATCH),
        await client.put(DOC, data=deep, headers={"Content-Type": "application/json", "If-Match": '"1"'}),
    ):
        problem = await refused(client, answer, 413, "too-large")
        assert (problem["limit"], problem["maximum"]) == ("depth", 64)


async def test_integers_of_thirty_digits_stay_exact(client: ClientSession) -> None:
    digits = b"123456789012345678901234567890"
    assert (await patch(client, add(b"[" + digits + b",-" + digits + b"]"))).status == 200
    async with client.get(DOC, params={"pointer": "/x"}) as read:
        assert await read.read() == b"[" + digits + b",-" + digits + b"]"


@pytest.mark.parametrize(
    "operation",
    [
        1,
        None,
        "add",
        [],
        {},
        {"op": "add"},
        {"op": "add", "path": "/x"},
        {"op": "add", "value": 1},
        {"op": "add", "path": 1, "value": 1},
        {"op": "add", "path": None, "value": 1},
        {"op": "add", "path": ["x"], "value": 1},
        {"op": "add", "path": "x", "value": 1},
        {"op": "add", "path": "/~2", "value": 1},
        {"op": "add", "path": "/~", "value": 1},
        {"op": 1, "path": "/x", "value": 1},
        {"op": None, "path": "/x", "value": 1},
        {"op": "ADD", "path": "/x", "value": 1},
        {"op": ["add"], "path": "/x", "value": 1},
        {"op": "move", "path": "/x"},
        {"op": "move", "path": "/x", "from": 1},
        {"op": "copy", "path": "/x", "from": "n"},
        {"path": "/x", "value": 1},
    ],
)
async def test_what_is_no_operation_is_400(client: ClientSession, operation: Any) -> None:
    body = json.dumps([operation]).encode()
    await refused(client, await patch(client, body), 400, "malformed-patch")
    body = json.dumps({"patch": [operation]}).encode()
    await refused(client, await patch(client, body, EDIT), 400, "malformed-patch")


@pytest.mark.parametrize("body", [b"{}", b"1", b"null", b'"x"', b"true"])
async def test_a_patch_that_is_no_list_is_400(client: ClientSession, body: bytes) -> None:
    await refused(client, await patch(client, body), 400, "malformed-patch")


@pytest.mark.parametrize(
    "pointer",
    [
        "/list/01",
        "/list/-1",
        "/list/1e3",
        "/list/1_0",
        "/list/\u0661",
        "/list/4",
        "/list/99999999999",
        "/n/0",
        "/s/0",
    ],
)
@pytest.mark.parametrize("op", ["add", "replace", "remove", "test"])
async def test_a_pointer_to_nowhere_is_422(client: ClientSession, op: str, pointer: str) -> None:
    body = json.dumps([{"op": op, "path": pointer, "value": 1}]).encode()
    problem = await refused(client, await patch(client, body), 422, "patch-inapplicable")
    assert problem["operation"] == 0


async def test_what_cannot_be_counted_is_refused(client: ClientSession) -> None:
    for target, value, status, code in (
        ("/s", b"1", 422, "patch-inapplicable"),
        ("/list/-", b"1", 422, "patch-inapplicable"),
        ("", b"1", 422, "patch-inapplicable"),
        ("/n", b"true", 400, "malformed-patch"),
        ("/n", b"1e999", 422, "invalid-value"),
    ):
        body = b'{"patch":[{"op":"inc","path":"%b","value":%b}]}' % (target.encode(), value)
        await refused(client, await patch(client, body, EDIT), status, code)


async def test_removing_the_root_is_422(client: ClientSession) -> None:
    answer = await patch(client, b'[{"op":"remove","path":""}]')
    await refused(client, answer, 422, "patch-inapplicable")


async def test_a_hundred_thousand_operations_are_refused(serve: Serve) -> None:
    client = await serve(patch_bytes_max=8_000_000)
    async with client.put(DOC, json=VALUE, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    body = b"[" + b",".join([b'{"op":"test","path":"/n","value":1}'] * 100_000) + b"]"
    problem = await refused(client, await patch(client, body), 413, "too-large")
    assert problem["limit"] == "operations"


async def test_a_copy_bomb_is_refused(client: ClientSession) -> None:
    bomb = [{"op": "add", "path": "/x", "value": ["x" * 1_000]}]
    bomb += [{"op": "copy", "from": "/x", "path": "/x/-"}] * 30
    problem = await refused(client, await patch(client, json.dumps(bomb).encode()), 413, "too-large")
    assert problem["limit"] == "copied_bytes"


async def test_a_pointer_over_its_limit_is_refused(client: ClientSession) -> None:
    body = json.dumps([{"op": "add", "path": "/" + "x" * 5_000, "value": 1}]).encode()
    problem = await refused(client, await patch(client, body), 413, "too-large")
    assert problem["limit"] == "pointer_bytes"


async def test_a_body_over_its_limit_is_refused(client: ClientSession) -> None:
    answer = await patch(client, add(b'"' + b"x" * 262_144 + b'"'))
    problem = await refused(client, answer, 413, "too-large")
    assert (problem["limit"], problem["maximum"]) == ("patch_bytes", 262_144)
    headers = {"Content-Type": "application/json", "If-Match": '"1"'}
    answer = await client.put(DOC, data=BytesIO(b'"' + b"x" * 1_048_576 + b'"'), headers=headers)
    problem = await refused(client, answer, 413, "too-large")
    assert (problem["limit"], problem["maximum"]) == ("document_bytes", 1_048_576)


async def test_a_document_does_not_grow_past_its_limit_by_patches(serve: Serve) -> None:
    client = await serve(document_bytes_max=1_000)
    async with client.put(DOC, json=VALUE, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    await refused(client, await patch(client, add(b'"' + b"x" * 2_000 + b'"')), 413, "too-large")


@pytest.mark.parametrize(
    "media_type", ["application/json", "text/plain", "", "application/json-patch", "*/*", ";;;"]
)
async def test_an_unknown_kind_of_patch_is_415_and_says_what_is_known(
    client: ClientSession, media_type: str
) -> None:
    answer = await patch(client, b"[]", media_type)
    await refused(client, answer, 415, "unsupported-patch")
    assert answer.headers["Accept-Patch"] == ", ".join([JSON_PATCH, MERGE_PATCH, EDIT])


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON"])
async def test_parameters_and_case_of_a_media_type_do_not_matter(
    client: ClientSession, media_type: str
) -> None:
    headers = {"Content-Type": media_type, "If-Match": '"1"'}
    assert (await client.put(DOC, data=b"{}", headers=headers)).status == 200


async def test_a_document_of_another_media_type_is_415(client: ClientSession) -> None:
    headers = {"Content-Type": "text/yaml", "If-Match": '"1"'}
    await refused(client, await client.put(DOC, data=b"{}", headers=headers), 415, "unsupported-media-type")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "nonsense"])
async def test_a_coded_body_is_415(client: ClientSession, coding: str) -> None:
    """A small one may unpack to anything."""
    answer = await patch(client, b"[]", Content_Encoding=coding)
    await refused(client, answer, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Plait-Base", "x"),
        ("Plait-Base", "-1"),
        ("Plait-Base", "1, 2"),
        ("If-Match", "1"),
        ("If-Match", '"1'),
        ("If-Match", "*, *"),
        ("If-None-Match", "x"),
        ("If-None-Match", '"1"'),
        ("Idempotency-Key", '""'),
        ("Idempotency-Key", "x" * 256),
        ("Idempotency-Key", "a b"),
        ("Idempotency-Key", "\u00e9"),
        ("Plait-Author", ""),
        ("Plait-Author", "x" * 256),
        ("Authorization", "Bearer nonsense"),
        ("Authorization", "Bearer a.b.c"),
        ("Authorization", "Bearer e30.e30.x"),
    ],
)
async def test_an_odd_header_is_400_and_named(client: ClientSession, name: str, value: str) -> None:
    answer = await client.patch(DOC, data=b"[]", headers={"Content-Type": JSON_PATCH, name: value})
    problem = await refused(client, answer, 400, "bad-header")
    assert problem["header"] == name


@pytest.mark.parametrize("name", ["Plait-Base", "Idempotency-Key", "Plait-Author"])
async def test_a_header_given_twice_is_400(client: ClientSession, name: str) -> None:
    headers = [("Content-Type", JSON_PATCH), (name, "1"), (name, "2")]
    answer = await client.patch(DOC, data=b"[]", headers=headers)
    await refused(client, answer, 400, "bad-header")


@pytest.mark.parametrize("given", ["", "x" * 200, "a b", "<script>"])
async def test_an_odd_request_id_is_replaced_and_a_sane_one_kept(client: ClientSession, given: str) -> None:
    async with client.get(DOC, headers={"X-Request-Id": given}) as answer:
        assert answer.headers["X-Request-Id"] not in ("", given)
    async with client.get(DOC, headers={"X-Request-Id": "ab-12"}) as answer:
        assert answer.headers["X-Request-Id"] == "ab-12"


@pytest.mark.parametrize(
    "edit",
    [
        {},
        {"patch": {}},
        {"patch": None},
        {"patch": [], "base": "1"},
        {"patch": [], "base": 1.5},
        {"patch": [], "base": True},
        {"patch": [], "base": -1},
        {"patch": [], "base": 10**30},
        {"patch": [], "merge": "force"},
        {"patch": [], "merge": None},
        {"patch": [], "dry_run": 1},
        {"patch": [], "message": ["x"]},
        {"patch": [], "resolves": 7},
        {"patch": [], "author": "somebody else"},
        {"patch": [], "revision": 9},
    ],
)
async def test_an_edit_with_odd_members_is_400_and_says_which(client: ClientSession, edit: Any) -> None:
    answer = await patch(client, json.dumps(edit).encode(), EDIT)
    problem = await refused(client, answer, 400, "malformed-patch")
    assert problem["errors"][0]["pointer"].startswith("#/")


async def test_a_message_over_its_limit_is_refused(client: ClientSession) -> None:
    for message in ("\u20ac" * 2_000, "x" * 4_097):
        edit = {"patch": [], "message": message}
        answer = await patch(client, json.dumps(edit).encode(), EDIT)
        problem = await refused(client, answer, 413, "too-large")
        assert (problem["limit"], problem["maximum"]) == ("message_bytes", 4_096)


async def test_how_long_a_message_may_be_is_a_setting(serve: Serve) -> None:
    client = await serve(message_bytes_max=10_000)
    async with client.put(DOC, json=VALUE, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
    edit = {"patch": json.loads(add(b"1")), "message": "x" * 10_000}
    assert (await patch(client, json.dumps(edit).encode(), EDIT)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/docs/Orders/7",
        "/v1/docs/7orders/7",
        "/v1/docs/orders/a%2Fb",
        "/v1/docs/orders/a%00b",
        "/v1/docs/orders/%ff",
        "/v1/docs/orders/%ED%A0%80",
        "/v1/docs/orders/a%20b",
        "/v1/docs/orders/%2e%2e",
        "/v1/docs/orders/%D9%A1",
        "/v1/docs/orders/" + "x" * 129,
        "/v1/docs/" + "x" * 64 + "/7",
        "/v1/docs//7",
        "/v1/docs/orders/",
        "/v1/docs/orders/7/",
        "/v1/docs/orders/7/revisions/0",
        "/v1/docs/orders/7/revisions/01",
        "/v1/docs/orders/7/revisions/-1",
        "/v1/docs/orders/7/revisions/1_0",
        "/v1/docs/orders/7/revisions/%31%00",
        "/v1/docs/orders/7/conflicts/%2e",
        "/v1/docs/orders/7/nothing",
        "/v1/docs/orders/7/watchers",
        "/v2",
        "/",
        "//v1",
        "/../v1",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "POST"])
async def test_a_path_that_names_nothing_is_404(client: ClientSession, method: str, path: str) -> None:
    answer = await client.request(method, as_it_is(client, path))
    await refused(client, answer, 404, "not-found")


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/", "GET /v1"),
        ("/v2", "GET /v1"),
        ("/v1/docs/orders/7/nothing", "/openapi.json"),
        ("/v1/docs/Orders/7", "collection"),
        ("/v1/docs/%4frders", "collection"),
        ("/v1/docs/" + "x" * 64, "collection"),
        ("/v1/docs/orders/a%20b", "128"),
        ("/v1/docs/orders/a%2Fb", "128"),
        ("/v1/docs/orders/" + "x" * 129, "128"),
        ("/v1/docs/orders/", "128"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_path_that_names_nothing_says_what_a_name_may_be(
    client: ClientSession, method: str, path: str, word: str
) -> None:
    answer = await client.request(method, as_it_is(client, path))
    assert word in (await refused(client, answer, 404, "not-found"))["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "?revision=0",
        "?revision=x",
        "?revision=1_0",
        "?revision=%D9%A1",
        "?revision=",
        "?at=now",
        "?revision=1&revision=1",
        "?pointer=n",
        "?pointer=%ff",
    ],
)
async def test_an_odd_query_of_a_document_is_400(client: ClientSession, query: str) -> None:
    await refused(client, await client.get(as_it_is(client, f"{DOC}{query}")), 400, "bad-query")


@pytest.mark.parametrize(
    "query",
    [
        "?limit=0",
        "?limit=-1",
        "?limit=x",
        "?limit=1e3",
        "?cursor=",
        "?cursor=%00",
        "?cursor=" + "x" * 3_000,
        "?offset=1",
    ],
)
@pytest.mark.parametrize("path", ["/v1/docs/orders", f"{DOC}/revisions", f"{DOC}/conflicts"])
async def test_an_odd_query_of_a_list_is_400(client: ClientSession, path: str, query: str) -> None:
    await refused(client, await client.get(as_it_is(client, f"{path}{query}")), 400, "bad-query")


@pytest.mark.parametrize("cursor", ["nonsense", "AAAA", "-1", "9" * 400])
@pytest.mark.parametrize("path", ["/v1/docs/orders", f"{DOC}/revisions", f"{DOC}/conflicts"])
async def test_a_made_up_cursor_never_fails_the_server(client: ClientSession, path: str, cursor: str) -> None:
    async with client.get(path, params={"cursor": cursor}) as answer:
        assert answer.status in (200, 400)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", DOC, {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"}),
        ("PUT", "/v1/docs/orders", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("DELETE", f"{DOC}/revisions/1", {"GET", "HEAD", "OPTIONS"}),
        ("LOCK", DOC, {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"}),
    ],
)
async def test_a_method_that_is_not_there_is_405_and_says_which_are(
    client: ClientSession, method: str, path: str, allowed: set[str]
) -> None:
    answer = await client.request(method, path)
    await refused(client, answer, 405, "method-not-allowed")
    assert set(answer.headers["Allow"].replace(" ", "").split(",")) == allowed


async def test_a_deep_value_cannot_be_built_step_by_step(client: ClientSession) -> None:
    """Each patch is shallow; only the document would become deep."""
    pointer, refusal = "/x", None
    assert (await patch(client, add(b"[]"))).status == 200
    for _ in range(80):
        pointer += "/0"
        body = json.dumps([{"op": "add", "path": pointer, "value": []}]).encode()
        answer = await patch(client, body)
        if answer.status != 200:
            refusal = (answer.status, (await answer.json(content_type=None))["limit"])
            break
    assert refusal == (413, "depth")
