"""What holds for the documents of a collection: how they merge, and what they may hold."""

from typing import Final

from msgspec import Struct

from plait_merge import Json, Policy, PolicyError
from plait_server import errors
from plait_server.service.limits import ServiceLimits
from plait_server.service.request import MergeMode
from plait_server.service.schema import Schema, read_schema
from plait_server.service.workload import SchemaError
from plait_server.wire import encode


class CollectionSettings(Struct, frozen=True):
    """The rules as data: a policy and a schema (None: none), and the merge mode of edits that name none."""

    policy: Json = None
    schema: Json = None
    merge: MergeMode = "auto"


class Rules(Struct, frozen=True, eq=False):
    """The settings of a collection from its revision `revision` on, ready for use. 0: it never had any."""

    revision: int = 0
    settings: CollectionSettings = CollectionSettings()
    policy: Policy | None = None
    schema: Schema | None = None
    author: str = ""
    at: int = 0

    @property
    def merge(self) -> MergeMode:
        return self.settings.merge


DEFAULT: Final = Rules()


def read_rules(
    settings: CollectionSettings, revision: int, author: str, at: int, limits: ServiceLimits
) -> Rules:
    """Make rules of settings. Raises InvalidValue with every reason, TooLarge."""
    problems: list[dict[str, object]] = []
    policy = schema = None
    try:
        policy = None if settings.policy is None else Policy.read(settings.policy)
    except PolicyError as error:
        problem: dict[str, object] = {
            "detail": _sentence(error.detail),
            "pointer": f"#/policy{error.pointer}",
        }
        problems.append({**problem, "known": list(error.known)} if error.known else problem)
    try:
        if settings.schema is not None:
            _check_size(settings.schema, limits.schema_bytes_max)
            schema = read_schema(settings.schema, limits.values.depth_max)
    except SchemaError as error:
        problems.append({"detail": _sentence(error.detail), "pointer": f"#/schema{error.pointer}"})
    if problems:
        raise errors.InvalidValue("These are no settings of a collection.", {"errors": problems})
    if policy is not None and not policy.rules:
        policy = None
    return Rules(revision, settings, policy, schema, author, at)


def _check_size(schema: Json, most: int) -> None:
    if len(encode(schema)) > most:
        members = {"limit": "schema_bytes", "maximum": most}
        raise errors.TooLarge(f"The schema is larger than {most} bytes.", members)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].removesuffix('.')}."
