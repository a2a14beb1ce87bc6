"""The feed: its cursor, a place among all revisions of a tenant, in one epoch of the store; its patches."""

import base64
import binascii
import re

from plait_server.errors import BadQuery, CursorExpired
from plait_server.store import ChangeRow

_CURSOR = re.compile(r"([^.]{1,64})\.(0|[1-9][0-9]{0,15})")


def feed_cursor(seq: int, epoch: str) -> str:
    """Write a cursor. Nobody but this server should look into it."""
    return base64.urlsafe_b64encode(f"{epoch}.{seq}".encode()).decode().rstrip("=")


def read_feed_cursor(cursor: str | None, epoch: str) -> int:
    """Read a cursor back; None is the beginning. Raises BadQuery, CursorExpired."""
    if cursor is None:
        return 0
    try:
        stated = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        stated = ""
    read = _CURSOR.fullmatch(stated)
    if read is None or not read[2].isascii():
        raise BadQuery("The cursor is none of this feed.")
    if read[1] != epoch:
        raise CursorExpired("The store is another one since; read the feed from its beginning.")
    return int(read[2])


def feed_patch(row: ChangeRow) -> bytes:
    """Give the patch that leads a reader to a revision: from the one before, or from anything it has where
    that was compacted away."""
    if not row.compacted:
        return row.revision.patch
    if row.revision.kind == "delete":
        # One that removes leads on from a document only; a reader may have none.
        return b'[{"op":"add","path":"","value":null},{"op":"remove","path":""}]'
    if row.value is None:
        return row.revision.patch
    return b'[{"op":"add","path":"","value":%b}]' % row.value
