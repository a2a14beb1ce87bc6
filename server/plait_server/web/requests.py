"""What every request carries, whatever it asks for: an id, a trace, an author."""

import base64
import binascii
import itertools
import re
import secrets
from ipaddress import IPv6Address
from typing import Protocol

from aiohttp import web
from multidict import CIMultiDictProxy, istr

from plait_server import wire
from plait_server.web.conditions import BadHeader, single
from plait_server.web.problems import Problem
from plait_server.web.routes import why_not_found


class Head(Protocol):
    """The head of a request: what a request, and the message that aiohttp makes it from, have in common."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def headers(self) -> CIMultiDictProxy[str]: ...


_REQUEST_ID = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_AUTHOR_CHARACTERS_MAX = 255

# Names looked up for every request; an istr is not lowered again each time.
_REQUEST_ID_NAME = istr("X-Request-Id")
_TRACEPARENT_NAME = istr("traceparent")
_AUTHOR_NAME = istr("Plait-Author")
_AUTHORIZATION_NAME = istr("Authorization")

_process = secrets.token_hex(6)
_requests = itertools.count(1)


def new_request_id() -> str:
    """Name a request: unique over processes, in order within one."""
    return f"{_process}-{next(_requests):x}"


def request_id_of(head: Head) -> str:
    """Take the caller's X-Request-Id where it is sane, else make one."""
    given = head.headers.get(_REQUEST_ID_NAME)
    return given if given and _REQUEST_ID.fullmatch(given) else new_request_id()


def trace_of(head: Head) -> str | None:
    """Take the W3C `traceparent`; an invalid one is no trace, never an error."""
    given = head.headers.get(_TRACEPARENT_NAME)
    return given if given and _TRACEPARENT.fullmatch(given) else None


def peer_of(request: web.BaseRequest) -> str:
    """Say from where a request came: the network of its connection, whatever its headers say."""
    return network_of(request.remote or "")


def network_of(address: str) -> str:
    """Of an IPv6 address take the half that names a network: whoever has one address there has them all."""
    if ":" not in address:
        return address
    try:
        whole = IPv6Address(address)
    except ValueError:
        return address
    return str(whole.ipv4_mapped or whole.packed[:8].hex())


def author_of(head: Head) -> str:
    """Name who asks: Plait-Author, else the subject of the bearer token, else nobody ("").

    Nothing is proved by either yet: access control belongs to a later version. Raises BadHeader.
    """
    given = single(head.headers, _AUTHOR_NAME)
    if given is not None:
        return _sane("Plait-Author", given)
    authorization = head.headers.get(_AUTHORIZATION_NAME)
    if authorization is None or authorization[:7].lower() != "bearer ":
        return ""
    return author_of_token(authorization[7:].strip())


def author_of_token(token: str) -> str:
    """Name the subject of a bearer token. Raises BadHeader."""
    return _sane("Authorization", _subject(token))


def _sane(name: str, author: str) -> str:
    if not 0 < len(author) <= _AUTHOR_CHARACTERS_MAX or not author.isprintable():
        raise BadHeader(name, f"the author needs 1 to {_AUTHOR_CHARACTERS_MAX} printable characters.")
    return author


def _subject(token: str) -> str:
    parts = token.split(".")
    try:
        claims = wire.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError, RecursionError, binascii.Error):
        claims = None
    subject = claims.get("sub") if isinstance(claims, dict) else None
    if not isinstance(subject, str):
        raise BadHeader("Authorization", "the bearer token is not a JWT with a subject.")
    return subject


def problem_of(error: web.HTTPException, raw_path: str) -> Problem:
    """Say in a problem document what aiohttp says in plain text; `raw_path` is as it was sent."""
    match error.status:
        case 404:
            return Problem("not-found", why_not_found(raw_path))
        case 405:
            allow = error.headers.get("Allow", "")
            return Problem("method-not-allowed", f"Allowed here: {allow}.", headers={"Allow": allow})
        case 413:
            return Problem("too-large", "The body is too large.")
        case 417:
            return Problem("expectation-failed", "Only 100-continue is understood.")
        case status if status >= 500:
            return Problem("internal", "The server could not answer.")
        case _:
            return Problem("bad-request", "The request cannot be understood.")
