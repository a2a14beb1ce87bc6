"""Every store there is, empty and open; PostgreSQL joins here."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from plait_server.store import Store
from plait_server.store.sqlite import SqliteStore
from simulation.memory_store import Disk, MemoryStore

OpenStore = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["sqlite", "memory"])
async def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Open the one store of this test; again: close it and open it anew."""
    async with AsyncExitStack() as stack:
        opened: list[Store] = []
        disk = Disk()

        async def reopen() -> Store:
            if opened:
                await opened.pop().close()
            if request.param == "memory":
                opened.append(MemoryStore(disk, conflicts_open_max=3, conflicts_open_bytes_max=1_000))
            else:
                opened.append(
                    await SqliteStore.open(
                        tmp_path / "plait.db", conflicts_open_max=3, conflicts_open_bytes_max=1_000
                    )
                )
            return opened[0]

        stack.push_async_callback(lambda: opened[0].close())
        yield reopen


@pytest.fixture
async def store(reopen: OpenStore) -> Store:
    return await reopen()
