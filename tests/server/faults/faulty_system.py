"""A disk and a clock of a server that fail on demand, and what a power cut leaves of the disk.

`faulty_system.c` stands between the server and the C library. What it does is in a file that both sides have
in their memory, so that faults begin and end while the server runs. It keeps a journal of what the server
wrote and synced; `Disk` plays that journal as a page cache over a disk would:

    a write is in the cache, in pages of 4,096 bytes; any of them may be put on the disk at any time
    a sync puts all of them on the disk; one that fails puts some there, and calls all of them written
    a power cut leaves of each page that is not on the disk any of its sectors of 512 bytes, old or new

A file is on the disk with its first sync; its removal is there at once.
"""

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from random import Random
from typing import Final

import pytest

SOURCE: Final = Path(__file__).with_name("faulty_system.c")
PAGE_BYTES: Final = 4_096
SECTOR_BYTES: Final = 512
CONTROL: Final = (
    "clock_offset_s",
    "write_before",
    "write_times",
    "write_error",
    "sync_before",
    "sync_times",
    "sync_error",
    "short_every",
    "sync_lies",
    "injected",
    "short_writes",
    "lies",
)
ENTRY: Final = struct.Struct("=4q")
CHANCES: Final = (0.0, 0.1, 0.5, 0.9)
"""How much of what was not synced a power cut leaves: one of these."""


def build(folder: Path) -> Path:
    """Build the layer with the machine's compiler; skip the test where there is none."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or os.uname().sysname != "Linux":
        pytest.skip("FAULTY DISKS AND CLOCKS ARE NOT TRIED: that takes Linux and a C compiler (cc)")
    library = folder / "faulty_system.so"
    command = (
        compiler,
        "-O2",
        "-Wall",
        "-Werror",
        "-shared",
        "-fPIC",
        "-o",
        library,
        SOURCE,
        "-ldl",
        "-lpthread",
    )
    subprocess.run(command, check=True, timeout=60)
    return library


class FaultySystem:
    """What a server in a folder runs on. Start it with `prefix`; set its faults at any time."""

    def __init__(self, library: Path, folder: Path, database: str = "plait.db") -> None:
        self._folder = folder
        self._database = database
        side = folder / "system"
        side.mkdir()
        control, self._journal = side / "control", side / "journal"
        control.write_bytes(bytes(8 * len(CONTROL)))
        self._file = control.open("r+b")
        self._control = mmap.mmap(self._file.fileno(), 0)
        self.prefix = (
            "env",
            f"LD_PRELOAD={library}",
            f"PLAIT_FAULTS_FILES={database}",
            f"PLAIT_FAULTS_CONTROL={control}",
            f"PLAIT_FAULTS_JOURNAL={self._journal}",
        )
        """What a command is started through to run on this system."""
        self._disk = Disk()

    def close(self) -> None:
        self._control.close()
        self._file.close()

    def __getitem__(self, name: str) -> int:
        value: int = struct.unpack_from("=q", self._control, 8 * CONTROL.index(name))[0]
        return value

    def __setitem__(self, name: str, value: int) -> None:
        struct.pack_into("=q", self._control, 8 * CONTROL.index(name), value)

    def fail(self, what: str, error: int, before: int = 0, times: int = -1) -> None:
        """Let `before` writes ("write") or syncs ("sync") go well, and so many after them fail (-1: all)."""
        self[f"{what}_error"] = 0
        self[f"{what}_before"], self[f"{what}_times"] = before, times
        self[f"{what}_error"] = error

    def heal(self) -> None:
        """Let no write and no sync fail from now on."""
        for name in ("write_error", "sync_error", "short_every", "sync_lies"):
            self[name] = 0

    def begin(self) -> None:
        """Take what is in the files for what is on the disk. No server may be running."""
        self._journal.unlink(missing_ok=True)
        self._disk = Disk({path.name: File.of(path.read_bytes()) for path in self._files()})

    def cuts(self, random: Random, count: int) -> Iterator[dict[str, bytes]]:
        """Give what the disk would hold had the power gone at some moments on the way here."""
        entries = list(self._entries())
        moments = set(random.sample(range(len(entries)), min(count, len(entries))))
        yield from self._disk.copy().play(entries, random, moments)

    def cut_power(self, random: Random) -> None:
        """Leave in the files what the disk holds if the power goes now. The server is killed before."""
        disk = self._disk
        for _ in disk.play(list(self._entries()), random, ()):
            pass
        disk.notice({path.name: path.read_bytes() for path in self._files()})
        write_files(self._folder, self._database, disk.after_a_power_cut(random))
        self.begin()

    def _files(self) -> list[Path]:
        return [path for path in self._folder.glob(f"{self._database}*") if path.suffix in (".db", ".db-wal")]

    def _entries(self) -> Iterator["Entry"]:
        """Read the journal; a last entry that a kill cut short is left out."""
        journal = self._journal.read_bytes() if self._journal.exists() else b""
        at = 0
        while at + ENTRY.size <= len(journal):
            kind, offset, length, name_length = ENTRY.unpack_from(journal, at)
            at += ENTRY.size
            name = Path(os.fsdecode(journal[at : at + name_length])).name
            at += name_length
            written = journal[at : at + length] if kind == Kind.WRITE else b""
            if len(written) < length:
                return
            at += len(written)
            yield Entry(Kind(kind), name, offset, written)


class Kind(IntEnum):
    """What was done to a file."""

    WRITE = 0
    SYNC = 1
    FAILED_SYNC = 2
    TRUNCATE = 3
    UNLINK = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of a file, or a sync of it."""

    kind: Kind
    name: str
    offset: int
    written: bytes


