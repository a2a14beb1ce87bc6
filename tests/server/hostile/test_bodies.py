"""A fuzzer of what is sent by HTTP: patches above all. What is refused changes nothing, what is taken does
what the answer says."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import ClientSession
from hypothesis import given, settings
from hypothesis import strategies as st

from plait_merge import apply
from server.faults.serving import Server
from server.hostile.oddities import (
    DOCUMENTS,
    START,
    bases,
    deep,
    documents,
    keys,
    mostly,
    numbers,
    patches,
    pointers,
    spoiled,
    texts,
    values,
)

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

PATCHES = 150
BODIES = 150
GROWTH_BYTES_MAX = 60_000_000

edits = st.fixed_dictionaries(
    {"patch": patches},
    optional={
        "base": bases.filter(bool),
        "merge": st.sampled_from(["auto", "strict", "theirs", "yours"]),
        "dry_run": st.booleans(),
        "message": st.just("m"),
    },
)
patchings = st.one_of(
    st.tuples(st.just("application/json-patch+json"), texts(spoiled(patches))),
    st.tuples(st.just("application/vnd.plait.edit+json"), texts(spoiled(edits))),
    st.tuples(
        st.just("application/merge-patch+json"), texts(spoiled(st.dictionaries(keys, values, max_size=3)))
    ),
)
revisions = st.integers(1, 12)
reverts = mostly(
    st.fixed_dictionaries({"revision": revisions}),
    st.fixed_dictionaries({"from": revisions, "through": revisions}),
    st.fixed_dictionaries({"to": revisions}),
    of=3,
)
batches = st.fixed_dictionaries(
    {
        "edits": st.lists(
            st.one_of(
                st.fixed_dictionaries(
                    {"document": documents, "patch": patches}, optional={"base": revisions}
                ),
                st.fixed_dictionaries({"document": documents, "value": values, "base": revisions}),
                st.fixed_dictionaries({"document": documents, "delete": st.just(True), "base": revisions}),
            ),
            min_size=1,
            max_size=3,
        )
    },
    optional={"dry_run": st.booleans(), "message": st.just("m")},
)
rules = st.fixed_dictionaries(
    {},
    optional={
        "merge": st.sampled_from(["auto", "strict", "theirs", "yours"]),
        "policy": st.fixed_dictionaries(
            {"rules": st.lists(st.fixed_dictionaries({"at": pointers, "array": st.just("set")}), max_size=2)}
        ),
        "schema": st.sampled_from(
            [
                None,
                True,
                {"type": "object"},
                {"$ref": "#"},
                {"$ref": "https://example.invalid/x"},
                {"pattern": "(a+)+$"},
                {"anyOf": [{"$ref": "#"}]},
                {"type": "nonsense"},
                deep(50),
            ]
        ),
        "retention": st.fixed_dictionaries({}, optional={"revisions": numbers, "days": numbers}),
    },
)
locks = st.fixed_dictionaries(
    {"pointer": pointers}, optional={"ttl_s": st.sampled_from([0.05, 1, 0, 1e9, 1e308])}
)
labels = st.fixed_dictionaries({"revision": revisions})
resolutions = st.fixed_dictionaries({}, optional={"choices": st.dictionaries(keys, values), "patch": patches})
ODD_HEADERS: tuple[tuple[str, str], ...] = (
    ("Plait-Base", "999999999999999999"),
    ("Plait-Base", '1; epoch="x"'),
    ("If-Match", ", ".join(f'"{n}"' for n in range(900))),
    ("If-None-Match", "*"),
    ("Idempotency-Key", "k"),
    ("Plait-Lock", "l;fence=1"),
    ("Prefer", "return=representation, return=minimal, respond-async, wait=1e9"),
    ("Prefer", "respond-async"),
    ("Plait-Author", "\u00fc" * 255),
    ("traceparent", "00-" + "0" * 32),
    ("Accept", "*/*;q=" + "1" * 300),
)


@pytest.fixture
def runner() -> Any:
    with asyncio.Runner() as runner:
        yield runner


def test_a_patch_does_what_the_answer_says_or_nothing(
    server: Server, runner: asyncio.Runner, tries: settings, rounds: int
) -> None:
    before_bytes, taken = server.memory_bytes(), [0]

    @settings(tries, max_examples=PATCHES * rounds)
    @given(documents, st.lists(patchings, min_size=1, max_size=4))
    def does_or_not(name: str, several: list[tuple[str, bytes]]) -> None:
        taken[0] += runner.run(_patched(server, name, several))

    does_or_not()
    assert taken[0] > PATCHES / 4
    assert server.memory_bytes() - before_bytes < GROWTH_BYTES_MAX


async def _patched(server: Server, name: str, several: list[tuple[str, bytes]]) -> int:
    """Send some patches one after another; count what is taken."""
    taken = 0
    async with server.client() as client:
        revision, value = await _read(client, name)
        for media_type, body in several:
            headers = {"Content-Type": media_type}
            async with client.patch(f"/v1/docs/{name}", data=body, headers=headers) as answer:
                told = json.loads(await answer.read())
                assert answer.status < 500, told
            if answer.status == 200 and told["outcome"] in ("applied", "merged"):
                taken += 1
                assert told["revision"] == revision + 1
                revision, value = told["revision"], apply(value, told["patch"])
            assert await _read(client, name) == (revision, value)
    return taken


async def _read(client: ClientSession, name: str) -> tuple[int, Any]:
    """Read a document, made where it is not there."""
    path = f"/v1/docs/{name}"
    async with client.get(path) as answer:
        if answer.status == 200:
            return int(answer.headers["Plait-Revision"]), await answer.json()
    async with client.put(path, json=START, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201
        return int(answer.headers["Plait-Revision"]), START


bodies = mostly(
    st.tuples(st.just("POST"), st.just("/v1/batch"), texts(spoiled(batches))),
    st.tuples(st.just("PUT"), st.just("/v1/collections/fuzz"), texts(spoiled(rules))),
    st.tuples(st.just("POST"), st.just("/v1/docs/{}/revert"), texts(spoiled(reverts))),
    st.tuples(st.just("POST"), st.just("/v1/docs/{}/locks"), texts(spoiled(locks))),
    st.tuples(st.just("PUT"), st.just("/v1/docs/{}/labels/l"), texts(spoiled(labels))),
    st.tuples(st.just("POST"), st.just("/v1/docs/{}/conflicts/c/resolution"), texts(spoiled(resolutions))),
    st.tuples(st.just("PUT"), st.just("/v1/docs/{}"), texts(spoiled(values))),
    st.tuples(st.just("POST"), st.just("/v1/docs/fuzz"), texts(spoiled(values))),
    of=9,
)


def test_no_body_makes_the_server_fail(
    server: Server, runner: asyncio.Runner, tries: settings, rounds: int
) -> None:
    """Batches, rules, reverts, leases, labels and whole documents, with odd headers now and then."""
    before_bytes = server.memory_bytes()
    headers = mostly(st.just(()), st.lists(st.sampled_from(ODD_HEADERS), max_size=2), of=3)

    @settings(tries, max_examples=BODIES * rounds)
    @given(documents, st.lists(st.tuples(bodies, headers), min_size=1, max_size=5))
    def does_not_fail(name: str, requests: list[Any]) -> None:
        runner.run(_sent(server, name, requests))

    does_not_fail()
    runner.run(_sent(server, DOCUMENTS[0], [(("PUT", "/v1/collections/fuzz", b"{}"), ())]))
    assert server.memory_bytes() - before_bytes < GROWTH_BYTES_MAX


async def _sent(server: Server, name: str, requests: list[Any]) -> None:
    async with server.client() as client:
        for (method, path, body), headers in requests:
            named = {"Content-Type": "application/json", **dict(headers)}
            async with client.request(method, path.format(name), data=body, headers=named) as answer:
                told = await answer.read()
            assert answer.status < 500, told
            if answer.status >= 400:
                assert answer.content_type == "application/problem+json"
                assert answer.headers["Plait-Should-Retry"] in ("true", "false")
        async with client.get("/healthz") as answer:
            assert answer.status == 200
