"""A server that says how much it keeps, for the soak: what `plait serve` runs, and a line when asked for one.

    python -m tests.benchmarks.watched SETTINGS.json

Prints its port, then an object of counts whenever a line comes in, and ends when its standard input does.
"""

import asyncio
import gc
import json
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from plait_server.config import Settings
from plait_server.service import Service
from plait_server.store.sqlite import SqliteStore
from plait_server.web.application import create_app, service_limits
from plait_server.web.connections import COLLECTOR_THRESHOLDS, Runner

from .child import _loop_factory
from .subject import FAST_LOOP


def main() -> None:
    """Serve until nobody holds the other end of standard input."""
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    given = json.loads(Path(sys.argv[1]).read_text())
    with asyncio.Runner(loop_factory=_loop_factory(FAST_LOOP)) as runner:
        runner.run(_serve(Settings(**given)))


async def _serve(settings: Settings) -> None:
    store = await SqliteStore.open(settings.db)
    service = await Service.open(store, limits=service_limits(settings))
    runner = Runner(create_app(service, settings), settings)
    await runner.setup()
    await web.TCPSite(runner, settings.host, settings.port).start()
    print(runner.addresses[0][1], flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(_counts(service)), flush=True)
    await runner.cleanup()


def _counts(service: Service) -> dict[str, Any]:
    """Count what is kept in memory and could grow."""
    return {
        "open_documents": len(service._documents),
        "tasks": len(asyncio.all_tasks()),
        "queued": len(service.queue),
        "leases": len(service.locks),
        "sockets": len(service.hub),
    }


if __name__ == "__main__":
    main()
