"""git merges with the driver: real repositories, real merges."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from client_sdk.command.answer import PROGRAM, program

FILE = """\
{
  "title": "Plan",
  "budget": 1.50,
  "tags": ["a"]
}
"""


class Repository:
    """A repository with the driver, where `theirs` is a branch beside `main`."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        # Nothing of the machine's own configuration, and a program found by its name.
        self.environment = {
            "HOME": str(home),
            "XDG_CONFIG_HOME": "",
            "GIT_CONFIG_NOSYSTEM": "1",
            "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}",
        }
        for setting in ("user.name=Ada", "user.email=ada@example.org", "init.defaultBranch=main"):
            self.git("config", "--global", *setting.split("="))
        self.git("init")

    def git(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def install(self, *arguments: str) -> str:
        answer = program(self.folder, "merge", "--install", *arguments, **self.environment)
        assert answer.code == 0, answer.err
        if not arguments:
            self.git("add", ".gitattributes")
            self.git("commit", "--allow-empty", "-m", "attributes")
        return answer.err

    def commit(self, **texts: str) -> None:
        for name, text in texts.items():
            path = self.folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "-m", "change")

    def diverge(self, name: str, base: str, theirs: str, yours: str) -> None:
        if base:
            self.commit(**{name: base})
        self.git("checkout", "-b", "theirs")
        self.commit(**{name: theirs})
        self.git("checkout", "main")
        self.commit(**{name: yours})


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    return Repository(tmp_path / "work", tmp_path / "home")


def test_git_merges_cleanly_what_it_would_have_put_in_conflict(repository: Repository) -> None:
    """Both edit neighbouring lines, and both add to one: without the driver git gives up."""
    theirs = FILE.replace("1.50", "2.50").replace('"a"', '"a", "b"')
    yours = FILE.replace("Plan", "Plan B").replace('"a"', '"z", "a"')
    repository.diverge("plans__x_json", FILE, theirs, yours)
    assert "CONFLICT" in repository.git("merge", "theirs", code=1)
    repository.git("merge", "--abort")

    repository.install()
    repository.git("merge", "theirs")
    merged = FILE.replace("1.50", "2.50").replace("Plan", "Plan B").replace('"a"', '"z", "a", "b"')
    assert (repository.folder / "plans/x.json").read_text() == merged
    assert repository.git("log", "--oneline", "-1", "--merges")


def test_a_conflict_in_git_is_settled_by_resolve_and_added(repository: Repository) -> None:
    repository.install()
    theirs = FILE.replace("1.50", "2.50").replace("Plan", "Plan A")
    repository.diverge("plans__x_json", FILE, theirs, FILE.replace("1.50", "3.50"))
    told = repository.git("merge", "theirs", code=1)
    assert "plait resolve plans/x.json" in told
    path = repository.folder / "plans/x.json"
    assert path.read_text() == FILE.replace("1.50", "3.50").replace("Plan", "Plan A")
    assert "UU plans/x.json" in repository.git("status", "--short")

    answer = program(repository.folder, "resolve", "plans/x.json", "--choose", "theirs")
    assert answer.code == 0
    assert "git add plans/x.json" in answer.err
    assert path.read_text() == theirs
    repository.git("add", "plans/x.json")
    repository.git("commit", "--no-edit")
    assert repository.git("status", "--short") == ""


def test_a_file_added_by_both_is_merged(repository: Repository) -> None:
    repository.install()
    repository.diverge("x_json", "", '{\n  "a": 1\n}\n', '{\n  "b": 2\n}\n')
    repository.git("merge", "theirs")
    assert json.loads((repository.folder / "x.json").read_text()) == {"a": 1, "b": 2}


def test_a_rebase_uses_the_driver_too(repository: Repository) -> None:
    repository.install()
    theirs, yours = FILE.replace("1.50", "2.50"), FILE.replace("Plan", "Plan B")
    repository.diverge("x_json", FILE, theirs, yours)
    repository.git("rebase", "theirs")
    assert (repository.folder / "x.json").read_text() == theirs.replace("Plan", "Plan B")


def test_what_is_not_json_is_merged_by_lines_as_git_does(repository: Repository) -> None:
    commented = '{\n  // a comment\n  "a": 1,\n\n\n\n  "b": 1\n}\n'
    repository.install()
    theirs, yours = commented.replace('"b": 1', '"b": 2'), commented.replace('"a": 1', '"a": 2')
    repository.diverge("x_json", commented, theirs, yours)
    told = repository.git("merge", "theirs")
    assert "x.json (base):2:3: " in told
    assert (repository.folder / "x.json").read_text() == theirs.replace('"a": 1', '"a": 2')


def test_a_conflict_in_what_is_not_json_is_an_ordinary_one(repository: Repository) -> None:
    commented = '{\n  // a comment\n  "a": 1\n}\n'
    repository.install()
    theirs, yours = commented.replace("1", "2"), commented.replace("1", "3")
    repository.diverge("x_json", commented, theirs, yours)
    assert "CONFLICT" in repository.git("merge", "theirs", code=1)
    text = (repository.folder / "x.json").read_text()
    assert '<<<<<<< yours\n  "a": 3\n=======\n  "a": 2\n>>>>>>> theirs\n' in text
    assert not (repository.folder / "x.json.conflict.json").exists()


