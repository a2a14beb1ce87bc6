"""Servers in processes of their own, and how thorough to be."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from aiohttp import ClientSession

from plait_server.service.invariants import check
from plait_server.store.archive import open_archive
from server.faults.faulty_system import FaultySystem, build
from server.faults.serving import COMMAND, Server, start_server

Start = Callable[..., Awaitable[Server]]


@pytest.fixture(scope="session")
def thorough() -> int:
    """How many times the usual rounds are run: PLAIT_FAULTS=thorough means ten."""
    return 10 if os.environ.get("PLAIT_FAULTS") == "thorough" else 1


@pytest.fixture
def random() -> Random:
    """What is left to chance: PLAIT_TEST_SEED chooses the draws."""
    return Random(int(os.environ.get("PLAIT_TEST_SEED", "1")))


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start servers on a free port, all in one folder; what the test leaves running is killed.

    None of them may have logged a traceback, and everything has to hold in their databases.
    """
    servers: list[Server] = []

    async def started(
        *arguments: str, prefix: tuple[str, ...] = (), command: tuple[str, ...] = COMMAND
    ) -> Server:
        server = await start_server(tmp_path, ("--port", "0", *arguments), prefix, command)
        servers.append(server)
        return server

    yield started
    for server in servers:
        if server.process.returncode is None:
            await server.kill()
    for log in {server.log for server in servers}:
        assert "Traceback" not in log.read_text()
    if (database := tmp_path / "plait.db").exists():
        with open_archive(database) as archive:
            assert list(check(archive)) == []


@pytest.fixture(scope="session")
def faulty_system_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer between a server and the C library, built."""
    return build(tmp_path_factory.mktemp("faulty_system"))


@pytest.fixture
def system(faulty_system_library: Path, tmp_path: Path) -> Iterator[FaultySystem]:
    """A disk and a clock that fail on demand, for the servers in this test's folder."""
    with closing(FaultySystem(faulty_system_library, tmp_path)) as system:
        yield system


@pytest.fixture
async def server(start: Start) -> Server:
    return await start()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[ClientSession]:
    async with server.client() as client:
        yield client
