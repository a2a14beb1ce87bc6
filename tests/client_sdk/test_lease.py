"""Leases: who holds one is alone there, who does not waits, and nothing is held for ever."""

import asyncio
import math
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from client_sdk.conftest import Join, Through
from client_sdk.people import NAME, Network, head, history
from client_sdk.test_cancellation import STEPS_MAX, Steps
from plait_client import (
    AsyncPlait,
    Document,
    InvalidPatch,
    Lease,
    Locked,
    MergeConflict,
    NotFound,
    Plait,
    Retry,
    StaleFence,
    Surroundings,
    yours,
)
from simulation.faulty_proxy import Fault, by_chance

ORDER: dict[str, Any] = {"title": "A", "lines": [{"n": 1}, {"n": 2}], "log": [], "boxes": 0}
SHORT_S = 0.3
SEED = int(os.environ.get("PLAIT_TEST_SEED", "7"))


async def _two(join: Join, **given: Any) -> tuple[Document, Document]:
    """Two people's copies of one document; `given` is for the first one's client."""
    ann, bob = await join(author="ann", **given), await join(author="bob")
    order = await ann.create(NAME, ORDER)
    return order, await bob.doc(NAME)


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - nobody tells when it is
            await asyncio.sleep(0.01)


async def _nobody_holds_anything(order: Document) -> None:
    async with asyncio.timeout(10):  # long before it would end by itself
        while await order.locks():  # noqa: ASYNC110 - nobody tells when it is
            await asyncio.sleep(0.01)


async def test_others_are_kept_out_and_only_there(join: Join, client: ClientSession) -> None:
    order, other = await _two(join)
    async with order.lock("/lines/0") as lease:
        with pytest.raises(Locked) as caught:
            await other.set("/lines/0/n", 9)
        refused = caught.value
        assert (refused.holder, refused.pointer, refused.expires) == ("ann", "/lines/0", lease.expires)
        await other.set("/lines/1/n", 8)
        await order.set("/lines/0/n", 7)
        assert [(each.pointer, each.holder) for each in await other.locks()] == [("/lines/0", "ann")]
    assert not lease.lost
    assert await other.locks() == []
    await other.refresh()
    await other.set("/lines/0/n", 6)
    assert await head(client) == {**ORDER, "lines": [{"n": 6}, {"n": 8}]}


async def test_whatever_is_done_inside_is_done_under_it(join: Join, client: ClientSession) -> None:
    order, _ = await _two(join)
    async with order.lock():
        async with order.edit() as draft:
            draft["log"].append("edit")
        await order.set("/log/-", "set")
        await order.set("/log/-", "later", wait=False)
        await order.inc("/boxes", 2)
        await order.patch([{"op": "add", "path": "/log/0", "value": "patch"}], base=1)
        await order.update(lambda draft: draft["log"].append("update"))
        await order.undo()
        await order.put({**ORDER, "title": "put"})
        await order.put({**ORDER, "title": "strict"}, if_match=order.revision)
        await order.delete()
    assert [each["kind"] for each in await history(client)] == ["create", *["edit"] * 9, "delete"]


async def test_what_is_edited_under_it_is_what_is_there_now(join: Join) -> None:
    """What others did before is not in the way of who holds the lease."""
    order, other = await _two(join)
    await other.set("/title", "Bob's")
    async with order.lock("/title"):
        await order.set("/title", "Ann's")
    assert order.value["title"] == "Ann's"


async def test_it_belongs_to_the_task_that_is_inside(join: Join) -> None:
    """Others who use the same client are kept out as well; tasks begun inside are inside."""
    order, _ = await _two(join)
    is_held = asyncio.Event()

    async def outside() -> None:
        await is_held.wait()
        with pytest.raises(Locked):
            await order.set("/title", "outside")

    waiting = asyncio.create_task(outside())
    async with order.lock("/title"):
        is_held.set()
        await waiting
        await asyncio.create_task(order.set("/title", "inside"))
    assert order.value["title"] == "inside"


