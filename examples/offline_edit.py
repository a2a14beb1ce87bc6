"""Notes that are kept while the server is away: every line you type is one.

    python examples/offline_edit.py http://127.0.0.1:8080 notes-outbox.db

Type a line: it is saved. Stop the server and type more: they wait. Kill this program, start it again, still
without a server: they are there, and still wait. Start the server: they arrive, each once, in order, after
whatever others wrote meanwhile. The document is notes/offline.
"""

import asyncio
import sys

from plait_client import AsyncPlait, Settled


async def main(url: str = "http://127.0.0.1:8080", path: str = "notes-outbox.db") -> None:
    async with AsyncPlait(url, outbox=path, on_settled=tell) as plait:
        notes = await plait.doc("notes/offline", default={"lines": []})
        print(f"{len(notes.value['lines'])} lines, {len(notes.pending)} of them wait", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            async with notes.edit() as draft:
                draft["lines"].append(line.strip())
            if notes.pending:
                print(f"{notes.sync_state}: {len(notes.pending)} wait in {path}", flush=True)


def tell(settled: Settled) -> None:
    print(f"{settled.outcome}: revision {settled.revision}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
