"""Changing files as text: the laws, and what it looks like."""

import json
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_sdk.command.texts import texts, written
from merge.strategies import add, documents, move, patches, remove, replace
from plait_client.command.rewriting import rewritten
from plait_client.command.style import detect
from plait_merge import ABSENT, Inapplicable, apply, diff, same


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """A text and a patch that applies to its value."""
    value = draw(documents)
    return draw(texts(value)), draw(patches(value))


@given(edits())
def test_what_is_written_reads_as_the_patched_value(edit: tuple[str, list[dict[str, Any]]]) -> None:
    text, patch = edit
    after = rewritten(written(text), patch)
    assert same(json.loads(after) if after else ABSENT, apply(json.loads(text), patch))


@given(documents.flatmap(texts))
def test_no_change_gives_the_very_text(text: str) -> None:
    value = json.loads(text)
    assert rewritten(written(text), []) == text
    assert rewritten(written(text), [{"op": "test", "path": "", "value": value}]) == text
    assert rewritten(written(text), diff(value, json.loads(text))) == text


@given(documents.flatmap(texts), documents.flatmap(texts))
def test_what_comes_from_another_file_reads_as_it_does_there(text: str, other: str) -> None:
    source = written(other)
    after = rewritten(written(text), [replace("", {"new": [source.value]})], sources=[source])
    assert same(json.loads(after), {"new": [json.loads(other)]})


@given(edits())
def test_a_patch_and_its_way_back_leave_the_layout_of_what_was_not_touched(
    edit: tuple[str, list[dict[str, Any]]],
) -> None:
    """Beside a member that is changed and changed back, nothing else has moved by a byte."""
    text, patch = edit
    around = f'{{"first": [ 1.50 ,2],\n "middle":{text},\r\n\t"last" : {{}} }}'
    inside = [
        {key: f"/middle{part}" if key in ("path", "from") else part for key, part in operation.items()}
        for operation in patch
    ]
    if any(operation["path"] == "/middle" and operation["op"] in ("remove", "move") for operation in inside):
        return
    after = rewritten(written(around), inside)
    assert after.startswith('{"first": [ 1.50 ,2],\n "middle":')
    assert after.endswith(',\r\n\t"last" : {} }')


@given(
    documents.flatmap(lambda value: st.tuples(st.just(value), patches(value))),
    st.sampled_from([None, 1, 4, "\t"]),
)
def test_a_file_as_json_writes_it_stays_one(
    edit: tuple[Any, list[dict[str, Any]]], indent: int | str | None
) -> None:
    value, patch = edit
    text = json.dumps(value, indent=indent)
    after = rewritten(written(text), patch)
    if detect(text) is not None and after:
        assert after == json.dumps(json.loads(after), indent=indent)


def rewrite(text: str, *patch: dict[str, Any]) -> str:
    return rewritten(written(dedent(text)), list(patch))


FILE = """\
    {
        "name": "café",
        "price": 1.50,
        "sizes": [1, 2.0, 3e5],
        "none": {},
        "rows": [
            {
                "a": 123456789012345678901234567890
            },
            {"b": -0.0}
        ]
    }
    """


def looks(text: str) -> str:
    return dedent(text)


def test_a_new_member_is_laid_out_like_its_neighbours() -> None:
    after = rewrite(FILE, add("/rows/0/c", {"x": [True]}), add("/rows/1/c", {"x": [True]}))
    assert after == looks(FILE).replace(
        "67890\n",
        '67890,\n            "c": {\n                "x": [\n                    true\n'
        "                ]\n            }\n",
    ).replace("-0.0}", '-0.0, "c": {"x": [true]}}')


def test_an_empty_container_is_filled_like_the_rest_of_the_file() -> None:
    after = rewrite(FILE, add("/none/x", 1))
    assert after == looks(FILE).replace('"none": {}', '"none": {\n        "x": 1\n    }')


def test_the_first_and_the_last_entry_go_without_a_trace() -> None:
    after = rewrite(FILE, remove("/name"), remove("/rows"), remove("/sizes/0"), remove("/sizes/1"))
    assert after == looks("""\
        {
            "price": 1.50,
            "sizes": [2.0],
            "none": {}
        }
        """)


def test_an_emptied_container_closes_at_once() -> None:
    assert rewrite(FILE, remove("/rows/0"), remove("/rows/0")).endswith('"rows": []\n}\n')


