"""The server's process, seen from outside: found by its port, and how much CPU time it took. Linux only."""

import ipaddress
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from plait_server.bench.connection import Target

_LISTENING = "0A"


def cpu_s(pid: int) -> float | None:
    """CPU time of a process so far, user and system, all threads; None where it cannot be told."""
    with suppress(OSError, OverflowError, AttributeError):
        # What clock_getcpuclockid(3) names: finer than the ticks in /proc.
        return time.clock_gettime((~pid << 3) | 2)
    return None


def resident_bytes(pid: int) -> int | None:
    with suppress(OSError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    return None


def is_here(target: Target) -> bool:
    """Whether a server is on this machine, as far as its address tells."""
    if target.host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(target.host).is_loopback
    return False


def listener(port: int) -> int | None:
    """Find the process that listens on a port of this machine; None where none of ours does."""
    inodes = {inode for family in ("tcp", "tcp6") for inode in _inodes(Path(f"/proc/net/{family}"), port)}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for descriptor in (folder / "fd").iterdir():
                with suppress(OSError):
                    found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(descriptor))
                    if found is not None and found[1] in inodes:
                        return int(folder.name)
    return None


def _inodes(table: Path, port: int) -> list[str]:
    """Read which sockets listen on a port."""
    with suppress(OSError):
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
        return [row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port]
    return []