async def test_an_edit_made_by_rule_is_made_under_it(join: Join) -> None:
    """A conflict from before it was held is settled under it."""
    order, other = await _two(join)
    await other.set("/title", "Bob's")
    async with order.lock("/title"):
        await order.patch([{"op": "replace", "path": "/title", "value": "Ann's"}], base=1, on_conflict=yours)
    assert order.value["title"] == "Ann's"


async def test_a_conflict_under_it_can_be_settled_after_it(join: Join) -> None:
    order, other = await _two(join)
    await other.set("/title", "Bob's")
    with pytest.raises(MergeConflict) as caught:
        async with order.lock("/title"):
            await order.patch([{"op": "replace", "path": "/title", "value": "Ann's"}], base=1)
    caught.value.choose_all("yours")
    await caught.value.save()
    assert order.value["title"] == "Ann's"


async def test_who_does_not_wait_is_told_who_holds_it(join: Join) -> None:
    order, other = await _two(join)
    async with order.lock("/lines"):
        for pointer in ("/lines", "/lines/1", ""):
            with pytest.raises(Locked) as caught:
                async with other.lock(pointer):
                    pytest.fail("two hold what overlaps")
            assert caught.value.holder == "ann"
        async with other.lock("/title"):
            pass


async def test_who_waits_gets_it_when_it_is_given_back(join: Join) -> None:
    order, other = await _two(join)
    fences: list[int] = []

    async def take_turns(document: Document) -> None:
        for _ in range(3):
            async with document.lock("/boxes", wait_s=30) as lease:
                fences.append(lease.fence)
                await document.set("/boxes", document.value["boxes"] + 1)

    await asyncio.gather(take_turns(order), take_turns(other))
    await order.refresh()
    assert order.value["boxes"] == 6
    assert fences == sorted(set(fences))


async def test_waiting_comes_to_an_end(join: Join) -> None:
    order, other = await _two(join)
    async with order.lock():
        with pytest.raises(Locked):
            async with other.lock(wait_s=0.1):
                pytest.fail("two hold it")


async def test_it_renews_itself(join: Join) -> None:
    order, other = await _two(join, surroundings=Surroundings())
    async with order.lock(ttl_s=SHORT_S) as lease:
        for _ in range(4):  # more than it would last
            before = lease.expires
            await _until(lambda before=before: lease.expires != before)  # type: ignore[misc]
        assert not lease.lost
        with pytest.raises(Locked):
            await other.set("/title", "B")


async def test_it_moves_with_its_element(join: Join) -> None:
    order, other = await _two(join, surroundings=Surroundings())
    async with order.lock("/lines/0", ttl_s=SHORT_S) as lease:
        await other.patch([{"op": "add", "path": "/lines/0", "value": {"n": 0}}])
        await _until(lambda: lease.pointer == "/lines/1")
        await order.refresh()
        await order.set("/lines/1/n", 5)
    assert order.value["lines"] == [{"n": 0}, {"n": 5}, {"n": 2}]


async def test_who_cannot_renew_it_has_lost_it(join: Join, through: Through, client: ClientSession) -> None:
    network = Network()
    session, _ = await through(network)
    _, other = await _two(join)
    cut_off = await (await join(session, author="cyn", surroundings=Surroundings())).doc(NAME)
    async with cut_off.lock("/title", ttl_s=SHORT_S) as lost:
        network.off()
        async with other.lock("/title", wait_s=30) as lease:
            assert lease.fence > lost.fence
            await _until(lambda: lost.lost)
            network.on()
            with pytest.raises(StaleFence):
                await cut_off.set("/title", "too late")
            await other.set("/title", "Bob's")
    assert (await head(client)) == {**ORDER, "title": "Bob's"}
    assert "lost" in repr(lost)


async def test_who_does_not_know_that_it_is_lost_is_refused(join: Join, client: ClientSession) -> None:
    """A program that stood still: its clock did as well, and it never renewed anything."""

    async def sleep(_: float) -> None:
        await asyncio.Event().wait()

    stopped = Surroundings(clock=lambda: 0.0, sleep=sleep)
    order, other = await _two(join, surroundings=stopped)
    async with order.lock("/title", ttl_s=SHORT_S) as lost:
        async with other.lock("/title", wait_s=30):
            assert not lost.lost
            roads: list[Callable[[], Awaitable[Any]]] = [
                lambda: order.set("/title", "too late"),
                lambda: order.set("/boxes", 1),
                lambda: order.inc("/boxes"),
                lambda: order.put({}, if_match=1),
                lambda: order.delete(),
                lambda: order.update(lambda draft: draft.update(title="too late")),
            ]
            for road in roads:
                with pytest.raises(StaleFence):
                    await road()
        assert len(await history(client)) == 1
    await order.set("/title", "outside again")