@dataclass(slots=True)
class File:
    """A file as programs see it and as it is on the disk, what may differ, where it was cut off since."""

    seen: bytearray = field(default_factory=bytearray)
    stored: bytearray | None = None
    dirty: set[int] = field(default_factory=set)
    cut_to: int | None = None

    @classmethod
    def of(cls, content: bytes) -> "File":
        return cls(bytearray(content), bytearray(content))

    def copy(self) -> "File":
        stored = None if self.stored is None else bytearray(self.stored)
        return File(bytearray(self.seen), stored, set(self.dirty), self.cut_to)

    def write(self, offset: int, written: bytes) -> None:
        _put(self.seen, offset, written)
        self.dirty.update(range(offset // PAGE_BYTES, -(-(offset + len(written)) // PAGE_BYTES)))

    def truncate(self, length: int) -> None:
        if length < len(self.seen):
            del self.seen[length:]
            self.cut_to = min(length, length if self.cut_to is None else self.cut_to)
        else:
            self.seen.extend(bytes(length - len(self.seen)))

    def sync(self) -> None:
        stored = self._on_disk()
        self._settle_length(stored)
        for page in self.dirty:
            self._put_page(stored, page)
        del stored[len(self.seen) :]
        stored.extend(bytes(len(self.seen) - len(stored)))
        self.dirty.clear()

    def fail_sync(self, random: Random) -> None:
        """Put some pages on the disk, and take all of them for written."""
        stored = self._on_disk()
        for page in sorted(self.dirty):
            if random.random() < 0.5:
                self._put_page(stored, page)
        self.dirty.clear()

    def write_back(self, random: Random) -> None:
        """Put a page on the disk, as the system does when it has the time."""
        if self.stored is not None and self.dirty:
            self._put_page(self.stored, random.choice(sorted(self.dirty)))

    def notice(self, content: bytes) -> None:
        """Take over what the file holds, where a kill kept that from the journal."""
        length = max(len(content), len(self.seen))
        for at in range(0, length, PAGE_BYTES):
            if content[at : at + PAGE_BYTES] != self.seen[at : at + PAGE_BYTES]:
                self.dirty.add(at // PAGE_BYTES)
        self.seen[:] = content

    def after_a_power_cut(self, random: Random, chance: float) -> bytes | None:
        """Give what the disk holds: sector by sector old or new where nothing was synced."""
        if self.stored is None:
            return None
        left = bytearray(self.stored)
        if random.random() < 0.5:
            self._settle_length(left)
        for page in sorted(self.dirty):
            for at in range(page * PAGE_BYTES, (page + 1) * PAGE_BYTES, SECTOR_BYTES):
                if random.random() < chance:
                    _put(left, at, self.seen[at : at + SECTOR_BYTES])
        return bytes(left)

    def _on_disk(self) -> bytearray:
        if self.stored is None:
            self.stored = bytearray()
        return self.stored

    def _put_page(self, stored: bytearray, page: int) -> None:
        _put(stored, page * PAGE_BYTES, self.seen[page * PAGE_BYTES : (page + 1) * PAGE_BYTES])

    def _settle_length(self, stored: bytearray) -> None:
        if self.cut_to is not None:
            del stored[self.cut_to :]
            self.cut_to = None


def _put(into: bytearray, offset: int, written: bytes | bytearray) -> None:
    if not written:
        return
    into.extend(bytes(max(0, offset - len(into))))
    into[offset : offset + len(written)] = written


@dataclass(slots=True)
class Disk:
    """Files by name, as they come out of a journal."""

    files: dict[str, File] = field(default_factory=dict)

    def copy(self) -> "Disk":
        return Disk({name: file.copy() for name, file in self.files.items()})

    def play(
        self, entries: Collection[Entry], random: Random, moments: Collection[int]
    ) -> Iterator[dict[str, bytes]]:
        """Do what a journal says; give what a power cut before some of its entries leaves."""
        for number, entry in enumerate(entries):
            if number in moments:
                yield self.copy().after_a_power_cut(random)
            self._do(entry, random)

    def notice(self, contents: dict[str, bytes]) -> None:
        """Take over what the files hold, where a kill kept that from the journal."""
        for name, content in contents.items():
            self.files.setdefault(name, File()).notice(content)

    def after_a_power_cut(self, random: Random) -> dict[str, bytes]:
        chance = random.choice(CHANCES)
        left = {name: file.after_a_power_cut(random, chance) for name, file in self.files.items()}
        return {name: content for name, content in left.items() if content is not None}

    def _do(self, entry: Entry, random: Random) -> None:
        if entry.kind is Kind.UNLINK:
            self.files.pop(entry.name, None)
            return
        file = self.files.setdefault(entry.name, File())
        match entry.kind:
            case Kind.WRITE:
                file.write(entry.offset, entry.written)
                if random.random() < 0.05:
                    file.write_back(random)
            case Kind.SYNC:
                file.sync()
            case Kind.FAILED_SYNC:
                file.fail_sync(random)
            case Kind.TRUNCATE:
                file.truncate(entry.offset)


def write_files(folder: Path, database: str, contents: dict[str, bytes]) -> None:
    """Put files in the place of a database and what belongs to it."""
    for name in (database, f"{database}-wal", f"{database}-shm"):
        (folder / name).unlink(missing_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
