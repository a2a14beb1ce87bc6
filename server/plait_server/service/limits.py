"""What a stranger can make grow, and how far. Units are the last word of each name."""

from dataclasses import dataclass, field, replace
from typing import Final

from plait_merge.values import LIMITS, Limits


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """What one live connection may take."""

    hello_timeout_s: float = 10
    hello_bytes_max: int = 16_384
    frame_bytes_max: int = 65_536
    queue_frames_max: int = 256
    queue_bytes_max: int = 1_048_576
    slow_timeout_s: float = 20
    heartbeat_s: float = 25
    subscriptions_max: int = 1_000
    edits_in_flight_max: int = 32
    composed_revisions_max: int = 1_000
    composed_bytes_max: int = 262_144
    """Whoever missed more than this gets a snapshot."""
    presence_bytes_max: int = 4_096
    presence_interval_s: float = 0.1
    presence_ttl_s: float = 30
    depth_max: int = 64
    integer_digits_max: int = 1_000
    tick_s: float = 1
    """How often the hub looks at the clock for everybody."""


IN_MEMORY: Final = "memory://"


@dataclass(frozen=True, slots=True)
class Rates:
    """How often one may ask, as the `limits` library writes it ("100/second;1000/hour"); "" sets no bound."""

    caller: str = ""
    caller_writes: str = ""
    tenant: str = ""
    tenant_writes: str = ""
    storage: str = IN_MEMORY
    """Where it is counted: here, or at a URI of the library."""
    counters_max: int = 50_000
    """Counters kept here; the longest unused ones go first."""

    @property
    def given(self) -> bool:
        """Whether anybody is to be counted."""
        return any((self.caller, self.caller_writes, self.tenant, self.tenant_writes))


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Limits of the service. `values` are those of the engine."""

    values: Limits = field(default=LIMITS)
    document_bytes_max: int = 1_048_576
    """A document, as JSON, after an edit."""
    idempotency_ttl_s: float = 86_400
    answers_recent_max: int = 10_000
    """Answers to idempotency keys kept in memory; all are in the store."""
    conflict_ttl_s: float = 604_800
    conflicts_total_max: int = 100_000
    conflict_value_bytes_max: int = 65_536
    conflicts_shown_max: int = 1_000
    """Conflicts of one refused edit shown at a time."""
    missed_revisions_max: int = 100
    missed_bytes_max: int = 65_536
    open_documents_max: int = 20_000
    open_bytes_max: int = 134_217_728
    """Values and revisions held in memory, estimated, of all documents."""
    open_idle_s: float = 300
    recent_revisions_max: int = 1_000
    recent_bytes_max: int = 1_048_576
    """Revisions held in memory of one document."""
    snapshot_revisions_max: int = 1_000
    snapshot_bytes_min: int = 32_768
    """Patches of less weight never cause a snapshot, however small the document is."""
    edits_waiting_max: int = 10_000
    """Edits under way at once, of all documents."""
    document_edits_waiting_max: int = 2_000
    """Edits under way at once of one document."""
    rates: Rates = field(default=Rates())
    queue_document_edits_max: int = 1_000
    """Queued edits of one document."""
    queue_tenant_edits_max: int = 10_000
    queue_edits_max: int = 50_000
    queue_bytes_max: int = 67_108_864
    """Queued edits, as they are kept, of all tenants."""
    queue_documents_at_once: int = 16
    """Documents whose queued edits are decided at the same time."""
    operation_wait_max_s: float = 30
    """How long a caller may wait for its turn."""
    operation_ttl_s: float = 86_400
    """How long what came of a queued edit can be asked for."""
    batch_operations_max: int = 10_000
    """Of all patches of a batch together."""
    collections_max: int = 1_000
    """Collections of a tenant that have settings."""
    schema_bytes_max: int = 65_536
    lock_ttl_s: float = 30
    """A lease, where the caller does not say how long."""
    lock_ttl_max_s: float = 3_600
    document_locks_max: int = 100
    caller_locks_max: int = 1_000
    locks_max: int = 10_000
    """Leases of all tenants: they are held in memory."""
    page_items_max: int = 500
    page_bytes_max: int = 1_048_576
    """Patches in one page of history."""
    blame_bytes_max: int = 33_554_432
    """Who set what, kept in memory for the documents asked about last."""
    offload_bytes_min: int = 16_384
    """Work on more bytes than this leaves the event loop."""
    live: LiveLimits = field(default=LiveLimits())
    labels_max: int = 256
    """Labels of one document. Each keeps the whole value of its revision."""
    compaction_interval_s: float = 10
    """Between two looks for history beyond its retention."""
    rounds_max: int = 5
    """How often an edit is decided again because another process was faster."""

    def shared(self, edits: int) -> "ServiceLimits":
        """Give what each of so many conflicts in one answer may show, so that all show no more than one."""
        if edits < 2:
            return self
        return replace(
            self,
            conflicts_shown_max=max(1, self.conflicts_shown_max // edits),
            conflict_value_bytes_max=self.conflict_value_bytes_max // edits,
            missed_bytes_max=self.missed_bytes_max // edits,
        )
