"""Whose turn it is."""

from collections import deque

from plait_server.store import Address


class Rota:
    """Documents that wait for a turn: tenants take turns, and the documents of each.

    A document is in it once at most: whoever adds it sees to that.
    """

    def __init__(self) -> None:
        self._tenants: dict[str, deque[Address]] = {}

    def add(self, address: Address) -> None:
        self._tenants.setdefault(address.tenant, deque()).append(address)

    def next(self) -> Address | None:
        """Take the document whose turn it is; its tenant's next turn comes after those of all others."""
        tenant = next(iter(self._tenants), None)
        if tenant is None:
            return None
        documents = self._tenants.pop(tenant)
        address = documents.popleft()
        if documents:
            self._tenants[tenant] = documents
        return address
