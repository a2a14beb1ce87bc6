"""Moving data: what an operator does with a whole store.

    doctor     check that everything in it holds
    backup     copy it, while a server writes to it
    export     write documents, with their history, as lines of JSON
    import_    read such lines into a store that nobody serves
    incoming   one document on its way into it
    line       what those lines are
    progress   how far it is, on a terminal

This module is what the command line loads; the rest is imported when a command runs.
"""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NoReturn

import typer

from plait_server.config import ConfigError, Settings, load
from plait_server.errors import StoreRefused

Database = Annotated[
    Path | None, typer.Option("--db", help="SQLite file of the server.", show_default="plait.db, or as set")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Settings file.", show_default="plait.toml if it is there")
]
STREAM = Path("-")
FAILED = 1
NOT_OPENED = 2


def register(command: typer.Typer) -> None:
    """Add the commands to the root command."""
    command.command()(doctor)
    command.command()(backup)
    command.command("export")(export)
    command.command("import")(import_)


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


def export(
    db: Database = None,
    config: ConfigFile = None,
    collection: Annotated[
        str | None, typer.Option(help="Only the documents of this one.", show_default="all")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history/--no-history", help="With every revision, or documents as they are.")
    ] = True,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; - is stdout.")] = STREAM,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a file that broke off.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write documents and their history as lines of JSON, also while a server writes.

    It is all of one moment: what is written later is not in it. A file that
    broke off is continued by --resume, as of the same moment. What is not a
    document or its history is not in it: answers to idempotency keys, open
    conflicts, leases, queued edits; a backup has them.
    """
    from plait_server.data.export import Export, ExportFailed
    from plait_server.data.export import export as write

    wanted = Export(history, collection)
    file = None if output == STREAM else output
    try:
        write(_settings(db, config).db, wanted, file, resume=resume, force=force)
    except (ConfigError, StoreRefused, ExportFailed) as refusal:
        _refuse(str(refusal))
    except BrokenPipeError as error:
        # Whoever read it has enough. Nothing more is flushed to where nobody listens.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from error
    except OSError as error:
        _refuse(f"{output} cannot be written: {error.strerror}. Continue it with --resume.")


def import_(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="An export; - is stdin.", show_default=False)
    ],
    db: Database = None,
    config: ConfigFile = None,
    on_existing: Annotated[
        Literal["fail", "skip", "append"],
        typer.Option(help="What to do with a document that is there and is another one."),
    ] = "fail",
) -> None:
    """Read an export into a database that no server holds; it is made where it is not there.

    Documents come in whole, with their numbers, authors and times. What is
    there already is left as it is, so a file can be imported again after
    whatever went wrong. A document that is there and is another one ends the
    import, is skipped, or gets the revisions appended that follow its own.
    """
    from plait_server.data.import_ import ImportFailed, import_file
    from plait_server.data.incoming import OnExisting

    try:
        settings = _settings(db, config)
        with _opened(source) as file:
            size = None if source == STREAM else source.stat().st_size
            imported = import_file(file, str(source), size, settings, OnExisting(on_existing))
    except (ConfigError, StoreRefused, ImportFailed) as refusal:
        _refuse(str(refusal))
    except OSError as error:
        _refuse(f"{source} cannot be read: {error.strerror}.")
    typer.echo(f"{settings.db}: {imported}.")


def _opened(source: Path) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if source == STREAM else source.open("rb")


def _settings(db: Path | None, config: Path | None) -> Settings:
    return load({"db": db}, config)


def _refuse(sentence: str, code: int = FAILED) -> NoReturn:
    typer.echo(f"plait: {sentence}", err=True)
    raise typer.Exit(code)
