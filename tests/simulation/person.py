"""Somebody with a client: does what a schedule says, and checks that the own view of things holds."""

import asyncio
import json
import traceback
from asyncio import Future, Task, get_running_loop
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias, TypeVar

from plait_client.live.frame import Part as LivePart
from plait_client.replica.edit import Edit as Typed
from plait_client.replica.edit import Flight
from plait_client.replica.replica import Progress, Replica
from plait_client.saved import Missed
from plait_merge import ABSENT, Absent, Json, apply, same
from plait_server import errors
from plait_server.service import (
    Answer,
    Batch,
    BatchAnswer,
    Caller,
    CollectionSettings,
    DocumentKey,
    DocumentView,
    Edit,
    Hold,
    IdempotencyKey,
    IfMatch,
    LockView,
    MergeMode,
    Page,
    Retention,
    RevisionView,
    Service,
)
from plait_server.store import Address
from plait_server.wire import decode, encode
from simulation.chronicle import Violation
from simulation.ledger import MADE_REVISIONS, TALLY, Reply, Request, refusal_of, reply_of
from simulation.loop import Party
from simulation.schedule import Step
from simulation.world import ANSWER_TIMEOUT_S, TENANT, Link, World

NAMES = ("orders/1", "orders/2", "orders/3")
DOCUMENTS = (*NAMES, TALLY)
PATIENT = 10_000
Patch = list[dict[str, Any]]
Result = TypeVar("Result")
Asked: TypeAlias = Result | errors.PlaitServerError | None


@dataclass(slots=True)
class Stream:
    """A document followed live: `at` is the revision that frames led to, None before the first snapshot."""

    replica: Replica
    at: int | None = None
    wanted: bool = True
    subscribed: bool = False
    sending: bool = False
    typed: dict[str, str] = field(default_factory=dict)
    """What became of each edit by its key: "waiting", "saved", "failed" or "refused"."""


