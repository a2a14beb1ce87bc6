"""What callers send."""

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from plait_server.web.models.terms import Epoch, MergeMode, Message, Policy, Revision, Schema
from plait_server.web.routes import COLLECTION_PATTERN, ID_PATTERN


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


class LabelledRevision(Body):
    """Which revision a label names."""

    revision: Revision
