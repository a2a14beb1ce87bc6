"""What bodies and answers are made of."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from plait_merge import policy_schema

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


class Missed(BaseModel):
    """A revision made between the caller's base and the edit."""

    revision: Revision
    author: str
    at: str
    patch: Patch
