"""A service on a fresh database."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from plait_server.service import Service
from server.service.bench import Bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        bench = Bench(tmp_path / "plait.db", stack)
        await bench.open()
        yield bench


@pytest.fixture
async def service(bench: Bench) -> Service:
    return bench.service
