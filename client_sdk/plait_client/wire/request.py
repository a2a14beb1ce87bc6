"""Every request of the contract as frozen bytes. Nothing is sent here.

A write carries its idempotency key from the moment it is made, so that sending the same request again is
the same write, however often and however much later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Final
from urllib.parse import quote

import msgspec

from plait_client.wire.transport import Request
from plait_merge import Json

JSON: Final = "application/json"
EDIT: Final = "application/vnd.plait.edit+json"
PAGE_ITEMS: Final = 100

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}/(?!\.{1,2}$)[A-Za-z0-9._~-]{1,128}")
_COLLECTION = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_encode = msgspec.json.encode


def new_key() -> str:
    """Name one write: 128 random bits."""
    return token_hex(16)


def key_of(write: Request) -> str:
    """Give the key of a write."""
    return write.headers["Idempotency-Key"].strip('"')


def check_name(name: str) -> str:
    """Give the name of a document back. Raises ValueError unless it is collection/id."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a document: collection/id, such as orders/7")
    return name


def check_collection(name: str) -> str:
    """Give the name of a collection back. Raises ValueError for what is none."""
    if not _COLLECTION.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a collection: [a-z][a-z0-9_-]{{0,62}}")
    return name


def read(name: str, known: str | None = None) -> Request:
    """Read a document, unless it still has the entity tag `known`."""
    return Request("GET", _path(name), {"If-None-Match": known} if known else {})


def features() -> Request:
    return Request("GET", "/v1")


def edit(name: str, body: bytes, key: str) -> Request:
    """Send an edit whose body `edit_body` made."""
    return _write("PATCH", _path(name), body, {"Content-Type": EDIT}, key)


def strict_edit(name: str, patch: Json, revision: int, epoch: str, message: str | None) -> Request:
    """Send an edit that is refused (412) unless the document is still at `revision`, of that epoch."""
    headers = {"Content-Type": EDIT, "If-Match": f'"{revision}"'}
    body = edit_body(patch, base=revision, epoch=epoch, message=message)
    return _write("PATCH", _path(name), body, headers, new_key())


def edit_body(
    patch: Json, *, base: int | None = None, epoch: str | None = None, message: str | None = None
) -> bytes:
    """Write what an edit says, once. What is None is left out."""
    stated: dict[str, Any] = {"base": base, "epoch": epoch, "patch": patch, "message": message}
    return _encode({name: value for name, value in stated.items() if value is not None})


def put(name: str, value: Json, condition: Mapping[str, str]) -> Request:
    """Put a whole value under a condition: If-Match, If-None-Match or Plait-Base."""
    return _write("PUT", _path(name), _encode(value), {"Content-Type": JSON, **condition}, new_key())


def create(collection: str, value: Json) -> Request:
    """Create a document under an id of the server's choice."""
    path = f"/v1/docs/{check_collection(collection)}"
    return _write("POST", path, _encode(value), {"Content-Type": JSON}, new_key())


def only(if_match: int | str) -> dict[str, str]:
    """State a revision or an entity tag to insist on; "missing": there is to be no document."""
    if if_match == "missing":
        return {"If-None-Match": "*"}
    return {"If-Match": f'"{if_match}"' if isinstance(if_match, int) else if_match}


def since(revision: int, epoch: str) -> dict[str, str]:
    """State what a merge is based on."""
    return {"Plait-Base": f'{revision}; epoch="{epoch}"' if epoch else str(revision)}


def delete(name: str, condition: Mapping[str, str]) -> Request:
    return _write("DELETE", _path(name), b"", condition, new_key())


def listing(collection: str, cursor: str | None) -> Request:
    return _page(f"/v1/docs/{check_collection(collection)}", cursor)


def history(name: str, cursor: str | None) -> Request:
    return _page(f"{_path(name)}/revisions", cursor)


def resolution(instance: str, choices: Mapping[str, Json], message: str | None) -> Request:
    """Settle a conflict that the server keeps."""
    stated: dict[str, Any] = {"choices": dict(choices)}
    if message is not None:
        stated["message"] = message
    return _write("POST", f"{instance}/resolution", _encode(stated), {"Content-Type": JSON}, new_key())


def _path(name: str) -> str:
    return f"/v1/docs/{check_name(name)}"


def _page(path: str, cursor: str | None) -> Request:
    more = "" if cursor is None else f"&cursor={quote(cursor, safe='')}"
    return Request("GET", f"{path}?limit={PAGE_ITEMS}{more}", {})


def _write(method: str, path: str, body: bytes, headers: Mapping[str, str], key: str) -> Request:
    return Request(method, path, {**headers, "Idempotency-Key": f'"{key}"'}, body)
