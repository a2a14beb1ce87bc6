"""A world: one disk, the server process that runs on it, the networks of people, and how long all takes."""

import logging
import traceback
from asyncio import Future, Task, current_task, get_running_loop
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, TypeVar

from plait_server import errors
from plait_server.service import Caller, DocumentKey, LiveLimits, Service, ServiceLimits
from plait_server.service.connection import Connection
from plait_server.service.frame import Frame
from plait_server.service.limits import Rates
from plait_server.store import Address, Commit, CommitResult, Committed, LockRecord
from plait_server.wire import decode
from simulation.chronicle import Chronicle, Violation, check_fits
from simulation.faulty_store import Fault, FaultyStore
from simulation.ledger import Ledger
from simulation.loop import Party
from simulation.memory_store import Disk, MemoryStore
from simulation.meter import Meter
from simulation.promises import Promises

TENANT = "acme"
WALL_S = 1_800_000_000.0
DELAYS_S = (0.0, 0.0, 0.001, 0.001, 0.002, 0.004, 0.015, 0.08)
STEPS_S = (-400 * 86_400.0, -3_600.0, 0.0, 1.0, 30 * 86_400.0)
EVEN_S = (0.001,)
ANSWER_TIMEOUT_S = 20.0
SHORT_S = 90
"""A short time to keep something for: longer than people try again."""
Message = TypeVar("Message")
Result = TypeVar("Result")


@dataclass(slots=True)
class Pace:
    """How long everything takes."""

    random: Random
    delays_s: Sequence[float]

    def delay_s(self) -> float:
        return self.random.choice(self.delays_s)


