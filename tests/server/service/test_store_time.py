"""What is kept for a time is kept for so long, whatever the clock on the wall is set to."""

import pytest

from plait_server.service import CollectionSettings, IdempotencyKey, Retention, ServiceLimits
from plait_server.service.operation import Operation
from plait_server.service.store_time import store_time
from server.service.bench import ANN, BOB, ORDER, Bench, put, refusal, replacing

DAY_S = 86_400.0
STEPS_S = (-400 * DAY_S, -3_600.0, 30 * DAY_S)
SOON_S = 60.0
KEY = IdempotencyKey("k", "f")


@pytest.fixture(params=STEPS_S)
def step_s(request: pytest.FixtureRequest) -> float:
    step_s: float = request.param
    return step_s


async def test_an_answer_is_given_again_whatever_the_clock_is_set_to(bench: Bench, step_s: float) -> None:
    """Also after a restart, when it is in memory no more."""
    await put(bench.service, {"a": 0})
    await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=KEY))
    bench.clock.now += step_s
    for _ in range(2):
        again = await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=KEY))
        assert (again.revision, again.replayed) == (2, True)
        await bench.reopen()


async def test_a_conflict_is_kept_whatever_the_clock_is_set_to(bench: Bench, step_s: float) -> None:
    await put(bench.service, {"a": 0})
    await bench.service.edit(ANN, ORDER, replacing("/a", 1, base=1))
    await refusal(bench.service.edit(BOB, ORDER, replacing("/a", 2, base=1)))
    [kept] = (await bench.service.conflicts(ANN, ORDER, 10, None)).items
    assert_close(kept.expires, bench.clock.now + ServiceLimits().conflict_ttl_s)
    bench.clock.now += step_s
    assert (await bench.service.conflicts(ANN, ORDER, 10, None)).items == [kept]
    await bench.reopen()
    [later] = (await bench.service.conflicts(ANN, ORDER, 10, None)).items
    assert_close(later.expires, bench.clock.now + ServiceLimits().conflict_ttl_s)


def assert_close(moment_ms: int, expected_s: float) -> None:
    assert abs(moment_ms / 1000 - expected_s) < SOON_S


async def test_what_came_of_a_queued_edit_is_kept_whatever_the_clock_is_set_to(
    bench: Bench, step_s: float
) -> None:
    await put(bench.service, {"a": 0})
    queued = await bench.service.queue.submit(ANN, ORDER, replacing("/a", 1))
    assert isinstance(queued, Operation)
    await bench.service.queue.read(ANN, queued.id, 5)
    bench.clock.now += step_s
    for _ in range(2):
        answer = (await bench.service.queue.read(ANN, queued.id)).answer
        assert answer is not None
        assert answer.revision == 2
        await bench.reopen()


async def test_no_revision_gets_older_by_a_step_of_the_clock(bench: Bench, step_s: float) -> None:
    service = bench.service
    await put(service, {"a": 0})
    settings = CollectionSettings(retention=Retention(days=7))
    await service.put_collection(ANN, "orders", settings, None)
    for value in range(1, 20):
        await service.edit(ANN, ORDER, replacing("/a", value))
    bench.clock.now += step_s
    await service.compactor.sweep()
    await service.edit(ANN, ORDER, replacing("/a", 20))
    await service.compactor.sweep()
    assert (await service.revisions(ANN, ORDER, 1, None)).oldest == 1


async def test_time_stands_still_while_nobody_serves_the_store(bench: Bench) -> None:
    await put(bench.service, {"a": 0})
    await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=KEY))
    for _ in range(3):
        await bench.service.close()
        bench.let_pass(20 * DAY_S)
        await bench.open()
        bench.let_pass(0.3 * DAY_S)
        assert (await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=KEY))).replayed
    bench.let_pass(0.2 * DAY_S)
    assert not (await bench.service.edit(ANN, ORDER, replacing("/a", 1, key=KEY))).replayed


def test_it_begins_as_the_clock_on_the_wall_and_goes_on_from_where_it_was() -> None:
    new = store_time(0, lambda: 2_000.5, lambda: 7.0)
    assert (new.now(), new.on_the_wall(new.now())) == (2_000_500, 2_000_500)
    old = store_time(1_000_000, lambda: 2_000.5, lambda: 7.0)
    assert (old.now(), old.on_the_wall(old.now())) == (1_000_000, 2_000_500)