class Person(Party):
    """A client program. Every step goes on beside the next."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(name)
        self.world = world
        self.caller = Caller(TENANT, f"{name}-token", name)
        self.seen: dict[str, list[tuple[int, Json | Absent]]] = {name: [] for name in DOCUMENTS}
        """What was seen of each document, newest last."""
        self.floor: dict[str, int] = dict.fromkeys(DOCUMENTS, 0)
        self.conflicts: list[tuple[str, errors.MergeConflict]] = []
        self.streams: dict[str, Stream] = {}
        self.link: Link | None = None
        self.road: list[str] = []
        """What comes to the next requests: lose_request, lose_answer, double."""
        self.feed = FeedReader(self)
        self._jobs: dict[Task[None], str] = {}
        self._links = 0

    @property
    def busy(self) -> bool:
        return bool(self._jobs)

    @property
    def doing(self) -> str:
        return ", ".join(self._jobs.values())

    def do(self, step: Step) -> None:
        """Begin with a step."""
        if step.act in ("lose_request", "lose_answer", "double"):
            self.road.append(step.act)
        elif step.act == "cut":
            if self.link is not None:
                self.link.cut()
        else:
            self.start(step.act, getattr(self, f"_{step.act}"), Random(step.roll), step)

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
        """Ask the server; None where no answer comes. `look` sees each answer as it leaves the server."""
        world, fault = self.world, self.road.pop(0) if self.road else None
        future: Future[Asked[Result]] = get_running_loop().create_future()
        unheard: Future[Asked[Result]] = get_running_loop().create_future()
        if fault is not None:
            world.note(self.name, f"the network: {fault}")
        for copy in range(0 if fault == "lose_request" else 2 if fault == "double" else 1):
            answer = unheard if fault == "lose_answer" or (copy and fault == "double") else future
            self._send(job, look, answer)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await future
        except TimeoutError:
            return None

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
        job: Callable[[Service], Awaitable[Answer | BatchAnswer]],
        attempts: int = PATIENT,
    ) -> Reply | None:
        """Send a request until it is decided, with the same key; None where it is given up before."""
        ledger = self.world.ledger
        ledger.enter(request)

        async def attempt(service: Service) -> Reply:
            try:
                return reply_of(self.caller, await job(service))
            except (errors.PlaitServerError, errors.BatchRefused) as error:
                return refusal_of(error)

        def look(reply: Reply | errors.PlaitServerError) -> None:
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
        addresses = tuple(Address(TENANT, *name.split("/")) for name in names)
        return Request(
            self.caller, key, f"{does} {' '.join(names)}", addresses, key if writes else None, counts
        )

    # Reading

    async def read(self, name: str, revision: int | None = None) -> tuple[int, Json | Absent] | None:
        """Read a document, or one revision of it; None where that is not to be had."""
        floor = 0 if revision is not None else self.floor[name]
        address = Address(TENANT, *name.split("/"))
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

        view = await self.ask(lambda service: service.read(self.caller, _key(name), revision), look)
        if view is None or not found:
            return None
        if revision is None:
            self.floor[name] = max(self.floor[name], found[0][0])
            self.seen[name].append(found[0])
        return found[0]

    async def _read(self, random: Random, step: Step) -> None:
        await self.read(random.choice(DOCUMENTS))

    async def _look_back(self, random: Random, step: Step) -> None:
        name = random.choice(DOCUMENTS)
        if self.floor[name]:
            await self.read(name, random.randint(1, self.floor[name]))

    async def _feed(self, random: Random, step: Step) -> None:
        for _ in range(random.randint(1, 4)):
            await self.feed.read(random.choice((1, 3, 100)), random.choice((0.0, 0.5)))

    # Edits

    async def _known(self, random: Random, name: str) -> tuple[int, Json | Absent]:
        """Give something that was seen of a document: most often the newest."""
        if not self.seen[name] or random.random() < 0.3:
            await self.read(name)
        if not self.seen[name]:
            return 0, ABSENT
        return random.choice(self.seen[name]) if random.random() < 0.3 else self.seen[name][-1]

    async def _edit(self, random: Random, step: Step) -> None:
        name = random.choice(NAMES)
        base, value = await self._known(random, name)
        request = self.request(step, "edits", name)
        assert request.token is not None
        patch = operations(random, value, request.token)
        mode: MergeMode = random.choice(("auto", "auto", "auto", "strict", "theirs", "yours"))
        condition = IfMatch((base,)) if base and random.random() < 0.1 else None
        edit = Edit(
            kind="patch",
            content=patch,
            base=base if base and random.random() < 0.85 else None,
            if_match=condition,
            merge=mode,
            extended=True,
            key=_idempotency(request),
        )
        await self._take(name, request, edit, random.choice((1, PATIENT, PATIENT)))

    async def _take(self, name: str, request: Request, edit: Edit, attempts: int = PATIENT) -> Reply | None:
        reply = await self.submit(
            request, lambda service: service.edit(self.caller, _key(name), edit), attempts
        )
        if reply is not None and isinstance(reply.refusal, errors.MergeConflict):
            self.conflicts.append((name, reply.refusal))
        return reply

    async def _tally(self, random: Random, step: Step) -> None:
        base, _ = await self._known(random, TALLY)
        counts = random.choice((0, 1, 5))
        request = self.request(step, "counts in" if counts else "appends to", TALLY, counts=counts)
        content: Patch = [{"op": "add", "path": "/log/-", "value": request.token}]
        if counts:
            content = [{"op": "inc", "path": "/n", "value": counts}]
        edit = Edit(
            kind="patch", content=content, base=base or None, extended=True, key=_idempotency(request)
        )
        await self._take(TALLY, request, edit)

    async def _put(self, random: Random, step: Step) -> None:
        name = random.choice(NAMES)
        base, value = await self._known(random, name)
        request = self.request(step, "puts", name)
        assert request.token is not None
        wanted = apply(value, _plain(random, value, request.token)) if isinstance(value, dict) else None
        edit = Edit(
            kind="put",
            content=wanted if wanted is not None else start(request.token),
            base=base or None,
            if_none_match=not base,
            key=_idempotency(request),
        )
        await self._take(name, request, edit)

    async def _merge_patch(self, random: Random, step: Step) -> None:
        name = random.choice(NAMES)
        base, _ = await self._known(random, name)
        request = self.request(step, "merges into", name)
        content = {"title": request.token, f"m{random.randrange(3)}": random.choice((None, request.token))}
        edit = Edit(kind="merge_patch", content=content, base=base or None, key=_idempotency(request))
        await self._take(name, request, edit)

    async def _delete(self, random: Random, step: Step) -> None:
        name = random.choice(NAMES)
        base, _ = await self._known(random, name)
        request = self.request(step, "deletes", name, writes=False)
        edit = Edit(kind="delete", base=base or None, key=_idempotency(request))
        if base:
            await self._take(name, request, edit)

    async def _create(self, random: Random, step: Step) -> None:
        await self.create(random.choice(DOCUMENTS), step)

    async def create(self, name: str, step: Step) -> None:
        """Create a document, unless it is there."""
        request = self.request(step, "creates", name, writes=name != TALLY)
        value = start(request.token or "") if name != TALLY else {"n": 0, "log": []}
        edit = Edit(kind="put", content=value, if_none_match=True, key=_idempotency(request))
        await self._take(name, request, edit)

    async def _batch(self, random: Random, step: Step) -> None:
        names = random.sample(DOCUMENTS, random.choice((2, 2, 3)))
        request = self.request(step, "edits together", *names)
        content: Patch = [{"op": "add", "path": "/log/-", "value": request.token}]
        edits = []
        for name in names:
            base = self.seen[name][-1][0] if self.seen[name] and random.random() < 0.7 else None
            edit = Edit(kind="patch", content=content, base=base, key=_idempotency(request))
            edits.append((_key(name), edit))
        batch = Batch(edits=tuple(edits), key=_idempotency(request))
        await self.submit(
            request, lambda service: service.batch(self.caller, batch), random.choice((1, PATIENT))
        )

    async def _queue(self, random: Random, step: Step) -> None:
        """Queue an edit, and ask again under its key until it is decided, or leave it to its fate."""
        name = random.choice(DOCUMENTS)
        base = self.seen[name][-1][0] if self.seen[name] else None
        request = self.request(step, "queues an edit of", name)
        content: Patch = [{"op": "add", "path": "/log/-", "value": request.token}]
        edit = Edit(kind="patch", content=content, base=base, key=_idempotency(request))
        wait_s = random.choice((0.0, 0.0, 1.0))

        async def job(service: Service) -> Answer:
            answer = await service.queue.submit(self.caller, _key(name), edit, wait_s)
            if isinstance(answer, Answer):
                return answer
            raise errors.IdempotencyInProgress("It is queued.")

        await self.submit(request, job, random.choice((1, PATIENT)))

    async def _revert(self, random: Random, step: Step) -> None:
        await self._take_back(random, step, is_restoration=False)

    async def _restore(self, random: Random, step: Step) -> None:
        await self._take_back(random, step, is_restoration=True)

    async def _take_back(self, random: Random, step: Step, is_restoration: bool) -> None:
        name = random.choice(NAMES)
        if not self.floor[name]:
            await self.read(name)
        if not self.floor[name]:
            return
        n = random.randint(1, self.floor[name])
        first = max(1, n - random.randrange(2))
        request = self.request(step, "restores" if is_restoration else "takes back", name, writes=False)
        edit = Edit(kind="patch", key=_idempotency(request))

        async def job(service: Service) -> Answer:
            history, document = service.history, _key(name)
            if is_restoration:
                made = await history.restoring(self.caller, document, n, edit)
            else:
                made = await history.undoing(self.caller, document, first, n, edit)
            return made if isinstance(made, Answer) else await service.edit(self.caller, document, made)

        reply = await self.submit(request, job)
        if reply is not None and isinstance(reply.refusal, errors.MergeConflict):
            self.conflicts.append((name, reply.refusal))

    async def _settle(self, random: Random, step: Step) -> None:
        if not self.conflicts:
            return
        name, conflict = random.choice(self.conflicts)
        id, parts = conflict.members.get("conflict"), conflict.members.get("conflicts")
        if not isinstance(id, str):
            return
        side = random.choice(("yours", "theirs", "base"))
        listed = decode(encode(parts))
        choices = {part["id"]: side for part in listed if side in part["resolutions"]}
        request = self.request(step, f"settles {id} by {side} in", name, writes=False)
        reply = await self.submit(
            request,
            lambda service: service.resolve(
                self.caller, _key(name), id, choices=choices, key=_idempotency(request)
            ),
        )
        if reply is not None and isinstance(reply.refusal, errors.MergeConflict):
            self.conflicts.append((name, reply.refusal))

    async def _lease(self, random: Random, step: Step) -> None:
        name, pointer = random.choice(NAMES), random.choice(("", "/title"))
        ttl_s = random.choice((0.03, 0.5, 10.0, 60.0))

        def look(view: LockView | errors.PlaitServerError) -> None:
            if isinstance(view, LockView) and not view.replayed and view.hold is not None:
                self.world.ledger.granted(view.hold.fence)

        key = IdempotencyKey(f"{self.name}-{step.number}-lease", "lease")
        view = await self.ask(
            lambda service: service.locks.acquire(self.caller, _key(name), pointer, ttl_s, key), look
        )
        if not isinstance(view, LockView) or view.hold is None:
            return
        hold = view.hold
        self.world.note(self.name, f"has a lease on {name}{pointer}, fence {hold.fence}, for {ttl_s:g} s")
        request = self.request(step, "edits under the lease of", name)
        content: Patch = [{"op": "add", "path": "/title", "value": request.token}]
        edit = Edit(kind="patch", content=content, lock=hold, key=_idempotency(request))
        await self._take(name, request, edit)
        await asyncio.sleep(random.choice((0.0, 0.02, 1.0, 5.0)))
        await self._end_lease(name, hold, random)

    async def _end_lease(self, name: str, hold: Hold, random: Random) -> None:
        def look(answer: object) -> None:
            """Nothing is told."""

        if random.random() < 0.3:
            await self.ask(lambda service: service.locks.renew(self.caller, _key(name), hold), look)
        if random.random() < 0.7:
            await self.ask(lambda service: service.locks.release(self.caller, _key(name), hold), look)

    async def _label(self, random: Random, step: Step) -> None:
        name, label = random.choice(NAMES), random.choice(("one", "two"))
        if not self.floor[name]:
            return
        n = random.randint(1, self.floor[name])

        def look(answer: object) -> None:
            """It says nothing that could be wrong."""

        if random.random() < 0.3:
            await self.ask(lambda service: service.drop_label(self.caller, _key(name), label), look)
        else:
            await self.ask(lambda service: service.put_label(self.caller, _key(name), label, n), look)
            await self.read(name, n)

    async def _settings(self, random: Random, step: Step) -> None:
        collection = random.choice(("orders", "orders", "tally"))
        retention = random.choice((None, Retention(1), Retention(3), Retention(3, labelled=False)))
        sums: Json = {"rules": {"/n": {"scalar": "sum"}}}
        settings = CollectionSettings(policy=random.choice((None, sums)), retention=retention)

        async def job(service: Service) -> int:
            rules = await service.collection(self.caller, collection)
            condition = IfMatch((rules.revision,)) if rules.revision else None
            return (await service.put_collection(self.caller, collection, settings, condition)).revision

        def look(revision: int | errors.PlaitServerError) -> None:
            if isinstance(revision, int):
                in_force = self.world.rules
                in_force[collection] = max(in_force.get(collection, 0), revision)

        revision = await self.ask(job, look)
        self.world.note(self.name, f"sets {collection} to keep {retention}: {revision}")

    # Live

    async def _follow(self, random: Random, step: Step) -> None:
        name = random.choice(DOCUMENTS)
        stream = self.streams.get(name)
        if stream is None:
            known = await self.read(name)
            if known is None:
                return
            replica = Replica(*known, self.world.disk.epoch)
            stream = self.streams.setdefault(name, Stream(replica))
            if stream.replica is replica and random.random() < 0.5:
                stream.at = known[0]
        self._want(name, stream)

    def _want(self, name: str, stream: Stream) -> None:
        """Follow a document from where it was left. That takes another connection where this one was told to
        leave it: what was on its way then could not be told from what comes after."""
        if stream.subscribed and not stream.wanted and self.link is not None:
            self.link.cut()
        stream.wanted = True
        self.connect()
        if self.link is not None and not stream.subscribed:
            self._subscribe(self.link, name, stream)

    async def _leave(self, random: Random, step: Step) -> None:
        followed = [name for name, stream in self.streams.items() if stream.subscribed and stream.wanted]
        if followed and self.link is not None:
            name = random.choice(followed)
            self.streams[name].wanted = False
            self.link.send(json.dumps({"t": "unsub", "doc": name}).encode())

    def connect(self) -> None:
        """Open a live connection, if there is none."""
        process = self.world.process
        if self.link is None and process is not None:
            self._links += 1
            name = f"{self.name}-{self._links}"
            self.link = Link(self.world, process, self, self.caller, name, self._hear)

    def _subscribe(self, link: Link, name: str, stream: Stream) -> None:
        frame: dict[str, Any] = {"t": "sub", "id": 1, "doc": name}
        if stream.at is not None:
            frame |= {"from": stream.at, "epoch": self.world.disk.epoch}
        stream.subscribed = True
        link.send(json.dumps(frame).encode())

    def _hear(self, link: Link, frame: Mapping[str, Any] | None) -> None:
        """Take a live frame."""
        if link is not self.link:
            return
        if frame is None:
            self.world.note(self.name, f"has lost {link.name}")
            self.link = None
            for stream in self.streams.values():
                stream.subscribed = False
            if any(stream.wanted for stream in self.streams.values()):
                self.later(0.02 + self.world.pace.delay_s(), self.connect)
            return
        with self.world.watching():
            self._heard(link, frame)

    def _heard(self, link: Link, frame: Mapping[str, Any]) -> None:
        kind = frame["t"]
        if kind == "welcome":
            for name, stream in self.streams.items():
                if stream.wanted and not stream.subscribed:
                    self._subscribe(link, name, stream)
            return
        name = str(frame.get("doc"))
        followed = self.streams.get(name)
        if kind == "problem" and frame.get("id") == 1 and followed is not None:
            followed.subscribed = False
        if followed is not None and followed.wanted and followed.subscribed:
            self._led_on(name, followed, frame)

    def _led_on(self, name: str, stream: Stream, frame: Mapping[str, Any]) -> None:
        """Take a frame of a document that is followed: each has to lead on from where the last one led."""
        kind = frame["t"]
        if kind not in ("rev", "snapshot", "caught_up", "reset"):
            return
        self.world.note(self.name, f"hears {kind} {name} {frame.get('prev', '')} {frame.get('rev', '')}")
        if kind == "reset":
            stream.at = None
        elif kind == "snapshot":
            if stream.at is not None:
                raise Violation("stream", f"{name}: a snapshot came though {stream.at} was to be led on from")
            self._led(name, stream, frame["rev"])
            value = ABSENT if frame.get("deleted") else frame["value"]
            self._progress(name, stream, stream.replica.reset(frame["rev"], value, self.world.disk.epoch))
        elif kind == "rev":
            if frame["prev"] != stream.at:
                raise Violation(
                    "stream", f"{name}: a frame led on from {frame['prev']}, not from {stream.at}"
                )
            self._led(name, stream, frame["rev"])
            parts = [LivePart(p["rev"], p["author"], p["at"], p.get("key")) for p in frame["parts"]]
            progress = stream.replica.received(frame["prev"], frame["rev"], list(frame["patch"]), parts)
            _check_taken(stream.replica, parts)
            self._progress(name, stream, progress)
        elif frame["rev"] != stream.at:
            raise Violation("stream", f"{name}: caught up at {frame['rev']}, and it is at {stream.at}")

    def _led(self, name: str, stream: Stream, revision: int) -> None:
        stream.at = revision
        self.floor[name] = max(self.floor[name], revision)

    def _progress(self, name: str, stream: Stream, progress: Progress) -> None:
        """Note what became of edits, and go on sending."""
        for key in progress.saved:
            _decide(stream, key, "saved")
        for failed in progress.failed:
            _decide(stream, failed.edit.key, "failed")
        confirmed = stream.replica.confirmed
        address = Address(TENANT, *name.split("/"))
        if not same(confirmed.value, self.world.chronicle.value(address, confirmed.revision)):
            raise Violation("replica", f"{self.name} has another {name} {confirmed.revision} than there is")
        self.pump(name, stream)

    async def _type(self, random: Random, step: Step) -> None:
        """Edit what is shown, whatever the server has meanwhile."""
        if not self.streams:
            await self._follow(random, step)
        typable = [name for name in self.streams if name != TALLY]
        if not typable:
            return
        name = random.choice(typable)
        stream = self.streams[name]
        shown = stream.replica.shown
        if not isinstance(shown, dict):
            return
        key = f"{self.name}-{step.number}"
        self.world.ledger.written.add(key)
        stream.typed[key] = "waiting"
        stream.replica.edit(Typed(key, _plain(random, shown, key)))
        self.pump(name, stream)

    def pump(self, name: str, stream: Stream) -> None:
        """Send what waits, one edit after the other."""
        replica = stream.replica
        if not stream.sending and (replica.behind or replica.flight or replica.pending):
            stream.sending = True
            self.start(f"saving {name}", self._save, name, stream)

    async def _save(self, name: str, stream: Stream) -> None:
        replica = stream.replica
        try:
            while True:
                if replica.behind:
                    await self._refresh(name, stream)
                flight = replica.flight or replica.next()
                if flight is not None:
                    await self._deliver(name, stream, flight)
                elif not replica.behind:
                    return
        finally:
            stream.sending = False

    async def _refresh(self, name: str, stream: Stream) -> None:
        known = await self.read(name)
        if known is None:
            await asyncio.sleep(0.05)
            return
        self._progress(name, stream, stream.replica.reset(*known, self.world.disk.epoch))

    async def _deliver(self, name: str, stream: Stream, flight: Flight) -> None:
        address = Address(TENANT, *name.split("/"))
        request = Request(self.caller, flight.key, f"typed in {name}", (address,), flight.key)
        edit = Edit(
            kind="patch",
            content=flight.patch,
            base=flight.base or None,
            epoch=flight.epoch,
            key=_idempotency(request),
        )
        reply = await self._take(name, request, edit)
        assert reply is not None
        replica = stream.replica
        if reply.refusal is not None:
            if replica.flight is not None and replica.flight.key == flight.key:
                _decide(stream, flight.key, "refused")
            self._progress(name, stream, replica.refused(flight.key))
            return
        (part,) = reply.parts
        assert part.revision is not None
        missed = None
        if part.missed is not None:
            missed = [Missed(m["revision"], m["author"], m["at"], m["patch"]) for m in decode(part.missed)]
        patch = decode(part.patch) if part.patch is not None else []
        self._progress(name, stream, replica.accepted(flight.key, part.revision, patch, missed))

    async def _chain(self, random: Random, step: Step) -> None:
        """Type faster than the server answers, over the live connection: each edit on the one before."""
        followed = [
            (name, stream)
            for name, stream in self.streams.items()
            if stream.subscribed and stream.wanted and name != TALLY and stream.at is not None
        ]
        link = self.link
        if not followed or link is None:
            return
        name, stream = random.choice(followed)
        base: Json = stream.at
        for place in range(random.randint(1, 3)):
            request = self.request(step, "types live in", name, suffix=f"-{place}")
            self.world.ledger.enter(request)
            number = 1_000 + 10 * step.number + place
            link.edits[number] = request
            patch: Patch = [{"op": "add", "path": f"/c{place % 2}", "value": request.token}]
            frame = {"t": "edit", "id": number, "doc": name, "base": base, "patch": patch, "key": request.key}
            link.send(json.dumps(frame).encode())
            base = {"key": request.key}
            if random.random() < 0.5:
                await asyncio.sleep(self.world.pace.delay_s())

    # The end

    def revive(self) -> None:
        """Follow again what ended for want of a document."""
        self.road.clear()
        for name, stream in self.streams.items():
            self._want(name, stream)
            self.pump(name, stream)

    def unsettled(self) -> str | None:
        """Say what is still to come, if there is something."""
        if self.busy:
            return f"{self.name} waits: {self.doing}"
        for name, stream in self.streams.items():
            head = self.world.chronicle.head(Address(TENANT, *name.split("/")))
            if stream.at != head:
                return f"{self.name} was led to {stream.at} of {name}, and it is at {head}"
            if not stream.replica.is_idle or stream.replica.behind:
                return f"{self.name} has unsaved edits of {name}"
        return None

    def check(self) -> None:
        """Check at the end that what is shown is what is there, and what was said of each edit is so."""
        chronicle = self.world.chronicle
        for name, stream in self.streams.items():
            address = Address(TENANT, *name.split("/"))
            if not same(stream.replica.shown, chronicle.value(address, chronicle.head(address))):
                raise Violation("replica", f"{self.name} is shown another {name} than there is")
            for key, outcome in stream.typed.items():
                made = chronicle.by_key(self.caller.subject, key)
                request = self.world.ledger.requests.get((self.caller.subject, key))
                decided = None if request is None else request.decided
                is_noop = decided is not None and decided.outcome.startswith("noop")
                if outcome == "waiting" or (outcome == "saved") != (bool(made) or is_noop):
                    raise Violation("typed", f"{key} of {self.name} is said to be {outcome}, and made {made}")
        self.feed.check()


class FeedReader:
    """Reads the feed from its beginning, page by page, into documents of its own."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._cursor: str | None = None
        self._reading = asyncio.Lock()
        self.at: dict[Address, int] = {}
        self.values: dict[Address, Json | Absent] = {}

    async def read(self, limit: int, wait_s: float) -> bool:
        """Read a page; False where there was nothing new."""
        person, found = self._person, False

        def look(page: Page[RevisionView] | errors.PlaitServerError) -> None:
            """It is looked at where it is read."""

        async with self._reading:
            cursor = self._cursor
            page = await person.ask(
                lambda service: service.changes(person.caller, cursor, limit, wait_s), look
            )
            if not isinstance(page, Page):
                return True
            for change in page.items:
                found = True
                self._take(change)
            self._cursor = page.cursor
        return found

    def _take(self, change: RevisionView) -> None:
        address = Address(TENANT, change.document.collection, change.document.id)
        n, last = change.revision, self.at.get(address, 0)
        chronicle = self._person.world.chronicle
        chronicle.record(address, n)
        if n <= last or (n != last + 1 and not change.compacted):
            raise Violation("feed", f"{address.id} was at {last}, and the feed went on with {n}")
        value = ABSENT if change.compacted else self.values.get(address, ABSENT)
        self.values[address] = value = apply(value, decode(change.patch))
        self.at[address] = n
        if not same(value, chronicle.value(address, n)):
            raise Violation("feed", f"{address.id} {n} comes to something else than it is")

    def check(self) -> None:
        chronicle = self._person.world.chronicle
        heads = {address: chronicle.head(address) for address in chronicle.histories}
        if self._cursor is not None and self.at != heads:
            raise Violation("feed", f"it was read to its end, to {self.at}, and there is {heads}")


