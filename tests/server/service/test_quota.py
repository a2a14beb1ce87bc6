"""Quotas: how much may be asked for how often, and what counters cost."""

import logging
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits.aio.storage import MemoryStorage

from plait_server.errors import PlaitServerError, QuotaExceeded
from plait_server.service import Caller, Rates
from plait_server.service.counters import Counters
from plait_server.service.quota import Quotas
from server.service.bench import ANN, BOB, Clock

NOBODY = Caller("acme", "", "")
EVE = Caller("other", "ann-token", "ann")


def quotas(rates: Rates, clock: Clock | None = None, part: int = 0) -> Quotas:
    """Quotas whose jitter is a part of 256 of what it may be."""
    return Quotas(rates, clock or Clock(), lambda count: bytes([part] * count))


async def passes(quotas: Quotas, caller: Caller = ANN, peer: str = "", *, writes: bool = True) -> bool:
    try:
        await quotas.take(caller, peer, writes=writes)
    except QuotaExceeded:
        return False
    return True


async def passed(
    quotas: Quotas, count: int, caller: Caller = ANN, peer: str = "", writes: bool = True
) -> int:
    """Give how many of so many requests pass."""
    return sum([await passes(quotas, caller, peer, writes=writes) for _ in range(count)])


async def refused(quotas: Quotas, caller: Caller = ANN) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as caught:
        await quotas.take(caller, "", writes=True)
    return caught.value


async def test_who_was_quiet_may_ask_for_a_whole_quota_at_once() -> None:
    assert await passed(quotas(Rates(caller="5/minute")), 8) == 5


async def test_after_that_he_may_ask_at_the_pace_of_the_quota() -> None:
    clock = Clock()
    asked = quotas(Rates(caller="6/minute"), clock)
    assert await passed(asked, 9) == 6
    clock.now += 60
    got = 0
    for _ in range(60):
        clock.now += 1
        got += await passes(asked)
    assert got == 6


async def test_callers_and_tenants_have_quotas_of_their_own() -> None:
    asked = quotas(Rates(caller="3/minute"))
    assert [await passed(asked, 5, who) for who in (ANN, BOB, EVE)] == [3, 3, 3]


async def test_the_callers_of_a_tenant_share_its_quota() -> None:
    asked = quotas(Rates(tenant="4/minute"))
    assert [await passed(asked, 3, who) for who in (ANN, BOB, EVE)] == [3, 1, 3]


async def test_who_has_no_name_is_counted_by_where_he_comes_from() -> None:
    asked = quotas(Rates(caller="2/minute"))
    assert await passed(asked, 3, NOBODY, "192.0.2.1") == 2
    assert await passed(asked, 3, NOBODY, "192.0.2.2") == 2
    assert await passed(asked, 3, Caller("acme", "192.0.2.1", "x"), "192.0.2.1") == 2


async def test_no_name_reaches_into_another_tenant() -> None:
    asked = quotas(Rates(caller="1/minute", tenant="1/minute"))
    assert await passes(asked, Caller("a", "b/c", ""))
    assert await passes(asked, Caller("a/b", "c", ""))
    assert await passes(asked, Caller("1:a", "", ""), "")


async def test_reads_do_not_count_as_writes() -> None:
    asked = quotas(Rates(caller="5/minute", caller_writes="2/minute"))
    assert await passed(asked, 4) == 2
    assert await passed(asked, 9, writes=False) == 3


async def test_several_quotas_hold_at_once() -> None:
    clock = Clock()
    asked = quotas(Rates(caller="2/second;5/minute"), clock)
    got = []
    for _ in range(4):
        got.append(await passed(asked, 3))
        clock.now += 2
    assert got == [2, 2, 1, 0]


async def test_what_the_callers_quota_refuses_does_not_use_up_the_tenants() -> None:
    asked = quotas(Rates(caller="1/minute", tenant="3/minute"))
    assert await passed(asked, 9, ANN) == 1
    assert await passed(asked, 9, BOB) == 1
    assert [each.remaining for each in await asked.standings(ANN, "")] == [0, 1]


async def test_a_refusal_names_the_quota_and_when_to_come_back() -> None:
    asked = quotas(Rates(tenant_writes="1/minute"))
    await asked.take(ANN, "", writes=True)
    refusal = await refused(asked)
    assert refusal.members == {
        "limit": "tenant-writes-60s",
        "maximum": 1,
        "window_s": 60,
        "violated-policies": ["tenant-writes-60s"],
        "retry_after_s": 61,
    }


async def test_not_all_who_are_refused_are_told_to_come_back_at_once() -> None:
    told = set()
    for part in (0, 100, 200, 255):
        asked = quotas(Rates(caller="1/hour"), part=part)
        await asked.take(ANN, "", writes=True)
        told.add((await refused(asked)).members["retry_after_s"])
    assert len(told) == 4
    assert min(map(int, map(str, told))) > 3_600


