"""`plait export`: documents and their history as lines of JSON, while a server may be writing.

An export is the state after one revision, the newest when it began; its `seq` is in the first line. What was
there then never changes, so an export that broke off is continued as of the same state, however much was
written meanwhile: after the last document that is whole for certain, which is the one before the last.
"""

import os
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import BinaryIO

from msgspec import Raw, Struct, json
from msgspec.structs import replace

from plait_merge import ABSENT, Inapplicable, MalformedPatch
from plait_server.data.line import (
    VERSION,
    CollectionLine,
    DocumentLine,
    End,
    Header,
    HistoryLine,
    Label,
    RevisionLine,
    write_line,
    written,
)
from plait_server.data.progress import progress
from plait_server.service.moment import format_moment
from plait_server.service.revision import replay
from plait_server.store import Address
from plait_server.store.archive import Archive, HeadRecord, LinkedRevision, Unreadable, open_archive
from plait_server.wire import encode


class ExportFailed(Exception):
    """The export is not there, or not whole; the message says why, in words for an operator."""


class Export(Struct, frozen=True):
    """What is wanted: with or without history, of all collections or of one."""

    history: bool = True
    collection: str | None = None


def export(source: Path, wanted: Export, output: Path | None, *, resume: bool, force: bool) -> End:
    """Write an export to a file, or to stdout. Gives its last line.

    A file that is there is continued with `resume`, replaced with `force`. Raises StoreRefused where there is
    no store, ExportFailed and OSError.
    """
    try:
        return _export(source, wanted, output, resume, force)
    except (Unreadable, Inapplicable, MalformedPatch, ValueError, TypeError) as error:
        raise ExportFailed(f"{source} is damaged; ask `plait doctor`. ({error})") from error


def _export(source: Path, wanted: Export, output: Path | None, resume: bool, force: bool) -> End:
    with open_archive(source) as archive:
        header = Header(
            VERSION,
            wanted.history,
            format_moment(int(time() * 1000)),
            archive.epoch or None,
            archive.last_seq(),
            wanted.collection,
        )
        if output is None:
            return _write(archive, Begun(header), sys.stdout.buffer)
        if output.exists() and not (resume or force):
            raise ExportFailed(f"{output} is there already; --force replaces it, --resume continues it.")
        begun = Begun(header)
        if resume and output.exists():
            begun = read_begun(output) or begun
            _check_same(output, begun.header, header)
        with open(output, "r+b" if begun.size_bytes else "wb") as file:
            file.truncate(begun.size_bytes)
            file.seek(begun.size_bytes)
            end = begun.end or _write(archive, begun, file)
            file.flush()
            os.fsync(file.fileno())
            return end


class Begun(Struct, frozen=True):
    """An export so far: `size_bytes` hold the header, so many documents and revisions, up to that of `after`.

    `end` is its last line where it is whole.
    """

    header: Header
    size_bytes: int = 0
    after: Address | None = None
    documents: int = 0
    revisions: int = 0
    end: End | None = None


def read_begun(path: Path) -> Begun | None:
    """Find out how far an export came. None: not to its first document. Raises ExportFailed.

    The last document in it is not counted on: it may be cut off. Cost: about a second per gigabyte.
    """
    begun: Begun | None = None
    last = b""
    with path.open("rb") as file:
        first = file.readline()
        if not first.endswith(b"\n") and _EXPORT.startswith(first[: len(_EXPORT)]):
            return None
        header = _read_header(path, first)
        size, documents, revisions = len(first), 0, 0
        for line in file:
            if line.startswith(_BEGINNINGS):
                begun = Begun(header, size, _read_address(last), documents, revisions)
                last = line
                documents += 1
            elif line.startswith(_REVISION):
                revisions += 1
            elif line.startswith(_END) and line.endswith(b"\n"):
                whole = Begun(header, size + len(line), None, documents, revisions)
                return replace(whole, end=End(documents, revisions))
            size += len(line)
    return begun


def _read_header(path: Path, line: bytes) -> Header:
    try:
        return json.decode(line, type=Header)
    except ValueError as error:
        raise ExportFailed(f"{path} is no export, and is left as it is.") from error


def _read_address(line: bytes) -> Address | None:
    return json.decode(line, type=HistoryLine | DocumentLine).address if line else None


def _check_same(output: Path, begun: Header, wanted: Header) -> None:
    """Refuse to continue what was begun as something else."""
    if begun.epoch != wanted.epoch:
        raise ExportFailed(f"{output} is of another database, or of this one before it was restored.")
    if (begun.history, begun.collection) != (wanted.history, wanted.collection):
        raise ExportFailed(f"{output} was begun with other options: continue it with the same ones.")


