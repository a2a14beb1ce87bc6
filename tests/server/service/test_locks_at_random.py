"""Editors at once, with leases and without, over a store that fails and a service that is opened again: the
leases are always where they should be, and nothing is refused or let through that should not."""

from collections.abc import Awaitable, Callable
from random import Random

import pytest
from msgspec import Struct

from plait_server.errors import StoreUnavailable
from plait_server.service import Caller, Edit, Hold
from server.service.bench import ORDER, Bench, Clock, begin, decided, put, refusal, turns

PEOPLE = [Caller("acme", f"{name}-token", name) for name in ("ann", "bob", "cleo")]
ACCEPTED = {"applied", "merged"}
UNLUCKY = {"merge-conflict", "store-unavailable", "patch-inapplicable", "noop"}
"""What may become of any edit: others were faster, also with the same edit, or the disk was full."""
STEPS = 60


class Granted(Struct):
    """A lease as it should be: on the element with a number, until a moment."""

    hold: Hold
    caller: Caller
    number: int
    end: float


class Story:
    """What happens, step by step, and what should be."""

    def __init__(self, bench: Bench, steady: Clock, random: Random) -> None:
        self.bench = bench
        self.steady = steady
        self.random = random
        self.granted: list[Granted] = []
        self.fence = 0
        self.made = 8
        self.accepted = 0

    async def begin(self) -> None:
        await put(self.bench.service, {"lines": [{"number": number, "n": 0} for number in range(self.made)]})

    async def step(self) -> None:
        kinds = [self.acquire, self.release, self.renew, self.wait, self.open, self.tidy]
        await self.random.choice([*kinds, self.edit, self.edit, self.edit])()
        await self.check()

    async def state(self) -> tuple[int, list[int]]:
        """Give the head and the numbers of its elements, in order."""
        view = await self.bench.service.read(PEOPLE[0], ORDER)
        return view.revision, [line["number"] for line in view.value["lines"]]

    def standing(self, number: int) -> Granted | None:
        return next(
            (each for each in self.granted if each.number == number and self.steady.now < each.end), None
        )

    async def acquire(self) -> None:
        _, numbers = await self.state()
        if not numbers:
            return
        index, caller, ttl_s = self.random.randrange(len(numbers)), self.random.choice(PEOPLE), 10.0
        taken = self.standing(numbers[index])
        asking = self.bench.service.locks.acquire(caller, ORDER, f"/lines/{index}", ttl_s)
        if taken is not None:
            assert (await refusal(asking)).code == "locked"
            return
        view = await asking
        assert view.hold is not None
        assert view.hold.fence > self.fence
        self.fence = view.hold.fence
        self.granted.append(Granted(view.hold, caller, numbers[index], self.steady.now + ttl_s))

    async def release(self) -> None:
        locks = self.bench.service.locks
        await self.use_one(lambda one: locks.release(one.caller, ORDER, one.hold), 0)

    async def renew(self) -> None:
        locks = self.bench.service.locks
        await self.use_one(lambda one: locks.renew(one.caller, ORDER, one.hold, 20), 20)

    async def use_one(self, use: Callable[[Granted], Awaitable[object]], ttl_s: float) -> None:
        if not self.granted:
            return
        one = self.random.choice(self.granted)
        if self.standing(one.number) is one:
            await use(one)
            one.end = self.steady.now + ttl_s
        else:
            assert (await refusal(use(one))).code == "stale-fence"

    async def wait(self) -> None:
        passed_s = self.random.choice([1, 5, 9])
        self.steady.now += passed_s
        self.bench.clock.now += passed_s

    async def tidy(self) -> None:
        await self.bench.service.locks.tidy()

    async def open(self) -> None:
        """Close the service and open it again, with another time on the wall."""
        rows = {row.id: row for row in await self.bench.store.locks()}
        self.bench.clock.now += self.random.choice([-3_600, 0, 0, 3_600])
        await self.bench.reopen(monotonic=self.steady)
        for one in self.granted:
            row = rows.get(one.hold.lock)
            left_ms = 0 if row is None else min(row.ttl_ms, row.expires - int(self.bench.clock.now * 1000))
            one.end = self.steady.now + left_ms / 1000

    async def edit(self) -> None:
        """Let some edit at once; the disk is slow, and may be full for a moment."""
        store = self.bench.store
        store.gate.clear()
        if self.random.random() < 0.3:
            store.failures.append(StoreUnavailable("The disk is full."))
        revision, numbers = await self.state()
        asked = []
        for _ in range(self.random.randrange(1, 6)):
            number, edit, caller = self.draw(revision, numbers)
            expected = self.expect(number, edit, caller)
            asked.append((number, edit, expected, begin(self.ask(caller, edit))))
            if self.random.random() < 0.5:
                await turns(5)
        await turns()
        store.gate.set()
        for number, edit, expected, asking in asked:
            outcome = await asking
            gone = UNLUCKY | {"stale-fence"} if edit.lock is not None else UNLUCKY
            assert outcome in expected | gone, (number, edit)
            self.accepted += outcome in ACCEPTED
        store.failures.clear()
        _, left = await self.state()
        self.granted = [one for one in self.granted if one.number in left]

    async def ask(self, caller: Caller, edit: Edit) -> str:
        return await decided(self.bench.service.edit(caller, ORDER, edit))

    def draw(self, revision: int, numbers: list[int]) -> tuple[int | None, Edit, Caller]:
        """Draw an edit: which element it writes to, if any, what it is, and whose."""
        random, caller = self.random, self.random.choice(PEOPLE)
        held = [one for one in self.granted if one.caller is caller]
        lock = random.choice(held).hold if held and random.random() < 0.6 else None
        kind = random.choice(["set", "set", "remove", "insert", "move"]) if numbers else "insert"
        index = random.randrange(len(numbers)) if numbers else 0
        number: int | None = numbers[index] if numbers else None
        match kind:
            case "set":
                patch = {"op": "replace", "path": f"/lines/{index}/n", "value": random.random()}
            case "remove":
                patch = {"op": "remove", "path": f"/lines/{index}"}
            case "move":
                target = random.randrange(len(numbers))
                patch = {"op": "move", "from": f"/lines/{index}", "path": f"/lines/{target}"}
            case _:
                self.made += 1
                patch = {"op": "add", "path": f"/lines/{index}", "value": {"number": self.made, "n": 0}}
        writes = number if kind in ("set", "remove") else None
        return writes, Edit(kind="patch", content=[patch], base=revision, lock=lock), caller

    def expect(self, number: int | None, edit: Edit, caller: Caller) -> set[str]:
        """Say what may become of an edit, luck apart."""
        named = next((one for one in self.granted if one.hold == edit.lock), None)
        if edit.lock is not None and (named is None or self.standing(named.number) is not named):
            return {"stale-fence"}
        there = None if number is None else self.standing(number)
        return ACCEPTED if there is None or there is named else {"locked"}

    async def check(self) -> None:
        """Compare the leases there are with those that should be."""
        _, numbers = await self.state()
        told = await self.bench.service.locks.standing(PEOPLE[0], ORDER)
        expected = sorted(
            (f"/lines/{numbers.index(one.number)}", one.caller.author)
            for one in self.granted
            if self.standing(one.number) is one
        )
        assert sorted((view.pointer, view.holder) for view in told) == expected


@pytest.mark.parametrize("seed", range(8))
async def test_leases_are_where_they_should_be_whatever_happens(bench: Bench, seed: int) -> None:
    steady = Clock()
    await bench.reopen(monotonic=steady)
    story = Story(bench, steady, Random(seed))
    await story.begin()
    for _ in range(STEPS):
        await story.step()
    assert story.accepted > STEPS / 8, "the story proves too little"
