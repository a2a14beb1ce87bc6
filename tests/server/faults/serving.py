"""The real `plait serve`, in a process of its own: it can be ended, killed, starved and measured."""

import asyncio
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout, TCPConnector

COMMAND = (sys.executable, "-m", "plait_server", "serve")
START_TIMEOUT_S = 20.0
END_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers. `start_s` is how long it took from nothing to its first answer."""

    url: str
    log: Path
    start_s: float
    process: asyncio.subprocess.Process

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    @property
    def pid(self) -> int:
        return self.process.pid

    def client(self) -> ClientSession:
        """Make a client that opens as many connections as it needs; the caller closes it."""
        return ClientSession(self.url, connector=TCPConnector(limit=0), timeout=ClientTimeout(total=20))

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.ended()

    async def end(self) -> int:
        """Ask it to end, and give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for its end, and give its exit code."""
        async with asyncio.timeout(END_TIMEOUT_S):
            code = await self.process.wait()
        assert self.process.stdout is not None
        await self.process.stdout.read()
        self.process._transport.close()  # type: ignore[attr-defined]
        return code

    def memory_bytes(self) -> int:
        """Tell how much memory it holds now."""
        return self._status("VmRSS") * 1024

    def memory_peak_bytes(self) -> int:
        """Tell how much memory it ever held since `forget_memory_peak`."""
        return self._status("VmHWM") * 1024

    def cpu_s(self) -> float:
        """Tell how long it has been computing, in all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def forget_memory_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def limit_files(self, bytes_max: int) -> None:
        """Let no file of it grow beyond a size from now on: writing more fails as on a full disk."""
        hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (bytes_max, hard))

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1])


async def start_server(
    folder: Path, arguments: Sequence[str], prefix: Sequence[str] = (), command: Sequence[str] = COMMAND
) -> Server:
    """Start a server in a folder and wait for its first answer. `prefix` is a command that runs it."""
    began = time.perf_counter()
    log = folder / "server.log"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *prefix, *command, *arguments, cwd=folder, stdout=subprocess.PIPE, stderr=errors
        )
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            url = await _greeting(process)
            async with ClientSession(url) as client, client.get("/readyz") as answer:
                assert answer.status == 200
    except BaseException:
        await Server("", log, 0, process).kill()
        raise
    return Server(url, log, time.perf_counter() - began, process)


async def _greeting(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().split()[-1]


def refused_start(
    folder: Path, *arguments: str, prefix: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a server that will not start, to its end."""
    return subprocess.run(
        [*prefix, *COMMAND, "--port", "0", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )
