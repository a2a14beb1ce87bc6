"""Write `plait_client/sync.py`, the client for programs without an event loop, from the asynchronous one.

    python client_sdk/write_sync.py

Signatures and docstrings are taken from the source of the asynchronous classes, so that the two cannot
differ; a test compares the file with what this makes.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent / "plait_client"
TARGET = PACKAGE / "sync.py"
LEFT_OUT = {"Plait": {"open", "close"}, "Unsaved": {"add", "restore"}}
NO_SESSION = {"session"}

HEAD = '''"""The client for programs without an event loop: the same calls, without `await`.

    with Plait("http://localhost:8080") as plait:
        doc = plait.doc("orders/7")
        with doc.edit(message="raise budget") as draft:
            draft["budget"] = 120

Works in plain programs, in threads, in notebooks and inside a running loop: the asynchronous client runs on
a loop in the background. Listeners, resolvers and the function of `update` are called on that loop's thread.

Made by client_sdk/write_sync.py from the asynchronous classes: change those, and run it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, Self

from datetime import datetime

from plait_client import batch, client, conflict, document, operation, unsaved
from plait_client.changes import Change
from plait_client.client import Entry, Rules, Server, Surroundings
from plait_client.replica.edit import Edit, Patch
from plait_client.errors import PlaitError
from plait_client.events import Counters, Retrying, Settled
from plait_client.history import Label, Leaf, Revision, Version
from plait_client.lease import TTL_S, Lease, Lock
from plait_client.operation import Status
from plait_client.live.live import State
from plait_client.saving.outbox import Outbox
from plait_client.portal import Portal
from plait_client.resolvers import Resolver
from plait_client.wire.retry import Retry
from plait_client.saved import Saved
from plait_client.saving.saver import SyncState
from plait_client.unsaved import UnsavedEdit
from plait_merge import ABSENT, Absent, Json


class MergeConflict(conflict.MergeConflict):
    """Your edit overlaps what others did, as in `plait_client`; here `save` waits."""

    _portal: Portal

    def save(self, message: str | None = None) -> Saved:  # type: ignore[override]
        """{save}"""
        saved: Saved = self._portal.run(super().save(message))
        return saved


class BatchConflict(batch.BatchConflict):
    """Edits of a batch overlap what others did, as in `plait_client`; here `save` waits."""

    _portal: Portal

    def save(self, message: str | None = None) -> dict[str, Saved]:  # type: ignore[override]
        """{save_batch}"""
        saved: dict[str, Saved] = self._portal.run(super().save(message))
        return saved
'''

TAIL = '''

def _translate(value: Any, portal: Portal) -> Any:
    """Make of what the asynchronous client gives what this one gives."""
    if isinstance(value, document.Document):
        return _twin(Document, value, portal)
    if isinstance(value, batch.Batch):
        return _twin(Batch, value, portal)
    if isinstance(value, operation.Operation):
        return _twin(Operation, value, portal)
    if isinstance(value, unsaved.Unsaved):
        return _twin(Unsaved, value, portal)
    if isinstance(value, unsaved.UnsavedEdit):
        return replace(value, error=_translate(value.error, portal))
    if isinstance(value, conflict.MergeConflict) and not isinstance(value, MergeConflict):
        return _conflict(MergeConflict, value, portal)
    if isinstance(value, batch.BatchConflict) and not isinstance(value, BatchConflict):
        twin = _conflict(BatchConflict, value, portal)
        twin.conflicts = tuple([_translate(each, portal) for each in value.conflicts])
        return twin
    if isinstance(value, tuple) and value and isinstance(value[0], unsaved.UnsavedEdit):
        return tuple([_translate(each, portal) for each in value])
    return value


def _twin(kind: Any, value: Any, portal: Portal) -> Any:
    """Give the one twin of an object."""
    twin = portal.twins.get(id(value))
    if twin is None:
        twin = portal.twins[id(value)] = kind(value, portal)
    return twin


def _conflict(kind: Any, value: PlaitError, portal: Portal) -> Any:
    twin = kind.__new__(kind, *value.args)
    twin.__dict__.update(value.__dict__)
    twin._portal = portal
    return twin.with_traceback(value.__traceback__)


def _inner(given: str | Document) -> str | document.Document:
    """Give what a call takes in place of a document of this client."""
    return given if isinstance(given, str) else given._inner


__all__ = ["Batch", "BatchConflict", "Document", "MergeConflict", "Operation", "Plait", "Unsaved"]
'''

OPENING = '''
    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> Self:
        """{open}"""
        self._portal.open()
        try:
            self._portal.run(self._inner.open())
        except BaseException:
            self._portal.close()
            raise
        return self

    def close(self) -> None:
        """{close}"""
        try:
            self._portal.run(self._inner.close())
        finally:
            self._portal.close()
