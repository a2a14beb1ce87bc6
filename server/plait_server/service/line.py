"""Those who wait for the disk, and whose turn it is: while all fit into one batch, everybody's; else every
tenant's in turn, and of a tenant every document's.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from plait_server.store import Address, Commit


class Waits(Protocol):
    """Something that waits with a commit."""

    @property
    def commit(self) -> Commit: ...


Each = TypeVar("Each", bound=Waits)


class Line(Generic[Each]):
    """Takes whoever comes and gives them in batches: each document's in order, each unit's together.

    Cost: next to nothing while all fit into one batch; else about a microsecond for each.
    """

    __slots__ = ("_arrived", "_lanes")

    def __init__(self) -> None:
        self._arrived: list[Each] = []
        self._lanes: _Lanes[Each] = _Lanes()

    def __len__(self) -> int:
        return len(self._arrived) + self._lanes.count

    def __iter__(self) -> Iterator[Each]:
        yield from self._lanes
        yield from self._arrived

    def append(self, each: Each) -> None:
        self._arrived.append(each)

    def take(self, most: int) -> list[Each]:
        """Give those whose turn it is: `most` of them, and those that the last one holds together with."""
        arrived, lanes = self._arrived, self._lanes
        self._arrived = []
        if not lanes.count and len(arrived) <= most:
            return arrived
        for unit in units(arrived):
            lanes.put(unit)
        return lanes.take(most)


def units(waiting: Iterable[Each]) -> Iterator[list[Each]]:
    """Give what holds together: commits that follow each other with one number, each of the others alone."""
    unit: list[Each] = []
    for each in waiting:
        number = each.commit.unit
        if unit and (not number or unit[0].commit.unit != number):
            yield unit
            unit = []
        unit.append(each)
    if unit:
        yield unit


class _Lane(Generic[Each]):
    """The units of one document that wait, in order; or of several that a unit has tied together."""

    __slots__ = ("documents", "tenant", "units")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.documents: set[Address] = set()
        self.units: deque[list[Each]] = deque()


class _Lanes(Generic[Each]):
    """A lane for each document. Next is the first lane of the first tenant."""

    __slots__ = ("_by_document", "_by_tenant", "count")

    def __init__(self) -> None:
        self.count = 0
        self._by_document: dict[Address, _Lane[Each]] = {}
        self._by_tenant: OrderedDict[str, OrderedDict[_Lane[Each], None]] = OrderedDict()

    def __iter__(self) -> Iterator[Each]:
        for lanes in self._by_tenant.values():
            for lane in lanes:
                for unit in lane.units:
                    yield from unit

    def put(self, unit: list[Each]) -> None:
        lane = self._lane_of([each.commit.address for each in unit])
        lane.units.append(unit)
        self.count += len(unit)

    def take(self, most: int) -> list[Each]:
        taken: list[Each] = []
        while self.count and len(taken) < most:
            tenant, lanes = next(iter(self._by_tenant.items()))
            lane = next(iter(lanes))
            unit = lane.units.popleft()
            taken += unit
            self.count -= len(unit)
            self._by_tenant.move_to_end(tenant)
            lanes.move_to_end(lane)
            if not lane.units:
                self._close(lane)
        return taken

    def _lane_of(self, documents: list[Address]) -> _Lane[Each]:
        """Give the lane of documents, making it, or one of several, so that each stays in order."""
        lane = self._by_document.get(documents[0]) or self._open(documents[0].tenant)
        for document in documents:
            other = self._by_document.get(document)
            if other is None:
                lane.documents.add(document)
                self._by_document[document] = lane
            elif other is not lane:
                lane.units += other.units
                lane.documents |= other.documents
                self._close(other)
                self._by_document.update(dict.fromkeys(other.documents, lane))
        return lane

    def _open(self, tenant: str) -> _Lane[Each]:
        lane: _Lane[Each] = _Lane(tenant)
        self._by_tenant.setdefault(tenant, OrderedDict())[lane] = None
        return lane

    def _close(self, lane: _Lane[Each]) -> None:
        for document in lane.documents:
            del self._by_document[document]
        lanes = self._by_tenant[lane.tenant]
        del lanes[lane]
        if not lanes:
            del self._by_tenant[lane.tenant]
