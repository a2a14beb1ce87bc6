"""A client of the live side that keeps what it is told, and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from plait_merge import ABSENT, apply

JSON_PATCH = {"Content-Type": "application/json-patch+json"}
PATIENCE_S = 10.0


class Closed(Exception):
    """The server closed the connection; `code` says how."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Copies:
    """Copies of documents made of frames alone. Fails where a revision is missing, or is told twice."""

    def __init__(self) -> None:
        self.revisions: dict[str, int] = {}
        self.values: dict[str, Any] = {}
        self.told: dict[str, list[int]] = {}
        self.resets = 0

    def take(self, frame: dict[str, Any]) -> None:
        name = frame.get("doc", "")
        match frame["t"]:
            case "snapshot":
                self.revisions[name] = frame["rev"]
                self.values[name] = ABSENT if frame.get("deleted") else frame["value"]
            case "reset":
                self.resets += 1
                self.revisions.pop(name, None)
            case "rev":
                assert frame["prev"] == self.revisions[name]
                named = [part["rev"] for part in frame["parts"]]
                assert named == list(range(frame["prev"] + 1, frame["rev"] + 1))
                self.told.setdefault(name, []).extend(named)
                self.revisions[name] = frame["rev"]
                self.values[name] = apply(self.values[name], frame["patch"])


class Live:
    """One connection."""

    def __init__(self, websocket: ClientWebSocketResponse, copies: Copies) -> None:
        self.websocket = websocket
        self.copies = copies

    async def say(self, **frame: Any) -> None:
        await self.websocket.send_str(json.dumps(frame))

    async def hear(self) -> dict[str, Any]:
        """Take the next frame. Raises Closed."""
        message = await self.websocket.receive(timeout=PATIENCE_S)
        if message.type is not WSMsgType.TEXT:
            raise Closed(self.websocket.close_code)
        frame: dict[str, Any] = json.loads(message.data)
        self.copies.take(frame)
        return frame

    async def hear_until(self, kind: str, **members: Any) -> dict[str, Any]:
        """Take frames up to one of a kind."""
        while True:
            frame = await self.hear()
            if frame["t"] == kind and members.items() <= frame.items():
                return frame

    async def closed(self) -> int | None:
        """Take frames up to the end, and give the close code."""
        try:
            while True:
                await self.hear()
        except Closed as closed:
            return closed.code

    async def follow(self, name: str, number: int = 1) -> None:
        """Subscribe from where the copy is."""
        known = self.copies.revisions.get(name)
        await self.say(t="sub", id=number, doc=name, **({} if known is None else {"from": known}))
        await self.hear_until("caught_up", doc=name)


@asynccontextmanager
async def connected(client: ClientSession, copies: Copies | None = None, **how: Any) -> AsyncIterator[Live]:
    """Connect and say hello."""
    async with opened(client, copies, **how) as live:
        await live.say(t="hello")
        await live.hear_until("welcome")
        yield live


@asynccontextmanager
async def opened(client: ClientSession, copies: Copies | None = None, **how: Any) -> AsyncIterator[Live]:
    """Connect, and say nothing."""
    path = how.pop("path", "/v1/live")
    async with client.ws_connect(
        path, **{"protocols": ["plait.v1.json"], "autoclose": True, "max_msg_size": 0, **how}
    ) as websocket:
        yield Live(websocket, copies or Copies())


async def create(client: ClientSession, name: str, value: object) -> None:
    async with client.put(f"/v1/docs/{name}", json=value, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201


async def edit(client: ClientSession, name: str, *patch: dict[str, Any]) -> int:
    """Commit a patch on the head over HTTP; give its revision."""
    async with client.patch(f"/v1/docs/{name}", data=json.dumps(patch), headers=JSON_PATCH) as answer:
        assert answer.status == 200
        revision: int = (await answer.json())["revision"]
    return revision


async def replace(client: ClientSession, name: str, pointer: str, value: object) -> int:
    return await edit(client, name, {"op": "replace", "path": pointer, "value": value})


async def turn() -> None:
    """Let everybody have a turn."""
    await asyncio.sleep(0)
