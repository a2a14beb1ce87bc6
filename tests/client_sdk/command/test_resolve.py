"""`plait resolve`: by options and by answers, all at once and bit by bit."""

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_sdk.command.answer import PROGRAM, program
from client_sdk.command.conftest import Plait
from client_sdk.command.texts import texts, written
from merge.strategies import documents
from plait_client.command.conflict_file import ConflictFile
from plait_client.command.resolution import Decision, Resolution, offers
from plait_client.command.versions import Versions, settled
from plait_merge import ABSENT, Conflicted, apply, resolve, same

Write = Callable[..., None]

BASE = '{\n  "title": "Plan",\n  "budget": 1.50,\n  "rows": {"x": 1, "y": 1}\n}\n'
THEIRS = BASE.replace("Plan", "Plan A").replace("1.50", "2.50")
YOURS = BASE.replace("Plan", "Plan B").replace("1.50", "3.50")


@pytest.fixture
def conflicted(folder: Path, plait: Plait, write: Write) -> Path:
    """A file with two conflicts, /title and /budget."""
    write(base=BASE, theirs=THEIRS, file=YOURS)
    assert plait("merge", "base.json", "theirs.json", "file.json").code == 1
    return folder / "file.json"


def has_conflicts(file: Path) -> bool:
    return file.with_name(f"{file.name}.conflict.json").exists()


@pytest.mark.parametrize(("side", "text"), [("theirs", THEIRS), ("yours", YOURS), ("base", BASE)])
def test_one_side_everywhere_gives_that_file(side: str, text: str, conflicted: Path, plait: Plait) -> None:
    answer = plait("resolve", "file.json", "--choose", side)
    assert answer.code == 0
    assert answer.err == "plait: file.json: all conflicts are settled\n"
    assert conflicted.read_text() == text
    assert not has_conflicts(conflicted)


def test_what_is_not_decided_stays_yours_and_open(conflicted: Path, plait: Plait) -> None:
    answer = plait("resolve", "file.json", "--choose", "/title=theirs")
    assert answer.code == 1
    assert answer.err == "plait: file.json: 1 decided, 1 open: /budget\n"
    assert conflicted.read_text() == YOURS.replace("Plan B", "Plan A")
    open_now = plait("resolve", "file.json", "--json").json
    assert [conflict["pointer"] for conflict in open_now["open"]] == ["/budget"]
    assert list(open_now["decided"].values()) == ["theirs"]
    assert plait("resolve", "file.json", "--choose", "/budget=theirs").code == 0
    assert conflicted.read_text() == THEIRS
    assert not has_conflicts(conflicted)


def test_a_choice_for_one_place_counts_more_than_one_for_all(conflicted: Path, plait: Plait) -> None:
    assert plait("resolve", "file.json", "--choose", "/title=theirs", "--choose", "yours").code == 0
    assert conflicted.read_text() == YOURS.replace("Plan B", "Plan A")


def test_a_value_is_taken_as_it_was_typed(conflicted: Path, plait: Plait) -> None:
    assert plait("resolve", "file.json", "--value", "/budget=9.90", "--value", '/title="Both"').code == 0
    assert conflicted.read_text() == BASE.replace("1.50", "9.90").replace("Plan", "Both")


def test_what_is_open_can_be_had_as_data_without_deciding(conflicted: Path, plait: Plait) -> None:
    before = conflicted.read_text()
    answer = plait("resolve", "file.json", "--json")
    assert answer.code == 1
    assert [conflict["pointer"] for conflict in answer.json["open"]] == ["/budget", "/title"]
    assert conflicted.read_text() == before


def test_both_is_taken_where_it_has_a_meaning(folder: Path, plait: Plait, write: Write) -> None:
    """Two whole new objects whose parts do not meet."""
    write(
        base='{"a": {"k": [1]}, "b": 1}',
        theirs='{"a": {"k": [1], "x": 1}, "b": 2}',
        file='{"a": {"k": [1], "y": 1}, "b": 3}',
    )
    assert plait("merge", "base.json", "theirs.json", "file.json").code == 1
    answer = plait("resolve", "file.json", "--choose", "/b=both")
    assert answer.code == 2
    assert "theirs, yours, base, value" in answer.err
    assert plait("resolve", "file.json", "--choose", "both").code == 1
    assert has_conflicts(folder / "file.json")


def test_edits_made_since_the_merge_stay(conflicted: Path, plait: Plait) -> None:
    conflicted.write_text(conflicted.read_text().replace('"x": 1', '"x": 5'))
    assert plait("resolve", "file.json", "--choose", "theirs").code == 0
    assert conflicted.read_text() == THEIRS.replace('"x": 1', '"x": 5')


def test_an_edit_of_what_is_chosen_is_not_overwritten(conflicted: Path, plait: Plait) -> None:
    edited = conflicted.read_text().replace("Plan B", "Plan C")
    conflicted.write_text(edited)
    answer = plait("resolve", "file.json", "--choose", "/title=theirs")
    assert answer.code == 2
    assert "edited since the merge" in answer.err
    assert "/title" in answer.err
    assert conflicted.read_text() == edited
    assert has_conflicts(conflicted)
    assert plait("resolve", "file.json", "--choose", "/title=yours").code == 1
    assert conflicted.read_text() == edited


