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
    assert losses
    assert not any(losses), "wrong merges, or edits lost or doubled"


def test_a_soak_runs_and_loses_nothing(tmp_path: Path) -> None:
    """A moment of it: whether anything grows cannot be said of so little."""
    file, drawing = tmp_path / "soak.json", tmp_path / "soak.svg"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.benchmarks.soak", "--minutes", "0.03", "--every-s", "0.5"),
            *("--json", str(file), "--svg", str(drawing)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    soaked = json.loads(file.read_text())
    assert soaked["samples"]
    assert soaked["report"]["check"]["holds"], done.stdout
    assert soaked["report"]["acknowledged"] > 0
    assert (soaked["doctor"], soaked["read_too_late"]) == ([], 0)
    assert drawing.read_text().startswith("<svg")
