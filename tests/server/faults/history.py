"""What must be true of every document, whatever happened to the server: one check, read over HTTP."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jsonpatch
from aiohttp import ClientSession

TOKEN = re.compile(r"edit-[0-9a-f]{16}")
"""What names one edit: a string among the values it writes, or its message."""


@dataclass(frozen=True, slots=True)
class History:
    """A document that passed: its head, and the revision in which each token stands."""

    head: int
    value: Any
    tokens: Mapping[str, int]


async def check_history(
    client: ClientSession,
    document: str,
    acknowledged: Mapping[str, int],
    unknown: Collection[str] = (),
) -> History:
    """Read the whole history of a document (`orders/7`) and check it against what clients were told.

    Revisions have no gap; the head, and some revisions on the way, equal the fold of the patches as
    another library applies them; every acknowledged token stands in its revision and nowhere else, an
    unknown one stands once or not at all, and nothing else is there.
    """
    revisions = await _revisions(client, document)
    numbers = [revision["revision"] for revision in revisions]
    assert numbers == list(range(1, len(numbers) + 1)), f"{document} has gaps"
    await _check_fold(client, document, revisions)
    tokens = _tokens(document, revisions)
    for token, revision in acknowledged.items():
        assert tokens.get(token) == revision, f"{token} was acknowledged at {revision} of {document}"
    strange = tokens.keys() - acknowledged.keys() - set(unknown)
    assert not strange, f"nobody was told of {strange} in {document}"
    async with client.get(f"/v1/docs/{document}") as answer:
        assert answer.headers["ETag"] == f'"{len(numbers)}"'
        return History(len(numbers), await answer.json(), tokens)


async def _revisions(client: ClientSession, document: str) -> list[dict[str, Any]]:
    """Read all revisions, oldest first."""
    revisions: list[dict[str, Any]] = []
    parameters = {"limit": "500"}
    while True:
        async with client.get(f"/v1/docs/{document}/revisions", params=parameters) as answer:
            assert answer.status == 200, await answer.text()
            page = await answer.json()
        revisions += page["revisions"]
        if page["cursor"] is None:
            return revisions[::-1]
        parameters["cursor"] = page["cursor"]


async def _check_fold(client: ClientSession, document: str, revisions: list[dict[str, Any]]) -> None:
    value: Any = None
    last = len(revisions)
    for revision in revisions:
        value = jsonpatch.apply_patch(value, revision["patch"], in_place=True)
        n = revision["revision"]
        # The head, and on the way some states that are rebuilt from a snapshot.
        if n == last or n in (1, last // 2):
            async with client.get(f"/v1/docs/{document}", params={"revision": n}) as answer:
                assert answer.status == 200, await answer.text()
                assert _canonical(await answer.json()) == _canonical(value), f"{document} at {n}"


def _canonical(value: Any) -> str:
    """Write a value so that equal text means equal JSON: a boolean is no number."""
    return json.dumps(value, sort_keys=True)


def _tokens(document: str, revisions: list[dict[str, Any]]) -> dict[str, int]:
    tokens: dict[str, int] = {}
    for revision in revisions:
        written = [*(each.get("value") for each in revision["patch"]), revision.get("message")]
        for token in TOKEN.findall(json.dumps(written)):
            assert token not in tokens, f"{token} is twice in {document}"
            tokens[token] = revision["revision"]
    return tokens
