"""Moving data: what an operator does with a whole store.

    doctor     check that everything in it holds
    backup     copy it, while a server writes to it
    export     write documents, with their history, as lines of JSON
    import_    read such lines into a store that nobody serves
    line       what those lines are
    progress   how far it is, on a terminal

This module is what the command line loads; the rest is imported when a command runs.
"""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from plait_server.config import ConfigError, Settings, load
from plait_server.errors import StoreRefused

Database = Annotated[
    Path | None, typer.Option("--db", help="SQLite file of the server.", show_default="plait.db, or as set")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Settings file.", show_default="plait.toml if it is there")
]
FAILED = 1
NOT_OPENED = 2


def register(command: typer.Typer) -> None:
    """Add the commands to the root command."""
    command.command()(doctor)
    command.command()(backup)


def doctor(
    db: Database = None,
    config: ConfigFile = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON on stdout.")] = False,
) -> None:
    """Check a database: every history, every row that refers to one, and the file itself.

    It reads only, also while a server writes, and repairs nothing. The exit
    code is 0 where nothing was found, 1 where something was, and 2 where the
    file cannot be opened.
    """
    from plait_server.data.doctor import examine, show

    try:
        report = examine(_settings(db, config))
    except (ConfigError, StoreRefused) as refusal:
        _refuse(str(refusal), NOT_OPENED)
    show(report, as_json=json)
    if report.findings_total:
        raise typer.Exit(FAILED)


def backup(
    destination: Annotated[Path, typer.Argument(help="The file to make.", show_default=False)],
    db: Database = None,
    config: ConfigFile = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Copy a database as it is at one moment, also while a server writes to it.

    The copy is checked before it gets its name; a file of that name is never
    half a backup. To restore it, serve it: `plait serve --db COPY`, or copy it
    to where no database is. Each time that is done it becomes a store of its
    own, with a new epoch, so clients notice that what they have seen since the
    backup is gone.
    """
    from plait_server.data.backup import BackupFailed, back_up

    try:
        made = back_up(_settings(db, config).db, destination, force=force)
    except (ConfigError, StoreRefused, BackupFailed) as refusal:
        _refuse(str(refusal))
    typer.echo(str(made))


def _settings(db: Path | None, config: Path | None) -> Settings:
    return load({"db": db}, config)


def _refuse(sentence: str, code: int = FAILED) -> NoReturn:
    typer.echo(f"plait: {sentence}", err=True)
    raise typer.Exit(code)
