"""One run of a schedule: everything happens, the networks heal, and what must hold is checked."""

import asyncio
import logging
import traceback
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from plait_server.errors import PlaitServerError
from plait_server.service.invariants import check
from plait_server.store.archive import Archive
from simulation.archive import empty_archive, fill
from simulation.chronicle import Violation, place
from simulation.client import DOCUMENTS
from simulation.loop import SimulatedLoop, Stuck
from simulation.memory_store import Disk, MemoryStore
from simulation.person import Person
from simulation.schedule import WORLD, Schedule, Step, name_of
from simulation.world import Listener, World

QUIET_S = 3.0
"""Longer than the slowest write."""
HEALING_S = 200.0
"""So long, in simulated time, it may take until everybody has an answer once all works."""
OpenStore = Callable[[Disk], Any]


@dataclass(frozen=True, slots=True)
class Run:
    """What a schedule led to; `trace` is all that happened, when, and to whom."""

    schedule: Schedule
    violation: Violation | None
    trace: list[tuple[float, str, str]]
    revisions: int
    replies: int


def play(schedule: Schedule, open_store: OpenStore = MemoryStore) -> Run:
    """Run a schedule in a loop of its own."""
    loop = SimulatedLoop(Random(f"{schedule.seed}/turns"))
    world = World(schedule.seed, open_store, schedule.is_even)
    with closing(loop), _listening(loop, world):
        try:
            loop.run_until_complete(_told(world, schedule))
        except Stuck as stuck:
            world.fail(Violation("stuck", str(stuck)))
        with suppress(Stuck):
            _end(loop)
    return Run(schedule, world.violation, world.trace, len(world.chronicle.feed), world.ledger.replies)


async def _told(world: World, schedule: Schedule) -> None:
    people: dict[int, Person] = {}
    world.begin_process()
    await _create_documents(world, people)
    for step in schedule.steps:
        if world.violation is not None:
            return
        await asyncio.sleep(step.pause_s)
        if step.who == WORLD:
            _disturb(world, step)
        else:
            _person(world, people, step.who).do(step)
    await _heal(world, list(people.values()))
    if world.violation is None:
        await _settle(world, list(people.values()))


def _person(world: World, people: dict[int, Person], who: int) -> Person:
    if who not in people:
        people[who] = Person(world, name_of(who))
    return people[who]


async def _create_documents(world: World, people: dict[int, Person]) -> None:
    """Begin with all documents but one."""
    ann = _person(world, people, 0)
    for number, name in enumerate([each for each in DOCUMENTS if each != "orders/3"]):
        ann.start("creating", ann.create, name, Step(1_000 + number, 0, 0, "create", 0))
    await _until_idle(world, [ann])


async def _until_idle(world: World, people: list[Person]) -> None:
    while any(person.busy for person in people) and world.violation is None:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


def _disturb(world: World, step: Step) -> None:
    match step.act:
        case "dies":
            if world.process is not None:
                world.process.die()
        case "restarts":
            world.restart_process()
        case "clock":
            world.set_clock(Random(step.roll))
        case "refused" | "unknown" | "unknown, lost" | "dies before" | "dies after" | "slow":
            world.faults.append(step.act)


async def _heal(world: World, people: list[Person]) -> None:
    """Let everything work again, and wait until everybody has said and heard everything."""
    world.note("!", "all works again")
    world.faults.clear()
    end_s = world.now_s + HEALING_S
    quiet_since_s, revisions = world.now_s, -1
    while world.violation is None:
        for person in people:
            person.revive()
        await asyncio.sleep(0.25)
        unsettled = [said for person in people if (said := person.unsettled()) is not None]
        waiting = _undecided(world)
        if waiting:
            unsettled.append(f"{waiting} are queued")
        if unsettled or revisions != len(world.chronicle.feed):
            quiet_since_s, revisions = world.now_s, len(world.chronicle.feed)
        elif world.now_s - quiet_since_s > QUIET_S:
            return
        if world.now_s > end_s:
            world.fail(Violation("stuck", "; ".join(unsettled)))


def _undecided(world: World) -> list[str]:
    """Name the queued edits that wait for a decision."""
    return [operation.id for operation in world.disk.operations.values() if operation.done is None]


async def _settle(world: World, people: list[Person]) -> None:
    """Check everything, once the feed was read to its end and the server has closed."""
    for person in people:
        person.start("reading the feed", _read_to_the_end, person)
    await _until_idle(world, people)
    if (process := world.process) is not None and process.alive and process.service is not None:
        await process.begin(process.service.close())
        process.alive = False
    with world.watching():
        world.ledger.settled()
        for person in people:
            person.check()
        check_disk(world)


async def _read_to_the_end(person: Person) -> None:
    while await person.feed.read(100, 0):
        pass


def check_disk(world: World) -> None:
    """Check that the disk holds what was ever made durable, but for what was compacted, and that all
    invariants of a store hold in it. Raises Violation."""
    chronicle, documents = world.chronicle, world.disk.documents
    heads = {address: kept.head for address, kept in documents.items()}
    if heads != {address: chronicle.head(address) for address in chronicle.histories}:
        raise Violation("disk", f"the heads are {heads}")
    for address, kept in documents.items():
        for n, record in kept.revisions.items():
            if record.patch != chronicle.record(address, n).patch:
                raise Violation("disk", f"{place(address)} {n} is another one now")
        missing = set(range(kept.oldest, kept.head + 1)) - set(kept.revisions)
        if missing:
            raise Violation("disk", f"{place(address)} lacks {missing}")
    if waiting := _undecided(world):
        raise Violation("queue", f"{waiting} were accepted and never decided")
    with empty_archive() as connection:
        fill(connection, world.disk)
        for finding in check(Archive(connection)):
            raise Violation(finding.invariant, f"{finding.place}: {finding.detail}")


@contextmanager
def _listening(loop: SimulatedLoop, world: World) -> Iterator[None]:
    """Hear of what the server logs as an error, and of what nobody caught."""
    logger, listener = logging.getLogger("plait_server"), Listener(world)
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(listener)

    def uncaught(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        error = None if "asyncgen" in context else context.get("exception")
        if isinstance(error, Exception) and not isinstance(error, PlaitServerError | Violation):
            world.fail(Violation("bug", "".join(traceback.format_exception(error, limit=-6))))

    loop.set_exception_handler(uncaught)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagates


def _end(loop: SimulatedLoop) -> None:
    """End whatever still runs."""
    loop.set_exception_handler(lambda loop, context: None)
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
