"""`plait merge` of notebooks, `--notebook`: two runs of one cell, and what stays somebody's to settle."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from client_sdk.command.conftest import Plait

Write = Callable[..., None]
MERGE = ("merge", "base.json", "theirs.json", "yours.json")


def notebook(source: str, count: int | None, output: str) -> str:
    outputs = [{"output_type": "stream", "name": "stdout", "text": [output]}]
    cell: dict[str, Any] = {"cell_type": "code", "id": "a", "metadata": {}, "source": [source]}
    cell |= {"execution_count": count, "outputs": outputs}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def cell(folder: Path) -> dict[str, Any]:
    merged: dict[str, Any] = json.loads((folder / "yours.json").read_text())["cells"][0]
    return merged


def test_of_two_runs_of_a_cell_theirs_is_taken(folder: Path, plait: Plait, write: Write) -> None:
    write(base=notebook("f()", 1, "a"), theirs=notebook("f()", 2, "b"), yours=notebook("f()", 3, "c"))
    assert plait(*MERGE).code == 1
    write(yours=notebook("f()", 3, "c"))
    assert plait(*MERGE, "--notebook").code == 0
    assert (cell(folder)["execution_count"], cell(folder)["outputs"][0]["text"]) == (2, ["b"])


def test_two_sources_of_a_cell_are_somebodys_to_settle(folder: Path, plait: Plait, write: Write) -> None:
    write(base=notebook("f()", 1, "a"), theirs=notebook("g()", 2, "b"), yours=notebook("h()", 3, "c"))
    assert plait(*MERGE, "--notebook").code == 1
    assert cell(folder)["source"] == ["h()"]


def test_a_key_is_one_more_rule_of_notebooks(folder: Path, plait: Plait, write: Write) -> None:
    """With it counters are decided as without it."""
    write(base=notebook("f()", 1, "a"), theirs=notebook("f()", 2, "a"), yours=notebook("f()", 3, "a"))
    for options in ((), ("--key", "id")):
        write(yours=notebook("f()", 3, "a"))
        assert plait(*MERGE, *options).code == 0
        assert cell(folder)["execution_count"] == 3


def test_what_was_typed_where_a_choice_goes_is_refused(folder: Path, plait: Plait, write: Write) -> None:
    """No rule of notebooks decides between the two."""
    write(base=notebook("f()", 3, "a"), theirs=notebook("f()", None, "a"), yours=notebook("f()", 5, "a"))
    assert plait(*MERGE).code == 1
    write(yours=(folder / "yours.json").read_text().replace('"execution_count": 5', '"execution_count": 7'))
    assert plait("resolve", "yours.json", "--choose", "base").code == 2
    assert cell(folder)["execution_count"] == 7


def test_what_is_no_notebook_is_merged_as_ever(folder: Path, plait: Plait, write: Write) -> None:
    write(base='{"outputs": 1}', theirs='{"outputs": 2}', yours='{"outputs": 3}')
    assert plait(*MERGE, "--notebook").code == 1


def test_a_policy_and_the_one_for_notebooks_do_not_go_together(
    folder: Path, plait: Plait, write: Write
) -> None:
    write(base="{}", theirs="{}", yours="{}", policy="{}")
    said = plait(*MERGE, "--notebook", "--policy", "policy.json")
    assert said.code == 2
    assert "--policy" in said.err
