"""`plait export`: everything, of one moment, whatever happens meanwhile and however often it breaks off."""

import json
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait_server.data.export import Export, ExportFailed, export
from plait_server.data.incoming import OnExisting
from plait_server.data.line import Refused
from server.data.histories import (
    compact,
    exported,
    file_of,
    findings,
    import_bytes,
    label,
    make_store,
    sql,
)

TABLES = ("documents", "revisions")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "plait.db"
    make_store(path, seed=8, edits=150)
    return path


def write(path: Path, output: Path, resume: bool = False, force: bool = False, **wanted: Any) -> bytes:
    export(path, Export(**wanted), output, resume=resume, force=force)
    return output.read_bytes()


@given(seed=st.integers(0, 10**6), edits=st.integers(0, 60), history=st.booleans())
@settings(max_examples=25, deadline=None)
def test_an_export_imported_is_exported_as_the_same(
    tmp_path_factory: pytest.TempPathFactory, seed: int, edits: int, history: bool
) -> None:
    folder = tmp_path_factory.mktemp("round")
    make_store(folder / "a.db", seed, edits)
    lines = exported(folder / "a.db", history=history)
    import_bytes(folder / "b.db", file_of(lines))
    assert exported(folder / "b.db", history=history) == lines
    assert findings(folder / "b.db") == []


def test_compacted_and_labelled_histories_come_back_as_they_were(path: Path) -> None:
    label(path, "orders", "d1", "first", 1)
    label(path, "orders", "d1", "draft", 4)
    label(path, "orders", "d1", "final", 12)
    compact(path, "orders", "d1", 9)
    compact(path, "stock", "d0", sql(path, "SELECT head FROM documents WHERE id = 'd0'")[0][0])
    lines, other = exported(path), path.with_name("b.db")
    import_bytes(other, file_of(lines))
    assert exported(other) == lines
    assert findings(other) == []
    assert sql(path, "SELECT * FROM labels") == sql(other, "SELECT * FROM labels")
    assert sql(path, "SELECT id, oldest, created FROM documents") == sql(
        other, "SELECT id, oldest, created FROM documents"
    )


def test_the_first_line_says_what_it_is_and_the_last_how_much(path: Path) -> None:
    first, *_, last = write(path, path.with_suffix(".out")).splitlines()
    header = json.loads(first)
    assert (header["t"], header["version"], header["history"]) == ("export", 1, True)
    assert header["epoch"] == sql(path, "SELECT epoch FROM store")[0][0]
    documents, revisions = (
        sql(path, f"SELECT count(*) FROM {it}")[0][0] for it in ("documents", "revisions")
    )
    assert json.loads(last) == {"t": "end", "documents": documents, "revisions": revisions}


def test_without_history_deleted_documents_are_left_out(path: Path) -> None:
    told = [json.loads(line) for line in exported(path, history=False)]
    names = [line["document"] for line in told if line["t"] == "document"]
    there = sql(
        path, "SELECT collection || '/' || id FROM documents WHERE deleted = 0 ORDER BY collection, id"
    )
    assert names == [name for (name,) in there]
    assert len(names) < sql(path, "SELECT count(*) FROM documents")[0][0]
    assert "revision" not in {line["t"] for line in told}


def test_of_one_collection_only_that_and_its_settings(path: Path) -> None:
    told = [json.loads(line) for line in exported(path, collection="stock")]
    assert {line["document"].split("/")[0] for line in told if line["t"] == "history"} == {"stock"}
    assert "collection" not in {line["t"] for line in told}
    told = [json.loads(line) for line in exported(path, collection="orders")]
    assert [line["collection"] for line in told if line["t"] == "collection"] == ["orders"]


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_labelled_and_compacted_comes_back_as_it_was(tmp_path: Path, seed: int) -> None:
    """Also where the oldest revision kept creates or deletes the document."""
    random, path, other = Random(seed), tmp_path / "a.db", tmp_path / "b.db"
    make_store(path, seed)
    for collection, id, head in sql(path, "SELECT collection, id, head FROM documents"):
        for name in "abc":
            label(path, collection, id, name, random.randint(1, head))
        compact(path, collection, id, random.randint(1, head))
    assert findings(path) == []
    lines = exported(path)
    import_bytes(other, file_of(lines))
    assert exported(other) == lines
    assert findings(other) == []
    assert exported(path, history=False) == exported(other, history=False)


