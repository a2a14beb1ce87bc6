"""Points in time: milliseconds since 1970 (UTC) inside, RFC 3339 on the wire."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,30}))?(?:[Zz]|([+ -])(\d\d):(\d\d))",
    re.ASCII,
)


def format_moment(at: int) -> str:
    """Write `at`, milliseconds since 1970, as `2026-11-20T11:49:00.123Z`."""
    second, millisecond = divmod(at, 1000)
    return f"{_format_second(second)}.{millisecond:03d}Z"


# Many revisions are of one second, and to write it takes some microseconds.
@lru_cache(maxsize=64)
def _format_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse_moment(text: str) -> int:
    """Read RFC 3339, `2026-11-20T12:49:00.123+01:00`, to the millisecond begun. Raises ValueError.

    A leap second is the beginning of the next one. A blank before the offset is a plus that was sent in a
    query without being escaped.
    """
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(text)
    year, month, day, hour, minute, second = map(int, found.group(1, 2, 3, 4, 5, 6))
    leap = second == 60
    # Whole numbers throughout: an offset may lead out of the years that a datetime knows.
    at = (datetime(year, month, day, hour, minute, second - leap, tzinfo=UTC) - _EPOCH) // _SECOND + leap
    if found[8] is not None:
        hours, minutes = int(found[9]), int(found[10])
        if hours > 23 or minutes > 59:
            raise ValueError(text)
        offset_s = 3600 * hours + 60 * minutes
        at += offset_s if found[8] == "-" else -offset_s
    return 1000 * at + int((found[7] or "").ljust(3, "0")[:3])


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
