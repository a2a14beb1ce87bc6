"""The AsyncAPI 3.0 document of `/v1/live`, made from the structs its frames are read and written with."""

from functools import cached_property
from importlib.metadata import version
from typing import Any, Final, get_args

from aiohttp import web
from msgspec.json import schema_components

from plait_server import wire
from plait_server.service.frame import ClientFrame, ServerFrame
from plait_server.web.live import SUBPROTOCOL
from plait_server.web.routes import Route

_SCHEMAS: Final = "#/components/schemas/{name}"
CLOSE_CODES: Final = {
    4400: "A frame that is none.",
    4401: "The token, the ticket or the hello was not valid.",
    4408: "No hello came in time.",
    4013: "The client did not read what it was sent; it may come back and resume.",
    4429: "A limit was passed again and again.",
    1009: "A frame was too large.",
    1012: "The server restarts; goaway said when to come back.",
    1013: "There are too many connections.",
}


class AsyncDescription:
    """`/asyncapi.json`: written once, when it is first asked for."""

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                "/asyncapi.json",
                self.get,
                "Describe the frames of /v1/live as AsyncAPI 3.0",
                {200: None},
            ),
        )

    async def get(self, request: web.Request) -> web.Response:
        headers = {"Cache-Control": "private"}
        return web.Response(body=self._body, content_type="application/json", headers=headers)

    @cached_property
    def _body(self) -> bytes:
        return wire.encode(describe())


def describe() -> dict[str, Any]:
    """Describe the frames as an AsyncAPI document."""
    sent, received = get_args(ServerFrame), get_args(ClientFrame)
    _, schemas = schema_components((*sent, *received), ref_template=_SCHEMAS)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Plait live",
            "version": version("plait"),
            "description": "Close codes: " + " ".join(f"{code} {why}" for code, why in CLOSE_CODES.items()),
        },
        "channels": {
            "live": {
                "address": "/v1/live",
                "description": f"A WebSocket of the subprotocol {SUBPROTOCOL}, one JSON object a text frame.",
                "messages": {
                    _name(frame): {"$ref": f"#/components/messages/{_name(frame)}"}
                    for frame in (*received, *sent)
                },
            }
        },
        "operations": {
            "receive": _operation("receive", received),
            "send": _operation("send", sent),
        },
        "components": {
            "messages": {_name(frame): _message(frame) for frame in (*received, *sent)},
            "schemas": schemas,
        },
    }


def _operation(action: str, frames: tuple[Any, ...]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/live"},
        "messages": [{"$ref": f"#/channels/live/messages/{_name(frame)}"} for frame in frames],
    }


def _message(frame: Any) -> dict[str, Any]:
    return {
        "name": frame.__struct_config__.tag,
        "summary": (frame.__doc__ or "").strip().partition("\n\n")[0].replace("\n    ", " "),
        "contentType": "application/json",
        "payload": {"$ref": _SCHEMAS.format(name=frame.__name__)},
    }


def _name(frame: Any) -> str:
    name: str = frame.__name__
    return name
