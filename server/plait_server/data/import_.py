"""`plait import`: the lines of an export, into a store that nobody serves.

A document is taken whole or not at all, and several of them share a sync. What is there already is compared
and left as it is, so a file can be imported again after whatever went wrong. Whatever a line holds has to be
within the limits that an edit has; only the schema of its collection is not asked, as it is not for documents
that were there before it.
"""

import sqlite3
from collections.abc import Callable, Iterator
from time import time
from typing import BinaryIO, Final

from msgspec import Struct

from plait_merge import ABSENT, Json, diff, same
from plait_server import errors
from plait_server.config import Settings
from plait_server.data.incoming import (
    Differs,
    Incoming,
    OnExisting,
    Unacceptable,
    check_document,
    check_patch,
)
from plait_server.data.line import (
    VERSION,
    CollectionLine,
    DocumentLine,
    End,
    Header,
    HistoryLine,
    Line,
    Lines,
    Refused,
    RevisionLine,
    read_moment,
)
from plait_server.data.progress import Advance, counted, progress
from plait_server.service.rules import read_rules
from plait_server.store import Address, CollectionRecord, LabelRecord, RevisionRecord
from plait_server.store.file import hold_file
from plait_server.store.intake import Intake
from plait_server.web.application import service_limits
from plait_server.web.collections import settings_of
from plait_server.web.problems import Problem
from plait_server.wire import encode

LINE_TIMES: Final = 8
LINE_BYTES_MIN: Final = 65_536
"""A line is as long as some documents: it has a patch as it was submitted, and as it was committed."""
BATCH_REVISIONS: Final = 10_000
BATCH_BYTES: Final = 16_777_216
"""After so much the next document waits until what was written is synced."""


class ImportFailed(Exception):
    """The import came to an end before the end of the file; the message says why, for an operator."""


class Imported(Struct):
    """How much: documents written, there already, left as others; revisions written."""

    documents: int = 0
    present: int = 0
    skipped: int = 0
    revisions: int = 0

    def __str__(self) -> str:
        new = f"{counted(self.documents, 'document')} with {counted(self.revisions, 'new revision')}"
        return f"{new}, {self.present:,} there already, {self.skipped:,} left as they are"


def import_file(
    file: BinaryIO, name: str, size_bytes: int | None, settings: Settings, on_existing: OnExisting
) -> Imported:
    """Import a file into the store that the settings name, which is made where it is not there.

    Raises StoreRefused where the store cannot be held, and ImportFailed; what is durable by then stays.
    """
    with hold_file(settings.db) as connection:
        try:
            with progress("Importing", size_bytes, "bytes") as advance:
                importer = Import(Intake(connection), file, settings, on_existing, advance)
                importer.run()
        except Refused as refusal:
            raise ImportFailed(
                f"{name}, {refusal} What is whole before it is in the store: {importer.imported}. "
                "Mend the file and import it again."
            ) from refusal
        except sqlite3.Error as error:
            raise ImportFailed(
                f"{settings.db} cannot be written: {error}. What is in it stays; import the file again."
            ) from error
        return importer.imported


