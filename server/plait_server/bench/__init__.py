"""`plait bench`: how much a server does, and whether it loses anything while it does it.

    run          one run from start to end
    workload     what writers do, and on which documents
    writer       one writer: an edit after the other, each until it is decided
    load         what they share: how long, what was counted
    follower     somebody who follows live
    connection   raw HTTP, cheap enough not to measure itself
    reading      documents read back
    own          a server of its own
    process      the server's process, seen from outside
    report       what came of it
    show         how far it is, on a terminal

This module is what the command line loads; the rest is imported when the command runs.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

LOST = 1
NOT_DONE = 2
DURATION_S = 10.0
STDOUT = Path("-")

Name = Literal["distinct", "hot", "overlapping", "large", "fan-out", "mixed"]


def bench(
    url: Annotated[
        str | None, typer.Option(help="The server to load.", show_default="one of its own, for the time")
    ] = None,
    workload: Annotated[Name, typer.Option(help="What the writers do, see above.")] = "distinct",
    writers: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="How many write at once.", show_default="16, mostly")
    ] = None,
    documents: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="How many documents.", show_default="by the workload"),
    ] = None,
    duration_s: Annotated[
        float | None, typer.Option(min=0.1, help="How long they write.", show_default="10")
    ] = None,
    edits: Annotated[
        int | None,
        typer.Option(min=1, help="How many edits they make, instead of a time.", show_default=False),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=0, help="Bytes of a document.", show_default="2000; large: 1000000")
    ] = None,
    subscribers: Annotated[
        int | None,
        typer.Option(
            min=0, max=10_000, help="How many follow live.", show_default="0; fan-out: 100; mixed: 8"
        ),
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="Where the documents are made.", show_default="a new one")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Do not delete the documents afterwards.")] = False,
    seed: Annotated[int, typer.Option(help="Other writers with other choices.")] = 1,
    pid: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The server's process, for its CPU time.",
            show_default="whatever listens here on the port",
        ),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the report as JSON; - is stdout, and all that is on it."),
    ] = None,
) -> None:
    """Load a server, measure it, and check that it lost nothing.

    \b
    distinct      each writer edits documents of its own
    hot           all edit one document, each a member of its own
    overlapping   all edit the same four places of four documents, and
                  conflict; each tries again until its edit is taken
    large         as distinct, with documents of 1 MB
    fan-out       as hot, followed live by many
    mixed         all of it at once: also moves, strict edits, settled
                  conflicts, batches, queued edits, leases and reads

    Each writer sends the next edit when the last is decided, from the
    revision it saw last, over a connection of its own, with an idempotency
    key. 429, 503 and lost connections are waited out and the same edit is
    sent again under the same key; all of it is counted.

    Afterwards the whole history is read back, always: every acknowledged
    edit must be in it exactly once, without gaps, and the documents must be
    what the patches come to. Then the documents are deleted; their history
    stays, so prefer a server that is not for keeps, or none: without --url
    one is started for the time, on a temporary database.

    Ctrl-C ends the writing early; what was done is checked and reported. The
    exit code is 0; 1 where an edit was lost, doubled or changed; 2 where
    nothing could be measured or not everything could be checked.
    """
    import msgspec

    from plait_server.bench.connection import BadUrl
    from plait_server.bench.own import NotStarted
    from plait_server.bench.report import told
    from plait_server.bench.run import BenchRefused, Plan
    from plait_server.bench.run import bench as run
    from plait_server.bench.show import shown_on

    if edits is not None and duration_s is not None:
        raise typer.BadParameter("Give --edits or --duration-s, not both.")
    if pid is not None and url is None:
        raise typer.BadParameter("--pid names the process of a server at --url.")
    if edits is None and duration_s is None:
        duration_s = DURATION_S
    plan = Plan(
        workload, url, writers, documents, duration_s, edits, size, subscribers, collection, keep, seed, pid
    )
    if url is None:
        typer.echo("plait: no --url, so a server of its own is started on a temporary database.", err=True)
    try:
        with shown_on(plan) as shown:
            report = asyncio.run(run(plan, shown))
    except (BadUrl, BenchRefused, NotStarted) as refusal:
        _refuse(str(refusal))
    written = msgspec.json.format(msgspec.json.encode(report.as_json()), indent=2).decode()
    if json != STDOUT:
        typer.echo(told(report))
    else:
        typer.echo(written)
    if json is not None and json != STDOUT:
        try:
            json.write_text(written + "\n")
        except OSError as error:
            _refuse(f"{json} cannot be written: {error.strerror}.")
    if not report.holds:
        raise typer.Exit(LOST)
    if not report.is_complete:
        raise typer.Exit(NOT_DONE)


def _refuse(sentence: str) -> NoReturn:
    typer.echo(f"plait: {sentence}", err=True)
    raise typer.Exit(NOT_DONE)
