"""What an application may listen to and count. Nothing here can break an edit."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from plait_client.errors import PlaitError

log = logging.getLogger(__name__)
Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class Retrying:
    """A request is about to be sent again, `wait_s` from now, as attempt `attempt` of `attempts`."""

    method: str
    path: str
    attempt: int
    attempts: int
    wait_s: float
    error: PlaitError


@dataclass(frozen=True, slots=True)
class Settled:
    """An edit has come to its end. `outcome` is the server's word, or "conflict" or "refused"."""

    document: str
    key: str
    outcome: str
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Events:
    """Who wants to hear what. A listener is called at once and must not block; what it raises is logged."""

    on_retry: Callable[[Retrying], object] | None = None
    on_conflict: Callable[[PlaitError], object] | None = None
    on_settled: Callable[[Settled], object] | None = None

    def retrying(self, retrying: Retrying) -> None:
        _tell(self.on_retry, retrying)

    def conflict(self, conflict: PlaitError) -> None:
        _tell(self.on_conflict, conflict)

    def settled(self, settled: Settled) -> None:
        _tell(self.on_settled, settled)


def _tell(listener: Callable[[Told], object] | None, what: Told) -> None:
    if listener is None:
        return
    try:
        listener(what)
    except Exception:
        log.exception("A listener failed on %r", what)


@dataclass(slots=True)
class Counters:
    """How often what happened since the client was opened. Plain numbers, for any exporter."""

    requests: int = 0
    attempts: int = 0
    retries: int = 0
    faults: int = 0
    throttles: int = 0
    deadlines: int = 0
    quota_spent: int = 0
    saved: int = 0
    merged: int = 0
    noop: int = 0
    conflicts: int = 0
    refused: int = 0
    queued: int = 0
    reconnects: int = 0
