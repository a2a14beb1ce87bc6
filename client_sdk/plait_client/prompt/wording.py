"""Conflicts in words for people: who did what, where and when. Safe to show, and never endless.

Names, pointers, messages and values come from strangers: whatever could move a cursor, hide, or turn text
around is written out (`\\u001b`), and everything is cut at some length. A person's own side is "yours", the
other one has a name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from plait_client.conflict import Facet, Field
from plait_merge import Absent, InvalidPointer, Json, parse_pointer

NAME_CHARACTERS_MAX: Final = 40
MESSAGE_CHARACTERS_MAX: Final = 80
PLACE_CHARACTERS_MAX: Final = 120
SAVES_MAX: Final = 3


def printable(text: str, characters_max: int) -> str:
    """Cut a text, and write out what does not show or does more than show."""
    cut = text if len(text) <= characters_max else text[: characters_max - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join([c if c.isprintable() else json.dumps(c)[1:-1] for c in cut])


def place(pointer: str) -> str:
    """Write a JSON Pointer for people: its tokens, one inside the other."""
    try:
        tokens = parse_pointer(pointer)
    except InvalidPointer:
        return printable(pointer, PLACE_CHARACTERS_MAX)
    if not tokens:
        return "the whole document"
    return printable(" > ".join([token or '""' for token in tokens]), PLACE_CHARACTERS_MAX)


def name(author: str | None, somebody: str = "somebody") -> str:
    """Name who made the other change, as far as that is known."""
    return printable((author or "").strip(), NAME_CHARACTERS_MAX) or somebody


def written(value: Json | Absent) -> str:
    """Write a value as JSON on one line, at full length; "" for one that is not there."""
    if isinstance(value, Absent):
        return ""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):  # an integer of thousands of digits, nesting without end
        return "(a value that cannot be shown)"


def what_happened(field: Field) -> str:
    """Say what both sides did, as one sentence."""
    act = _REMOVED.get(field.kind)
    if act is None:
        return _HAPPENED.get(field.kind, "Your change and {them}'s overlap.").format(them=name(field.author))
    if field.yours.present:
        return f"{name(field.author, 'Somebody')} removed it, you {act} it."
    return f"You removed it, {name(field.author)} {act} it."


_REMOVED: Final = {"remove_edit": "changed", "move_remove": "moved"}
_HAPPENED: Final = {
    "add_add": "You and {them} added it differently.",
    "cycle": "You and {them} each moved one of two things into the other.",
    "edit_edit": "You and {them} changed it differently.",
    "guard": "Your edit relied on a value that {them} changed.",
    "move_move": "You and {them} moved it to different places.",
    "replace_edit": "One of you replaced it, the other changed something inside.",
}


def need(fields: int, document: str) -> str:
    """Say how much there is to decide."""
    where = printable(document, PLACE_CHARACTERS_MAX)
    return (
        f"1 field in {where} needs your choice"
        if fields == 1
        else f"{fields:,} fields in {where} need your choice"
    )


def saves(fields: Sequence[Field], now: float) -> str:
    """Say who saved what one's own edit overlaps, and when, as far as that is known: the newest first."""
    newest: dict[int, Facet] = {}
    for field in sorted(fields, key=lambda field: field.theirs.revision or 0, reverse=True):
        if field.theirs.revision is not None:
            newest.setdefault(field.theirs.revision, field.theirs)
    sentences = [_save(facet, now) for facet in list(newest.values())[:SAVES_MAX]]
    if len(newest) > SAVES_MAX:
        sentences.append(f"And {len(newest) - SAVES_MAX:,} more.")
    return " ".join(sentences)


def _save(facet: Facet, now: float) -> str:
    said = f" ('{printable(facet.message, MESSAGE_CHARACTERS_MAX)}')" if facet.message else ""
    return f"{name(facet.author, 'Somebody')} saved revision {facet.revision}{ago(facet.at, now)}{said}."


def combined(clean: int) -> str:
    """Say that nothing has to be done about the rest."""
    if clean == 0:
        return ""
    changes = f"{clean:,} changes are" if clean > 1 else "change is"
    return f"Your other {changes} already combined."


def ago(at: str | None, now: float) -> str:
    """Say how long ago a moment was, with a space before it; "" for one that is not known."""
    try:
        moment = datetime.fromisoformat(at or "")
        then = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return ""
    passed_s = now - then
    if passed_s < 50:
        return " just now"
    for unit_s, one, many in _UNITS:
        count = round(passed_s / unit_s)
        if count <= 1:
            return f" {one} ago"
        if count < _MOST[many]:
            return f" {count} {many} ago"
    return f" on {moment.date()}"


_UNITS: Final = ((60, "a minute", "minutes"), (3_600, "an hour", "hours"), (86_400, "a day", "days"))
_MOST: Final = {"minutes": 60, "hours": 24, "days": 30}
