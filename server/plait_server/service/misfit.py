"""Two edits that fit the schema of their collection, merged into a document that does not."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from plait_merge import ABSENT, Absent, ChoiceError, Json, Operation, TouchIndex, array_index, parse_pointer
from plait_merge.outcome import Facet
from plait_server.service.revision import Revision
from plait_server.service.schema import Schema, Violation
from plait_server.wire import encode

KIND: Final = "schema"
RESOLUTIONS: Final[Mapping[str, list[Json]]] = {"theirs": []}
"""Nothing of the edit, or else a patch of one's own: nobody else can know what would fit."""


class SchemaConflict(Struct, frozen=True):
    """The place the schema complains about first, as a conflict. `pointer` is one of the merged document."""

    pointer: str
    base: Facet
    theirs: Facet
    yours: Facet
    your_operations: tuple[int, ...]
    their_patches: tuple[int, ...]
    violations: Sequence[Violation]

    kind = KIND
    resolutions = RESOLUTIONS

    @property
    def id(self) -> str:
        facets = (self.base, self.theirs, self.yours)
        parts = [KIND.encode(), self.pointer.encode(), *(encode(facet.as_json()) for facet in facets)]
        return blake2b(b"\0".join(parts), digest_size=12).hexdigest()

    @property
    def pointer_theirs(self) -> str | None:
        return self.pointer if self.theirs.present else None

    def as_json(self) -> dict[str, Json]:
        places = {"pointer": self.pointer}
        if self.theirs.present:
            places["pointer_theirs"] = self.pointer
        if self.yours.present:
            places["pointer_yours"] = self.pointer
        return {
            "id": self.id,
            "kind": KIND,
            **places,
            "base": self.base.as_json(),
            "theirs": self.theirs.as_json(),
            "yours": self.yours.as_json(),
            "your_operations": list(self.your_operations),
            "their_patches": list(self.their_patches),
            "resolutions": dict(RESOLUTIONS),
            "depends": [],
            "errors": [violation.as_json() for violation in self.violations],
        }


class Misfit(Struct, frozen=True):
    """A merge that the schema refuses; shaped as the engine's `Conflicted`. Nothing of the edit is clean."""

    conflicts: tuple[SchemaConflict, ...]
    clean_patch: tuple[()] = ()
    clean_operations: tuple[()] = ()

    def patch(self, choices: Mapping[str, Json]) -> Json:
        """Settle it. Raises ChoiceError for what is no choice here."""
        (conflict,) = self.conflicts
        for id in choices:
            if id != conflict.id:
                raise ChoiceError(id, "there is no such conflict")
        choice = choices.get(conflict.id)
        if choice != "theirs":
            detail = "has no choice" if choice is None else 'can be settled by "theirs" or by a patch'
            raise ChoiceError(conflict.id, detail)
        return []


def find_misfit(
    schema: Schema,
    base: Revision,
    since: Sequence[Revision],
    own: Json | Absent,
    merged: Json,
    operations: Sequence[Operation],
) -> Misfit | Sequence[Violation]:
    """Ask the schema about a merge.

    `since` leads from `base` to theirs, `operations` to `own`. Gives a Misfit where `own` fits and `merged`
    does not; where neither does, what is wrong with `merged`; nothing where all is well.
    """
    found = schema.violations(merged)
    if not found or not since or (own is not ABSENT and schema.violations(own)):
        return found
    pointer = found[0].pointer
    tokens = parse_pointer(pointer)
    conflict = SchemaConflict(
        pointer=pointer,
        base=Facet(_find(base.value, tokens)),
        theirs=Facet(_find(since[-1].value, tokens)),
        yours=Facet(_find(own, tokens)),
        your_operations=tuple(range(len(operations))),
        their_patches=_patches_at(tokens, since),
        violations=found,
    )
    return Misfit((conflict,))


def _find(value: Json | Absent, tokens: Sequence[str]) -> Json | Absent:
    for token in tokens:
        if isinstance(value, dict):
            value = value.get(token, ABSENT)
        elif isinstance(value, list):
            index = array_index(token)
            value = value[index] if index is not None and index < len(value) else ABSENT
        else:
            return ABSENT
    return value


def _patches_at(tokens: tuple[str, ...], since: Sequence[Revision]) -> tuple[int, ...]:
    """Give the patches that touched a place; all of them where none did."""
    look = (Operation("test", tokens, None, None),)
    touching = []
    for index, revision in enumerate(since):
        touched = TouchIndex()
        touched.record(revision.operations, 1)
        if touched.overlaps(look, 0):
            touching.append(index)
    return tuple(touching or range(len(since)))
