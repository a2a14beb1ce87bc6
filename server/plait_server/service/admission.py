"""Who may come in: bounds on what is under way at once, so that work is refused before it takes memory.

An edit is under way from when it is taken until it is answered. All together have `edits_waiting_max` places,
a document has `document_edits_waiting_max` of them, a tenant up to four times as many as it leaves to others:
four fifths when it is alone, less when others are there too, and never all.
"""

from typing import Final

from plait_server.errors import HotDocument, Overloaded
from plait_server.service.document import OpenDocument
from plait_server.service.documents import Documents
from plait_server.service.limits import ServiceLimits
from plait_server.service.request import DocumentKey
from plait_server.store import Address

SHARE: Final = 4
"""What somebody may have of a room, as a multiple of what is left of it."""


class Room:
    """A room of so many places (edits, bytes) that tenants share. Cost: under a microsecond a visit."""

    __slots__ = ("_taken", "left")

    def __init__(self, places: int) -> None:
        self.left = places
        self._taken: dict[str, int] = {}

    def has(self, tenant: str, places: int = 1) -> bool:
        """Say whether a tenant may take so many places."""
        left = self.left
        return places <= left and self._taken.get(tenant, 0) < SHARE * left

    def take(self, tenant: str, places: int = 1) -> bool:
        """Take places, if the tenant may."""
        left, taken = self.left, self._taken.get(tenant, 0)
        if places > left or taken >= SHARE * left:
            return False
        self.left = left - places
        self._taken[tenant] = taken + places
        return True

    def give_back(self, tenant: str, places: int = 1) -> None:
        taken = self._taken.get(tenant, 0) - places
        self.left += places
        if taken:
            self._taken[tenant] = taken
        else:
            self._taken.pop(tenant, None)


class Admission:
    """Counts the edits under way. Raises HotDocument, Overloaded."""

    __slots__ = ("_calm_left", "_documents", "_limits", "_room")

    def __init__(self, limits: ServiceLimits, documents: Documents) -> None:
        self._limits = limits
        self._documents = documents
        self._room = Room(limits.edits_waiting_max)
        # While more than that is left, no document and no tenant can have too many.
        most = limits.edits_waiting_max
        self._calm_left = max(most // (SHARE + 1), most - limits.document_edits_waiting_max)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self._room.left == self._limits.edits_waiting_max

    def check(self, tenant: str, document: DocumentKey) -> None:
        """Refuse an edit of which it can be said now that there is no room for it."""
        if self._room.left > self._calm_left:
            return
        if not self._room.has(tenant):
            raise self._overloaded()
        opened = self._documents.get(Address(tenant, document.collection, document.id))
        if opened is not None:
            self.check_open(opened)

    def check_open(self, document: OpenDocument) -> None:
        """Refuse one more edit of a document, whose users are the edits of it."""
        most = self._limits.document_edits_waiting_max
        if document.users >= most:
            members = {"limit": "document_edits_waiting", "maximum": most}
            raise HotDocument("As many edits of this document are under way as may be.", members)

    def enter(self, tenant: str, edits: int) -> None:
        """Let edits in; they have to `leave`."""
        if not self._room.take(tenant, edits):
            raise self._overloaded()

    def leave(self, tenant: str, edits: int) -> None:
        self._room.give_back(tenant, edits)

    def _overloaded(self) -> Overloaded:
        members = {"limit": "edits_waiting", "maximum": self._limits.edits_waiting_max}
        return Overloaded("As many edits are under way as may be, or as one tenant may have.", members)