@pytest.mark.parametrize("history", [True, False])
def test_broken_off_anywhere_it_is_continued_as_of_the_same_moment(path: Path, history: bool) -> None:
    """Also when the documents were edited, deleted and made meanwhile."""
    output = path.with_suffix(".out")
    whole = write(path, output, history=history)
    make_store(path, seed=5, edits=60, documents=6)
    ends = [at + 1 for at in range(len(whole)) if whole[at : at + 1] == b"\n"]
    begun = whole.find(b'\n{"t":"document"' if not history else b'\n{"t":"history"') + 20
    for cut in {
        begun,
        *ends[ends.index(min(e for e in ends if e > begun)) :: 9],
        *range(begun, len(whole), 1_009),
    }:
        output.write_bytes(whole[:cut])
        assert write(path, output, resume=True, history=history) == whole, cut
    assert write(path, output, resume=True, history=history) == whole


def test_broken_off_before_its_first_document_it_begins_again(path: Path) -> None:
    output = path.with_suffix(".out")
    whole = write(path, output)
    for cut in (0, 5, 30, whole.index(b"\n"), whole.index(b"\n") + 1):
        output.write_bytes(whole[:cut])
        again = write(path, output, resume=True)
        assert again.split(b"\n", 1)[1] == whole.split(b"\n", 1)[1]


def test_a_file_that_is_no_export_of_this_database_is_not_touched(path: Path) -> None:
    output = path.with_suffix(".out")
    whole = write(path, output)
    other = path.with_name("b.db")
    make_store(other)
    with pytest.raises(ExportFailed, match="another database"):
        write(other, output, resume=True)
    with pytest.raises(ExportFailed, match="other options"):
        write(path, output, resume=True, history=False)
    with pytest.raises(ExportFailed, match="--force"):
        write(path, output)
    assert output.read_bytes() == whole
    output.write_bytes(b"my diary\n")
    with pytest.raises(ExportFailed, match="no export"):
        write(path, output, resume=True)
    assert output.read_bytes() == b"my diary\n"
    write(path, output, force=True)


def test_what_is_compacted_away_meanwhile_cannot_be_continued(path: Path) -> None:
    output = path.with_suffix(".out")
    whole = write(path, output)
    cut = whole.index(b'{"t":"history","document":"orders/d2"')
    make_store(path, seed=5, edits=60)
    compact(path, "orders", "d2", sql(path, "SELECT head FROM documents WHERE id = 'd2'")[0][0])
    output.write_bytes(whole[: cut + 5])
    with pytest.raises(ExportFailed, match="compacted away"):
        write(path, output, resume=True)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE revisions SET at = 'then' WHERE n = 3",
        "UPDATE revisions SET patch = 'nonsense' WHERE n = 3",
        "UPDATE documents SET latest = x'00'",
        "UPDATE documents SET head = head + 2",
        "UPDATE snapshots SET value = 7",
    ],
)
def test_what_is_damaged_is_refused_by_the_export_or_by_the_import(path: Path, damage: str) -> None:
    compact(path, "orders", "d2", 20)
    make_store(path.with_name("b.db"), edits=0)
    sql(path, damage)
    for history in (True, False):
        # Each of them refuses in words what it cannot use.
        with suppress(ExportFailed, Refused):
            import_bytes(path.with_name("b.db"), file_of(exported(path, history=history)), OnExisting.SKIP)
        assert findings(path.with_name("b.db")) == []