def test_where_the_conflicts_have_no_place_git_merges_as_ever(repository: Repository) -> None:
    """A file that stays as it is would be yours alone: theirs would be lost on whoever adds it."""
    repository.install()
    repository.commit(x_json_conflict_json='{"mine": 1}')
    repository.diverge("x_json", FILE, FILE.replace("1.50", "2.50"), FILE.replace("1.50", "3.50"))
    told = repository.git("merge", "theirs", code=1)
    assert "not written by plait merge, or has been changed since; so x.json is merged by lines" in told
    assert "<<<<<<< yours" in (repository.folder / "x.json").read_text()


def test_where_the_program_is_gone_git_merges_as_ever(repository: Repository) -> None:
    repository.install()
    driver = repository.git("config", "merge.plait.driver").strip()
    repository.git("config", "merge.plait.driver", driver.replace(f"{PROGRAM.parent}{os.sep}", "/nowhere/"))
    repository.diverge("x_json", FILE, FILE.replace("1.50", "2.50"), FILE.replace("1.50", "3.50"))
    repository.git("merge", "theirs", code=1)
    text = (repository.folder / "x.json").read_text()
    assert '<<<<<<< yours\n  "budget": 3.50,\n=======\n  "budget": 2.50,\n>>>>>>> theirs\n' in text


def test_the_program_is_found_when_its_environment_is_not_active(repository: Repository) -> None:
    repository.install()
    repository.diverge("x_json", FILE, FILE.replace("1.50", "2.50"), FILE.replace("Plan", "Plan B"))
    repository.environment["PATH"] = os.environ["PATH"]
    repository.git("merge", "theirs")
    assert "Plan B" in (repository.folder / "x.json").read_text()


def test_what_to_type_next_is_told_for_the_folder_one_is_in(repository: Repository) -> None:
    repository.install()
    repository.diverge("plans__x_json", FILE, FILE.replace("1.50", "2.50"), FILE.replace("1.50", "3.50"))
    assert "plait resolve x.json" in repository.git("-C", "plans", "merge", "theirs", code=1)


def test_what_is_no_text_at_all_stays_yours_and_in_conflict(repository: Repository) -> None:
    repository.install()
    repository.diverge("x_json", "\0a", "\0b", "\0c")
    assert "CONFLICT" in repository.git("merge", "theirs", code=1)
    assert (repository.folder / "x.json").read_text() == "\0c"


def test_common_ancestors_that_conflict_with_each_other_stay_json(repository: Repository) -> None:
    """A criss-cross: git first merges two ancestors, whose conflict nobody will settle."""
    repository.install()
    repository.diverge("x_json", FILE, FILE.replace("1.50", "2.50"), FILE.replace("1.50", "3.50"))
    repository.git("branch", "start")
    for side, other in (("main", "theirs"), ("theirs", "start")):
        repository.git("checkout", side)
        repository.git("merge", other, "-m", "across", code=1)
        program(repository.folder, "resolve", "x.json", "--choose", "yours")
        repository.git("add", "x.json")
        repository.git("commit", "--no-edit")
    repository.git("checkout", "theirs")
    repository.commit(x_json=FILE.replace("1.50", "2.50").replace("Plan", "Plan A"))
    repository.git("checkout", "main")
    repository.commit(x_json=FILE.replace("1.50", "3.50").replace('"a"', '"a", "b"'))
    assert "CONFLICT" in repository.git("merge", "theirs", code=1)
    value = json.loads((repository.folder / "x.json").read_text())
    assert value == {"title": "Plan A", "budget": 3.5, "tags": ["a", "b"]}


def test_installing_again_changes_nothing_and_keeps_what_is_there(repository: Repository) -> None:
    attributes = repository.folder / ".gitattributes"
    attributes.write_text("*.png binary")
    assert "added *.json merge=plait" in repository.install()
    written = attributes.read_text()
    assert written == "*.png binary\n*.json merge=plait\n*.ipynb merge=plait\n"
    assert "were there" in repository.install()
    assert attributes.read_text() == written


def test_attributes_are_added_to_any_bytes(repository: Repository) -> None:
    attributes = repository.folder / ".gitattributes"
    attributes.write_bytes(b"caf\xe9 text\r\n")
    repository.install()
    assert attributes.read_bytes() == b"caf\xe9 text\r\n*.json merge=plait\n*.ipynb merge=plait\n"


def test_installing_for_all_repositories_writes_the_users_own_files(repository: Repository) -> None:
    repository.install("--global")
    assert not (repository.folder / ".gitattributes").exists()
    home = Path(repository.environment["HOME"])
    assert "*.json merge=plait" in (home / ".config/git/attributes").read_text()
    repository.diverge("x_json", FILE, FILE.replace("1.50", "2.50"), FILE.replace("Plan", "Plan B"))
    repository.git("merge", "theirs")

    repository.git("config", "--global", "core.attributesFile", "~/mine")
    repository.install("--global")
    assert "*.json merge=plait" in (home / "mine").read_text()


def test_installing_where_there_is_no_repository_is_refused(tmp_path: Path) -> None:
    answer = program(tmp_path, "merge", "--install", GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert answer.code == 2
    assert "not a git repository" in answer.err
