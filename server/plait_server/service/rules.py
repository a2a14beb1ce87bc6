"""What holds for the documents of a collection: how they merge, what they may hold, what is kept of them."""

from typing import Final

from msgspec import Struct

from plait_merge import Json, Policy, PolicyError
from plait_server import errors
from plait_server.service.limits import ServiceLimits
from plait_server.service.request import MergeMode
from plait_server.service.schema import Schema, read_schema
from plait_server.service.workload import SchemaError
from plait_server.wire import encode


class Retention(Struct, frozen=True):
    """Which revisions are kept: the newest `revisions`, those younger than `days`, labelled ones; the newest
    of all in any case."""

    revisions: int | None = None
    days: int | float | None = None
    labelled: bool = True


class CollectionSettings(Struct, frozen=True):
    """The rules as data: a policy and a schema (None: none), the merge mode of edits that name none, and
    which revisions are kept (None: all)."""

    policy: Json = None
    schema: Json = None
    merge: MergeMode = "auto"
    retention: Retention | None = None


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

    @property
    def retention(self) -> Retention | None:
        return self.settings.retention


REVISIONS_MAX: Final = 10**9
DAYS_MAX: Final = 36_500

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
    if settings.retention is not None:
        problems += _flaws(settings.retention)
    if problems:
        raise errors.InvalidValue("These are no settings of a collection.", {"errors": problems})
    if policy is not None and not policy.rules:
        policy = None
    return Rules(revision, settings, policy, schema, author, at)


def _flaws(retention: Retention) -> list[dict[str, object]]:
    """Say what is wrong with a retention."""
    revisions, days = retention.revisions, retention.days
    flaws: list[dict[str, object]] = []
    if revisions is not None and not 1 <= revisions <= REVISIONS_MAX:
        flaws.append(
            {"detail": f"Kept are 1 to {REVISIONS_MAX} revisions.", "pointer": "#/retention/revisions"}
        )
    if days is not None and not 0 < days <= DAYS_MAX:
        flaws.append({"detail": f"Kept are up to {DAYS_MAX} days.", "pointer": "#/retention/days"})
    if revisions is None and days is None and not retention.labelled:
        flaws.append({"detail": "It does not say what to keep; null keeps all.", "pointer": "#/retention"})
    return flaws


def _check_size(schema: Json, most: int) -> None:
    if len(encode(schema)) > most:
        members = {"limit": "schema_bytes", "maximum": most}
        raise errors.TooLarge(f"The schema is larger than {most} bytes.", members)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].removesuffix('.')}."
