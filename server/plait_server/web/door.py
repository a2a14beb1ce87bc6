"""Reading a request body: bounded in bytes and in time, and parsed without holding up the loop."""

import asyncio
from typing import Final, TypeVar

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError
from pydantic import BaseModel, ValidationError

from plait_merge.values import Json
from plait_server import wire
from plait_server.config import Settings
from plait_server.service.admission import Room
from plait_server.web.edits import JSON, caller_of
from plait_server.web.problems import Problem

# A patch wraps its values: the list, the operation, and in Plait's own type the edit around them. A batch
# wraps its edits in the same way.
WRAPPED_LEVELS: Final = 3
BATCH_LEVELS: Final = 5
CAUSES_MAX: Final = 20
Model = TypeVar("Model", bound=BaseModel)


class Bodies:
    """Counts the bytes of all bodies that are still coming: many slow ones must not fill the memory."""

    def __init__(self, bytes_max: int) -> None:
        self._room = Room(bytes_max)

    def take(self, tenant: str, size: int) -> None:
        """Make room for `size` bytes more. Raises Problem where there is none for this tenant."""
        if not self._room.take(tenant, size):
            raise Problem("overloaded", "Too many request bodies are on their way at once.")

    def give_back(self, tenant: str, size: int) -> None:
        self._room.give_back(tenant, size)


BODIES: Final = web.AppKey("bodies", Bodies)


async def read_body(
    request: web.Request, bytes_max: int, timeout_s: float, limit: str = "patch_bytes"
) -> bytes:
    """Read the whole body; `limit` names its bound. Raises Problem: too large, too slow, coded or broken."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Problem("unsupported-media-type", "Send the body without a Content-Encoding.")
    content = request.content
    if content.is_eof() and content.exception() is None:
        body = content.read_nowait()
        if len(body) > bytes_max:
            raise too_large(limit, bytes_max)
        return body
    if (request.content_length or 0) > bytes_max:
        raise too_large(limit, bytes_max)
    try:
        async with asyncio.timeout(timeout_s):
            return await _read_all(request, bytes_max, limit)
    except TimeoutError as error:
        raise Problem("request-timeout", f"The body was not complete after {timeout_s:g} seconds.") from error
    except RequestPayloadError as error:
        raise Problem("bad-request", "The body is not framed as its headers say.") from error


async def _read_all(request: web.Request, bytes_max: int, limit: str) -> bytes:
    bodies, tenant, body = request.app[BODIES], caller_of(request).tenant, bytearray()
    try:
        while chunk := await request.content.readany():
            bodies.take(tenant, len(chunk))
            body += chunk
            if len(body) > bytes_max:
                raise too_large(limit, bytes_max)
        return bytes(body)
    finally:
        bodies.give_back(tenant, len(body))


def too_large(limit: str, bytes_max: int) -> Problem:
    """The problem of a body over its limit."""
    detail = f"The body is larger than {bytes_max} bytes."
    return Problem("too-large", detail, {"limit": limit, "maximum": bytes_max})


def only_json(media_type: str) -> None:
    """Refuse a body of another media type."""
    if media_type != JSON:
        raise Problem("unsupported-media-type", f"Send {JSON}.", None, {"Accept": JSON})


def read_model(model: type[Model], content: Json, otherwise: str, code: str = "invalid-value") -> Model:
    """Read a body that was parsed. Raises Problem, which says `otherwise` and has the causes."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        causes = [
            {"detail": f"{cause['msg']}.", "pointer": "#/" + "/".join(map(str, cause["loc"]))}
            for cause in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise Problem(code, otherwise, {"errors": causes[:CAUSES_MAX]}) from error


def bound_message(message: str | None, settings: Settings) -> None:
    """Refuse a message over its limit."""
    most = settings.message_bytes_max
    if message is not None and len(message.encode()) > most:
        detail = f"The message is longer than {most} bytes."
        raise Problem("too-large", detail, {"limit": "message_bytes", "maximum": most})


class Parser:
    """Parses bodies, the large ones on another thread. Raises Problem."""

    def __init__(self, settings: Settings) -> None:
        self._offload_bytes_min = settings.offload_bytes_min
        self._depth_max = settings.depth_max
        self._integer_digits_max = settings.integer_digits_max

    async def document(self, body: bytes) -> Json:
        """Parse the body of a PUT or POST."""
        return await self._parse(body, 0)

    async def patch(self, body: bytes, wrapping_levels: int = WRAPPED_LEVELS) -> Json:
        """Parse the body of a PATCH, whose values stand a few levels deeper."""
        return await self._parse(body, wrapping_levels)

    def is_short(self, body: bytes) -> bool:
        """Say whether a body is parsed at once."""
        return len(body) < self._offload_bytes_min

    async def _parse(self, body: bytes, wrapping_levels: int) -> Json:
        if self.is_short(body):
            return self.at_once(body, wrapping_levels)
        return await asyncio.get_running_loop().run_in_executor(None, self.at_once, body, wrapping_levels)

    def at_once(self, body: bytes, wrapping_levels: int = WRAPPED_LEVELS) -> Json:
        """Parse a body on this thread."""
        try:
            return wire.parse(body, self._depth_max, self._integer_digits_max, wrapping_levels)
        except wire.MalformedJson as error:
            raise Problem("malformed-json", str(error)) from error
        except wire.UnacceptableJson as error:
            if error.limit is None:
                raise Problem("invalid-value", str(error)) from error
            members = {"limit": error.limit, "maximum": error.maximum}
            raise Problem("too-large", str(error), members) from error
