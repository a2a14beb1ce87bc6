"""Points in time: milliseconds since 1970 (UTC) inside, RFC 3339 on the wire."""

from datetime import UTC, datetime


def format_moment(at: int) -> str:
    """Write `at`, milliseconds since 1970, as `2026-11-20T11:49:00.123Z`."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000:03d}Z"
