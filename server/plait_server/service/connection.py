"""A live connection between a session, which only says what it wants, and the service, which does it."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Protocol

from plait_server import errors
from plait_server.service.frame import Frame
from plait_server.service.request import Caller, DocumentKey, address_of
from plait_server.service.service import Service
from plait_server.service.session import (
    Announce,
    Authenticate,
    Close,
    Describe,
    Follow,
    Intent,
    Leave,
    Load,
    Publication,
    Session,
    Submit,
)
from plait_server.store import Address

log = logging.getLogger(__name__)


class Shell(Protocol):
    """What carries the frames of one connection: a WebSocket, or a stream of events."""

    def carry(self, frame: Frame) -> None:
        """Send a frame, or put it in the outbox. Nothing is in the outbox before it. Must not wait."""
        ...

    def wake(self) -> None:
        """Frames wait in the outbox. Must not wait for anything, and may call `relieved`."""
        ...

    def end(self, code: int, reason: str) -> None:
        """Close the connection, soon; what is in the outbox may still be sent."""
        ...

    async def ended(self) -> None:
        """Wait until it is closed."""
        ...


Authenticator = Callable[[str | None], Caller | None]


class Connection:
    """Carries out what a session wants. `Hub` knows it as a Follower."""

    __slots__ = (
        "_authenticate",
        "_counting",
        "_followed",
        "_hub",
        "_loop",
        "_peer",
        "_service",
        "_shell",
        "_tasks",
        "_wanted",
        "session",
    )

    def __init__(
        self,
        service: Service,
        name: str,
        shell: Shell,
        authenticate: Authenticator,
        describe: Describe,
        peer: str = "",
    ) -> None:
        """`peer` says from where the connection comes; callers without a name are counted by it."""
        hub = service.hub
        self._service = service
        self._hub = hub
        self._shell = shell
        self._authenticate = authenticate
        self._loop = asyncio.get_running_loop()
        self._followed: set[Address] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._peer = peer
        self._counting = None if service.quotas is None else asyncio.Lock()
        self._wanted: deque[Intent] | None = None
        self.session = Session(name, service.epoch, hub.limits, hub.clock(), hub.next_origin, describe)
        hub.connect(self)

    def receive(self, text: bytes) -> None:
        """Take a frame of the client."""
        self._do(self.session.receive(text))

    def admit(self, caller: Caller) -> None:
        """Let in a client that said who it is when it connected."""
        self.session.admit(caller)
        self._shell.wake()

    def turn_away(self) -> None:
        self._do(self.session.turn_away())

    def relieved(self) -> None:
        """Go on with what there was no room for."""
        intents = self.session.loads()
        if intents:
            self._do(intents)

    def published(self, publication: Publication) -> None:
        frame = self.session.published(publication)
        if frame is None:
            self._shell.wake()
        else:
            self._shell.carry(frame)

    def overtaken(self, document: DocumentKey, n: int) -> None:
        self._do(self.session.overtaken(document, n))

    def present(self, document: str, session: str, frame: Frame) -> None:
        self.session.present(document, session, frame)
        self._shell.wake()

    def tick(self, now: float) -> None:
        intents = self.session.tick(now)
        if intents or not self.session.outbox.empty:
            self._do(intents)

    async def go_away(self, reconnect_ms: tuple[int, int]) -> None:
        self._do(self.session.go_away(reconnect_ms))
        await self._shell.ended()

    def close(self) -> None:
        """Forget the connection. Its edits under way go theirs."""
        self._hub.disconnect(self)
        for address in self._followed:
            self._hub.leave(address, self, self.session.id)
        self._followed.clear()

    def _do(self, intents: Iterable[Intent]) -> None:
        """Carry intents out, and those that come of them, in order."""
        if self._wanted is not None:
            self._wanted.extend(intents)
            return
        wanted = self._wanted = deque(intents)
        try:
            while wanted:
                wanted.extend(self._carry_out(wanted.popleft()))
        finally:
            self._wanted = None
        self._shell.wake()

    def _carry_out(self, intent: Intent) -> Iterable[Intent]:
        match intent:
            case Submit():
                self._begin(self._submit(intent))
            case Load():
                return self._load_at_once(intent)
            case Follow(document):
                address = address_of(self._caller, document)
                self._followed.add(address)
                self._hub.follow(address, self)
            case Leave(document):
                address = address_of(self._caller, document)
                self._followed.discard(address)
                self._hub.leave(address, self, self.session.id)
            case Announce():
                self._announce(intent)
            case Authenticate(token):
                caller = self._authenticate(token)
                if caller is None:
                    return self.session.turn_away()
                self.session.admit(caller)
            case Close(code, reason):
                self._shell.end(code, reason)
        return ()

    def _load_at_once(self, load: Load) -> Iterable[Intent]:
        """Load from memory where that can be; most often it can."""
        try:
            backlog = self._service.backlog_at_once(self._caller, load.document, load.after, load.epoch)
        except errors.PlaitServerError as error:
            return self.session.not_loaded(load.document, error)
        if backlog is None:
            self._begin(self._load(load))
            return ()
        return self.session.loaded(load.document, backlog)

    async def _load(self, load: Load) -> None:
        try:
            backlog = await self._service.backlog(self._caller, load.document, load.after, load.epoch)
        except errors.PlaitServerError as error:
            self._do(self.session.not_loaded(load.document, error))
        else:
            self._do(self.session.loaded(load.document, backlog))

    async def _submit(self, submit: Submit) -> None:
        service, caller = self._service, self._caller
        try:
            if service.quotas is not None and self._counting is not None:
                # One at a time, wherever the counters are: edits stay in order.
                async with self._counting:
                    await service.quotas.take(caller, self._peer, writes=True)
            if submit.ancestor is None:
                answer = await service.edit(caller, submit.document, submit.edit)
            else:
                answer = await service.edit_on(caller, submit.document, submit.edit, submit.ancestor)
        except errors.PlaitServerError as error:
            self._do(self.session.refused(submit.origin, error))
        except Exception:
            log.exception("An edit failed in a way it should not")
            self._do(self.session.refused(submit.origin, errors.OutcomeUnknown("The server failed.")))
        else:
            self._do(self.session.answered(submit.origin, answer))

    def _announce(self, announce: Announce) -> None:
        caller, document = self._caller, announce.document
        since = self._service.revisions_since(caller, document, announce.revision)
        address, now = address_of(caller, document), self._hub.clock()
        self._hub.presence.announce(address, self.session.id, caller.author, announce.state, now, since)
        self._hub.announce()

    @property
    def _caller(self) -> Caller:
        caller = self.session.caller
        assert caller is not None
        return caller

    def _begin(self, job: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
