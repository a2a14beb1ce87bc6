"""From a schedule that fails to a short one that fails in the same way, and to a page that tells it."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from simulation.schedule import Schedule, Step
from simulation.simulation import Run

TRIES_MAX = 600
LINES_MAX = 60
Play = Callable[[Schedule], Run]


def shrink(run: Run, play: Play) -> Run:
    """Take out of a failing schedule what it does not need: steps, pauses, people, an uneven pace.

    What is left fails the same invariant. Cost: some hundred runs at most.
    """
    assert run.violation is not None
    invariant, tries = run.violation.invariant, 0
    while tries < TRIES_MAX:
        for shorter in _shorter(run.schedule):
            tries += 1
            again = play(shorter)
            if again.violation is not None and again.violation.invariant == invariant:
                run = again
                break
            if tries >= TRIES_MAX:
                break
        else:
            break
    return run


def _shorter(schedule: Schedule) -> Iterator[Schedule]:
    """Give what is left when something is taken out of a schedule: much first, then less."""
    steps = schedule.steps
    size = len(steps)
    while size:
        for first in range(0, len(steps), size):
            yield replace(schedule, steps=steps[:first] + steps[first + size :])
        size //= 2
    if not schedule.is_even:
        yield replace(schedule, is_even=True)
    for place, step in enumerate(steps):
        for simpler in _simpler(step):
            yield replace(schedule, steps=(*steps[:place], simpler, *steps[place + 1 :]))


def _simpler(step: Step) -> Iterator[Step]:
    if step.pause_s:
        yield replace(step, pause_s=0.0)
    if step.who > 0:
        yield replace(step, who=step.who - 1)


def tell(run: Run) -> str:
    """Tell what happened, on a page at most: the steps, then what came of them, to the end."""
    schedule = run.schedule
    pace = ", at an even pace" if schedule.is_even else ""
    lines = [f"seed {schedule.seed}{pace}: {run.violation}", "", "What was done:"]
    lines += [f"  {step}" for step in schedule.steps]
    happened = [f"  {time_s:9.4f} s  {who}: {what}" for time_s, who, what in run.trace]
    room = max(10, LINES_MAX - len(lines) - 3)
    lines += ["", "What came of it:" if len(happened) <= room else "What came of it in the end:"]
    return "\n".join([line[:200] for line in (*lines, *happened[-room:])])
