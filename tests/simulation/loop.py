"""An event loop without a clock, a network or threads: time is a number, and whose turn it is is drawn.

A *party* is what runs somewhere of its own: a server process, a person. The callbacks of one party run in the
order asyncio promises; which party goes on next is drawn, and so is how long a thread takes. With the same
`Random` the same happens again.
"""

import asyncio
import contextvars
from asyncio import Future, Handle, Task, TimerHandle
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop
from random import Random
from typing import Any
from weakref import WeakSet

TURNS_MAX = 200_000
THREAD_S = (0.0, 0.0, 0.001, 0.003, 0.02)


class Party:
    """Whoever runs somewhere of their own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tasks: WeakSet[Task[Any]] = WeakSet()
        self.context = contextvars.copy_context()
        self.context.run(_party.set, self)

    def begin(self, job: Coroutine[Any, Any, Any]) -> Task[Any]:
        """Run something as this party."""
        return asyncio.get_running_loop().create_task(job, context=self.context)

    def later(self, seconds: float, callback: Callable[..., object], *arguments: object) -> None:
        """Call something as this party after some time."""
        asyncio.get_running_loop().call_later(seconds, callback, *arguments, context=self.context)


_party: contextvars.ContextVar[Party | None] = contextvars.ContextVar("party", default=None)


class Stuck(Exception):
    """Nothing will ever happen any more, or never stops happening."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """Run callbacks, party by party, and let time pass when there are none."""

    _ready: deque[Handle]
    _scheduled: list[TimerHandle]
    _stopping: bool

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self._now = 0.0
        self._lines: dict[Party | None, list[Handle]] = {}
        self._turns = 0
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        """Run one turn of one party: all that was ready for it."""
        self._line_up()
        while not self._lines:
            self._pass_time()
            self._line_up()
        self._turns += 1
        if self._turns > TURNS_MAX:
            raise Stuck(f"{TURNS_MAX} turns, and no end")
        lines = self._lines
        party = next(iter(lines)) if len(lines) == 1 else self._random.choice(list(lines))
        for handle in lines.pop(party):
            if not handle._cancelled:
                handle._run()

    def _line_up(self) -> None:
        """Let everything that is ready join the line of its party."""
        scheduled, ready, lines = self._scheduled, self._ready, self._lines
        while scheduled and (scheduled[0]._cancelled or scheduled[0].when() <= self._now):
            handle = heappop(scheduled)
            handle._scheduled = False  # type: ignore[attr-defined]
            if not handle._cancelled:
                ready.append(handle)
        while ready:
            each = ready.popleft()
            party = each._context.get(_party)  # type: ignore[attr-defined]
            if party in lines:
                lines[party].append(each)
            else:
                lines[party] = [each]

    def _pass_time(self) -> None:
        if not self._scheduled:
            raise Stuck("everybody waits for ever")
        self._now = self._scheduled[0].when()

    def run_in_executor(  # type: ignore[override]
        self, executor: None, function: Callable[..., Any], *arguments: Any
    ) -> Future[Any]:
        """Run a function, in one go, when its thread is done with it."""
        future: Future[Any] = self.create_future()
        self.call_later(self._random.choice(THREAD_S), _run_in_thread, future, function, arguments)
        return future

    def _write_to_self(self) -> None:
        """Nobody sleeps."""

    def _timer_handle_cancelled(self, handle: TimerHandle) -> None:
        """It is passed over when its time comes."""


def _make_task(
    loop: asyncio.AbstractEventLoop, job: Any, *, context: contextvars.Context | None = None
) -> Task[Any]:
    task: Task[Any] = Task(job, loop=loop, context=context)
    party = _party.get() if context is None else context.get(_party)
    if party is not None:
        party.tasks.add(task)
    return task


def _run_in_thread(future: Future[Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        result = function(*arguments)
    except Exception as error:
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)
