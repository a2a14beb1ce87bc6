"""Who set what is there: for each leaf of a value, whose patch set it last.

A leaf is a scalar, or an object or array with nothing in it. The patches are followed one by one, and each is
known by a mark: a revision, a name, whatever the caller tells them apart by.

- `add` and `replace` set everything in the value they bring, also over something that looks alike: what is
  replaced is opaque, as it is in a merge. Only where the very same is put in its place nothing was set.
- `move` sets nothing: what was moved keeps its marks, wherever it goes and whatever its index becomes.
- `copy` sets what it brings, like an `add` of that value: the copy is the work of who made it, and a merge
  that meets a changed source makes an `add` of it.
- What takes the last member or element out of a container sets that container, which is a leaf then.

Marks lie beside the value, in containers of the same shape; where everything in a container has one mark, it
stands for all of them. So what nobody touched costs nothing, and an operation the containers on its path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, Generic, TypeAlias, TypeVar

from plait_merge.patch import Operation, Replay
from plait_merge.pointer import Tokens, array_index
from plait_merge.values import ABSENT, Absent, Json, same

Mark = TypeVar("Mark")
"""What a patch is known by. No `dict`, no `list`, and not ABSENT."""
Marks: TypeAlias = Any
"""A mark for all there is, or a container of marks in the shape of the value; ABSENT beside no document."""

CONTAINER_BYTES: Final = 100
MEMBER_BYTES: Final = 80
ELEMENT_BYTES: Final = 8
"""About what marks take in memory."""
RECOUNTED_BYTES: Final = 16_384


class Blame(Generic[Mark]):
    """The marks of one value, which is not kept here: whoever asks gives it. Never changed once made.

    `weight` is about what it takes in memory, in bytes, up to twice that; what it shares with those it was
    followed from is counted as well.
    """

    __slots__ = ("_counted", "_marks", "weight")

    def __init__(self, marks: Marks = ABSENT, weight: int = 0, counted: int = 0) -> None:
        """Begin: nothing is there yet, or else everything has one mark."""
        self._marks = marks
        self._counted = counted
        self.weight = weight

    def follower(self, value: Json | Absent) -> Follower[Mark]:
        """Begin to follow patches from *value*, which these are the marks of."""
        return Follower(value, self._marks, self.weight, self._counted)

    def leaves(
        self, value: Json | Absent, within: Tokens = (), after: Tokens | None = None
    ) -> Iterator[tuple[Tokens, Mark]]:
        """Give each leaf at or below *within* with its mark, in the order of the document.

        *after* is one of them: begin with the next. Raises LookupError where nothing is at *within*, or
        where *after* is no leaf below. Cost: the depth for each leaf; to begin, also the widths on the way.
        """
        if value is ABSENT:
            raise LookupError(within)
        marks = self._marks
        for token in within:
            value, marks = _part(value, marks, token)
        if after is not None:
            return _walk(list(after[:-1]), _rest(within, value, marks, after))
        if not _is_full(value):
            return iter([(within, marks)])
        return _walk(list(within), [_entries(value, marks, 0)])


Entries: TypeAlias = Iterator[tuple[str, Json, Marks]]


def _walk(path: list[str], waiting: list[Entries]) -> Iterator[tuple[Tokens, Any]]:
    """Give the leaves of what waits, the innermost container first, which is at *path*."""
    while waiting:
        for token, value, marks in waiting[-1]:
            if _is_full(value):
                path.append(token)
                waiting.append(_entries(value, marks, 0))
                break
            yield (*path, token), marks
        else:
            waiting.pop()
            del path[-1:]


def _rest(within: Tokens, value: Json, marks: Marks, after: Tokens) -> list[Entries]:
    """Give what comes after a leaf in each container around it. Raises LookupError where it is no leaf."""
    if after[: len(within)] != within:
        raise LookupError(after)
    waiting: list[Entries] = []
    for token in after[len(within) :]:
        part = _part(value, marks, token)
        place = list(value).index(token) if type(value) is dict else int(token)
        waiting.append(_entries(value, marks, place + 1))
        value, marks = part
    if _is_full(value):
        raise LookupError(after)
    return waiting


def _entries(value: Json, marks: Marks, first: int) -> Entries:
    """Give the parts of a container, from one of them on, each with its token and its marks."""
    is_each = type(marks) is type(value)
    if type(value) is dict:
        for name in islice(value, first, None):
            yield name, value[name], marks[name] if is_each else marks
    else:
        for index in range(first, len(value)):
            yield str(index), value[index], marks[index] if is_each else marks


def _is_full(value: Json) -> bool:
    """Say whether a value is no leaf, but holds some."""
    return (type(value) is dict or type(value) is list) and bool(value)


def _part(value: Json, marks: Marks, token: str) -> tuple[Json, Marks]:
    """Give the part of a container at a token, and its marks. Raises LookupError."""
    kind = type(value)
    if kind is dict:
        return value[token], marks[token] if type(marks) is dict else marks
    index = array_index(token) if kind is list else None
    if index is None:
        raise LookupError(token)
    return value[index], marks[index] if type(marks) is list else marks


class Follower(Generic[Mark]):
    """A value and its marks being led on, patch by patch.

    Containers of marks are copied once, when they are first touched, and changed in place from then on: what
    the follower began with stays as it was. The same holds for the value.
    """

    def __init__(self, value: Json | Absent, marks: Marks, weight: int, counted: int) -> None:
        self._replay = Replay(value)
        # The document's marks are the member "" of a holder, so that the root needs no rules of its own.
        self._holder: dict[str, Marks] = {"": marks}
        # Containers of one's own, by id and kept alive, so that no id comes back as another's.
        self._own: dict[int, Marks] = {}
        # Only what comes is added up; when that may be twice what is there, it is counted anew.
        self._weight, self._counted = weight, counted

    def follow(self, operations: Sequence[Operation], mark: Mark) -> None:
        """Follow a patch, which applies to the value as it is now. Cost: O(operations x depth), and for what
        is touched for the first time the widths on the way."""
        for operation in operations:
            op, path = operation.op, operation.path
            if op == "move":
                self._move(operation, mark)
            elif op == "remove":
                self._take(path, mark)
                self._replay.step(operation)
            else:
                self._set(operation, mark)

    def finished(self) -> tuple[Json | Absent, Blame[Mark]]:
        """Give the value it came to, and its marks. The follower is not used any more."""
        self._replay.freeze()
        marks = self._holder.get("", ABSENT)
        if self._weight > 2 * self._counted + RECOUNTED_BYTES:
            self._weight = self._counted = _weigh(marks)
        return self._replay.find(()), Blame(marks, self._weight, self._counted)

    def _set(self, operation: Operation, mark: Mark) -> None:
        """Follow what brings a value, or changes one."""
        path, replay = operation.path, self._replay
        brings = operation.op == "add" or operation.op == "copy"
        if brings and path and type(replay.find(path[:-1])) is list:
            self._put(path, mark)
            replay.step(operation)
            return
        before = replay.find(path)
        replay.step(operation)
        if not same(before, replay.find(path)):
            self._mark(path, mark)

    def _move(self, operation: Operation, mark: Mark) -> None:
        source, path, replay = operation.source, operation.path, self._replay
        assert source is not None
        if source == path:
            return
        marks, value = self._take(source, mark), replay.take(source)
        self._put(path, marks)
        replay.put(path, value)

    def _take(self, path: Tokens, mark: Mark) -> Marks:
        """Take the marks of what is at a path out. A container that is empty now has a mark of its own."""
        around, key = self._open(path)
        taken = around.pop(key)
        if not around and path:
            self._mark(path[:-1], mark)
        return taken

    def _put(self, path: Tokens, marks: Marks) -> None:
        """Put marks at a path as `add` puts the value."""
        around, key = self._open(path)
        if type(around) is list:
            around.insert(key, marks)
        else:
            around[key] = marks

    def _mark(self, path: Tokens, mark: Mark) -> None:
        """Mark all that is at a path."""
        around, key = self._open(path)
        around[key] = mark

    def _open(self, path: Tokens) -> tuple[Marks, Any]:
        """Give the marks of the container around a path, the follower's own now, and the key in them."""
        own = self._own
        around: Marks = self._holder
        key: Any = ""
        for depth, token in enumerate(path):
            marks = around[key]
            if id(marks) not in own:
                marks = around[key] = self._copied(marks, path[:depth])
                own[id(marks)] = marks
            around = marks
            if type(marks) is dict:
                key = token
            else:
                key = len(marks) if token == "-" else int(token)
        return around, key

    def _copied(self, marks: Marks, path: Tokens) -> Marks:
        """Copy the marks of the container at a path; where one mark stands for all, write it for each."""
        if type(marks) is dict or type(marks) is list:
            return marks.copy()
        container = self._replay.find(path)
        self._weight += _weight(container)
        return dict.fromkeys(container, marks) if type(container) is dict else [marks] * len(container)


def _weigh(marks: Marks) -> int:
    """Count what marks take in memory."""
    weight, waiting = 0, [marks]
    while waiting:
        part = waiting.pop()
        if type(part) is dict or type(part) is list:
            weight += _weight(part)
            waiting.extend(part.values() if type(part) is dict else part)
    return weight


def _weight(container: Json) -> int:
    return CONTAINER_BYTES + len(container) * (MEMBER_BYTES if type(container) is dict else ELEMENT_BYTES)
