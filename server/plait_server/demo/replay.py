"""Real edit histories through the running server, several writers to a document, with a report."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from plait_merge import same
from plait_server.demo.client import Client, Patch, Reply
from plait_server.demo.history import History, ReplayRefused, Window, favoured, read_histories, windows
from plait_server.demo.stage import staged
from plait_server.ledger import NOTHING, Ledger, Verdict, View

SETTLEMENTS_MAX = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What to replay: `writers` to a document at once, `lag` edits from one base."""

    file: Path
    writers: int = 4
    lag: int = 8
    documents_max: int | None = None
    steps_max: int | None = None


@dataclass(slots=True)
class Report:
    """What came of it. Counts; times in seconds."""

    documents: int = 0
    not_taken: dict[str, str] = field(default_factory=dict)
    edits: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    settled: int = 0
    left_open: int = 0
    groups: int = 0
    groups_alike: int = 0
    groups_clean: int = 0
    groups_clean_alike: int = 0
    seconds: float = 0
    times: list[float] = field(default_factory=list)
    verdict: Verdict = NOTHING

    def as_json(self) -> dict[str, Any]:
        return {
            "documents": self.documents,
            "documents_not_taken": self.not_taken,
            "edits": self.edits,
            "applied": self.outcomes["applied"],
            "merged": self.outcomes["merged"],
            "noop": self.outcomes["noop"],
            "conflicted": self.outcomes["conflict"],
            "refused": dict(self.refusals),
            "conflicts_by_kind": dict(self.kinds.most_common()),
            "settled": self.settled,
            "left_open": self.left_open,
            "groups": self.groups,
            "groups_as_the_original": self.groups_alike,
            "groups_without_conflict": self.groups_clean,
            "groups_without_conflict_as_the_original": self.groups_clean_alike,
            "seconds": round(self.seconds, 3),
            "edits_per_second": round(self.edits / self.seconds, 1) if self.seconds else None,
            "p50_ms": _percentile_ms(self.times, 0.50),
            "p99_ms": _percentile_ms(self.times, 0.99),
            "max_ms": _percentile_ms(self.times, 1),
            "verdict": self.verdict.as_json(),
        }


async def replay_histories(plan: Plan, *, as_json: bool) -> bool:
    """Replay and report; answer whether the check holds. Progress is on stderr, and only on a terminal."""
    talk = Console(stderr=True)
    with _progress(talk) as progress:
        prepared = _prepared(plan, progress)
        async with staged() as session:
            report = await _Replay(session, plan, progress).run(prepared)
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        Console(highlight=False, soft_wrap=True).print(_told(report, plan), markup=False)
    return report.verdict.holds


Prepared = list[tuple[History, list[Window]]]


def _prepared(plan: Plan, progress: Progress) -> Prepared:
    histories = list(islice(read_histories(plan.file), plan.documents_max))
    if not histories:
        raise ReplayRefused(f"{plan.file} holds no edit history.")
    task = progress.add_task("preparing", total=len(histories))
    prepared = []
    for history in histories:
        prepared.append((history, windows(history, plan.lag, plan.steps_max)))
        progress.advance(task)
    return prepared