def test_a_container_emptied_and_filled_again_looks_as_it_did() -> None:
    text = '{\n  "a": [ 1 ],\n  "b": [\n    1\n  ]\n}'
    patch = [step for name in "ab" for step in (remove(f"/{name}/0"), add(f"/{name}/0", 2))]
    assert rewrite(text, *patch) == text.replace("1", "2")


def test_what_moves_keeps_its_spelling_and_takes_the_indentation_of_its_new_place() -> None:
    after = rewrite(FILE, move("/rows/0", "/first"), move("/price", "/none/price"))
    assert after == looks("""\
        {
            "name": "café",
            "sizes": [1, 2.0, 3e5],
            "none": {
                "price": 1.50
            },
            "rows": [
                {"b": -0.0}
            ],
            "first": {
                "a": 123456789012345678901234567890
            }
        }
        """)


def test_a_renamed_member_stays_where_it_is() -> None:
    after = rewrite(FILE, move("/price", "/cost"))
    assert after == looks(FILE).replace('"price"', '"cost"')


def test_an_element_put_first_leaves_the_others_as_they_are() -> None:
    assert rewrite("[\n\n  1 ,\n  2\n]", add("/0", 0)) == "[\n\n  0,\n  1 ,\n  2\n]"


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("{}", '{\n  "n": [\n    1\n  ]\n}'),
        ('{"a":1}', '{"a":1,"n":[1]}'),
        ('{"a": 1, "b": 2}\n', '{"a": 1, "b": 2, "n": [1]}\n'),
        ('{\n"a": 1\n}', '{\n"a": 1,\n"n": [\n1\n]\n}'),
        ('{\r\n\t"a" : 1\r\n}\r\n', '{\r\n\t"a" : 1,\r\n\t"n" : [\r\n\t\t1\r\n\t]\r\n}\r\n'),
    ],
)
def test_every_style_is_kept(text: str, after: str) -> None:
    assert rewritten(written(text), [add("/n", [1])]) == after


def test_a_file_that_escapes_goes_on_escaping_and_others_do_not_begin() -> None:
    assert rewrite('["\\u00e9"]', add("/-", "ß😀")) == '["\\u00e9", "\\u00df\\ud83d\\ude00"]'
    assert rewrite('["e"]', add("/-", "ß😀")) == '["e", "ß😀"]'


def test_a_file_that_was_empty_gets_a_document_and_one_without_any_is_empty() -> None:
    assert rewrite("", add("", {"a": 1})) == '{\n  "a": 1\n}\n'
    assert rewrite("[1]\n", remove("")) == ""


def test_values_from_another_file_are_spelled_as_there_and_laid_out_as_here() -> None:
    source = written('{"price": 1.50, "sizes": [1E2]}')
    here = written('{\n\t"a": 1\n}\n')
    after = rewritten(here, [add("/x", source.value)], sources=[source])
    assert after == '{\n\t"a": 1,\n\t"x": {\n\t\t"price": 1.50,\n\t\t"sizes": [\n\t\t\t1E2\n\t\t]\n\t}\n}\n'


def test_what_another_file_of_this_style_has_on_one_line_stays_on_one() -> None:
    source = written('{\n\t"y": [1, 2.50]\n}')
    here = written('{\n\t"a": {}\n}\n')
    after = rewritten(here, [add("/a/x", source.value)], sources=[source])
    assert after == '{\n\t"a": {\n\t\t"x": {\n\t\t\t"y": [1, 2.50]\n\t\t}\n\t}\n}\n'


def test_new_members_stand_where_the_wanted_order_has_them() -> None:
    def placed(text: str, *wanted: str) -> list[str]:
        new = next(name for name in wanted if name not in json.loads(text))
        after = rewritten(written(text), [add(f"/{new}", 0)], order=dict.fromkeys(wanted, 0))
        return list(json.loads(after))

    assert placed('{"c": 0, "a": 0}', "c", "new", "a") == ["c", "new", "a"]
    assert placed('{"c": 0, "a": 0}', "new", "c", "a") == ["new", "c", "a"]
    assert placed('{"c": 0, "a": 0}', "c", "a", "new") == ["c", "a", "new"]
    # In the alphabet, which both sides keep to, it goes behind what only this file has.
    assert placed('{"a": 0, "b": 0, "e": 0}', "a", "c", "e") == ["a", "b", "c", "e"]


def test_a_patch_that_does_not_fit_changes_nothing() -> None:
    with pytest.raises(Inapplicable):
        rewrite(FILE, remove("/price"), remove("/price"))
