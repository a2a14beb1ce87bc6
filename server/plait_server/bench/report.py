"""What came of a run: as JSON, and as lines for people."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from plait_server.bench.follower import Delivery
from plait_server.bench.load import Tally
from plait_server.ledger import Verdict

GENERATOR_BUSY = 0.85
"""From this share of a core on the load generator itself is what holds it up."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is told. Times in seconds; `cpu_s` of the server while it was written to, or None and
    `cpu_unknown` why; `verdict` None where history could not be read back, and `unchecked` why."""

    version: str
    url: str
    own: bool
    workload: str
    writers: int
    documents: int
    size_bytes: int
    seed: int
    collection: str
    seconds: float
    tally: Tally
    delivery: Delivery
    generator_cpu_s: float
    cpu_s: float | None = None
    cpu_unknown: str | None = None
    stopped_by: str | None = None
    verdict: Verdict | None = None
    unchecked: str | None = None
    documents_left: int = 0

    @property
    def rate(self) -> float:
        """Acknowledged edits a second."""
        return self.tally.acknowledged / self.seconds if self.seconds else 0.0

    @property
    def lost(self) -> int | None:
        return None if self.verdict is None else self.verdict.missing

    @property
    def holds(self) -> bool:
        """Whether nothing was found that must not be; also where not everything could be looked at."""
        return (self.verdict is None or self.verdict.holds) and not self.delivery.out_of_order

    @property
    def is_complete(self) -> bool:
        """Whether everything could be looked at, and there was something."""
        return self.verdict is not None and self.tally.acknowledged > 0 and not self.delivery.behind

    def checked(self, verdict: Verdict | None, unchecked: str | None = None) -> "Report":
        return replace(self, verdict=verdict, unchecked=unchecked)

    def as_json(self) -> dict[str, Any]:
        tally, delivery = self.tally, self.delivery
        times, delays = sorted(tally.times), sorted(delivery.delays)
        return {
            "plait": self.version,
            "url": self.url,
            "own_server": self.own,
            "workload": self.workload,
            "writers": self.writers,
            "documents": self.documents,
            "document_bytes": self.size_bytes,
            "subscribers": delivery.subscribers,
            "collection": self.collection,
            "seed": self.seed,
            "seconds": round(self.seconds, 3),
            "stopped_by": self.stopped_by,
            "acknowledged": tally.acknowledged,
            "acknowledged_per_second": round(self.rate, 1),
            "attempts": tally.attempts,
            "attempts_per_acknowledged": _ratio(tally.attempts, tally.acknowledged),
            "conflicts": tally.conflicts,
            "settled": tally.settled,
            "overtaken": tally.overtaken,
            "refused": dict(tally.refused),
            "sent_again": dict(tally.sent_again),
            "connections_cut": tally.cut,
            "given_up": tally.given_up,
            "noops": tally.noops,
            "reads": tally.reads,
            "batches": tally.batches,
            "queued": tally.queued,
            "leases": tally.leases,
            "p50_ms": percentile_ms(times, 0.50),
            "p99_ms": percentile_ms(times, 0.99),
            "max_ms": percentile_ms(times, 1),
            "server_cpu_us_per_edit": self.cpu_us,
            "server_cpu_unknown": self.cpu_unknown,
            "generator_cpu_share": round(self.generator_cpu_s / self.seconds, 3) if self.seconds else None,
            "live": {
                "frames": delivery.frames,
                "revisions": delivery.revisions,
                "resets": delivery.resets,
                "reconnects": delivery.reconnects,
                "out_of_order": delivery.out_of_order,
                "behind": delivery.behind,
                "p50_ms": percentile_ms(delays, 0.50),
                "p99_ms": percentile_ms(delays, 0.99),
            },
            "lost": self.lost,
            "check": None if self.verdict is None else self.verdict.as_json(),
            "unchecked": self.unchecked,
            "documents_left": self.documents_left,
        }

    @property
    def cpu_us(self) -> float | None:
        """Server CPU for each acknowledged edit, in microseconds."""
        if self.cpu_s is None or not self.tally.acknowledged:
            return None
        return round(self.cpu_s / self.tally.acknowledged * 1e6, 1)


def percentile_ms(ordered: Sequence[float], share: float) -> float | None:
    """Give the time below which this share of `ordered` seconds is, in milliseconds."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 2)


