"""Giving turns: to a few documents at the same time, to each one again and again while it has queued edits.

So what they have under way at once is little. A turn that gets nowhere (the store cannot write, others keep
overtaking) is followed by a pause, longer each time. Nothing of a document overtakes: what was not finished
is what its next turn begins with.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from itertools import islice

from msgspec import Struct

from plait_server.service.attempt import Pipeline
from plait_server.service.operation import Queued
from plait_server.service.rota import Rota
from plait_server.service.turn import take_turn
from plait_server.store import Address, OperationDone, Store

TURN_EDITS_MAX = 32
TURN_BYTES_MAX = 262_144
"""A turn ends with the edit that makes it weigh more."""
PAUSE_S = 0.05
PAUSE_S_MAX = 5.0

log = logging.getLogger(__name__)


class DocumentQueue(Struct, eq=False):
    """The queued edits of one document, in order. It has a turn, waits for one, or pauses."""

    waiting: deque[Queued]
    failures: int = 0
    """Turns in a row that got nowhere."""
    pausing: asyncio.TimerHandle | None = None

    def turn(self) -> list[Queued]:
        """Give the edits that its next turn is for."""
        turn: list[Queued] = []
        weight = 0
        for queued in islice(self.waiting, TURN_EDITS_MAX):
            turn.append(queued)
            weight += len(queued.record.body)
            if weight > TURN_BYTES_MAX:
                break
        return turn


class Turns:
    """The turns of all documents. `on_finished` hears what each edit is finished with: see `take_turn`."""

    def __init__(
        self,
        pipeline: Pipeline,
        store: Store,
        on_finished: Callable[[Queued, OperationDone | None], None],
    ) -> None:
        self._pipeline = pipeline
        self._store = store
        self._on_finished = on_finished
        self._documents: dict[Address, DocumentQueue] = {}
        self._rota = Rota()
        self._under_way: set[asyncio.Task[None]] = set()
        self._closing = False

    def line_up(self, queued: Queued) -> None:
        """Let an edit wait for its turn, behind those of its document that came before."""
        address = queued.record.address
        document = self._documents.get(address)
        if document is None:
            document = self._documents[address] = DocumentQueue(deque())
            self._ask(address)
        document.waiting.append(queued)

    async def close(self) -> None:
        """Let the turns under way end; give no more."""
        self._closing = True
        for document in self._documents.values():
            if document.pausing is not None:
                document.pausing.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _ask(self, address: Address) -> None:
        """Ask for a turn of a document."""
        self._rota.add(address)
        self._give()

    def _give(self) -> None:
        while len(self._under_way) < self._pipeline.limits.queue_documents_at_once and not self._closing:
            address = self._rota.next()
            if address is None:
                return
            turn = asyncio.create_task(self._take(address), name="queued edits")
            self._under_way.add(turn)
            turn.add_done_callback(self._ended)

    def _ended(self, turn: asyncio.Task[None]) -> None:
        self._under_way.discard(turn)
        self._give()

    async def _take(self, address: Address) -> None:
        document = self._documents[address]
        try:
            finished = await take_turn(self._pipeline, self._store, document.turn())
        except Exception:
            log.exception("A turn of queued edits failed")
            finished = ()
        for done in finished:
            self._on_finished(document.waiting.popleft(), done)
        document.failures = 0 if finished else document.failures + 1
        if not document.waiting:
            del self._documents[address]
        elif finished:
            self._rota.add(address)
        elif not self._closing:
            loop = asyncio.get_running_loop()
            document.pausing = loop.call_later(self._pause_s(document.failures), self._ask, address)

    def _pause_s(self, failures: int) -> float:
        """Draw a pause that is longer after each failure, up to a limit."""
        part = int.from_bytes(self._pipeline.random_bytes(2), "big") / 65_536
        return part * min(PAUSE_S_MAX, PAUSE_S * 2.0 ** min(failures, 16))
