"""A client program: its requests over a network that loses and doubles, and what it has seen so far."""

import asyncio
import traceback
from asyncio import Future, Task, get_running_loop
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, TypeAlias, TypeVar, cast

from plait_merge import ABSENT, Absent, Json
from plait_server import errors
from plait_server.service import (
    Answer,
    BatchAnswer,
    Caller,
    DocumentKey,
    DocumentView,
    Edit,
    IdempotencyKey,
    Service,
)
from plait_server.store import Address
from simulation.chronicle import Violation
from simulation.ledger import MADE_REVISIONS, TALLY, Reply, Request, refusal_of, reply_of
from simulation.loop import Party
from simulation.schedule import Step
from simulation.world import ANSWER_TIMEOUT_S, TENANT, World

NAMES = ("orders/1", "orders/2", "orders/3")
DOCUMENTS = (*NAMES, TALLY)
PATIENT = 10_000
Result = TypeVar("Result")
Job: TypeAlias = Callable[[Service], Awaitable[Answer | BatchAnswer]]
Asked: TypeAlias = Result | errors.PlaitServerError | None


class Client(Party):
    """Asks the server, and remembers. Everything goes on beside everything else."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(name)
        self.world = world
        self.caller = Caller(TENANT, f"{name}-token", name)
        self.seen: dict[str, list[tuple[int, Json | Absent]]] = {name: [] for name in DOCUMENTS}
        """What was seen of each document, newest last."""
        self.floor: dict[str, int] = dict.fromkeys(DOCUMENTS, 0)
        self.conflicts: list[tuple[str, errors.MergeConflict]] = []
        self.asked: list[tuple[Request, Job]] = []
        """Everything that was sent, as it can be sent again."""
        self.road: list[str] = []
        """What comes to the next requests: lose_request, lose_answer, double."""
        self._goes_short = False
        self._jobs: dict[Task[None], str] = {}

    @property
    def busy(self) -> bool:
        return bool(self._jobs)

    @property
    def doing(self) -> str:
        return ", ".join(self._jobs.values())

    def start(self, name: str, job: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        """Go on with something beside everything else."""
        task = self.begin(self._watched(job, arguments))
        self._jobs[task] = name
        task.add_done_callback(lambda task: self._jobs.pop(task))

    async def _watched(
        self, job: Callable[..., Coroutine[Any, Any, None]], arguments: tuple[object, ...]
    ) -> None:
        with self.world.watching():
            try:
                await job(*arguments)
            except Violation:
                raise
            except Exception as error:
                raise Violation("client", traceback.format_exc(limit=-6)) from error

    # The network

    async def ask(
        self,
        job: Callable[[Service], Awaitable[Result]],
        look: Callable[[Result | errors.PlaitServerError], None],
    ) -> Asked[Result]:
        """Ask the server; None where no answer comes. `look` sees each answer as it leaves the server. Who
        asks too often waits as he is told."""
        world, fault = self.world, self.road.pop(0) if self.road else None

        async def counted(service: Service) -> Result:
            with world.watching():
                await self._pass_door(service)
            return await job(service)

        future: Future[Asked[Result]] = get_running_loop().create_future()
        unheard: Future[Asked[Result]] = get_running_loop().create_future()
        if fault is not None:
            world.note(self.name, f"the network: {fault}")
        for copy in range(0 if fault == "lose_request" else 2 if fault == "double" else 1):
            answer = unheard if fault == "lose_answer" or (copy and fault == "double") else future
            self._send(counted, look, answer)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                heard = await future
        except TimeoutError:
            return None
        if isinstance(heard, errors.QuotaExceeded):
            await asyncio.sleep(cast(float, heard.members["retry_after_s"]))
        return heard

    async def _pass_door(self, service: Service) -> None:
        """Be counted, as every request is. Raises QuotaExceeded."""
        process, quotas = self.world.process, service.quotas
        if quotas is None or process is None:
            return
        try:
            await quotas.take(self.caller, "", writes=True)
        except errors.QuotaExceeded as refusal:
            process.meter.refused(self.name, refusal)
            raise
        (policy,) = quotas.policies
        process.meter.let_in(self.name, policy.quota, policy.window_s)

    def _send(
        self,
        job: Callable[[Service], Awaitable[Result]],
        look: Callable[[Result | errors.PlaitServerError], None],
        future: Future[Asked[Result]],
    ) -> None:
        process, delay_s = self.world.process, self.world.pace.delay_s()
        if process is None:
            self.later(delay_s, future.set_result, None)
        else:
            process.later(delay_s, process.ask, self, job, look, future)

    async def submit(
        self,
        request: Request,
        job: Job,
        attempts: int = PATIENT,
    ) -> Reply | None:
        """Send a request until it is decided, with the same key; None where it is given up before."""
        ledger = self.world.ledger
        ledger.enter(request)
        self.asked.append((request, job))

        async def attempt(service: Service) -> Reply:
            try:
                return reply_of(self.caller, await job(service))
            except (errors.PlaitServerError, errors.BatchRefused) as error:
                return refusal_of(error)

        def look(reply: Reply | errors.PlaitServerError) -> None:
            if isinstance(reply, errors.QuotaExceeded):
                return
            assert isinstance(reply, Reply)
            self.world.note("the server", f"answers {request}: {reply.outcome}")
            ledger.replied(request, reply)

        self.world.note(self.name, f"sends {request}")
        for number in range(attempts):
            reply = await self.ask(attempt, look)
            if isinstance(reply, Reply) and not reply.is_for_now:
                self._learn(reply)
                return reply
            await asyncio.sleep(0.05 * min(number, 20) + self.world.pace.delay_s())
        return None

    async def edit(self, name: str, request: Request, edit: Edit, attempts: int = PATIENT) -> Reply | None:
        """Send an edit of a document; a conflict is remembered."""
        reply = await self.submit(
            request, lambda service: self._edited(service, key_of(name), edit), attempts
        )
        if reply is not None and isinstance(reply.refusal, errors.MergeConflict):
            self.conflicts.append((name, reply.refusal))
        return reply

    async def _edited(self, service: Service, document: DocumentKey, edit: Edit) -> Answer:
        """Have an edit made, by turns as a whole and in the steps of the short road."""
        self._goes_short = not self._goes_short
        begun = service.begin_edit(self.caller, document, edit) if self._goes_short else None
        if begun is None:
            return await service.edit(self.caller, document, edit)
        if begun.result is not None:
            await asyncio.wait([begun.result])
        return service.conclude_edit(begun) or await service.go_on_with(begun)

    def _learn(self, reply: Reply) -> None:
        """Note what an answer shows to exist."""
        for part in reply.parts:
            if part.outcome in MADE_REVISIONS and part.revision is not None:
                name = f"{part.address.collection}/{part.address.id}"
                self.floor[name] = max(self.floor.get(name, 0), part.revision)

    def request(
        self, step: Step, does: str, *names: str, writes: bool = True, counts: int = 0, suffix: str = ""
    ) -> Request:
        key = f"{self.name}-{step.number}{suffix}"
        addresses = tuple(map(address_of, names))
        return Request(
            self.caller, key, f"{does} {' '.join(names)}", addresses, key if writes else None, counts
        )

    # Reading

    async def read(self, name: str, revision: int | None = None) -> tuple[int, Json | Absent] | None:
        """Read a document, or one revision of it; None where that is not to be had."""
        floor = 0 if revision is not None else self.floor[name]
        address = address_of(name)
        found: list[tuple[int, Json | Absent]] = []

        def look(view: DocumentView | errors.PlaitServerError) -> None:
            ledger = self.world.ledger
            if isinstance(view, DocumentView):
                ledger.read(name, address, view, view.revision, floor)
                found.append((view.revision, view.value))
            elif isinstance(view, errors.Deleted):
                n = view.members["revision"]
                assert isinstance(n, int)
                ledger.read(name, address, None, n, floor)
                found.append((n, ABSENT))
            elif isinstance(view, errors.NotFound):
                ledger.read(name, address, None, 0, floor)

        view = await self.ask(lambda service: service.read(self.caller, key_of(name), revision), look)
        if view is None or not found:
            return None
        if revision is None:
            self.floor[name] = max(self.floor[name], found[0][0])
            self.seen[name].append(found[0])
        return found[0]

    async def known(self, random: Random, name: str) -> tuple[int, Json | Absent]:
        """Give something that was seen of a document: most often the newest."""
        if not self.seen[name] or random.random() < 0.3:
            await self.read(name)
        if not self.seen[name]:
            return 0, ABSENT
        return random.choice(self.seen[name]) if random.random() < 0.3 else self.seen[name][-1]


def address_of(name: str) -> Address:
    """Give the address of a document by its name."""
    return Address(TENANT, *name.split("/"))


def key_of(name: str) -> DocumentKey:
    """Give what the service calls a document."""
    collection, _, id = name.partition("/")
    return DocumentKey(collection, id)


def idempotency(request: Request) -> IdempotencyKey:
    """Give the idempotency key of a request."""
    return IdempotencyKey(request.key, request.does)