def told(report: Report) -> str:
    """Write a report for people."""
    counted, tally = report.as_json(), report.tally
    where = f"{report.url}, its own server on a temporary database" if report.own else report.url
    lines = [
        f"{report.workload}: {_number(report.writers, 'writer')}, {_number(report.documents, 'document')} of "
        f"{report.size_bytes:,} bytes, {_number(report.delivery.subscribers, 'subscriber')}, "
        f"{report.seconds:.1f} s on {where}."
    ]
    if report.stopped_by:
        lines.append(f"  ended early          {report.stopped_by}")
    lines += [
        f"  acknowledged edits   {tally.acknowledged:,}, {report.rate:,.0f} a second",
        f"  attempts an edit     {counted['attempts_per_acknowledged']}; conflicts {tally.conflicts:,}, "
        f"settled {tally.settled:,}, overtaken where they were strict {tally.overtaken:,}",
        f"  refused              {_codes(tally.refused)}",
        f"  sent again           {_codes(tally.sent_again)}; connections cut or refused {tally.cut:,}, "
        f"given up {tally.given_up:,}",
    ]
    extras = [
        f"{count:,} {name}"
        for name in ("batches", "queued", "leases", "reads", "noops")
        if (count := counted[name])
    ]
    if extras:
        lines.append(f"  among them, beside   {', '.join(extras)}")
    lines.append(f"  an edit took         {_times(counted)}, longest {counted['max_ms']} ms")
    if report.delivery.subscribers:
        live = counted["live"]
        lines.append(
            f"  told live            {live['revisions']:,} revisions in {live['frames']:,} frames, "
            f"{_times(live)} after their commit; out of order {live['out_of_order']}, "
            f"resets {live['resets']}, connected again {live['reconnects']}, not at the head {live['behind']}"
        )
    cpu = f"{report.cpu_us} µs" if report.cpu_us is not None else f"unknown: {report.cpu_unknown}"
    lines.append(f"  server CPU an edit   {cpu}")
    share = counted["generator_cpu_share"] or 0
    lines.append(f"  load generator       {share:.0%} of a core" + _busy(share))
    lines += _judged(report)
    return "\n".join(lines)


def _judged(report: Report) -> list[str]:
    lines = []
    if report.documents_left:
        lines.append(f"  left on the server   {report.documents_left} documents in {report.collection}")
    if report.verdict is None:
        return [*lines, f"The history was not read back: {report.unchecked}"]
    verdict = report.verdict
    lines.append(
        f"  check                {verdict.revisions:,} revisions of {_number(verdict.documents, 'document')} "
        f"read back: lost {verdict.missing}, doubled {verdict.doubled}, "
        f"asked for by nobody {verdict.unasked}, gaps {verdict.gaps}, "
        f"histories that do not fold to the document {verdict.misfolded}; "
        f"there without an answer {verdict.unanswered}"
    )
    if report.holds:
        return [*lines, "Every acknowledged edit is in the history exactly once."]
    return [*lines, "The check fails: this is a bug, please report it with what stands above."]


def _busy(share: float) -> str:
    return ": it was the bottleneck, the server can do more" if share > GENERATOR_BUSY else ""


def _times(counted: dict[str, Any]) -> str:
    return f"{counted['p50_ms']} ms (p50), {counted['p99_ms']} ms (p99)"


def _codes(counted: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {code}" for code, count in sorted(counted.items())) or "none"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _ratio(one: int, other: int) -> float | None:
    return round(one / other, 3) if other else None
