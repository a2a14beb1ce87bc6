"""The commands that git and people run once per file: from the start of the process to its end."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from plait_merge import apply

from .documents import document, pointers, replacing
from .rounds import note
from .row import Row
from .scale import Scale

PROGRAM = str(Path(sys.executable).with_name("plait"))
SMALL_BYTES = 2_000
SMALL_MS_MAX = 150
JSON_TIMES_MAX = 4


def startup(scale: Scale) -> Iterator[Row]:
    """`plait merge` on small and large files, against an interpreter that does nothing."""
    with TemporaryDirectory() as folder:
        names = {"small": SMALL_BYTES, "large": scale.document_bytes}
        files = {name: _three_files(Path(folder) / name, bytes_) for name, bytes_ in names.items()}
        taken = _medians(
            {
                "nothing": [sys.executable, "-c", "pass"],
                "help": [PROGRAM, "merge", "--help"],
                **{name: [PROGRAM, "merge", *three, "-o", os.devnull] for name, three in files.items()},
                "json": [sys.executable, "-c", _READ_AND_WRITE, *files["large"]],
            },
            max(2, scale.rounds),
        )
    nothing, small = taken["nothing"], taken["small"]
    yield Row("merge of three 2 kB files, CPU", small.cpu_ms, "ms", SMALL_MS_MAX)
    yield Row("the same, by the clock", small.wall_ms, "ms")
    yield Row("the same, beside an interpreter that does nothing", small.cpu_ms / nothing.cpu_ms, "x")
    yield Row("merge --help, CPU", taken["help"].cpu_ms, "ms")
    yield Row(f"merge of three files of {scale.document_bytes:,} bytes, CPU", taken["large"].cpu_ms, "ms")
    work, least = taken["large"].cpu_ms - small.cpu_ms, taken["json"].cpu_ms - nothing.cpu_ms
    yield Row("the same, beside reading three with json and writing one", work / least, "x", JSON_TIMES_MAX)


_READ_AND_WRITE = """
import json, sys
values = [json.loads(open(name).read()) for name in sys.argv[1:]]
json.dumps(values[0], indent=2)
"""


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a process took; the time is the machine's, the CPU its own."""

    wall_ms: float
    cpu_ms: float


def _three_files(folder: Path, bytes_: int) -> list[str]:
    """Write base, theirs and yours, each with one change of its own; give their names."""
    folder.mkdir()
    base = document(bytes_)
    first, *_, last = pointers(bytes_)
    sides = {
        "base": base,
        "theirs": apply(base, [replacing(first, "theirs")]),
        "yours": apply(base, [replacing(last, "yours")]),
    }
    for name, value in sides.items():
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2))
    return [str(folder / f"{name}.json") for name in sides]


def _medians(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, _Taken]:
    samples: dict[str, list[_Taken]] = {name: [] for name in commands}
    for _ in range(rounds):
        note(".")
        for name, command in commands.items():
            samples[name].append(_run(command))
    return {
        name: _Taken(median(taken.wall_ms for taken in all_), median(taken.cpu_ms for taken in all_))
        for name, all_ in samples.items()
    }


def _run(command: Sequence[str]) -> _Taken:
    started, before = time.perf_counter(), _children_cpu_s()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return _Taken((time.perf_counter() - started) * 1e3, (_children_cpu_s() - before) * 1e3)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
