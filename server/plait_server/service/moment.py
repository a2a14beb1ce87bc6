"""Points in time: milliseconds since 1970 (UTC) inside, RFC 3339 on the wire."""

from datetime import UTC, datetime
from functools import lru_cache


def format_moment(at: int) -> str:
    """Write `at`, milliseconds since 1970, as `2026-11-20T11:49:00.123Z`."""
    second, millisecond = divmod(at, 1000)
    return f"{_format_second(second)}.{millisecond:03d}Z"


# Many revisions are of one second, and to write it takes some microseconds.
@lru_cache(maxsize=64)
def _format_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
