"""Every request of the contract as frozen bytes. Nothing is sent here.

A write carries its idempotency key from the moment it is made, so that sending the same request again is
the same write, however often and however much later.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Final
from urllib.parse import quote

import msgspec

from plait_client.replica.edit import Hold
from plait_client.wire.transport import Request
from plait_merge import Json

JSON: Final = "application/json"
EDIT: Final = "application/vnd.plait.edit+json"
PAGE_ITEMS: Final = 100
BLAME_LEAVES: Final = 1_000

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}/(?!\.{1,2}$)[A-Za-z0-9._~-]{1,128}")
_COLLECTION = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL = re.compile(r"[A-Za-z0-9._-]{1,64}")
_encode = msgspec.json.encode


def new_key() -> str:
    """Name one write: the milliseconds of now in 48 bits, and 80 random ones.

    Keys that sort by time cost a server a third of what random ones do: those of one moment are kept in
    one place.
    """
    return f"{int(time.time() * 1000):012x}{token_hex(10)}"


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


def queued_edit(name: str, body: bytes) -> Request:
    """Have an edit accepted now and decided later."""
    headers = {"Content-Type": EDIT, "Prefer": "respond-async"}
    return _write("PATCH", _path(name), body, headers, new_key())


def strict_edit(
    name: str, patch: Json, revision: int, epoch: str, message: str | None, hold: Hold | None
) -> Request:
    """Send an edit that is refused (412) unless the document is still at `revision`, of that epoch."""
    headers = {"Content-Type": EDIT, "If-Match": f'"{revision}"'}
    body = edit_body(patch, base=revision, epoch=epoch, message=message, hold=hold)
    return _write("PATCH", _path(name), body, headers, new_key())


def edit_body(
    patch: Json,
    *,
    base: int | None = None,
    epoch: str | None = None,
    message: str | None = None,
    hold: Hold | None = None,
) -> bytes:
    """Write what an edit says, once. What is None is left out."""
    lock = None if hold is None else hold.as_json()
    return _stated(base=base, epoch=epoch, patch=patch, message=message, lock=lock)


def put(name: str, value: Json, condition: Mapping[str, str], hold: Hold | None) -> Request:
    """Put a whole value under a condition: If-Match, If-None-Match or Plait-Base."""
    headers = {"Content-Type": JSON, **condition, **under(hold)}
    return _write("PUT", _path(name), _encode(value), headers, new_key())


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


def under(hold: Hold | None) -> dict[str, str]:
    """State the lease that a write is made under."""
    return {} if hold is None else {"Plait-Lock": f"{hold.lock};fence={hold.fence}"}


def delete(name: str, condition: Mapping[str, str], hold: Hold | None) -> Request:
    return _write("DELETE", _path(name), b"", {**condition, **under(hold)}, new_key())


def batch(edits: Sequence[Mapping[str, Json]], message: str | None, epoch: str | None) -> Request:
    """Send edits of several documents, all or nothing."""
    body = _stated(edits=edits, message=message, epoch=epoch)
    return _write("POST", "/v1/batch", body, {"Content-Type": JSON}, new_key())


def operation(id: str, wait_s: float = 0) -> Request:
    """Ask what became of an edit that was accepted; the server waits for that up to so long."""
    return Request("GET", f"/v1/operations/{_part(id)}{_query(wait=_seconds(wait_s))}")


# Leases


def lock(name: str, pointer: str, ttl_s: float) -> Request:
    """Ask for a lease."""
    body = _stated(pointer=pointer, ttl_s=ttl_s)
    return _write("POST", f"{_path(name)}/locks", body, {"Content-Type": JSON}, new_key())


def renewal(name: str, hold: Hold, ttl_s: float) -> Request:
    body = _stated(fence=hold.fence, ttl_s=ttl_s)
    return _write("PUT", _lock(name, hold), body, {"Content-Type": JSON}, new_key())


def release(name: str, hold: Hold) -> Request:
    return _write("DELETE", _lock(name, hold), b"", under(hold), new_key())


def locks(name: str) -> Request:
    return Request("GET", f"{_path(name)}/locks")


# History


def diff(name: str, start: int, end: int | None) -> Request:
    """Ask what leads from one revision to another, the newest if None."""
    return Request("GET", f"{_path(name)}/diff{_query(**{'from': start}, to=end)}")


def blame(name: str, pointer: str, revision: int | None, cursor: str | None) -> Request:
    """Ask who wrote what is at a place, and in it."""
    page = _query(pointer=pointer or None, revision=revision, limit=BLAME_LEAVES, cursor=cursor)
    return Request("GET", f"{_path(name)}/blame{page}")


def version(name: str, *, revision: int | None, at: str | None, label: str | None) -> Request:
    """Read the document as it was."""
    return Request("GET", f"{_path(name)}{_query(revision=revision, at=at, label=label)}")


def labels(name: str) -> Request:
    return Request("GET", f"{_path(name)}/labels")


def set_label(name: str, label: str, revision: int) -> Request:
    body = _stated(revision=revision)
    return _write("PUT", _label(name, label), body, {"Content-Type": JSON}, new_key())


def remove_label(name: str, label: str) -> Request:
    return _write("DELETE", _label(name, label), b"", {}, new_key())


def revert(name: str, what: Mapping[str, int], message: str | None, hold: Hold | None) -> Request:
    """Undo {"revision"}, or {"from", "through"}, or go back {"to"} a revision."""
    body = _stated(**what, message=message)
    headers = {"Content-Type": JSON, **under(hold)}
    return _write("POST", f"{_path(name)}/revert", body, headers, new_key())


# Collections


def rules(collection: str) -> Request:
    return Request("GET", f"/v1/collections/{check_collection(collection)}")


def set_rules(collection: str, settings: Json, revision: int) -> Request:
    """Set what holds in a collection, unless its rules are no longer at `revision`."""
    headers = {"Content-Type": JSON, "If-Match": f'"{revision}"'}
    return _write(
        "PUT", f"/v1/collections/{check_collection(collection)}", _encode(settings), headers, new_key()
    )


def listing(collection: str, cursor: str | None) -> Request:
    return _page(f"/v1/docs/{check_collection(collection)}", cursor, PAGE_ITEMS)


def history(name: str, cursor: str | None, items: int = PAGE_ITEMS) -> Request:
    """Ask for a page of so many revisions."""
    return _page(f"{_path(name)}/revisions", cursor, items)


def resolution(instance: str, choices: Mapping[str, Json], message: str | None, hold: Hold | None) -> Request:
    """Settle a conflict that the server keeps."""
    body = _stated(choices=dict(choices), message=message)
    headers = {"Content-Type": JSON, **under(hold)}
    return _write("POST", f"{instance}/resolution", body, headers, new_key())


def _path(name: str) -> str:
    return f"/v1/docs/{check_name(name)}"


def _lock(name: str, hold: Hold) -> str:
    return f"{_path(name)}/locks/{_part(hold.lock)}"


def _label(name: str, label: str) -> str:
    if not _LABEL.fullmatch(label):
        raise ValueError(f"{label!r} is no label: 1 to 64 of A-Z a-z 0-9 . _ -")
    return f"{_path(name)}/labels/{label}"


def _part(text: str) -> str:
    """Write what may be anything as one part of a path."""
    if text in ("", ".", ".."):
        raise ValueError(f"{text!r} names nothing")
    return quote(text, safe="")


def _seconds(wait_s: float) -> int | None:
    """Whole seconds: that is what a server may be asked to wait; None for none."""
    return int(wait_s) or None


def _query(**stated: object) -> str:
    """Write a query; what is None is left out."""
    parts = [f"{name}={quote(str(value), safe='')}" for name, value in stated.items() if value is not None]
    return f"?{'&'.join(parts)}" if parts else ""


def _stated(**members: object) -> bytes:
    """Write an object; what is None is left out."""
    return _encode({name: value for name, value in members.items() if value is not None})


def _page(path: str, cursor: str | None, items: int) -> Request:
    return Request("GET", f"{path}{_query(limit=items, cursor=cursor)}")


def _write(method: str, path: str, body: bytes, headers: Mapping[str, str], key: str) -> Request:
    return Request(method, path, {**headers, "Idempotency-Key": f'"{key}"'}, body)