class Import:
    """One import, from the first line to the last."""

    def __init__(
        self,
        intake: Intake,
        file: BinaryIO,
        settings: Settings,
        on_existing: OnExisting = OnExisting.FAIL,
        advance: Advance = lambda count: None,
        clock: Callable[[], float] = time,
    ) -> None:
        self.imported = Imported()
        self._intake = intake
        self._limits = service_limits(settings)
        self._message_bytes_max = settings.message_bytes_max
        line_bytes_max = LINE_TIMES * max(
            LINE_BYTES_MIN, settings.document_bytes_max, settings.patch_bytes_max
        )
        self._lines = Lines(file, self._limits.values, line_bytes_max)
        self._on_existing = on_existing
        self._advance = advance
        self._clock = clock
        # Lines that told of a document, and of a revision.
        self._documents = self._revisions = 0
        self._begun: set[tuple[str, str]] = set()
        """Collections whose settings come from this file."""
        self._unsynced_revisions = self._unsynced_bytes = self._advanced = 0

    def run(self) -> None:
        """Take every line. Raises Refused once all that is whole before the line is durable."""
        try:
            self._check_header()
            while not isinstance(line := self._next(), End):
                self._take(line)
            self._check_end(line)
        except Unacceptable as error:
            self._intake.commit()
            raise self._refused(str(error)) from error
        except Refused:
            self._intake.commit()
            raise
        self._intake.commit()

    def _next(self) -> Line:
        for line in self._lines:
            return line
        raise Refused(self._lines.number + 1, "The file ends here, before the line that ends an export.")

    def _refused(self, reason: str) -> Refused:
        return Refused(self._lines.number, reason)

    def _check_header(self) -> None:
        line = self._next()
        if not isinstance(line, Header):
            raise self._refused('The first line of an export has "t": "export".')
        if line.version != VERSION:
            raise self._refused(f"It is of version {line.version}, and this program reads {VERSION}.")

    def _check_end(self, end: End) -> None:
        for told, came, what in (
            (end.documents, self._documents, "documents"),
            (end.revisions, self._revisions, "revisions"),
        ):
            if told is not None and told != came:
                raise self._refused(f"It tells of {told} {what}, and {came} came before it.")
        if next(self._lines, None) is not None:
            raise self._refused("Nothing may stand after the line that ends an export.")

    def _take(self, line: Line) -> None:
        match line:
            case CollectionLine():
                self._take_collection(line)
            case DocumentLine():
                self._documents += 1
                self._take_document(line)
            case HistoryLine():
                self._documents += 1
                self._take_history(line)
            case RevisionLine():
                raise self._refused("A revision stands after the line of its history.")
            case _:
                raise self._refused("An export begins once.")
        self._advance(self._lines.bytes_read - self._advanced)
        self._advanced = self._lines.bytes_read

    def _take_collection(self, line: CollectionLine) -> None:
        """Write settings that are not there; where others are, do as `on_existing` says."""
        place = (line.tenant, line.collection)
        records = self._intake.archive.collections(line.collection)
        there = [record.body for record in records if record.tenant == line.tenant]
        self._check_settings(line)
        body = encode(line.settings)
        # Without a number, they are what holds now.
        n = line.revision or (len(there) if there and there[-1] == body else len(there) + 1)
        if n <= len(there) and there[n - 1] == body:
            return
        may_append = place in self._begun or self._on_existing is OnExisting.APPEND
        if there and (n <= len(there) or not may_append):
            if self._on_existing is not OnExisting.SKIP:
                raise self._refused(f"The settings of {line.collection} in the store are others.")
            return
        if n != len(there) + 1:
            raise self._refused(f"Revision {len(there) + 1} of these settings has to come first.")
        if not there and self._intake.count_collections(line.tenant) >= self._limits.collections_max:
            raise self._refused(f"There are settings of {self._limits.collections_max} collections already.")
        self._begun.add(place)
        author, at = self._author(line.author), self._moment(line.at)
        self._intake.add_collection(CollectionRecord(*place, n, body, author, at))

    def _check_settings(self, line: CollectionLine) -> None:
        """Refuse settings that a server refuses."""
        try:
            read_rules(settings_of(line.settings), 1, line.author, 0, self._limits)
        except (Problem, errors.Invalid) as error:
            raise self._refused(f"{error.detail} {_reasons(error)}".rstrip()) from error

    def _take_document(self, line: DocumentLine) -> None:
        """Write a document without history: as created, or as a new revision of what is there."""
        document = self._incoming(line.address)
        author, at = self._author(line.author), self._moment(line.at)
        check_document(line.value, self._limits)
        before = document.value()
        if document.stored is not None and same(before, line.value):
            self.imported.present += 1
            return
        head = 0 if document.stored is None else document.stored.head
        patch: Json = [{"op": "add", "path": "", "value": line.value}]
        if before is not ABSENT:
            patch = diff(before, line.value)
        record = RevisionRecord(
            n=head + 1,
            kind="create" if before is ABSENT else "edit",
            patch=encode(patch),
            base=head or None,
            submitted=None,
            author=author,
            caller=author,
            key=None,
            at=at,
            message=None,
            trace=None,
        )
        try:
            with self._intake.whole():
                document.add(record, patch)
                document.finish(record.at, 1, ())
        except Differs as difference:
            self._leave(line.address, difference)
        else:
            self._note(document)

    def _take_history(self, line: HistoryLine) -> None:
        """Write the revisions of a document that are not there."""
        document = self._incoming(line.address)
        revisions = self._revisions_of(line)
        alone = {line.oldest, *(label.revision for label in line.labels)}
        created = None if line.created is None else self._moment(line.created)
        labels = [
            LabelRecord(label.label, label.revision, self._author(label.author), self._moment(label.at))
            for label in line.labels
        ]
        try:
            with self._intake.whole():
                for revision in revisions:
                    record = self._record(revision)
                    if record.n == 1:
                        created = record.at
                    if not document.has(record):
                        document.add(record, revision.patch, revision.value, record.n in alone)
                if created is None:
                    raise self._refused("Its first revision is not there, nor is told when it was created.")
                document.finish(created, line.oldest, labels)
        except Differs as difference:
            self._leave(line.address, difference)
            for _ in revisions:
                pass
        else:
            self._note(document)

    def _revisions_of(self, line: HistoryLine) -> Iterator[RevisionLine]:
        """Read the lines that have to follow that of a history."""
        labelled = {label.revision for label in line.labels}
        if max(line.oldest, *labelled, 0) > line.head:
            raise self._refused(f"It names a revision after {line.head}, its last one.")
        if len(line.labels) > self._limits.labels_max:
            raise self._refused(f"It has more than {self._limits.labels_max} labels.")
        last = 0
        while last < line.head:
            revision = self._next()
            if not isinstance(revision, RevisionLine):
                raise self._refused(f"Revision {last + 1} of {line.document} has to stand here.")
            n = revision.revision
            if n != last + 1 and not last < n <= line.oldest:
                raise self._refused(f"After revision {last} of {line.document} stands {n}.")
            if n < line.oldest and n not in labelled:
                raise self._refused(f"Revision {n} is before the oldest kept one and has no label.")
            labelled.discard(n)
            self._revisions += 1
            yield revision
            last = n
        if labelled:
            raise self._refused(f"Revision {min(labelled)} of {line.document} has a label and is not there.")

    def _record(self, line: RevisionLine) -> RevisionRecord:
        if line.message is not None and len(line.message.encode()) > self._message_bytes_max:
            raise self._refused(f"The message is longer than {self._message_bytes_max} bytes.")
        if line.submitted is not None:
            check_patch(line.submitted, self._limits.values, extended=True)
        author = self._author(line.author)
        return RevisionRecord(
            n=line.revision,
            kind=line.kind,
            patch=encode(line.patch),
            base=line.base,
            submitted=None if line.submitted is None else encode(line.submitted),
            author=author,
            caller=author if line.caller is None else self._author(line.caller),
            key=line.key,
            at=self._moment(line.at),
            message=line.message,
            trace=line.trace,
            policy=line.policy,
        )

    def _incoming(self, address: Address) -> Incoming:
        return Incoming(address, self._intake, self._limits, self._on_existing)

    def _leave(self, address: Address, difference: Differs) -> None:
        """Leave a document as it is in the store, or let that be the end."""
        if self._on_existing is OnExisting.SKIP:
            self.imported.skipped += 1
            return
        hint = ""
        if self._on_existing is OnExisting.FAIL:
            hint = " --on-existing skip leaves such documents, append adds what is new."
        raise self._refused(f"{address.document} is in the store, and {difference}.{hint}")

    def _note(self, document: Incoming) -> None:
        """Count a document that is in the store now, and sync from time to time."""
        if document.revisions:
            self.imported.documents += 1
            self.imported.revisions += document.revisions
        else:
            self.imported.present += 1
        self._unsynced_revisions += document.revisions
        self._unsynced_bytes += document.bytes
        if self._unsynced_revisions >= BATCH_REVISIONS or self._unsynced_bytes >= BATCH_BYTES:
            self._intake.commit()
            self._unsynced_revisions = self._unsynced_bytes = 0

    def _author(self, name: str) -> str:
        if name and not name.isprintable():
            raise self._refused("An author has a name of printable characters.")
        return name

    def _moment(self, text: str | None) -> int:
        """Read a time; where none is told, it is now."""
        if text is None:
            return int(self._clock() * 1000)
        try:
            at = read_moment(text)
        except ValueError as error:
            raise self._refused(f"There is no such time as {text}.") from error
        if at < 0:
            raise self._refused(f"{text} is before 1970.")
        return at


def _reasons(error: Problem | errors.Invalid) -> str:
    problems = error.members.get("errors", ())
    assert isinstance(problems, list | tuple)
    return " ".join(f"{problem['pointer'].removeprefix('#')}: {problem['detail']}" for problem in problems)
