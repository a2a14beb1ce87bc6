"""What all documents of one client share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from plait_client.events import Counters, Events
from plait_client.live import Live
from plait_client.outbox import Outbox
from plait_client.retry import Clock
from plait_client.transport import Transport
from plait_client.unsaved import Unsaved


@dataclass(slots=True, eq=False)
class Context:
    """The way to the server, what is kept on this side, and who wants to hear of it.

    `now` is wall clock, seconds since 1970, and only ever shown to people. `tasks` are the jobs under way,
    which the client waits for when it closes.
    """

    transport: Transport
    live: Live
    events: Events
    unsaved: Unsaved
    outbox: Outbox | None
    now: Clock
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def counters(self) -> Counters:
        return self.transport.counters

    def begin(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a job that nobody waits for."""
        task = asyncio.create_task(job)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task
