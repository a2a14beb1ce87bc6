"""What became durable, in its order, as nobody can change it any more: what all else is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from jsonschema_rs import Draft202012Validator

from plait_merge import ABSENT, Absent, Json, parse_pointer
from plait_server.service.fold import Fold, Unfit, check_base
from plait_server.store import Address, Commit, CommitResult, Committed, HeldLock, LockRecord, RevisionRecord
from plait_server.wire import decode


class Violation(Exception):
    """An invariant does not hold: its name, and what was seen instead."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(invariant, detail)
        self.invariant = invariant
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.invariant}: {self.detail}"


@dataclass(slots=True)
class History:
    """The revisions of a document and the value at each; number n is at n - 1."""

    records: list[RevisionRecord] = field(default_factory=list)
    values: list[Json | Absent] = field(default_factory=list)
    fold: Fold = field(default_factory=Fold)


class Chronicle:
    """All revisions that were ever durable, also those that compaction took since."""

    def __init__(self) -> None:
        self.histories: dict[Address, History] = {}
        self.feed: list[tuple[Address, int]] = []
        self._by_key: dict[tuple[str, str], list[tuple[Address, int]]] = {}

    def note(
        self,
        batch: Sequence[Commit],
        results: Sequence[CommitResult],
        locks: Sequence[LockRecord],
    ) -> None:
        """Take what a batch made durable at a moment at which these leases stood.

        Raises Violation where it leads on from nothing, or is written under somebody else's lease.
        """
        for commit, result in zip(batch, results, strict=True):
            if commit.revision is None or not isinstance(result, Committed):
                continue
            record, address = commit.revision, commit.address
            for lock in locks:
                if lock.address == address and lock.caller != record.caller:
                    _check_untouched(lock, record)
            self._append(address, record)

    def _append(self, address: Address, record: RevisionRecord) -> None:
        history = self.histories.setdefault(address, History())
        try:
            check_base(record)
            history.fold.step(record, decode(record.patch))
        except Unfit as error:
            raise Violation("fold", f"{place(address)} revision {record.n}: {error}") from error
        history.records.append(record)
        history.values.append(history.fold.value)
        self.feed.append((address, record.n))
        if record.key is not None:
            self._by_key.setdefault((record.caller, record.key), []).append((address, record.n))

    def head(self, address: Address) -> int:
        """Give the newest revision, 0 where there is none."""
        history = self.histories.get(address)
        return 0 if history is None else len(history.records)

    def record(self, address: Address, n: int) -> RevisionRecord:
        """Give revision `n`. Raises Violation where it is not durable."""
        if not 1 <= n <= self.head(address):
            detail = f"{place(address)} revision {n} was told of, and {self.head(address)} is durable"
            raise Violation("durable", detail)
        return self.histories[address].records[n - 1]

    def value(self, address: Address, n: int) -> Json | Absent:
        """Give the value at revision `n`; at 0 there is none. Raises Violation as `record` does."""
        if n == 0:
            return ABSENT
        self.record(address, n)
        return self.histories[address].values[n - 1]

    def by_key(self, caller: str, key: str) -> list[tuple[Address, int]]:
        """Give the revisions that were made under an idempotency key."""
        return self._by_key.get((caller, key), [])


def _check_untouched(lock: LockRecord, record: RevisionRecord) -> None:
    """Check that a revision of somebody else writes nothing at, in or over what a lease guards."""
    guarded = parse_pointer(lock.pointer)
    for operation in decode(record.patch):
        written = parse_pointer(operation["path"])
        common = min(len(written), len(guarded))
        if operation["op"] != "test" and written[:common] == guarded[:common]:
            held: HeldLock = lock.held
            raise Violation(
                "lease",
                f"revision {record.n} of {record.caller} writes {operation['path']!r} of {place(held[0])} "
                f"under the lease of {lock.caller} on {lock.pointer!r}, fence {lock.fence}",
            )


def check_fits(value: Json | Absent, settings: Sequence[bytes]) -> None:
    """Check that a value fits one of the settings by which it may have been decided, as they are stored."""
    if value is not ABSENT and not any(_validator(body).is_valid(value) for body in settings):
        raise Violation("schema", f"{value} does not fit what holds: {settings}")


@cache
def _validator(settings: bytes) -> Draft202012Validator:
    return Draft202012Validator(decode(settings)["schema"] or {})


def place(address: Address) -> str:
    """Name a document."""
    return f"{address.collection}/{address.id}"
