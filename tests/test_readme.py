"""The README files say what is: their commands run, their answers and tables are compared."""

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plait_merge import Conflicted, Rebased, apply, rebase
from plait_server.config import Settings
from plait_server.web.models.answers import OperationBody
from plait_server.web.models.bodies import BatchBody
from server.data.histories import make_store

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MERGE = (ROOT / "merge" / "README.md").read_text()
SERVER = (ROOT / "server" / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"
WITH_PLAIT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
MARK = "=====end of an answer====="

# What differs from run to run, by member name; ids of kept conflicts stand in longer strings too.
PASSING = {
    "epoch",
    "at",
    "opened",
    "expires",
    "created",
    "updated",
    "resolved",
    "request_id",
    "retry_after_s",
}
CONFLICT_ID = re.compile(r"\b01[0-9A-HJKMNP-TV-Z]{24}\b")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server as `plait serve` starts it, on nothing; the URL it printed."""
    folder = tmp_path / "server"
    folder.mkdir()
    with serving("plait serve", folder) as url:
        yield url


@contextmanager
def serving(command: str, folder: Path) -> Iterator[str]:
    """Run a command that serves, on a free port, until it is not needed; it has to end in good order."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec env {command} --port 0"],
        cwd=folder,
        env=WITH_PLAIT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout as told:
        try:
            yield told.readline().split()[-1]
        finally:
            process.terminate()
            told.read()  # who writes to nobody ends with another code
    assert process.returncode == 0, command


def blocks(page: str, kind: str) -> dict[str, str]:
    """The blocks of a kind, by the section they stand in."""
    found: dict[str, str] = {}
    for section in re.split(r"^## ", page, flags=re.M):
        for block in re.findall(rf"^```{kind}\n(.*?)^```", section, re.S | re.M):
            name = section.partition("\n")[0]
            found[name] = found.get(name, "") + block
    return found


def tour(page: str) -> list[tuple[str, str]]:
    """The commands of a page's console blocks, each with the answer written below it."""
    steps: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.S | re.M):
        for step in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command = re.match(r"(?:.*\\\n)*.*\n", step)
            assert command is not None
            steps.append((command[0], step[command.end() :]))
    return steps


def run(commands: list[str]) -> list[str]:
    """Run commands one after the other in one shell; give what each wrote."""
    script = "".join(f"{command}\nprintf '\\n%s\\n' '{MARK}'\n" for command in commands)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout.split(f"\n{MARK}\n")[:-1]


def lasting(value: Any) -> Any:
    """What of an answer is the same in every run; the order of members counts."""
    if isinstance(value, dict):
        return [(name, "..." if name in PASSING and part else lasting(part)) for name, part in value.items()]
    if isinstance(value, list):
        return [lasting(part) for part in value]
    return CONFLICT_ID.sub("...", value) if isinstance(value, str) else value


@pytest.mark.skipif(shutil.which("curl") is None, reason="CURL NOT FOUND: the tour was not checked")
@pytest.mark.parametrize("page", [README, SERVER], ids=["README.md", "server/README.md"])
def test_the_tour_is_what_the_server_answers(address: str, page: str) -> None:
    steps = tour(page)
    assert len(steps) > 8
    answers = run([command.replace(ADDRESS, address) for command, _ in steps])
    for (command, written), answer in zip(steps, answers, strict=True):
        if not written.strip() or written.startswith("/"):
            assert answer.strip() == written.strip(), command
        else:
            assert lasting(json.loads(answer)) == lasting(json.loads(written)), command


@pytest.mark.parametrize("section", ["Running it", "Moving data", "Load"])
def test_the_commands_of_a_section_run_in_their_order(address: str, tmp_path: Path, section: str) -> None:
    """In a folder with a database; what serves is stopped when it listens, a load is a short one."""
    make_store(tmp_path / "plait.db", seed=8)
    for line in blocks(SERVER, "sh")[section].splitlines():
        command = line.partition(" #")[0].strip()
        if "plait serve" in command:
            with serving(command, tmp_path):
                continue
        if "plait bench" in command:
            command = re.sub(r" --(duration-s|edits) \d+", "", command) + " --duration-s 0.5"
        subprocess.run(
            ["bash", "-c", command.replace(ADDRESS, address)],
            cwd=tmp_path,
            env=WITH_PLAIT,
            stdout=subprocess.DEVNULL,
            timeout=60,
            check=True,
        )


def test_all_shell_blocks_of_the_servers_page_are_run() -> None:
    assert list(blocks(SERVER, "sh")) == ["Running it", "Moving data", "Load"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="CURL NOT FOUND: settings were not checked")
