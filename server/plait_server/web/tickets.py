"""Tickets: a live connection of a browser, which cannot send headers with it."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from aiohttp import web

from plait_server import errors, wire
from plait_server.service import Caller
from plait_server.web.edits import caller_of
from plait_server.web.models import answers
from plait_server.web.pages import only_query
from plait_server.web.routes import Route

TTL_S: Final = 30.0
TICKETS_MAX: Final = 100_000


class Tickets:
    """Whom each ticket lets in. Kept in memory: it is used within half a minute, or never."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._issued: OrderedDict[str, tuple[Caller, float]] = OrderedDict()

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "POST",
                "/v1/tickets",
                self.post,
                "Issue a ticket that opens one live connection, once, within half a minute",
                {201: answers.Ticket},
                ("bad-query", "bad-header", "overloaded"),
                headers=("Authorization", "Plait-Author"),
            ),
        )

    async def post(self, request: web.Request) -> web.Response:
        only_query(request)
        body = {"ticket": self.issue(caller_of(request)), "expires_s": TTL_S}
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        return web.Response(status=201, body=wire.encode(body), headers=headers)

    def issue(self, caller: Caller) -> str:
        """Make a ticket. Raises Overloaded."""
        now = self._clock()
        while self._issued and next(iter(self._issued.values()))[1] <= now:
            self._issued.popitem(last=False)
        if len(self._issued) >= TICKETS_MAX:
            raise errors.Overloaded("Too many tickets wait to be used.")
        ticket = secrets.token_urlsafe(24)
        self._issued[ticket] = (caller, now + TTL_S)
        return ticket

    def redeem(self, ticket: str) -> Caller | None:
        """Take a ticket; None where it was used, is too old, or never was."""
        caller, expires = self._issued.pop(ticket, (None, 0.0))
        return caller if expires > self._clock() else None
