"""A document on its way into a store: compared where it is there already, checked and written where not."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final

from msgspec import UNSET, UnsetType, structs

from plait_merge import (
    ABSENT,
    Absent,
    InvalidValue,
    Json,
    LimitExceeded,
    Limits,
    MalformedPatch,
    check_value,
    read_patch,
    same,
)
from plait_server import errors
from plait_server.service import ServiceLimits
from plait_server.service.decision import bound_size
from plait_server.service.fold import Fold, Unfit, check_base
from plait_server.service.refusal import malformed, too_large
from plait_server.service.revision import replay
from plait_server.store import Address, LabelRecord, RevisionRecord, SnapshotRecord
from plait_server.store.archive import HeadRecord, LinkedRevision
from plait_server.store.intake import Intake
from plait_server.wire import encode

COMMITTED_MAX: Final = 2**31
"""A merge may make more operations of a patch, and longer pointers, than anybody may send; the length of a
line bounds them."""


class OnExisting(StrEnum):
    """What becomes of a document that is there already, and is not what the file says.

    FAIL ends the import, SKIP leaves it as it is, APPEND adds what follows to what is there; where the
    document of the file begins otherwise, it ends the import too.
    """

    FAIL = "fail"
    SKIP = "skip"
    APPEND = "append"


class Differs(Exception):
    """The store has the document, and it is another one. The message is the end of a sentence about it."""


class Unacceptable(Exception):
    """Something that no edit could have made. The message is a sentence."""


class Incoming:
    """One document. `stored` is its row in the store, None where it is new."""

    def __init__(
        self, address: Address, intake: Intake, limits: ServiceLimits, on_existing: OnExisting
    ) -> None:
        self.address = address
        self.stored = intake.archive.document(address)
        self.revisions = 0
        """How many were written."""
        self.bytes = 0
        self._intake = intake
        self._limits = limits
        self._on_existing = on_existing
        # The revision there that is to be compared next, and those after it.
        self._there: RevisionRecord | None = None
        self._rest: Iterator[LinkedRevision] | None = None
        self._fold = Fold(
            replace(limits.values, operations_max=COMMITTED_MAX, pointer_bytes_max=COMMITTED_MAX)
        )
        self._begun = self.stored is None
        self._size_bound = 0
        self._latest: int | None = None
        self._last: RevisionRecord | None = None
        # Since the last snapshot, as an open document counts.
        self._patches = self._patch_bytes = self._snapshot_bytes = 0

    def has(self, record: RevisionRecord) -> bool:
        """Tell whether the store has this revision, or had it once. Raises Differs where it has another.

        To be asked in the order of their numbers.
        """
        if self.stored is None or record.n > self.stored.head:
            return False
        if self._rest is None:
            self._rest = self._intake.archive.revisions(self._intake.archive.chain(self.stored.latest))
        while self._there is None or self._there.n < record.n:
            self._there = next(self._rest).record
        if self._there.n == record.n and structs.replace(self._there, seq=0) != record:
            raise Differs(f"its revision {record.n} is another one")
        return True

    def value(self) -> Json | Absent:
        """Give the value in the store; ABSENT where there is none."""
        if self.stored is None or self.stored.deleted:
            return ABSENT
        return replay(self._intake.archive.stored(self.stored, self.stored.head))[-1].value

    def add(
        self,
        record: RevisionRecord,
        patch: Json,
        value: Json | UnsetType = UNSET,
        stands_alone: bool = False,
    ) -> None:
        """Write a revision behind those that are there.

        `patch` is its own, decoded; `value` is what it leads to, needed where it edits what is missing.
        `stands_alone`: it has to be readable without those before it. Raises Differs where nothing may be
        added, Unacceptable.
        """
        if not self._begun:
            self._begin(record)
        try:
            check_base(record)
            if record.n == self._fold.n + 1:
                self._step(record, patch, value)
            else:
                self._leap(record, patch, value)
        except Unfit as error:
            raise Unacceptable(str(error)) from error
        if stands_alone and record.kind == "edit":
            self._has_to_stand_alone()
        self._latest = self._intake.add_revision(self.address, self._latest, record)
        self._last = record
        self.revisions += 1
        self.bytes += record.weight
        self._take_snapshot_where_due()

    def finish(self, created: int, oldest: int, labels: Sequence[LabelRecord]) -> None:
        """Write the row of the document and labels of revisions that were written."""
        if self._last is None:
            return
        assert self._latest is not None
        head = HeadRecord(
            self.address,
            self._fold.n,
            self._latest,
            self._fold.value is ABSENT,
            created,
            self._last.at,
            oldest,
        )
        self._intake.put_head(head)
        for label in labels:
            if self.stored is None or label.n > self.stored.head:
                self._intake.add_label(self.address, label)

    def _begin(self, record: RevisionRecord) -> None:
        """Go on from the head in the store."""
        assert self.stored is not None
        if self._on_existing is not OnExisting.APPEND:
            raise Differs(f"it ends with revision {self.stored.head} there")
        if record.n != self.stored.head + 1:
            raise Differs(f"between its revision {self.stored.head} there and {record.n} some are missing")
        self._fold.n, self._fold.value = self.stored.head, self.value()
        self._latest = self.stored.latest
        if self._fold.value is not ABSENT:
            self._size_bound = self._snapshot_bytes = len(encode(self._fold.value))
        self._begun = True

    def _step(self, record: RevisionRecord, patch: Json, value: Json | UnsetType) -> None:
        """Apply a revision to the one before it."""
        try:
            operations = self._fold.step(record, patch)
            if not operations:
                raise Unacceptable("Its patch is empty.")
            self._size_bound = bound_size(
                self._size_bound,
                self._fold.value,
                operations,
                record.patch,
                self._limits.document_bytes_max,
            )
        except errors.TooLarge as error:
            raise Unacceptable(error.detail) from error
        if value is not UNSET and not same(value, self._fold.value):
            raise Unacceptable("Its value is not what its patch leads to.")
        if record.n == 1:
            # The patch that creates a document is as good as a snapshot.
            self._snapshot_bytes = len(record.patch)
        else:
            self._patches += 1
            self._patch_bytes += len(record.patch)

    def _leap(self, record: RevisionRecord, patch: Json, value: Json | UnsetType) -> None:
        """Begin with a revision that needs none before it: they are gone."""
        self._fold.n, self._fold.value, self._size_bound = record.n - 1, ABSENT, 0
        if record.kind == "create":
            self._step(record, patch, value)
        else:
            check_patch(patch, self._fold.limits)
            if (record.kind == "edit") != (value is not UNSET):
                raise Unacceptable("The revision before it is not there: an edit needs its value.")
            self._fold.n = record.n
            if value is not UNSET:
                self._size_bound = check_document(value, self._limits)
                self._fold.value = value
        self._has_to_stand_alone()

    def _has_to_stand_alone(self) -> None:
        """See to it that the value is kept whole: nothing else has it, or will have it."""
        self._patches = self._limits.snapshot_revisions_max

    def _take_snapshot_where_due(self) -> None:
        """Keep the value whole as often as a server does: no document may be slow to open."""
        is_due = self._patches >= self._limits.snapshot_revisions_max or self._patch_bytes >= max(
            self._snapshot_bytes, self._limits.snapshot_bytes_min
        )
        if not is_due or self._fold.value is ABSENT:
            return
        assert self._latest is not None
        snapshot = SnapshotRecord(self._fold.n, encode(self._fold.value))
        self._intake.add_snapshot(self.address, self._latest, snapshot)
        self._snapshot_bytes = len(snapshot.value)
        self._patches = self._patch_bytes = 0


def check_document(value: Json, limits: ServiceLimits) -> int:
    """Give the size of a value as JSON. Raises Unacceptable where no document may hold it."""
    try:
        check_value(value, limits.values)
    except LimitExceeded as error:
        raise Unacceptable(too_large(error, limits.values).detail) from error
    except InvalidValue as error:
        raise Unacceptable(f"{error}.") from error
    size = len(encode(value))
    if size > limits.document_bytes_max:
        raise Unacceptable(f"The document takes more than {limits.document_bytes_max} bytes.")
    return size


def check_patch(patch: Json, limits: Limits, *, extended: bool = False) -> None:
    """Refuse what is no patch, whatever it is applied to. Raises Unacceptable."""
    try:
        read_patch(patch, limits, extended=extended)
    except MalformedPatch as error:
        raise Unacceptable(malformed(error).detail) from error
    except LimitExceeded as error:
        raise Unacceptable(too_large(error, limits).detail) from error
