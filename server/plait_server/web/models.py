"""The bodies of the contract as pydantic models: they check what needs checking and describe the rest."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from plait_merge import policy_schema
from plait_merge.outcome import NoteKind
from plait_server.web.routes import COLLECTION_PATTERN, ID_PATTERN

Revision = Annotated[int, Field(ge=1, le=10**18)]
Epoch = Annotated[str, Field(min_length=1, max_length=64)]
Message = Annotated[str, Field(description="Kept in history; its limit is message_bytes_max.")]
Patch = Annotated[list[dict[str, Any]], Field(description="JSON Patch, RFC 6902.")]
Label = Annotated[str, Field(description="The name of a revision.")]
MergeMode = Literal["auto", "strict", "theirs", "yours"]
Policy = Annotated[
    Any,
    WithJsonSchema({"anyOf": [policy_schema(), {"type": "null"}]}),
    Field(description="What is done where two edits meet, by place."),
]
Schema = Annotated[
    Any,
    WithJsonSchema({"type": ["object", "boolean", "null"]}),
    Field(description="JSON Schema, draft 2020-12, that every document has to fit after an edit."),
]


class Body(BaseModel):
    """What a caller sends: unknown members are refused, and no type is bent into another."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _with_one_of(*members: tuple[str, ...]) -> ConfigDict:
    """Describe what is refused otherwise: that some of the optional members are there."""
    return ConfigDict(json_schema_extra={"anyOf": [{"required": list(each)} for each in members]})


Fence = Annotated[int, Field(ge=1, le=10**18, description="Which granting of a lease; only grows.")]
Lasting = Annotated[float, Field(gt=0, le=10**9, description="Seconds; its limit is lock_ttl_max_s.")]


class NamedLock(Body):
    """The lease that an edit is made under."""

    id: Annotated[str, Field(max_length=64)]
    fence: Fence


class EditBody(Body):
    """`application/vnd.plait.edit+json`: a JSON Patch and what the caller had seen."""

    patch: list[Any] = Field(
        description='JSON Patch, RFC 6902, and {"op": "inc", "path", "value"}, which adds to a number.'
    )
    base: Revision | None = Field(None, description="The revision the patch was made against.")
    epoch: Epoch | None = Field(None, description="The epoch that revision belongs to.")
    merge: MergeMode = Field(
        "auto",
        description="Where others were faster: merge, refuse with 412, first writer wins, last writer wins. "
        "auto leaves it to the collection.",
    )
    message: Message | None = None
    resolves: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="Id of a conflict that this edit settles."
    )
    dry_run: bool = Field(False, description="Decide, but store nothing.")
    lock: NamedLock | None = Field(None, description="The lease it is made under.")


class RevertBody(Body):
    """What is taken back: a revision, a range of them, or everything after one. Exactly one of the three."""

    model_config = _with_one_of(("revision",), ("from", "through"), ("to",))

    revision: Revision | None = Field(None, description="Take this revision back; later ones stay.")
    from_: Revision | None = Field(None, alias="from", description="Take back from this revision on,")
    through: Revision | None = Field(None, description="to this one, with it; later ones stay.")
    to: Revision | None = Field(
        None, description="Make the document what it was at this revision, also where it is deleted."
    )
    epoch: Epoch | None = Field(None, description="The epoch the revisions belong to.")
    merge: MergeMode = Field("auto", description="Where others were faster, as in an edit.")
    message: Message | None = Field(None, description='Without one: "Revert revision 41".')
    dry_run: bool = Field(False, description="Decide, but store nothing.")


def _is_document(name: str) -> str:
    if not _DOCUMENT.fullmatch(name):
        raise PydanticCustomError("document", "A document is named by its collection, a slash and its id")
    return name


_DOCUMENT = re.compile(f"{COLLECTION_PATTERN}/{ID_PATTERN}")
DocumentName = Annotated[
    str,
    AfterValidator(_is_document),
    Field(description="collection/id", json_schema_extra={"pattern": f"^{_DOCUMENT.pattern}$"}),
]


CREATION = (None, None, "auto")


class BatchEdit(Body):
    """An edit of one document: exactly one of `patch`, `value` and `delete`.

    A value creates the document (`create`) or replaces it; then, like a deletion, it needs `base` or
    `if_match`.
    """

    model_config = _with_one_of(("patch",), ("value",), ("delete",))

    document: DocumentName
    patch: list[Any] | None = Field(
        None, description='JSON Patch, RFC 6902, and {"op": "inc", "path", "value"}, which adds to a number.'
    )
    value: Any = Field(None, description="The whole document, as with PUT.")
    create: bool = Field(False, description="There must be no such document yet.")
    delete: bool = False
    base: Revision | None = Field(None, description="The revision the edit was made against.")
    if_match: Revision | None = Field(None, description="Refuse the batch if the document moved from here.")
    merge: MergeMode = Field("auto", description="Where others were faster, as in an edit of its own.")
    lock: NamedLock | None = Field(None, description="The lease it is made under.")

    @model_validator(mode="after")
    def _is_one_edit(self) -> Self:
        given = self.model_fields_set
        if (self.patch is not None) + ("value" in given) + self.delete != 1:
            raise PydanticCustomError("edit", "Exactly one of patch, value and delete makes an edit")
        if self.create and ("value" not in given or (self.base, self.if_match, self.merge) != CREATION):
            raise PydanticCustomError(
                "edit", "What creates a document has its value, and nothing to merge with"
            )
        return self