def _write(archive: Archive, begun: Begun, file: BinaryIO) -> End:
    """Write what is missing of an export; give its last line."""
    documents, revisions = begun.documents, begun.revisions
    header = begun.header
    unit = "revisions" if header.history else "documents"
    with progress("Exporting", archive.count(unit), unit) as advance:
        if not begun.size_bytes:
            file.write(write_line(header))
            for settings in _collection_lines(archive, header):
                file.write(write_line(settings))
        for head in archive.documents(begun.after, header.collection):
            count = 0
            for line in _document_lines(archive, head, header):
                file.write(write_line(line))
                count += 1
            documents += count > 0
            revisions += count - 1 if header.history and count else 0
            advance(count)
    end = End(documents, revisions)
    file.write(write_line(end))
    file.flush()
    return end


def _collection_lines(archive: Archive, header: Header) -> Iterator[CollectionLine]:
    """Tell what holds in the collections: since ever, or now."""
    of_newest = None
    for record in archive.collections(header.collection):
        line = CollectionLine(
            collection=record.name,
            settings=Raw(record.body),
            tenant=written(record.tenant),
            revision=record.n if header.history else None,
            author=record.author,
            at=format_moment(record.at),
        )
        if header.history:
            yield line
        elif of_newest is not None and (of_newest.tenant, of_newest.collection) != (
            line.tenant,
            line.collection,
        ):
            yield of_newest
        of_newest = line
    if of_newest is not None and not header.history:
        yield of_newest


def _document_lines(
    archive: Archive, head: HeadRecord, header: Header
) -> Iterator[HistoryLine | RevisionLine | DocumentLine]:
    """Tell of a document as it was in the state that is exported; nothing where it was not there."""
    seqs = archive.chain(head.latest) if header.history or head.latest > _upto(header) else array("q")
    n = head.head
    if head.latest > _upto(header):
        kept = bisect_right(seqs, _upto(header))
        n -= len(seqs) - kept
        seqs = seqs[:kept]
        if n < head.oldest:
            if n == 0:
                return
            raise ExportFailed(
                f"Revision {n} of {head.address.document} is compacted away by now: begin a new export."
            )
    if header.history:
        yield from _history_lines(archive, head, n, seqs)
    else:
        yield from _value_lines(archive, head, n)


def _history_lines(
    archive: Archive, head: HeadRecord, n: int, seqs: "array[int]"
) -> Iterator[HistoryLine | RevisionLine]:
    yield HistoryLine(
        document=head.address.document,
        head=n,
        tenant=written(head.address.tenant),
        oldest=head.oldest,
        created=format_moment(head.created) if head.oldest > 1 else None,
        labels=tuple(
            Label(label.name, label.n, format_moment(label.at), label.author)
            for label in archive.labels(head.address)
            if label.n <= n
        ),
    )
    last = 0
    for linked in archive.revisions(seqs):
        line = _revision_line(linked)
        if linked.record.n != last + 1 and line.kind == "edit":
            line = replace(line, value=_value_at(archive, head, linked.record.n))
        yield line
        last = linked.record.n


def _revision_line(linked: LinkedRevision) -> RevisionLine:
    record = linked.record
    return RevisionLine(
        revision=record.n,
        kind=record.kind,
        at=format_moment(record.at),
        patch=Raw(record.patch),
        author=record.author,
        caller=None if record.caller == record.author else record.caller,
        base=record.base,
        submitted=None if record.submitted is None else Raw(record.submitted),
        message=record.message,
        key=record.key,
        policy=record.policy,
        trace=record.trace,
    )


def _value_at(archive: Archive, head: HeadRecord, n: int) -> Raw:
    """Give the value of a revision that is the first after a gap."""
    snapshot = archive.snapshot(head.address, n)
    if snapshot is None or snapshot.n != n:
        raise ExportFailed(f"Revision {n} of {head.address.document} cannot be read; ask `plait doctor`.")
    return Raw(snapshot.value)


def _value_lines(archive: Archive, head: HeadRecord, n: int) -> Iterator[DocumentLine]:
    revision = replay(archive.stored(head, n))[-1]
    if revision.value is not ABSENT:
        yield DocumentLine(
            document=head.address.document,
            value=Raw(encode(revision.value)),
            tenant=written(head.address.tenant),
            author=revision.record.author,
            at=format_moment(revision.record.at),
        )


def _upto(header: Header) -> int:
    assert header.seq is not None
    return header.seq


_EXPORT = b'{"t":"export"'
_BEGINNINGS = (b'{"t":"document"', b'{"t":"history"')
_REVISION = b'{"t":"revision"'
_END = b'{"t":"end"'
