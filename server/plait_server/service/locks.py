"""Leases as callers ask for them: acquire, renew, release, look. The rules are in `lease`.

A lease is granted while nobody else decides anything about the document, and once nothing of it waits for the
disk: what was decided before is durable then, and what is decided later knows of the lease. All leases are in
memory as long as they stand, and in the store, so that they stand after a restart too.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from math import ceil

from msgspec import Struct

from plait_merge import (
    ABSENT,
    Absent,
    ChoiceError,
    InvalidPointer,
    Json,
    Operation,
    Tokens,
    format_pointer,
    parse_pointer,
    read_patch,
    resolve,
)
from plait_merge.outcome import Choice
from plait_merge.patch import Replay
from plait_server import errors
from plait_server.service.decision import Change, Decision, Overlap, deleted
from plait_server.service.document import OpenDocument
from plait_server.service.documents import Documents
from plait_server.service.identifier import identifier
from plait_server.service.lease import Lease, Leases, revive
from plait_server.service.limits import ServiceLimits
from plait_server.service.misfit import Misfit
from plait_server.service.moment import format_moment
from plait_server.service.request import Caller, DocumentKey, IdempotencyKey, address_of
from plait_server.service.revision import STORED
from plait_server.store import Address, HeldLock, Hold, LockRecord, Store

ALL_DURABLE = 2**63
"""Above every revision: where a document is not open, nothing of it waits for the disk."""


class LockView(Struct, frozen=True, kw_only=True):
    """A lease, as its holder sees it; others do not see what an edit names it by.

    `pointer` is where it is at the head, which is `revision`; `expires` in milliseconds since 1970 (UTC).
    """

    document: DocumentKey
    pointer: str
    revision: int
    holder: str
    ttl_s: float
    expires: int
    hold: Hold | None
    replayed: bool = False
    """Whether it was granted to an earlier request with the same idempotency key."""


async def load_leases(store: Store, now: float, wall: int) -> dict[Address, Leases]:
    """Bring back the leases that were granted before a restart, by document."""
    leases: dict[Address, Leases] = {}
    for record in await store.locks():
        leases.setdefault(record.address, Leases()).add(revive(record, now, wall))
    return leases


class Locks:
    """The leases of all documents."""

    def __init__(
        self,
        store: Store,
        documents: Documents,
        leases: dict[Address, Leases],
        limits: ServiceLimits,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`leases` is shared with `documents`, which gives them to what it opens."""
        self._store = store
        self._documents = documents
        self._leases = leases
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._random_bytes = random_bytes
        self._ended: list[HeldLock] = []
        """Not in memory any more, but still in the store."""
        self._by_caller = Counter(
            (address.tenant, lease.caller) for address, each in leases.items() for lease in each
        )
        self._count = self._by_caller.total()

    def __len__(self) -> int:
        return self._count

    async def acquire(
        self,
        caller: Caller,
        document: DocumentKey,
        pointer: str,
        ttl_s: float | None = None,
        key: IdempotencyKey | None = None,
    ) -> LockView:
        """Grant a lease on what is at a pointer of the head; again, where it stands and was asked for with
        the same key.

        Raises NotFound where nothing is there, Deleted, Locked where another lease overlaps it (also one's
        own), InvalidValue, TooLarge, Overloaded, or HotDocument.
        """
        place, ttl_ms = self._read_pointer(pointer), self._ttl_ms(ttl_s)
        async with self._settled(caller, document) as opened:
            head = opened.head
            if not head.live:
                raise deleted(head) if head.n else errors.NotFound("There is no such document.")
            id = identifier(self._wall(), self._random_bytes) if key is None else _id_of(caller, key)
            granted = None if opened.leases is None else opened.leases.get(id)
            if granted is not None and granted.stands(self._monotonic()) and granted.place is not None:
                return self._view(caller, document, granted, granted.place, head.n, replayed=True)
            if Replay(head.value, STORED).find(place) is ABSENT:
                raise errors.NotFound("The document has nothing at this pointer.", {"pointer": pointer})
            lease = await self._grant(caller, opened, id, place, ttl_ms)
            return self._view(caller, document, lease, place, head.n)

    async def _grant(
        self, caller: Caller, document: OpenDocument, id: str, place: Tokens, ttl_ms: int
    ) -> Lease:
        """Grant a lease on a place, if no other one overlaps it and there is room for it."""
        now, wall, address, head = self._monotonic(), self._wall(), document.address, document.head.n
        leases = self._leases.get(address, Leases())
        gone = self._drop_over(address, leases, now, head)
        self._ended += gone
        blocking = leases.around(place, now)
        if blocking is not None:
            raise self._locked(blocking, head)
        self._check_room(caller, leases)
        lease = Lease(
            id=id,
            holder=caller.author,
            caller=caller.subject,
            fence=0,
            ttl_ms=ttl_ms,
            expires=wall + ttl_ms,
            deadline=now + ttl_ms / 1000,
            kept=head,
            followed=head,
            course=[(head, place)],
        )
        lease.fence = await self._store.put_lock(_record(address, lease, place, head), gone)
        if document.stale:
            # Who has opened it anew since has decided edits without knowing of the lease.
            self._ended.append((address, lease.hold))
            await self.tidy()
            raise errors.HotDocument("The document was given up while the lease was written.")
        self._add(document, leases, lease)
        return lease

    async def renew(
        self, caller: Caller, document: DocumentKey, hold: Hold, ttl_s: float | None = None
    ) -> LockView:
        """Let a lease last from now on, by default as long as last time.

        Raises NotFound, StaleFence, TooLarge.
        """
        asked_ms = None if ttl_s is None else self._ttl_ms(ttl_s)
        async with self._settled(caller, document) as opened:
            lease, place = self._held(caller, opened, hold)
            ttl_ms = lease.ttl_ms if asked_ms is None else asked_ms
            before = lease.deadline, lease.expires, lease.ttl_ms
            lease.renew(self._monotonic(), self._wall() + ttl_ms, ttl_ms)
            try:
                stands = await self._store.renew_lock(_record(opened.address, lease, place, opened.head.n))
            except errors.Unavailable:
                lease.deadline, lease.expires, lease.ttl_ms = before
                raise
            if not stands:
                raise self.stale(opened, hold)
            return self._view(caller, document, lease, place, opened.head.n)

    async def release(self, caller: Caller, document: DocumentKey, hold: Hold) -> None:
        """Give a lease up. Raises NotFound, StaleFence."""
        async with self._settled(caller, document) as opened:
            self._held(caller, opened, hold)
            await self._store.drop_locks([(opened.address, hold)])
            self._drop(opened.address, hold.lock)

    async def standing(self, caller: Caller, document: DocumentKey) -> list[LockView]:
        """List the leases of a document that stand, oldest first. Raises NotFound."""
        opened = await self._documents.open(address_of(caller, document))
        if opened.head.n == 0:
            self._documents.release(opened)
            raise errors.NotFound("There is no such document.")
        now, n = self._monotonic(), opened.head.n
        found = [(lease, lease.place_at(n)) for lease in opened.leases or () if now < lease.deadline]
        return [self._view(caller, document, lease, place, n) for lease, place in found if place is not None]

    async def read(self, caller: Caller, document: DocumentKey, lock: str) -> LockView:
        """Give a lease of the caller's. Raises NotFound, also where it is somebody else's."""
        for view in await self.standing(caller, document):
            if view.hold is not None and view.hold.lock == lock:
                return view
        raise errors.NotFound("You have no such lease.")

    def check_hold(self, caller: Caller, document: OpenDocument, hold: Hold) -> None:
        """Refuse an edit that names a lease which does not stand. Raises StaleFence."""
        leases = document.leases
        if leases is None or leases.held(hold, caller.subject, self._monotonic()) is None:
            raise _stale(hold)

    def check_decision(self, document: OpenDocument, hold: Hold | None, decision: Decision) -> None:
        """Refuse what was decided where it writes under a lease that the edit does not name. Raises Locked.

        A conflict counts as what the edit would write if it had its way: it could not have it as long as the
        lease stands.
        """
        leases, value, own = document.leases, document.tip.value, None if hold is None else hold.lock
        if leases is None:
            return
        operations: Sequence[Operation] = ()
        if isinstance(decision, Change):
            operations = decision.operations
        elif isinstance(decision, Overlap):
            operations = _insisting(decision, value)
        lease = leases.trespassed(value, operations, self._monotonic(), own)
        if lease is not None:
            raise self._locked(lease, document.head.n)

    def stale(self, document: OpenDocument, hold: Hold) -> errors.StaleFence:
        """Refuse what names a lease that the store has not; forget it where it is still in memory."""
        lease = document.leases.get(hold.lock) if document.leases else None
        if lease is not None and lease.fence == hold.fence:
            self._drop(document.address, hold.lock)
        return _stale(hold)

    async def tidy(self) -> None:
        """Forget the leases that have ended, and write down where the others are now, so that after a
        restart they have not far to follow."""
        now, moved = self._monotonic(), []
        for address, leases in list(self._leases.items()):
            opened = self._documents.peek(address)
            head = ALL_DURABLE if opened is None else opened.head.n
            self._ended += self._drop_over(address, leases, now, head)
            moved += [(address, lease) for lease in leases if lease.kept < min(lease.followed, head)]
        ended, self._ended = self._ended, []
        try:
            if ended:
                await self._store.drop_locks(ended)
                ended = []
            await self._keep_places(moved)
        except errors.Unavailable:
            self._ended += ended

    async def _keep_places(self, moved: Sequence[tuple[Address, Lease]]) -> None:
        records = []
        for address, lease in moved:
            opened = self._documents.peek(address)
            head = lease.followed if opened is None else min(lease.followed, opened.head.n)
            place = lease.place_at(head)
            if place is not None:
                records.append(_record(address, lease, place, head))
                lease.kept = head
        if records:
            await self._store.move_locks(records)

    @asynccontextmanager
    async def _settled(self, caller: Caller, document: DocumentKey) -> AsyncIterator[OpenDocument]:
        """Open a document about which nobody decides anything meanwhile, once all of it is durable."""
        for _ in range(self._limits.rounds_max):
            opened = await self._documents.open(address_of(caller, document))
            opened.users += 1
            try:
                async with opened.deciding:
                    if not opened.stale and await opened.durable(opened.tip) and not opened.stale:
                        yield opened
                        return
            finally:
                opened.users -= 1
                self._documents.release(opened)
        raise errors.HotDocument("What the lease would be on kept failing.")

    def _read_pointer(self, pointer: str) -> Tokens:
        most = self._limits.values.pointer_bytes_max
        if len(pointer.encode("utf-8", "surrogatepass")) > most:
            raise errors.TooLarge(
                f"The pointer is longer than {most} bytes.", {"limit": "pointer_bytes", "maximum": most}
            )
        try:
            return parse_pointer(pointer)
        except InvalidPointer as error:
            raise errors.InvalidValue("The pointer is no JSON Pointer such as /lines/0.") from error

    def _ttl_ms(self, ttl_s: float | None) -> int:
        most = self._limits.lock_ttl_max_s
        wanted = min(self._limits.lock_ttl_s, most) if ttl_s is None else ttl_s
        if wanted > most:
            raise errors.TooLarge(
                f"A lease lasts {most} seconds at most; renew it.", {"limit": "lock_ttl_s", "maximum": most}
            )
        return max(1, int(wanted * 1000))

    def _check_room(self, caller: Caller, leases: Leases) -> None:
        limits, own = self._limits, self._by_caller[caller.tenant, caller.subject]
        for name, count, most in (
            ("document_locks", len(leases), limits.document_locks_max),
            ("caller_locks", own, limits.caller_locks_max),
        ):
            if count >= most:
                members = {"limit": name, "maximum": most}
                raise errors.TooLarge(f"There are {most} leases already, and no more at a time.", members)
        if len(self) >= limits.locks_max:
            members = {"limit": "locks", "maximum": limits.locks_max}
            raise errors.Overloaded("Too many leases stand.", members)

    def _held(self, caller: Caller, document: OpenDocument, hold: Hold) -> tuple[Lease, Tokens]:
        """Give the lease that the caller names, and where it is. Raises NotFound, StaleFence."""
        if document.head.n == 0:
            raise errors.NotFound("There is no such document.")
        leases = document.leases
        lease = None if leases is None else leases.held(hold, caller.subject, self._monotonic())
        if lease is None or lease.place is None:
            raise _stale(hold)
        return lease, lease.place

    def _add(self, document: OpenDocument, leases: Leases, lease: Lease) -> None:
        tenant, address = document.address.tenant, document.address
        leases.add(lease)
        document.leases = self._leases[address] = leases
        self._by_caller[tenant, lease.caller] += 1
        self._count += 1

    def _drop(self, address: Address, lock: str) -> None:
        leases = self._leases.get(address)
        lease = None if leases is None else leases.drop(lock)
        if leases is None or lease is None:
            return
        self._count -= 1
        scope = address.tenant, lease.caller
        self._by_caller[scope] -= 1
        if not self._by_caller[scope]:
            del self._by_caller[scope]
        if not leases:
            del self._leases[address]
            opened = self._documents.peek(address)
            if opened is not None:
                opened.leases = None

    def _drop_over(self, address: Address, leases: Leases, now: float, head: int) -> list[HeldLock]:
        """Forget those that have ended, and give them: they have to go from the store too."""
        over = leases.over(now, head)
        for lease in over:
            self._drop(address, lease.id)
        return [(address, lease.hold) for lease in over]

    def _locked(self, lease: Lease, head: int) -> errors.Locked:
        now, place = self._monotonic(), lease.place_at(head) or ()
        return errors.Locked(
            f"{lease.holder or 'Somebody'} has a lease there.",
            {
                "holder": lease.holder,
                "pointer": format_pointer(place),
                "expires": format_moment(lease.moment(now, self._wall())),
                "retry_after_s": max(1, ceil(lease.deadline - now)),
            },
        )

    def _view(
        self,
        caller: Caller,
        document: DocumentKey,
        lease: Lease,
        place: Tokens,
        head: int,
        replayed: bool = False,
    ) -> LockView:
        return LockView(
            document=document,
            pointer=format_pointer(place),
            revision=head,
            holder=lease.holder,
            ttl_s=lease.ttl_ms / 1000,
            expires=lease.moment(self._monotonic(), self._wall()),
            hold=lease.hold if lease.caller == caller.subject else None,
            replayed=replayed,
        )

    def _wall(self) -> int:
        return int(self._clock() * 1000)


def _id_of(caller: Caller, key: IdempotencyKey) -> str:
    """Make the id of a lease of the request that asks for it: the same one for the same request."""
    said = "\0".join((caller.tenant, caller.subject, key.key, key.fingerprint))
    return blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _record(address: Address, lease: Lease, place: Tokens, head: int) -> LockRecord:
    return LockRecord(
        address=address,
        id=lease.id,
        pointer=format_pointer(place),
        revision=head,
        holder=lease.holder,
        caller=lease.caller,
        ttl_ms=lease.ttl_ms,
        expires=lease.expires,
        fence=lease.fence,
    )


def _insisting(overlap: Overlap, value: Json | Absent) -> Sequence[Operation]:
    """Give what an edit would write if it had its way everywhere; nothing where it cannot."""
    conflicted = overlap.conflicted
    if isinstance(conflicted, Misfit):
        return ()
    choices: dict[str, Choice] = {each.id: "yours" for each in conflicted.conflicts}
    try:
        return read_patch(resolve(value, conflicted, choices), STORED)
    except ChoiceError:
        return ()


def _stale(hold: Hold) -> errors.StaleFence:
    return errors.StaleFence("You do not hold this lease, or not any more.", {"fence": hold.fence})
