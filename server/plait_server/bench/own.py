"""A server of the benchmark's own: `plait serve` in a process of its own, over a temporary database."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_S = 30.0
END_S = 15.0


class NotStarted(Exception):
    """The server did not start; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Own:
    """A running server and its process."""

    url: str
    pid: int


@asynccontextmanager
async def own_server() -> AsyncIterator[Own]:
    """Start a server with the default settings; at the end it and its folder are gone.

    Neither the environment nor a settings file of the caller has a say. It does not hear Ctrl-C: what
    was acknowledged until then is still to be read back. Raises NotStarted.
    """
    with tempfile.TemporaryDirectory(prefix="plait-bench-") as place:
        environment = {
            name: value for name, value in os.environ.items() if not name.upper().startswith("PLAIT_")
        }
        log = Path(place) / "server.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "plait_server", "serve", "--port", "0"),
                cwd=place,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        try:
            assert process.stdout is not None
            greeting = b""
            with suppress(TimeoutError):
                greeting = await asyncio.wait_for(process.stdout.readline(), START_S)
            if not greeting:
                raise NotStarted(f"The server did not start. {log.read_text().strip()}")
            yield Own(greeting.decode().split()[-1], process.pid)
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.communicate(), END_S)
    except TimeoutError:
        process.kill()
        await process.communicate()
