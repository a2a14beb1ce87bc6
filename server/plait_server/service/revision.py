"""A revision in memory: what the next edits, late edits and readers need of it."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from plait_merge import ABSENT, Absent, Json, Limits, Operation, apply_operations, array_index, read_patch
from plait_server.service.moment import format_moment
from plait_server.store import Address, RevisionRecord, StoredDocument
from plait_server.wire import decode, encode

REVISION_BYTES = 400
"""About what a revision takes in memory besides its patch and its part of the value."""
MEMBER_BYTES = 40
ITEM_BYTES = 8
"""About what a copied container takes in memory for each of its parts."""
JSON_IN_MEMORY = 4
"""About how many times the size of its JSON a value takes in memory."""

STORED = Limits(
    depth_max=10_000,
    operations_max=2**31,
    pointer_bytes_max=2**31,
    copied_bytes_max=2**31,
    value_bytes_max=2**31,
)
"""What was accepted once is never refused again, whatever the limits are today."""


class Revision(Struct, eq=False, gc=False):
    """One revision of a document and the value it led to, shared with its neighbours.

    `record` is what the store keeps of it, `operations` its patch, read. Number 0 is the state before
    the first revision. What is worked out from these (`missed`, `body`, `weight`) is worked out once.

    Not known to the garbage collector: there are many of them, and nothing they hold leads back to them.
    """

    n: int
    record: RevisionRecord
    operations: tuple[Operation, ...]
    value: Json | Absent
    origin: int = 0
    """The `origin` of the edit that made it, in this process."""
    _missed: bytes | None = None
    _body: bytes | None = None
    _weight: int = 0

    @property
    def patch(self) -> bytes:
        """The patch as committed, as JSON."""
        return self.record.patch

    @property
    def live(self) -> bool:
        """Whether there is a document at this revision: neither before the first nor deleted."""
        return self.record.kind != "delete"

    @property
    def missed(self) -> bytes:
        """This revision as an entry of `missed`: JSON, encoded once."""
        if self._missed is None:
            record = self.record
            self._missed = b'{"revision":%d,"author":%b,"at":"%b","patch":%b}' % (
                record.n,
                encode(record.author),
                format_moment(record.at).encode(),
                record.patch,
            )
        return self._missed

    @property
    def body(self) -> bytes:
        """The value as JSON, encoded once."""
        if self._body is None:
            self._body = encode(self.value)
        return self._body

    @property
    def weight(self) -> int:
        """About what keeping it and its value costs in memory: its patch and the containers it copied."""
        if not self._weight:
            self._weight = _weigh(self)
        return self._weight

    def drop_body(self) -> None:
        """Forget the encoded value: few ask for anything but the head."""
        self._body = None


def before_the_first() -> Revision:
    """The state of a document that was never created."""
    return Revision(
        0, RevisionRecord(0, "delete", b"[]", None, None, "", "", None, 0, None, None), (), ABSENT
    )


def read_revision(record: RevisionRecord, value: Json | Absent) -> Revision:
    """Bring a stored revision back to memory; `value` is what it led to."""
    return Revision(record.n, record, read_patch(decode(record.patch), STORED), value)


def replay(stored: StoredDocument, values_bytes_max: int = 0) -> list[Revision]:
    """Work the values of stored revisions out, from the first of them on. A thousand take milliseconds.

    The last has its value, and so have those before it as long as these take no more than so many bytes:
    each copied what it changed, which of a long array is all of it.
    """
    value: Json | Absent = ABSENT
    revisions: list[Revision] = []
    weight = first = 0
    for record in stored.revisions:
        revision = read_revision(record, ABSENT)
        if stored.snapshot is not None and record.n == stored.snapshot.n:
            value = decode(stored.snapshot.value)
        elif record.kind == "delete":
            value = ABSENT  # also where it is the oldest, and what it removed is gone
        else:
            value = apply_operations(value, revision.operations, STORED)
        revision.value = value
        revisions.append(revision)
        weight += revision.weight if len(revisions) > 1 else 0
        while weight > values_bytes_max and first < len(revisions) - 1:
            revisions[first].value = ABSENT
            first += 1
            weight -= revisions[first].weight
    return revisions


def follow(state: Revision, revisions: Sequence[Revision], values_bytes_max: int) -> None:
    """Give revisions that were read without their values the values they led to, after `state`: the last of
    them, and those before it as long as these take no more than so many bytes."""
    value = state.value
    weight = first = 0
    for revision in revisions:
        revision.value = value = apply_operations(value, revision.operations, STORED)
        weight += revision.weight
        while weight > values_bytes_max and revisions[first] is not revision:
            weight -= revisions[first].weight
            revisions[first].value = ABSENT
            first += 1


def followed(value: Json | Absent, revision: Revision) -> Revision:
    """Give a revision with the value it leads to from the one before it, if it has none."""
    if revision.value is not ABSENT or not revision.live:
        return revision
    return replace(revision, value=apply_operations(value, revision.operations, STORED))


def join_missed(revisions: Sequence[Revision], revisions_max: int, bytes_max: int) -> bytes | None:
    """Join the entries of `missed`; None where that is too long for an answer."""
    if not revisions:
        return b"[]"
    if len(revisions) > revisions_max:
        return None
    # Most were encoded before: no property is asked for each of many.
    joined = b"[" + b",".join([revision._missed or revision.missed for revision in revisions]) + b"]"
    return joined if len(joined) <= bytes_max else None


def _weigh(revision: Revision) -> int:
    weight = REVISION_BYTES + JSON_IN_MEMORY * len(revision.record.patch)
    counted: set[int] = set()
    for operation in revision.operations:
        value: Json = revision.value
        for token in operation.path:
            kind = type(value)
            if kind is dict:
                if id(value) not in counted:
                    counted.add(id(value))
                    weight += MEMBER_BYTES * len(value)
                value = value.get(token)
            elif kind is list:
                if id(value) not in counted:
                    counted.add(id(value))
                    weight += ITEM_BYTES * len(value)
                index = array_index(token)
                value = None if index is None or index >= len(value) else value[index]
            else:
                break
    return weight


class CommittedRevision(Struct, frozen=True, gc=False):
    """A durable revision, as the live hub hears of it: in order for each document."""

    address: Address
    revision: Revision
    seq: int