async def test_an_exception_inside_gives_it_back(join: Join) -> None:
    order, other = await _two(join)
    with pytest.raises(ZeroDivisionError):
        async with order.lock():
            raise ZeroDivisionError
    await other.set("/title", "B")


async def test_of_several_an_edit_is_made_under_the_one_it_is_about(join: Join) -> None:
    order, _ = await _two(join)
    async with order.lock("/title"), order.lock("/lines/0"):
        await order.set("/title", "B")
        await order.set("/lines/0/n", 5)
        await order.set("/boxes", 1)
    assert order.value == {**ORDER, "title": "B", "lines": [{"n": 5}, {"n": 2}], "boxes": 1}


async def test_a_client_that_is_closed_holds_nothing(join: Join) -> None:
    _, other = await _two(join)
    ann = await join(author="cyn")
    mine = await ann.doc(NAME)
    async with mine.lock():
        await ann.close()
        await other.set("/title", "B")


@pytest.mark.parametrize("wait", [True, False], ids=["waited for", "not waited for"])
async def test_cancelled_anywhere_nothing_stays_held(join: Join, client: ClientSession, wait: bool) -> None:
    plait, bob = await join(), await join()

    async def act(order: Document) -> None:
        async with order.lock("/log"):
            await order.set("/log/-", 1, wait=wait)

    for steps in range(1, STEPS_MAX):
        name = f"orders/{steps}"
        order = await plait.create(name, ORDER)
        other = await bob.doc(name)
        is_over = await Steps(steps).cancelled(act(order))
        await _until(lambda: not plait._opened().tasks)
        assert await other.locks() == []
        await order.saved(10)
        await order.refresh()
        await other.set("/log/-", 2)
        assert other.value["log"] in ([2], [1, 2])
        assert not order._leases._leases
        if is_over:
            break
    else:
        pytest.fail("it never came to its end")


async def test_who_is_cancelled_while_waiting_is_not_in_the_way(join: Join) -> None:
    order, other = await _two(join)
    async with order.lock():
        waiting = asyncio.create_task(_inside(other, asyncio.Event()))
        for _ in range(20):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await _nobody_holds_anything(order)
    async with order.lock(wait_s=10):
        pass


async def _inside(document: Document, until: asyncio.Event) -> None:
    async with document.lock(wait_s=30):
        await until.wait()


FAULTS = [Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.CUT_ANSWER, Fault.TRUNCATED_JSON, Fault.PLAIN_503]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_the_network_does_it_is_held_once_and_given_back(
    join: Join, through: Through, client: ClientSession, fault: Fault, method: str
) -> None:
    network = Network()
    session, proxy = await through(network)
    order, _ = await _two(join)
    mine = await (await join(session, surroundings=Surroundings())).doc(NAME)
    network.only, network.next = method, [fault]
    async with mine.lock("/title", ttl_s=SHORT_S if method == "PUT" else 30) as lease:
        before = lease.expires
        assert len(await order.locks()) == 1
        await mine.set("/title", "mine")
        if method == "PUT":
            await _until(lambda: lease.expires != before)
    assert not lease.lost
    assert await order.locks() == []
    assert (await head(client)) == {**ORDER, "title": "mine"}
    sent = [seen for seen in proxy.seen if seen.head.method == method and "/locks" in seen.head.path]
    assert len(sent) >= 2
    if method != "PUT":  # a renewal that comes too late is followed by another one
        assert sent[0].body == sent[1].body
        assert sent[0].head.headers["idempotency-key"] == sent[1].head.headers["idempotency-key"]


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
async def test_whoever_holds_it_is_alone_whatever_goes_wrong(
    join: Join, through: Through, client: ClientSession, seed: int
) -> None:
    """Every third request meets a fault. What is read inside is what is written on: nobody comes between."""
    await (await join()).create(NAME, ORDER)
    inside: list[int] = []

    async def count(person: int) -> None:
        session, _ = await through(by_chance(FAULTS, 0.35, seed * 10 + person))
        order = await (await join(session, retry=Retry(attempts=20))).doc(NAME)
        for _ in range(5):
            async with order.lock("/boxes", wait_s=60) as lease:
                inside.append(lease.fence)
                before = order.value["boxes"]
                await order.set("/boxes", before + 1)
                assert inside[-1] == lease.fence
                assert order.value["boxes"] == before + 1

    await asyncio.gather(*[count(person) for person in range(3)])
    assert await head(client) == {**ORDER, "boxes": 15}
    assert inside == sorted(set(inside))


