"""What holds in every store at every moment, checked over the whole of one.

    file         SQLite finds nothing wrong with the file
    type         every column holds what it is declared to hold
    chain        a document's revisions lead from its head back to the oldest, by number and by seq
    fold         each revision applies to the one before it and is of the kind it says
    head         the document's row says what its last revision does
    snapshot     a snapshot is what the revisions up to it come to
    stray        nothing belongs to a document that is not there
    key          the answer to an idempotency key can be read and names a revision that exists
    conflict     a conflict can be read and names revisions that exist
    collection   settings are numbered without gaps and can be used
    label        a label names a revision that is kept
    lock         a lease is on something that was there at the revision it says, with a fencing number that
                 was given
    operation    a queued edit waits, or is finished in full

Reads only. Tests, benchmarks and `plait doctor` ask the same function.
"""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from msgspec import Struct, convert, json

from plait_merge import ABSENT, Absent, InvalidPointer, Json, MalformedPatch, parse_pointer, read_patch, same
from plait_merge.patch import Replay
from plait_server import errors
from plait_server.service.conflict import read_kept
from plait_server.service.fold import Fold, Unfit, check_base
from plait_server.service.idempotency import StoredAnswer
from plait_server.service.limits import ServiceLimits
from plait_server.service.request import Edit
from plait_server.service.revision import STORED
from plait_server.service.rules import CollectionSettings, read_rules
from plait_server.store import Address, CollectionRecord
from plait_server.store.archive import Archive, HeadRecord, LinkedRevision, StoredSnapshot, Unreadable
from plait_server.wire import decode

FILE: Final = "the file"
REPORTED_REVISIONS: Final = 1_000
ACCEPTED: Final = frozenset({"created", "applied", "merged", "deleted"})
"""Outcomes of edits that made the revision they name."""

Broken = (ValueError, TypeError, AttributeError, RecursionError)
"""What comes of reading something that is not what the server writes."""


class Finding(Struct, frozen=True):
    """Something that does not hold: the name of the invariant, where, and what is there instead."""

    invariant: str
    place: str
    detail: str


def check(
    archive: Archive,
    limits: ServiceLimits | None = None,
    on_revisions: Callable[[int], None] = lambda count: None,
) -> Iterator[Finding]:
    """Check everything; give what does not hold, as it is found.

    `limits` are those the settings of collections have to be usable under; `on_revisions` is told how many
    revisions were looked at since it was told before. Takes the memory of one document. Cost: about 15 µs a
    revision, and what SQLite takes to read the file.
    """
    yield from _guarded("file", _check_file(archive))
    yield from _guarded("type", _check_types(archive))
    yield from _guarded("chain", _check_documents(archive, on_revisions))
    yield from _guarded("stray", _check_strays(archive))
    yield from _guarded("key", _check_keys(archive))
    yield from _guarded("conflict", _check_conflicts(archive))
    yield from _guarded("collection", _check_collections(archive, limits or ServiceLimits()))
    yield from _guarded("lock", _check_locks(archive))
    yield from _guarded("operation", _check_operations(archive))


def _guarded(invariant: str, findings: Iterator[Finding], place: str = FILE) -> Iterator[Finding]:
    """Let what cannot be read be a finding, and the other checks go on."""
    try:
        yield from findings
    except (Unreadable, *Broken) as error:
        yield Finding(invariant, place, f"It cannot be read on: {error}.")


def _check_file(archive: Archive) -> Iterator[Finding]:
    for said in archive.faults():
        yield Finding("file", FILE, said)


def _check_types(archive: Archive) -> Iterator[Finding]:
    for table, column, declared, rows in archive.mistyped():
        yield Finding("type", f"{table}, {column}", f"What it holds in {rows} rows is no {declared}.")


def _check_documents(archive: Archive, on_revisions: Callable[[int], None]) -> Iterator[Finding]:
    linked = 0
    for head in archive.documents():
        seqs = archive.chain(head.latest)
        linked += len(seqs)
        history = _History(archive, head, seqs)
        yield from _guarded("chain", history.check(on_revisions), place_of(head.address))
    if linked != archive.count("revisions"):
        yield from _check_unlinked(archive)


