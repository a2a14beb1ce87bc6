"""`update` is serialisable: what its function read is what it changed."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientSession

from client_sdk.conftest import Join, Through
from client_sdk.people import NAME, Network, head, history, keys
from plait_client import DeadlineExceeded, Deleted, InvalidPatch, Retry, TransportError
from simulation.faulty_proxy import Fault

TWICE = Retry(attempts=2)


def _count(draft: dict[str, int]) -> None:
    draft["n"] += 1


async def test_no_count_is_lost_under_contention(join: Join, client: ClientSession) -> None:
    clients = [await join(retry=Retry(deadline_s=60)) for _ in range(5)]
    await clients[0].create(NAME, {"n": 0})
    counters = [await plait.doc(NAME) for plait in clients]
    saved = await asyncio.gather(*[counter.update(_count) for counter in counters for _ in range(6)])
    assert await head(client) == {"n": 30}
    assert sorted(each.revision or 0 for each in saved) == list(range(2, 32))


async def test_the_function_sees_own_edits_that_are_on_their_way(join: Join) -> None:
    counter = await (await join()).create(NAME, {"n": 0})
    await counter.set("/n", 10, wait=False)
    await counter.update(_count)
    assert counter.value == {"n": 11}


async def test_updates_and_edits_of_one_document_go_together(join: Join, client: ClientSession) -> None:
    counter = await (await join()).create(NAME, {"n": 0, "log": []})
    edits = [counter.set("/log/-", number) for number in range(10)]
    await asyncio.gather(*edits, *[counter.update(_count) for _ in range(10)])
    assert counter.value == await head(client)
    assert (counter.value["n"], sorted(counter.value["log"])) == (10, list(range(10)))


async def test_a_function_that_changes_nothing_sends_nothing(join: Join, client: ClientSession) -> None:
    counter = await (await join()).create(NAME, {"n": 0})
    assert (await counter.update(lambda draft: None)).outcome == "noop"
    assert len(await history(client)) == 1


async def test_a_function_that_fails_sends_nothing(join: Join, client: ClientSession) -> None:
    counter = await (await join()).create(NAME, {"n": 0})
    with pytest.raises(KeyError):
        await counter.update(lambda draft: draft.pop("nothing"))
    with pytest.raises(InvalidPatch):
        await counter.update(lambda draft: draft.update(n={1, 2}))
    await counter.update(_count)
    assert counter.value == {"n": 1}
    assert len(await history(client)) == 2


async def test_who_is_overtaken_runs_again_on_fresh_data(join: Join) -> None:
    ann, bob = await join(), await join()
    counter = await ann.create(NAME, {"n": 0})
    other = await bob.doc(NAME)
    await other.update(_count)
    read: list[int] = []

    def note(draft: dict[str, int]) -> None:
        read.append(draft["n"])
        draft["n"] += 1

    assert (await counter.update(note)).revision == 3
    assert read == [0, 1]
    await other.refresh()
    await other.update(_count)
    with pytest.raises(DeadlineExceeded):
        await counter.update(note, deadline_s=1e-9)
    assert counter.value == {"n": 2}


async def test_a_document_deleted_meanwhile_is_not_updated(join: Join) -> None:
    ann, bob = await join(), await join()
    counter = await ann.create(NAME, {"n": 0})
    await (await bob.doc(NAME)).delete()
    with pytest.raises(Deleted):
        await counter.update(_count)


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.HALF_OPEN], ids=str)
async def test_each_update_lands_once_whatever_happens(
    join: Join, through: Through, client: ClientSession, fault: Fault
) -> None:
    network = Network()
    session, _ = await through(network)
    plait = await join(session, retry=Retry(attempts=4, attempt_timeout_s=0.3))
    counter = await plait.create(NAME, {"n": 0})
    network.only = "PATCH"
    for _ in range(3):
        network.next = [fault, fault]
        await counter.update(_count)
    assert await head(client) == counter.value == {"n": 3}
    assert len(set(await keys(client))) == 4


async def test_an_unknown_outcome_is_said_to_be_one(join: Join, through: Through) -> None:
    network = Network()
    session, _ = await through(network)
    counter = await (await join(session, retry=TWICE)).create(NAME, {"n": 0})
    network.only, network.fault = "PATCH", Fault.CUT_AFTER
    with pytest.raises(TransportError) as caught:
        await counter.update(_count)
    assert caught.value.outcome_unknown
    network.on()
    await counter.update(_count)
    assert counter.value == {"n": 2}


async def test_an_update_waits_no_longer_than_its_deadline_for_what_is_queued(
    join: Join, through: Through, tmp_path: Path
) -> None:
    network = Network()
    session, _ = await through(network)
    plait = await join(session, outbox=tmp_path / "edits.db", retry=Retry(attempts=1))
    counter = await plait.create(NAME, {"n": 0})
    network.off()
    assert (await counter.set("/n", 5)).outcome == "queued"
    with pytest.raises(DeadlineExceeded):
        await counter.update(_count, deadline_s=0.05)
    network.on()
    await counter.update(_count)
    assert counter.value == {"n": 6}
