"""`plait diff`: what people read, what programs read, and the exit codes people know from diff."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_sdk.command.answer import program
from client_sdk.command.conftest import Plait
from client_sdk.command.texts import texts, written
from merge.strategies import documents
from plait_client.command.diff import patch_text
from plait_client.command.difference import changes
from plait_client.command.words import word_changes
from plait_merge import ABSENT, Json, apply, diff, parse_pointer, same

Write = Callable[..., None]

A = {"title": "Plan", "n": 1, "gone": [1], "rows": [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}, {"id": 3, "v": "c"}]}
B = {"title": "Plan B", "n": True, "rows": [{"id": 3, "v": "c"}, {"id": 1, "v": "a"}, {"id": 2, "v": "x"}, 4]}


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
        '~ /rows/2/v  "b" -> "x"',
        "+ /rows/3  4",
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
    assert answer.out == "~ /t  The [-quick-]{+slow+} brown fox[-.-]{+!+}\n"


def test_changes_are_counted(plait: Plait) -> None:
    assert plait("diff", "a.json", "b.json", "--stat").out.splitlines() == [
        " /gone   1 removed",
        " /title  1 changed",
        " /n      1 changed",
        " /rows   1 changed, 1 added, 1 moved",
        " 3 changed, 1 added, 1 removed, 1 moved",
    ]


def test_changes_can_be_had_as_data(plait: Plait) -> None:
    first, *_, last = plait("diff", "a.json", "b.json", "--json").json
    assert first == {"change": "removed", "before": {"pointer": "/gone", "value": [1]}}
    assert last == {"change": "added", "after": {"pointer": "/rows/3", "value": 4}}


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


def test_one_side_may_be_standard_input(folder: Path) -> None:
    answer = program(folder, "diff", "-", "b.json", "--patch", stdin=json.dumps(A))
    assert answer.code == 1
    assert same(apply(A, answer.json), B)
    assert program(folder, "diff", "-", "-").code == 2


def test_trouble_is_2(plait: Plait, write: Write) -> None:
    write(b="{")
    answer = plait("diff", "a.json", "b.json")
    assert (answer.code, answer.out) == (2, "")
    assert "b.json:1:2: " in answer.err


def test_a_reader_that_has_seen_enough_is_no_error(folder: Path, write: Write) -> None:
    import subprocess

    from client_sdk.command.answer import PROGRAM

    write(a="[]", b=json.dumps(list(range(100_000)), indent=0))
    done = subprocess.run(
        f"{PROGRAM} diff --json a.json b.json | head -1", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


@given(documents, documents)
def test_every_side_of_a_change_is_a_place_in_its_document(before: Json, after: Json) -> None:
    found = changes(before, after)
    assert bool(found) == (not same(before, after))
    for change in found:
        for side, document in ((change.before, before), (change.after, after)):
            if side is not None and not (change.kind == "moved" and side is change.before):
                assert same(_at(document, side.pointer), side.value)


@given(documents, documents)
def test_places_that_no_change_is_at_or_inside_are_the_same(before: Json, after: Json) -> None:
    """Counted by leaves: what is new or different in the second document is under some change."""
    touched = [change.after.tokens for change in changes(before, after) if change.after is not None]
    if any(isinstance(part, list) for part in (before, after)):
        return
    for tokens, value in _leaves(after, ()):
        if not any(tokens[: len(place)] == place for place in touched) and "list" not in _kinds(after, tokens):
            assert same(_at(before, "".join(f"/{token}" for token in tokens)), value)


def _at(value: Json, pointer: str) -> Json:
    for token in parse_pointer(pointer):
        value = value[token] if isinstance(value, dict) else value[int(token)]
    return value


def _kinds(value: Json, tokens: tuple[str, ...]) -> list[str]:
    kinds = []
    for token in tokens:
        kinds.append(type(value).__name__)
        value = value[token] if isinstance(value, dict) else value[int(token)]
    return kinds


def _leaves(value: Json, tokens: tuple[str, ...]) -> list[tuple[tuple[str, ...], Json]]:
    if not isinstance(value, dict | list) or not value:
        return [(tokens, value)]
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return [leaf for token, part in parts for leaf in _leaves(part, (*tokens, str(token)))]


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


@given(st.text(), st.text())
def test_words_put_together_are_both_texts(before: str, after: str) -> None:
    parts = word_changes(before, after)
    assert "".join(text for kind, text in parts if kind != "added") == before
    assert "".join(text for kind, text in parts if kind != "removed") == after


def test_an_absent_document_is_a_side_like_any_other() -> None:
    assert [change.kind for change in changes(ABSENT, {"a": 1})] == ["added"]
    assert [change.kind for change in changes({"a": 1}, ABSENT)] == ["removed"]
    assert changes(ABSENT, ABSENT) == []
