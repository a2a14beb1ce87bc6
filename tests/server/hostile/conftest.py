"""A server of its own to be hostile to, in a process of its own, and how long to go on."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, settings

from server.faults.serving import Server, start_server

SETTINGS = """
request_start_timeout_s = 2
body_timeout_s = 2
write_timeout_s = 2
changes_wait_max_s = 0.2
live_hello_timeout_s = 2
live_slow_timeout_s = 2
"""
"""It waits a second or two where it usually waits longer."""


@pytest.fixture(scope="session")
def rounds() -> int:
    """How many times as much as usual is tried: PLAIT_TEST_FUZZ says."""
    return int(os.environ.get("PLAIT_TEST_FUZZ", "1"))


@pytest.fixture(scope="session")
def tries(rounds: int) -> settings:
    """Of a usual test the same examples each time, of a long one others each time; nothing is shrunk for
    long: a server remembers what was done to it."""
    return settings(
        max_examples=10,
        derandomize=rounds == 1,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate) if rounds == 1 else tuple(Phase),
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """One server for a whole module: it has to end well, without having logged a traceback."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "plait.toml").write_text(SETTINGS)
    server = await start_server(folder, ("--port", "0"))
    try:
        yield server
    finally:
        ended = await server.end()
    assert ended == 0
    assert "Traceback" not in server.log.read_text()
