"""The commands as an operator runs them: what they print, and their exit codes."""

import json
import os
import re
from pathlib import Path

import pytest

from server.data.histories import make_store, run, sql

README = Path(__file__).parents[3] / "server" / "README.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a database."""
    make_store(tmp_path / "plait.db", seed=8)
    return tmp_path


def test_doctor_says_nothing_found_and_ends_with_0(folder: Path) -> None:
    done = run(folder, "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing found" in done.stdout


def test_doctor_shows_what_it_finds_and_ends_with_1(folder: Path) -> None:
    sql(folder / "plait.db", "UPDATE documents SET updated = 0 WHERE id = 'd1'")
    done = run(folder, "doctor")
    assert done.returncode == 1
    assert "1 finding" in done.stdout
    assert "default/orders/d1" in done.stdout
    report = json.loads(run(folder, "doctor", "--json").stdout)
    assert (report["findings_total"], report["documents"]) == (1, 4)
    assert (report["findings"][0]["invariant"], report["findings"][0]["place"]) == (
        "head",
        "default/orders/d1",
    )


def test_doctor_shows_no_control_characters_of_what_it_finds(folder: Path) -> None:
    sql(folder / "plait.db", "INSERT INTO labels VALUES ('\x1b[2J', 'c', 'd', 'l', 1, '', 1)")
    assert "\x1b" not in run(folder, "doctor").stdout


def test_doctor_ends_with_2_where_it_cannot_look(folder: Path) -> None:
    (folder / "text.db").write_text("not a database, though long enough to be one\n" * 40)
    sql(folder / "other.db", "CREATE TABLE t (x)")
    for name, word in (
        ("none.db", "no database"),
        ("text.db", "cannot be opened"),
        ("other.db", "not a database"),
    ):
        done = run(folder, "doctor", "--db", name)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("plait: ")
        assert word in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (folder / "none.db").exists()
    for version, word in ((99, "newer"), (2, "earlier")):
        sql(folder / "plait.db", f"UPDATE store SET schema_version = {version}")
        done = run(folder, "doctor")
        assert (done.returncode, word in done.stderr) == (2, True)


def test_who_only_looks_changes_nothing(folder: Path) -> None:
    """Not even where a crash left a log that nobody has brought into the file yet."""
    crash = f"""
import os, sqlite3
connection = sqlite3.connect({str(folder / "plait.db")!r}, isolation_level=None)
connection.execute("UPDATE store SET fence = fence + 1")
os._exit(9)
"""
    os.waitpid(os.spawnlp(os.P_NOWAIT, "python3", "python3", "-c", crash), 0)
    files = folder / "plait.db", folder / "plait.db-wal"
    before = [file.read_bytes() for file in files]
    assert before[1]
    for command in (["doctor"], ["backup", "copy.db"], ["export", "-o", "all.ndjson"]):
        assert run(folder, *command).returncode == 0
        assert [file.read_bytes() for file in files] == before


def test_an_export_goes_to_stdout_and_an_import_comes_from_stdin(folder: Path) -> None:
    done = run(folder, "export")
    assert (done.returncode, done.stderr) == (0, "")
    (folder / "all.ndjson").write_text(done.stdout)
    done = run(folder, "import", "-", "--db", "new.db", prefix=("sh", "-c", 'exec "$0" "$@" < all.ndjson'))
    assert done.returncode == 0
    assert "4 documents" in done.stdout
    again = run(folder, "export", "--db", "new.db").stdout
    assert again.splitlines()[1:] == (folder / "all.ndjson").read_text().splitlines()[1:]


def test_who_has_read_enough_of_an_export_ends_it_quietly(folder: Path) -> None:
    make_store(folder / "plait.db", seed=2, edits=600)
    done = run(folder, "export", prefix=("sh", "-c", '"$0" "$@" | head -c 100'))
    assert done.stderr == ""


def test_an_import_that_is_refused_says_where_in_one_sentence(folder: Path) -> None:
    (folder / "bad.ndjson").write_text('{"t":"export","version":1,"history":true}\nwhat\n')
    done = run(folder, "import", "bad.ndjson", "--db", "new.db")
    assert done.returncode == 1
    assert done.stderr.startswith("plait: bad.ndjson, line 2: ")
    assert done.stderr.count("\n") == 1
    done = run(folder, "import", "none.ndjson", "--db", "new.db")
    assert (done.returncode, "none.ndjson" in done.stderr) == (1, True)


def test_the_database_is_the_one_that_serve_would_take(folder: Path) -> None:
    (folder / "plait.db").rename(folder / "mine.db")
    (folder / "plait.toml").write_text('db = "mine.db"\n')
    for command in (["doctor"], ["backup", "copy.db"], ["export"]):
        assert run(folder, *command).returncode == 0


def test_the_commands_are_in_the_help(folder: Path) -> None:
    told = run(folder, "--help").stdout
    assert all(command in told for command in ("doctor", "backup", "export", "import"))


def test_the_lines_of_the_readme_are_an_import(folder: Path) -> None:
    section = README.read_text().split("\n## Moving data\n")[1].split("\n## ")[0]
    lines = re.findall(r'`(\{"t":.*?\})`', section)
    (folder / "own.ndjson").write_text("\n".join(lines))
    assert "1 document with 1 new revision," in run(folder, "import", "own.ndjson", "--db", "own.db").stdout