class BatchBody(Body):
    """Edits of several documents, one each: all are made or none."""

    edits: list[BatchEdit] = Field(min_length=1)
    message: Message | None = None
    dry_run: bool = Field(False, description="Decide, but store nothing.")
    epoch: Epoch | None = Field(None, description="The epoch that the revisions named in it belong to.")


class ResolutionBody(Body):
    """How a conflict is settled: a choice for each conflict in it, or a patch. Exactly one of the two."""

    model_config = _with_one_of(("choices",), ("patch",))

    choices: dict[str, Any] | None = Field(
        None,
        description='Conflict id to "theirs", "yours", "base", "both" or {"value": …}.',
    )
    patch: list[Any] | None = Field(None, description="JSON Patch against the head the conflict shows.")
    message: Message | None = None


class LockBody(Body):
    """A lease that is asked for."""

    pointer: str = Field(description='What it is on, as JSON Pointer; "" is the whole document.')
    ttl_s: Lasting | None = Field(None, description="How long; lock_ttl_s where it is not said.")


class RenewalBody(Body):
    """A lease that is to last from now on."""

    fence: Fence
    ttl_s: Lasting | None = Field(None, description="How long; as long as last time where it is not said.")


class Retention(Body):
    """A revision is kept while one of these holds, and the newest in any case. One of them has to be said."""

    model_config = _with_one_of(("revisions",), ("days",), ("labelled",))

    revisions: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        None, description="It is among the newest so many."
    )
    days: Annotated[int | float, Field(gt=0, le=36_500)] | None = Field(
        None, description="It is younger than so many days."
    )
    labelled: bool = Field(True, description="It has a label.")


class CollectionSettings(Body):
    """What holds for the documents of a collection: all of it, what is left out is as if never set."""

    policy: Policy = None
    schema_: Schema = Field(None, alias="schema")
    merge: MergeMode = Field("auto", description="How an edit merges that does not say so itself.")
    retention: Retention | None = Field(None, description="Which revisions are kept; null keeps all.")


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


class Missed(BaseModel):
    """A revision made between the caller's base and the edit."""

    revision: Revision
    author: str
    at: str
    patch: Patch


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


class LabelledRevision(Body):
    """Which revision a label names."""

    revision: Revision


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


class ConflictEntry(BaseModel):
    """A kept conflict."""

    id: str
    document: str
    author: str
    opened: str
    expires: str
    base_revision: Revision
    head_revision: Revision
    resolved: str | None
    resolved_revision: Revision | None
    previous: str | None = Field(description="The conflict whose resolution ran into this one.")


class ConflictList(BaseModel):
    """One page of a document's open conflicts."""

    conflicts: list[ConflictEntry]
    cursor: str | None


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


class Facet(BaseModel):
    """What one side has at a place; absent is not null."""

    present: bool
    value: Any = None
    revision: Revision | None = None
    revisions: list[Revision] | None = None
    author: str | None = None
    at: str | None = None
    message: str | None = None
    truncated: bool = Field(False, description="The value is longer than is shown.")
    link: str | None = Field(None, description="Where a truncated value can be read.")


class Violation(BaseModel):
    """A place of a document that does not fit the schema of its collection."""

    detail: str
    pointer: str


class Conflict(BaseModel):
    """One place where nothing keeps what both sides meant."""

    id: str
    kind: str
    pointer: str
    pointer_theirs: str | None = None
    pointer_yours: str | None = None
    base: Facet
    theirs: Facet
    yours: Facet
    your_operations: list[int]
    resolutions: dict[str, Patch | None] = Field(
        description="What each choice would do; null where that is longer than is shown."
    )
    depends: list[dict[str, Any]]
    errors: list[Violation] | None = Field(None, description="What the schema says, where it is the cause.")


class ConflictBody(ConflictEntry):
    """A kept conflict with everything needed to settle it."""

    conflicts_total: int
    cursor: str | None = Field(
        description="Pass it as ?cursor= for more of its conflicts, where they are very many."
    )
    conflicts: list[Conflict]
    clean_operations: list[int]
    clean_patch: Patch
    missed: list[Missed] | None


class ProblemBody(BaseModel):
    """An error, RFC 9457. Kinds of problems add members of their own."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class RefusedEdit(BaseModel):
    """Why an edit of a batch is refused: what the problem would say if it were sent alone."""

    model_config = ConfigDict(extra="allow")

    edit: int = Field(description="Its number in the batch, from 0.")
    document: str
    type: str
    title: str
    status: int
    detail: str


class BatchProblem(ProblemBody):
    """A batch of which nothing is made. The type is that of one of its refused edits."""

    errors: list[RefusedEdit] = Field(description="Every edit that is refused.")


class ConflictProblem(ProblemBody):
    """409 merge-conflict."""

    instance: str | None = Field(None, description="The conflict, kept as a resource.")
    base_revision: Revision
    head_revision: Revision
    conflicts_total: int = Field(description="More than are shown, where there are very many.")
    conflicts: list[Conflict]
    clean_operations: list[int]
    clean_patch: Patch
    missed: list[Missed] | None


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
