"""Query parameters, and lists a page at a time."""

from aiohttp import web

from plait_server import wire
from plait_server.config import Settings
from plait_server.web.problems import Problem

CURSOR_CHARACTERS_MAX = 2_048
PRIVATE = {"Cache-Control": "private"}


def only_query(request: web.Request, *known: str) -> None:
    """Refuse parameters that mean nothing here, or are there twice: a typo must not be ignored."""
    if not request.rel_url.raw_query_string:
        return
    seen = set()
    for name, _ in request.query.items():  # noqa: PERF102 (its keys hide what is there twice)
        if name not in known:
            raise Problem("bad-query", "A query parameter is not known here.", {"known": list(known)})
        if name in seen:
            raise Problem("bad-query", f"The parameter {name} is given more than once.")
        seen.add(name)


def limit_of(request: web.Request, settings: Settings) -> int:
    """Read ?limit=; more than a page may hold means a full page."""
    stated = request.query.get("limit")
    if stated is None:
        return min(settings.page_items, settings.page_items_max)
    if not (stated.isascii() and stated.isdigit() and len(stated) <= 9 and int(stated) > 0):
        raise Problem("bad-query", "The parameter limit takes a number from 1.")
    return min(int(stated), settings.page_items_max)


def revision_of(request: web.Request, name: str = "revision", least: int = 1) -> int | None:
    """Read a parameter that names a revision."""
    stated = request.query.get(name)
    if stated is None:
        return None
    is_number = stated.isascii() and stated.isdigit() and len(stated) <= 18 and str(int(stated)) == stated
    if not is_number or int(stated) < least:
        raise Problem("bad-query", f"The parameter {name} takes a revision number such as 41.")
    return int(stated)


def wait_of(request: web.Request, most_s: float) -> float:
    """Read ?wait=, in seconds; more than the most means the most."""
    stated = request.query.get("wait", "0")
    if not (stated.isascii() and stated.replace(".", "", 1).isdigit() and len(stated) <= 9):
        raise Problem("bad-query", "?wait= takes a number of seconds.")
    return min(float(stated), most_s)


def cursor_of(request: web.Request) -> str | None:
    """Read ?cursor=; only the service knows what it means."""
    stated = request.query.get("cursor")
    if stated is not None and not (
        0 < len(stated) <= CURSOR_CHARACTERS_MAX and stated.isascii() and stated.isprintable()
    ):
        raise Problem("bad-query", "The parameter cursor takes the cursor of the page before.")
    return stated


def page_response(request: web.Request, body: dict[str, object]) -> web.Response:
    """Answer with a page; where its `cursor` leads to another one, with a link to that."""
    response = web.Response(body=wire.encode(body), content_type="application/json", headers=PRIVATE)
    cursor = body.get("cursor")
    if isinstance(cursor, str):
        response.headers["Link"] = f'<{request.rel_url.update_query(cursor=cursor)}>; rel="next"'
    return response