class _Replay:
    def __init__(self, session: ClientSession, plan: Plan, progress: Progress) -> None:
        self._session = session
        self._plan = plan
        self._progress = progress
        self._ledger = Ledger()
        self._report = Report()

    async def run(self, prepared: Prepared) -> Report:
        edits = sum(len(window.edits) for _, cut in prepared for window in cut)
        self._task = self._progress.add_task("replaying", total=edits)
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as documents:
            for history, cut in prepared:
                documents.create_task(self._document(history, cut))
        self._report.seconds = time.perf_counter() - begun
        self._report.verdict = await self._ledger.check(Client(self._session, "auditor"))
        return self._report

    async def _document(self, history: History, cut: list[Window]) -> None:
        writers = [Client(self._session, f"writer-{n + 1}") for n in range(self._plan.writers)]
        reply = await writers[0].create(history.document, history.first)
        if reply.status != 201:
            self._report.not_taken[history.document] = reply.code
            return
        self._ledger.note(writers[0].author, None, reply.acknowledged)
        self._report.documents += 1
        revision: int | None = reply.body["revision"]
        for window in cut:
            if revision is not None:
                revision = await self._window(history.document, window, revision, writers)

    async def _window(self, document: str, window: Window, base: int, writers: list[Client]) -> int | None:
        """Let all write from `base` at once, each its share in order; answer the revision after it."""
        async with asyncio.TaskGroup() as shares:
            done = [
                shares.create_task(self._share(writer, document, base, window.edits[n :: len(writers)]))
                for n, writer in enumerate(writers)
            ]
        head = await writers[0].read(document)
        clean, alike = all(task.result() for task in done), same(head.value, window.target)
        self._report.groups += 1
        self._report.groups_alike += alike
        self._report.groups_clean += clean
        self._report.groups_clean_alike += clean and alike
        if alike:
            return head.revision
        return await self._put_right(document, window, head, writers[0])

    async def _share(self, writer: Client, document: str, base: int, edits: tuple[Patch, ...]) -> bool:
        """Send edits one after the other, none seeing what happens meanwhile; tell whether all were taken."""
        smooth = True
        for patch in edits:
            number = self._report.edits = self._report.edits + 1
            message = f"edit {number}"
            reply = await writer.edit(document, base, patch, message)
            self._count(reply)
            self._ledger.note(writer.author, message, reply.acknowledged)
            smooth = smooth and reply.status == 200
            if "conflicts" in reply.body:
                await self._settle(writer, message, reply)
            self._progress.advance(self._task)
        return smooth

    async def _settle(self, writer: Client, message: str, reply: Reply) -> None:
        for attempt in range(SETTLEMENTS_MAX):
            choices = {c["id"]: favoured(c["resolutions"]) for c in reply.body["conflicts"]}
            why = f"{message}, settled, attempt {attempt + 1}"
            reply = await writer.settle(reply.body["instance"], choices, why)
            self._ledger.note(writer.author, why, reply.acknowledged)
            if reply.status == 200:
                self._report.settled += 1
                return
            if "conflicts" not in reply.body:
                break
        self._report.refusals[reply.code] += 1
        self._report.left_open += 1

    async def _put_right(self, document: str, window: Window, head: View, writer: Client) -> int | None:
        """Replace by what the original history had, so that its next edits have what they were made on."""
        reply = await writer.replace(document, window.target, head.revision)
        if reply.status != 200:
            self._report.not_taken[document] = reply.code
            return None
        self._ledger.note(writer.author, None, reply.acknowledged)
        return int(reply.body["revision"])

    def _count(self, reply: Reply) -> None:
        self._report.times.append(reply.seconds)
        if "conflicts" in reply.body:
            self._report.outcomes["conflict"] += 1
            self._report.kinds.update(conflict["kind"] for conflict in reply.body["conflicts"])
        elif reply.status == 200:
            self._report.outcomes[reply.body["outcome"]] += 1
        else:
            self._report.refusals[reply.code] += 1


def _told(report: Report, plan: Plan) -> str:
    counted, verdict = report.as_json(), report.verdict
    kinds = ", ".join(f"{times} {kind}" for kind, times in report.kinds.most_common()) or "none"
    refused = ", ".join(f"{times} {code}" for code, times in report.refusals.most_common()) or "none"
    not_taken = ", ".join(f"{document} ({code})" for document, code in report.not_taken.items()) or "none"
    return "\n".join(
        [
            f"Replayed {plan.file.name}: {report.documents} documents, {plan.writers} writers to each, "
            f"at most {plan.lag} edits from one base.",
            f"  not taken or given up  {not_taken}",
            f"  edits                {report.edits}",
            f"    applied            {counted['applied']}",
            f"    merged             {counted['merged']}",
            f"    no change          {counted['noop']}",
            f"    conflicted (409)   {counted['conflicted']}: "
            f"settled {report.settled}, left open {report.left_open}",
            f"    refused otherwise  {refused}",
            f"  conflicts by kind    {kinds}",
            f"  groups of edits from one base        {report.groups}",
            f"    without a conflict                 {report.groups_clean}, "
            f"of which {report.groups_clean_alike} came out as the original history",
            f"    with refusals                      {report.groups - report.groups_clean}, "
            f"of which {report.groups_alike - report.groups_clean_alike} came out as the original history",
            f"    put right before the next group    {report.groups - report.groups_alike}",
            f"  {report.seconds:.1f} s, {counted['edits_per_second']} edits a second; an edit took "
            f"{counted['p50_ms']} ms (p50), {counted['p99_ms']} ms (p99), "
            f"{counted['max_ms']} ms (longest); server and writers in one process",
            f"  check: {verdict.acknowledged} acknowledged edits, {verdict.revisions} revisions; "
            f"missing {verdict.missing}, doubled {verdict.doubled}, asked for by nobody {verdict.unasked}, "
            f"gaps {verdict.gaps}, histories that do not fold to the document {verdict.misfolded}",
            "Every acknowledged edit is in the history exactly once."
            if verdict.holds
            else "The check fails: this is a bug, please report it with what stands above.",
        ]
    )


def _percentile_ms(times: list[float], share: float) -> float | None:
    if not times:
        return None
    return round(sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000, 2)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