class World(Party):
    """All there is in one run. `violation` is the first invariant that did not hold."""

    def __init__(
        self, seed: int, open_store: Callable[[Disk], Any] = MemoryStore, is_even: bool = False
    ) -> None:
        """`is_even`: everything takes the same time, which makes a story easier to read."""
        super().__init__("the world")
        random = Random(f"{seed}/world")
        self.disk = Disk()
        self.chronicle = Chronicle()
        self.limits = _limits(random)
        self.promises = Promises(self.limits, lambda: self.now_s)
        self.ledger = Ledger(self.chronicle, self.promises)
        self.pace = Pace(Random(f"{seed}/pace"), EVEN_S if is_even else DELAYS_S)
        self.trace: list[tuple[float, str, str]] = []
        self.violation: Violation | None = None
        self.faults: deque[Fault] = deque()
        """What comes to the next writes."""
        self.set_by_s = 0.0
        """How far the clock on the wall is ahead."""
        self.process: Process | None = None
        self.rules: dict[str, int] = {}
        """The settings of a collection that somebody was told are in force."""
        self._random_bytes = Random(f"{seed}/bytes").randbytes
        self._windows = Random(f"{seed}/windows")
        self._open_store = open_store
        self._processes = 0
        # Kept until the end of the world: a task that nobody knows may be collected while it waits.
        self._endings: list[Task[None]] = []

    @property
    def now_s(self) -> float:
        return get_running_loop().time()

    def wall_s(self) -> float:
        """Give the time on the wall, where it is set now and then."""
        return WALL_S + self.set_by_s + self.now_s

    def set_clock(self, random: Random) -> None:
        """Let the clock on the wall step."""
        self.set_by_s = random.choice(STEPS_S)
        self.note("the wall", f"its clock is {self.set_by_s:g} s ahead")

    def note(self, who: str, what: str) -> None:
        """Write down what happens, for the story."""
        self.trace.append((self.now_s, who, what))

    def fail(self, violation: Violation) -> None:
        if self.violation is None:
            self.note("!", str(violation))
            self.violation = violation

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take note of an invariant that does not hold; what goes on goes on."""
        try:
            yield
        except Violation as violation:
            self.fail(violation)

    def begin_process(self) -> None:
        """Start a server on the disk as it is."""
        self._processes += 1
        self.process = Process(self, self._processes, self._random_bytes)
        self.process.begin(self.process.open(self._open_store(self.disk)))

    def restart_process(self) -> None:
        """Let the server end as it is asked to; then the next one starts."""
        if self.process is not None:
            self._endings.append(self.process.begin(self.process.close()))

    def window(self) -> int:
        """Draw how many frames a network takes before the receiver has some."""
        return self._windows.choice((1, 3, 1_000))


class Process(Party):
    """A server. It dies, or is closed; either way the next one opens what is durable."""

    def __init__(self, world: World, number: int, random_bytes: Callable[[int], bytes]) -> None:
        super().__init__(f"server {number}")
        self.world = world
        self.service: Service | None = None
        self.alive = True
        self.meter = Meter(lambda: world.now_s)
        self._begun_s = world.now_s
        self._random_bytes = random_bytes
        self._calls: dict[Future[Any], Party] = {}
        self._links: dict[Link, None] = {}

    async def open(self, store: Any) -> None:
        world = self.world
        world.note(self.name, "starts")
        self.service = await Service.open(
            FaultyStore(store, self),  # type: ignore[arg-type]  # it hands on what it does not name
            limits=world.limits,
            clock=world.wall_s,
            random_bytes=self._random_bytes,
            monotonic=self._uptime_s,
        )

    def _uptime_s(self) -> float:
        """Give a time that begins with the process: the next one can make nothing of it."""
        return self.world.now_s - self._begun_s

    # What the disk asks

    def delay_s(self) -> float:
        return self.world.pace.delay_s()

    def fault(self, write: str) -> Fault | None:
        if not self.alive or not self.world.faults:
            return None
        fault = self.world.faults.popleft()
        self.world.note("the disk", f"{write}: {fault}")
        return fault

    def asked(self, function: str, arguments: Sequence[Any]) -> None:
        promises = self.world.promises
        if function in ("put_lock", "renew_lock"):
            promises.granting(arguments[0])
        elif function == "locks":
            promises.reviving(self.world.disk.locks.values(), int(self.world.wall_s() * 1000))
        elif function == "finish_operation":
            promises.finished(arguments[1].id)

    def written(self, batch: Sequence[Commit], results: Sequence[CommitResult]) -> None:
        world = self.world
        with world.watching():
            locks = [lock for lock in world.disk.locks.values() if self._stands(lock)]
            world.chronicle.note(batch, results, locks)
        for commit, result in zip(batch, results, strict=True):
            if isinstance(result, Committed):
                with world.watching():
                    world.ledger.committed(commit)
            revision, address = commit.revision, commit.address
            if revision is None:
                continue
            name = f"{address.collection}/{address.id}"
            world.note("the disk", f"{name} {revision.n} {revision.key}: {type(result).__name__}")
            in_force = world.rules.get(address.collection, 0)
            if revision.policy is not None and revision.policy < in_force:
                world.fail(Violation("rules", f"{name} {revision.n} was decided under earlier settings"))
            if isinstance(result, Committed) and in_force:
                settings = world.disk.collections[TENANT, address.collection][in_force - 1 :]
                with world.watching():
                    check_fits(
                        world.chronicle.value(address, revision.n), [record.body for record in settings]
                    )

    def _stands(self, lock: LockRecord) -> bool:
        """Say whether somebody was told of a lease whose time is not over, and it can be led on to the head:
        else it may end early, in a restart."""
        kept = self.world.disk.documents[lock.address]
        is_told = lock.fence in self.world.ledger.fences
        return is_told and lock.revision >= kept.oldest and self.world.promises.lasts(lock)

    def die(self) -> None:
        """End at once: whatever runs here has no effect any more."""
        if not self.alive:
            return
        self.world.note(self.name, "dies")
        self._end()

    async def close(self) -> None:
        """End as asked to."""
        if self.service is None or not self.alive:
            self.die()
            return
        self.world.note(self.name, "closes")
        await self.service.close()
        if self.alive:
            self._end()

    def _end(self) -> None:
        self.alive = False
        self._hang_up()
        closing = current_task()
        for task in list(self.tasks):
            if task is not closing:
                task.cancel()
        self.world.later(self.delay_s(), self.world.begin_process)

    def _hang_up(self) -> None:
        for future, caller in self._calls.items():
            caller.later(self.delay_s(), _answer, future, None)
        self._calls.clear()
        for link in list(self._links):
            link.cut()

    # What people ask

    def ask(
        self,
        caller: Party,
        job: Callable[[Service], Awaitable[Result]],
        look: Callable[[Result | errors.PlaitServerError], None],
        future: "Future[Result | errors.PlaitServerError | None]",
    ) -> None:
        """Do a job, let the answer be looked at, and send it; None where there is nobody any more."""
        if self.service is None or not self.alive:
            caller.later(self.delay_s(), _answer, future, None)
            return
        self._calls[future] = caller
        self.begin(self._serve(self.service, caller, job, look, future))

    async def _serve(
        self,
        service: Service,
        caller: Party,
        job: Callable[[Service], Awaitable[Result]],
        look: Callable[[Result | errors.PlaitServerError], None],
        future: "Future[Result | errors.PlaitServerError | None]",
    ) -> None:
        answer: Result | errors.PlaitServerError
        try:
            answer = await job(service)
        except errors.PlaitServerError as error:
            answer = error
        except Exception:
            if self.alive:
                self.world.fail(Violation("bug", traceback.format_exc(limit=-6)))
            return
        if not self.alive:
            return
        with self.world.watching():
            look(answer)
        if self._calls.pop(future, None) is not None:
            caller.later(self.delay_s(), _answer, future, answer)

    def connect(self, link: "Link") -> None:
        """Take a live connection, if there is somebody to take it."""
        if self.service is None or not self.alive or self.service.hub.closing:
            link.cut()
            return
        self._links[link] = None
        link.open(self.service)

    def disconnect(self, link: "Link") -> None:
        self._links.pop(link, None)


def _answer(future: "Future[Result | None]", answer: Result | None) -> None:
    if not future.done():
        future.set_result(answer)


class Pipe(Generic[Message]):
    """One direction of a connection: messages arrive late, in their order, until it is cut."""

    def __init__(self, pace: Pace, receiver: Party, take: Callable[[Message], None]) -> None:
        self.is_cut = False
        self._pace = pace
        self._receiver = receiver
        self._take = take
        self._last = 0.0
        self._messages: deque[Message] = deque()

    def put(self, message: Message) -> None:
        loop = get_running_loop()
        self._last = max(self._last, loop.time() + self._pace.delay_s())
        self._messages.append(message)
        loop.call_at(self._last, self._deliver, context=self._receiver.context)

    def _deliver(self) -> None:
        message = self._messages.popleft()
        if not self.is_cut:
            self._take(message)


class Link:
    """A live connection; on the server's side a Shell, as a WebSocket is one."""

    def __init__(
        self,
        world: World,
        process: Process,
        party: Party,
        caller: Caller,
        name: str,
        hear: "Callable[[Link, Mapping[str, Any] | None], None]",
    ) -> None:
        """`hear` takes each frame, and None at the end."""
        self.name = name
        self.edits: dict[int, Any] = {}
        """What was sent over it, by the number of the frame."""
        self._world = world
        self._process = process
        self._party = party
        self._caller = caller
        self._hear = hear
        self._up: Pipe[bytes] = Pipe(world.pace, process, self._arrived)
        self._down: Pipe[Mapping[str, Any] | None] = Pipe(world.pace, party, self._delivered)
        self._inbox: deque[bytes] = deque()
        self._window = world.window()
        self._in_transit = 0
        self._pumping = False
        self._ending = False
        self._over = False
        self._connection: Connection | None = None
        process.later(world.pace.delay_s(), process.connect, self)

    @property
    def is_cut(self) -> bool:
        return self._down.is_cut

    # The client's side

    def send(self, frame: bytes) -> None:
        self._up.put(frame)

    def _delivered(self, frame: Mapping[str, Any] | None) -> None:
        if frame is None:
            self.cut()
            return
        self._process.later(self._world.pace.delay_s(), self._received)
        self._hear(self, frame)

    def cut(self) -> None:
        """Let nothing through any more. Either side notices in its time."""
        if self._down.is_cut:
            return
        self._up.is_cut = self._down.is_cut = True
        self._party.later(self._world.pace.delay_s(), self._hear, self, None)
        self._process.later(self._world.pace.delay_s(), self._closed)

    # The server's side

    def open(self, service: Service) -> None:
        self._connection = Connection(service, self.name, self, lambda token: None, _describe)
        self._connection.admit(self._caller)

    def _arrived(self, frame: bytes) -> None:
        self._process.meter.asked_live(self._party.name)
        self._inbox.append(frame)
        self._listen()

    def _listen(self) -> None:
        connection = self._connection
        while self._inbox and connection is not None and not self._ending and self._process.alive:
            if not connection.session.receptive:
                return
            connection.receive(self._inbox.popleft())

    def _received(self) -> None:
        self._in_transit -= 1
        if self._process.alive:
            self.wake()

    def _closed(self) -> None:
        self._ending = True
        if self._connection is not None and not self._over and self._process.alive:
            self._connection.close()
        self._over = True
        self._process.disconnect(self)

    def carry(self, frame: Frame) -> None:
        if self._pumping or self._ending or self._in_transit >= self._window:
            assert self._connection is not None
            self._connection.session.outbox.put(frame)
            self.wake()
        else:
            self._send(frame)

    def wake(self) -> None:
        if self._pumping or self._ending or self._connection is None:
            return
        self._pumping = True
        try:
            self._pump(self._connection)
        finally:
            self._pumping = False
        if self._inbox and self._connection.session.receptive:
            self._process.later(0, self._listen)

    def _pump(self, connection: Connection) -> None:
        session = connection.session
        while self._in_transit < self._window:
            frame = session.outbox.take()
            if frame is not None:
                self._send(frame)
                continue
            if not session.behind:
                return
            connection.relieved()
            if session.outbox.empty:
                return

    def _send(self, frame: Frame) -> None:
        if not self._process.alive:
            return
        told = decode(frame.text)
        assert isinstance(told, dict)
        with self._world.watching():
            self._look(told)
        self._in_transit += 1
        self._down.put(told)

    def _look(self, frame: Mapping[str, Any]) -> None:
        ledger, request = self._world.ledger, None
        if frame["t"] in ("applied", "problem"):
            request = self.edits.get(frame.get("id", -1))
        if "doc" in frame:
            ledger.told(Address(TENANT, *frame["doc"].split("/")), frame)
        if request is not None:
            ledger.answered_live(request, frame)

    def end(self, code: int, reason: str) -> None:
        if self._ending:
            return
        self.wake()
        self._ending = True
        self._down.put(None)
        self._process.later(0, self._closed)

    async def ended(self) -> None:
        """It is, soon."""


