"""Everything that can be set, once, with its unit in its name.

Settings are built in one place, `load`, from flags, then `PLAIT_*` environment variables, then
`plait.toml`, then the defaults below. Nothing else in the server reads the environment.
"""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from limits import parse_many
from limits.aio.storage import SlidingWindowCounterSupport
from limits.errors import ConfigurationError
from limits.storage import storage_from_string
from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

DEFAULT_FILE = Path("plait.toml")
PREFIX = "PLAIT_"
FOR_TESTS = ("PLAIT_TEST_", "PLAIT_FAULTS")
"""Variables that begin like this belong to the tests."""

Bytes = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
QUOTA_MAX = 10**15 - 1
"""The largest integer of a structured field: a quota is told in one."""
LOGIN = re.compile(r"(?<=://)\S*@")
QUERY = re.compile(r"(://[^\s?]*\?)\S*")
RATES_EXAMPLE = "written like 100/second, or 100/second;5000/hour"


def _read_rates(text: str) -> str:
    """Let through what the `limits` library can read, each window once."""
    if not text:
        return text
    try:
        rates = parse_many(text)
    except ValueError as error:
        raise PydanticCustomError("rates", f"it is {RATES_EXAMPLE}") from error
    windows = {rate.get_expiry() for rate in rates}
    if len(windows) < len(rates):
        raise PydanticCustomError("rates", "it has two quotas for one window")
    if not all(1 <= rate.amount <= QUOTA_MAX for rate in rates) or max(windows) > QUOTA_MAX:
        raise PydanticCustomError("rates", f"a quota is a number from 1 to {QUOTA_MAX}, and so is a window")
    return text


def _read_storage(uri: str) -> str:
    """Let through a storage of the `limits` library that does not hold up the event loop."""
    if uri == "memory://":
        return uri
    try:
        storage = storage_from_string(uri)
    except (ConfigurationError, ValueError) as error:
        raise PydanticCustomError("storage", "{why}", {"why": str(error)}) from error
    if not isinstance(storage, SlidingWindowCounterSupport):
        raise PydanticCustomError("storage", "it is memory://, or a URI like async+redis://127.0.0.1:6379")
    return uri


Rates = Annotated[str, AfterValidator(_read_rates)]
Storage = Annotated[str, AfterValidator(_read_storage)]


class ConfigError(Exception):
    """A setting is unknown or has no sensible value. The message names each one, line by line."""


