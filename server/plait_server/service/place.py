"""Where the places in a document are after an edit: what presence and leases have in common.

A place is a pointer, and names what is there. Where an element is put in before it, it is one further on;
where what it names is moved, it goes along; where that is removed, it is what that was in. What is put over
it stands at the same place.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from plait_merge import Absent, Json, Operation, Tokens, array_index
from plait_merge.patch import Replay
from plait_server.service.revision import STORED


class Place(Struct):
    """A place on its way through the operations of a patch."""

    tokens: Tokens
    there: bool = True
    """False once what it named was removed: `tokens` is what that was in."""
    written: bool = False
    """Whether an operation wrote at it or below it, removed it or put something over what it is in. To move
    it, or what it is in, is not to write."""


class Shape(Protocol):
    """What tells arrays from objects, while operations pass."""

    def is_array(self, path: Tokens) -> bool: ...

    def end_of(self, path: Tokens) -> int:
        """Give the index that what is put at the end of an array gets."""
        ...

    def step(self, operation: Operation) -> None: ...

    def take(self, path: Tokens) -> Json: ...

    def put(self, path: Tokens, value: Json) -> None: ...


def follow(tokens: Iterable[Tokens], operations: Sequence[Operation], shape: Shape) -> list[Place]:
    """Follow places through operations, which do apply. Cost: O(operations x places), mostly nothing else."""
    places = [Place(each) for each in tokens]
    for operation in operations:
        match operation.op:
            case "replace" | "inc":
                for place in places:
                    _set(place, operation.path)
                shape.step(operation)
            case "add" | "copy":
                for place in places:
                    _put(place, operation.path, shape)
                shape.step(operation)
            case "remove":
                for place in places:
                    _remove(place, operation.path, shape)
                shape.step(operation)
            case "move" if operation.path != operation.source:
                _move(places, operation, shape)
    return places


def overlap(some: Tokens, other: Tokens) -> bool:
    """Say whether one place is the other, or in it."""
    return all(map(str.__eq__, some, other))


def _move(places: list[Place], operation: Operation, shape: Shape) -> None:
    """Let an operation move something: what is in it goes along, and to the others it is taken and put."""
    source, target = operation.source, operation.path
    assert source is not None
    with_it = [place for place in places if _is_in(place.tokens, source)]
    others = [place for place in places if not _is_in(place.tokens, source)]
    for place in others:
        place.written |= _is_in(source, place.tokens)
        _shift(place, source, -1, shape)
    value = shape.take(source)
    for place in others:
        _put(place, target, shape)
    if target[-1:] == ("-",) and shape.is_array(target[:-1]):
        target = (*target[:-1], str(shape.end_of(target[:-1])))
    for place in with_it:
        place.tokens = target + place.tokens[len(source) :]
    shape.put(target, value)


def _set(place: Place, path: Tokens) -> None:
    place.written |= overlap(place.tokens, path)


def _put(place: Place, path: Tokens, shape: Shape) -> None:
    if _is_in(path[:-1], place.tokens) or not path:
        place.written = True
    elif not _shift(place, path, 1, shape):
        place.written |= _is_in(place.tokens, path)


def _remove(place: Place, path: Tokens, shape: Shape) -> None:
    if _is_in(place.tokens, path):
        place.tokens, place.there, place.written = path[:-1], False, True
    elif _is_in(path, place.tokens):
        place.written = True
    else:
        _shift(place, path, -1, shape)


def _shift(place: Place, path: Tokens, by: int, shape: Shape) -> bool:
    """Let an element be put into (1) an array around a place, or taken out of it (-1); False where the path
    leads into no such array."""
    tokens, depth = place.tokens, len(path) - 1
    if depth < 0 or len(tokens) <= depth or tokens[:depth] != path[:depth]:
        return False
    mine, its = array_index(tokens[depth]), array_index(path[depth])
    if mine is None or (its is None and path[depth] != "-") or not shape.is_array(path[:depth]):
        return False
    if its is not None and (mine > its or (by > 0 and mine == its)):
        place.tokens = (*tokens[:depth], str(mine + by), *tokens[depth + 1 :])
    return True


def _is_in(some: Tokens, other: Tokens) -> bool:
    """Say whether some place is the other one, or in it."""
    return some[: len(other)] == other


class Replayed:
    """The shape of a value while operations are applied to it: caught up with only when it is asked for."""

    __slots__ = ("_array", "_late", "_replay")

    def __init__(self, value: Json | Absent) -> None:
        self._replay = Replay(value, STORED)
        self._late: list[Operation] = []
        self._array: tuple[Tokens, bool] | None = None
        """What was asked last, and the answer: all places ask the same of one operation."""

    def is_array(self, path: Tokens) -> bool:
        if self._array is None or self._array[0] != path:
            self._catch_up()
            self._array = path, type(self._replay.find(path)) is list
        return self._array[1]

    def end_of(self, path: Tokens) -> int:
        self._catch_up()
        return len(self._replay.find(path))

    def step(self, operation: Operation) -> None:
        self._late.append(operation)
        self._array = None

    def take(self, path: Tokens) -> Json:
        self._catch_up()
        self._array = None
        return self._replay.take(path)

    def put(self, path: Tokens, value: Json) -> None:
        self._replay.put(path, value)
        self._array = None

    def _catch_up(self) -> None:
        for operation in self._late:
            self._replay.step(operation)
        self._late.clear()


class Fixed:
    """The shape of one value for all operations of a patch: right unless they change what is an array."""

    __slots__ = ("_replay",)

    def __init__(self, value: Json | Absent) -> None:
        self._replay = Replay(value, STORED)

    def is_array(self, path: Tokens) -> bool:
        return type(self._replay.find(path)) is list

    def end_of(self, path: Tokens) -> int:
        return max(0, len(self._replay.find(path)) - 1)

    def step(self, operation: Operation) -> None:
        """Stay as it is."""

    def take(self, path: Tokens) -> Json:
        return None

    def put(self, path: Tokens, value: Json) -> None:
        """Stay as it is."""
