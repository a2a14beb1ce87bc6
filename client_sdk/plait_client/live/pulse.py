"""Signs of life: a connection on which nothing is heard for too long is lost, whatever the network says."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from plait_client.wire.retry import Clock, Sleep

Result = TypeVar("Result")


class Silent(Exception):
    """Nothing was heard for too long."""


class Pulse:
    """When something was last heard, and how many seconds of silence may follow."""

    __slots__ = ("_clock", "_heard_at", "_sleep", "silence_s")

    def __init__(self, clock: Clock, sleep: Sleep, silence_s: float) -> None:
        self._clock = clock
        self._sleep = sleep
        self._heard_at = clock()
        self.silence_s = silence_s

    def beat(self) -> None:
        """Something was heard."""
        self._heard_at = self._clock()

    async def guard(self, job: Coroutine[Any, Any, Result]) -> Result:
        """Do a job that calls `beat`. Raises Silent, after it has ended the job, where it does not."""
        working = asyncio.create_task(job)
        watching = asyncio.create_task(self._stop())
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise Silent(f"Nothing was heard for {self.silence_s:g} s.")
            return working.result()
        finally:
            watching.cancel()
            working.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)

    async def _stop(self) -> None:
        while (left_s := self._heard_at + self.silence_s - self._clock()) > 0:
            await self._sleep(left_s)
