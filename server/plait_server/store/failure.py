"""What a failure of SQLite means to those who asked."""

import logging
import sqlite3

from plait_server.errors import StoreUnavailable

log = logging.getLogger(__name__)


def unavailable(error: BaseException | None) -> StoreUnavailable:
    log.error("The store failed: %r", error)
    # Extended codes keep the plain one in their lowest byte.
    code = _code(error) & 0xFF
    return StoreUnavailable(_SENTENCES.get(code, "The store failed."))


def could_not_be_written(error: BaseException | None) -> bool:
    """Tell whether a COMMIT that failed like this is surely not there.

    What ends a transaction in the log is written last: where there was no room, it is missing. A failed
    sync says nothing.
    """
    return _code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)


_SENTENCES = {
    sqlite3.SQLITE_FULL: "The disk is full.",
    sqlite3.SQLITE_READONLY: "The database is read-only.",
    sqlite3.SQLITE_BUSY: "The database is busy.",
    sqlite3.SQLITE_LOCKED: "The database is busy.",
    sqlite3.SQLITE_IOERR: "The disk cannot be read or written.",
}


def _code(error: BaseException | None) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code