Steps = st.lists(st.tuples(st.floats(0, 25), st.integers(0, 12)), max_size=30)


@given(Steps, st.integers(1, 8))
@settings(max_examples=150, deadline=None)
async def test_nobody_has_more_than_two_quotas_in_a_window(
    steps: list[tuple[float, int]], quota: int
) -> None:
    """One at once after a quiet time and one at its pace; in the long run one a window."""
    clock = Clock()
    asked = quotas(Rates(caller=f"{quota}/10 seconds"), clock)
    moments: list[float] = []
    for pause_s, count in steps:
        clock.now += pause_s
        moments += [clock.now] * await passed(asked, count)
    for each in moments:
        assert sum(each <= other < each + 10 for other in moments) <= 2 * quota
    if moments:
        assert len(moments) <= quota * (2 + (moments[-1] - moments[0]) / 10)


@given(Steps, st.integers(1, 8), st.integers(0, 255))
@settings(max_examples=150, deadline=None)
async def test_who_comes_back_when_he_was_told_to_may_pass(
    steps: list[tuple[float, int]], quota: int, part: int
) -> None:
    clock = Clock()
    asked = quotas(Rates(caller=f"{quota}/10 seconds"), clock, part)
    for pause_s, count in steps:
        clock.now += pause_s
        await passed(asked, count)
    if not await passes(asked):
        (standing,) = await asked.standings(ANN, "")
        wait_s = (await refused(asked)).members["retry_after_s"]
        assert isinstance(wait_s, int)
        assert standing.remaining == 0
        assert standing.reset_s < wait_s
        clock.now += wait_s
        assert await passes(asked)


async def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    clock = Clock()
    asked = quotas(Rates(caller="2/minute"), clock)
    assert await passed(asked, 3) == 2
    clock.now -= 3_600
    assert await passed(asked, 3) == 2
    clock.now += 61
    assert await passes(asked)


async def test_a_standing_is_told_without_being_used() -> None:
    asked = quotas(Rates(caller="3/minute", tenant_writes="9/hour"))
    await asked.take(ANN, "", writes=False)
    for _ in range(3):
        told = [(each.policy, each.remaining, each.reset_s) for each in await asked.standings(ANN, "")]
        assert told == [("caller-60s", 2, 60), ("tenant-writes-3600s", 9, 3_600)]


async def test_names_that_are_invented_take_bounded_memory() -> None:
    counters = Counters(100, Clock())
    for n in range(5_000):
        assert await counters.acquire_sliding_window_entry(f"stranger {n}", 1, 60)
        await counters.get_sliding_window(f"only asked about {n}", 60)
    assert len(counters) == 100


async def test_who_is_there_is_remembered_longer_than_strangers() -> None:
    counters = Counters(10, Clock())
    assert await counters.acquire_sliding_window_entry("ann", 1, 60)
    for n in range(500):
        await counters.acquire_sliding_window_entry(f"stranger {n}", 1, 60)
        assert not await counters.acquire_sliding_window_entry("ann", 1, 60)


async def test_a_hit_costs_the_same_however_many_there_are() -> None:
    """The library's own storage in memory looks at all of them each time: a hundred times as long."""

    async def cost(others: int) -> float:
        counters = Counters(100_000, time.monotonic)
        for n in range(others):
            await counters.acquire_sliding_window_entry(f"other {n}", 10, 60)
        begun = time.process_time()
        for _ in range(2_000):
            await counters.acquire_sliding_window_entry("ann", 10**6, 60)
        return time.process_time() - begun

    assert min([await cost(20_000) for _ in range(3)]) < 3 * min([await cost(1) for _ in range(3)])


class Away(MemoryStorage):
    """A storage that does not answer."""

    STORAGE_SCHEME = ["async+away"]  # noqa: RUF012 (the library's)

    @property
    def base_exceptions(self) -> type[Exception]:
        return ConnectionError

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        raise ConnectionError("nobody there")


async def test_where_the_storage_fails_everybody_passes_and_it_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = quotas(Rates(caller="1/minute", storage="async+away://"))
    with caplog.at_level(logging.WARNING):
        assert await passed(asked, 5) == 5
    assert len(caplog.records) == 1


async def test_a_storage_of_the_library_counts_alike() -> None:
    asked = quotas(Rates(caller="3/year", storage="async+memory://"))
    assert await passed(asked, 5) == 3
    (standing,) = await asked.standings(ANN, "")
    assert standing.remaining == 0
    assert 0 < standing.reset_s <= 360 * 86_400


def test_a_refusal_may_be_sent_again() -> None:
    assert issubclass(QuotaExceeded, PlaitServerError)
    assert QuotaExceeded.retry
