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
from plait_server.service.request import Caller, DocumentKey
from plait_server.store import Address

SHARE: Final = 4
"""What somebody may have of a room, as a multiple of what is left of it."""


class Room:
    """A room of so many places (edits, bytes) that tenants share. Cost: under a microsecond a visit."""

    __slots__ = ("_taken", "left")

    def __init__(self, places: int) -> None:
        self.left = places
        self._taken: dict[str, int] = {}

    def has(self, tenant: str) -> bool:
        """Say whether a tenant may take a place."""
        return self._taken.get(tenant, 0) < SHARE * self.left

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


class Admission(Room):
    """The room of all edits under way, and who may not come in."""

    __slots__ = ("_calm_left", "_document_max", "_documents", "_most")

    def __init__(self, limits: ServiceLimits, documents: Documents) -> None:
        super().__init__(limits.edits_waiting_max)
        self._documents = documents
        self._most = limits.edits_waiting_max
        self._document_max = limits.document_edits_waiting_max
        # While more than that is left, no document and no tenant can have too many.
        self._calm_left = max(self._most // (SHARE + 1), self._most - self._document_max)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self.left == self._most

    def check(self, caller: Caller, document: DocumentKey | None) -> None:
        """Refuse an edit for which there is plainly no room. Raises HotDocument, Overloaded."""
        if self.left > self._calm_left:
            return
        if not self.has(caller.tenant):
            raise self.overloaded()
        if document is not None:
            opened = self._documents.get(Address(caller.tenant, document.collection, document.id))
            if opened is not None and self.is_hot(opened):
                raise self.hot_document()

    def is_hot(self, document: OpenDocument) -> bool:
        """Say whether as many edits of a document are under way as may be; they are its users."""
        return document.users >= self._document_max

    def hot_document(self) -> HotDocument:
        members = {"limit": "document_edits_waiting", "maximum": self._document_max}
        return HotDocument("As many edits of this document are under way as may be.", members)

    def overloaded(self) -> Overloaded:
        members = {"limit": "edits_waiting", "maximum": self._most}
        return Overloaded("As many edits are under way as may be, or as one tenant may have.", members)
