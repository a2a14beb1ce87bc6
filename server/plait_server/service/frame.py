"""The frames of `plait.v1.json`, one struct each: what is read is checked against them, what is sent is
made from them, and `/asyncapi.json` describes them.

msgspec structs rather than pydantic models, because a socket may carry thousands of frames a second.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, get_args

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, ValidationError, convert, field

from plait_merge.values import Json
from plait_server import wire
from plait_server.errors import MalformedFrame
from plait_server.service.moment import format_moment
from plait_server.service.request import DocumentKey, MergeMode
from plait_server.service.revision import Revision

NUMBER_MAX: Final = 2**53 - 1

# In patterns a look-ahead is before the end because `$` would let a line feed there pass.
Document = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9_-]{0,62}/(?!\.{1,2}$)[A-Za-z0-9._~-]{1,128}(?!\n)$",
        description="collection/id",
    ),
]
Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX, description="The caller's own, repeated in the answer.")]
RevisionNumber = Annotated[int, Meta(ge=0, le=NUMBER_MAX, description="0: before the first.")]
Key = Annotated[str, Meta(pattern=r"^[!-~]{1,255}(?!\n)$", description="As the header Idempotency-Key.")]
Epoch = Annotated[str, Meta(min_length=1, max_length=64)]
Patch = Annotated[Raw, Meta(description="JSON Patch, RFC 6902.", extra_json_schema={"type": "array"})]


class Incoming(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="t"):
    """What a client sends. A member nobody knows is refused: it would be a typo without effect."""


class Hello(Incoming, frozen=True, kw_only=True, tag="hello"):
    """The first frame of a connection that did not say who it is when it was opened."""

    token: Annotated[str, Meta(max_length=8_192)] | None = None
    client: Annotated[str, Meta(max_length=256, description="Name and version, for people.")] | None = None


class Sub(Incoming, frozen=True, kw_only=True, tag="sub"):
    """Follow a document: from a revision the client has, or from a snapshot."""

    id: Number
    doc: Document
    from_: RevisionNumber | None = field(default=None, name="from")
    epoch: Epoch | None = None


class Unsub(Incoming, frozen=True, kw_only=True, tag="unsub"):
    """Follow a document no longer."""

    id: Number | None = None
    doc: Document


class OwnEdit(Struct, frozen=True, forbid_unknown_fields=True):
    """A base that is an edit of one's own, sent over this connection, answered or not."""

    key: Key


class NamedLock(Struct, frozen=True, forbid_unknown_fields=True):
    """The lease that an edit is made under."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}(?!\n)$")]
    fence: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]


class Submission(Incoming, frozen=True, kw_only=True, tag="edit"):
    """Edit a document. Without a base it applies to the head."""

    id: Number
    doc: Document
    patch: Annotated[list[Any], Meta(description="JSON Patch, RFC 6902, and inc.")]
    base: RevisionNumber | OwnEdit | None = None
    epoch: Epoch | None = None
    merge: MergeMode = "auto"
    lock: NamedLock | None = None
    key: Key | None = None
    message: Annotated[str, Meta(max_length=4_096)] | None = None


class Presence(Incoming, frozen=True, kw_only=True, tag="presence"):
    """Say where one is in a document; null: nowhere any more. Kept for half a minute, never stored.

    `state.pointer`, if it is there, is a pointer into the document at `rev`; it moves with the edits.
    """

    doc: Document
    state: dict[str, Any] | None
    rev: RevisionNumber | None = None


class Ping(Incoming, frozen=True, kw_only=True, tag="ping"):
    """Ask for a pong."""

    id: Number | None = None


ClientFrame = Hello | Sub | Unsub | Submission | Presence | Ping
_KINDS: Final = {kind.__struct_config__.tag: kind for kind in get_args(ClientFrame)}


def read_frame(text: bytes, depth_max: int, integer_digits_max: int) -> ClientFrame:
    """Read what a client sent. Raises MalformedFrame, with the caller's `id` where it can be told."""
    content: Json = None
    try:
        content = wire.parse(text, depth_max, integer_digits_max)
        frame: ClientFrame = convert(content, _kind(content))
    except ValidationError as error:
        raise MalformedFrame(f"{error}.", _numbered(content)) from error
    except (wire.MalformedJson, wire.UnacceptableJson) as error:
        raise MalformedFrame(str(error)) from error
    return frame


def _kind(content: Json) -> Any:
    """Give the struct a frame says it is: to convert to that takes a fraction of what the union takes."""
    tag = content.get("t") if isinstance(content, dict) else None
    return _KINDS.get(tag, ClientFrame) if isinstance(tag, str) else ClientFrame


@lru_cache(maxsize=1_024)
def document_of(name: str) -> DocumentKey:
    """Take the name of a document apart."""
    collection, _, id_ = name.partition("/")
    return DocumentKey(collection, id_)


def _numbered(content: Json) -> dict[str, object]:
    number = content.get("id") if isinstance(content, dict) else None
    if type(number) is int and 0 <= number <= NUMBER_MAX:
        return {"id": number}
    return {}


class Outgoing(Struct, frozen=True, kw_only=True, tag_field="t"):
    """What a server sends. A client ignores members and frames that it does not know."""


