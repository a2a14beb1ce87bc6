"""A server that acknowledges what is not synced: what the tests of power cuts have to find.

    python careless_server.py [anything] --port PORT

It is `plait serve` in every other way. SQLite's `synchronous=NORMAL` survives kill -9.
"""

import asyncio
import sqlite3
import sys
from typing import Any

from aiohttp import web

from plait_server.config import load
from plait_server.service import Service
from plait_server.store.sqlite import SqliteStore
from plait_server.web.application import create_app, service_limits
from plait_server.web.connections import Runner


class Careless(sqlite3.Connection):
    """A connection that does not wait for the disk, whatever it is told."""

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        return super().execute(statement.replace("synchronous = FULL", "synchronous = NORMAL"), *parameters)


async def serve(port: int) -> None:
    settings = load({"port": port})
    store = await SqliteStore.open(settings.db, factory=Careless)
    runner = Runner(
        create_app(await Service.open(store, limits=service_limits(settings)), settings), settings
    )
    await runner.setup()
    await web.TCPSite(runner, settings.host, settings.port).start()
    host, port = runner.addresses[0][:2]
    print(f"careless on http://{host}:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[-1])))
