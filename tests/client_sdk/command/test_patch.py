"""`plait patch`: a patch on a file, and back."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from client_sdk.command.answer import program
from client_sdk.command.conftest import Plait

Write = Callable[..., None]

FILE = '{\n    "price": 1.50,\n    "tags": ["a", "b"]\n}\n'
PATCH = '[{"op": "add", "path": "/tags/0", "value": 2.50}, {"op": "remove", "path": "/price"}]'


@pytest.fixture(autouse=True)
def files(write: Write) -> None:
    write(file=FILE, patch=PATCH)


def test_a_patch_changes_what_it_names_and_nothing_else(folder: Path, plait: Plait) -> None:
    answer = plait("patch", "file.json", "patch.json")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert (folder / "file.json").read_text() == '{\n    "tags": [2.50, "a", "b"]\n}\n'


def test_the_result_can_go_elsewhere(folder: Path, plait: Plait) -> None:
    after = '{\n    "tags": [2.50, "a", "b"]\n}\n'
    assert plait("patch", "file.json", "patch.json", "-o", "-").out == after
    assert plait("patch", "file.json", "patch.json", "-o", "new.json").code == 0
    assert (folder / "new.json").read_text() == after
    assert (folder / "file.json").read_text() == FILE


def test_a_dry_run_shows_the_changes_and_writes_nothing(folder: Path, plait: Plait) -> None:
    answer = plait("patch", "file.json", "patch.json", "--dry-run", "--undo", "undo.json")
    assert answer.code == 0
    assert answer.out == "- /price  1.5\n+ /tags/0  2.5\n"
    data = plait("patch", "file.json", "patch.json", "--dry-run", "--json").json
    assert [change["change"] for change in data] == ["removed", "added"]
    assert (folder / "file.json").read_text() == FILE
    assert not (folder / "undo.json").exists()


def test_a_patch_can_be_taken_back(folder: Path, plait: Plait) -> None:
    assert plait("patch", "file.json", "patch.json", "--undo", "undo.json").code == 0
    assert plait("patch", "file.json", "undo.json").code == 0
    assert (folder / "file.json").read_text() == '{\n    "tags": ["a", "b"],\n    "price": 1.50\n}\n'


def test_a_merge_patch_is_applied(folder: Path, plait: Plait, write: Write) -> None:
    write(patch='{"price": null, "size": {"x": 1e5}}')
    assert plait("patch", "file.json", "patch.json", "--merge-patch").code == 0
    assert (folder / "file.json").read_text() == (
        '{\n    "tags": ["a", "b"],\n    "size": {\n        "x": 1e5\n    }\n}\n'
    )


def test_a_difference_is_a_patch(folder: Path, plait: Plait, write: Write) -> None:
    write(new='{"price": 1.75, "tags": ["b"], "n": null}')
    write(patch=plait("diff", "file.json", "new.json", "--patch").out)
    assert plait("patch", "file.json", "patch.json").code == 0
    assert (folder / "file.json").read_text() == FILE.replace("1.50", "1.75").replace(
        '["a", "b"]', '["b"],\n    "n": null'
    )


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ('[{"op": "remove", "path": "/nix"}]', "operation 0 of the patch, at /nix: there is no such member"),
        ('[{"op": "test", "path": "/price", "value": 1}]', "the value tested is another one, found 1.5"),
        ('[{"op": "add", "path": "/tags/7", "value": 1}]', "there is no such place in the array"),
        ('[{"op": "move", "from": "/tags", "path": "/tags/x"}]', "into itself"),
    ],
)
def test_a_patch_that_does_not_fit_is_1_and_changes_nothing(
    patch: str, told: str, folder: Path, plait: Plait, write: Write
) -> None:
    write(patch=patch)
    answer = plait("patch", "file.json", "patch.json", "--json")
    assert answer.code == 1
    assert told in answer.err
    assert answer.json["outcome"] == "inapplicable"
    assert (folder / "file.json").read_text() == FILE


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ("{}", "patch.json is no patch: a patch is an array of operations"),
        ('[{"op": "paint", "path": ""}]', "operation 0: 'paint' is no operation"),
        ('[{"op": "add", "path": "a", "value": 1}]', 'does not start with "/"'),
        ("[", "patch.json:1:2: expecting value"),
        ("", "patch.json is empty"),
    ],
)
def test_what_is_no_patch_is_2(patch: str, told: str, plait: Plait, write: Write) -> None:
    write(patch=patch)
    answer = plait("patch", "file.json", "patch.json")
    assert answer.code == 2
    assert told in answer.err


def test_a_file_nobody_may_write_is_told(folder: Path, plait: Plait) -> None:
    answer = plait("patch", "file.json", "patch.json", "-o", "missing/file.json")
    assert answer.code == 2
    assert "missing/file.json" in answer.err


def test_both_ends_may_be_pipes(folder: Path) -> None:
    answer = program(folder, "patch", "-", "patch.json", stdin=FILE)
    assert (answer.code, json.loads(answer.out)) == (0, {"tags": [2.5, "a", "b"]})
    assert program(folder, "patch", "file.json", "-", stdin=PATCH).code == 0
    assert program(folder, "patch", "-", "-").code == 2


def test_two_answers_want_two_places(folder: Path, plait: Plait, write: Write) -> None:
    write(file="{}", patch='[{"op": "add", "path": "/a", "value": 1}]')
    for options in (("--undo", "./file.json"), ("--undo", "-", "--json"), ("--undo", "-", "-o", "-")):
        answer = plait("patch", "file.json", "patch.json", *options)
        assert (answer.code, answer.out) == (2, "")
        assert "both want" in answer.err
    assert (folder / "file.json").read_text() == "{}"
    assert plait("patch", "file.json", "patch.json", "--undo", "-").json == [{"op": "remove", "path": "/a"}]


def test_copies_of_copies_are_refused_before_they_fill_the_machine(folder: Path, plait: Plait) -> None:
    operations = []
    for depth in range(40):
        source, place = "/x" if depth == 0 else f"/{depth - 1}", f"/{depth}"
        operations.append({"op": "add", "path": place, "value": []})
        operations += [{"op": "copy", "from": source, "path": f"{place}/-"}] * 2
    Path("file.json").write_text('{"x": 1}')
    Path("patch.json").write_text(json.dumps(operations))
    answer = plait("patch", "file.json", "patch.json")
    assert answer.code == 2
    assert "copied" in answer.err
    assert Path("file.json").read_text() == '{"x": 1}'
