"""The lines of an export: JSON objects, one a line, told apart by `t`.

    export       the first: what this is, of when
    collection   settings of a collection, a line for each time they were set
    document     a document as it is, where the export is without history
    history      a document with history; its revisions follow, up to `head`
    revision     one revision
    end          the last: how much there was

What is not there in a line is null or, in `tenant`, the only tenant there is. Times are RFC 3339.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, BinaryIO, Final

from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert

from plait_merge import Limits
from plait_server.store import Address, RevisionKind
from plait_server.web.edits import TENANT
from plait_server.web.routes import COLLECTION_PATTERN, ID_PATTERN
from plait_server.wire import MalformedJson, UnacceptableJson, encode, parse

VERSION: Final = 1
WRAPPING_LEVELS: Final = 4
"""What may stand around a value: a line, a patch, an operation; around a schema, the settings too."""

Number = Annotated[int, Meta(ge=1, le=2**53)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Name = Annotated[str, Meta(max_length=255)]
Moment = Annotated[str, Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")]
Tenant = Annotated[str, Meta(min_length=1, max_length=255)]
Collection = Annotated[str, Meta(pattern=rf"\A{COLLECTION_PATTERN}\Z")]
Document = Annotated[str, Meta(pattern=rf"\A{COLLECTION_PATTERN}/{ID_PATTERN}\Z")]
Key = Annotated[str, Meta(pattern=r"\A[\x21-\x7e]{1,255}\Z")]
Trace = Annotated[str, Meta(max_length=128)]
LabelName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,64}\Z")]


class Header(
    Struct, frozen=True, tag_field="t", tag="export", forbid_unknown_fields=True, omit_defaults=True
):
    """The state it is of is that after the revision with `seq`, in this epoch."""

    version: int
    history: bool
    at: Moment | None = None
    epoch: str | None = None
    seq: Count | None = None
    collection: Collection | None = None


class CollectionLine(
    Struct, frozen=True, tag_field="t", tag="collection", forbid_unknown_fields=True, omit_defaults=True
):
    """Settings; without a `revision` only the newest are told."""

    collection: Collection
    settings: Any
    tenant: Tenant = TENANT
    revision: Number | None = None
    author: Name = ""
    at: Moment | None = None


class DocumentLine(
    Struct, frozen=True, tag_field="t", tag="document", forbid_unknown_fields=True, omit_defaults=True
):
    """A whole document, as its last author left it."""

    document: Document
    value: Any
    tenant: Tenant = TENANT
    author: Name = ""
    at: Moment | None = None

    @property
    def address(self) -> Address:
        return _address(self.tenant, self.document)


class Label(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A name for a revision of the history it is in."""

    label: LabelName
    revision: Number
    at: Moment
    author: Name = ""


class HistoryLine(
    Struct, frozen=True, tag_field="t", tag="history", forbid_unknown_fields=True, omit_defaults=True
):
    """A document whose revisions follow.

    From `oldest` on they are all there; before it only labelled ones. `created` is told where the first is
    not there.
    """

    document: Document
    head: Number
    tenant: Tenant = TENANT
    oldest: Number = 1
    created: Moment | None = None
    labels: tuple[Label, ...] = ()

    @property
    def address(self) -> Address:
        return _address(self.tenant, self.document)


class RevisionLine(
    Struct, frozen=True, tag_field="t", tag="revision", forbid_unknown_fields=True, omit_defaults=True
):
    """One revision, as history keeps it.

    `value` is what it led to, told of an edit where the revision before it is not there; `caller` is told
    where it is not the author.
    """

    revision: Number
    kind: RevisionKind
    at: Moment
    patch: Any
    author: Name = ""
    caller: Name | None = None
    base: Number | None = None
    submitted: Any = None
    message: str | None = None
    key: Key | None = None
    policy: Number | None = None
    trace: Trace | None = None
    value: Any | UnsetType = UNSET


class End(Struct, frozen=True, tag_field="t", tag="end", forbid_unknown_fields=True, omit_defaults=True):
    """How many documents and revisions there were, where the writer counted."""

    documents: Count | None = None
    revisions: Count | None = None


Line = Header | CollectionLine | DocumentLine | HistoryLine | RevisionLine | End


class Refused(Exception):
    """A line that cannot be taken; the message says which and why, in words for an operator."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number}: {reason}")
        self.number = number
        self.reason = reason


class Lines(Iterator[Line]):
    """Read lines of a stranger, each within the limits of what it holds. `number` is that of the last one."""

    def __init__(self, file: BinaryIO, values: Limits, bytes_max: int) -> None:
        self._file = file
        self._values = values
        self._bytes_max = bytes_max
        self.number = 0
        self.bytes_read = 0

    def __next__(self) -> Line:
        """Raises Refused."""
        body = self._file.readline(self._bytes_max + 1)
        if not body:
            raise StopIteration
        self.number += 1
        self.bytes_read += len(body)
        if len(body) > self._bytes_max:
            raise self.refused(f"It is longer than {self._bytes_max} bytes.")
        try:
            read = parse(body, self._values.depth_max, self._values.integer_digits_max, WRAPPING_LEVELS)
            line: Line = convert(read, Line)
        except MalformedJson as error:
            cut = "" if body.endswith(b"\n") else " The file is cut off here."
            raise self.refused(f"It is not JSON: {error}{cut}") from error
        except (UnacceptableJson, ValidationError) as error:
            raise self.refused(f"{error}".removesuffix(".") + ".") from error
        return line

    def refused(self, reason: str) -> Refused:
        """Refuse the line that was read last."""
        return Refused(self.number, reason)


def write_line(line: Line) -> bytes:
    """Write a line, with the end of it."""
    return encode(line) + b"\n"


def read_moment(text: str) -> int:
    """Read a Moment as milliseconds since 1970. Raises ValueError where there is no such day or hour."""
    return round((datetime.fromisoformat(text) - _EPOCH).total_seconds() * 1000)


def written(tenant: str) -> str:
    """Give a tenant as it is written: msgspec leaves a default out where it is the very same object."""
    return TENANT if tenant == TENANT else tenant


def _address(tenant: str, document: str) -> Address:
    collection, _, id = document.partition("/")
    return Address(tenant, collection, id)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
