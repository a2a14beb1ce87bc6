"""What the writers of one run share: how long it goes on, what was counted, what was acknowledged."""

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plait_server.ledger import Ledger

GONE_S = 5.0
"""A server that refuses every connection for so long is taken for dead."""


@dataclass(slots=True)
class Tally:
    """Counts; times in seconds. `attempts` are requests to edit that were decided, `edits` what was meant."""

    acknowledged: int = 0
    noops: int = 0
    attempts: int = 0
    conflicts: int = 0
    settled: int = 0
    overtaken: int = 0
    reads: int = 0
    batches: int = 0
    queued: int = 0
    leases: int = 0
    cut: int = 0
    given_up: int = 0
    sent_again: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    times: "array[float]" = field(default_factory=lambda: array("d"))


class Load:
    """One run: until so many seconds are over, so many edits are begun, or somebody stops it."""

    def __init__(self, run: str, ledger: Ledger, duration_s: float | None, edits: int | None) -> None:
        self.run = run
        self.ledger = ledger
        self.tally = Tally()
        self.stopped_by: str | None = None
        self._duration_s = duration_s
        self._left = edits
        self._over = asyncio.Event()
        self._failing_since: float | None = None

    def begin(self) -> None:
        """Let the time run from now on."""
        if self._duration_s is not None:
            asyncio.get_running_loop().call_later(self._duration_s, self._over.set)

    def take(self) -> bool:
        """Whether one more edit shall be made."""
        if self._over.is_set() or self._left == 0:
            return False
        if self._left is not None:
            self._left -= 1
        return True

    def stop(self, why: str) -> None:
        """Let every writer end after its next answer."""
        self.stopped_by = self.stopped_by or why
        self._over.set()

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    @property
    def is_dead(self) -> bool:
        """Whether nobody could reach the server for some time."""
        return self._failing_since is not None and time.monotonic() - self._failing_since > GONE_S

    async def pause(self, seconds: float) -> None:
        """Wait, or until it is over."""
        try:
            await asyncio.wait_for(self._over.wait(), seconds)
        except TimeoutError:
            return

    def answered(self) -> None:
        self._failing_since = None

    def failed(self, key: str | None) -> None:
        """Note that a request, perhaps an edit of that key, had no answer."""
        self.tally.cut += 1
        if key is not None:
            self.ledger.leave_open(key)
        if self._failing_since is None:
            self._failing_since = time.monotonic()
        if self.is_dead:
            self.stop(f"The server could not be reached for {GONE_S:.0f} s.")

    def acknowledge(self, author: str, key: str, answer: Mapping[str, Any]) -> None:
        """Count an edit that was taken, and write it down."""
        if answer["outcome"] == "noop":
            self.tally.noops += 1
        else:
            self.tally.acknowledged += 1
        self.ledger.note(author, key, answer)
