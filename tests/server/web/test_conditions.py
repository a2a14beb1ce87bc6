"""What headers say about revisions, read or refused."""

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from plait_server.web.conditions import (
    BadHeader,
    Return,
    Tags,
    etag,
    read_base,
    read_key,
    read_return,
    read_tags,
    single,
    view_etag,
)


def tags(*values: str) -> Tags:
    headers = CIMultiDictProxy(CIMultiDict([("If-Match", value) for value in values]))
    found = read_tags(headers, "If-Match")
    assert found is not None
    return found


def test_a_strong_tag_names_its_revision() -> None:
    assert tags('"43"').revisions == {43}
    assert tags('"43", "44"', '"45"').revisions == {43, 44, 45}
    assert tags("*").any


@pytest.mark.parametrize(
    "tag", ['"043"', '"-1"', '"43-9f2c"', '"\u0664"', '"abc"', '""', '"99999999999999999999"']
)
def test_a_tag_that_is_no_revision_is_legal_and_names_none(tag: str) -> None:
    assert tags(tag).revisions == frozenset()


def test_a_weak_tag_is_seen_and_names_no_revision() -> None:
    found = tags('W/"43"')
    assert found.revisions == frozenset()
    assert found.weak == {"43"}
    assert found.matches_weakly('"43"')
    assert not found.matches_strongly('"43"')


@pytest.mark.parametrize("value", ["", "43", '"43', "*, *", 'w/"43"', '"43" "44"', '"4\u00003"', "\udcff"])
def test_what_is_no_list_of_tags_is_refused(value: str) -> None:
    with pytest.raises(BadHeader):
        tags(value)


def test_each_view_of_each_revision_has_its_own_tag() -> None:
    views = ["", "/a", "/a/b", "/b"]
    written = [view_etag(revision, view) for revision in (1, 2, 12) for view in views]
    assert len({*written, etag(1), etag(2), etag(12)}) == len(written) + 3


def test_a_base_is_a_revision_and_may_name_its_epoch() -> None:
    assert read_base("41") == (41, None)
    assert read_base(' 41 ; epoch="ab12"') == (41, "ab12")


@pytest.mark.parametrize(
    "value", ["", "-1", "4_1", "\u0664", "1e3", "0x1", "41,42", '"41"', "9" * 19, "41;epoch="]
)
def test_what_is_no_base_is_refused(value: str) -> None:
    with pytest.raises(BadHeader):
        read_base(value)


@pytest.mark.parametrize(
    ("value", "key"),
    [('"8e03978e"', "8e03978e"), ("8e03978e", "8e03978e"), (r'"a\"b\\c"', 'a"b\\c'), ("x" * 255, "x" * 255)],
)
def test_a_key_is_read_with_and_without_quotes(value: str, key: str) -> None:
    assert read_key(value) == key


@pytest.mark.parametrize("value", ["", '""', "x" * 256, "a b", "\u00e9", '"a"b"', "a\tb", "\udcff"])
def test_what_is_no_key_is_refused(value: str) -> None:
    with pytest.raises(BadHeader):
        read_key(value)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("return=minimal", Return.MINIMAL),
        ("respond-async, Return=Representation; x=1", Return.REPRESENTATION),
        ('return="minimal"', Return.MINIMAL),
        ("return=all", None),
        ("wait=10", None),
        ("", None),
        (",;=,", None),
    ],
)
def test_an_unknown_preference_is_ignored(value: str, wanted: Return | None) -> None:
    assert read_return(value) is wanted


def test_a_header_that_may_stand_once_is_refused_when_it_stands_twice() -> None:
    headers = CIMultiDictProxy(CIMultiDict([("Plait-Base", "41"), ("plait-base", "42")]))
    with pytest.raises(BadHeader):
        single(headers, "Plait-Base")
