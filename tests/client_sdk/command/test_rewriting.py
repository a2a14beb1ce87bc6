"""Changing files as text: the laws, and what it looks like."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from client_sdk.command.texts import texts, written
from merge.strategies import documents, patches
from plait_client.command.rewriting import rewritten
from plait_merge import ABSENT, apply, diff, same


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
