"""Change the engine in some small way, and see whether a test notices; then again, in thousands of ways.

    python -m merge.mutation               everything
    python -m merge.mutation rebase judge  some of its modules

mutmut makes the mutants, keeps what became of them (in `mutants/`) and shows them (`mutmut show NAME`,
`mutmut browse`). The tests are run from here: collected once, then in a fork for each mutant, only those
that call the function in question, those that are quick and noticed much before first, up to the first that
fails. That is about ten times as fast as a run of pytest for each mutant.

What mypy would refuse is not tried. What a test has noticed stands as long as the function is as it was; what
none has noticed is tried again.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import astuple, dataclass, field
from io import StringIO
from mmap import mmap
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from mutmut.__main__ import create_mutants
from mutmut.mutation.data import MutantLineSpans, SourceFileMutationData
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import copy_src_dir

FOLDER = "merge"
PACKAGE = "plait_merge"
TESTS = "tests/merge"
PYTEST = [
    "-q",
    "--no-header",
    "--tb=native",
    "--assert=plain",
    "-p",
    "no:schemathesis",
    "-p",
    "no:cacheprovider",
]
NOT_OF_TIME = [
    "-k",
    "not (take_long or no_seconds or in_time or bounded_time or hostile or hash_seed or past_the_depth)",
]

SURVIVED = 0
KILLED = 1
NO_TESTS = 33
TIMEOUT = 36
REFUSED = 37
UNNOTICED = (SURVIVED, NO_TESTS)
UNDECIDED = (None, *UNNOTICED)
"""What is tried, or tried again."""

MEMORY_BYTES = 4 << 30
SLOWER = 20
"""A test that takes so many times as long as it did, and a second, does not end."""


def main(modules: list[str]) -> int:
    os.environ.setdefault("HYPOTHESIS_PROFILE", "mutation")
    with redirect_stdout(StringIO()):
        copy_src_dir()
        create_mutants(1)
    sys.path.insert(0, str(Path("mutants", FOLDER).absolute()))
    modules = modules or sorted(path.stem for path in Path(FOLDER, PACKAGE).glob("*.py"))
    files = [SourceFileMutationData(path=Path(FOLDER, PACKAGE, f"{module}.py")) for module in modules]
    for file in files:
        file.load()
    refuse_by_type(files)
    return pytest.main([*PYTEST, *NOT_OF_TIME, TESTS], plugins=[Mutation(files)])


def refuse_by_type(files: list[SourceFileMutationData]) -> None:
    """Take for noticed what mypy would notice: an error in a mutant that its original has not."""
    mypy = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--no-warn-unused-ignores"]
    options = ["--explicit-package-bases", "--output=json", *(f"mutants/{file.path}" for file in files)]
    told = subprocess.run([*mypy, *options], env={**os.environ, "MYPYPATH": FOLDER}, stdout=subprocess.PIPE)
    errors: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for error in map(json.loads, told.stdout.splitlines()):
        if error["code"] != "has-type":  # where mutmut has written a method many times
            errors[error["file"]][error["line"]] = error["message"]
    for file in files:
        spans = MutantLineSpans.load(file.path).span_by_function_name
        found = {
            name: {
                message for line, message in errors[f"mutants/{file.path}"].items() if start <= line <= end
            }
            for name, (start, end) in ((name, astuple(span)) for name, span in spans.items())
        }
        for mutant, code in file.exit_code_by_key.items():
            name = mutant.rpartition(".")[2]
            if code in UNDECIDED and found[name] - found[name.partition("__mutmut_")[0] + "__mutmut_orig"]:
                file.exit_code_by_key[mutant] = REFUSED
        file.save()


@dataclass(slots=True)
class Test:
    item: pytest.Item
    seconds: float
    functions: frozenset[str]
    noticed: int = 0

    @property
    def cost(self) -> float:
        """What it takes to notice something by this test, as far as one can tell."""
        return self.seconds / (1 + self.noticed)


@dataclass(slots=True)
class Mutation:
    """Instead of running the tests once, run them for every mutant of these files."""

    files: list[SourceFileMutationData]
    tests: list[Test] = field(default_factory=list)
    failing: mmap = field(default_factory=lambda: mmap(-1, 4))  # the number of the test a fork fails in

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.tests = [measured(item) for item in session.items]
        if self.in_a_fork(self.tests) != SURVIVED:
            pytest.exit("what passed before fails in a fork", returncode=1)
        for file in self.files:
            for name in [name for name, code in file.exit_code_by_key.items() if code in UNDECIDED]:
                file.exit_code_by_key[name], file.durations_by_key[name] = self.tried(name)
                file.save()
            self.report(file)
        return True

    def tried(self, name: str) -> tuple[int, float]:
        """What becomes of a mutant, in mutmut's codes, and how many seconds that took."""
        mutant = name.removeprefix(f"{FOLDER}.")
        tests = [test for test in self.tests if mutant.partition("__mutmut_")[0] in test.functions]
        if not tests:
            return NO_TESTS, 0.0
        start = time.monotonic()
        set_mutant_under_test(mutant)
        code = self.in_a_fork(sorted(tests, key=lambda test: test.cost))
        return code, time.monotonic() - start

    def in_a_fork(self, tests: list[Test]) -> int:
        child = os.fork()
        if not child:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            code = KILLED
            try:
                code = KILLED if any(self.fails(*test) for test in enumerate(tests)) else SURVIVED
            finally:
                os._exit(code)  # whatever happens: it is not to go on as a second session
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != SURVIVED:
            tests[int.from_bytes(self.failing[:])].noticed += 1
        return TIMEOUT if code == -signal.SIGPROF else code

    def fails(self, number: int, test: Test) -> bool:
        self.failing[:] = number.to_bytes(4)
        signal.setitimer(signal.ITIMER_PROF, 1 + SLOWER * test.seconds)
        return not passes(test.item)

    def report(self, file: SourceFileMutationData) -> None:
        counts = Counter(status_by_exit_code[code] for code in file.exit_code_by_key.values())
        told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
        print(f"\n{file.path.stem}: {sum(counts.values())} mutants, {told}", flush=True)
        for name in survivors(file):
            print(f"    {name}", flush=True)


def measured(item: pytest.Item) -> Test:
    """Run a test on the engine as it is: it must pass, takes its time, and calls what it calls."""
    set_mutant_under_test("stats")
    state()._stats.clear()
    start = time.process_time()
    if not passes(item):
        pytest.exit(f"{item.nodeid} fails as it is", returncode=1)
    set_mutant_under_test("")
    return Test(item, time.process_time() - start, frozenset(state()._stats))


def passes(item: pytest.Item) -> bool:
    return not any(report.failed for report in runtestprotocol(item, log=False))


def survivors(file: SourceFileMutationData) -> Iterator[str]:
    return (name for name, code in file.exit_code_by_key.items() if code in UNNOTICED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
