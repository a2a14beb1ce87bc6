"""What effects can clash over: an identity of base, a member base does not have, or an element both added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from plait_merge.strand import BASE, Node, Strand, base_tokens


@dataclass(frozen=True, slots=True)
class Member:
    """A member that base does not have: what two arrivals can clash over."""

    body: Node
    name: str


@dataclass(frozen=True, slots=True)
class Element:
    """An element both sides added to the array *body* under one key: theirs' and yours."""

    body: Node
    theirs: Node
    yours: Node


Subject: TypeAlias = Node | Member | Element


def subject_tokens(subject: Subject, theirs: Strand) -> list[str]:
    """Return where base has an identity, or would have what was added, as tokens.

    An element that was added to an array of base has no index there: its token is "-".
    """
    if isinstance(subject, Node):
        return base_tokens(subject)
    if isinstance(subject, Element):
        return [*base_tokens(subject.body.owner), "-"]
    owner = subject.body.owner
    if owner is theirs.void:
        return []
    if owner.mint == BASE:
        return [*base_tokens(owner), subject.name]
    up, at = theirs.up(owner), theirs.slot(owner)  # in an object both added
    assert up is not None
    around = Member(up, at) if isinstance(at, str) else Element(up, owner, owner)
    return [*subject_tokens(around, theirs), subject.name]
