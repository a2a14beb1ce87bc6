"""Conflicts, kept or just met, and problem documents."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from plait_server.web.models.terms import Missed, Patch, Revision


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
