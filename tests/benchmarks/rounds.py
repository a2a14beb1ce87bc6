"""Timing in interleaved rounds, so that a slow moment of the machine falls on every case alike."""

import gc
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median

Case = Callable[[], object]


def note(text: str) -> None:
    """Tell whoever waits how far it is."""
    print(text, end="", file=sys.stderr, flush=True)


def medians_s(cases: Mapping[str, Case], rounds: int, sample_s: float) -> dict[str, float]:
    """Time every case once a round; give the median of each, in seconds of CPU time a call.

    CPU time, because the engine waits for nothing: what others do meanwhile is not its cost. A case is
    repeated for `sample_s` in each round. It must leave everything as it was.
    """
    repeats = {name: _repeats(case, sample_s) for name, case in cases.items()}
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        note(".")
        for name, case in cases.items():
            samples[name].append(_sample_s(case, repeats[name]))
    return {name: median(taken) for name, taken in samples.items()}


def _repeats(case: Case, sample_s: float) -> int:
    case()
    once = _sample_s(case, 1)
    return max(1, int(sample_s / max(once, 1e-7)))


def _sample_s(case: Case, repeats: int) -> float:
    gc.collect()
    started = time.process_time()
    for _ in range(repeats):
        case()
    return (time.process_time() - started) / repeats