class _History:
    """One document: its row, its revisions, its snapshots and its labels, walked through together."""

    def __init__(self, archive: Archive, head: HeadRecord, seqs: "array[int]") -> None:
        self._archive = archive
        self._head = head
        self._seqs = seqs
        self._place = place_of(head.address)
        self._fold = Fold()
        # Whether the value of the fold is that of its revision: not before the first snapshot of a compacted
        # history, and not after a revision that does not apply.
        self._known = True
        self._snapshots = archive.snapshots(head.address)
        self._snapshot = next(self._snapshots, None)
        self._labels = {label.n: label.name for label in archive.labels(head.address)}
        self._locks = sorted(archive.locks(head.address), key=lambda lock: lock.revision, reverse=True)

    def check(self, on_revisions: Callable[[int], None]) -> Iterator[Finding]:
        head, last = self._head, None
        for count, linked in enumerate(self._archive.revisions(self._seqs), 1):
            yield from self._check_link(linked, last)
            yield from self._check_step(linked)
            yield from self._check_snapshot(linked)
            yield from self._check_locks(linked.record.n)
            last = linked
            if count % REPORTED_REVISIONS == 0:
                on_revisions(REPORTED_REVISIONS)
        on_revisions(len(self._seqs) % REPORTED_REVISIONS)
        if last is None or last.record.n != head.head:
            yield self._finding("head", f"The head is revision {head.head}, and it is not there.")
        else:
            yield from self._check_head(last)
        if self._snapshot is not None:
            yield self._finding(
                "snapshot", f"A snapshot is of revision {self._snapshot.snapshot.n}, which is not there."
            )
        for n, name in self._labels.items():
            yield self._finding("label", f"{name!r} is at revision {n}, which is not there.")

    def _check_link(self, linked: LinkedRevision, last: LinkedRevision | None) -> Iterator[Finding]:
        n, oldest = linked.record.n, self._head.oldest
        if linked.address != self._head.address:
            yield self._finding("chain", f"The way back leads to {place_of(linked.address)} revision {n}.")
        if last is None:
            if linked.previous is not None:
                yield self._finding("chain", f"What is said to be before revision {n} is not there.")
            if oldest == 1 != n or n > oldest:
                yield self._finding("chain", f"The oldest kept revision is {n}, and {oldest} should be.")
        elif n <= oldest:
            if last.record.n >= n:
                yield self._finding("chain", f"Revision {last.record.n} is said to be before {n}.")
        elif last.record.n != n - 1:
            yield self._finding("chain", f"Revision {n} comes after {last.record.n}.")
        yield from self._check_kept(linked)

    def _check_kept(self, linked: LinkedRevision) -> Iterator[Finding]:
        """Look at what has to be readable by itself: the oldest of a compacted history, and labelled ones."""
        n, oldest = linked.record.n, self._head.oldest
        is_labelled = self._labels.pop(n, None) is not None
        if n < oldest and not is_labelled:
            yield self._finding("chain", f"Revision {n} is kept, has no label and is before {oldest}.")
        has_snapshot = self._snapshot is not None and self._snapshot.snapshot.n == n
        if (is_labelled or 1 < n == oldest) and linked.record.kind == "edit" and not has_snapshot:
            yield self._finding("snapshot", f"Revision {n} has none, and those before it may go.")

    def _check_step(self, linked: LinkedRevision) -> Iterator[Finding]:
        record, fold = linked.record, self._fold
        try:
            check_base(record)
        except Unfit as error:
            yield self._finding("fold", f"Revision {record.n}: {error}")
        if fold.n != record.n - 1:
            # What was between is compacted away, or missing, which was said.
            self._known = False
        if not self._known and not self._begin_again(linked):
            return
        try:
            if fold.n < record.n:
                fold.step(record, decode(record.patch))
            if record.submitted is not None:
                read_patch(decode(record.submitted), STORED, extended=True)
        except (Unfit, MalformedPatch, *Broken) as error:
            yield self._finding("fold", f"Revision {record.n}: {error}")
            fold.n, self._known = record.n, False

    def _begin_again(self, linked: LinkedRevision) -> bool:
        """Take the value from a revision that needs none before it; False where this is none."""
        record, fold = linked.record, self._fold
        fold.n, fold.value = record.n, ABSENT
        if record.kind == "create":
            fold.n -= 1
        elif record.kind == "edit":
            if self._snapshot is None or self._snapshot.snapshot.n != record.n:
                return False
            fold.value = _value_of(self._snapshot)
        self._known = True
        return True

    def _check_snapshot(self, linked: LinkedRevision) -> Iterator[Finding]:
        n = linked.record.n
        while (stored := self._snapshot) is not None and stored.snapshot.n <= n:
            self._snapshot = next(self._snapshots, None)
            if stored.snapshot.n < n:
                yield self._finding(
                    "snapshot", f"One is of revision {stored.snapshot.n}, which is not there."
                )
                continue
            if stored.seq != linked.record.seq:
                yield self._finding("snapshot", f"That of revision {n} is filed under another one.")
            value = _value_of(stored)
            if value is ABSENT:
                yield self._finding("snapshot", f"That of revision {n} is no JSON.")
            elif self._known and not same(value, self._fold.value):
                yield self._finding("snapshot", f"That of revision {n} is not what its revisions come to.")

    def _check_locks(self, n: int) -> Iterator[Finding]:
        """Look whether what the leases of a revision are on is there; before a kept one nobody can tell."""
        while self._locks and self._locks[-1].revision <= n:
            lock = self._locks.pop()
            if lock.revision == n and self._known and not _is_there(self._fold.value, lock.pointer):
                place = f"{self._place}, lock {lock.id}"
                yield Finding("lock", place, f"At revision {n} there is nothing at {lock.pointer!r}.")

    def _check_head(self, last: LinkedRevision) -> Iterator[Finding]:
        head, record = self._head, last.record
        if not 1 <= head.oldest <= head.head:
            yield self._finding("head", f"The oldest revision is said to be {head.oldest} of {head.head}.")
        if head.deleted != (record.kind == "delete"):
            yield self._finding("head", f"It is {'' if head.deleted else 'not '}marked as deleted.")
        if head.updated != record.at:
            yield self._finding("head", f"It was updated at {record.at}; its row says {head.updated}.")
        if head.oldest == 1 and len(self._seqs):
            (first,) = self._archive.revisions(self._seqs[:1])
            if first.record.n == 1 and first.record.at != head.created:
                yield self._finding(
                    "head", f"It was created at {first.record.at}; its row says {head.created}."
                )

    def _finding(self, invariant: str, detail: str) -> Finding:
        return Finding(invariant, self._place, detail)


