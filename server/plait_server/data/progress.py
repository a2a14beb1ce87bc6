"""How far a long command is, a bar on a terminal and nothing anywhere else; and how much it was, in words."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""Told how many more are done."""


@contextmanager
def progress(doing: str, total: int | None, unit: str = "") -> Iterator[Advance]:
    """Show a bar on stderr while something is done; `total` None: nobody knows how much it is.

    Bytes are written as such.
    """
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    amount = (DownloadColumn(),) if unit == "bytes" else (MofNCompleteColumn(), TextColumn(unit))
    columns = TextColumn("{task.description}"), BarColumn(), *amount, TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(doing, total=total)
        yield lambda count: shown.advance(task, count)


def counted(count: int, noun: str) -> str:
    """Write a number of things: 1 document, 1,000 documents."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
