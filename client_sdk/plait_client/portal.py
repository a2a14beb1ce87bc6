"""The way from a program without an event loop to one in the background, and what comes back over it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import Context, ContextVar, Token, copy_context
from typing import Any
from weakref import WeakValueDictionary


class Portal:
    """An event loop on a thread of its own, for calls from any other thread.

    `translate` makes of everything that comes out, results and errors, what a caller without a loop can use.
    A call costs two changes of thread, some 50 to 100 µs.
    """

    def __init__(self, translate: Callable[[Any, Portal], Any]) -> None:
        self.twins: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._translate = translate
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Start the loop. Raises RuntimeError where it runs."""
        if self._loop is not None:
            raise RuntimeError("the client is open")
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_serve, args=(loop,), name="plait", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the loop and wait for its thread. Whatever still runs on it is over."""
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()

    def run(self, job: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop and wait for it. Raises what it raises.

        It has the context variables of the caller. A KeyboardInterrupt cancels it. Raises RuntimeError on
        the loop's own thread, as in a listener or a resolver: it would wait for itself.
        """
        loop = self._loop
        if loop is None or self._is_inside():
            job.close()
            if loop is None:
                raise RuntimeError("the client is not open: use `with`")
            raise RuntimeError("a call that waits cannot be made from a listener, a resolver or `update`")
        future = asyncio.run_coroutine_threadsafe(job, loop)
        try:
            result = future.result()
        except BaseException as error:
            future.cancel()
            translated = self._translate(error, self)
            if translated is error:
                raise
            raise translated from error.__cause__
        return self._translate(result, self)

    def call(self, function: Callable[[], Any]) -> Any:
        """Call a plain function on the loop's thread."""
        if self._is_inside():
            return self._translate(function(), self)

        async def job() -> Any:
            return function()

        return self.run(job())

    def _is_inside(self) -> bool:
        return self._thread is not None and threading.get_ident() == self._thread.ident

    def iterate(self, iterator: AsyncIterator[Any]) -> Iterator[Any]:
        """Iterate over what comes on the loop."""

        async def step() -> Any:
            return await anext(iterator)

        async def end() -> None:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()

        try:
            while True:
                try:
                    item = self.run(step())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            if self._loop is not None:
                self.run(end())

    @contextmanager
    def entered(self, manager: AbstractAsyncContextManager[Any]) -> Iterator[Any]:
        """Be inside an asynchronous context, and have the context variables it sets."""

        async def enter() -> Any:
            return await manager.__aenter__(), copy_context()

        async def leave(error: BaseException | None) -> Any:
            return await manager.__aexit__(None if error is None else type(error), error, None)

        inside, surrounding = self.run(enter())
        inside = self._translate(inside, self)
        taken = _take_over(surrounding)
        try:
            yield inside
        except BaseException as error:
            if not self.run(leave(error)):
                raise
        else:
            self.run(leave(None))
        finally:
            for variable, token in taken:
                variable.reset(token)


def _take_over(surrounding: Context) -> list[tuple[ContextVar[Any], Token[Any]]]:
    """Set the variables that are different there, and give what sets them back."""
    here = copy_context()
    different = [variable for variable in surrounding if here.get(variable) is not surrounding[variable]]
    return [(variable, variable.set(surrounding[variable])) for variable in different]


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
