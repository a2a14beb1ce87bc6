"""Leases: the rules of who may write where, and until when. Nothing waits here, and time is an argument.

A lease guards what is at a place of a document, with everything in it. Others may not change it, remove it or
put something over it, nor do so with what it is in; they may read and copy it, edit everything beside it, and
move it or what it is in: the lease goes along. It ends when its time is over, when it is given up, and when
what it guards is removed, which only its holder can do.

Time is measured in seconds of a clock that only goes forward. The clock on the wall is asked only after a
restart, and then grants nothing beyond what was granted.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from plait_merge import ABSENT, Absent, Json, Operation, Tokens, parse_pointer
from plait_merge.patch import Replay
from plait_server.service.place import Place, Replayed, follow, overlap
from plait_server.service.revision import STORED, Revision
from plait_server.store import Hold, LockRecord


class Lease(Struct, eq=False):
    """A lease of one document. `holder` is who has it, for people; `caller` whose credential it is.

    `deadline` is when it ends; `expires` is the same moment as it was told, in milliseconds since 1970.
    """

    id: str
    holder: str
    caller: str
    fence: int
    ttl_ms: int
    expires: int
    deadline: float
    kept: int
    """The revision the store has its place at."""
    followed: int
    """The newest revision that its place was led to."""
    course: list[tuple[int, Tokens | None]]
    """Where it is, from which revision on; None: what it guards is gone. Begins with the durable head."""

    @property
    def hold(self) -> Hold:
        """What an edit names it by."""
        return Hold(self.id, self.fence)

    @property
    def place(self) -> Tokens | None:
        """Where it is at the document's tip."""
        return self.course[-1][1]

    def place_at(self, n: int) -> Tokens | None:
        """Give where it is at revision `n`: the head or one that waits for the disk."""
        return next((place for since, place in reversed(self.course) if since <= n), None)

    def stands(self, now: float) -> bool:
        return now < self.deadline and self.place is not None

    def renew(self, now: float, expires: int, ttl_ms: int) -> None:
        """Let it last from now on, as long as was asked for this time."""
        self.ttl_ms, self.expires = ttl_ms, expires
        self.deadline = now + ttl_ms / 1000

    def moment(self, now: float, wall: int) -> int:
        """Say when it ends, by the clock on the wall: as told before, unless that was set meanwhile."""
        expected = wall + int((self.deadline - now) * 1000)
        return self.expires if abs(self.expires - expected) < CLOCK_STEP_MS else expected


CLOCK_STEP_MS = 1_000


def revive(record: LockRecord, now: float, wall: int) -> Lease:
    """Bring a stored lease back after a restart: it has what is left of its time by the clock on the wall,
    and never more than it was given."""
    left_ms = min(record.ttl_ms, record.expires - wall)
    return Lease(
        id=record.id,
        holder=record.holder,
        caller=record.caller,
        fence=record.fence,
        ttl_ms=record.ttl_ms,
        expires=wall + left_ms,
        deadline=now + left_ms / 1000,
        kept=record.revision,
        followed=record.revision,
        course=[(record.revision, parse_pointer(record.pointer))],
    )


class Leases:
    """The leases of one document. They follow its tip; `rewind` where that fails."""

    __slots__ = ("_by_id", "_led")

    def __init__(self) -> None:
        self._by_id: dict[str, Lease] = {}
        self._led: tuple[Sequence[Operation], Json | Absent, Mapping[str, Place]] | None = None
        """Operations, what they apply to, and where they lead."""

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Lease]:
        # A copy: large edits are looked at off the event loop.
        return iter(list(self._by_id.values()))

    def get(self, id: str) -> Lease | None:
        return self._by_id.get(id)

    def add(self, lease: Lease) -> None:
        self._by_id[lease.id] = lease
        self._led = None

    def drop(self, id: str) -> Lease | None:
        return self._by_id.pop(id, None)

    def held(self, hold: Hold, caller: str, now: float) -> Lease | None:
        """Give the lease that a caller names, if it is his and stands."""
        lease = self._by_id.get(hold.lock)
        if lease is None or not lease.stands(now):
            return None
        return lease if (lease.fence, lease.caller) == (hold.fence, caller) else None

    def around(self, place: Tokens, now: float) -> Lease | None:
        """Give the first lease that overlaps a place of the tip."""
        return next((lease for lease, guarded in self._guarding(now) if overlap(place, guarded)), None)

    def trespassed(
        self, value: Json | Absent, operations: Sequence[Operation], now: float, own: str | None = None
    ) -> Lease | None:
        """Give the first lease but one's own under which operations write. `value` is the tip's."""
        places = self._lead(value, operations)
        for lease, _ in self._guarding(now, own):
            # Off the event loop a lease may come back meanwhile: then the document is stale, and so is this.
            place = places.get(lease.id)
            if place is not None and place.written:
                return lease
        return None

    def _lead(self, value: Json | Absent, operations: Sequence[Operation]) -> Mapping[str, Place]:
        """Follow the places of all leases through operations; once for the check and for what comes of it."""
        led = self._led
        if led is None or led[0] is not operations or led[1] is not value:
            guarded = {lease.id: lease.place for lease in self if lease.place is not None}
            places = follow(guarded.values(), operations, Replayed(value))
            led = self._led = operations, value, dict(zip(guarded, places, strict=True))
        return led[2]

    def _guarding(self, now: float, own: str | None = None) -> list[tuple[Lease, Tokens]]:
        return [
            (lease, lease.place)
            for lease in self
            if lease.id != own and now < lease.deadline and lease.place is not None
        ]

    def follow(self, before: Json | Absent, revision: Revision, head: int) -> None:
        """Lead the leases from the value before a revision to it; `head` is the newest durable one."""
        places = self._lead(before, revision.operations)
        self._led = None
        after = Replay(revision.value, STORED)
        for lease in self:
            if lease.followed != revision.n - 1:
                continue
            lease.followed = revision.n
            if lease.place is not None:
                place = places[lease.id]
                is_there = place.there and after.find(place.tokens) is not ABSENT
                now_at = place.tokens if is_there else None
                if now_at != lease.place:
                    lease.course.append((revision.n, now_at))
            while len(lease.course) > 1 and lease.course[1][0] <= head:
                del lease.course[0]

    def followed(self, head: int) -> int:
        """Give the oldest revision that a lease has not been led beyond; `head`, where there is none."""
        return min((lease.followed for lease in self if lease.place is not None), default=head)

    def lose(self, head: int) -> None:
        """End the leases that cannot be led on to the head: what they missed was compacted away."""
        for lease in self:
            if lease.followed < head:
                lease.followed = head
                lease.course.append((head, None))

    def rewind(self, head: int) -> None:
        """Forget where the leases were led by revisions that failed."""
        self._led = None
        for lease in self:
            lease.followed = min(lease.followed, head)
            while len(lease.course) > 1 and lease.course[-1][0] > head:
                del lease.course[-1]

    def over(self, now: float, head: int) -> list[Lease]:
        """Give those that have ended, as far as that is durable."""
        return [lease for lease in self if now >= lease.deadline or lease.place_at(head) is None]
