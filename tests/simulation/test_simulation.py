"""The real service, sessions and replicas over a simulated clock, network and disk, by seed.

What fails is told as a seed and a story; `make simulate SEED=…` plays it again.
"""

from functools import partial
from itertools import count

import pytest

from simulation.lying_stores import LYING, WithoutKeys
from simulation.memory_store import MemoryStore
from simulation.schedule import schedule_of
from simulation.simulation import play
from simulation.story import LINES_MAX, shrink, tell

SEEDS = 2_000
PART = 250
LIES_SEEDS_MAX = 250


def check(seed: int) -> None:
    run = play(schedule_of(seed))
    if run.violation is not None:
        pytest.fail(f"{run.violation}\n\n{tell(shrink(run, play))}\n\nAgain: make simulate SEED={seed}")


@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_nothing_is_lost_doubled_or_half_applied_whatever_happens(first: int) -> None:
    for seed in range(first, first + PART):
        check(seed)


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_replays_exactly(seed: int) -> None:
    assert play(schedule_of(seed)).trace == play(schedule_of(seed)).trace


@pytest.mark.parametrize("lying", LYING)
def test_a_store_that_lies_is_found_out(lying: type[MemoryStore]) -> None:
    runs = (play(schedule_of(seed), lying) for seed in range(LIES_SEEDS_MAX))
    assert any(run.violation is not None for run in runs)


def test_a_failure_is_told_as_a_short_story() -> None:
    """Of a schedule of dozens of steps what is needed is left, on a page, and fails in the same way."""
    play_lying = partial(play, open_store=WithoutKeys)
    found = next(
        run
        for run in (play_lying(schedule_of(seed)) for seed in count())
        if run.violation is not None and run.violation.invariant == "once" and len(run.schedule.steps) > 20
    )
    shrunk = shrink(found, play_lying)
    assert shrunk.violation is not None
    assert shrunk.violation.invariant == "once"
    assert len(shrunk.schedule.steps) <= 8
    assert play_lying(shrunk.schedule).trace == shrunk.trace
    story = tell(shrunk).splitlines()
    assert len(story) <= LINES_MAX
    assert f"seed {found.schedule.seed}" in story[0]
