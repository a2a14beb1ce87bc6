"""`plait merge` on files: what is written where, and what is said."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_sdk.command.answer import program
from client_sdk.command.conftest import Plait
from client_sdk.command.texts import texts, written
from merge.strategies import documents
from plait_client.command.versions import Versions, settled
from plait_merge import ABSENT, Merged, merge, same

Write = Callable[..., None]

BASE = """\
{
    "name": "x",
    "price": 1.50,
    "sizes": [1, 2.0, 3e5],
    "big": 123456789012345678901234567890
}
"""
MERGE = ("merge", "base.json", "theirs.json", "yours.json")


def yours(folder: Path) -> str:
    return (folder / "yours.json").read_bytes().decode()


def conflict_file(folder: Path) -> Any:
    return json.loads((folder / "yours.json.conflict.json").read_text())


def test_both_sides_are_taken_and_all_else_stays_to_the_byte(
    folder: Path, plait: Plait, write: Write
) -> None:
    write(base=BASE, theirs=BASE.replace("1.50", "2.50"), yours=BASE.replace('"x"', '"y"'))
    assert plait(*MERGE).code == 0
    assert yours(folder) == BASE.replace("1.50", "2.50").replace('"x"', '"y"')
    assert not (folder / "yours.json.conflict.json").exists()


def test_a_conflict_keeps_yours_merges_the_rest_and_leaves_data(
    folder: Path, plait: Plait, write: Write
) -> None:
    theirs = BASE.replace("1.50", "2.50").replace("3e5", "3e5, 4")
    write(base=BASE, theirs=theirs, yours=BASE.replace("1.50", "3.70").replace('"x"', '"y"'))
    answer = plait(*MERGE)
    assert answer.code == 1
    assert answer.out == ""
    assert yours(folder) == BASE.replace("1.50", "3.70").replace('"x"', '"y"').replace("3e5", "3e5, 4")
    data = conflict_file(folder)
    (conflict,) = data["conflicts"]
    assert (conflict["kind"], conflict["pointer"]) == ("edit_edit", "/price")
    assert conflict["theirs"] == {"present": True, "value": 2.5}
    assert [data[side]["name"] for side in ("base", "theirs", "yours")] == list(MERGE[1:])
    assert answer.err.splitlines() == [
        "plait: yours.json: 1 conflict; yours is kept there, the rest is merged",
        "  /price (changed differently by both)",
        "  settle with: plait resolve yours.json",
    ]


def test_what_to_type_next_can_be_typed(folder: Path, plait: Plait, write: Write) -> None:
    write(**{"base": "1", "theirs": "2", "it's mine": "3"})
    answer = plait("merge", "base.json", "theirs.json", "it's mine.json")
    assert shlex.split(answer.err.splitlines()[-1])[-3:] == ["plait", "resolve", "it's mine.json"]


def test_many_conflicts_are_told_in_three_lines(plait: Plait, write: Write) -> None:
    for side in ("base", "theirs", "yours"):
        write(**{side: json.dumps({f"m{n}": f"{side} {n}" for n in range(9)})})
    told = plait(*MERGE).err.splitlines()
    assert len(told) == 3
    assert "9 conflicts" in told[0]
    assert told[1].endswith("6 more")


def test_the_result_can_go_elsewhere(folder: Path, plait: Plait, write: Write) -> None:
    write(base='{"a": 1}', theirs='{"a": 2}', yours='{"a": 1, "b": 1}')
    assert plait(*MERGE, "--output", "merged.json").code == 0
    assert (folder / "merged.json").read_text() == '{"a": 2, "b": 1}'
    assert yours(folder) == '{"a": 1, "b": 1}'
    assert plait(*MERGE, "-o", "-").out == '{"a": 2, "b": 1}'
    write(theirs='{"b": 2}')
    answer = plait(*MERGE, "-o", "-")
    assert answer.code == 1
    assert "resolve" not in answer.err
    assert plait(*MERGE, "-o", "merged.json").code == 1
    assert (folder / "merged.json.conflict.json").exists()
    assert not (folder / "yours.json.conflict.json").exists()


def test_the_outcome_can_be_had_as_data(plait: Plait, write: Write) -> None:
    write(base='{"a": 1}', theirs='{"a": 2}', yours='{"a": 1, "b": 1}')
    assert plait(*MERGE, "--json").json == {"outcome": "merged", "file": "yours.json", "notes": []}
    write(base='{"a": 1}', theirs='{"a": 2}', yours='{"a": 3}')
    outcome = plait(*MERGE, "--json").json
    assert outcome["outcome"] == "conflict"
    assert [conflict["pointer"] for conflict in outcome["conflicts"]] == ["/a"]


def test_both_sides_may_have_added_the_file(folder: Path, plait: Plait, write: Write) -> None:
    write(base="", theirs='{"a": 1, "b": 2}\n', yours='{"c": 3}\n')
    assert plait(*MERGE).code == 0
    assert yours(folder) == '{"a": 1, "b": 2, "c": 3}\n'
    write(base="", theirs='{"a": 1}\n', yours='{"a": 2}\n')
    assert plait(*MERGE).code == 1
    assert yours(folder) == '{"a": 2}\n'


def test_a_file_emptied_by_one_side_is_empty_unless_the_other_changed_it(
    folder: Path, plait: Plait, write: Write
) -> None:
    write(base="[1]\n", theirs="", yours="[1]\n")
    assert plait(*MERGE).code == 0
    assert yours(folder) == ""
    write(base="[1]\n", theirs="", yours="[1, 2]\n")
    assert plait(*MERGE).code == 1
    assert yours(folder) == "[1, 2]\n"


def test_a_notebook_keeps_its_looks(folder: Path, plait: Plait) -> None:
    """One space of indentation, raw characters, a final newline, and the cells both sides touched."""

    def notebook(*cells: tuple[str, str]) -> str:
        listed: list[dict[str, Any]] = [
            {"cell_type": "code", "execution_count": None, "id": name, "metadata": {}, "outputs": [],
             "source": [source]}
            for name, source in cells
        ]  # fmt: skip
        value = {"cells": listed, "metadata": {"title": "Übung"}, "nbformat": 4, "nbformat_minor": 5}
        return json.dumps(value, indent=1, ensure_ascii=False) + "\n"

    sides = {
        "base": notebook(("aa", "x = 1"), ("bb", "y = 1")),
        "theirs": notebook(("aa", "x = 2"), ("bb", "y = 1"), ("cc", "z = 1")),
        "yours": notebook(("new", "import os"), ("aa", "x = 1"), ("bb", "y = 2")),
    }
    for side, text in sides.items():
        (folder / f"{side}.ipynb").write_text(text)
    assert plait("merge", "base.ipynb", "theirs.ipynb", "yours.ipynb").code == 0
    merged = notebook(("new", "import os"), ("aa", "x = 2"), ("bb", "y = 2"), ("cc", "z = 1"))
    assert (folder / "yours.ipynb").read_text() == merged


def test_windows_lines_tabs_and_a_byte_order_mark_stay(folder: Path, plait: Plait) -> None:
    base = '\ufeff{\r\n\t"a": 1,\r\n\t"b": {}\r\n}'
    for side, text in {
        "base": base,
        "theirs": base.replace("{}", '{\r\n\t\t"x": 1\r\n\t}'),
        "yours": base.replace("1", "2"),
    }.items():
        (folder / f"{side}.json").write_bytes(text.encode())
    assert plait(*MERGE).code == 0
    assert yours(folder) == base.replace("1", "2").replace("{}", '{\r\n\t\t"x": 1\r\n\t}')


def test_a_layout_that_only_one_side_changed_is_taken(folder: Path, plait: Plait, write: Write) -> None:
    base = {"a": 1, "b": [1, 2]}
    two, four = json.dumps(base, indent=2), json.dumps(base, indent=4)
    write(base=two, theirs=four, yours=two.replace('"a": 1', '"a": 5'))
    assert plait(*MERGE).code == 0
    assert yours(folder) == four.replace('"a": 1', '"a": 5')
    write(base=two, theirs=two.replace('"a": 1', '"a": 5'), yours=four)
    assert plait(*MERGE).code == 0
    assert yours(folder) == four.replace('"a": 1', '"a": 5')


def test_new_members_of_theirs_stand_where_theirs_has_them(folder: Path, plait: Plait, write: Write) -> None:
    base = {"name": "x", "bin": "y", "deps": {"a": 1, "d": 1}}
    theirs = {"name": "x", "new": 0, "bin": "y", "deps": {"a": 1, "c": 1, "d": 1}}
    mine = {"name": "x", "bin": "y", "deps": {"a": 1, "b": 1, "d": 1}, "last": 0}
    write(**{side: json.dumps(value, indent=2) for side, value in
             {"base": base, "theirs": theirs, "yours": mine}.items()})  # fmt: skip
    assert plait(*MERGE).code == 0
    merged = json.loads(yours(folder))
    assert list(merged) == ["name", "new", "bin", "deps", "last"]
    assert list(merged["deps"]) == ["a", "b", "c", "d"]


def test_an_order_that_only_one_side_changed_is_taken(folder: Path, plait: Plait, write: Write) -> None:
    """Also with white space of its own, beside changes of values, and for what only the other side has."""
    base = '{"c": 1, "a": [{"y": 1, "x": 1}],\n "b": 1 }'
    ordered = '{"a": [{"x": 1, "y": 1}], "b": 2, "c": 1}'
    write(base=base, theirs=ordered, yours=base.replace('"b": 1', '"b": 1, "new": 3.0'))
    assert plait(*MERGE).code == 0
    assert yours(folder) == '{"a": [{"x": 1, "y": 1}], "b": 2,\n "new": 3.0, "c": 1 }'
    write(base=base, theirs=base.replace('"b": 1', '"b": 2'), yours=ordered.replace('"b": 2', '"b": 1'))
    assert plait(*MERGE).code == 0
    assert yours(folder) == ordered


def test_what_is_not_json_is_refused_and_nothing_written(folder: Path, plait: Plait, write: Write) -> None:
    write(base="{}", theirs='{"a": 1,\n "a": 2}', yours="{ }")
    answer = plait(*MERGE)
    assert answer.code == 2
    assert answer.err == "plait: theirs.json:2:2: a member name stands twice in one object\n"
    assert yours(folder) == "{ }"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("merge",), "BASE THEIRS YOURS"),
        (("merge", "base.json", "theirs.json"), "BASE THEIRS YOURS"),
        (("merge", "base.json", "missing.json", "yours.json"), "missing.json: No such file"),
        ((*MERGE, "-o", "-", "--json"), "standard output"),
        (("merge", "-", "-", "yours.json"), "standard input"),
        ((*MERGE, "-o", "."), ".: Is a directory"),
        ((*MERGE, "-o", "missing/x.json"), "No such file"),
        ((*MERGE, "--install"), "--install takes no files"),
        (("merge", "--global"), "--global goes with --install"),
    ],
)
def test_misuse_is_told_in_one_line(
    arguments: tuple[str, ...], told: str, folder: Path, plait: Plait, write: Write
) -> None:
    write(base='{"a": 1}', theirs='{"a": 2}', yours='{"a": 3}')
    answer = plait(*arguments)
    assert answer.code == 2
    assert told in answer.err
    assert len(answer.err.splitlines()) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["base.json", "theirs.json", "yours.json"]


def test_a_file_of_somebody_elses_is_not_taken_for_the_conflicts(
    folder: Path, plait: Plait, write: Write
) -> None:
    write(base='{"a": 1}', theirs='{"a": 2}', yours='{"a": 3}')
    own = folder / "yours.json.conflict.json"
    own.write_text('{"mine": true}')
    assert plait(*MERGE).code == 2
    assert own.read_text() == '{"mine": true}'
    write(theirs='{"a": 1}')
    assert plait(*MERGE).code == 0
    assert own.read_text() == '{"mine": true}'


def test_no_link_is_followed_to_write_the_conflicts(folder: Path, plait: Plait, write: Write) -> None:
    """A repository of strangers may hold one to a file that is not there yet, and that a shell would run."""
    write(base='{"a": 1}', theirs='{"a": 2}', yours='{"a": 3}')
    (folder / "yours.json.conflict.json").symlink_to(folder / "profile")
    answer = plait(*MERGE)
    assert answer.code == 2
    assert "symbolic link" in answer.err
    assert not (folder / "profile").exists()


def test_conflicts_are_as_private_as_the_file(folder: Path, plait: Plait, write: Write) -> None:
    write(base='{"a": 1}', theirs='{"a": 2}', yours='{"a": 3}')
    (folder / "yours.json").chmod(0o600)
    assert plait(*MERGE).code == 1
    assert (folder / "yours.json.conflict.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["-y.json", "a b.json", "\n\x1b[31m.json", "\udcff.json"])
def test_any_name_of_a_file_will_do(name: str, folder: Path, write: Write) -> None:
    write(base='{"a": 1}', theirs='{"a": 2}')
    try:
        (folder / name).write_text('{"a": 3}')
    except OSError:
        pytest.skip("not here")
    answer = program(folder, "merge", "--json", "--", "base.json", "theirs.json", name)
    assert answer.code == 1
    assert "\x1b" not in answer.err
    assert answer.json["file"] == name
    typed = "./-y.json" if name == "-y.json" else name
    assert f"plait resolve {shlex.quote(typed)}" in answer.err or not typed.isprintable()
    assert program(folder, "resolve", typed, "--choose", "theirs").code == 0
    assert (folder / name).read_text() == '{"a": 2}'


def test_a_pipe_takes_the_result_and_has_no_conflicts_beside_it(folder: Path, write: Write) -> None:
    write(base='{"a": 1}', theirs='{"a": 2}', yours='{"a": 3}')
    answer = program(folder, *MERGE, "-o", "/dev/stdout")
    assert (answer.code, answer.out) == (1, '{"a": 3}')
    assert "settle" not in answer.err


def test_conflicts_of_an_earlier_merge_go_with_a_clean_one(folder: Path, plait: Plait, write: Write) -> None:
    write(base='{"a": 1}', theirs='{"a": 2}', yours='{"a": 3}')
    assert plait(*MERGE).code == 1
    write(theirs='{"a": 1}')
    assert plait(*MERGE).code == 0
    assert not (folder / "yours.json.conflict.json").exists()


def test_the_real_program_reads_standard_input(folder: Path, write: Write) -> None:
    write(theirs='{"a": 2}', yours='{"a": 1, "b": 1}')
    answer = program(folder, "merge", "-", "theirs.json", "yours.json", "-o", "-", stdin='{"a": 1}')
    assert (answer.code, answer.out, answer.err) == (0, '{"a": 2, "b": 1}', "")


@given(st.tuples(*[st.one_of(documents.flatmap(texts), st.just(""))] * 3))
def test_any_three_files_come_to_what_the_engine_says(sides: tuple[str, str, str]) -> None:
    """The text reads as the merged value; where there are conflicts, as yours with all that is clean."""
    versions = Versions(*map(written, sides))
    outcome = versions.merge()
    value = settled(versions, outcome, {})
    text = versions.text(value)
    assert same(json.loads(text) if text else ABSENT, value)
    again = merge(versions.base.value, versions.theirs.value, versions.yours.value)
    assert isinstance(again, type(outcome))
    assert not isinstance(again, Merged) or same(value, again.value)


@given(documents.flatmap(texts), documents.flatmap(texts))
def test_a_file_only_one_side_touched_is_that_sides_to_the_byte(base: str, changed: str) -> None:
    for versions in (
        Versions(written(base), written(changed), written(base)),
        Versions(written(base), written(base), written(changed)),
    ):
        assert versions.text(settled(versions, versions.merge(), {})) == changed
