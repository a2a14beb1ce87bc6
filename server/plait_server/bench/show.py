"""How far a run is: a bar on stderr where that is a terminal, nothing anywhere else."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from plait_server.bench.load import Load
from plait_server.bench.report import percentile_ms
from plait_server.bench.run import Plan, Shown

RECENT = 2_000
"""Of so many edits the times are shown."""


@contextmanager
def shown_on(plan: Plan) -> Iterator[Shown]:
    """Give what shows a run."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(plan.workload, total=plan.duration_s or plan.edits, now="starting")

        def shown(load: Load, seconds: float) -> None:
            tally = load.tally
            recent = sorted(tally.times[-RECENT:])
            now = (
                f"{tally.acknowledged / seconds:,.0f} edits/s, p50 {percentile_ms(recent, 0.5)} ms, "
                f"p99 {percentile_ms(recent, 0.99)} ms, {tally.conflicts:,} conflicts"
            )
            if refused := tally.sent_again.total() + tally.cut:
                now += f", {refused:,} sent again"
            if load.is_over:
                now += "; checking"
            done = seconds if plan.duration_s is not None else tally.acknowledged
            progress.update(task, completed=done, now=now)

        yield shown
