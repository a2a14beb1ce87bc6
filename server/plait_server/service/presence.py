"""Who is here, and where: the newest state of each session in each document. Never stored.

A state may hold a `pointer` into the document. It moves with the edits: where an element is put in
before it, it names the same element as before; where its element is removed, what that was in.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from plait_merge import InvalidPointer, Json, Operation, Tokens, array_index, format_pointer, parse_pointer
from plait_server.service.revision import Revision
from plait_server.store import Address


class Place(Struct, eq=False):
    """Where one session is in one document, and when it said so."""

    author: str
    state: Mapping[str, Json]
    at: float


class PresenceBoard:
    """All places, and which of them changed since the others were told."""

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._places: dict[Address, dict[str, Place]] = {}
        self._changed: dict[tuple[Address, str], str] = {}

    def __len__(self) -> int:
        return sum(map(len, self._places.values()))

    def announce(
        self,
        address: Address,
        session: str,
        author: str,
        state: Mapping[str, Json] | None,
        now: float,
        since: Sequence[Revision] = (),
    ) -> None:
        """Put a session somewhere, or nowhere (None). `since` lead from the revision its pointer is
        about to the head."""
        if state is None:
            self.leave(address, session)
            return
        place = Place(author, state, now)
        for revision in since:
            _move(place, revision)
        self._places.setdefault(address, {})[session] = place
        self._changed[address, session] = author

    def leave(self, address: Address, session: str) -> None:
        """Take a session out of a document."""
        places = self._places.get(address)
        place = None if places is None else places.pop(session, None)
        if place is not None:
            self._changed[address, session] = place.author
        if not places:
            self._places.pop(address, None)

    def follow(self, address: Address, revision: Revision) -> None:
        """Let the pointers into a document move with a revision."""
        for session, place in self._places.get(address, {}).items():
            if _move(place, revision):
                self._changed[address, session] = place.author

    def expire(self, now: float) -> None:
        """Forget those who have not been heard of for long."""
        gone = [
            (address, session)
            for address, places in self._places.items()
            for session, place in places.items()
            if now - place.at >= self._ttl_s
        ]
        for address, session in gone:
            self.leave(address, session)

    def here(self, address: Address) -> Iterator[tuple[str, Place]]:
        """Give everybody in a document, by session."""
        yield from self._places.get(address, {}).items()

    @property
    def has_changed(self) -> bool:
        return bool(self._changed)

    def changes(self) -> Iterator[tuple[Address, str, str, Mapping[str, Json] | None]]:
        """Give what changed since this was last asked: document, session, author, newest state."""
        changed, self._changed = self._changed, {}
        for (address, session), author in changed.items():
            place = self._places.get(address, {}).get(session)
            yield address, session, author, None if place is None else place.state


def _move(place: Place, revision: Revision) -> bool:
    """Move the pointer of a place with a revision; tell whether it is another one now."""
    pointer = place.state.get("pointer")
    if not isinstance(pointer, str):
        return False
    try:
        tokens = parse_pointer(pointer)
    except InvalidPointer:
        return False
    moved = tokens
    for operation in revision.operations:
        moved = moved_by(operation, moved, revision.value)
    if moved == tokens:
        return False
    place.state = {**place.state, "pointer": format_pointer(moved)}
    return True


def moved_by(operation: Operation, pointer: Tokens, value: Json) -> Tokens:
    """Say where `pointer` leads after an operation. `value` is the document after the whole patch: it
    tells arrays from objects."""
    if operation.op == "move" and operation.source is not None:
        inside = pointer[: len(operation.source)] == operation.source
        rest = pointer[len(operation.source) :]
        if inside:
            return (*operation.path, *rest)
        pointer = _without(pointer, operation.source, value)
    elif operation.op == "remove":
        return _without(pointer, operation.path, value)
    if operation.op in ("add", "copy", "move"):
        return _with(pointer, operation.path, value)
    return pointer


def _without(pointer: Tokens, removed: Tokens, value: Json) -> Tokens:
    depth = len(removed) - 1
    if depth < 0 or len(pointer) <= depth or pointer[:depth] != removed[:depth]:
        return pointer
    if pointer[depth] == removed[depth]:
        return pointer[:depth]
    return _shifted(pointer, removed, value, -1)


def _with(pointer: Tokens, added: Tokens, value: Json) -> Tokens:
    depth = len(added) - 1
    if depth < 0 or len(pointer) <= depth or pointer[:depth] != added[:depth]:
        return pointer
    return _shifted(pointer, added, value, 1)


def _shifted(pointer: Tokens, changed: Tokens, value: Json, by: int) -> Tokens:
    depth = len(changed) - 1
    mine, its = array_index(pointer[depth]), array_index(changed[depth])
    if mine is None or its is None or not _is_array(value, changed[:depth]):
        return pointer
    if mine > its or (by > 0 and mine == its):
        return (*pointer[:depth], str(mine + by), *pointer[depth + 1 :])
    return pointer


def _is_array(value: Json, path: Tokens) -> bool:
    for token in path:
        if isinstance(value, dict):
            value = value.get(token)
        elif isinstance(value, list):
            index = array_index(token)
            value = value[index] if index is not None and index < len(value) else None
    return isinstance(value, list)