class Welcome(Outgoing, frozen=True, kw_only=True, tag="welcome"):
    """The connection may be used. A patch that is larger than a frame goes by HTTP."""

    session: str
    epoch: str
    limits: dict[str, float]


class Snapshot(Outgoing, frozen=True, kw_only=True, tag="snapshot"):
    """A whole document. One that is deleted has no value."""

    doc: Document
    rev: RevisionNumber
    value: Annotated[Raw, Meta(description="Any JSON.")] | UnsetType = UNSET
    deleted: bool | UnsetType = UNSET


class Part(Struct, frozen=True, omit_defaults=True):
    """One revision among those of a `rev`."""

    rev: RevisionNumber
    author: str
    at: str
    key: str | None = None


class Rev(Outgoing, frozen=True, kw_only=True, tag="rev"):
    """What leads from revision `prev` to `rev`: the patches of all revisions in `parts`, joined in order."""

    doc: Document
    prev: RevisionNumber
    rev: RevisionNumber
    patch: Patch
    parts: list[Part]


class CaughtUp(Outgoing, frozen=True, kw_only=True, tag="caught_up"):
    """The client has what there is; what comes from now on is new."""

    doc: Document
    rev: RevisionNumber


class Reset(Outgoing, frozen=True, kw_only=True, tag="reset"):
    """Forget the document: a snapshot follows, because what was missed cannot be given."""

    doc: Document
    reason: Literal["epoch", "unknown", "compacted", "lagging"]


class Applied(Outgoing, frozen=True, kw_only=True, tag="applied", omit_defaults=True):
    """An edit is durable. Who does not follow the document is told what was missed and what was committed."""

    id: Number
    doc: Document
    rev: RevisionNumber
    outcome: Literal["created", "applied", "merged", "noop", "deleted"]
    key: str | None = None
    base: RevisionNumber | None = None
    patch: Patch | None = None
    missed: Annotated[Raw, Meta(description="As in the answer to a PATCH.")] | None = None
    replayed: bool = False


class ProblemFrame(Outgoing, frozen=True, kw_only=True, tag="problem", omit_defaults=True):
    """A frame was refused. The members are those of the problem document of the same type over HTTP."""

    type: str
    title: str
    status: int
    detail: str
    retry: bool
    id: Number | None = None
    doc: Document | None = None


class Present(Outgoing, frozen=True, kw_only=True, tag="presence"):
    """Where somebody is; null: nowhere any more."""

    doc: Document
    session: str
    author: str
    state: dict[str, Any] | None


class Throttle(Outgoing, frozen=True, kw_only=True, tag="throttle"):
    """The server has too much to do: send no edits for so long."""

    retry_after_ms: int


class Heartbeat(Outgoing, frozen=True, kw_only=True, tag="hb"):
    """A sign of life, with the revision this connection is at in each document that it follows."""

    heads: dict[str, int]


class Goaway(Outgoing, frozen=True, kw_only=True, tag="goaway"):
    """The server closes. Come back after a random time between the two."""

    reconnect_ms: tuple[int, int]


class Pong(Outgoing, frozen=True, kw_only=True, tag="pong"):
    """The answer to a ping."""

    id: Number | None = None


ServerFrame = (
    Welcome
    | Snapshot
    | Rev
    | CaughtUp
    | Reset
    | Applied
    | ProblemFrame
    | Present
    | Throttle
    | Heartbeat
    | Goaway
    | Pong
)


class Frame(Struct, eq=False, weakref=True):
    """A frame, encoded once for everybody who gets it.

    `rev` is the revision it leads to, where it is about one. `framed` is what a transport makes of the
    text; it is kept here because it too is the same for everybody.
    """

    kind: str
    text: bytes
    rev: int | None = None
    framed: bytes | None = None


def frame_of(frame: ServerFrame, rev: int | None = None) -> Frame:
    """Encode a frame; `rev` is the revision it leads to, where it is about one."""
    return Frame(str(type(frame).__struct_config__.tag), wire.encode(frame), rev)


def rev_frame(document: str, prev: int, revisions: Sequence[Revision]) -> Frame:
    """Make the frame of one revision, or of several in a row as one.

    Committed patches in order are a patch: their texts are joined, nothing is read or compared. Where
    one place was set many times that is longer than the shortest patch, and whoever is so late that it
    matters gets a snapshot instead.
    """
    return Frame(
        "rev",
        b'{"t":"rev","doc":"%b","prev":%d,"rev":%d,"patch":%b,"parts":[%b]}'
        % (
            document.encode(),
            prev,
            revisions[-1].n,
            revisions[0].patch if len(revisions) == 1 else joined(revisions),
            b",".join([_part(revision) for revision in revisions]),
        ),
        revisions[-1].n,
    )


def joined(revisions: Sequence[Revision]) -> bytes:
    """Join the patches of revisions in a row into one."""
    return b"[%b]" % b",".join([revision.patch[1:-1] for revision in revisions if revision.patch != b"[]"])


def _part(revision: Revision) -> bytes:
    record = revision.record
    return wire.encode(Part(record.n, record.author, format_moment(record.at), record.key))
