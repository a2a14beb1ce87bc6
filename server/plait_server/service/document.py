"""A document in memory: its durable head, its speculative tip and the revisions before them."""

import asyncio

from plait_merge import Operation, Policy, TouchIndex
from plait_server.service.lease import Leases
from plait_server.service.limits import ServiceLimits
from plait_server.service.revision import JSON_IN_MEMORY, Revision
from plait_server.store import Address

DOCUMENT_BYTES = 1_000
"""About what an open document takes in memory besides its value and revisions."""


class OpenDocument:
    """What the next edit needs, without asking the store.

    Edits are decided on `tip`, which runs ahead of `head` by the revisions that wait for the disk. Only
    `head` and what is before it may ever be shown. If one of the waiting ones fails, so do those built
    on it: the document is `stale`, nobody uses it any more, and a fresh one is loaded.
    """

    __slots__ = (
        "_operations_most",
        "_policy",
        "_recent",
        "_touched",
        "_waiters",
        "address",
        "deciding",
        "head",
        "leases",
        "patch_bytes",
        "patches",
        "recent_bytes",
        "size_bound",
        "snapshot_bytes",
        "stale",
        "tip",
        "used",
        "users",
    )

    def __init__(self, address: Address, recent: list[Revision], size: int, snapshot_bytes: int) -> None:
        """`recent` are the revisions since the last snapshot, with values; `size` bounds the last one's."""
        self.address = address
        self.head = self.tip = recent[-1]
        self.stale = False
        self.users = 0
        self.used = 0
        """When it was last used, in ticks of `Documents`."""
        self.deciding = asyncio.Lock()
        """Held while a decision needs more than one step of the event loop."""
        self.leases: Leases | None = None
        """Those of it, as long as there are some. They follow its tip."""
        self.size_bound = size
        """No less than the size of the tip's value as JSON."""
        self.snapshot_bytes = snapshot_bytes
        self.patches = len(recent) - 1
        self.patch_bytes = sum(len(revision.patch) for revision in recent[1:])
        """Committed since the last snapshot."""
        # Revisions without gaps up to the tip. The first is the floor: it is there for its value.
        self._recent = recent
        self.recent_bytes = sum(revision.weight for revision in recent[1:])
        self._operations_most = _most_operations(recent)
        """No revision in memory has more."""
        self._touched: TouchIndex | None = None
        self._policy: Policy | None = None
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def weight(self) -> int:
        """About what the document takes in memory, in bytes."""
        return DOCUMENT_BYTES + JSON_IN_MEMORY * self.size_bound + self.recent_bytes

    @property
    def busy(self) -> bool:
        """Whether somebody uses it, or something of it waits for the disk."""
        return self.users > 0 or self.tip is not self.head

    @property
    def floor(self) -> int:
        """The oldest revision whose value is in memory."""
        return self._recent[0].n

    def at(self, n: int) -> Revision | None:
        """Give revision `n`, up to the tip, if it is in memory."""
        index = n - self.floor
        return self._recent[index] if 0 <= index < len(self._recent) else None

    def since(self, n: int, upto: int) -> list[Revision]:
        """Give the revisions after `n`, which is in memory, to `upto`."""
        floor = self.floor
        return self._recent[n + 1 - floor : upto + 1 - floor]

    def index(self, policy: Policy | None) -> None:
        """Make what `touched_since` asks, for a policy. Quiet documents never pay for it: the first late
        edit does, and the first one after the policy was changed."""
        if self._touched is None or self._policy is not policy:
            touched = TouchIndex(policy)
            for revision in self._recent[1:]:
                touched.record(revision.operations, revision.n)
            self._touched, self._policy = touched, policy

    def unindexed(self, policy: Policy | None) -> int:
        """Say how many revisions `index` would read."""
        return 0 if self._touched is not None and self._policy is policy else len(self._recent) - 1

    def touched_since(self, operations: tuple[Operation, ...], n: int) -> bool:
        """Say whether a revision after `n` touched what the operations concern, or may have.

        Cost: O(operations x depth). May be asked off the event loop, on which `trim` forgets: hence the
        floor is compared last.
        """
        touched = self._touched is None or self._touched.overlaps(operations, n)
        return touched or n < self.floor

    def operations_bound(self, n: int) -> int:
        """Give no less than the number of operations after revision `n`, which is in memory. Cost: next to
        nothing; to count them takes microseconds where many come after it."""
        return (self.tip.n - n) * self._operations_most

    def append(self, revision: Revision, size_bound: int) -> None:
        """Make `revision` the tip: speculative until `settle`."""
        if self.leases is not None:
            self.leases.follow(self.tip.value, revision, self.head.n)
        self.tip = revision
        self.size_bound = size_bound
        self._recent.append(revision)
        self.recent_bytes += revision.weight
        if len(revision.operations) > self._operations_most:
            self._operations_most = len(revision.operations)
        if self._touched is not None:
            self._touched.record(revision.operations, revision.n)

    def prepend(self, floor: Revision, revisions: list[Revision], limits: ServiceLimits) -> None:
        """Take older revisions in, if there is room: `floor`, then `revisions` up to the present floor."""
        weight = sum(revision.weight for revision in revisions)
        count = len(self._recent) + len(revisions)
        if count > limits.recent_revisions_max or self.recent_bytes + weight > limits.recent_bytes_max:
            return
        self._recent = [floor, *revisions, *self._recent[1:]]
        self.recent_bytes += weight
        self._operations_most = max(self._operations_most, _most_operations(revisions))
        self._touched = None

    def settle(self, revision: Revision) -> None:
        """Note that `revision`, the next one after the head, is durable."""
        self.head.drop_body()
        self.head = revision
        if revision.n == 1:
            # The patch that creates a document is as good as a snapshot.
            self.note_snapshot(len(revision.patch))
        else:
            self.patches += 1
            self.patch_bytes += len(revision.patch)
        if self._waiters:
            self._wake(revision.n)

    def give_up(self) -> None:
        """Note that a revision failed, and with it everything built on it."""
        self.stale = True
        if self.leases is not None:
            self.leases.rewind(self.head.n)
        self._wake(self.tip.n)

    async def durable(self, revision: Revision) -> bool:
        """Wait until a revision that was the tip is durable; False if it failed."""
        if revision.n > self.head.n and not self.stale:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((revision.n, waiter))
            await waiter
        return revision.n <= self.head.n

    def trim(self, limits: ServiceLimits) -> None:
        """Forget the oldest durable revisions beyond the limits, some more than needed each time."""
        while len(self._recent) > limits.recent_revisions_max or self.recent_bytes > limits.recent_bytes_max:
            dropped = min(self.head.n - self.floor, max(1, len(self._recent) // 4))
            if not dropped:
                break
            self._drop(dropped)

    def forget(self, oldest: int) -> None:
        """Forget the durable revisions before one: the store has them no more."""
        dropped = min(oldest, self.head.n) - self.floor
        if dropped > 0:
            self._drop(dropped)

    def _drop(self, count: int) -> None:
        """Drop the oldest revisions; the floor moves to the next one."""
        self.recent_bytes -= sum(revision.weight for revision in self._recent[1 : count + 1])
        del self._recent[:count]
        if self._touched is not None:
            self._touched.forget(self.floor + 1)

    def wants_snapshot(self, limits: ServiceLimits) -> bool:
        """Say whether the patches since the last snapshot weigh as much as the document, or are too many."""
        return self.patches >= limits.snapshot_revisions_max or self.patch_bytes >= max(
            self.snapshot_bytes, limits.snapshot_bytes_min
        )

    def note_snapshot(self, size: int) -> None:
        """Note that the head was kept whole, in `size` bytes."""
        self.patches = self.patch_bytes = 0
        self.snapshot_bytes = size

    def _wake(self, upto: int) -> None:
        for n, waiter in self._waiters:
            if n <= upto and not waiter.done():
                waiter.set_result(None)
        self._waiters = [entry for entry in self._waiters if not entry[1].done()]


def _most_operations(revisions: list[Revision]) -> int:
    return max((len(revision.operations) for revision in revisions), default=0)
