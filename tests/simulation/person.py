"""Somebody with a client, who does what a schedule says."""

import asyncio
from random import Random

from plait_merge import Json, apply
from plait_server import errors
from plait_server.service import (
    Answer,
    Batch,
    CollectionSettings,
    ConflictView,
    Edit,
    Hold,
    IdempotencyKey,
    IfMatch,
    LockView,
    MergeMode,
    Retention,
    Service,
)
from plait_server.service.operation import Operation
from plait_server.wire import decode, encode
from simulation.client import DOCUMENTS, NAMES, PATIENT, Client, address_of, idempotency, key_of
from simulation.content import SCHEMAS, Patch, operations, plain, start
from simulation.feed_reader import FeedReader
from simulation.ledger import TALLY
from simulation.promises import COMMIT_S
from simulation.schedule import Step
from simulation.screen import Screen
from simulation.world import SHORT_S, World


class Person(Client):
    """A client program. Every step goes on beside the next."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.screen = Screen(self)
        self.feed = FeedReader(self)
        self.operations: list[str] = []
        """The queued edits that were accepted."""
        self._live = {
            "follow": self.screen.follow,
            "leave": self.screen.leave,
            "type": self.screen.type,
            "chain": self.screen.chain,
        }

    def do(self, step: Step) -> None:
        """Begin with a step."""
        if step.act in ("lose_request", "lose_answer", "double"):
            self.road.append(step.act)
        elif step.act == "cut":
            self.screen.cut()
        else:
            job = self._live.get(step.act) or getattr(self, f"_{step.act}")
            self.start(step.act, job, Random(step.roll), step)

    def revive(self) -> None:
        """Go on with what ended for want of a document, over a network that works."""
        self.road.clear()
        self.screen.revive()

    def unsettled(self) -> str | None:
        """Say what is still to come, if there is something."""
        return f"{self.name} waits: {self.doing}" if self.busy else self.screen.unsettled()

    def check(self) -> None:
        """Check at the end that the own view of things holds."""
        self.screen.check()
        self.feed.check()

    # Reading

    async def _read(self, random: Random, step: Step) -> None:
        await self.read(random.choice(DOCUMENTS))

    async def _look_back(self, random: Random, step: Step) -> None:
        name = random.choice(DOCUMENTS)
        if self.floor[name]:
            await self.read(name, random.randint(1, self.floor[name]))

    async def _feed(self, random: Random, step: Step) -> None:
        for _ in range(random.randint(1, 4)):
            await self.feed.read(random.choice((1, 3, 100)), random.choice((0.0, 0.5)))

    async def _edit(self, random: Random, step: Step) -> None:
        name = random.choice(NAMES)
        base, value = await self.known(random, name)
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
            key=idempotency(request),
        )
        await self.edit(name, request, edit, random.choice((1, PATIENT, PATIENT)))

    async def _tally(self, random: Random, step: Step) -> None:
        base, _ = await self.known(random, TALLY)
        counts = random.choice((0, 1, 5))
        request = self.request(step, "counts in" if counts else "appends to", TALLY, counts=counts)
        content: Patch = [{"op": "add", "path": "/log/-", "value": request.token}]
        if counts:
            content = [{"op": "inc", "path": "/n", "value": counts}]
        edit = Edit(kind="patch", content=content, base=base or None, extended=True, key=idempotency(request))
        await self.edit(TALLY, request, edit)

    async def _put(self, random: Random, step: Step) -> None:
        name = random.choice(NAMES)
        base, value = await self.known(random, name)
        request = self.request(step, "puts", name)
        assert request.token is not None
        wanted = apply(value, plain(random, value, request.token)) if isinstance(value, dict) else None
        edit = Edit(
            kind="put",
            content=wanted if wanted is not None else start(request.token),
            base=base or None,
            if_none_match=not base,
            key=idempotency(request),
        )
        await self.edit(name, request, edit)

    async def _merge_patch(self, random: Random, step: Step) -> None:
        name = random.choice(NAMES)
        base, _ = await self.known(random, name)
        request = self.request(step, "merges into", name)
        content = {"title": request.token, f"m{random.randrange(3)}": random.choice((None, request.token))}
        edit = Edit(kind="merge_patch", content=content, base=base or None, key=idempotency(request))
        await self.edit(name, request, edit)

    async def _delete(self, random: Random, step: Step) -> None:
        name = random.choice(NAMES)
        base, _ = await self.known(random, name)
        request = self.request(step, "deletes", name, writes=False)
        edit = Edit(kind="delete", base=base or None, key=idempotency(request))
        if base:
            await self.edit(name, request, edit)

    async def _create(self, random: Random, step: Step) -> None:
        await self.create(random.choice(DOCUMENTS), step)

    async def create(self, name: str, step: Step) -> None:
        """Create a document, unless it is there."""
        request = self.request(step, "creates", name, writes=name != TALLY)
        value = start(request.token or "") if name != TALLY else {"n": 0, "log": []}
        edit = Edit(kind="put", content=value, if_none_match=True, key=idempotency(request))
        await self.edit(name, request, edit)

    async def _batch(self, random: Random, step: Step) -> None:
        names = random.sample(DOCUMENTS, random.choice((2, 2, 3)))
        request = self.request(step, "edits together", *names)
        content: Patch = [{"op": "add", "path": "/log/-", "value": request.token}]
        edits = []
        for name in names:
            base = self.seen[name][-1][0] if self.seen[name] and random.random() < 0.7 else None
            edit = Edit(kind="patch", content=content, base=base, key=idempotency(request))
            edits.append((key_of(name), edit))
        batch = Batch(edits=tuple(edits), key=idempotency(request))
        await self.submit(
            request, lambda service: service.batch(self.caller, batch), random.choice((1, PATIENT))
        )

    async def _queue(self, random: Random, step: Step) -> None:
        """Queue an edit, and ask again under its key until it is decided, or leave it to its fate."""
        name = random.choice(DOCUMENTS)
        base = self.seen[name][-1][0] if self.seen[name] else None
        request = self.request(step, "queues an edit of", name)
        content: Patch = [{"op": "add", "path": "/log/-", "value": request.token}]
        edit = Edit(kind="patch", content=content, base=base, key=idempotency(request))
        wait_s = random.choice((0.0, 0.0, 1.0))

        async def job(service: Service) -> Answer:
            answer = await service.queue.submit(self.caller, key_of(name), edit, wait_s)
            if isinstance(answer, Answer):
                return answer
            self.operations.append(answer.id)
            raise errors.IdempotencyInProgress("It is queued.")

        await self.submit(request, job, random.choice((1, PATIENT)))

    async def _again(self, random: Random, step: Step) -> None:
        """Send again what was sent before: soon, or about when its answer may be forgotten."""
        sent = [(request, job) for request, job in self.asked if not request.is_typed]
        if not sent:
            return
        request, job = random.choice(sent)
        if self.world.limits.idempotency_ttl_s == SHORT_S and random.random() < 0.5:
            await asyncio.sleep(SHORT_S + random.choice((-2 * COMMIT_S, 0.0, COMMIT_S)))
        await self.submit(request, job, 1)

    async def _ask_for(self, random: Random, step: Step) -> None:
        """Ask for something that is kept for a time."""
        if self.conflicts and (not self.operations or random.random() < 0.5):
            await self._ask_for_conflict(*random.choice(self.conflicts))
        elif self.operations:
            await self._ask_for_operation(random.choice(self.operations))

    async def _ask_for_conflict(self, name: str, conflict: errors.MergeConflict) -> None:
        id = str(conflict.members.get("conflict"))

        def look(view: ConflictView | errors.PlaitServerError) -> None:
            if isinstance(view, errors.NotFound) and view.detail == "There is no such conflict.":
                self.world.promises.missing_conflict(address_of(name), id)

        await self.ask(lambda service: service.conflict(self.caller, key_of(name), id), look)

    async def _ask_for_operation(self, id: str) -> None:
        def look(view: Operation | errors.PlaitServerError) -> None:
            if isinstance(view, errors.NotFound):
                self.world.promises.missing_operation(id)

        await self.ask(lambda service: service.queue.read(self.caller, id), look)

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
        edit = Edit(kind="patch", key=idempotency(request))

        async def job(service: Service) -> Answer:
            history, document = service.history, key_of(name)
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
                self.caller, key_of(name), id, choices=choices, key=idempotency(request)
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
            lambda service: service.locks.acquire(self.caller, key_of(name), pointer, ttl_s, key), look
        )
        if not isinstance(view, LockView) or view.hold is None:
            return
        hold = view.hold
        self.world.note(self.name, f"has a lease on {name}{pointer}, fence {hold.fence}, for {ttl_s:g} s")
        request = self.request(step, "edits under the lease of", name)
        content: Patch = [{"op": "add", "path": "/title", "value": request.token}]
        edit = Edit(kind="patch", content=content, lock=hold, key=idempotency(request))
        await self.edit(name, request, edit)
        await asyncio.sleep(random.choice((0.0, 0.02, 1.0, 5.0)))
        await self._end_lease(name, hold, random)

    async def _end_lease(self, name: str, hold: Hold, random: Random) -> None:
        def look(answer: object) -> None:
            """Nothing is told."""

        if random.random() < 0.3:
            await self.ask(lambda service: service.locks.renew(self.caller, key_of(name), hold), look)
        if random.random() < 0.7:
            await self.ask(lambda service: service.locks.release(self.caller, key_of(name), hold), look)

    async def _label(self, random: Random, step: Step) -> None:
        name, label = random.choice(NAMES), random.choice(("one", "two"))
        if not self.floor[name]:
            return
        n = random.randint(1, self.floor[name])

        def look(answer: object) -> None:
            """It says nothing that could be wrong."""

        if random.random() < 0.3:
            await self.ask(lambda service: service.drop_label(self.caller, key_of(name), label), look)
        else:
            await self.ask(lambda service: service.put_label(self.caller, key_of(name), label, n), look)
            await self.read(name, n)

    async def _settings(self, random: Random, step: Step) -> None:
        collection = random.choice(("orders", "orders", "tally"))
        retention = random.choice(
            (None, Retention(1), Retention(3), Retention(3, labelled=False), Retention(days=1))
        )
        sums: Json = {"rules": {"/n": {"scalar": "sum"}}}
        policy, schema = random.choice((None, sums)), random.choice((None, *SCHEMAS))
        if collection == "tally":
            schema = None
        settings = CollectionSettings(policy, schema, retention=retention)

        async def job(service: Service) -> int:
            rules = await service.collection(self.caller, collection)
            condition = IfMatch((rules.revision,)) if rules.revision else None
            return (await service.put_collection(self.caller, collection, settings, condition)).revision

        def look(revision: int | errors.PlaitServerError) -> None:
            if isinstance(revision, int):
                in_force = self.world.rules
                in_force[collection] = max(in_force.get(collection, 0), revision)

        revision = await self.ask(job, look)
        self.world.note(self.name, f"sets {collection} to {settings}: {revision}")
