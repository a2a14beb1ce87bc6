"""Memory: what open documents take, and that closing them makes room for others."""

import asyncio
from collections.abc import Iterator

from .documents import document
from .rounds import note
from .row import Row
from .scale import Scale
from .subject import create, disk_folder, plait

OPEN_IDLE_S = 5
CLOSED_AFTER_S = 16
"""The server looks every five seconds."""


def memory(scale: Scale) -> Iterator[Row]:
    """Thousands of open documents, and as many again once nobody uses the first."""
    yield from asyncio.run(_memory(scale))


async def _memory(scale: Scale) -> list[Row]:
    count, value = scale.open_documents, document(1_000)
    with disk_folder() as folder:
        async with plait(folder, open_idle_s=OPEN_IDLE_S) as subject:
            await create(subject, {"warm/up": value})
            empty = subject.resident_bytes
            await create(subject, {f"first/{number:05}": value for number in range(count)})
            first = subject.resident_bytes - empty
            rows = [
                Row("the server without documents", empty / 1e6, "MB"),
                Row(f"{count:,} open documents of 1 kB", first / 1e6, "MB", 200),
            ]
            if scale.waits_for_closing:
                note(".")
                await asyncio.sleep(CLOSED_AFTER_S)
                await create(subject, {f"second/{number:05}": value for number in range(count)})
                both = subject.resident_bytes - empty
                figure = f"{count:,} more after these were closed: all, to the first"
                rows.append(Row(figure, both / first, "x", 1.25))
            return rows
