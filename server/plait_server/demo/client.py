"""What one person needs of the wire: create, read, edit, settle, history. Plain HTTP, nothing else."""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from aiohttp import ClientSession

from plait_merge import Json
from plait_server import wire
from plait_server.ledger import View

Patch = list[dict[str, Any]]

EDIT: Final = "application/vnd.plait.edit+json"
ATTEMPTS_MAX: Final = 6
PAGE_ITEMS: Final = 500


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to a write: `seconds` is how long the last attempt took."""

    status: int
    body: dict[str, Any]
    seconds: float
    replayed: bool = False

    @property
    def acknowledged(self) -> dict[str, Any] | None:
        """The body where it says that an edit was taken, or a noop."""
        return self.body if self.status in (200, 201) else None

    @property
    def code(self) -> str:
        """The name of the problem, "" for a success."""
        return str(self.body.get("type", "")).rpartition(":")[2]


class Client:
    """One author's way to the server. Documents are named as in the contract, `collection/id`."""

    def __init__(self, session: ClientSession, author: str) -> None:
        self._session = session
        self.author = author

    async def create(self, document: str, value: Json) -> Reply:
        return await self._write(
            "PUT", f"/v1/docs/{document}", value, {"Content-Type": "application/json", "If-None-Match": "*"}
        )

    async def replace(self, document: str, value: Json, revision: int) -> Reply:
        """Put a value in the place of `revision`, strictly."""
        headers = {"Content-Type": "application/json", "If-Match": f'"{revision}"'}
        return await self._write("PUT", f"/v1/docs/{document}", value, headers)

    async def edit(
        self, document: str, base: int, patch: Patch, message: str, key: str | None = None
    ) -> Reply:
        """Send a patch made on revision `base`; the same `key` again is the same edit."""
        body = {"base": base, "patch": patch, "message": message}
        return await self._write("PATCH", f"/v1/docs/{document}", body, {"Content-Type": EDIT}, key)

    async def settle(self, instance: str, choices: Mapping[str, Json], message: str) -> Reply:
        body = {"choices": choices, "message": message}
        headers = {"Content-Type": "application/json"}
        return await self._write("POST", f"{instance}/resolution", body, headers)

    async def read(self, document: str, revision: int | None = None) -> View:
        query = {} if revision is None else {"revision": str(revision)}
        async with self._session.get(f"/v1/docs/{document}", params=query) as response:
            response.raise_for_status()
            return View(int(response.headers["Plait-Revision"]), wire.decode(await response.read()))

    async def history(self, document: str) -> list[dict[str, Any]]:
        """Read every revision, oldest first."""
        revisions: list[dict[str, Any]] = []
        query = {"limit": str(PAGE_ITEMS)}
        while True:
            async with self._session.get(f"/v1/docs/{document}/revisions", params=query) as response:
                response.raise_for_status()
                page: Any = wire.decode(await response.read())
            revisions += page["revisions"]
            if page["cursor"] is None:
                return revisions[::-1]
            query["cursor"] = page["cursor"]

    async def _write(
        self, method: str, path: str, body: object, headers: Mapping[str, str], key: str | None = None
    ) -> Reply:
        """Send until the answer is a decision: what may be sent again is, the same bytes, the same key."""
        content = wire.encode(body)
        headers = {
            **headers,
            "Plait-Author": self.author,
            "Idempotency-Key": f'"{uuid4() if key is None else key}"',
        }
        for _ in range(ATTEMPTS_MAX):
            begun = time.perf_counter()
            async with self._session.request(method, path, data=content, headers=headers) as response:
                answer: Any = wire.decode(await response.read())
            reply = Reply(
                response.status,
                answer,
                time.perf_counter() - begun,
                response.headers.get("Idempotency-Replayed") == "true",
            )
            if response.headers.get("Plait-Should-Retry") != "true":
                return reply
            await asyncio.sleep(float(response.headers.get("Retry-After", 1)) * (0.5 + random.random()))
        return reply
