"""The benchmarks run: tiny sizes, no time looked at."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def benchmarks(*arguments: str) -> str:
    """Run the command as `make bench` does; give what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_benchmark_runs_and_every_figure_is_in_table_and_file(tmp_path: Path) -> None:
    printed = benchmarks("--tiny", "--json", str(tmp_path / "rows.json"))
    measured = json.loads((tmp_path / "rows.json").read_text())
    assert all(row["figure"] in printed for row in measured["rows"])
    listed = {line.split()[0] for line in benchmarks("--list").splitlines()}
    assert listed == {row["benchmark"] for row in measured["rows"]}
    losses = [row["value"] for row in measured["rows"] if row["aim"] == 0]
    assert losses == [0, 0, 0], "wrong merges, or edits lost or doubled"
