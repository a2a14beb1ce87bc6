"""Who is here, and where: the newest state of each session in each document. Never stored.

A state may hold a `pointer` into the document. It moves with the edits: where an element is put in
before it, it names the same element as before; where its element is removed, what that was in.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from plait_merge import InvalidPointer, Json, format_pointer, parse_pointer
from plait_server.service.place import Fixed, follow
from plait_server.service.revision import Revision
from plait_server.store import Address


class Presence(Struct, eq=False):
    """Where one session is in one document, and when it said so."""

    author: str
    state: Mapping[str, Json]
    at: float


class PresenceBoard:
    """All places, and which of them changed since the others were told."""

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._places: dict[Address, dict[str, Presence]] = {}
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
        place = Presence(author, state, now)
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

    def here(self, address: Address) -> Iterator[tuple[str, Presence]]:
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


def _move(place: Presence, revision: Revision) -> bool:
    """Move the pointer of a place with a revision; tell whether it is another one now."""
    pointer = place.state.get("pointer")
    if not isinstance(pointer, str):
        return False
    try:
        tokens = parse_pointer(pointer)
    except InvalidPointer:
        return False
    # Nobody keeps the value before the revision for this. What is an array is one mostly before and after.
    (moved,) = follow([tokens], revision.operations, Fixed(revision.value))
    if moved.tokens == tokens:
        return False
    place.state = {**place.state, "pointer": format_pointer(moved.tokens)}
    return True