def test_a_conflict_as_deep_as_a_file_may_be_is_settled(folder: Path, plait: Plait, write: Write) -> None:
    def deep(value: int) -> str:
        return "[" * 64 + f"{value}" + "]" * 64

    write(base=deep(1), theirs=deep(2), file="{}")
    assert plait("merge", "base.json", "theirs.json", "file.json").code == 1
    assert plait("resolve", "file.json", "--choose", "theirs").code == 0
    assert json.loads((folder / "file.json").read_text()) == json.loads(deep(2))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--choose", "mine"), "theirs, yours, base, both"),
        (("--choose", "/nowhere=yours"), "open is /budget, /title"),
        (("--choose", "/title=both"), "both has no meaning"),
        (("--value", "/title=Plan"), "the value:1:1: expecting value"),
        (("--value", "/nowhere=1"), "no conflict is open at '/nowhere'"),
        (("--value", "/title="), "there is none"),
    ],
)
def test_misuse_is_told_in_one_line_and_changes_nothing(
    arguments: tuple[str, ...], told: str, conflicted: Path, plait: Plait
) -> None:
    before = conflicted.read_text()
    answer = plait("resolve", "file.json", *arguments)
    assert answer.code == 2
    assert told in answer.err
    assert len(answer.err.splitlines()) == 1
    assert conflicted.read_text() == before
    assert has_conflicts(conflicted)


def test_a_file_without_conflicts_or_with_somebody_elses_is_refused(plait: Plait, write: Write) -> None:
    write(file="{}")
    assert "no conflicts to settle" in plait("resolve", "file.json").err
    for text in ("[]", "{}", '{"plait": "conflict"}', '{"plait": "conflict", "base": {"name": 1}}', "1"):
        Path("file.json.conflict.json").write_text(text)
        answer = plait("resolve", "file.json")
        assert answer.code == 2, text
        assert "not written by plait merge" in answer.err


def test_rules_that_nobody_knows_are_refused(conflicted: Path, plait: Plait) -> None:
    path = Path("file.json.conflict.json")
    path.write_text(path.read_text().replace('"rules": null', '"rules": {"a": 1}'))
    answer = plait("resolve", "file.json", "--choose", "theirs")
    assert answer.code == 2
    assert answer.err.startswith("plait: file.json.conflict.json: ")
    assert len(answer.err.splitlines()) == 1


def test_answers_are_asked_for_one_by_one(conflicted: Path) -> None:
    """The beginning of a word will do, and the end of the input leaves the rest open."""
    answer = program(conflicted.parent, "resolve", "file.json", stdin="nonsense\nthe\n")
    assert answer.code == 1
    assert "2 fields in file.json need your choice" in answer.err
    assert "You and the other side changed it differently." in answer.err
    assert conflicted.read_text() == YOURS.replace("3.50", "2.50")
    answer = program(conflicted.parent, "resolve", "file.json", stdin="edit\nBoth of them\n")
    assert answer.code == 0
    assert conflicted.read_text() == THEIRS.replace("Plan A", "Both of them")


def test_it_works_on_a_terminal(conflicted: Path) -> None:
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    command = [str(PROGRAM), "resolve", "file.json"]
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=environment)
    os.close(end)
    os.write(terminal, b"yours\nthe other\n")
    assert process.wait(30) == 0
    os.close(terminal)
    assert conflicted.read_text() == YOURS.replace("Plan B", "Plan A")


@st.composite
def resolutions(draw: st.DrawFn) -> tuple[Versions, dict[str, Decision], bool]:
    """Three versions in conflict, a choice for each or some, and whether the file was laid out anew since."""
    versions = Versions(*(written(draw(documents.flatmap(texts))) for _ in range(3)))
    outcome = versions.merge()
    decisions: dict[str, Decision] = {}
    for conflict in outcome.conflicts if isinstance(outcome, Conflicted) else ():
        side = draw(st.sampled_from([*offers(conflict), None]))
        if side is not None:
            decisions[conflict.id] = Decision.to("[1.50]") if side == "value" else Decision(side)  # type: ignore[arg-type]
    return versions, decisions, draw(st.booleans())


@given(resolutions())
def test_any_choices_come_to_what_the_engine_says(drawn: tuple[Versions, dict[str, Decision], bool]) -> None:
    versions, decisions, anew = drawn
    outcome = versions.merge()
    if not isinstance(outcome, Conflicted):
        return
    left = versions.text(settled(versions, outcome, {}))
    file = written(json.dumps(json.loads(left), indent=3) if anew and left else left)
    text = Resolution(ConflictFile(Path("f"), versions), outcome, file).text(decisions)
    choices = {c.id: decisions[c.id].choice if c.id in decisions else "yours" for c in outcome.conflicts}
    theirs = versions.theirs.value
    assert same(json.loads(text) if text else ABSENT, apply(theirs, resolve(theirs, outcome, choices)))
