"""What all documents of one client share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import Context as Surrounding
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plait_client.events import Counters, Events
from plait_client.live.live import Live
from plait_client.saving.outbox import Outbox
from plait_client.unsaved import Unsaved
from plait_client.wire.retry import Clock
from plait_client.wire.transport import Transport

if TYPE_CHECKING:
    from plait_client.documents import Documents

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Context:
    """The way to the server, what is kept on this side, and who wants to hear of it.

    `now` is wall clock, seconds since 1970, and only ever shown to people. `tasks` are the jobs under way,
    which the client waits for when it closes; after that nothing may begin.
    """

    transport: Transport
    live: Live
    events: Events
    unsaved: Unsaved
    outbox: Outbox | None
    now: Clock
    is_closed: bool = False
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    documents: Documents = field(init=False)

    @property
    def counters(self) -> Counters:
        return self.transport.counters

    def check_open(self) -> None:
        """Raise RuntimeError once the client is closed."""
        if self.is_closed:
            raise RuntimeError("The client is closed.")

    def begin(
        self, job: Coroutine[Any, Any, None], surrounding: Surrounding | None = None
    ) -> asyncio.Task[None]:
        """Run a job that nobody has to wait for; `surrounding` has its context variables."""
        task = asyncio.create_task(job, context=surrounding)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("A job failed in a way it should not", exc_info=task.exception())
