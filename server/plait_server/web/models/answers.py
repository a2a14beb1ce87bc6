"""What callers are answered where all is well."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from plait_merge.outcome import NoteKind
from plait_server.web.models.bodies import Retention
from plait_server.web.models.refusals import ConflictProblem, ProblemBody
from plait_server.web.models.terms import Epoch, Label, MergeMode, Missed, Patch, Policy, Revision, Schema


class CollectionBody(BaseModel):
    """What holds for the documents of a collection, since when and by whom. Revision 0: never set."""

    model_config = ConfigDict(serialize_by_alias=True)

    collection: str
    revision: Annotated[int, Field(ge=0)]
    policy: Policy
    schema_: Schema = Field(alias="schema")
    merge: MergeMode
    retention: Retention | None
    author: str | None
    at: str | None


class Note(BaseModel):
    """Something a clean merge did that its author may want to know.

    `stale_copy`: the operation copied a value that others have changed since; what its author saw was kept.
    `unkeyed`: it put an element without a key of its own into a keyed array. The others name the word of the
    collection's policy that decided.
    """

    note: NoteKind
    operation: int = Field(description="Index in the submitted patch.")
    pointer: str


class EditResult(BaseModel):
    """What became of an edit. With `missed` and `patch` the caller is at `revision` without another GET."""

    document: str = Field(description="collection/id")
    revision: Revision = Field(description="The revision the edit made; the head for a noop or a dry run.")
    base: Revision | None
    outcome: Literal["created", "applied", "merged", "noop", "would_apply", "would_merge", "deleted"]
    patch: Patch | None = Field(
        description="As committed; applied to the revision before it gives this one. "
        "null in an answer given again whose revision was compacted away."
    )
    missed: list[Missed] | None = Field(description="null where it is too long: read the revisions instead.")
    epoch: Epoch
    settled: str | None = Field(None, description="Id of the conflict this edit settled.")
    notes: list[Note] | None = Field(None, description="Left out where there are none.")
    value: Any = Field(None, description="The document, where Prefer: return=representation asked for it.")


class BatchResult(BaseModel):
    """What became of a batch: all of it is durable, or would be."""

    results: list[EditResult] = Field(description="In the order of the edits.")
    epoch: Epoch


class DocumentEntry(BaseModel):
    """A document in a list."""

    document: str
    revision: Revision
    created: str
    updated: str


class DocumentList(BaseModel):
    """One page of the documents of a collection, by id."""

    documents: list[DocumentEntry]
    cursor: str | None = Field(description="Pass it as ?cursor= for the next page; null on the last.")


class RevisionBody(BaseModel):
    """One revision, as history keeps it."""

    document: str
    revision: Revision
    kind: Literal["create", "edit", "delete"]
    author: str
    at: str
    message: str | None
    key: str | None = Field(description="Idempotency key it was sent with: how a client finds its own edit.")
    base: Revision | None = Field(description="What the author had seen.")
    patch: Patch = Field(description="As committed.")
    submitted: Patch | None = Field(description="As submitted, where it differs.")
    policy: int | None = Field(
        None,
        description="The revision of the collection's settings under whose policy it was merged; "
        "left out where there was none.",
    )
    labels: list[Label] | None = Field(None, description="Left out where there are none.")


class RevisionList(BaseModel):
    """One page of history, newest first."""

    revisions: list[RevisionBody]
    cursor: str | None
    oldest: Revision = Field(
        description="From here on every revision is kept; of those before only labelled ones."
    )


class LabelBody(BaseModel):
    """A label of a revision."""

    label: Label
    revision: Revision
    author: str
    at: str


class PutLabel(LabelBody):
    """A label that was put."""

    previous_revision: Revision | None = Field(description="What it named before; null for a new label.")


class LabelList(BaseModel):
    """The labels of a document, by name."""

    labels: list[LabelBody]


class Leaf(BaseModel):
    """A scalar, or an empty object or array, and the revision that set it last."""

    pointer: str
    revision: Revision
    author: str | None
    at: str | None
    before: bool = Field(
        False,
        description="It was there at this revision, the oldest that is kept: who set it is no longer known.",
    )


class BlameBody(BaseModel):
    """One page of who set what, in the order of the document. Its cursor holds on to the revision."""

    document: str
    revision: Revision = Field(description="What it is true of.")
    leaves: list[Leaf]
    cursor: str | None


class Change(BaseModel):
    """A revision in the feed."""

    document: str
    revision: Revision
    kind: Literal["create", "edit", "delete"]
    author: str
    at: str
    message: str | None
    patch: Patch = Field(description="As committed; applied to the revision before it gives this one.")
    compacted: bool = Field(
        False,
        description="Revisions before it were compacted away: `patch` leads to it from anything. "
        "Left out where it is false.",
    )


class ChangeList(BaseModel):
    """Revisions of all documents, in order for each document."""

    changes: list[Change]
    cursor: str = Field(description="Pass it as ?since= for what follows; opaque.")


class Ticket(BaseModel):
    """Opens one live connection, once."""

    ticket: str
    expires_s: float


class Lock(BaseModel):
    """A lease. `lock` and `fence`, which an edit names it by, are shown only to who has it."""

    lock: str | None = Field(None, description="Its id.")
    document: str
    pointer: str = Field(description="Where it is now: it moves with what it is on.")
    revision: Revision = Field(description="The revision of the document at which it is there.")
    holder: str
    fence: int | None = None
    ttl_s: float
    expires: str


class LockList(BaseModel):
    """The leases of a document that stand, oldest first."""

    locks: list[Lock]


class OperationBody(BaseModel):
    """A queued edit. Finished, it has a result or a problem, as the edit would have been answered with."""

    operation: str
    document: str
    status: Literal["queued", "done", "refused"]
    accepted: str
    finished: str | None = Field(None, description="Left out while it is queued.")
    result: EditResult | None = Field(None, description="What it did, where it is done.")
    problem: ProblemBody | ConflictProblem | None = Field(None, description="Why, where it is refused.")


class RateLimit(BaseModel):
    """A quota: so many requests in a window that slides. RateLimit names what is left of it."""

    name: str
    scope: Literal["caller", "tenant"] = Field(description="Whose requests are counted together.")
    writes_only: bool
    quota: int
    window_s: int


class Features(BaseModel):
    """What this server is and can do."""

    name: Literal["plait"]
    version: str
    versions: list[str] = Field(description="Versions of the contract, each the prefix of its paths.")
    epoch: Epoch
    features: list[str]
    patch_types: list[str]
    limits: dict[str, float]
    rate_limits: list[RateLimit] = Field(description="None where everybody may ask as often as he likes.")


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Ready(BaseModel):
    """The store takes writes."""

    status: Literal["ready"]
    store: str
    durability: str
