"""Run seeded schedules, on all cores; tell the story of the first that fails.

PYTHONPATH=tests python -m simulation --seeds 20000 --first 0
PYTHONPATH=tests python -m simulation --seed 303          one again, with its story
"""

import argparse
import multiprocessing
import os
import sys
import time

from simulation.schedule import schedule_of
from simulation.simulation import Run, play
from simulation.story import shrink, tell

CHUNK = 20


def main() -> int:
    parser = argparse.ArgumentParser(description="Run seeded schedules of the simulation.")
    parser.add_argument("--seeds", type=int, default=20_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="only this one, with all that happens in it")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _one(asked.seed)
    return _many(range(asked.first, asked.first + asked.seeds))


def _one(seed: int) -> int:
    run = play(schedule_of(seed))
    for time_s, who, what in run.trace:
        print(f"{time_s:9.4f} s  {who}: {what}")
    if run.violation is None:
        return 0
    print(f"\n{tell(shrink(run, play))}")
    return 1


def _many(seeds: range) -> int:
    began, revisions, replies, failed = time.monotonic(), 0, 0, list[int]()
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for count, run in enumerate(pool.imap_unordered(_played, seeds, CHUNK), 1):
            revisions, replies = revisions + run.revisions, replies + run.replies
            if run.violation is not None:
                failed.append(run.schedule.seed)
                print(f"seed {run.schedule.seed}: {run.violation}", file=sys.stderr)
            if count % 1_000 == 0:
                print(f"{count} of {len(seeds)} seeds, {len(failed)} failed", flush=True)
    seconds = time.monotonic() - began
    print(
        f"{len(seeds)} seeds, {revisions} revisions, {replies} answers, {seconds:.0f} s: {len(failed)} failed"
    )
    if not failed:
        return 0
    run = shrink(play(schedule_of(min(failed))), play)
    print(f"\n{tell(run)}\n\nAgain: make simulate SEED={run.schedule.seed}", file=sys.stderr)
    return 1


def _played(seed: int) -> Run:
    run = play(schedule_of(seed))
    # The whole trace need not travel: it can be had again.
    return Run(run.schedule, run.violation, [], run.revisions, run.replies)


if __name__ == "__main__":
    sys.exit(main())
