"""An edit that overlaps what others did: what clashes, field by field, and the way to settle it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from plait_client.draft import own_value
from plait_client.errors import PlaitError
from plait_client.live.frame import Part
from plait_client.saved import Saved
from plait_merge import ABSENT, Absent, Conflict, Json

Side = Literal["theirs", "yours", "base", "both"]
SIDES: tuple[Side, ...] = ("theirs", "yours", "base", "both")


@dataclass(frozen=True, slots=True)
class Value:
    """A choice that is none of the sides: this value."""

    value: Json


Choice = Side | Value


@dataclass(frozen=True, slots=True)
class Facet:
    """What one side has at the place of a conflict.

    `value` is ABSENT where nothing is there, which is not null. Who wrote it, when and in which revision is
    known of theirs only. `truncated` says that the value is longer than the server shows; it is ABSENT then.
    """

    value: Json | Absent
    revision: int | None = None
    author: str | None = None
    at: str | None = None
    message: str | None = None
    truncated: bool = False

    @property
    def present(self) -> bool:
        return self.truncated or self.value is not ABSENT


class Field:
    """One place where nothing keeps what both sides meant.

    `pointer` is where it was in what both started from, `pointer_theirs` and `pointer_yours` where each side
    has it; None: it is not there, or that was not told. `options` are the sides that may be chosen.
    """

    __slots__ = (
        "_choice",
        "_conflict",
        "base",
        "id",
        "kind",
        "options",
        "pointer",
        "pointer_theirs",
        "pointer_yours",
        "theirs",
        "yours",
    )

    def __init__(
        self,
        id: str,
        kind: str,
        pointer: str,
        base: Facet,
        theirs: Facet,
        yours: Facet,
        options: Sequence[str],
        *,
        pointer_theirs: str | None = None,
        pointer_yours: str | None = None,
    ) -> None:
        self.id = id
        self.kind = kind
        self.pointer = pointer
        self.pointer_theirs = pointer_theirs
        self.pointer_yours = pointer_yours
        self.base = base
        self.theirs = theirs
        self.yours = yours
        self.options = frozenset(options)
        self._choice: Choice | None = None
        self._conflict: MergeConflict | None = None

    def __repr__(self) -> str:
        return f"<Field {self.pointer!r} {self.kind} {'undecided' if self._choice is None else self._choice}>"

    @property
    def author(self) -> str | None:
        """Who made the other change, where it is known to be one person."""
        return self.theirs.author

    @property
    def at(self) -> str | None:
        """When the other change was made, as RFC 3339."""
        return self.theirs.at

    @property
    def choice(self) -> Choice | None:
        """What was chosen; None as long as nothing was."""
        return self._choice

    @property
    def decided(self) -> bool:
        return self._choice is not None

    def choose(self, side: Side | None = None, *, value: Json | Absent = ABSENT) -> None:
        """Decide for a side, or for a value of one's own.

        Raises ValueError for a side this field does not offer (a guard has only "theirs"), TypeError for
        both or neither of side and value, and InvalidPatch for a value that is no JSON.
        """
        if (side is None) == isinstance(value, Absent):
            raise TypeError("choose a side or give a value")
        if side is None:
            if not self.options - {"theirs"}:
                raise ValueError(f"{self.pointer!r} can only be settled as theirs")
            self._choice = Value(own_value(value))
        elif side not in self.options:
            offered = ", ".join(each for each in SIDES if each in self.options)
            raise ValueError(f"{self.pointer!r} offers {offered}, not {side}")
        else:
            self._choice = side

    def undecide(self) -> None:
        """Take a choice back."""
        self._choice = None


Settle = Callable[["MergeConflict", str | None], Awaitable[Saved]]


class MergeConflict(PlaitError):
    """Your edit overlaps what others did. Nothing was written, and nothing of yours is lost.

    Iterating gives the `Field`s; decide each and `save`. `draft` is the document as you had it,
    `base_revision` what you started from, `head_revision` what you clash with; None where that is not
    committed yet. `clean` counts your changes that overlap nothing: they are saved with the rest. `key` names
    the edit.
    """

    def __init__(
        self,
        detail: str,
        document: str,
        fields: Sequence[Field],
        settle: Settle,
        *,
        draft: Json | Absent = ABSENT,
        base_revision: int | None = None,
        head_revision: int | None = None,
        clean: int = 0,
        message: str | None = None,
        key: str | None = None,
        stored: Json = None,
        problem: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(detail, problem=problem, request_id=request_id, attempts=attempts)
        self.document = document
        self.fields = tuple(fields)
        self.draft = draft
        self.base_revision = base_revision
        self.head_revision = head_revision
        self.clean = clean
        self.message = message
        self.key = key
        self.stored = stored
        self._settle = _Once(settle)
        for field in self.fields:
            field._conflict = self

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __bool__(self) -> bool:
        return True

    @property
    def undecided(self) -> tuple[Field, ...]:
        return tuple([field for field in self.fields if not field.decided])

    def choose_all(self, side: Side) -> None:
        """Decide every undecided field that offers this side for it."""
        for field in self.undecided:
            if side in field.options:
                field.choose(side)

    async def save(self, message: str | None = None) -> Saved:
        """Save the choices and the clean part of the edit, as an edit against what it clashed with.

        Raises ValueError while a field is undecided, MergeConflict where somebody changed the same places
        again in the meantime (decided fields stay decided: the new conflict holds only the new clashes), and
        what any edit raises. Once it is saved, saving it again gives what came of it.
        """
        if self.undecided:
            places = ", ".join(repr(field.pointer) for field in self.undecided)
            raise ValueError(f"undecided: {places}")
        return await self._settle(self, message if message is not None else self.message)

    def choices(self) -> dict[str, Json]:
        """Give the choices as the wire and the merge engine take them: side, or {"value": …}, by field id."""
        return {
            field.id: {"value": field.choice.value} if isinstance(field.choice, Value) else field.choice
            for field in self.fields
            if field.choice is not None
        }


class _Once:
    """Settles a conflict once. Who asks meanwhile, or again, is told what came of it."""

    def __init__(self, settle: Settle) -> None:
        self._settle = settle
        self._lock = asyncio.Lock()
        self._saved: Saved | None = None

    async def __call__(self, conflict: MergeConflict, message: str | None) -> Saved:
        async with self._lock:
            if self._saved is None:
                self._saved = await self._settle(conflict, message)
            return self._saved


def fields_of_problem(problem: Mapping[str, Any]) -> list[Field]:
    """Read the conflicts of a 409 merge-conflict. Members that are missing are left out, never an error."""
    return [_field_of(each) for each in problem.get("conflicts", ()) if isinstance(each, Mapping)]


def _field_of(conflict: Mapping[str, Any]) -> Field:
    return Field(
        str(conflict.get("id", "")),
        str(conflict.get("kind", "")),
        str(conflict.get("pointer", "")),
        _facet_of(conflict.get("base")),
        _facet_of(conflict.get("theirs")),
        _facet_of(conflict.get("yours")),
        list(conflict.get("resolutions", {})),
        pointer_theirs=_pointer_of(conflict.get("pointer_theirs")),
        pointer_yours=_pointer_of(conflict.get("pointer_yours")),
    )


def _pointer_of(said: Any) -> str | None:
    return said if isinstance(said, str) else None


def _facet_of(facet: Any) -> Facet:
    if not isinstance(facet, Mapping):
        return Facet(ABSENT)
    return Facet(
        value=facet.get("value", ABSENT) if facet.get("present") else ABSENT,
        revision=facet.get("revision"),
        author=facet.get("author"),
        at=facet.get("at"),
        message=facet.get("message"),
        truncated=bool(facet.get("truncated")),
    )


def fields_of_engine(conflicts: Sequence[Conflict], parts: Sequence[Part] = ()) -> list[Field]:
    """Read conflicts that the merge engine found here, without asking the server.

    `parts` are the revisions it clashes with, the newest last. Which of them it was is not known: they are
    told as one, at the newest, and by somebody unless all are one person's.
    """
    newest = parts[-1] if parts else None
    authors = {part.author for part in parts}
    told: dict[str, Any] = {
        "revision": newest and newest.rev,
        "at": newest and newest.at,
        "author": authors.pop() if len(authors) == 1 else None,
    }
    return [
        Field(
            conflict.id,
            conflict.kind,
            conflict.pointer if conflict.pointer is not None else conflict.pointer_theirs or "",
            Facet(conflict.base.value),
            Facet(conflict.theirs.value, **told),
            Facet(conflict.yours.value),
            list(conflict.resolutions),
            pointer_theirs=conflict.pointer_theirs,
            pointer_yours=conflict.pointer_yours,
        )
        for conflict in conflicts
    ]
