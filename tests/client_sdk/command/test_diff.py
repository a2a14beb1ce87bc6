"""`plait diff`: what people read, what programs read, and the exit codes people know from diff."""

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given

from client_sdk.command.answer import PROGRAM, program
from client_sdk.command.conftest import Plait
from client_sdk.command.texts import texts, written
from merge.strategies import documents
from plait_client.command.diff import patch_text
from plait_client.command.difference import changes
from plait_merge import ABSENT, Json, apply, diff, parse_pointer, same

Write = Callable[..., None]

ROWS = [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}, {"id": 3, "v": "c"}]
A = {"title": "Plan", "n": 1, "gone": [1], "rows": ROWS, "cells": [{"id": 1, "kind": "x", "v": "b"}]}
B = {
    "title": "Plan B",
    "n": True,
    "rows": [ROWS[2], ROWS[0], ROWS[1], 4],
    "cells": [0, {"id": 1, "kind": "x", "v": "z"}],
}


@pytest.fixture(autouse=True)
def files(write: Write) -> None:
    write(a=json.dumps(A), b=json.dumps(B, indent=2))


def test_each_change_is_a_line_with_a_sign_and_a_pointer(plait: Plait) -> None:
    answer = plait("diff", "a.json", "b.json")
    assert answer.code == 1
    assert answer.out.splitlines() == [
        "- /gone  [1]",
        '~ /title  "Plan" -> "Plan B"',
        "~ /n  1 -> true",
        "> /rows/2 -> /rows/0",
        "+ /rows/3  4",
        "+ /cells/0  0",
        '~ /cells/1/v  "b" -> "z"',
    ]
    assert answer.err == ""


def test_layout_order_and_spelling_are_no_difference(plait: Plait, write: Write) -> None:
    write(a='{"a": 1, "b": 1e2}', b='{\n "b": 100.0,\n "a": 1.0\n}')
    for option in ((), ("--patch",), ("--json",), ("--stat",), ("--words",)):
        assert plait("diff", "a.json", "b.json", *option).code == 0
    assert plait("diff", "a.json", "b.json").out == ""
    assert plait("diff", "a.json", "b.json", "--patch").json == []


def test_changed_words_are_marked(plait: Plait, write: Write) -> None:
    write(a='{"t": "The quick brown fox."}', b='{"t": "The slow brown fox!"}')
    answer = plait("diff", "a.json", "b.json", "--words")
    assert answer.out == "~ /t  The [-quick -]{+slow +}brown fox[-.-]{+!+}\n"


def test_changes_are_counted(plait: Plait) -> None:
    assert plait("diff", "a.json", "b.json", "--stat").out.splitlines() == [
        " /gone   1 removed",
        " /title  1 changed",
        " /n      1 changed",
        " /rows   1 added, 1 moved",
        " /cells  1 changed, 1 added",
        " 3 changed, 2 added, 1 removed, 1 moved",
    ]


def test_changes_can_be_had_as_data(plait: Plait) -> None:
    first, *_, last = plait("diff", "a.json", "b.json", "--json").json
    assert first == {"change": "removed", "before": {"pointer": "/gone", "value": [1]}}
    assert last == {
        "change": "changed",
        "before": {"pointer": "/cells/0/v", "value": "b"},
        "after": {"pointer": "/cells/1/v", "value": "z"},
    }


def test_a_patch_leads_from_one_to_the_other(plait: Plait) -> None:
    answer = plait("diff", "a.json", "b.json", "--patch")
    assert answer.code == 1
    assert same(apply(A, answer.json), B)
    assert len(answer.out.splitlines()) == len(answer.json) + 2


def test_what_does_not_fit_a_line_is_told_in_two(plait: Plait, write: Write) -> None:
    write(a=json.dumps({"t": "a" * 90}), b=json.dumps({"t": "b" * 90}))
    assert plait("diff", "a.json", "b.json").out.splitlines() == [
        "~ /t",
        f'    - "{"a" * 90}"',
        f'    + "{"b" * 90}"',
    ]


def test_the_whole_document_has_a_name(plait: Plait, write: Write) -> None:
    write(a="1", b="[]", empty="")
    assert plait("diff", "a.json", "b.json").out == "~ (the whole document)  1 -> []\n"
    assert plait("diff", "empty.json", "b.json").out == "+ (the whole document)  []\n"
    assert plait("diff", "a.json", "empty.json", "--stat").code == 1


def test_colours_are_for_terminals_and_on_demand(plait: Plait, folder: Path) -> None:
    assert "\x1b" not in plait("diff", "a.json", "b.json").out
    assert "\x1b[33m~\x1b[0m" in plait("diff", "a.json", "b.json", "--color", "always").out


