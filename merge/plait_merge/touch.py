"""Which pointers were last touched when.

Most edits that come late touch nothing that anybody touched in the meantime. `TouchIndex` tells so in
O(depth), without replaying what was missed, so that a hot document costs what a quiet one does
(merge.md, section 4.6).

The test is by pointer only, and errs on the side of "touched": whatever may shift an array counts as
touching the whole array, and a member whose name looks like an array index is taken for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from plait_merge.number import is_number
from plait_merge.patch import Operation
from plait_merge.pointer import Tokens
from plait_merge.policy import Policy
from plait_merge.values import Absent, Json, find

NEVER = -1


class TouchIndex:
    """Remember, for a document, the revision that last touched each pointer.

    `record` and `overlaps` take O(operations x depth). The index grows with the number of different
    pointers touched; `forget` drops what is older than anybody's base. What a *policy* makes one thing is
    touched as a whole.
    """

    __slots__ = ("_policy", "_root", "nodes")

    def __init__(self, policy: Policy | None = None) -> None:
        self._policy = policy if policy is not None and policy.groups else None
        self._root = _Touched()
        self.nodes = 1

    def record(self, operations: Iterable[Operation], revision: int) -> None:
        """Note that *revision* was made by *operations*. Revisions come in ascending order."""
        for operation in operations:
            for path in written(operation):
                self._mark(path, revision)

    def overlaps(self, operations: Iterable[Operation], since: int) -> bool:
        """Say whether a revision after *since* touched at, above or below what *operations* read or write."""
        return any(self._touched_since(path, since) for o in operations for path in _concerned(o))

    def forget(self, before: int) -> None:
        """Drop what no revision from *before* on has touched. O(size of the index)."""
        self.nodes = _prune(self._root, before)

    def _mark(self, path: Tokens, revision: int) -> None:
        if self._policy is not None:
            path = self._policy.within(path)
        node = self._root
        node.below = revision
        for token in path:
            below = node.members.get(token)
            if below is None:
                below = node.members[token] = _Touched()
                self.nodes += 1
            node = below
            node.below = revision
        node.at = revision

    def _touched_since(self, path: Tokens, since: int) -> bool:
        if self._policy is not None:
            path = self._policy.within(path)
        node = self._root
        if node.below <= since:
            return False
        for token in path:
            if node.at > since:
                return True
            below = node.members.get(token)
            if below is None:
                return False
            node = below
        return node.below > since


class _Touched:
    __slots__ = ("at", "below", "members")

    def __init__(self) -> None:
        self.at = NEVER  # the revision that last wrote exactly here
        self.below = NEVER  # the revision that last wrote here or deeper
        self.members: dict[str, _Touched] = {}


def written(operation: Operation) -> Iterator[Tokens]:
    """Yield the pointers an operation may change: where a structural one is in an array, the array."""
    op = operation.op
    if op == "replace" or op == "inc":
        yield operation.path
    elif op != "test":
        yield _shifted(operation.path)
        if op == "move" and operation.source is not None:
            yield _shifted(operation.source)


def adds_up(base: Json | Absent, theirs: Iterable[Operation], yours: Sequence[Operation]) -> bool:
    """Say whether *yours* only adds to numbers of *base*, and *theirs* only to those, or set them to others.

    Then it is the same on theirs as on base, however many were there before. O(theirs x yours).
    """
    places = {operation.path for operation in yours}
    if not all(operation.op == "inc" and is_number(find(base, operation.path)) for operation in yours):
        return False
    for operation in theirs:
        op, path, _, value = operation
        if (op == "replace" or op == "inc") and path in places:
            if type(value) is not int and not is_number(value):
                return False
        elif any(_meet(path, place) for path in written(operation) for place in places):
            return False
    return True


def _meet(one: Tokens, other: Tokens) -> bool:
    """Say whether one place is the other, in it or around it."""
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def _concerned(operation: Operation) -> Iterator[Tokens]:
    if operation.op == "test":
        yield operation.path
        return
    yield from written(operation)
    if operation.op == "copy" and operation.source is not None:
        yield operation.source


def _shifted(path: Tokens) -> Tokens:
    if path and (path[-1] == "-" or path[-1].isdecimal()):
        return path[:-1]
    return path


def _prune(node: _Touched, before: int) -> int:
    kept = 1
    for token, below in list(node.members.items()):
        if below.below < before:
            del node.members[token]
        else:
            kept += _prune(below, before)
    return kept