def _value_of(stored: StoredSnapshot) -> Json | Absent:
    try:
        return decode(stored.snapshot.value)
    except Broken:
        return ABSENT


def _is_there(value: Json | Absent, pointer: str) -> bool:
    try:
        return Replay(value, STORED).find(parse_pointer(pointer)) is not ABSENT
    except InvalidPointer:
        return False


def _check_unlinked(archive: Archive) -> Iterator[Finding]:
    """Name revisions that no document leads to: the newest of each such chain."""
    for address, n, seq in archive.unlinked():
        yield Finding("chain", place_of(address), f"No way leads to revision {n}, with seq {seq}.")


def _check_strays(archive: Archive) -> Iterator[Finding]:
    for table in ("revisions", "snapshots", "conflicts", "labels", "locks"):
        for address in archive.strays(table):
            yield Finding("stray", place_of(address), f"There is no such document, but {table} of it.")


def _check_keys(archive: Archive) -> Iterator[Finding]:
    for tenant, record in archive.idempotency_keys():
        place = f"{tenant}/{record.caller or '(nobody)'}, key {record.key}"
        yield from _check_answer(archive, "key", tenant, place, record.answer)


def _check_answer(
    archive: Archive, invariant: str, tenant: str, place: str, answer: bytes
) -> Iterator[Finding]:
    """Check a stored answer; that to a batch has several."""
    try:
        read = decode(answer)
        parts = convert(read.get("answers", [read]), list[StoredAnswer])
    except Broken as error:
        yield Finding(invariant, place, f"The answer cannot be read: {error}.")
        return
    for stored in parts:
        head = archive.document(Address(tenant, stored.collection, stored.id))
        newest = 0 if head is None else head.head
        # A refusal may name revision 0 of a document that is not there yet.
        if not (1 if stored.outcome in ACCEPTED else 0) <= stored.revision <= newest:
            document = f"{stored.collection}/{stored.id}"
            yield Finding(
                invariant, place, f"It names revision {stored.revision} of {document}, which is at {newest}."
            )


