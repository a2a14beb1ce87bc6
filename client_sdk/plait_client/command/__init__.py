"""The commands for JSON files of one's own: merge, resolve, diff, patch. No server is asked.

git runs `plait merge` once per file, so nothing is imported before a command is known, and then only what it
needs: options are read by argparse, in a tenth of the time it takes to import typer.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import typer

COMMANDS: Final = {
    "merge": "Merge three versions of a JSON file; git's merge driver.",
    "resolve": "Settle the conflicts that merge left in a JSON file.",
    "diff": "Show what changed between two JSON files.",
    "patch": "Apply a JSON Patch to a file and keep its layout.",
}
"""Each is the name of its module here, which has `add_options` and `run`; its docstring is the help."""


def run(name: str, arguments: list[str]) -> int:
    """Run a command and give its exit code. Exits by itself for --help and for wrong arguments."""
    from argparse import ArgumentParser, RawDescriptionHelpFormatter

    from plait_client.command.terminal import refusals

    _open_closed_streams()
    if isinstance(sys.stdout, TextIOWrapper):
        # JSON is UTF-8, whatever the terminal's own is; the names of files need not be text at all.
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    command = import_module(f"{__name__}.{name}")
    parser = ArgumentParser(
        f"plait {name}", description=command.__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    command.add_options(parser)
    asked = parser.parse_args(arguments)
    return refusals(command.run, asked)


def _open_closed_streams() -> None:
    """Put an empty stream in the place of one that whoever started this has closed: it is None then."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def register(app: typer.Typer) -> None:
    """List the commands in an application; what follows their names is theirs to read."""
    from typer import Context, Exit

    def pass_on(context: Context) -> None:
        raise Exit(run(context.info_name or "", context.args))

    pass_on.__annotations__["context"] = Context
    unread = {"allow_extra_args": True, "ignore_unknown_options": True}
    for name, summary in COMMANDS.items():
        app.command(name, help=summary, add_help_option=False, context_settings=unread)(pass_on)
