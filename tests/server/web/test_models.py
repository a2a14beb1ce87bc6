"""Every answer the server gives is as /openapi.json describes it, member by member."""

from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession
from pydantic import BaseModel

from plait_server.web.application import ROUTES
from plait_server.web.connections import Runner
from plait_server.web.models import refusals
from plait_server.web.openapi import template
from plait_server.web.routes import BLAME, CONFLICTS, DIFF, LABEL, LABELS, OPERATION, RESOLUTION, REVERT

DOC = "/v1/docs/orders/7"
PATCH = {"Content-Type": "application/json-patch+json"}
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
EDIT = {"Content-Type": "application/vnd.plait.edit+json"}
QUEUED = {"Prefer": "respond-async"}
LONG = "x" * 100_000


def replace(pointer: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": pointer, "value": value}


def check(model: type[BaseModel], body: Any) -> None:
    """Check that a model describes a body, and every member of it."""
    described = model.model_validate(body).model_dump(exclude_unset=True)
    assert described == body


class Walk:
    """Sends requests and checks each answer against what its route says about itself."""

    def __init__(self, client: ClientSession, runner: Runner) -> None:
        self._client = client
        self._routes = {(route.method, template(route.path)): route for route in runner.app[ROUTES]}
        self.left = {
            (*named, status)
            for named, route in self._routes.items()
            for status, model in route.answers.items()
            if model is not None
        }

    async def send(self, method: str, route: str, path: str, status: int, **request: Any) -> Any:
        async with self._client.request(method, path, **request) as answer:
            assert answer.status == status, await answer.text()
            body = await answer.json(content_type=None)
            if status >= 400:
                self._check_problem(method, route, answer, body)
            elif (model := self._routes[method, route].answers[status]) is not None:
                check(model, body)
                self.left.discard((method, route, status))
            return body

    def _check_problem(self, method: str, route: str, answer: ClientResponse, body: dict[str, Any]) -> None:
        code = body["type"].rpartition(":")[2]
        assert code in (*self._routes[method, route].problems, "not-found")
        described = self._routes[method, route].refusal
        if described is None or "edit" not in body.get("errors", [{}])[0]:
            described = refusals.ConflictProblem if code == "merge-conflict" else refusals.ProblemBody
        check(described, body)
        assert answer.content_type == "application/problem+json"


@pytest.fixture
def walk(client: ClientSession, runners: list[Runner]) -> Walk:
    return Walk(client, runners[0])


COLLECTION_ROUTE = "/v1/docs/{collection}"
DOCUMENT_ROUTE = "/v1/docs/{collection}/{id}"


async def test_every_answer_is_as_it_is_described(walk: Walk, client: ClientSession) -> None:
    """Through every route, with everything an answer may hold; no route with a body is left out."""
    send = walk.send
    new = {"If-None-Match": "*", "Plait-Author": "ann"}
    value = {"title": "A", "n": 1, "text": "a" + LONG, "list": [1, None, {"deep": [1.5, True]}]}
    await send("PUT", DOCUMENT_ROUTE, DOC, 201, json=value, headers=new)
    await send("PUT", DOCUMENT_ROUTE, DOC, 428, json=value)
    await send("POST", COLLECTION_ROUTE, "/v1/docs/orders", 201, json=10**30)
    theirs = {"patch": [replace("/title", "B"), replace("/text", "b" + LONG)], "message": "why", "base": 1}
    await send("PATCH", DOCUMENT_ROUTE, DOC, 200, json=theirs, headers={**EDIT, "Plait-Author": "bob"})
    full = {"Prefer": "return=representation"}
    noted = [replace("/n", 2), {"op": "copy", "from": "/title", "path": "/copy"}]
    headers = {**PATCH, **full, "Plait-Base": "1", "Idempotency-Key": "k"}
    merged = [await send("PATCH", DOCUMENT_ROUTE, DOC, 200, json=noted, headers=headers) for _ in range(2)]
    assert merged[0] == merged[1]
    assert [note["note"] for note in merged[0]["notes"]] == ["stale_copy"]
    await send("PUT", DOCUMENT_ROUTE, DOC, 200, json={}, headers={"If-Match": '"3"', **full})
    await send("PUT", DOCUMENT_ROUTE, DOC, 200, json=value, headers={"If-Match": '"4"'})
    await send("PATCH", DOCUMENT_ROUTE, DOC, 200, json=theirs | {"base": 5}, headers=EDIT)

    yours = [replace("/title", "C"), replace("/text", "c"), {"op": "remove", "path": "/list/0"}]
    headers = {**PATCH, "Plait-Base": "5"}
    conflict = await send("PATCH", DOCUMENT_ROUTE, DOC, 409, json=yours, headers=headers)
    assert [part["base"].get("truncated", False) for part in conflict["conflicts"]] == [True, False]
    for side in ("base", "theirs"):
        async with client.get(conflict["conflicts"][0][side]["link"]) as answer:
            assert LONG in await answer.json()
    assert None in conflict["conflicts"][0]["resolutions"].values()
    removal = await send("DELETE", DOCUMENT_ROUTE, DOC, 409, headers={"Plait-Base": "5"})
    assert removal["conflicts"][0]["yours"] == {"present": False}
    guarded = [{"op": "test", "path": "/title", "value": "A"}, replace("/n", 5)]
    await send("PATCH", DOCUMENT_ROUTE, DOC, 409, json=guarded, headers=headers)

    await send("GET", template(CONFLICTS), f"{DOC}/conflicts", 200)
    await send("GET", template(CONFLICTS), f"{DOC}/conflicts", 200, params={"limit": "1"})
    kept = conflict["instance"]
    await send("GET", template(CONFLICTS) + "/{conflict}", kept, 200)
    choices = {"choices": {part["id"]: "yours" for part in conflict["conflicts"]}}
    settle = template(RESOLUTION)
    await send("POST", settle, f"{kept}/resolution", 422, json={})
    settled = await send("POST", settle, f"{kept}/resolution", 200, json=choices)
    assert kept.endswith(settled["settled"])
    await send("POST", settle, f"{kept}/resolution", 409, json=choices)
    await send("GET", template(CONFLICTS) + "/{conflict}", kept, 200)

    for patch, status in (
        ([{"op": "remove", "path": "/list/9"}], 422),
        ([{"op": "test", "path": "/n", "value": 0}], 409),
        ([{"op": "remove"}], 400),
        ({}, 400),
    ):
        await send("PATCH", DOCUMENT_ROUTE, DOC, status, json=patch, headers=PATCH)
    await send("PATCH", DOCUMENT_ROUTE, DOC, 412, json=[], headers={**PATCH, "If-Match": '"1"'})
    await send("PATCH", DOCUMENT_ROUTE, DOC, 400, json={"patch": 1, "x": 1}, headers=EDIT)
    await send("GET", COLLECTION_ROUTE, "/v1/docs/orders", 200, params={"limit": "1"})
    rules, there = "/v1/collections/{collection}", "/v1/collections/orders"
    await send("GET", rules, there, 200)
    await send("PUT", rules, there, 428, json={})
    await send("PUT", rules, there, 422, json={"schema": 1}, headers={"If-None-Match": "*"})
    settings = {"policy": {"rules": {"/n": {"scalar": "sum"}}}, "schema": {"not": {"required": ["x", "y"]}}}
    await send("PUT", rules, there, 201, json=settings, headers={"If-None-Match": "*"})
    await send("PUT", rules, there, 200, json={**settings, "merge": "auto"}, headers={"If-Match": '"1"'})
    await send("PATCH", DOCUMENT_ROUTE, DOC, 422, json={"x": 1, "y": 1}, headers=MERGE_PATCH)
    before = await client.head(DOC)
    seen = {**PATCH, "Plait-Base": before.headers["Plait-Revision"]}
    for name, status in (("x", 200), ("y", 409)):
        added = [{"op": "add", "path": f"/{name}", "value": 1}]
        await send("PATCH", DOCUMENT_ROUTE, DOC, status, json=added, headers=seen)
    summed = await send("PATCH", DOCUMENT_ROUTE, DOC, 200, json=[replace("/n", 9)], headers=seen)
    for number in (summed["revision"], summed["revision"] - 1):
        await send("GET", f"{DOCUMENT_ROUTE}/revisions/{{revision}}", f"{DOC}/revisions/{number}", 200)
    await send("GET", f"{DOCUMENT_ROUTE}/revisions", f"{DOC}/revisions", 200)
    for number in range(1, 8):
        await send("GET", f"{DOCUMENT_ROUTE}/revisions/{{revision}}", f"{DOC}/revisions/{number}", 200)
    await send("GET", f"{DOCUMENT_ROUTE}/revisions/{{revision}}", f"{DOC}/revisions/99", 404)
    edits = [
        {"document": "orders/8", "value": {}, "create": True},
        {"document": "orders/7", "patch": noted, "base": 3},
    ]
    await send("POST", "/v1/batch", "/v1/batch", 200, json={"edits": edits})
    edits[0] = {"document": "orders/8", "delete": True, "base": 1}
    await send("POST", "/v1/batch", "/v1/batch", 200, json={"edits": edits})
    await send("POST", "/v1/batch", "/v1/batch", 410, json={"edits": [{"document": "orders/8", "patch": []}]})
    late = [{"document": "orders/7", "patch": [replace("/title", "late")], "base": 1}]
    await send("POST", "/v1/batch", "/v1/batch", 409, json={"edits": late})
    await send("POST", "/v1/batch", "/v1/batch", 422, json={"edits": [*late, *late]})
    label = template(LABEL)
    await send(
        "PUT", label, f"{DOC}/labels/first", 201, json={"revision": 1}, headers={"Plait-Author": "ann"}
    )
    await send("PUT", label, f"{DOC}/labels/first", 200, json={"revision": 2})
    await send("PUT", label, f"{DOC}/labels/first", 422, json={"revision": 0})
    await send("GET", template(LABELS), f"{DOC}/labels", 200)
    await send("GET", f"{DOCUMENT_ROUTE}/revisions/{{revision}}", f"{DOC}/revisions/2", 200)
    await send("GET", template(BLAME), f"{DOC}/blame", 200, params={"limit": "2"})
    await send("GET", template(DIFF), f"{DOC}/diff?from=1&to=2", 200)
    await send("GET", template(DIFF), f"{DOC}/diff?from=1&to=2", 406, headers={"Accept": "text/html"})
    reverted = await send("POST", template(REVERT), f"{DOC}/revert", 200, json={"to": 5})
    await send("POST", template(REVERT), f"{DOC}/revert", 409, json={"revision": 2})
    await send("POST", template(REVERT), f"{DOC}/revert", 422, json={"revision": 1})
    await client.delete(DOC, headers={"Plait-Base": str(reverted["revision"])})
    await send("GET", template(BLAME), f"{DOC}/blame", 410)
    await send("POST", template(REVERT), f"{DOC}/revert", 201, json={"to": 5}, headers=full)
    changes = await send("GET", "/v1/changes", "/v1/changes", 200, params={"limit": "3"})
    assert len(changes["changes"]) == 3
    await send("GET", "/v1/changes", "/v1/changes", 400, params={"since": "?"})
    await send("POST", "/v1/tickets", "/v1/tickets", 201)
    locks = f"{DOCUMENT_ROUTE}/locks"
    await send("POST", locks, f"{DOC}/locks", 422, json={"pointer": 7})
    lease = await send("POST", locks, f"{DOC}/locks", 201, json={"pointer": "/list"})
    await send("POST", locks, f"{DOC}/locks", 423, json={"pointer": ""})
    await send("DELETE", DOCUMENT_ROUTE, DOC, 423, headers={"If-Match": "*"})
    named, there = f"{locks}/{{lock}}", f"{DOC}/locks/{lease['lock']}"
    await send("GET", locks, f"{DOC}/locks", 200)
    await send("GET", locks, f"{DOC}/locks", 200, headers={"Plait-Author": "bob"})
    await send("GET", named, there, 200)
    await send("PUT", named, there, 200, json={"fence": lease["fence"]})
    await send("PUT", named, there, 409, json={"fence": lease["fence"] + 1})
    await send("DELETE", named, there, 428)
    await send("DELETE", named, there, 204, params={"fence": str(lease["fence"])})
    for queued in (
        await send("PUT", DOCUMENT_ROUTE, "/v1/docs/orders/8", 202, json=value, headers=new | QUEUED),
        await send("POST", COLLECTION_ROUTE, "/v1/docs/orders", 202, json=1, headers=QUEUED),
        await send("PATCH", DOCUMENT_ROUTE, DOC, 202, json=[replace("/n", 9)], headers=PATCH | QUEUED),
        await send("PATCH", DOCUMENT_ROUTE, DOC, 202, json=yours, headers=headers | QUEUED),
        await send("POST", template(REVERT), f"{DOC}/revert", 202, json={"revision": 2}, headers=QUEUED),
        await send("DELETE", DOCUMENT_ROUTE, DOC, 202, headers={"If-Match": '"1"'} | QUEUED),
        await send("DELETE", DOCUMENT_ROUTE, DOC, 202, headers={"If-Match": "*"} | QUEUED),
    ):
        there = f"/v1/operations/{queued['operation']}"
        await send("GET", template(OPERATION), there, 200, params={"wait": "10"})
    for path in ("/v1", "/healthz", "/readyz"):
        await send("GET", path, path, 200)
    assert walk.left == set()
