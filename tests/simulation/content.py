"""What people write: the value that documents begin with, and edits of what they saw."""

from collections.abc import Mapping
from random import Random
from typing import Any

from plait_merge import Absent, Json

Patch = list[dict[str, Any]]
SCHEMAS: tuple[Json, ...] = (
    {"properties": {"log": {"maxItems": 1}}},
    {"maxProperties": 5},
    {"properties": {"title": {"type": "string"}}, "required": ["title"]},
)
"""All that was begun with fits, and what fits by itself may not fit when it is merged."""


def start(token: str) -> dict[str, Any]:
    """Give the value that documents begin with."""
    return {"title": token, "n": 0, "log": [], "deep": {"a": {"b": token}}}


def operations(random: Random, value: Json | Absent, token: str) -> Patch:
    """Make an edit of a value; now and then it has a guard, or counts."""
    if not isinstance(value, dict):
        return [{"op": "add", "path": "/title", "value": token}]
    patch = plain(random, value, token)
    if random.random() < 0.1 and isinstance(value.get("n"), int):
        return [{"op": "inc", "path": "/n", "value": 1}, *patch]
    if random.random() < 0.1 and "title" in value:
        return [{"op": "test", "path": "/title", "value": value["title"]}, *patch]
    return patch


def plain(random: Random, value: Mapping[str, Any], token: str) -> Patch:
    """Make an edit in plain RFC 6902 that applies to a value."""
    log, members = value.get("log"), [name for name in value if name.startswith("m")]
    made: list[Patch] = [
        [{"op": "add", "path": "/title", "value": token}],
        [{"op": "add", "path": f"/m{random.randrange(3)}", "value": {"t": token}}],
    ]
    if isinstance(log, list):
        made += 2 * [[{"op": "add", "path": "/log/-", "value": token}]]
        made += [[{"op": "add", "path": "/log/0", "value": token}]]
        if log:
            made += [[{"op": "remove", "path": f"/log/{random.randrange(len(log))}"}]]
            made += [[{"op": "replace", "path": f"/log/{random.randrange(len(log))}", "value": token}]]
        if len(log) > 1:
            made += [[{"op": "move", "from": "/log/0", "path": f"/log/{len(log) - 1}"}]]
    if isinstance(value.get("deep"), dict):
        made += [[{"op": "add", "path": f"/deep/{random.choice('ab')}", "value": {"b": token}}]]
    if members:
        made += [[{"op": "remove", "path": f"/{random.choice(members)}"}]]
        made += [[{"op": "move", "from": f"/{random.choice(members)}", "path": "/m2"}]]
    return random.choice(made)
