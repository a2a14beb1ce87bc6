"""`plait backup`: a copy of a store as it is at one moment, made while a server may be writing to it.

The copy is read through one read transaction, so what is written meanwhile neither gets into it nor makes it
begin again. It is written beside its destination under another name, checked, synced, and renamed.
"""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from msgspec import Struct

from plait_server.data.progress import Advance, counted, progress
from plait_server.store.archive import Archive, open_archive

PAGES_AT_ONCE = 1_000
LOGS = ("-wal", "-shm", "-journal")
"""What SQLite has beside a file while it is open, or after a crash."""


class BackupFailed(Exception):
    """There is no backup; the message says why, in words for an operator."""


class Backup(Struct, frozen=True):
    """What was made."""

    path: Path
    size_bytes: int
    rows: dict[str, int]

    def __str__(self) -> str:
        documents, revisions = self.rows.get("documents", 0), self.rows.get("revisions", 0)
        rows = f"{counted(documents, 'document')}, {counted(revisions, 'revision')}"
        return f"{self.path}: {rows}, {counted(self.size_bytes, 'byte')}."


def back_up(source: Path, destination: Path, *, force: bool = False) -> Backup:
    """Copy the store at `source` to `destination`; with `force` over what is there.

    Raises StoreRefused where there is no store to copy, BackupFailed for everything else: then there is
    nothing new under the name of the destination.
    """
    _check_destination(source, destination, force)
    with open_archive(source, any_version=True) as archive, _partial(destination) as file:
        try:
            shutil.copymode(source, file.name)
            rows = _count(archive.connection)
            _copy(archive, Path(file.name))
            _check(Path(file.name), rows)
            os.fsync(file.fileno())
        except (sqlite3.Error, OSError) as error:
            raise BackupFailed(f"{destination} cannot be written: {error}.") from error
        _check_destination(source, destination, force)
        os.replace(file.name, destination)
        _sync_folder(destination)
        return Backup(destination, destination.stat().st_size, rows)


def _check_destination(source: Path, destination: Path, force: bool) -> None:
    if destination.exists():
        if source.exists() and destination.samefile(source):
            raise BackupFailed(f"{destination} is the database itself.")
        if not force or not destination.is_file():
            raise BackupFailed(f"{destination} is there already; --force replaces a file.")
    for ending in LOGS:
        # SQLite would write it into the backup.
        if (log := Path(f"{destination}{ending}")).exists():
            raise BackupFailed(f"{log} belongs to a database of that name that is or was open; move it away.")


@contextmanager
def _partial(destination: Path) -> Iterator[IO[bytes]]:
    """Make the file to write to, or take over what a killed backup left. It goes where there is an error."""
    path = Path(f"{destination}.partial")
    try:
        file = path.open("ab")
    except OSError as error:
        raise BackupFailed(f"{path} cannot be written: {error.strerror}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have become somebody's finished backup between the two calls.
            is_ours = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except OSError:
            is_ours = False
        if not is_ours:
            raise BackupFailed(f"Another backup to {destination} is under way.")
        for ending in LOGS:
            Path(f"{path}{ending}").unlink(missing_ok=True)
        file.truncate(0)
        try:
            yield file
        except BaseException:
            path.unlink()
            raise


def _copy(archive: Archive, path: Path) -> None:
    """Copy page by page. What the copy is not: a file with a log, and a store with an epoch."""
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        # Nobody else sees it before it is whole and synced: no journal, no syncs in between.
        copy.execute("PRAGMA synchronous = OFF")
        copy.execute("PRAGMA journal_mode = MEMORY")
        (pages,) = archive.connection.execute("PRAGMA page_count").fetchone()
        with progress("Copying", pages, "pages") as advance:
            archive.connection.backup(copy, pages=PAGES_AT_ONCE, progress=_Pages(advance))
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        copy.execute("PRAGMA journal_mode = MEMORY").fetchall()
        copy.execute("UPDATE store SET epoch = ''")


class _Pages:
    """Turns what SQLite tells, pages that remain, into progress."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._done = 0

    def __call__(self, status: int, remaining: int, total: int) -> None:
        self._advance(total - remaining - self._done)
        self._done = total - remaining


def _check(path: Path, rows: dict[str, int]) -> None:
    """Read the copy once more, through a connection of its own."""
    with open_archive(path, any_version=True) as copy:
        faults = list(copy.faults())
        if faults:
            raise BackupFailed(f"The copy is damaged: {faults[0]}. Ask `plait doctor` about the database.")
        if _count(copy.connection) != rows:
            raise BackupFailed("The copy has not as many rows as the database.")


def _count(connection: sqlite3.Connection) -> dict[str, int]:
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return {
        name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
        for (name,) in tables.fetchall()
    }


def _sync_folder(destination: Path) -> None:
    folder = os.open(destination.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
