"""Counting requests: refused before anything of their bodies is read, told in every answer.

`RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers, structured fields.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from aiohttp import web

from plait_server.service import Caller
from plait_server.service.quota import Policy, Quotas, Standing
from plait_server.web.conditions import BadHeader
from plait_server.web.edits import TENANT, caller_of
from plait_server.web.requests import peer_of
from plait_server.web.routes import FRONT, Handler, Route
from plait_server.web.written import WrittenAtOnce

_READS: Final = frozenset({"GET", "HEAD"})
_STANDINGS: Final = web.RequestKey("standings", str)


class Meter:
    """Counts the requests of an application."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._policies = _policies_field(quotas.policies)

    def counted(self, routes: Iterable[Route]) -> tuple[Route, ...]:
        """Let every request of the contract count; whether the process lives may be asked at any time."""
        return tuple(
            replace(route, handler=self._counting(route.handler)) if route.path.startswith(FRONT) else route
            for route in routes
        )

    def _counting(self, handler: Handler) -> Handler:
        async def count(request: web.Request) -> web.StreamResponse:
            caller, peer = _caller_of(request), peer_of(request)
            try:
                await self._quotas.take(caller, peer, writes=request.method not in _READS)
            finally:
                request[_STANDINGS] = _standings_field(await self._quotas.standings(caller, peer))
            response = await handler(request)
            if isinstance(response, WrittenAtOnce):
                response.add(f"RateLimit-Policy: {self._policies}\r\n")
                if request[_STANDINGS]:
                    response.add(f"RateLimit: {request[_STANDINGS]}\r\n")
            return response

        return count

    async def announce(self, request: web.Request, response: web.StreamResponse) -> None:
        """Tell in an answer that is about to be written how its caller stands; what does not count too."""
        standings = request.get(_STANDINGS)
        if standings is None:
            told = await self._quotas.standings(_caller_of(request), peer_of(request))
            standings = _standings_field(told)
        response.headers["RateLimit-Policy"] = self._policies
        if standings:
            response.headers["RateLimit"] = standings


def _caller_of(request: web.Request) -> Caller:
    """Name the caller; who says nonsense is nobody, and counts as such."""
    try:
        return caller_of(request)
    except BadHeader:
        return Caller(TENANT, "", "")


def _policies_field(policies: Iterable[Policy]) -> str:
    return ", ".join(f'"{policy.name}";q={policy.quota};w={policy.window_s}' for policy in policies)


def _standings_field(standings: Iterable[Standing]) -> str:
    return ", ".join(f'"{each.policy}";r={each.remaining};t={each.reset_s}' for each in standings)