def _describe(error: errors.PlaitServerError, document: DocumentKey | None) -> Mapping[str, object]:
    return {"type": error.code, "detail": error.detail, "retry": error.retry}


def _limits(random: Random) -> ServiceLimits:
    """Draw limits: small ones bring about what otherwise takes very many edits."""
    draw = random.choice
    return ServiceLimits(
        recent_revisions_max=draw((1, 3, 1_000)),
        open_bytes_max=draw((1, 1_000_000)),
        open_idle_s=draw((0, 300)),
        snapshot_bytes_min=draw((1, 300, 30_000)),
        snapshot_revisions_max=draw((2, 1_000)),
        answers_recent_max=draw((1, 1_000)),
        missed_revisions_max=draw((0, 2, 100)),
        offload_bytes_min=draw((0, 16_384, 16_384)),
        idempotency_ttl_s=draw((SHORT_S, 86_400)),
        conflict_ttl_s=draw((SHORT_S, 604_800)),
        rates=Rates(caller=draw(("", "", "", "12/5 second"))),
        operation_ttl_s=draw((SHORT_S, 86_400)),
        compaction_interval_s=draw((0.5, 5)),
        live=LiveLimits(
            queue_frames_max=draw((4, 256)),
            composed_revisions_max=draw((2, 1_000)),
            tick_s=draw((0.5, 1)),
        ),
    )


class Listener(logging.Handler):
    """Hears of what the server's code says should not happen."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        process = self._world.process
        if process is not None and process.alive and record.exc_info is not None:
            self._world.fail(Violation("bug", logging.Formatter().format(record)[-2_000:]))
