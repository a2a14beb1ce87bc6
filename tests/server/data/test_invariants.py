"""What holds in every store: a sound one has no finding, and each damage is found, where it is."""

import shutil
from pathlib import Path

import pytest

from server.data.histories import compact, findings, label, make_store, sql

ORDER = "tenant = 'default' AND collection = 'orders' AND document = 'd1'"
ROW = "collection = 'orders' AND id = 'd1'"
NTH = "(SELECT seq FROM revisions WHERE {order} AND n = {n})"


def revision(n: int) -> str:
    return f"seq = {NTH.format(order=ORDER, n=n)}"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound store; order d1 has many revisions, and others have the rest."""
    path = tmp_path_factory.mktemp("sound") / "plait.db"
    make_store(path, seed=4, edits=150)
    assert sql(path, f"SELECT head > 20 FROM documents WHERE {ROW}") == [(1,)]
    return path


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copy(sound, tmp_path))


@pytest.mark.parametrize("seed", range(5))
def test_whatever_a_service_does_everything_holds(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "plait.db"
    make_store(path, seed)
    assert findings(path) == []
    assert sql(path, "SELECT count(*) > 0 FROM idempotency") == [(1,)]


def test_an_empty_store_is_sound(tmp_path: Path) -> None:
    make_store(tmp_path / "plait.db", edits=0)
    assert findings(tmp_path / "plait.db") == []


def test_a_compacted_history_is_sound(path: Path) -> None:
    label(path, "orders", "d1", "first", 1)
    label(path, "orders", "d1", "draft", 4)
    compact(path, "orders", "d1", 9)
    compact(path, "orders", "d2", 3)
    assert findings(path) == []


DAMAGES = [
    ("chain", f"UPDATE revisions SET previous = NULL WHERE {revision(7)}"),
    ("chain", f"UPDATE revisions SET previous = seq WHERE {revision(7)}"),
    ("chain", f"UPDATE revisions SET previous = seq + 1 WHERE {revision(7)}"),
    ("chain", f"UPDATE revisions SET previous = 1000000 WHERE {revision(7)}"),
    ("chain", f"UPDATE revisions SET previous = {NTH.format(order=ORDER, n=5)} WHERE {revision(7)}"),
    ("chain", f"UPDATE revisions SET n = 8 WHERE {revision(7)}"),
    ("chain", f"DELETE FROM revisions WHERE {revision(7)}"),
    ("chain", f"UPDATE revisions SET document = 'd2' WHERE {revision(7)}"),
    ("chain", f"UPDATE documents SET oldest = 2 WHERE {ROW}"),
    ("chain", f"DELETE FROM documents WHERE {ROW}"),
    ("head", f"UPDATE documents SET head = head + 1 WHERE {ROW}"),
    ("head", f"UPDATE documents SET latest = {NTH.format(order=ORDER, n=7)} WHERE {ROW}"),
    ("head", f"UPDATE documents SET latest = 0 WHERE {ROW}"),
    ("head", f"UPDATE documents SET deleted = 1 - deleted WHERE {ROW}"),
    ("head", f"UPDATE documents SET updated = updated + 1 WHERE {ROW}"),
    ("head", f"UPDATE documents SET created = created + 1 WHERE {ROW}"),
    ("head", f"UPDATE documents SET oldest = head + 1 WHERE {ROW}"),
    ("fold", f"UPDATE revisions SET patch = '[]' WHERE {revision(1)}"),
    ("fold", f"UPDATE revisions SET patch = 'nonsense' WHERE {revision(7)}"),
    ("fold", f"UPDATE revisions SET patch = '[{{\"op\":\"remove\",\"path\":\"/no\"}}]' WHERE {revision(7)}"),
    ("fold", f"UPDATE revisions SET patch = '7' WHERE {revision(7)}"),
    ("fold", f"UPDATE revisions SET submitted = '7' WHERE {revision(7)}"),
    ("fold", f"UPDATE revisions SET base = 7 WHERE {revision(7)}"),
    ("fold", f"UPDATE revisions SET kind = 'create' WHERE {revision(7)} AND kind = 'edit'"),
    ("snapshot", f"INSERT INTO snapshots SELECT tenant, collection, document, n, seq, '{{}}' FROM revisions "
     f"WHERE {revision(7)}"),
    ("snapshot", f"INSERT INTO snapshots SELECT tenant, collection, document, n, seq, '' FROM revisions "
     f"WHERE {revision(7)}"),
    ("snapshot", "INSERT INTO snapshots VALUES ('default', 'orders', 'd1', 999, 1, '1')"),
    ("stray", "INSERT INTO snapshots VALUES ('default', 'orders', 'nobody', 1, 1, '1')"),
    ("stray", "INSERT INTO labels VALUES ('default', 'orders', 'nobody', 'a', 1, '', 0)"),
    ("key", "UPDATE idempotency SET answer = 'nonsense'"),
    ("key", "UPDATE idempotency SET answer = json_set(CAST(answer AS TEXT), '$.revision', 999)"),
    ("key", "UPDATE idempotency SET answer = json_set(CAST(answer AS TEXT), '$.id', 'nobody')"),
    ("conflict", "UPDATE conflicts SET body = 'nonsense'"),
    ("conflict", "UPDATE conflicts SET head = 999"),
    ("conflict", "UPDATE conflicts SET base = head + 1"),
    ("conflict", "UPDATE conflicts SET resolved = 1"),
    ("conflict", "UPDATE conflicts SET resolved = 1, resolved_revision = 999"),
    ("collection", "UPDATE collections SET n = 2"),
    ("collection", "UPDATE collections SET body = 'nonsense'"),
    ("collection", "UPDATE collections SET body = '{\"policy\": 7}'"),
    ("label", "INSERT INTO labels VALUES ('default', 'orders', 'd1', 'a', 999, '', 0)"),
    ("snapshot", "INSERT INTO labels VALUES ('default', 'orders', 'd1', 'a', 7, '', 0)"),
    ("lock", "INSERT INTO locks VALUES ('default', 'orders', 'd1', 'l', '', 1, '', '', 7, 1, 1)"),
    ("lock", "INSERT INTO locks VALUES ('default', 'orders', 'd1', 'l', '', 999, '', '', 0, 1, 1)"),
    ("lock", "INSERT INTO locks VALUES ('default', 'orders', 'd1', 'l', '', 0, '', '', 0, 1, 1)"),
    ("lock", "INSERT INTO locks VALUES ('default', 'orders', 'd1', 'l', '/no/such', 9, '', '', 1, 1, 1)"),
    ("lock", "INSERT INTO locks VALUES ('default', 'orders', 'd1', 'l', 'no pointer', 9, '', '', 1, 1, 1)"),
    ("type", "UPDATE revisions SET at = 'then' WHERE n = 3"),
    ("type", "UPDATE documents SET head = 'x'"),
    ("type", "UPDATE documents SET collection = x'00'"),
    ("type", "UPDATE conflicts SET body = 1.5"),
    ("operation", "INSERT INTO operations VALUES (999, '', 'o', 'c', 'd', '', '', '{}', 1, 2, NULL, 3)"),
    ("operation", "INSERT INTO operations VALUES (999, '', '', '', '', '', '', 'x', 1, NULL, NULL, NULL)"),
    ("operation", "INSERT INTO operations VALUES (999, '', '', '', '', '', '', '', 1, 2, '{}', 3)"),
]  # fmt: skip


@pytest.mark.parametrize(("invariant", "damage"), DAMAGES)
def test_each_damage_is_found_and_named(path: Path, invariant: str, damage: str) -> None:
    sql(path, "PRAGMA ignore_check_constraints = ON", damage)
    found = findings(path)
    assert invariant in {finding.invariant for finding in found}, found
    assert all(finding.place and finding.detail for finding in found)


def test_a_lease_at_a_revision_that_was_compacted_away_is_sound(path: Path) -> None:
    """Nobody can tell where it is; it ends when its document is opened."""
    sql(path, "INSERT INTO locks VALUES ('default', 'orders', 'd1', 'l', '/gone', 4, '', '', 1, 1, 1)")
    assert [finding.invariant for finding in findings(path)] == ["lock"]
    compact(path, "orders", "d1", 9)
    assert findings(path) == []


def test_a_labelled_revision_that_compaction_left_has_to_have_its_value(path: Path) -> None:
    label(path, "orders", "d1", "draft", 4)
    compact(path, "orders", "d1", 9)
    sql(path, "DELETE FROM snapshots WHERE n = 4 AND document = 'd1'")
    assert [finding.invariant for finding in findings(path)] == ["snapshot"]


def test_what_compaction_should_have_removed_is_found(path: Path) -> None:
    label(path, "orders", "d1", "draft", 4)
    compact(path, "orders", "d1", 9)
    sql(path, "DELETE FROM labels")
    assert [finding.invariant for finding in findings(path)] == ["chain"]


def test_a_damaged_page_is_found_and_the_rest_is_checked(path: Path) -> None:
    sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    (root,) = sql(path, "SELECT rootpage FROM sqlite_master WHERE name = 'idempotency'")[0]
    (size,) = sql(path, "PRAGMA page_size")[0]
    sql(path, f"UPDATE documents SET updated = 0 WHERE {ROW}", "PRAGMA journal_mode = DELETE")
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    assert {"file", "key", "head"} <= {finding.invariant for finding in findings(path)}