@pytest.mark.parametrize("section", ["Rules of a collection", "Retention and labels"])
def test_the_settings_of_a_collection_are_taken(address: str, section: str) -> None:
    put = "curl -s -w '%{http_code}' -o /dev/null -X PUT -H 'If-None-Match: *'"
    settings = blocks(SERVER, "json")[section]
    assert run(
        [f"{put} -H 'Content-Type: application/json' {address}/v1/collections/orders -d '{settings}'"]
    ) == ["201"]


def test_the_bodies_shown_are_what_they_are_shown_as() -> None:
    shown = {name: json.loads(block) for name, block in blocks(SERVER, "json").items()}
    OperationBody.model_validate(shown.pop("Queued edits"))
    BatchBody.model_validate(shown.pop("Several documents at once"))
    assert list(shown) == ["Rules of a collection", "Retention and labels"]


def test_the_code_is_that_of_an_example_which_runs() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)
    assert code in (ROOT / "examples/quickstart.py").read_text()


def test_what_make_is_said_to_do_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for text in (README, MERGE, SERVER):
        for target in re.findall(r"`?make ([a-z]+)\b(?=`|    )", text):
            assert re.search(rf"^{target}:", makefile, re.M), target
    assert re.search(r"pip install -c constraints\.txt -e '\.\[dev\]'", README)


@pytest.mark.parametrize("page", ["README.md", "merge/README.md", "server/README.md", "CHANGELOG.md"])
def test_what_a_page_links_to_is_there(page: str) -> None:
    file = ROOT / page
    for target in re.findall(r"\]\(([^)#:]+)\)", file.read_text()):
        assert (file.parent / target).exists(), target


def test_the_examples_of_the_merge_rules_are_true() -> None:
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", MERGE, re.S | re.M))
    examples = doctest.DocTestParser().get_doctest(code, {}, "merge/README.md", None, 0)
    told: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(examples, out=told.append)
    assert result.attempted > 30
    assert result.failed == 0, "".join(told)


def op(name: str, path: str, **more: Any) -> dict[str, Any]:
    return {"op": name, "path": path, **more}


@pytest.mark.parametrize(
    ("case", "base", "theirs", "yours"),
    [
        ("both delete one key", {"k": 1}, op("remove", "/k"), op("remove", "/k")),
        (
            "two fields of one unkeyed item in an array",
            [{"a": 1, "b": 1}],
            op("replace", "/0/a", value=2),
            op("replace", "/0/b", value=2),
        ),
        ("remove an item, edit inside it", [{"a": 1}], op("remove", "/0"), op("replace", "/0/a", value=2)),
        (
            "move an item, edit inside it",
            [{"a": 1}, 0],
            {"op": "move", "from": "/0", "path": "/1"},
            op("replace", "/0/a", value=2),
        ),
        ("insert twice at one place", ["x"], op("add", "/1", value="y"), op("add", "/1", value="z")),
        (
            "one item moved to two places",
            ["x", 1, 2],
            {"op": "move", "from": "/0", "path": "/1"},
            {"op": "move", "from": "/0", "path": "/2"},
        ),
        ("root replaced, edited inside", {"a": 1}, op("replace", "", value=[]), op("replace", "/a", value=2)),
        (
            "`1` becomes `true` on one side",
            {"a": 1, "b": 1},
            op("replace", "/a", value=True),
            op("remove", "/b"),
        ),
    ],
)
def test_the_comparison_says_of_this_engine_what_it_does(
    case: str, base: Any, theirs: dict[str, Any], yours: dict[str, Any]
) -> None:
    """The last column of the table; the other columns were measured elsewhere."""
    (row,) = [line for line in MERGE.splitlines() if line.startswith(f"| {case} |")]
    answer = rebase(base, [[theirs]], [yours])
    said = row.split("|")[-2].strip()
    assert isinstance(answer, {"ok": Rebased, "C": Conflicted}[said])
    if isinstance(answer, Rebased):
        assert answer.value == apply(apply(base, [theirs]), answer.patch)


def test_every_setting_is_in_the_table_with_its_default() -> None:
    written = re.findall(r"^\| `([a-z_]+)` \| `(.+?)` \| (.+) \|$", SERVER, re.M)
    assert written == [
        (name, _shown(field.default), field.description) for name, field in Settings.model_fields.items()
    ]


def test_the_settings_shown_are_settings() -> None:
    shown = re.findall(r"^```toml\n(.*?)^```", SERVER, re.S | re.M)
    assert shown
    for block in shown:
        Settings(**tomllib.loads(block))


def _shown(default: Any) -> str:
    return json.dumps(default if isinstance(default, bool | int | float) else str(default))


def test_every_endpoint_is_in_the_table_and_nothing_else_is(address: str) -> None:
    written = set(re.findall(r"^\| ([A-Z]+) \| `(/\S*)` \|", SERVER, re.M))
    (answer,) = run([f"curl -s {address}/openapi.json"])
    paths = json.loads(answer)["paths"]
    assert written == {(method.upper(), path) for path, methods in paths.items() for method in methods}
