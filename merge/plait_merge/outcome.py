"""What a merge answers: a value with a patch, or all conflicts as data. Never an exception for data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from plait_merge.pointer import pointer_order
from plait_merge.values import ABSENT, Absent, Json

if TYPE_CHECKING:
    from plait_merge.settlement import Settlement

Patch = list[dict[str, Any]]
Kind = Literal[
    "guard",
    "cycle",
    "move_move",
    "move_remove",
    "remove_edit",
    "replace_edit",
    "edit_edit",
    "add_add",
    "duplicate_key",
    "order",
    "text",
]
# The kind of a conflict with several parts is the first of these among them.
KINDS: tuple[Kind, ...] = (
    "guard",
    "cycle",
    "move_move",
    "move_remove",
    "remove_edit",
    "replace_edit",
    "edit_edit",
    "add_add",
    "duplicate_key",
    "order",
    "text",
)
Side = Literal["theirs", "yours", "base", "both"]
Choice = Side | Mapping[str, Json]


NoteKind = Literal[
    "stale_copy",
    "theirs",
    "yours",
    "max",
    "min",
    "newest",
    "sum",
    "text",
    "deep",
    "resolver",
    "set",
    "keyed",
    "unkeyed",
    "inferred_key",
]


@dataclass(frozen=True, slots=True)
class Note:
    """Something a merge did that its author may want to know.

    `operation` is the first of yours that it is about. `stale_copy`: that operation copied a value theirs
    has changed since; what the author saw was kept. `unkeyed`: it put an element into a keyed array without
    a key of its own, so it was merged as in a list; `keyed`: the element it added is one with theirs of the
    same key. `pointer` is the place in yours. All others say by which word of the policy a conflict was
    decided; `pointer` is then the conflict's.
    `inferred_key`: in the array both sides changed at *pointer* (in base), the members *key* were taken to
    name the elements. Only where whole values are merged.
    """

    note: NoteKind
    operation: int | None
    pointer: str
    key: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Json]:
        """The note as plain JSON, members without a meaning left out."""
        written: dict[str, Json] = {"note": self.note, "operation": self.operation, "pointer": self.pointer}
        if self.operation is None:
            del written["operation"]
        if self.key:
            written["key"] = list(self.key)
        return written


@dataclass(frozen=True, slots=True)
class Rebased:
    """A clean merge: *value* is `apply(theirs, patch)`; *patch* has no `test`, and is [] for no change."""

    value: Json | Absent
    patch: Patch
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Merged:
    """A clean merge of three values: *patch* leads from theirs to *value*."""

    value: Json | Absent
    patch: Patch
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Facet:
    """What one side has at a place. Absent is not null."""

    value: Json | Absent

    @property
    def present(self) -> bool:
        return self.value is not ABSENT

    def as_json(self) -> dict[str, Json]:
        return {"present": True, "value": self.value} if self.present else {"present": False}


@dataclass(frozen=True, slots=True)
class Dependent:
    """A clean change of yours that needs a conflict's outcome: made if the choice keeps what it needs."""

    pointer: str | None
    your_operations: tuple[int, ...]

    def as_json(self) -> dict[str, Json]:
        return {"pointer": self.pointer, "your_operations": list(self.your_operations)}


@dataclass(frozen=True)
class Conflict:
    """One place where nothing keeps what both sides meant. Fields as in merge.md, section 6.

    `pointer` is in base coordinates (for something added: the member it was added at), the other two are
    in theirs and in yours, None where the thing has no place there. `resolutions` are worked out when first
    asked for; each is a patch against theirs and complete by itself.
    """

    kind: Kind
    pointer: str
    pointer_theirs: str | None
    pointer_yours: str | None
    base: Facet
    theirs: Facet
    yours: Facet
    your_operations: tuple[int, ...]
    their_patches: tuple[int, ...]
    depends: tuple[Dependent, ...] = ()
    _settlement: Settlement = field(repr=False, compare=False, kw_only=True)

    @cached_property
    def id(self) -> str:
        parts = [
            self.kind,
            self.pointer,
            *(_canonical(f.value) for f in (self.base, self.theirs, self.yours)),
        ]
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()

    @cached_property
    def resolutions(self) -> dict[str, Patch]:
        return self._settlement.resolutions(self)

    def as_json(self) -> dict[str, Json]:
        """The conflict as plain JSON, members without a place left out."""
        pointers = {
            "pointer": self.pointer,
            "pointer_theirs": self.pointer_theirs,
            "pointer_yours": self.pointer_yours,
        }
        return {
            "id": self.id,
            "kind": self.kind,
            **{name: pointer for name, pointer in pointers.items() if pointer is not None},
            "base": self.base.as_json(),
            "theirs": self.theirs.as_json(),
            "yours": self.yours.as_json(),
            "your_operations": list(self.your_operations),
            "their_patches": list(self.their_patches),
            "resolutions": dict(self.resolutions),
            "depends": [dependent.as_json() for dependent in self.depends],
        }


@dataclass(frozen=True)
class Conflicted:
    """All conflicts at once, ordered by pointer, and what of yours is clean as a patch against theirs."""

    conflicts: tuple[Conflict, ...]
    clean_patch: Patch
    clean_operations: tuple[int, ...]
    notes: tuple[Note, ...] = ()
    _settlement: Settlement = field(repr=False, compare=False, kw_only=True)


def by_place(conflict: Conflict) -> tuple[object, int]:
    """Order conflicts by pointer, array parts by number, then by kind."""
    return pointer_order(conflict.pointer.split("/")[1:]), KINDS.index(conflict.kind)


def _canonical(value: Json | Absent) -> str:
    if value is ABSENT:
        return "absent"
    return "present " + json.dumps(value, sort_keys=True, separators=(",", ":"))
