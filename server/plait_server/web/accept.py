"""Which of several forms of an answer the caller likes best."""

import re
from collections.abc import Sequence

from plait_server.web.problems import Problem

_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """Choose among media types by an Accept header (RFC 9110); the first where nothing speaks for another.

    What cannot be read in the header is passed over. Raises Problem where nothing offered will do.
    """
    if accept is None or not accept.strip():
        return offered[0]
    stated = [_read(each) for each in accept.split(",")]
    best = max(offered, key=lambda media_type: _quality(media_type, stated))
    if not _quality(best, stated):
        raise Problem("not-acceptable", f"This can be had as {' or '.join(offered)}.")
    return best


def _read(stated: str) -> tuple[str, float]:
    """Read one media range and how much it is wanted."""
    name, *parameters = [each.strip().lower() for each in stated.split(";")]
    quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    return name, float(quality) if _QUALITY.fullmatch(quality) else 0.0


def _quality(media_type: str, stated: Sequence[tuple[str, float]]) -> float:
    """Say how much a media type is wanted: what names it most exactly decides."""
    for named in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        qualities = [quality for name, quality in stated if name == named]
        if qualities:
            return max(qualities)
    return 0.0
