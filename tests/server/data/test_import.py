"""`plait import`: documents come in whole or not at all, and nothing that no edit could have made."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from plait_server.data.incoming import OnExisting
from plait_server.data.line import Refused
from server.data.histories import compact, exported, file_of, findings, import_bytes, make_store, sql

AT = "2026-11-20T12:00:00.000Z"
END = {"t": "end"}
LABEL = {"label": "a", "revision": 1, "at": AT}
GOOD = {"t": "document", "document": "orders/good", "value": {"a": 1}}


def history(head: int, **rest: Any) -> dict[str, Any]:
    return {"t": "history", "document": "orders/1", "head": head, **rest}


def revision(n: int, kind: str = "edit", **rest: Any) -> dict[str, Any]:
    """A revision that changes /a; the first creates the document."""
    patch = [{"op": "add", "path": "/a", "value": n}]
    if n == 1 or kind == "create":
        kind, patch = "create", [{"op": "add", "path": "", "value": {"a": n}}]
    return {"t": "revision", "revision": n, "kind": kind, "at": AT, "author": "ann", "patch": patch, **rest}


def op(name: str, path: str, **rest: Any) -> list[dict[str, Any]]:
    return [{"op": name, "path": path, **rest}]


def refusal(path: Path, lines: list[Any], **more: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        import_bytes(path, file_of(lines), **more)
    return refused.value


def names(path: Path) -> list[str]:
    return [id for (id,) in sql(path, "SELECT id FROM documents ORDER BY id")]


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


# What is wrong with a file: its lines after a good document, which of them is refused, and a word of why.
BAD: list[tuple[list[Any], int, str]] = [
    ([b"nonsense\n"], 0, "not JSON"),
    ([b"\n"], 0, "not JSON"),
    ([b'"\xff\xfe"\n'], 0, "JSON"),
    ([b"[]\n"], 0, "object"),
    ([b'{"t":"what"}\n'], 0, "what"),
    ([b'{"t":"document"}\n'], 0, "document"),
    ([{**GOOD, "more": 1}], 0, "more"),
    ([{**GOOD, "document": "Orders/1"}], 0, "document"),
    ([{**GOOD, "document": "orders/.."}], 0, "document"),
    ([{**GOOD, "document": "orders/1\n"}], 0, "document"),
    ([{**GOOD, "document": 7}], 0, "str"),
    ([{**GOOD, "author": "a\nb"}], 0, "printable"),
    ([{**GOOD, "author": "a" * 256}], 0, "author"),
    ([{**GOOD, "at": "2026-11-31T12:00:00.000Z"}], 0, "no such time"),
    ([{**GOOD, "at": "1969-11-30T12:00:00.000Z"}], 0, "1970"),
    ([{**GOOD, "at": "yesterday"}], 0, "at"),
    ([b'{"t":"document","document":"orders/1","value":NaN}\n'], 0, "JSON"),
    ([b'{"t":"document","document":"orders/1","value":1e400}\n'], 0, "range"),
    ([b'{"t":"document","document":"orders/1","value":"\\ud800"}\n'], 0, "JSON"),
    ([b'{"t":"document","document":"orders/1","value":{"a":1,"a":2}}\n'], 0, "repeated"),
    ([b'{"t":"document","document":"orders/1","value":%b}\n' % (b"9" * 1001)], 0, "digits"),
    ([b'{"t":"document","document":"orders/1","value":' + b"[" * 100_000], 0, "deeper"),
    ([{**GOOD, "document": "orders/1", "value": deep(65)}], 0, "deeper"),
    ([{**GOOD, "document": "orders/1", "value": "x" * 1_048_576}], 0, "1048576 bytes"),
    ([{**GOOD, "document": "orders/1", "value": "x" * 9_000_000}], 0, "longer"),
    ([revision(1)], 0, "history"),
    ([{"t": "export", "version": 1, "history": True}], 0, "once"),
    ([history(2), revision(1), END], 2, "Revision 2"),
    ([history(2), revision(1), revision(3)], 2, "stands 3"),
    ([history(2), revision(1), revision(1)], 2, "stands 1"),
    ([history(2), revision(2)], 1, "stands 2"),
    ([history(0)], 0, "head"),
    ([history(2**60)], 0, "head"),
    ([history(True)], 0, "head"),
    ([history(1, oldest=2)], 0, "after 1"),
    ([history(1, labels=[{**LABEL, "revision": 2}])], 0, "after 1"),
    ([history(1, labels=[{**LABEL, "label": "a b"}])], 0, "label"),
    ([history(1, labels=[{**LABEL, "label": f"a{n}"} for n in range(257)])], 0, "256 labels"),
    ([history(1), {**revision(1), "kind": "delete"}], 1, "kind"),
    ([history(1), revision(1, patch=[])], 1, "kind"),
    ([history(2), revision(1), revision(2, patch=[])], 2, "empty"),
    ([history(2), revision(1), revision(2, patch={})], 2, "array"),
    ([history(2), revision(1), revision(2, patch=op("remove", "/b"))], 2, "nothing at /b"),
    ([history(2), revision(1), revision(2, patch=op("inc", "/a", value=1))], 2, "inc"),
    ([history(2), revision(1), revision(2, patch=op("jump", "/a"))], 2, "jump"),
    ([history(2), revision(1), revision(2, patch=op("test", "/a", value=2))], 2, "another one"),
    ([history(2), revision(1), revision(2, patch=op("add", "/a", value=deep(64)))], 2, "deeper"),
    ([history(2), revision(1), revision(2, patch=op("add", "/a", value="x" * 1_048_576))], 2, "1048576"),
    ([history(2), revision(1), revision(2, submitted=7)], 2, "array"),
    ([history(2), revision(1), revision(2, base=2)], 2, "base"),
    ([history(2), revision(1), revision(2, base=0)], 2, "base"),
    ([history(2), revision(1), revision(2, key="a b")], 2, "key"),
    ([history(2), revision(1), revision(2, message="x" * 4097)], 2, "4096 bytes"),
    ([history(2), revision(1), revision(2, value={"a": 3})], 2, "value"),
    ([history(2, oldest=2), revision(2, value={"a": 3})], 1, "created"),
    ([history(2, oldest=2, created=AT), revision(2)], 1, "needs its value"),
    ([history(2, oldest=2, created=AT), revision(2, value=1, base=2)], 1, "base"),
    ([history(2, oldest=2, created=AT), revision(2, value=deep(65))], 1, "deeper"),
    ([history(2, oldest=2, created=AT), revision(1), revision(2)], 1, "no label"),
    ([history(2, oldest=2, labels=[LABEL]), revision(2, value=1)], 1, "label"),
    ([{"t": "collection", "collection": "orders", "settings": 7}], 0, "settings"),
    ([{"t": "collection", "collection": "orders", "settings": {"policy": 7}}], 0, "policy"),
    ([{"t": "collection", "collection": "orders", "settings": {"schema": {"type": 7}}}], 0, "schema"),
    ([{"t": "collection", "collection": "orders", "settings": {"polcy": {}}}], 0, "polcy"),
    ([{"t": "collection", "collection": "orders", "settings": {"retention": {"kept": 5}}}], 0, "kept"),
    ([{"t": "collection", "collection": "orders", "settings": {"retention": {"days": -1}}}], 0, "days"),
    ([{"t": "collection", "collection": "orders", "revision": 2, "settings": {}}], 0, "Revision 1"),
    ([{"t": "end", "documents": 2}], 0, "documents"),
    ([{"t": "end", "revisions": 1}], 0, "revisions"),
    ([END, END], 1, "after the line"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "wrong", "word"), BAD)
def test_what_no_edit_could_have_made_is_refused_by_line_and_reason(
    tmp_path: Path, lines: list[Any], wrong: int, word: str
) -> None:
    """Nothing of its document is in the store, and everything before it is."""
    path = tmp_path / "plait.db"
    refused = refusal(path, [GOOD, *lines])
    assert refused.number == 3 + wrong
    assert word in refused.reason
    assert names(path) == ["good"]
    assert findings(path) == []


def test_a_file_cut_off_anywhere_is_refused_there_and_taken_when_it_is_whole(tmp_path: Path) -> None:
    source, path = tmp_path / "a.db", tmp_path / "b.db"
    make_store(source, seed=4, edits=40)
    whole = file_of(exported(source))
    for cut in range(60, len(whole) - 1, len(whole) // 23):
        with pytest.raises(Refused) as refused:
            import_bytes(path, whole[:cut])
        lines = whole[:cut].splitlines()
        assert refused.value.number in (len(lines), len(lines) + 1)
        assert findings(path) == []
    import_bytes(path, whole)
    assert exported(path) == exported(source)


@pytest.mark.parametrize(
    "first", [b"", b"{}\n", b'{"t":"end"}\n', b'{"t":"export","version":2,"history":true}\n']
)
def test_what_is_no_export_is_refused_at_its_first_line(tmp_path: Path, first: bytes) -> None:
    with pytest.raises(Refused) as refused:
        import_bytes(tmp_path / "plait.db", first + file_of([GOOD, END], header=False) if first else b"")
    assert refused.value.number == 1


def test_limits_are_those_of_the_settings(tmp_path: Path) -> None:
    lines = [{**GOOD, "value": deep(10)}, END]
    assert "deeper than 9" in refusal(tmp_path / "a.db", lines, depth_max=9).reason
    assert import_bytes(tmp_path / "b.db", file_of(lines), depth_max=10).documents == 1
    assert "9 bytes" in refusal(tmp_path / "c.db", lines, document_bytes_max=9).reason


def test_a_file_can_be_imported_again(tmp_path: Path) -> None:
    make_store(tmp_path / "a.db")
    path = tmp_path / "b.db"
    for line in (exported(tmp_path / "a.db"), exported(tmp_path / "a.db", history=False)):
        import_bytes(path, file_of(line), OnExisting.SKIP)
        before = sql(path, "SELECT * FROM revisions"), sql(path, "SELECT * FROM collections")
        again = import_bytes(path, file_of(line), OnExisting.SKIP)
        assert (again.documents, again.revisions, again.skipped) == (0, 0, 0)
        assert (sql(path, "SELECT * FROM revisions"), sql(path, "SELECT * FROM collections")) == before


HISTORY = [history(3), revision(1), revision(2), revision(3)]
LONGER = [history(5), revision(1), revision(2), revision(3), revision(4), revision(5)]
OTHER = [history(3), revision(1), revision(2, author="bob"), revision(3)]


def test_an_older_export_of_a_document_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "plait.db"
    import_bytes(path, file_of([*LONGER, END]))
    assert import_bytes(path, file_of([*HISTORY, GOOD, END])).present == 1
    assert names(path) == ["1", "good"]


def test_a_longer_history_is_refused_skipped_or_appended(tmp_path: Path) -> None:
    path = tmp_path / "plait.db"
    import_bytes(path, file_of([*HISTORY, END]))
    refused = refusal(path, [*LONGER, GOOD, END])
    assert (refused.number, "append" in refused.reason) == (6, True)
    assert import_bytes(path, file_of([*LONGER, GOOD, END]), OnExisting.SKIP).skipped == 1
    assert sql(path, "SELECT head FROM documents WHERE id = '1'") == [(3,)]
    assert import_bytes(path, file_of([*LONGER, GOOD, END]), OnExisting.APPEND).revisions == 2
    assert findings(path) == []
    import_bytes(tmp_path / "new.db", file_of([*LONGER, GOOD, END]))
    assert exported(tmp_path / "new.db") != exported(path)  # GOOD has the time of its import
    assert exported(tmp_path / "new.db")[:6] == exported(path)[:6]


def test_what_was_compacted_in_the_store_is_not_compared_and_the_rest_is(tmp_path: Path) -> None:
    path = tmp_path / "plait.db"
    import_bytes(path, file_of([*LONGER, END]))
    compact(path, "orders", "1", 4)
    assert import_bytes(path, file_of([*LONGER, END])).present == 1
    other = [*LONGER[:4], revision(4, author="bob"), LONGER[5]]
    assert "revision 4 is another one" in refusal(path, [*other, END]).reason


def test_another_history_is_refused_at_the_revision_where_it_parts_or_skipped(tmp_path: Path) -> None:
    path = tmp_path / "plait.db"
    import_bytes(path, file_of([*HISTORY, END]))
    for how in (OnExisting.FAIL, OnExisting.APPEND):
        refused = refusal(path, [*OTHER, GOOD, END], on_existing=how)
        assert (refused.number, "revision 2 is another one" in refused.reason) == (4, True)
    assert import_bytes(path, file_of([*OTHER, GOOD, END]), OnExisting.SKIP).skipped == 1
    assert names(path) == ["1", "good"]


def test_another_value_is_refused_skipped_or_a_new_revision(tmp_path: Path) -> None:
    path = tmp_path / "plait.db"
    other = {**GOOD, "value": {"a": 1, "b": 2}}
    import_bytes(path, file_of([GOOD, END]))
    assert "orders/good is in the store" in refusal(path, [other, END]).reason
    assert import_bytes(path, file_of([other, END]), OnExisting.SKIP).skipped == 1
    assert import_bytes(path, file_of([other, END]), OnExisting.APPEND).revisions == 1
    (line,) = [json.loads(line) for line in exported(path, history=False) if b"good" in line]
    assert line["value"] == other["value"]
    assert findings(path) == []


def test_other_settings_of_a_collection_are_refused_skipped_or_appended(tmp_path: Path) -> None:
    path = tmp_path / "plait.db"
    strict = {"t": "collection", "collection": "orders", "settings": {"merge": "strict"}}
    loose = {"t": "collection", "collection": "orders", "settings": {"merge": "yours"}}
    import_bytes(path, file_of([strict, END]))
    import_bytes(path, file_of([strict, END]))
    assert refusal(path, [loose, END]).number == 2
    import_bytes(path, file_of([loose, END]), OnExisting.SKIP)
    assert sql(path, "SELECT n FROM collections") == [(1,)]
    import_bytes(path, file_of([loose, END]), OnExisting.APPEND)
    assert sql(path, "SELECT n FROM collections") == [(1,), (2,)]
    first = {**strict, "revision": 1}
    import_bytes(path, file_of([first, {**loose, "revision": 2}, END]))
    third = {**strict, "revision": 3}
    assert refusal(path, [first, {**loose, "revision": 2}, third, END]).number == 4
    assert findings(path) == []


def test_an_imported_document_is_as_quick_to_open_as_an_edited_one(tmp_path: Path) -> None:
    """A whole value is written now and then, as a server does."""
    path = tmp_path / "plait.db"
    import_bytes(path, file_of([history(2_500), *(revision(n) for n in range(1, 2_501)), END]))
    numbers = [0, *(n for (n,) in sql(path, "SELECT n FROM snapshots ORDER BY n")), 2_500]
    assert max(after - before for before, after in pairwise(numbers)) <= 1_001
    assert findings(path) == []
