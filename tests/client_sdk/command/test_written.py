"""Reading files strictly: what is wrong is told with its file, line and column."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_sdk.command.texts import texts
from merge.strategies import documents
from plait_client.command.written import BadFile, parse, read, save
from plait_merge import ABSENT, same

BAD = {
    '{"a": 1,\n "b": }': "f:2:7: expecting value",
    '{"a": 1': "f:1:8: expecting ',' delimiter",
    "[1 2]": "f:1:4: expecting ',' delimiter",
    "[1] 2": "f:1:5: extra data",
    '{"a": 1,\n "b": {"c": 1, "d": 2,\n  "c": 3}}': "f:3:3: a member name stands twice in one object",
    '{"a": [1, NaN]}': "f:1:11: NaN is not JSON",
    "-Infinity": "f:1:1: -Infinity is not JSON",
    '{"a": NaN, "b": }': "f:1:17: expecting value",
    '[1,\n "\\ud800"]': "f:2:2: string has a lone surrogate",
    '{"a": 1,\n "0": "\\ud800"}': "f:2:7: string has a lone surrogate",
    '[{"\\ud800": 1}]': "f:1:2: member name has a lone surrogate",
    "[0, 1e400]": "f:1:5: number is not finite",
    "[" * 65 + "]" * 65: "nested more than 64 levels deep",
    "[" * 100_000: "nested more than 64 levels deep",
    "[1" + "0" * 1_000 + "]": "f:1:2: an integer of more than 1,000 digits",
    "[1" + "0" * 10_000 + "]": "an integer of more than 1,000 digits",
    '{"a": "\t"}': "f:1:8: invalid control character",
    "\x00": "f:1:1: expecting value",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_not_json_is_told_by_file_line_and_column(text: str) -> None:
    with pytest.raises(BadFile) as refused:
        parse("f", text.encode())
    told = str(refused.value)
    assert told.startswith("f:")
    assert BAD[text] in told
    assert "\n" not in told


def test_what_is_no_text_is_told() -> None:
    with pytest.raises(BadFile, match="f: byte 2 is not UTF-8"):
        parse("f", b'["\xff"]')
    with pytest.raises(BadFile, match="f: byte 0 is not UTF-8"):
        parse("f", '{"a": 1}'.encode("utf-16"))


@given(st.one_of(st.binary(), st.text(alphabet='{}[]",:01eE.-\\u \nNaI').map(str.encode)))
def test_anything_is_read_or_refused(content: bytes) -> None:
    try:
        value = parse("f", content).value
    except BadFile:
        return
    assert value is ABSENT or same(value, json.loads(content))


@given(documents.flatmap(texts))
def test_a_byte_order_mark_is_no_part_of_the_text_and_stays(text: str) -> None:
    content = b"\xef\xbb\xbf" + text.encode()
    file = parse("f", content)
    assert file.text == text
    assert file.encoded(file.text) == content


@pytest.mark.parametrize("text", ["", "\n", " \r\n\t"])
def test_an_empty_file_has_no_document(text: str) -> None:
    assert parse("f", text.encode()).value is ABSENT


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="No such file"):
        read(str(tmp_path / "missing.json"))
    with pytest.raises(BadFile, match="Is a directory"):
        read(str(tmp_path))
    with pytest.raises(BadFile, match="null"):
        read("a\0b")


def test_saving_keeps_the_mode_and_goes_through_links(tmp_path: Path) -> None:
    file, link = tmp_path / "f.json", tmp_path / "link.json"
    file.write_bytes(b"[]")
    file.chmod(0o640)
    link.symlink_to(file)
    save(link, b"[1]")
    assert link.is_symlink()
    assert file.read_bytes() == b"[1]"
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["f.json", "link.json"]


def test_saving_what_is_there_already_touches_nothing(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_bytes(b"[]")
    before = file.stat()
    save(file, b"[]")
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert file.stat().st_ino == before.st_ino


def test_a_file_that_may_not_be_written_is_not_replaced_either(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_bytes(b"[]")
    file.chmod(0o444)
    if os.access(file, os.W_OK):
        pytest.skip("root may write everything")
    with pytest.raises(PermissionError, match=r"f\.json"):
        save(file, b"[1]")
    assert file.read_bytes() == b"[]"


def test_a_new_file_is_as_private_as_what_it_is_about(tmp_path: Path) -> None:
    secret, new = tmp_path / "f.json", tmp_path / "new.json"
    secret.write_bytes(b"[]")
    secret.chmod(0o600)
    save(new, b"[1]", like=secret)
    assert new.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_saved_is_told_by_its_own_name_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        save(tmp_path / "folder/f.json", b"[]")
    assert missing.value.filename == str(tmp_path / "folder/f.json")
    with pytest.raises(IsADirectoryError):
        save(tmp_path, b"[]")
    assert os.listdir(tmp_path) == []


def test_saving_to_a_pipe_writes_into_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    save(pipe, b"[]")
    assert os.read(reader, 10) == b"[]"
    os.close(reader)


def test_whoever_reads_meanwhile_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """The old file stays what it was for those who have it open: it is replaced, not written over."""
    file = tmp_path / "f.json"
    file.write_bytes(b"[]")
    with file.open("rb") as old:
        save(file, b"[1, 2, 3]")
        assert old.read() == b"[]"
    assert file.read_bytes() == b"[1, 2, 3]"