def _check_conflicts(archive: Archive) -> Iterator[Finding]:
    for address, record in archive.conflicts():
        place = f"{place_of(address)}, conflict {record.id}"
        head = archive.document(address)
        newest = 0 if head is None else head.head
        if not 1 <= record.base <= record.head <= newest:
            yield Finding(
                "conflict", place, f"It is between {record.base} and {record.head} of {newest} revisions."
            )
        if (record.resolved is None) != (record.resolved_revision is None):
            yield Finding("conflict", place, "It is half settled.")
        if record.resolved_revision is not None and not 1 <= record.resolved_revision <= newest:
            yield Finding(
                "conflict", place, f"Revision {record.resolved_revision} settled it, and is not there."
            )
        try:
            read_kept(record)
        except Broken as error:
            yield Finding("conflict", place, f"It cannot be read: {error}.")


def _check_collections(archive: Archive, limits: ServiceLimits) -> Iterator[Finding]:
    # What was accepted once is not refused again because a limit was lowered.
    limits = replace(limits, schema_bytes_max=2**62)
    last: CollectionRecord | None = None
    for record in archive.collections():
        is_next = last is not None and (last.tenant, last.name) == (record.tenant, record.name)
        expected = last.n + 1 if last is not None and is_next else 1
        place = f"{record.tenant}/{record.name}"
        if record.n != expected:
            yield Finding("collection", place, f"Revision {record.n} stands where {expected} should.")
        try:
            settings = _settings.decode(record.body)
            read_rules(settings, record.n, record.author, record.at, limits)
        except (errors.Invalid, *Broken) as error:
            yield Finding("collection", place, f"Revision {record.n} cannot be used: {error}")
        last = record


def _check_locks(archive: Archive) -> Iterator[Finding]:
    newest = archive.fence()
    for lock in archive.locks():
        place = f"{place_of(lock.address)}, lock {lock.id}"
        if not 1 <= lock.fence <= newest:
            yield Finding("lock", place, f"Its fencing number is {lock.fence}; {newest} is the newest given.")
        head = archive.document(lock.address)
        if head is not None and not 1 <= lock.revision <= head.head:
            yield Finding("lock", place, f"It is at revision {lock.revision} of {head.head}.")


def _check_operations(archive: Archive) -> Iterator[Finding]:
    for operation in archive.operations():
        tenant = operation.address.tenant
        place = f"{tenant}, operation {operation.id}"
        done, answer = operation.done, operation.answer
        if len({done is None, answer is None, operation.expires is None}) > 1:
            yield Finding("operation", place, "It is half finished.")
        if answer is not None:
            yield from _check_answer(archive, "operation", tenant, place, answer)
        elif done is None:
            try:
                _edits.decode(operation.body)
            except Broken as error:
                yield Finding("operation", place, f"Its edit cannot be read: {error}.")


def place_of(address: Address) -> str:
    """Name a document for people: tenant/collection/id."""
    return "/".join(map(str, address))


_edits = json.Decoder(Edit)
_settings = json.Decoder(CollectionSettings)