class Settings(BaseSettings):
    """The effective settings of one server. Immutable; unknown names are refused."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    db: Path = Field(Path("plait.db"), description="SQLite file; made when it is not there.")
    problem_base: str = Field(
        "urn:plait:errors:",
        pattern=r"^[a-z][a-z0-9+.-]*:\S*$",
        description="What comes before an error's code in the `type` of a problem document.",
    )
    access_log: bool = Field(False, description="Log a line per request (costs 25 µs each).")

    document_bytes_max: Bytes = Field(1_048_576, description="Largest document, as JSON.")
    patch_bytes_max: Bytes = Field(262_144, description="Largest body of a PATCH or a resolution.")
    depth_max: Annotated[int, Field(ge=1, le=256)] = Field(64, description="Nesting of a document.")
    operations_max: Count = Field(10_000, description="Operations in one patch.")
    pointer_bytes_max: Bytes = Field(4_096, description="Length of one JSON Pointer.")
    integer_digits_max: Annotated[int, Field(ge=1, le=4_000)] = Field(
        1_000, description="Digits of one integer, kept exactly."
    )
    copied_bytes_max: Bytes = Field(1_048_576, description="What the `copy` operations of a patch may add.")
    message_bytes_max: Bytes = Field(4_096, description="Length of the message of an edit.")
    header_bytes_max: Bytes = Field(8_190, description="Length of the request line or of one header field.")
    head_bytes_max: Bytes = Field(65_536, description="Length of a whole request head.")
    headers_max: Count = Field(100, description="Header fields of one request.")

    connections_max: Count = Field(10_000, description="Open connections; one more is answered 503.")
    bodies_bytes_max: Bytes = Field(
        67_108_864, description="Bytes of all request bodies that are still coming; one more is answered 503."
    )
    request_start_timeout_s: Seconds = Field(15, description="Until a new connection has sent its headers.")
    body_timeout_s: Seconds = Field(30, description="Until a request body is complete.")
    write_timeout_s: Seconds = Field(30, description="Until a client that does not read is cut.")
    keepalive_timeout_s: Seconds = Field(75, description="Until an idle connection is closed.")
    shutdown_timeout_s: Seconds = Field(8, description="Until requests under way are given up at the end.")
    offload_bytes_min: Bytes = Field(65_536, description="Bodies from this size are parsed off the loop.")

    page_items: Count = Field(50, description="Entries in a list when the caller names no limit.")
    page_items_max: Count = Field(500, description="Entries in a list at most.")
    page_bytes_max: Bytes = Field(
        1_048_576, description="Patches in a page of history; the last may pass it."
    )
    idempotency_ttl_s: Seconds = Field(
        86_400, description="How long an idempotency key is remembered, while a server runs."
    )
    conflict_ttl_s: Seconds = Field(
        604_800, description="How long an unsettled conflict is kept, while a server runs."
    )
    conflicts_open_max: Count = Field(1_000, description="Conflicts kept per document; the oldest go first.")
    conflicts_open_bytes_max: Bytes = Field(16_777_216, description="Bytes of those; the oldest go first.")
    conflicts_shown_max: Count = Field(
        1_000, description="Conflicts in one answer; the kept conflict has the rest by page."
    )
    conflict_value_bytes_max: Bytes = Field(65_536, description="Longer values are left out of a conflict.")
    batch_edits_max: Count = Field(100, description="Edits in one batch.")
    batch_bytes_max: Bytes = Field(4_194_304, description="Largest body of a batch.")
    batch_operations_max: Count = Field(10_000, description="Operations of all patches of a batch.")
    collections_max: Count = Field(1_000, description="Collections of a tenant that have settings.")
    labels_max: Count = Field(256, description="Labels of one document; each keeps a whole value.")
    compaction_interval_s: Seconds = Field(
        10, description="Between two looks for history beyond its retention."
    )
    schema_bytes_max: Bytes = Field(65_536, description="Largest JSON Schema of a collection.")
    missed_revisions_max: Count = Field(100, description="Revisions listed in `missed` at most.")
    missed_bytes_max: Bytes = Field(65_536, description="Bytes of `missed` at most.")

    lock_ttl_s: Seconds = Field(30, description="How long a lease lasts when the caller does not say.")
    lock_ttl_max_s: Seconds = Field(3_600, description="How long a lease lasts at most.")
    document_locks_max: Count = Field(100, description="Leases in one document.")
    caller_locks_max: Count = Field(1_000, description="Leases of one caller.")
    locks_max: Count = Field(10_000, description="Leases of everybody; one more is answered 503.")

    live_connections_max: Count = Field(10_000, description="Live connections at once.")
    live_subscriptions_max: Count = Field(1_000, description="Documents one live connection may follow.")
    live_frame_bytes_max: Bytes = Field(65_536, description="Largest frame of a live client.")
    live_queue_frames_max: Annotated[int, Field(ge=8)] = Field(
        256, description="Frames that wait for one live client at most."
    )
    live_queue_bytes_max: Bytes = Field(1_048_576, description="Bytes of those frames at most.")
    live_hello_timeout_s: Seconds = Field(10, description="Until a live client has said who it is.")
    live_slow_timeout_s: Seconds = Field(20, description="Until a live client that does not read is cut.")
    live_heartbeat_s: Seconds = Field(25, description="Between two signs of life on a live connection.")
    live_origins: str = Field(
        "", description="Origins of other sites whose pages may connect without a token, by commas."
    )
    changes_wait_max_s: Seconds = Field(60, description="How long the feed waits for a change at most.")

    open_documents_max: Count = Field(20_000, description="Documents kept open in memory.")
    open_bytes_max: Bytes = Field(134_217_728, description="Values and revisions of all open documents.")
    open_idle_s: Seconds = Field(300, description="Until a document nobody uses is closed.")
    recent_revisions_max: Count = Field(1_000, description="Revisions of an open document kept in memory.")
    recent_bytes_max: Bytes = Field(1_048_576, description="Bytes of those patches.")
    snapshot_revisions_max: Count = Field(1_000, description="Patches between two snapshots at most.")
    blame_bytes_max: Bytes = Field(
        33_554_432, description="Who set what in the documents asked about last, kept in memory."
    )
    edits_waiting_max: Count = Field(
        10_000,
        description="Edits under way before 503; one tenant has four fifths of them at most.",
    )
    document_edits_waiting_max: Count = Field(
        2_000, description="Edits of one document under way before 503."
    )
    rate_limit_caller: Rates = Field(
        "", description="Requests of one caller, such as 100/second;5000/hour; without one, any number."
    )
    rate_limit_caller_writes: Rates = Field("", description="Those of them that write.")
    rate_limit_tenant: Rates = Field("", description="Requests of all callers of a tenant together.")
    rate_limit_tenant_writes: Rates = Field("", description="Those of them that write.")
    rate_limit_storage: Storage = Field(
        "memory://", description="Where requests are counted: here, or in a storage of the limits library."
    )
    rate_limit_counters_max: Count = Field(
        50_000, description="Counters kept here; the longest unused ones are forgotten first."
    )

    queue_document_edits_max: Count = Field(1_000, description="Queued edits of one document before 503.")
    queue_tenant_edits_max: Count = Field(10_000, description="Queued edits of one tenant before 503.")
    queue_edits_max: Count = Field(50_000, description="Queued edits of all before 503.")
    queue_bytes_max: Bytes = Field(67_108_864, description="Bytes of all queued edits before 503.")
    operation_wait_max_s: Seconds = Field(30, description="How long a caller may wait for a queued edit.")
    operation_ttl_s: Seconds = Field(
        86_400, description="How long what came of a queued edit is kept, while a server runs."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load(flags: Mapping[str, Any], file: Path | None = None) -> Settings:
    """Build the settings: flags over environment over `file` over defaults.

    Without `file`, `plait.toml` in the current folder is read if it is there. Raises ConfigError.
    """
    if file is not None and not file.is_file():
        raise ConfigError(f"There is no settings file at {file}.")

    class Loaded(Settings):
        model_config = SettingsConfigDict(toml_file=file or DEFAULT_FILE)

    _refuse_unknown_variables(os.environ)
    try:
        return Loaded(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise ConfigError("\n".join(map(_sentence, error.errors()))) from error
    except ValueError as error:
        raise ConfigError(f"{file or DEFAULT_FILE} is not TOML: {error}.") from error


def without_passwords(text: str) -> str:
    """Mask what may be one in the URIs of a text: whatever stands before a host, and the query."""
    return QUERY.sub(r"\1***", LOGIN.sub("***@", text))


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """Refuse a variable that looks like a setting and is none: a typo must not be ignored."""
    known = [f"{PREFIX}{name}".upper() for name in Settings.model_fields]
    for name in environment:
        wanted = name.upper()
        if wanted.startswith(PREFIX) and wanted not in known and not wanted.startswith(FOR_TESTS):
            likely = get_close_matches(wanted, known, 1)
            hint = f"; did you mean {likely[0]}?" if likely else "."
            raise ConfigError(f"There is no setting for the environment variable {name!r}{hint}")


def _sentence(error: Any) -> str:
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"There is no setting {name!r}."
    return without_passwords(f"The setting {name!r} cannot be {error['input']!r}: {error['msg'].lower()}.")
