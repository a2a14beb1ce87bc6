"""The wire cases that every client's tests read too, against the real server."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from plait_merge import ABSENT
from server.live.client import connected, create, edit, opened

FOLDER = Path(__file__).parents[2] / "conformance" / "wire"
CASES = [case for file in sorted(FOLDER.glob("*.json")) for case in json.loads(file.read_text())]


def agrees(expected: Any, told: Any) -> bool:
    """Tell whether a frame is as expected: `*` is anything, members not named are not looked at."""
    if expected == "*":
        return True
    if isinstance(expected, dict):
        return isinstance(told, dict) and all(
            name in told and agrees(value, told[name]) for name, value in expected.items()
        )
    if isinstance(expected, list):
        return (
            isinstance(told, list)
            and len(told) == len(expected)
            and all(agrees(*pair) for pair in zip(expected, told, strict=True))
        )
    return bool(expected == told)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
async def test_the_server_keeps_to_the_case(client: ClientSession, case: dict[str, Any]) -> None:
    for name, value in case["documents"].items():
        await create(client, name, value)
    async with opened(client) as live:
        for step in case["steps"]:
            ((kind, content),) = step.items()
            match kind:
                case "client":
                    await live.say(**content)
                case "server":
                    frame = await live.hear()
                    assert agrees(content, frame), frame
                case "other":
                    await others(client, content)
                case "copy":
                    assert live.copies.revisions[content["doc"]] == content["rev"]
                    assert live.copies.values[content["doc"]] == content.get("value", ABSENT)
                case "close":
                    assert await live.closed() == content


async def others(client: ClientSession, what: dict[str, Any]) -> None:
    if "patch" in what:
        await edit(client, what["doc"], *what["patch"])
        return
    async with client.delete(f"/v1/docs/{what['doc']}", headers={"If-Match": "*"}) as answer:
        assert answer.status == 204


async def test_every_frame_of_the_contract_is_in_a_case(client: ClientSession) -> None:
    """Those that time or the end of the server bring are tested elsewhere."""
    async with client.get("/asyncapi.json") as answer:
        described = {message["name"] for message in (await answer.json())["components"]["messages"].values()}
    seen = {
        frame["t"]
        for case in CASES
        for step in case["steps"]
        for frame in step.values()
        if isinstance(frame, dict) and "t" in frame
    }
    assert described - seen == {"hb", "goaway", "throttle"}
    async with connected(client):
        pass
