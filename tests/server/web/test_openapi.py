"""The OpenAPI document says everything the server does."""

import json
from typing import Any

import jsonschema_rs
import pytest
from aiohttp import ClientSession

from plait_server.web.openapi import describe, template
from plait_server.web.problems import PROBLEMS
from plait_server.web.routes import Route


@pytest.fixture
async def description(client: ClientSession) -> dict[str, Any]:
    """The document as served."""
    async with client.get("/openapi.json") as answer:
        assert answer.status == 200
        served: dict[str, Any] = await answer.json()
    return served


def operations(description: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, item in description["paths"].items()
        for method, operation in item.items()
    ]


async def test_it_is_openapi_3_1(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1")


async def test_no_route_is_missing(client: ClientSession, description: dict[str, Any]) -> None:
    """Every documented operation is served and OPTIONS, which lists what is served, knows no other."""
    for path, item in description["paths"].items():
        values = {"collection": "c", "id": "1", "revision": "1", "conflict": "c", "lock": "l", "label": "l"}
        named = path.format(**values, operation="0" * 26)
        async with client.options(named) as answer:
            served = set(answer.headers["Allow"].lower().replace(" ", "").split(","))
        assert served - {"options", "head"} == set(item)


async def test_no_problem_type_is_missing(description: dict[str, Any]) -> None:
    documented = {
        kind
        for _, _, operation in operations(description)
        for answer in operation["responses"].values()
        for schema in answer.get("content", {})
        .get("application/problem+json", {})
        .get("schema", {})
        .get("allOf", [])
        for kind in schema.get("properties", {}).get("type", {}).get("enum", [])
    }
    assert documented == {f"urn:plait:errors:{code}" for code in PROBLEMS}


async def test_every_status_of_a_problem_is_its_own(description: dict[str, Any]) -> None:
    for _, _, operation in operations(description):
        for status, answer in operation["responses"].items():
            for schema in (
                answer.get("content", {})
                .get("application/problem+json", {})
                .get("schema", {})
                .get("allOf", [])
            ):
                for kind in schema.get("properties", {}).get("type", {}).get("enum", []):
                    assert PROBLEMS[kind.rpartition(":")[2]].status == int(status)


async def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    written = json.dumps(description)
    for reference in written.split('"$ref": "')[1:]:
        at: Any = description
        for step in reference.partition('"')[0].removeprefix("#/").split("/"):
            at = at[step]


async def test_every_operation_has_a_name_of_its_own(description: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(description)]
    assert len(set(names)) == len(names)


async def test_a_query_parameter_is_required_where_nothing_is_answered_without_it(
    client: ClientSession, description: dict[str, Any]
) -> None:
    """Each is asked of what is not there, so whatever is missing in the query is the first thing wrong."""
    names = {
        "collection": "c",
        "id": "1",
        "revision": "1",
        "conflict": "c",
        "lock": "l",
        "operation": "0" * 26,
    }
    bare = set()
    for path, method, _ in operations(description):
        if method == "get":
            async with client.get(path.format(**names)) as answer:
                if answer.status == 400 and (await answer.json())["type"].endswith(":bad-query"):
                    bare.add(path)
    required = {
        path
        for path, _, operation in operations(description)
        if any(each["in"] == "query" and each.get("required") for each in operation["parameters"])
    }
    assert bare == required == {"/v1/docs/{collection}/{id}/diff"}


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/v1/docs/c/1/revert", "RevertBody"),
        ("/v1/docs/c/1/conflicts/c/resolution", "ResolutionBody"),
        ("/v1/batch", "BatchEdit"),
        ("/v1/collections/c", "Retention"),
    ],
)
async def test_a_body_that_says_nothing_is_neither_described_nor_taken(
    client: ClientSession, description: dict[str, Any], path: str, schema: str
) -> None:
    nothing: dict[str, Any] = {"document": "c/1"} if schema == "BatchEdit" else {}
    described = description["components"]["schemas"][schema]
    whole = {**described, "components": description["components"]}
    assert not jsonschema_rs.is_valid(whole, nothing)
    body = {"BatchEdit": {"edits": [nothing]}, "Retention": {"retention": nothing}}.get(schema, nothing)
    ask = client.put if schema == "Retention" else client.post
    async with ask(path, json=body) as answer:
        assert answer.status == 422, await answer.text()


async def test_the_base_of_problem_types_can_be_set(client: ClientSession) -> None:
    async def handler(request: Any) -> Any:
        raise NotImplementedError

    described = describe(
        [Route("GET", "/x/{id:[a-z]{1,3}}", handler, "X", {200: None})], "https://docs.example/e/"
    )
    assert '"https://docs.example/e/not-found"' in json.dumps(described)
    assert list(described["paths"]) == [template("/x/{id:[a-z]{1,3}}")] == ["/x/{id}"]
