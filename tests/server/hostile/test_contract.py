"""The OpenAPI document as served, against the server that serves it: schemathesis invents the requests."""

from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from requests import Session
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import CHECKS, CheckFunction, load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok

from server.faults.serving import Server

EXAMPLES = 4
STORIES = 12
STEPS = 8
TIMEOUT_S = 20.0
ENDLESS = "get_docs_collection_id_events"
"""A stream of events ends when the client goes."""
UNCHECKED = {"positive_data_acceptance", "ignored_auth", "object_level_authorization", "max_response_time"}
"""A valid edit may be refused for what the document is; there is no access control yet."""


@pytest.fixture(scope="module")
def schema(server: Server) -> schemathesis.BaseSchema:
    """What the server says it does."""
    config = SchemathesisConfig.from_dict({})
    loaded = schemathesis.openapi.from_url(f"{server.url}/openapi.json", config=config)
    return loaded.exclude(operation_id=ENDLESS)


@pytest.fixture(scope="module")
def checks() -> list[CheckFunction]:
    load_all_checks()
    known = [check for check in CHECKS.get_all() if not isinstance(check, type)]
    return [*[check for check in known if check.__name__ not in UNCHECKED], is_told_as_it_should]


def is_told_as_it_should(context: Any, response: Response, case: Case[Any]) -> None:
    """A refusal is a problem document and says whether to try again; nothing says more than it should."""
    if response.status_code < 400:
        assert "problem" not in response.headers.get("content-type", [""])[0]
        return
    assert response.headers["plait-should-retry"][0] in ("true", "false")
    assert response.headers["cache-control"][0] == "no-store"
    assert response.headers["content-type"][0].startswith("application/problem+json")
    if case.method == "HEAD":
        return
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["type"].startswith("urn:plait:errors:")
    assert problem["request_id"] == response.headers["x-request-id"][0]
    assert "Traceback" not in response.text


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
def test_every_operation_keeps_to_its_description(
    schema: schemathesis.BaseSchema,
    checks: list[CheckFunction],
    tries: settings,
    rounds: int,
    mode: GenerationMode,
) -> None:
    """What fits the description, and what does not: answered as described, and never with a 5xx."""
    session = Session()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not has_input(operation):
            continue

        @settings(tries, max_examples=EXAMPLES * rounds)
        @given(case=operation.as_strategy(generation_mode=mode))
        def keeps_to_its_description(case: Case[Any]) -> None:
            case.call_and_validate(session=session, checks=checks, timeout=TIMEOUT_S)

        keeps_to_its_description()
    session.close()


def has_input(operation: schemathesis.APIOperation[Any, Any, Any, Any]) -> bool:
    described = operation.definition.raw
    return bool(described["parameters"]) or "requestBody" in described


def test_so_do_stories_that_follow_links(
    schema: schemathesis.BaseSchema, checks: list[CheckFunction], tries: settings, rounds: int
) -> None:
    """What was made is read, edited, leased, labelled, taken back and deleted, in any order."""
    session = Session()

    class Story(schema.as_state_machine()):  # type: ignore[misc]
        def before_call(self, case: Case[Any]) -> None:
            self.steps = getattr(self, "steps", 0) + 1
            if case.method != "GET" and self.steps % 3 == 0:
                case.headers["Prefer"] = "respond-async"

        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            return {"session": session, "timeout": TIMEOUT_S}

        def validate_response(self, response: Response, case: Case[Any], **others: Any) -> None:
            case.validate_response(response, checks=checks, recorder=self.recorder)

    Story.run(settings=settings(tries, max_examples=STORIES * rounds, stateful_step_count=STEPS))
    session.close()
