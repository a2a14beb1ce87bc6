"""Notebooks: cells are known by what people wrote in them, sources are texts, and runs are no edits."""

from __future__ import annotations

from typing import Any

from plait_merge import NOTEBOOK, NOTEBOOK_DEFAULT, Conflicted, Json, Merged, Policy, is_notebook, merge


def code(source: str, run: int, output: str, **metadata: Json) -> Json:
    """A cell whose output has more lines than its source."""
    text = [f"{output} {line}\n" for line in range(9)]
    return {
        "cell_type": "code",
        "execution_count": run,
        "metadata": metadata,
        "outputs": [{"name": "stdout", "output_type": "stream", "text": text}] if output else [],
        "source": source.splitlines(keepends=True),
    }


def notebook(*cells: Json, version: str = "3.10.1", kernel: str = "python3") -> Any:
    metadata = {"kernelspec": {"name": kernel}, "language_info": {"name": "python", "version": version}}
    return {"cells": [*cells], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


SOURCE = "import sums\nfor n in range(9):\n    print(sums.up(n))\n"
EDITED = SOURCE.replace("sums.up", "sums.down")


def test_a_cell_that_was_run_again_is_still_that_cell() -> None:
    """However much of it is new output: the other side's edit of its source finds it."""
    base = notebook(code(SOURCE, 1, "old", at="1"))
    theirs, yours = notebook(code(EDITED, 1, "old", at="1")), notebook(code(SOURCE, 7, "new", at="2"))
    for one, other in ((theirs, yours), (yours, theirs)):
        outcome = merge(base, one, other)
        assert isinstance(outcome, Merged), outcome
        assert outcome.value == notebook(code(EDITED, 7, "new", at="2"))


def test_what_two_people_wrote_into_one_cell_merges_unless_it_touches() -> None:
    base = notebook(code(SOURCE, 1, ""))
    theirs, yours = SOURCE.replace("sums\n", "sums, sys\n"), EDITED
    outcome = merge(base, notebook(code(theirs, 1, "")), notebook(code(yours, 1, "")))
    assert isinstance(outcome, Merged), outcome
    assert outcome.value == notebook(code(theirs.replace("sums.up", "sums.down"), 1, ""))
    for one, other in (
        (theirs, SOURCE.replace("sums\n", "sums\nimport sys\n")),
        (SOURCE + "1", SOURCE + "2"),
    ):
        touching = merge(base, notebook(code(one, 1, "")), notebook(code(other, 1, "")))
        assert isinstance(touching, Conflicted), touching
        assert [(c.kind, c.pointer) for c in touching.conflicts] == [("text", "/cells/0/source")]


def test_a_source_may_be_one_string() -> None:
    base, theirs, yours = (
        notebook({**code("", 1, ""), "source": source}) for source in ("a\nb\nc\n", "A\nb\nc\n", "a\nb\nC\n")
    )
    outcome = merge(base, theirs, yours)
    assert isinstance(outcome, Merged), outcome
    assert outcome.value == notebook({**code("", 1, ""), "source": "A\nb\nC\n"})


def test_of_two_runs_that_differ_in_versions_only_the_newer_one_counts() -> None:
    """Counters and versions are nobody's decision; outputs that differ in more are left to somebody."""
    base = notebook(code(SOURCE, 1, "sums 0.3.7"), version="3.6.1")
    theirs = notebook(code(SOURCE, 8, "sums 0.4.8"), version="3.6.4")
    yours = notebook(code(SOURCE, 5, "sums 0.4.10"), version="3.6.3")
    outcome = merge(base, theirs, yours)
    assert isinstance(outcome, Merged), outcome
    assert outcome.value == notebook(code(SOURCE, 8, "sums 0.4.10"), version="3.6.4")
    assert {note.note for note in outcome.notes} >= {"max", "newest"}


def test_a_policy_takes_the_place_of_what_holds_for_notebooks() -> None:
    base, theirs, yours = (notebook(code(SOURCE, run, "")) for run in (1, 2, 3))
    assert isinstance(merge(base, theirs, yours), Merged)
    assert isinstance(merge(base, theirs, yours, Policy()), Conflicted)
    assert isinstance(merge({"nb": base}, {"nb": theirs}, {"nb": yours}), Conflicted)


def test_two_runs_of_a_cell_conflict_unless_runs_are_left_to_one_side() -> None:
    base = notebook(code(SOURCE, 1, "old"), code("x = 1", 2, ""))
    theirs = notebook(code(SOURCE, 5, "theirs"), code("x = 1", 6, ""), version="3.11.2")
    yours = notebook(code(SOURCE, 3, "yours"), code("x = 2", 4, ""), version="3.12.3")
    assert isinstance(merge(base, theirs, yours), Conflicted)
    outcome = merge(base, theirs, yours, NOTEBOOK)
    assert isinstance(outcome, Merged), outcome
    expected = notebook(code(SOURCE, 5, "theirs"), code("x = 2", 6, ""), version="3.11.2")
    assert outcome.value == expected


def test_what_only_one_side_ran_is_kept() -> None:
    base = notebook(code(SOURCE, 1, "old"))
    yours = notebook(code(SOURCE, 3, "yours"), version="3.12.3")
    outcome = merge(base, notebook(code(SOURCE, 1, "old"), code("new", 2, "")), yours, NOTEBOOK)
    assert isinstance(outcome, Merged), outcome
    assert outcome.value == notebook(code(SOURCE, 3, "yours"), code("new", 2, ""), version="3.12.3")


def test_outputs_of_two_runs_are_not_mixed() -> None:
    base = notebook(code(SOURCE, 1, "old"))
    theirs, yours = notebook(code(SOURCE, 1, "old")), notebook(code(SOURCE, 1, "old"))
    theirs["cells"][0]["outputs"][0]["text"][0] = "theirs\n"
    yours["cells"][0]["outputs"][0]["text"][8] = "yours\n"
    outcome = merge(base, theirs, yours, NOTEBOOK)
    assert isinstance(outcome, Merged), outcome
    assert outcome.value == theirs


def test_what_people_wrote_in_a_notebook_conflicts_as_ever() -> None:
    base = notebook(code("x = 1", 1, "old"))
    for theirs, yours, pointer in (
        (notebook(code("x = 2", 1, "old")), notebook(code("x = 3", 1, "old")), "/cells/0/source"),
        (
            notebook(*base["cells"], kernel="a"),
            notebook(*base["cells"], kernel="b"),
            "/metadata/kernelspec/name",
        ),
        (notebook(), notebook(code("x = 3", 1, "old")), "/cells/0"),
    ):
        outcome = merge(base, theirs, yours, NOTEBOOK)
        assert isinstance(outcome, Conflicted), outcome
        assert [conflict.pointer for conflict in outcome.conflicts] == [pointer]


def test_a_notebook_is_known_by_its_shape() -> None:
    assert is_notebook(notebook())
    others: list[Json] = [
        {},
        [],
        None,
        {"cells": []},
        {"nbformat": "4", "cells": []},
        {"nbformat": 4, "cells": {}},
    ]
    for other in others:
        assert not is_notebook(other)


def test_the_policy_of_notebooks_can_be_written_down() -> None:
    """And taken as a start for somebody's own."""
    for policy in (NOTEBOOK, NOTEBOOK_DEFAULT):
        assert Policy.read(policy.as_json()) == policy
