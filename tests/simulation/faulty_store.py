"""A disk that takes its time and fails as disks do: a store over another one.

Faults come to a write: it is refused; it is durable, or not, and nobody can say; the process dies before it
or right after it; it takes long. What happens between two writes is drawn by whoever gives the pace.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol, TypeVar

from plait_server.errors import OutcomeUnknown, StoreUnavailable
from plait_server.store import Commit, CommitResult, Store

Fault = Literal["refused", "unknown", "unknown, lost", "dies before", "dies after", "slow"]
FAULTS: tuple[Fault, ...] = ("refused", "unknown", "unknown, lost", "dies before", "dies after", "slow")
SLOW_S = 2.5
READS = frozenset(
    {"load", "revisions", "revision_at", "documents", "changes", "key", "conflict", "conflicts", "collection"}
    | {"collections", "locks", "extent", "extents", "floor", "label", "labels"}
    | {"operation", "waiting_operations"}
)
DECIDING = frozenset({"commit", "put_collection", "accept_operations"})
"""Only these may leave it open whether they are durable."""
Result = TypeVar("Result")


class Surroundings(Protocol):
    """The process and the disk it runs on."""

    def delay_s(self) -> float:
        """Say how long the next read or write takes, twice: before and after it happens."""
        ...

    def fault(self, write: str) -> Fault | None:
        """Say what comes to the next write."""
        ...

    def die(self) -> None:
        """End the process."""
        ...

    def asked(self, function: str, arguments: Sequence[Any]) -> None:
        """Hear of a function of the store at the moment it is called."""
        ...

    def written(self, batch: Sequence[Commit], results: Sequence[CommitResult]) -> None:
        """Hear of commits at the moment they are durable."""
        ...

    @property
    def alive(self) -> bool: ...


class FaultyStore:
    """A Store over a Store. It hands all functions on, in time."""

    def __init__(self, store: Store, surroundings: Surroundings) -> None:
        self._store = store
        self._surroundings = surroundings
        self._writing = asyncio.Lock()

    @property
    def epoch(self) -> str:
        return self._store.epoch

    @property
    def time(self) -> int:
        return self._store.time

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def durability(self) -> str:
        return self._store.durability

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        function = getattr(self._store, name)

        async def read(*arguments: Any, **named: Any) -> Any:
            self._surroundings.asked(name, arguments)
            return await self._between(lambda: function(*arguments, **named))

        async def write(*arguments: Any, **named: Any) -> Any:
            self._surroundings.asked(name, arguments)
            async with self._writing:
                return await self._write(name, lambda: function(*arguments, **named))

        chosen = read if name in READS else write
        self.__dict__[name] = chosen
        return chosen

    async def commit(self, batch: Sequence[Commit]) -> list[CommitResult]:
        async def commit() -> list[CommitResult]:
            results = await self._store.commit(batch)
            self._surroundings.written(batch, results)
            return results

        async with self._writing:
            return await self._write("commit", commit)

    async def close(self) -> None:
        async with self._writing:
            await self._store.close()

    async def _between(self, job: Callable[[], Awaitable[Result]]) -> Result:
        """Do something at a moment between its beginning and its end."""
        await self._pass_time()
        result = await job()
        await self._pass_time()
        return result

    async def _pass_time(self, least_s: float = 0.0) -> None:
        await asyncio.sleep(max(least_s, self._surroundings.delay_s()))
        if not self._surroundings.alive:
            await self._nothing_any_more()

    async def _nothing_any_more(self) -> None:
        """A process that is dead waits for nothing; its tasks are ended."""
        await asyncio.get_running_loop().create_future()

    async def _write(self, name: str, job: Callable[[], Awaitable[Result]]) -> Result:
        fault = self._surroundings.fault(name)
        if fault is not None and fault.startswith("unknown") and name not in DECIDING:
            fault = "refused"
        await self._pass_time(SLOW_S if fault == "slow" else 0)
        if fault == "refused":
            raise StoreUnavailable("The disk is full.")
        if fault == "unknown, lost":
            raise OutcomeUnknown("The commit failed.")
        if fault == "dies before":
            await self._die()
        result = await job()
        if fault == "dies after":
            await self._die()
        await self._pass_time()
        if fault == "unknown":
            raise OutcomeUnknown("The commit failed.")
        return result

    async def _die(self) -> None:
        self._surroundings.die()
        await self._nothing_any_more()
