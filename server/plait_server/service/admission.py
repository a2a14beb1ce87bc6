"""Who may come in: bounds on what is under way at once, so that work is refused before it takes memory.

An edit is under way from when it is taken until it is answered. All together have `edits_waiting_max` places,
a document has `document_edits_waiting_max` of them, a tenant up to four times as many as it leaves to others:
four fifths when it is alone, less when others are there too, and never all.
"""

from typing import Final

from plait_server.errors import HotDocument, Overloaded
from plait_server.service.limits import ServiceLimits
from plait_server.store import Address

SHARE: Final = 4
"""What somebody may have of a room, as a multiple of what is left of it."""


class Room:
    """A room of so many places (edits, bytes) that tenants share. Cost: under a microsecond a visit."""

    __slots__ = ("_left", "_taken")

    def __init__(self, places: int) -> None:
        self._left = places
        self._taken: dict[str, int] = {}

    def has(self, tenant: str, places: int = 1) -> bool:
        """Say whether a tenant may take so many places."""
        left = self._left
        return places <= left and self._taken.get(tenant, 0) < SHARE * left

    def take(self, tenant: str, places: int = 1) -> bool:
        """Take places, if the tenant may."""
        left, taken = self._left, self._taken.get(tenant, 0)
        if places > left or taken >= SHARE * left:
            return False
        self._left = left - places
        self._taken[tenant] = taken + places
        return True

    def give_back(self, tenant: str, places: int = 1) -> None:
        taken = self._taken.get(tenant, 0) - places
        self._left += places
        if taken:
            self._taken[tenant] = taken
        else:
            self._taken.pop(tenant, None)


class Admission:
    """Counts the edits under way. Raises HotDocument, Overloaded."""

    __slots__ = ("_documents", "_limits", "_room")

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self._room = Room(limits.edits_waiting_max)
        self._documents: dict[Address, int] = {}

    def check(self, document: Address) -> None:
        """Refuse what `enter` would refuse now: asked before a body is read."""
        if self._documents.get(document, 0) >= self._limits.document_edits_waiting_max:
            raise self._hot()
        if not self._room.has(document.tenant):
            raise self._overloaded()

    def enter(self, document: Address) -> None:
        """Let an edit in; it has to `leave`."""
        under_way = self._documents.get(document, 0)
        if under_way >= self._limits.document_edits_waiting_max:
            raise self._hot()
        if not self._room.take(document.tenant):
            raise self._overloaded()
        self._documents[document] = under_way + 1

    def leave(self, document: Address) -> None:
        self._room.give_back(document.tenant)
        under_way = self._documents[document] - 1
        if under_way:
            self._documents[document] = under_way
        else:
            del self._documents[document]

    def _hot(self) -> HotDocument:
        most = self._limits.document_edits_waiting_max
        members = {"limit": "document_edits_waiting", "maximum": most}
        return HotDocument("As many edits of this document are under way as may be.", members)

    def _overloaded(self) -> Overloaded:
        members = {"limit": "edits_waiting", "maximum": self._limits.edits_waiting_max}
        return Overloaded("As many edits are under way as may be, or as one tenant may have.", members)
