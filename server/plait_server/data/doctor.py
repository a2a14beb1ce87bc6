"""`plait doctor`: everything that should hold in a store, checked, with a report."""

import time

from msgspec import Struct

from plait_server.config import Settings
from plait_server.data.progress import counted, progress
from plait_server.service.invariants import Finding, check
from plait_server.store.archive import open_archive
from plait_server.web.application import service_limits
from plait_server.wire import encode

FINDINGS_MAX = 1_000
"""More than this are counted and not kept: a broken file may have as many as it has rows."""


class Report(Struct, frozen=True):
    """What was looked at and what was found; `findings` are the first of `findings_total`."""

    db: str
    epoch: str | None
    documents: int
    revisions: int
    seconds: float
    findings_total: int
    findings: list[Finding]


def examine(settings: Settings) -> Report:
    """Check the database that these settings name. Raises StoreRefused."""
    started = time.perf_counter()
    findings: list[Finding] = []
    total = 0
    with open_archive(settings.db) as archive:
        documents, revisions = archive.count("documents"), archive.count("revisions")
        with progress("Checking", revisions, "revisions") as advance:
            for finding in check(archive, service_limits(settings), advance):
                total += 1
                if total <= FINDINGS_MAX:
                    findings.append(finding)
        epoch = archive.epoch or None
    seconds = round(time.perf_counter() - started, 3)
    return Report(str(settings.db), epoch, documents, revisions, seconds, total, findings)


def show(report: Report, *, as_json: bool) -> None:
    """Print a report on stdout: one JSON object, or a sentence and a table."""
    if as_json:
        print(encode(report).decode())
        return
    rows = f"{counted(report.documents, 'document')}, {counted(report.revisions, 'revision')}"
    found = counted(report.findings_total, "finding") if report.findings_total else "nothing found"
    print(f"{report.db}: {rows}, {report.seconds:.1f} s: {found}.")
    if report.findings:
        _show_table(report)


def _show_table(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("invariant", "place", "finding")
    for finding in report.findings:
        # What the file holds is shown as it is: nothing in it is an instruction to the terminal.
        table.add_row(
            *(Text(_printable(cell)) for cell in (finding.invariant, finding.place, finding.detail))
        )
    Console().print(table)
    if report.findings_total > len(report.findings):
        print(f"… and {report.findings_total - len(report.findings):,} more.")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in text)
