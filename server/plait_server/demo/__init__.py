"""`plait demo`: people who edit the same documents at once, over HTTP, on a server of their own.

    stage      a real server over a temporary file
    client     what one person needs of the wire
    cast       the documents, and what people do with them
    person     somebody with a view of each document, often an old one
    show       the demo: edits, one conflict in full, the check
    history    real edit histories, cut into edits that several people make at once
    replay     such histories through the server, with a report

This module is what the command line loads; the rest is imported when the demo runs.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer


def demo(
    people: Annotated[int, typer.Option(min=2, max=50, help="How many people edit.")] = 5,
    edits: Annotated[int, typer.Option(min=1, max=100_000, help="How many edits they make in all.")] = 60,
    seed: Annotated[int, typer.Option(help="Other people with other habits.")] = 1,
    replay: Annotated[
        Path | None,
        typer.Option(help="Replay edit histories instead: a file of JSON lines, plain, .gz or .xz."),
    ] = None,
    writers: Annotated[
        int, typer.Option(min=1, max=64, help="Replay: how many write one document at once.")
    ] = 4,
    lag: Annotated[
        int, typer.Option(min=1, max=1_000, help="Replay: how many edits are made from one base.")
    ] = 8,
    documents: Annotated[
        int | None, typer.Option(min=1, help="Replay: how many documents at most.", show_default="all")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Replay: how many edits of each at most.", show_default="all"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
) -> None:
    """See it work: people edit at once, on a server with a temporary database.

    Prints edit by edit what was applied, merged and refused, shows one
    conflict and its resolution in full, and checks that every acknowledged
    edit is in the history exactly once. The exit code is 1 if it is not.

    With --replay, real edit histories go through the server instead. A line
    of the file is an object with first.value, a document, and steps, a list
    of {"patch": JSON Patch}, each made on the value before it.
    """
    from plait_server.demo.history import ReplayRefused
    from plait_server.demo.replay import Plan, replay_histories
    from plait_server.demo.show import show

    try:
        if replay is None:
            holds = asyncio.run(show(people=people, edits=edits, seed=seed, as_json=json))
        else:
            plan = Plan(replay, writers=writers, lag=lag, documents_max=documents, steps_max=steps)
            holds = asyncio.run(replay_histories(plan, as_json=json))
    except ReplayRefused as refusal:
        typer.echo(f"plait: {refusal}", err=True)
        raise typer.Exit(1) from refusal
    if not holds:
        raise typer.Exit(1)
