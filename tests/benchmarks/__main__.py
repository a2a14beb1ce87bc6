"""Measure speed and memory, as ratios against references measured in the same run.

    python -m tests.benchmarks [NAME ...] [--quick] [--json FILE] [--list]

The machine should be quiet. Nothing here is a test: a missed aim is told, and ends nothing.
"""

import argparse
import json
import platform
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from . import alignment, engine
from .batch import batch
from .client import client
from .distinct import distinct
from .herd import herd
from .history import history
from .hot import hot
from .live import live
from .memory import memory
from .retention import retention
from .rounds import note
from .row import Row, table
from .scale import FULL, QUICK, TINY, Scale
from .sizes import sizes
from .startup import startup
from .subject import CORES, FAST_LOOP

BENCHMARKS: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "one-over-one": engine.one_over_one,
    "many-over-many": engine.many_over_many,
    "arrays": engine.arrays,
    "lag": engine.lag,
    "states": alignment.states,
    "alignment": alignment.alignment,
    "distinct": distinct,
    "batch": batch,
    "hot": hot,
    "sizes": sizes,
    "memory": memory,
    "history": history,
    "retention": retention,
    "live": live,
    "client": client,
    "herd": herd,
    "startup": startup,
}


def main() -> None:
    """Run what is asked for and print one table."""
    asked = _arguments()
    if asked.list:
        for name, benchmark in BENCHMARKS.items():
            print(f"{name:16}{(benchmark.__doc__ or '').splitlines()[0]}")
        return
    scale = TINY if asked.tiny else QUICK if asked.quick else FULL
    measured: dict[str, list[Row]] = {}
    for name in asked.name or BENCHMARKS:
        started = time.perf_counter()
        note(f"{name} ")
        measured[name] = list(BENCHMARKS[name](scale))
        note(f" {time.perf_counter() - started:.0f} s\n")
    print(f"{_machine()}\n\n{table(measured)}")
    if asked.json is not None:
        asked.json.write_text(_as_json(measured))


def _machine() -> str:
    """Say what it ran on, without a name."""
    return (
        f"{len(CORES)} cores; {platform.python_implementation()} {platform.python_version()}; "
        f"SQLite {sqlite3.sqlite_version}; event loop of the servers: {FAST_LOOP}"
    )


def _as_json(measured: Mapping[str, Sequence[Row]]) -> str:
    rows = [{"benchmark": name, **row.as_json()} for name, rows in measured.items() for row in rows]
    return json.dumps({"machine": _machine(), "rows": rows}, indent=1, ensure_ascii=False) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="*", help="what to measure; everything without one", metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, half a minute")
    parser.add_argument("--tiny", action="store_true", help="just to see that everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--list", action="store_true", help="say what there is")
    asked = parser.parse_args()
    if unknown := set(asked.name) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; --list names them")
    return asked


if __name__ == "__main__":
    main()
