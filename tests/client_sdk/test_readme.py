"""The README of the client: its code runs, its tables are what there is."""

import ast
import inspect
import re
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import plait_client
from plait_client import (
    AsyncPlait,
    Batch,
    BatchConflict,
    Counters,
    Document,
    Field,
    Lease,
    MergeConflict,
    Operation,
    PlaitError,
    Retry,
)
from server.faults.serving import start_server

README = Path(__file__).parents[2] / "client_sdk" / "README.md"
TEXT = README.read_text()
ADDRESS = "http://127.0.0.1:8080"
AWAITS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a server as `plait serve` starts it."""
    server = await start_server(tmp_path, ("--port", "0"))
    yield server.url
    assert await server.end() == 0


async def test_the_code_does_what_is_written_beside_it(address: str, tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    try:
        checked = await run_all(names, address, tmp_path)
    finally:
        for client in names.get("one"), names.get("two"):
            if client is not None:
                await client.close()
    assert checked > 10


async def run_all(names: dict[str, Any], address: str, tmp_path: Path) -> int:
    """Run every block, and count the values that are what is written beside them."""
    checked = 0
    for block in re.findall(r"^```python\n(.*?)^```", TEXT, re.S | re.M):
        code = block.replace(ADDRESS, address).replace("edits.db", str(tmp_path / "edits.db"))
        lines = code.splitlines()
        for statement in ast.parse(code).body:
            _, marked, written = lines[(statement.end_lineno or 0) - 1].partition("# -> ")
            if marked and isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), str(README), "eval", AWAITS), names)
                if inspect.isawaitable(value):
                    value = await value
                assert repr(value) == written
                checked += 1
            else:
                await run(compile(ast.Module([statement], []), str(README), "exec", AWAITS), names)
    return checked


async def run(code: CodeType, names: dict[str, Any]) -> None:
    """Run a statement, which may wait."""
    waiting = eval(code, names)
    if inspect.isawaitable(waiting):
        await waiting


def mentioned() -> set[str]:
    """Every name that stands in code, in the text or in a block."""
    code = re.findall(r"^```\w*\n(.*?)^```", TEXT, re.S | re.M)
    code += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", TEXT, flags=re.S | re.M))
    return {name for part in code for name in re.findall(r"\w+", part)}


def test_every_public_name_is_mentioned() -> None:
    assert set(plait_client.__all__) - mentioned() == set()


@pytest.mark.parametrize(
    "kind", [AsyncPlait, Document, MergeConflict, Field, Batch, BatchConflict, Lease, Operation]
)
def test_every_call_and_property_is_mentioned(kind: type) -> None:
    public = {name for name in vars(kind) if not name.startswith("_")}
    rare = {"choices", "undecide", "undecided", "decided", "choice"}
    assert public - rare - mentioned() == set()


def test_every_option_of_a_client_is_mentioned() -> None:
    assert set(inspect.signature(AsyncPlait).parameters) - mentioned() == set()


def test_the_table_of_retries_is_what_the_defaults_are() -> None:
    written = re.findall(r"^\| `(\w+_s|attempts)` \| `(.+?)` \|", TEXT, re.M)
    assert written == [(field.name, str(field.default)) for field in fields(Retry)]


def test_every_counter_is_in_the_table() -> None:
    table = TEXT.partition("| Counter | Counts |")[2].partition("\n\n")[0]
    written = [name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"\w+", row)]
    assert sorted(written) == sorted(field.name for field in fields(Counters))


def test_the_tree_of_errors_is_the_tree_of_errors() -> None:
    drawn = {name: indent for indent, name in re.findall(r"^([│ ]*)[├└]── (\w+) ", TEXT, re.M)}
    errors = {
        name: kind
        for name in plait_client.__all__
        if isinstance(kind := getattr(plait_client, name), type) and issubclass(kind, PlaitError)
    }
    assert drawn.keys() == errors.keys() - {"PlaitError"}
    for name, indent in drawn.items():
        assert (errors[name].__bases__ == (PlaitError,)) == (indent == ""), name


def test_what_it_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (README.parent / target).exists(), target
