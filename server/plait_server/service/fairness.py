"""Whose turn it is where more waits than fits into one batch: every tenant's and every document's."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Protocol, TypeVar

from plait_server.store import Address, Commit


class Waits(Protocol):
    """Something that waits with a commit."""

    @property
    def commit(self) -> Commit: ...


Each = TypeVar("Each", bound=Waits)


def in_fair_order(waiting: Iterable[Each], batch_max: int) -> deque[Each]:
    """Put first what the next batch of `batch_max` owes to each tenant and to each document.

    Commits of one document stay in order, commits of one unit together. Cost: about a microsecond for each.
    """
    units = list(_units(waiting))
    addresses = {each.commit.address for unit in units for each in unit}
    tenants = {address.tenant for address in addresses}
    of_a_document = max(1, batch_max // len(addresses))
    of_a_tenant = max(1, batch_max // len(tenants))
    first: list[Each] = []
    rest: list[Each] = []
    served: Counter[Address] = Counter()
    tenants_served: Counter[str] = Counter()
    passed_over: set[Address] = set()
    for unit in units:
        documents = [each.commit.address for each in unit]
        tenant = documents[0].tenant
        if (
            tenants_served[tenant] < of_a_tenant
            and passed_over.isdisjoint(documents)
            and all(served[document] < of_a_document for document in documents)
        ):
            first += unit
            served.update(documents)
            tenants_served[tenant] += len(unit)
        else:
            rest += unit
            passed_over.update(documents)
    return deque(first + rest)


def _units(waiting: Iterable[Each]) -> Iterator[list[Each]]:
    """Give what holds together: commits that follow each other with one number, each of the others alone."""
    for unit, members in groupby(waiting, key=lambda each: each.commit.unit):
        if unit:
            yield list(members)
        else:
            yield from ([each] for each in members)