def test_nothing_out_of_a_file_moves_the_cursor(plait: Plait, write: Write) -> None:
    name = "\\u001b[2J\\u202e\\u009b"
    write(a="{}", b=f'{{"{name}": "{name}"}}')
    for option in ((), ("--stat",), ("--words",)):
        assert plait("diff", "a.json", "b.json", *option).out.replace("\n", "").isprintable()


def test_data_on_a_terminal_is_the_same_with_escapes(folder: Path, write: Write) -> None:
    """Control characters beyond ASCII may stand in JSON as they are."""
    write(a="[]", b='["\x9b31m", "\U000e0001", "é"]')
    terminal, end = pty.openpty()
    command = [str(PROGRAM), "diff", "--patch", "a.json", "b.json"]
    assert subprocess.run(command, stdout=end, timeout=60, check=False).returncode == 1
    os.close(end)
    told = os.read(terminal, 10_000).decode()
    os.close(terminal)
    assert "\x9b" not in told
    assert [part["value"] for part in json.loads(told)] == ["\x9b31m", "\U000e0001", "é"]


def test_streams_that_are_closed_are_empty(folder: Path, write: Write) -> None:
    write(a="1", b="2")
    shell = ["sh", "-c", f"'{PROGRAM}' diff a.json b.json >&-; echo $?; '{PROGRAM}' diff - b.json <&-"]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "1\n+ (the whole document)  2\n", "")


def test_a_full_disk_is_told(folder: Path, write: Write) -> None:
    write(a="1", b="2")
    with open("/dev/full", "w") as full:
        command = [str(PROGRAM), "diff", "a.json", "b.json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, b"plait: No space left on device\n")


def test_one_side_may_be_standard_input(folder: Path) -> None:
    answer = program(folder, "diff", "-", "b.json", "--patch", stdin=json.dumps(A))
    assert answer.code == 1
    assert same(apply(A, answer.json), B)
    assert program(folder, "diff", "-", "-").code == 2


def test_what_is_written_is_utf_8_whatever_the_terminal_says(folder: Path, write: Write) -> None:
    write(a='["é"]', b='["日本"]')
    answer = program(folder, "diff", "a.json", "b.json", "--json", PYTHONIOENCODING="latin-1")
    assert answer.json[0]["after"]["value"] == "日本"


def test_trouble_is_2(plait: Plait, write: Write) -> None:
    write(b="{")
    answer = plait("diff", "a.json", "b.json")
    assert (answer.code, answer.out) == (2, "")
    assert "b.json:1:2: " in answer.err


def test_a_reader_that_has_seen_enough_is_no_error(folder: Path, write: Write) -> None:
    write(a="[]", b=json.dumps(list(range(50_000)), indent=0))
    pipe = f"{PROGRAM} diff --json a.json b.json | head -1"
    done = subprocess.run(pipe, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


@example([{"a": 0}, {"a": 1, "b": 0}], [{"a": 1}, {"a": 0}])
@given(documents, documents)
def test_every_side_of_a_change_is_a_place_in_its_document(before: Json, after: Json) -> None:
    found = changes(before, after)
    assert bool(found) == (not same(before, after))
    for change in found:
        for side, document in ((change.before, before), (change.after, after)):
            if side is not None:
                assert same(_at(document, side.pointer), side.value)


def _at(value: Json, pointer: str) -> Json:
    for token in parse_pointer(pointer):
        value = value[token] if isinstance(value, dict) else value[int(token)]
    return value


@given(documents.flatmap(texts), documents.flatmap(texts))
def test_a_patch_in_text_is_the_patch_with_values_spelled_as_in_the_file(before: str, after: str) -> None:
    a, b = written(before), written(after)
    patch = diff(a.value, b.value)
    assert same(json.loads(patch_text(patch, b)), patch)
    assert patch_text([{"op": "add", "path": "", "value": b.value}], b)


def test_a_patch_keeps_spellings() -> None:
    b = written('{"price": 1.50, "n": [1e5]}')
    assert '"value": 1.50}' in patch_text(diff({}, b.value), b)
    assert '"value": [1e5]}' in patch_text(diff({}, b.value), b)


def test_an_absent_document_is_a_side_like_any_other() -> None:
    assert [change.kind for change in changes(ABSENT, {"a": 1})] == ["added"]
    assert [change.kind for change in changes({"a": 1}, ABSENT)] == ["removed"]
    assert changes(ABSENT, ABSENT) == []
