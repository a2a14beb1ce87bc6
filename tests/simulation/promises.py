"""What is promised for a time, in the time that really passes, whatever the clock on the wall is set to.

Answers to idempotency keys, conflicts and what came of queued edits are kept for so long from when they were
decided, which is some time before they are durable. A lease lasts as long as it was granted for; over a
restart it has what is left by the wall.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from plait_server.service import ServiceLimits
from plait_server.store import Address, Commit, LockRecord
from simulation.chronicle import Violation, place

COMMIT_S = 10.0
"""No decision takes longer to be durable."""
Scope = tuple[str, str]
"""A caller and a key."""


class Promises:
    """Until when what is kept, by `clock`: seconds that nobody can set."""

    def __init__(self, limits: ServiceLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._keys: dict[Scope, float] = {}
        self.lives: Counter[Scope] = Counter()
        """How often something was decided under a key: again only when it was free again."""
        self._conflicts: dict[tuple[Address, str], float] = {}
        self._operations: dict[str, float] = {}
        self._leases: dict[tuple[Address, str, int], float] = {}

    def committed(self, commit: Commit) -> None:
        """Note what a commit that is durable now lets be kept. Raises Violation where a key is used twice."""
        decided, limits = self._clock() - COMMIT_S, self._limits
        if commit.key is not None:
            scope = commit.key.caller, commit.key.key
            if self.binds(scope):
                raise Violation("once", f"something was decided again under the key {scope[1]}")
            self._keys[scope] = decided + limits.idempotency_ttl_s
            self.lives[scope] += 1
        if commit.conflict is not None:
            self._conflicts[commit.address, commit.conflict.id] = decided + limits.conflict_ttl_s
        if commit.operation is not None:
            self._operations[commit.operation.id] = decided + limits.operation_ttl_s

    def finished(self, operation: str) -> None:
        """Note that a queued edit is finished, or is about to be."""
        self._operations.setdefault(operation, self._clock() + self._limits.operation_ttl_s)

    def binds(self, scope: Scope) -> bool:
        """Say whether the answer under a key has to be given again."""
        return self._clock() < self._keys.get(scope, 0)

    def missing_conflict(self, address: Address, id: str) -> None:
        """Hear that a conflict is not there. Raises Violation where it has to be."""
        if self._clock() < self._conflicts.get((address, id), 0):
            raise Violation("kept", f"the conflict {id} of {place(address)} is not there any more")

    def missing_operation(self, id: str) -> None:
        """Hear that a queued edit is not there. Raises Violation where it has to be."""
        if self._clock() < self._operations.get(id, float("inf")):
            raise Violation("kept", f"nobody knows any more what came of the queued edit {id}")

    def granting(self, lock: LockRecord) -> None:
        """Note that a lease is granted or renewed, and about to be written."""
        self._leases[lock.address, lock.id, lock.expires] = self._clock() + lock.ttl_ms / 1000

    def reviving(self, locks: Iterable[LockRecord], wall_ms: int) -> None:
        """Note that a process takes leases back, when it is so late on the wall."""
        for lock in locks:
            name = lock.address, lock.id, lock.expires
            left_s = (lock.expires - wall_ms) / 1000
            self._leases[name] = min(self._leases[name], self._clock() + left_s)

    def lasts(self, lock: LockRecord) -> bool:
        """Say whether the time of a lease is not over."""
        return self._clock() < self._leases[lock.address, lock.id, lock.expires]
