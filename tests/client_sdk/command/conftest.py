"""Commands on files in a folder of their own: in this process, which is quick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from client_sdk.command.answer import Answer
from plait_client.command import run

Plait = Callable[..., Answer]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, which is the working directory meanwhile."""
    with chdir(tmp_path):
        yield tmp_path


@pytest.fixture
def plait(folder: Path, capsys: pytest.CaptureFixture[str]) -> Plait:
    """Run a command in the folder."""

    def call(name: str, *arguments: str) -> Answer:
        code = run(name, list(arguments))
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture
def write(folder: Path) -> Callable[..., None]:
    """Write files: a name and a text each."""

    def files(**texts: str) -> None:
        for name, text in texts.items():
            (folder / f"{name}.json").write_bytes(text.encode())

    return files