'''

INNER = """
    def __init__(self, inner: {inner}, portal: Portal) -> None:
        self._inner = inner
        self._portal = portal
"""


def written() -> str:
    """Give the text of `sync.py`, not laid out yet."""
    asynchronous = _class("client.py", "AsyncPlait")
    parts = [
        HEAD.replace("{save}", _docstring(_method(_class("conflict.py", "MergeConflict"), "save"))).replace(
            "{save_batch}", _docstring(_method(_class("batch.py", "BatchConflict"), "save"))
        ),
        *_twin_class("Plait", asynchronous, None),
        *_twin_class("Document", _class("document.py", "Document"), "document.Document"),
        *_twin_class("Batch", _class("batch.py", "Batch"), "batch.Batch"),
        *_twin_class("Operation", _class("operation.py", "Operation"), "operation.Operation"),
        *_twin_class("Unsaved", _class("unsaved.py", "Unsaved"), "unsaved.Unsaved"),
        TAIL,
    ]
    return "".join(parts)


def _class(file: str, name: str) -> ast.ClassDef:
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    return next(each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == name)


def _method(of: ast.ClassDef, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    return next(
        each
        for each in of.body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name == name
    )


def _twin_class(name: str, of: ast.ClassDef, inner: str | None) -> Iterator[str]:
    yield f'\n\nclass {name}:\n    """{_docstring(of)}"""\n'
    if inner is None:
        yield _constructor(_method(of, "__init__"))
        yield OPENING.replace("{open}", _docstring(_method(of, "open"))).replace(
            "{close}", _docstring(_method(of, "close"))
        )
    else:
        yield INNER.replace("{inner}", inner)
    for method in of.body:
        if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if method.name == "__repr__":
            yield "\n    def __repr__(self) -> str:\n        return repr(self._inner)\n"
        elif not method.name.startswith("_") and method.name not in LEFT_OUT.get(name, ()):
            yield _twin_method(method)


def _constructor(method: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = method.args
    kept = [
        (argument, default)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if argument.arg not in NO_SESSION
    ]
    arguments.kwonlyargs = [argument for argument, _ in kept]
    arguments.kw_defaults = [default for _, default in kept]
    return f'''
    def __init__({ast.unparse(arguments)}) -> None:
        """Nothing is opened yet. `url` is the server's root; raises ValueError for what is none."""
        self._inner = client.AsyncPlait({_passed(arguments)})
        self._portal = Portal(_translate)
        self.counters: Counters = self._inner.counters
'''


def _twin_method(method: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    decorators = {ast.unparse(each) for each in method.decorator_list}
    returns = ast.unparse(method.returns) if method.returns is not None else "None"
    iterates = returns.startswith("AsyncIterator")
    returns = re.sub(r"Async(Iterator|Generator)\[", "Iterator[", returns)
    if "property" in decorators:
        return _body(method, "property", returns, f"self._portal.call(lambda: self._inner.{method.name})")
    call = f"self._inner.{method.name}({_passed(method.args)})"
    if "asynccontextmanager" in decorators:
        head = _head(method, "contextmanager", returns)
        return f"{head}        with self._portal.entered({call}) as inside:\n            yield inside\n"
    if iterates:
        return _body(method, None, returns, f"self._portal.iterate({call})")
    if isinstance(method, ast.AsyncFunctionDef):
        return _body(method, None, returns, f"self._portal.run({call})")
    return _body(method, None, returns, f"self._portal.call(lambda: {call})")


def _body(
    method: ast.FunctionDef | ast.AsyncFunctionDef, decorator: str | None, returns: str, expression: str
) -> str:
    head = _head(method, decorator, returns)
    if returns == "None":
        return f"{head}        {expression}\n"
    return f"{head}        result: {returns} = {expression}\n        return result\n"


def _head(method: ast.FunctionDef | ast.AsyncFunctionDef, decorator: str | None, returns: str) -> str:
    mark = f"    @{decorator}\n" if decorator else ""
    arguments = ast.unparse(method.args)
    docstring = _docstring(method)
    stated = f'        """{docstring}"""\n' if docstring else ""
    return f"\n{mark}    def {method.name}({arguments}) -> {returns}:\n{stated}"


def _passed(arguments: ast.arguments) -> str:
    """Pass every argument on."""
    positional = [_given(argument) for argument in arguments.args if argument.arg != "self"]
    return ", ".join([*positional, *[f"{each.arg}={each.arg}" for each in arguments.kwonlyargs]])


def _given(argument: ast.arg) -> str:
    is_document = argument.annotation is not None and "Document" in ast.unparse(argument.annotation)
    return f"_inner({argument.arg})" if is_document else argument.arg


def _docstring(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Take a docstring over, as it stands, for a caller that does not wait for anything by name."""
    text = ast.get_docstring(node, clean=False) or ""
    return text.replace("async with", "with").replace("AsyncPlait", "Plait")


def formatted(text: str) -> str:
    """Lay the text out as all of the code is, without imports that nothing uses."""
    for command in (["check", "--fix-only", "--quiet"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(TARGET), "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout
    return text


if __name__ == "__main__":
    TARGET.write_text(formatted(written()), encoding="utf-8")
