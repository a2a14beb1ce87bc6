"""JSON patches (RFC 6902, and `inc`): reading them, and applying them copy on write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from plait_merge.number import is_number, total
from plait_merge.pointer import InvalidPointer, Tokens, array_index, format_pointer, parse_pointer
from plait_merge.values import (
    ABSENT,
    BOUNDLESS,
    LIMITS,
    Json,
    LimitExceeded,
    Limits,
    check_value,
    is_within_depth,
    same,
)


class Operation(NamedTuple):
    """One operation, read: `source` is what RFC 6902 calls `from`, `value` is ABSENT where it has none."""

    op: str
    path: Tokens
    source: Tokens | None
    value: Json

    def as_json(self) -> dict[str, Json]:
        """Write the operation as RFC 6902 has it."""
        written: dict[str, Json] = {"op": self.op}
        if self.source is not None:
            written["from"] = format_pointer(self.source)
        written["path"] = format_pointer(self.path)
        if self.value is not ABSENT:
            written["value"] = self.value
        return written


class MalformedPatch(Exception):
    """Something that is no patch, whatever it is applied to; `operation` is an index, None for the whole."""

    def __init__(self, operation: int | None, detail: str) -> None:
        super().__init__(operation, detail)
        self.operation = operation
        self.detail = detail

    def __str__(self) -> str:
        return self.detail if self.operation is None else f"operation {self.operation}: {self.detail}"


class Inapplicable(Exception):
    """A patch that does not fit the value it is applied to. Raised by `apply`, returned by `rebase`.

    `operation` is the index of the first operation that fails, `pointer` the one of its pointers that does,
    `found` what is there, or else the deepest thing on the way there (ABSENT: not even a document).
    `reason` is one of

    - "missing": no such member, or no document;
    - "index": the array has no such place: not an index, or beyond its end;
    - "no-container": something on the way is neither object nor array;
    - "test": the value there is another one;
    - "into-itself": a move of something into a part of it;
    - "unsupported": an operation known by name, which RFC 6902 does not have (`inc`, read as plain);
    - "type": what `inc` should add to is no number;
    - "range": what it would come to is no finite number.
    """

    def __init__(self, operation: int, pointer: str, reason: str, found: Json = ABSENT) -> None:
        super().__init__(operation, pointer, reason, found)
        self.operation = operation
        self.pointer = pointer
        self.reason = reason
        self.found = found

    def __str__(self) -> str:
        return f"operation {self.operation}: {self.reason} at {self.pointer!r}"


def read_patch(patch: Json, limits: Limits = LIMITS, *, extended: bool = False) -> tuple[Operation, ...]:
    """Read a list of RFC 6902 operations; members they should not have are ignored.

    *extended* takes `{"op": "inc", "path", "value"}` as well, which adds a number to the one that is there.
    In plain RFC 6902 that is an operation without a value, which applies to nothing.

    Raises MalformedPatch, or LimitExceeded for "operations" and "pointer_bytes". What values hold is not
    looked at (`check_value` does that); they are shared with the patch.
    """
    if type(patch) is not list:
        raise MalformedPatch(None, "a patch is an array of operations")
    if len(patch) > limits.operations_max:
        raise LimitExceeded("operations")
    shapes = _EXTENDED if extended else _SHAPES
    if len(patch) == 1:
        # As most are; a list made for nothing costs as much as half of the reading.
        return (_read_operation(0, patch[0], limits, shapes),)
    return tuple([_read_operation(number, read, limits, shapes) for number, read in enumerate(patch)])


def _read_operation(number: int, read: Json, limits: Limits, shapes: Mapping[str, str]) -> Operation:
    if type(read) is not dict:
        raise MalformedPatch(number, "an operation is an object")
    op = read.get("op", ABSENT)
    shape = shapes.get(op) if type(op) is str else None
    if shape is None:
        raise MalformedPatch(number, _unknown_op(op))
    path = _read_pointer(number, read, "path", limits)
    if shape == "source":
        return _make(Operation, (op, path, _read_pointer(number, read, "from", limits), ABSENT))
    if shape == "value" or shape == "number":
        value = read.get("value", ABSENT)
        if value is ABSENT:
            raise MalformedPatch(number, f'"{op}" has no "value"')
        if shape == "number" and not is_number(value):
            raise MalformedPatch(number, f'"{op}" has a "value" that is no number')
        return _make(Operation, (op, path, None, value))
    return _make(Operation, (op, path, None, ABSENT))


# A named tuple without the call of its own that takes it apart and together again: a third of the cost.
_make: Final = tuple.__new__


# What each operation has besides its path.
_SHAPES: Final = {
    "add": "value",
    "remove": "nothing",
    "replace": "value",
    "move": "source",
    "copy": "source",
    "test": "value",
    "inc": "nothing",
}
_EXTENDED: Final = {**_SHAPES, "inc": "number"}


def _unknown_op(op: Json) -> str:
    if op is ABSENT:
        return 'an operation has an "op"'
    return f"{op[:40]!r} is no operation" if type(op) is str else '"op" is not a string'


def _read_pointer(number: int, read: dict[str, Json], member: str, limits: Limits) -> Tokens:
    text = read.get(member, ABSENT)
    if type(text) is not str:
        raise MalformedPatch(number, f'"{member}" is {"missing" if text is ABSENT else "not a string"}')
    # A character has at most four bytes: short ones need no counting.
    if 4 * len(text) > limits.pointer_bytes_max < len(text.encode("utf-8", "surrogatepass")):
        raise LimitExceeded("pointer_bytes", text)
    try:
        return parse_pointer(text)
    except InvalidPointer as invalid:
        raise MalformedPatch(number, str(invalid)) from None


def apply(value: Json, patch: Json, limits: Limits = LIMITS) -> Json:
    """Apply an RFC 6902 patch to a value and give the new one; the value itself stays as it was.

    Either may be ABSENT: `add` at "" makes a document, `remove` at "" leaves none. Copies only the containers
    on the way to what changes, each once; everything else is shared with the value and with the patch.
    All or nothing. Raises MalformedPatch, Inapplicable or LimitExceeded ("depth", "copied_bytes").
    """
    return apply_operations(value, read_patch(patch, limits), limits)


def apply_operations(value: Json, operations: Sequence[Operation], limits: Limits = LIMITS) -> Json:
    """Apply operations that are read already; as `apply` in everything else."""
    draft = _Draft(value, limits)
    number = -1
    try:
        for operation in operations:
            number += 1
            _ACTS[operation.op](draft, operation)
    except _Misfit as misfit:
        raise Inapplicable(number, format_pointer(misfit.path), misfit.reason, misfit.found) from None
    return draft.finished()


class Replay:
    """A value that operations are applied to one by one, to be looked at in between.

    What `find` gives may change in later steps while it is a part of the value, and never once it is not.
    """

    def __init__(self, value: Json, limits: Limits = BOUNDLESS) -> None:
        self._draft = _Draft(value, limits)

    def find(self, path: Tokens) -> Json:
        """Give what is at a path now, ABSENT where nothing is."""
        try:
            return self._draft.look(path)
        except _Misfit:
            return ABSENT

    def step(self, operation: Operation) -> None:
        """Apply an operation that does apply."""
        _ACTS[operation.op](self._draft, operation)

    def take(self, path: Tokens) -> Json:
        """Take what is at a path out: the first half of a move."""
        return self._draft.take(path)

    def put(self, path: Tokens, value: Json) -> None:
        """Put what was taken at a path: the second half of a move."""
        self._draft.put(path, value)

    def freeze(self) -> None:
        """See to it that what the value holds now is not changed by later steps."""
        self._draft.own.clear()


def without_increments(
    value: Json, operations: Sequence[Operation], limits: Limits = BOUNDLESS
) -> tuple[Operation, ...]:
    """Give operations, which apply to a value, with each `inc` as the `replace` that does the same there."""
    replay = Replay(value, limits)
    plain: list[Operation] = []
    for operation in operations:
        replay.step(operation)
        if operation.op == "inc":
            operation = Operation("replace", operation.path, None, replay.find(operation.path))
        plain.append(operation)
    return tuple(plain)


class _Misfit(Exception):
    """What an operation ran into; the loop over the operations adds which one it was."""

    def __init__(self, reason: str, path: Tokens, found: Json) -> None:
        self.reason = reason
        self.path = path
        self.found = found


class _Draft:
    """A value being changed: which of its containers are the draft's own, and may be changed in place.

    The document is the member "" of a holder, so the root needs no rules of its own. Containers that the
    draft copied are kept by id (and kept alive, so that no id comes back as another's). All containers
    around one's own are one's own.
    """

    __slots__ = ("copied_bytes_left", "deepening_moves", "holder", "limits", "own")

    def __init__(self, value: Json, limits: Limits) -> None:
        self.holder: dict[str, Json] = {} if value is ABSENT else {"": value}
        self.own: dict[int, Json] = {}
        self.limits = limits
        self.copied_bytes_left = limits.copied_bytes_max
        self.deepening_moves = 0

    def finished(self) -> Json:
        """Give the value; raises LimitExceeded where moves made it too deep."""
        value = self.holder.get("", ABSENT)
        if self.deepening_moves > _MOVES_MEASURED_MAX and not is_within_depth(value, self.limits.depth_max):
            raise LimitExceeded("depth")
        return value

    def add(self, operation: Operation) -> None:
        path, value = operation.path, operation.value
        self._check_depth(value, path)
        self.put(path, value)

    def remove(self, operation: Operation) -> None:
        self.take(operation.path)

    def replace(self, operation: Operation) -> None:
        path, value = operation.path, operation.value
        self._check_depth(value, path)
        node, token = self._open(path)
        if type(node) is dict:
            if token not in node:
                raise _Misfit("missing", path, self._found(node))
            node[token] = value
        else:
            node[_element(node, token, path)] = value

    def move(self, operation: Operation) -> None:
        path, source = operation.path, operation.source
        assert source is not None
        value = self.look(source)
        if path == source:
            return
        if path[: len(source)] == source:
            raise _Misfit("into-itself", path, value)
        if len(path) > len(source):
            self._check_move_depth(value, path)
        self.put(path, self.take(source))

    def copy(self, operation: Operation) -> None:
        path, source = operation.path, operation.source
        assert source is not None
        value = self.look(source)
        self._charge(value, path)
        self._check_depth(value, path)
        self.put(path, value)

    def test(self, operation: Operation) -> None:
        found = self.look(operation.path)
        if not same(found, operation.value):
            raise _Misfit("test", operation.path, found)

    def inc(self, operation: Operation) -> None:
        path, value = operation.path, operation.value
        if value is ABSENT:
            self._refuse_inc(path)
        found = self.look(path)
        if not is_number(found):
            raise _Misfit("type", path, found)
        sum_of_both = total(found, value)
        if sum_of_both is None:
            raise _Misfit("range", path, found)
        check_value(sum_of_both, self.limits, format_pointer(path))
        self.replace(operation._replace(value=sum_of_both))

    def _refuse_inc(self, path: Tokens) -> None:
        try:
            found = self.look(path)
        except _Misfit as misfit:
            found = misfit.found
        raise _Misfit("unsupported", path, found)

    def look(self, path: Tokens) -> Json:
        """Give the value at a path, changing nothing."""
        value = self.holder.get("", ABSENT)
        if value is ABSENT:
            raise _Misfit("missing", path, ABSENT)
        for token in path:
            if type(value) is dict:
                part = value.get(token, ABSENT)
                if part is ABSENT:
                    raise _Misfit("missing", path, value)
                value = part
            elif type(value) is list:
                value = value[_element(value, token, path)]
            else:
                raise _Misfit("no-container", path, value)
        return value

    def _open(self, path: Tokens) -> tuple[Json, str]:
        """Give the container around a path, the draft's own now, and the token in it."""
        own = self.own
        node: Json = self.holder
        key: str | int
        last = ""
        for token in path:
            if type(node) is dict:
                key = last
                part = node.get(key, ABSENT)
                if part is ABSENT:
                    raise _Misfit("missing", path, self._found(node))
            else:
                key = _element(node, last, path)
                part = node[key]
            if id(part) not in own:
                if type(part) is not dict and type(part) is not list:
                    raise _Misfit("no-container", path, part)
                node[key] = part = part.copy()
                own[id(part)] = part
            node, last = part, token
        return node, last

    def put(self, path: Tokens, value: Json) -> None:
        """Put a value at a path as `add` does: a new member or element, or over a member."""
        node, token = self._open(path)
        if type(node) is dict:
            node[token] = value
        elif token == "-":
            node.append(value)
        else:
            index = array_index(token)
            if index is None or index > len(node):
                raise _Misfit("index", path, node)
            node.insert(index, value)

    def take(self, path: Tokens) -> Json:
        """Take the value at a path out of its container."""
        node, token = self._open(path)
        if type(node) is list:
            return node.pop(_element(node, token, path))
        value = node.pop(token, ABSENT)
        if value is ABSENT:
            raise _Misfit("missing", path, self._found(node))
        return value

    def _found(self, node: Json) -> Json:
        """Give what to show of a container that lacks something; the holder is nobody's business."""
        return ABSENT if node is self.holder else node

    def _check_depth(self, value: Json, path: Tokens) -> None:
        if (type(value) is dict or type(value) is list) and not is_within_depth(
            value, self.limits.depth_max - len(path)
        ):
            raise LimitExceeded("depth", format_pointer(path))

    def _check_move_depth(self, value: Json, path: Tokens) -> None:
        """Measure what moves deeper; after some of them once for all, at the end.

        The same large value may be moved down again and again: measuring it each time would cost the size of
        the document times the number of operations.
        """
        if type(value) is dict or type(value) is list:
            self.deepening_moves += 1
            if self.deepening_moves <= _MOVES_MEASURED_MAX:
                self._check_depth(value, path)

    def _charge(self, value: Json, path: Tokens) -> None:
        """Charge the budget of copies for a value about to stand in two places, and own no part of it.

        A copy shares references, so that neither place may change them from now on. The bytes are what the
        JSON of it takes, about; counting stops where the budget does.
        """
        left = self.copied_bytes_left
        waiting = [value]
        while waiting:
            part = waiting.pop()
            kind = type(part)
            if kind is dict:
                self.own.pop(id(part), None)
                left -= 2 + 4 * len(part) + sum(map(len, part))
                waiting.extend(part.values())
            elif kind is list:
                self.own.pop(id(part), None)
                left -= 2 + len(part)
                waiting.extend(part)
            elif kind is str:
                left -= 2 + len(part)
            elif kind is int:
                left -= 1 + part.bit_length() * 3 // 10
            else:
                left -= 18 if kind is float else 4
            if left < 0:
                raise LimitExceeded("copied_bytes", format_pointer(path))
        self.copied_bytes_left = left


_MOVES_MEASURED_MAX: Final = 16


def _element(array: list[Json], token: str, path: Tokens) -> int:
    """Give the index of an element that is there."""
    index = array_index(token)
    if index is None or index >= len(array):
        raise _Misfit("index", path, array)
    return index


_ACTS: Final[dict[str, Callable[[_Draft, Operation], None]]] = {
    "add": _Draft.add,
    "remove": _Draft.remove,
    "replace": _Draft.replace,
    "move": _Draft.move,
    "copy": _Draft.copy,
    "test": _Draft.test,
    "inc": _Draft.inc,
}