def start(token: str) -> dict[str, Any]:
    """Give the value that documents begin with."""
    return {"title": token, "n": 0, "log": [], "deep": {"a": {"b": token}}}


def operations(random: Random, value: Json | Absent, token: str) -> Patch:
    """Make an edit of a value; now and then it has a guard, or counts."""
    if not isinstance(value, dict):
        return [{"op": "add", "path": "/title", "value": token}]
    patch = _plain(random, value, token)
    if random.random() < 0.1 and isinstance(value.get("n"), int):
        return [{"op": "inc", "path": "/n", "value": 1}, *patch]
    if random.random() < 0.1 and "title" in value:
        return [{"op": "test", "path": "/title", "value": value["title"]}, *patch]
    return patch


def _plain(random: Random, value: Mapping[str, Any], token: str) -> Patch:
    """Make an edit in plain RFC 6902 that applies to a value."""
    log, members = value.get("log"), [name for name in value if name.startswith("m")]
    made: list[Patch] = [
        [{"op": "add", "path": "/title", "value": token}],
        [{"op": "add", "path": f"/m{random.randrange(3)}", "value": {"t": token}}],
    ]
    if isinstance(log, list):
        made += 2 * [[{"op": "add", "path": "/log/-", "value": token}]]
        made += [[{"op": "add", "path": "/log/0", "value": token}]]
        if log:
            made += [[{"op": "remove", "path": f"/log/{random.randrange(len(log))}"}]]
            made += [[{"op": "replace", "path": f"/log/{random.randrange(len(log))}", "value": token}]]
        if len(log) > 1:
            made += [[{"op": "move", "from": "/log/0", "path": f"/log/{len(log) - 1}"}]]
    if isinstance(value.get("deep"), dict):
        made += [[{"op": "add", "path": f"/deep/{random.choice('ab')}", "value": {"b": token}}]]
    if members:
        made += [[{"op": "remove", "path": f"/{random.choice(members)}"}]]
        made += [[{"op": "move", "from": f"/{random.choice(members)}", "path": "/m2"}]]
    return random.choice(made)


def _check_taken(replica: Replica, parts: Sequence[LivePart]) -> None:
    """Check that one's own edits, once they were heard of, wait no longer: they would be shown twice."""
    waiting = {edit.key for edit in replica.pending} | ({replica.flight.key} if replica.flight else set())
    heard = waiting.intersection(part.key for part in parts)
    if heard and not replica.behind:
        raise Violation("replica", f"{heard} came back, and wait as before")


def _decide(stream: Stream, key: str, outcome: str) -> None:
    if stream.typed.get(key, "waiting") != "waiting":
        raise Violation("typed", f"{key} is {outcome}, and was {stream.typed[key]}")
    if key in stream.typed:
        stream.typed[key] = outcome


def _key(name: str) -> DocumentKey:
    collection, _, id = name.partition("/")
    return DocumentKey(collection, id)


def _idempotency(request: Request) -> IdempotencyKey:
    return IdempotencyKey(request.key, request.does)