async def test_what_cannot_be_held_is_refused(join: Join) -> None:
    order, _ = await _two(join)

    async def held(pointer: str = "", *, ttl_s: float = 30.0, wait_s: float = 0.0) -> Lease:
        async with order.lock(pointer, ttl_s=ttl_s, wait_s=wait_s) as lease:
            return lease

    for pointer in ("lines", "/a~2b", "x"):
        with pytest.raises(ValueError, match="pointer"):
            await held(pointer)
    for ttl_s, wait_s in ((0.0, 0.0), (-1.0, 0.0), (math.nan, 0.0), (30.0, -1.0), (30.0, math.nan)):
        with pytest.raises(ValueError, match="ttl_s"):
            await held(ttl_s=ttl_s, wait_s=wait_s)
    with pytest.raises(InvalidPatch):
        await held(ttl_s=10_000_000)
    with pytest.raises(NotFound):
        await held("/nothing/here")
    await order.delete()
    with pytest.raises(NotFound):
        await held()


async def test_an_edit_in_an_outbox_is_made_under_its_lease_or_not_at_all(
    join: Join, through: Through, client: ClientSession, tmp_path: Path
) -> None:
    """The program ends, the lease ends, and only then is the edit sent."""
    network = Network()
    session, _ = await through(network)
    _, other = await _two(join)
    box = tmp_path / "edits.db"
    one = await join(session, outbox=box, retry=Retry(attempts=1), surroundings=Surroundings())
    mine = await one.doc(NAME)
    async with mine.lock("/title", ttl_s=SHORT_S):
        network.off()
        assert (await mine.set("/title", "mine")).outcome == "queued"
        assert (await mine.set("/boxes", 3)).outcome == "queued"
    await one.close()
    async with other.lock("/title", wait_s=30):
        await other.set("/title", "Bob's")
    network.on()
    again = await join(session, outbox=box)
    mine = await again.doc(NAME)
    await mine.saved(10)
    assert [type(each.error) for each in again.outbox.failed()] == [StaleFence, StaleFence]
    assert (await head(client)) == {**ORDER, "title": "Bob's"}


def _hold(url: str) -> list[object]:
    with Plait(url, author="ann") as ann, Plait(url, author="bob") as bob:
        order = ann.create(NAME, ORDER)
        other = bob.doc(NAME)
        with order.lock("/title", ttl_s=30) as lease:
            order.set("/title", "Ann's")
            with pytest.raises(Locked) as caught:
                other.set("/title", "Bob's")
            with pytest.raises(Locked), other.lock(wait_s=0.1):
                pass
            held = [lease.pointer, lease.lost, lease.fence > 0, caught.value.holder]
        other.refresh()
        with other.lock("/title", wait_s=5):
            other.set("/title", "Bob's")
        return [*held, other.value["title"], other.locks()]


async def test_without_a_loop_it_belongs_to_the_thread_that_is_inside(client: ClientSession) -> None:
    url = str(client._base_url)
    assert await asyncio.to_thread(_hold, url) == ["/title", False, True, "ann", "Bob's", []]


async def test_a_client_that_is_not_open_holds_nothing(client: ClientSession) -> None:
    async with AsyncPlait(str(client._base_url)) as plait:
        order = await plait.create(NAME, ORDER)
    with pytest.raises(RuntimeError, match="closed"):
        async with order.lock():
            pytest.fail("it is closed")
