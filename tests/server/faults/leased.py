"""Holders of a lease who count with no condition but that lease, and go on with it after a crash."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientResponse, ClientSession

from server.faults.ledger import UNDECIDED

DOCUMENT = "tills/1"
PATCH = {"Content-Type": "application/json-patch+json"}


class Undecided(Exception):
    """The server cannot take it now."""


def refuse_undecided(answer: ClientResponse) -> None:
    if answer.status in UNDECIDED:
        raise Undecided


@dataclass(slots=True)
class Holder:
    """One of those who count. What it is about to do stays the same until it is told that it is done."""

    name: str
    may_expire: bool = False
    """Whether the lease may be over when it comes back to it."""
    counted: int = 0
    fences: list[int] = field(default_factory=list)
    _token: str = ""
    _lease: dict[str, Any] | None = None
    _body: bytes | None = None
    _is_counted: bool = False

    @property
    def is_unsure(self) -> bool:
        """Whether it has sent what it does not know the end of."""
        return self._body is not None and not self._is_counted

    async def count(self, client: ClientSession, tokens: Iterator[int]) -> None:
        """Count until the server is gone, or cannot take more."""
        try:
            while True:
                await self.settle(client)
                self._token = f"count-{next(tokens)}"
                await self._step(client)
        except (ClientError, OSError, Undecided):
            return

    async def settle(self, client: ClientSession) -> None:
        """Come to the end of what was begun."""
        while self._token:
            await self._step(client)

    async def _step(self, client: ClientSession) -> None:
        """Take the lease, read, write one more, give the lease back: whatever of that is not done yet."""
        if self._lease is None:
            self._lease = await self._take(client)
            if self._lease is None:
                return
        if self._body is None:
            async with client.get(f"/v1/docs/{DOCUMENT}") as answer:
                seen = (await answer.json())["n"]
            self._body = json.dumps([{"op": "replace", "path": "/n", "value": seen + 1}]).encode()
        hold = f"{self._lease['lock']};fence={self._lease['fence']}"
        if not self._is_counted:
            headers = {**PATCH, **self._headers("edit"), "Plait-Lock": hold}
            async with client.patch(f"/v1/docs/{DOCUMENT}", data=self._body, headers=headers) as answer:
                if answer.status == 409 and self.may_expire:
                    self._forget()
                    return
                refuse_undecided(answer)
                assert answer.status == 200, await answer.text()
            self._is_counted = True
            self.counted += 1
            self.fences.append(self._lease["fence"])
        there = f"/v1/docs/{DOCUMENT}/locks/{self._lease['lock']}"
        async with client.delete(there, headers={"Plait-Lock": hold}) as answer:
            refuse_undecided(answer)
            # What was given back before the crash is not there any more.
            assert answer.status in (204, 409), await answer.text()
        self._forget()

    def _forget(self) -> None:
        self._token, self._lease, self._body, self._is_counted = "", None, None, False

    async def _take(self, client: ClientSession) -> dict[str, Any] | None:
        """Ask for the lease under one key until it is granted; None: somebody else has it."""
        body, headers = {"pointer": "/n", "ttl_s": 600}, self._headers("lease")
        async with client.post(f"/v1/docs/{DOCUMENT}/locks", json=body, headers=headers) as answer:
            lease: dict[str, Any] = await answer.json()
            if answer.status == 423:
                return None
            refuse_undecided(answer)
            assert answer.status in (200, 201), lease
            return lease

    def _headers(self, what: str) -> dict[str, str]:
        return {"Plait-Author": self.name, "Idempotency-Key": f'"{self._token}-{what}"'}


async def create(client: ClientSession) -> None:
    """Make the document that is counted in."""
    headers = {"If-None-Match": "*"}
    async with client.put(f"/v1/docs/{DOCUMENT}", json={"n": 0}, headers=headers) as answer:
        assert answer.status == 201


async def check(client: ClientSession, holders: list[Holder]) -> None:
    """Check that every count is there once, and that fences were given once, and grew for each holder."""
    async with client.get(f"/v1/docs/{DOCUMENT}") as answer:
        n = (await answer.json())["n"]
    counted = sum(holder.counted for holder in holders)
    assert counted <= n <= counted + sum(holder.is_unsure for holder in holders)
    fences = [fence for holder in holders for fence in holder.fences]
    assert len(fences) == len(set(fences))
    assert all(holder.fences == sorted(holder.fences) for holder in holders)
