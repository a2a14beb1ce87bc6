"""Whose turn it is, where more waits than fits into one batch."""

import time
from collections import Counter
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from plait_server.service.line import Line
from plait_server.store import Address, Commit


class Waits(NamedTuple):
    commit: Commit
    number: int


Unit = tuple[str, list[str]]
"""A tenant, and those of its documents that something is to hold together of."""
UNIT_MAX = 4
Documents = st.lists(st.sampled_from("123456"), min_size=1, max_size=UNIT_MAX, unique=True)
Steps = st.lists(st.one_of(st.tuples(st.sampled_from("ab"), Documents), st.integers(1, 9)), max_size=60)


class Desk:
    """A line, and what came into it."""

    def __init__(self) -> None:
        self.line: Line[Waits] = Line()
        self.came: list[Waits] = []

    def put(self, tenant: str, documents: list[str]) -> None:
        unit = len(self.came) + 1 if len(documents) > 1 else 0
        for document in documents:
            commit = Commit(Address(tenant, "c", document), 0, 0, unit=unit)
            self.came.append(Waits(commit, len(self.came)))
            self.line.append(self.came[-1])


@given(Steps)
def test_nothing_is_lost_documents_stay_in_order_and_units_together(steps: list[Unit | int]) -> None:
    desk = Desk()
    batches: list[list[Waits]] = []
    for step in steps:
        if isinstance(step, int):
            batches.append(desk.line.take(step))
            assert len(batches[-1]) < step + UNIT_MAX
        else:
            desk.put(*step)
        served = [each for batch in batches for each in batch]
        assert len(desk.line) == len(desk.came) - len(served)
        assert sorted((*served, *desk.line), key=lambda each: each.number) == desk.came
    while len(desk.line):
        batches.append(desk.line.take(3))
    served = [each for batch in batches for each in batch]
    assert sorted(served, key=lambda each: each.number) == desk.came
    for address in {each.commit.address for each in served}:
        numbers = [each.number for each in served if each.commit.address == address]
        assert numbers == sorted(numbers)
    for unit in {each.commit.unit for each in served} - {0}:
        places = [place for place, each in enumerate(served) if each.commit.unit == unit]
        assert places == list(range(places[0], places[0] + len(places)))
        assert sum(unit in {each.commit.unit for each in batch} for batch in batches) == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("123")), max_size=100))
def test_each_document_has_its_share_of_the_next_batch(waiting: list[tuple[str, str]]) -> None:
    desk = Desk()
    for tenant, document in waiting:
        desk.put(tenant, [document])
    batch = Counter(each.commit.address for each in desk.line.take(12))
    for (tenant, document), count in Counter(waiting).items():
        assert batch[Address(tenant, "c", document)] >= min(count, 2)


def test_while_all_fit_into_a_batch_they_go_as_they_came() -> None:
    desk = Desk()
    for document in "1112131":
        desk.put("a", [document])
    assert desk.line.take(7) == desk.came
    assert not len(desk.line)


def test_a_tenant_with_many_documents_does_not_crowd_out_another() -> None:
    desk = Desk()
    for number in range(5_000):
        desk.put("a", [str(number)])
    desk.put("b", ["1"])
    assert Address("b", "c", "1") in {each.commit.address for each in desk.line.take(1_000)}


def test_a_long_line_of_many_documents_costs_each_the_same() -> None:
    def cost(count: int) -> float:
        desk = Desk()
        for number in range(count):
            desk.put("a", [str(number), str(number + 1)] if number % 50 == 0 else [str(number)])
        begun = time.process_time()
        while len(desk.line):
            desk.line.take(100)
        return (time.process_time() - begun) / count

    assert min(cost(10_000) for _ in range(3)) < 4 * min(cost(1_000) for _ in range(3))
