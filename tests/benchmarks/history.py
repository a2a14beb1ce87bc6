"""What history answers: who set what, what is different, what was, in a large document of many revisions."""

import asyncio
import time
from collections.abc import Iterator
from statistics import median

from .documents import document, pointers, replacing
from .rounds import note
from .row import Row
from .scale import Scale
from .subject import Subject, Talk, create, disk_folder, plait, talk

NAME = "bench/0"
DOCUMENT = f"/v1/docs/{NAME}"
BLAME = f"{DOCUMENT}/blame?limit=500"
WRITERS = 16
REVISIONS_A_LAG = 10
BLAME_MS_MAX = 200
JSON_PATCH = "application/json-patch+json"


def history(scale: Scale) -> Iterator[Row]:
    """Blame, diff and time travel in a document of 1 MB with 10,000 revisions."""
    yield from asyncio.run(_history(scale))


async def _history(scale: Scale) -> list[Row]:
    there = pointers(scale.document_bytes)
    with disk_folder() as folder:
        async with plait(folder) as subject:
            await create(subject, {NAME: document(scale.document_bytes)})
            note(".")
            await _edit(subject, there, REVISIONS_A_LAG * scale.lag)
            async with talk(subject) as connection:
                rows = await _blame(connection, subject, there, scale.rounds)
                return rows + await _comparison(connection, there[0], scale.rounds)


async def _edit(subject: Subject, there: list[str], edits: int) -> None:
    """Set one place after the other, over and over, several at once."""
    numbers = iter(range(edits))

    async def edit_some() -> None:
        async with talk(subject) as connection:
            for number in numbers:
                patch = [replacing(there[number % len(there)], number)]
                answer = await connection.ask("PATCH", DOCUMENT, patch, Content_Type=JSON_PATCH)
                if answer.status != 200:
                    raise RuntimeError(answer)

    await asyncio.gather(*(edit_some() for _ in range(WRITERS)))


async def _blame(connection: Talk, subject: Subject, there: list[str], rounds: int) -> list[Row]:
    """Ask who set what the first time, again, and after some edits more."""
    first_ms = await _ms(connection, BLAME)
    again, later, one = [], [], []
    for _ in range(rounds):
        note(".")
        again.append(await _ms(connection, BLAME))
        await _edit(subject, there[-WRITERS:], WRITERS)
        later.append(await _ms(connection, BLAME))
        one.append(await _ms(connection, f"{BLAME}&pointer={there[0]}"))
    return [
        Row("blame, a page of 500 leaves: the first time", first_ms, "ms"),
        Row("the same again", median(again), "ms", BLAME_MS_MAX),
        Row(f"the same after {WRITERS} more edits", median(later), "ms", BLAME_MS_MAX),
        Row("of one leaf", median(one), "ms", BLAME_MS_MAX),
    ]


async def _comparison(connection: Talk, leaf: str, rounds: int) -> list[Row]:
    """Compare the first revision with the head, and read what was at the first moment."""
    first = await connection.ask("GET", f"{DOCUMENT}?revision=1")
    diff = f"{DOCUMENT}/diff?from=1"
    then = f"{DOCUMENT}?pointer={leaf}&at={first.headers['Plait-At']}"
    for_people = {"Accept": "text/plain"}
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        note(".")
        taken.setdefault("diff of the first revision and the head", []).append(await _ms(connection, diff))
        taken.setdefault("the same, for people", []).append(await _ms(connection, diff, **for_people))
        taken.setdefault("a leaf as it was at the first moment", []).append(await _ms(connection, then))
    return [Row(figure, median(each), "ms") for figure, each in taken.items()]


async def _ms(connection: Talk, path: str, **headers: str) -> float:
    """Ask, and say how long the answer took."""
    started = time.perf_counter()
    answer = await connection.ask("GET", path, **headers)
    if answer.status != 200:
        raise RuntimeError(answer)
    return (time.perf_counter() - started) * 1e3
