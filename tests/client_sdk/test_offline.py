"""Edits that wait: through outages, crashes, restores and refusals each lands once or is reported."""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from address import address_of
from client_sdk.conftest import Join, Through
from client_sdk.people import NAME, ORDER, Doorkeeper, Network, Relay, head, history, keys
from conftest import Serve
from plait_client import (
    ABSENT,
    AsyncPlait,
    BaseUnknown,
    Forbidden,
    InvalidPatch,
    MergeConflict,
    NotFound,
    Outbox,
    OutboxFull,
    OutboxUnusable,
    PlaitError,
    Retry,
    Surroundings,
    TransportError,
    yours,
)
from simulation.faulty_proxy import PROCESSED, Fault, FaultyProxy, Head

SEED = int(os.environ.get("PLAIT_TEST_SEED", "7"))
ONCE = Retry(attempts=1)
KILLS = 10
EDITOR = Path(__file__).parent / "offline_editor.py"


@pytest.fixture
def box(tmp_path: Path) -> Path:
    return tmp_path / "edits.db"


async def _made(join: Join) -> Any:
    return await (await join(author="ann")).create(NAME, ORDER)


async def test_edits_made_offline_arrive_in_order_and_merged(
    join: Join, through: Through, client: ClientSession, box: Path
) -> None:
    network = Network()
    session, _ = await through(network)
    order = await _made(join)
    plait = await join(session, outbox=box, retry=ONCE)
    mine = await plait.doc(NAME)
    network.off()
    saved = [await mine.set("/log/-", number) for number in range(5)]
    assert {each.outcome for each in saved} == {"queued"}
    assert mine.value["log"] == list(range(5))
    assert mine.sync_state == "reconnecting"
    assert mine.trouble is not None
    assert [edit.key for edit in mine.pending] == [each.key for each in saved]
    await order.set("/title", "Ann's")
    network.on()
    plait.retry_now()
    await mine.saved()
    assert mine.value == await head(client) == {**ORDER, "title": "Ann's", "log": list(range(5))}
    assert (await keys(client))[-5:] == [each.key for each in saved]
    assert not mine.pending
    state: str = mine.sync_state
    assert state == "saved"
    assert plait.counters.queued == 5


async def test_what_cannot_be_replayed_is_kept_and_the_others_go_on(
    join: Join, through: Through, client: ClientSession, box: Path
) -> None:
    network = Network()
    session, _ = await through(network)
    order = await _made(join)
    told: list[Any] = []
    plait = await join(session, outbox=box, retry=ONCE, on_conflict=told.append)
    mine = await plait.doc(NAME)
    network.off()
    await mine.set("/log/-", 1)
    await mine.set("/deep/a/b", 2)
    await mine.set("/log/-", 3)
    await mine.set("/title", "mine")
    await order.remove("/deep")
    await order.set("/title", "Ann's")
    network.on()
    plait.retry_now()
    await mine.saved()
    assert mine.value == await head(client)
    assert (mine.value["log"], mine.value["title"], "deep" in mine.value) == ([1, 3], "Ann's", False)
    assert [each.patch[0]["path"] for each in plait.outbox.failed()] == ["/deep/a/b", "/title"]
    assert told == [each.error for each in plait.outbox.failed()]
    (title,) = told[-1]
    assert (title.author, title.theirs.revision, title.pointer_theirs) == ("ann", 3, "/title")
    assert mine.sync_state == "unsaved"
    await plait.close()
    again = await join(session, outbox=box)
    for each in again.outbox.failed():
        assert isinstance(each.error, MergeConflict)
        (field,) = each.error
        assert (field.author, field.at is not None) == ("ann", True)
        each.error.choose_all("yours")
        await each.error.save()
    value = await head(client)
    assert (value["title"], value["deep"]) == ("mine", {"a": {"b": 2}})


async def test_an_edit_that_was_saved_is_known_to_be_though_its_revision_is_gone(
    join: Join, serve: Serve, tmp_path: Path, box: Path
) -> None:
    """Its answer was lost, and when it is sent again its revision is compacted away."""
    server = await serve(db=tmp_path / "short.db", compaction_interval_s=0.01)
    plait = await join(server)
    await plait.set_rules("orders", retention={"revisions": 2}, if_match=0)
    order = await plait.create(NAME, ORDER)
    network = Network()
    proxy = FaultyProxy(*address_of(server), network, delay_s=0.01)
    await proxy.open()
    try:
        async with ClientSession(proxy.url) as session:
            mine = await (await join(session, outbox=box, retry=ONCE)).doc(NAME)
            network.fault = Fault.CUT_AFTER
            assert (await mine.set("/log/-", "mine")).outcome == "queued"
            await order.refresh()
            assert (order.revision, order.value["log"]) == (2, ["mine"])
            for number in range(30):
                await order.set("/n", number)
            async with asyncio.timeout(30):
                while 2 in [each.revision async for each in order.history()]:
                    await order.set("/n", order.value["n"] + 1)
            network.on()
            mine._retry_now()
            await mine.saved()
            assert mine.value == order.value
            assert mine.value["log"] == ["mine"]
            assert not mine.unsaved
    finally:
        await proxy.close()


async def test_a_rule_settles_what_clashed_offline(
    join: Join, through: Through, client: ClientSession, box: Path
) -> None:
    network = Network()
    session, _ = await through(network)
    order = await _made(join)
    mine = await (await join(session, outbox=box, retry=ONCE)).doc(NAME)
    network.off()
    await mine.set("/title", "mine", on_conflict=yours)
    await mine.set("/n", 7, on_conflict=yours)
    await order.put({**ORDER, "title": "Ann's", "n": 5})
    network.on()
    mine._retry_now()
    await mine.saved()
    assert mine.value == await head(client) == {**ORDER, "title": "mine", "n": 7}
    assert not mine.unsaved


async def test_each_edit_of_a_killed_program_arrives_once_and_in_order(
    join: Join, through: Through, client: ClientSession, box: Path
) -> None:
    """Killed again and again, on- and offline, at random points. Print the seed to see it again."""
    print(f"PLAIT_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    network = Network()
    session, _ = await through(network)
    order = await _made(join)
    said: list[int] = []
    first = 0
    for _ in range(KILLS):
        network.on()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(EDITOR),
            str(session._base_url),
            str(box),
            str(first),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        left, offline_at = chance.randrange(1, 30), chance.randrange(0, 15)
        while left > 0 and (line := await process.stdout.readline()):
            act, number = line.split()
            left -= 1
            offline_at -= 1
            if act == b"made":
                said.append(int(number))
            if offline_at == 0:
                network.fault = chance.choice((Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.PLAIN_503))
                await order.set("/n", chance.random())
        process.send_signal(signal.SIGKILL)
        rest, _ = await process.communicate()
        said += [int(line.split()[1]) for line in rest.splitlines() if line.startswith(b"made")]
        # What was made and not said has a number too: none is given again.
        first = max(first, *said[-1:]) + 1_000
    network.on()
    plait = await join(session, outbox=box)
    mine = await plait.doc(NAME)
    await mine.saved()
    value = await head(client)
    assert mine.value == value
    log = value["log"]
    assert log == sorted(set(log)), "in order, and each once"
    assert set(said) <= set(log), "what was said to be made is there"
    assert plait.outbox.failed() == ()
    made = await keys(client)
    assert len(made) == len(set(made))


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.HALF_OPEN], ids=str)
@pytest.mark.parametrize("outbox", [False, True], ids=["without an outbox", "with an outbox"])
async def test_each_edit_lands_once_or_is_reported(
    join: Join, through: Through, client: ClientSession, box: Path, fault: Fault, outbox: bool
) -> None:
    """The fault stays: whatever is answered, what the client says of an edit is the truth."""
    network = Network()
    session, _ = await through(network)
    patience_s = 30 if fault is Fault.PASS else 0.3
    retry = Retry(attempts=2, attempt_timeout_s=patience_s)
    plait, ann = await join(session, retry=retry, **({"outbox": box} if outbox else {})), await join()
    await ann.create(NAME, ORDER)
    order = await plait.doc(NAME)
    network.only = "PATCH"
    saved, unsaved = set(), set()
    for number in range(3):
        network.fault = fault if number else Fault.PASS
        try:
            saved.add((await order.set("/log/-", number)).key)
        except PlaitError as error:
            if not error.outcome_unknown:
                unsaved.add(number)
    network.on()
    plait.retry_now()
    await order.saved()
    await order.refresh()
    value = await head(client)
    assert order.value == value
    if fault is Fault.PASS or outbox:
        assert value["log"] == [0, 1, 2]
    assert saved <= set(await keys(client))
    assert len(set(await keys(client))) == len(await history(client))
    assert not unsaved & set(value["log"])
    assert fault not in PROCESSED or not unsaved


@pytest.mark.parametrize("fault", [Fault.CUT_AFTER, Fault.CUT_ANSWER, Fault.TRUNCATED_JSON, Fault.CUT_BEFORE])
async def test_every_kind_of_write_lands_once(
    join: Join, through: Through, client: ClientSession, fault: Fault
) -> None:
    network = Network()
    session, _ = await through(network)
    plait, ann = await join(session), await join()
    network.next = [fault, fault]
    order = await plait.create(NAME, ORDER)
    other = await ann.doc(NAME)
    network.next = [fault, fault]
    await order.put({**ORDER, "n": 2})
    network.next = [fault, fault]
    await order.put({**ORDER, "n": 3}, if_match=2)
    await other.set("/title", "Ann's")
    network.next = [fault, fault]
    with pytest.raises(MergeConflict) as caught:
        await order.set("/title", "mine")
    caught.value.choose_all("yours")
    network.next = [fault, fault]
    await caught.value.save()
    network.next = [fault, fault]
    await order.delete()
    network.next = [fault, fault]
    await order.put({"again": 1})
    assert order.value == await head(client) == {"again": 1}
    revisions = await history(client)
    assert [each["kind"] for each in revisions] == ["create", *["edit"] * 4, "delete", "create"]
    assert len({each["key"] for each in revisions}) == 7


async def test_without_an_outbox_a_failed_edit_takes_those_on_top_of_it_along(
    join: Join, through: Through, client: ClientSession
) -> None:
    network = Network()
    session, _ = await through(network)
    plait = await join(session, retry=ONCE)
    order = await plait.create(NAME, ORDER)
    network.only, network.fault = "PATCH", Fault.CUT_AFTER
    first, *others = await asyncio.gather(
        order.set("/log/-", 0),
        order.set("/new", {}),
        order.set("/new/a", 1),
        order.set("/log/-", 3),
        return_exceptions=True,
    )
    assert isinstance(first, TransportError)
    assert first.outcome_unknown
    for error in others:
        assert isinstance(error, TransportError)
        assert not error.outcome_unknown
        assert error.__cause__ is first
    assert (order.pending, order.value, order.sync_state) == ((), ORDER, "saved")
    network.on()
    await order.set("/log/-", 9)
    assert order.value == await head(client)
    assert order.value["log"] == [0, 9]


async def test_limits_refuse_new_edits_and_drop_none(
    join: Join, through: Through, client: ClientSession, box: Path
) -> None:
    network = Network()
    session, _ = await through(network)
    outbox = await Outbox.open(box, edits_max=3)
    plait = await join(session, outbox=outbox, retry=ONCE)
    order = await plait.create(NAME, ORDER)
    network.off()
    for number in range(3):
        await order.set("/log/-", number)
    for wait in (True, False):
        with pytest.raises(OutboxFull, match="edits_max"):
            await order.set("/log/-", 99, wait=wait)
    assert order.value["log"] == [0, 1, 2]
    assert len(order.pending) == 3
    network.on()
    plait.retry_now()
    await order.saved()
    await order.set("/log/-", 3)
    assert (await head(client))["log"] == [0, 1, 2, 3]
    assert plait.outbox.failed() == ()
    await plait.close()
    await outbox.close()


async def test_an_edit_that_would_have_been_sent_at_once_is_refused_as_well(
    join: Join, client: ClientSession, box: Path
) -> None:
    """And what was typed on top of it meanwhile."""
    await _made(join)
    outbox = await Outbox.open(box, edits_max=0)
    plait = await join(outbox=outbox)
    order = await plait.doc(NAME)
    outcomes = await asyncio.gather(
        *[order.set("/log/-", number) for number in range(2)], return_exceptions=True
    )
    assert [type(each) for each in outcomes] == [OutboxFull, OutboxFull]
    assert order.value == await head(client) == ORDER
    assert (order.sync_state, order.pending) == ("saved", ())
    await plait.close()
    await outbox.close()


async def test_edits_that_are_refused_together_leave_the_others_whole(
    join: Join, through: Through, client: ClientSession, box: Path
) -> None:
    """Ten tasks at once, and room for four."""
    network = Network()
    session, _ = await through(network)
    outbox = await Outbox.open(box, edits_max=4)
    plait = await join(session, outbox=outbox, retry=ONCE)
    order = await plait.create(NAME, ORDER)
    network.off()
    outcomes = await asyncio.gather(
        *[order.set("/log/-", number) for number in range(10)], return_exceptions=True
    )
    kept = [number for number, each in enumerate(outcomes) if not isinstance(each, OutboxFull)]
    assert kept == [0, 1, 2, 3]
    assert order.value["log"] == kept
    stored = await outbox.load(NAME)
    assert stored is not None
    assert [edit.key for edit in order.pending] == [
        *([stored.state.flight.key] if stored.state.flight else []),
        *[edit.key for edit in stored.state.pending],
    ]
    network.on()
    plait.retry_now()
    await order.saved()
    assert (await head(client))["log"] == kept
    await plait.close()
    await outbox.close()


async def test_an_outbox_that_waits_too_long_refuses_new_edits(
    join: Join, through: Through, hurried: Surroundings, box: Path
) -> None:
    days = [0.0]
    network = Network()
    session, _ = await through(network)
    outbox = await Outbox.open(box, age_max_s=30 * 86_400, now=lambda: days[0] * 86_400)
    world = Surroundings(now=lambda: days[0] * 86_400, sleep=hurried.sleep, uniform=hurried.uniform)
    plait = await join(session, outbox=outbox, retry=ONCE, surroundings=world)
    order = await plait.create(NAME, ORDER)
    network.off()
    await order.set("/n", 2)
    days[0] = 31
    with pytest.raises(OutboxFull, match="31 days"):
        await order.set("/n", 3)
    assert order.value["n"] == 2
    network.on()
    plait.retry_now()
    await order.saved()
    await order.set("/n", 4)
    await plait.close()
    await outbox.close()


async def test_an_edit_whose_key_is_forgotten_is_found_in_the_history(
    serve: Serve, join: Join, box: Path, tmp_path: Path
) -> None:
    """It arrived, the answer was lost, and days later the server remembers no keys."""
    server = await serve(db=tmp_path / "s.db", idempotency_ttl_s=1)
    async with Doorkeeper(server) as door:
        plait = await join(door.session, outbox=box, retry=ONCE)
        order = await plait.create(NAME, ORDER)
        door.method = "PATCH"
        saved = await order.set("/log/-", 1)
        assert saved.outcome == "queued"
        await plait.close()
        door.method = None
        while await _remembers(server, saved.key):
            pass
        again = await join(door.session, outbox=box, retry=ONCE)
        mine = await again.doc(NAME)
        await mine.saved()
        assert mine.value == await head(server) == {**ORDER, "log": [1]}
    assert (await keys(server))[1:] == [saved.key]


async def _remembers(server: ClientSession, key: str) -> bool:
    """Ask with the key of an edit and another body: that is refused as long as the key is known."""
    headers = {"Idempotency-Key": f'"{key}"', "If-Match": '"999"'}
    async with server.patch(
        f"/v1/docs/{NAME}", json=[], headers={**headers, "Content-Type": "application/json-patch+json"}
    ) as answer:
        return answer.status == 422


@pytest.mark.parametrize("outbox", [False, True], ids=["without an outbox", "with an outbox"])
async def test_another_store_behind_the_same_address(
    client: ClientSession, serve: Serve, join: Join, tmp_path: Path, box: Path, outbox: bool
) -> None:
    """Edits made on the old one are made on the new one where they fit, and are reported where not."""
    second = await serve(db=tmp_path / "other.db")
    await (await join(second)).create(NAME, {**ORDER, "title": "another", "tags": []})
    async with Relay(client) as relay:
        plait = await join(relay.session, **({"outbox": box} if outbox else {}))
        order = await plait.create(NAME, ORDER)
        for number in range(3):
            await order.set("/n", number)
        await relay.replace(second)
        await order.set("/log/-", 1)
        assert order.value == await head(second)
        assert order.value == {**ORDER, "title": "another", "tags": [], "log": [1]}
        await relay.replace(client)
        await order.set("/n", 2)
        await order.update(lambda draft: draft.update(n=draft["n"] + 1))
        assert order.value == await head(client) == {**ORDER, "n": 3}


async def test_another_store_may_have_the_same_revision(
    client: ClientSession, serve: Serve, join: Join, tmp_path: Path
) -> None:
    second = await serve(db=tmp_path / "other.db")
    await (await join(second)).create(NAME, {"another": 1})
    async with Relay(client) as relay:
        order = await (await join(relay.session)).create(NAME, ORDER)
        await relay.replace(second)
        await order.refresh()
        assert (order.value, order.revision) == ({"another": 1}, 1)


async def test_what_was_sent_once_is_sent_as_the_same_bytes_for_ever(
    join: Join, through: Through, client: ClientSession, box: Path
) -> None:
    """Also by another process, and when others have edited meanwhile."""
    network = Network()
    session, proxy = await through(network)
    other = await _made(join)
    outbox = await Outbox.open(box)
    plait = await join(session, outbox=outbox, retry=ONCE)
    order = await plait.doc(NAME)
    network.only, network.fault = "PATCH", Fault.CUT_BEFORE
    saved = await order.set("/log/-", 1)
    (stored,) = [await outbox.load(NAME)]
    assert stored is not None
    assert stored.state.flight is not None
    assert stored.state.flight.key == saved.key
    await other.set("/title", "Ann's")
    await plait.close()
    await outbox.close()
    again = await join(session, outbox=box, retry=ONCE)
    mine = await again.doc(NAME, live=True)
    await anext(mine.changes(since=1))
    again.retry_now()
    network.on()
    again.retry_now()
    await mine.saved()
    sent = [seen.body for seen in proxy.seen if seen.head.method == "PATCH"]
    assert set(sent) == {stored.body}
    assert mine.value == await head(client) == {**ORDER, "title": "Ann's", "log": [1]}


async def test_edits_that_waited_meet_another_store(
    client: ClientSession, serve: Serve, join: Join, tmp_path: Path, box: Path
) -> None:
    second, third = await serve(db=tmp_path / "other.db"), await serve(db=tmp_path / "empty.db")
    await (await join(second)).create(NAME, {"log": [], "title": "another"})
    async with Relay(client) as relay:
        network_gone = ClientSession("http://127.0.0.1:1")
        plait = await join(relay.session, outbox=box, retry=ONCE)
        order = await plait.create(NAME, ORDER)
        await order.set("/n", 3)
        await relay.replace(network_gone)
        for number in range(3):
            await order.set("/log/-", number)
        await order.set("/title", "mine")
        await order.set("/tags/-", "no place for it")
        await relay.replace(second)
        plait.retry_now()
        await order.saved()
        assert order.value == await head(second)
        assert order.value["log"] == [0, 1, 2]
        assert "/tags/-" in [each.patch[0]["path"] for each in plait.outbox.failed()]
        await relay.replace(network_gone)
        await order.set("/log/-", 9)
        await relay.replace(third)
        plait.retry_now()
        await order.saved()
        assert isinstance(plait.outbox.failed()[-1].error, NotFound)
        assert (order.value, order.pending) == (ABSENT, ())
        await network_gone.close()


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_is_said_to_be_so(
    client: ClientSession, join: Join, box: Path, status: int
) -> None:
    """Without an outbox the edit fails; with one it waits until the token is taken again."""
    async with Doorkeeper(client) as door:
        plain, kept = await join(door.session), await join(door.session, outbox=box)
        order = await plain.create(NAME, ORDER)
        mine = await kept.doc(NAME)
        door.status = status
        with pytest.raises(Forbidden):
            await order.set("/n", 2)
        with pytest.raises(Forbidden):
            await order.update(lambda draft: draft.update(n=5))
        assert (order.value, order.pending) == (ORDER, ())
        assert (await mine.set("/n", 3)).outcome == "queued"
        assert mine.sync_state == "unsaved"
        assert isinstance(mine.trouble, Forbidden)
        door.status = None
        kept.retry_now()
        await mine.saved()
        assert await head(client) == {**ORDER, "n": 3}


@pytest.mark.parametrize("outbox", [False, True], ids=["without an outbox", "with an outbox"])
async def test_an_edit_whose_base_is_never_known_is_given_up(
    client: ClientSession, join: Join, box: Path, outbox: bool
) -> None:
    """It is sent anew once, and those after it get their turn."""
    async with Doorkeeper(client) as door:
        plait = await join(door.session, **({"outbox": box} if outbox else {}))
        order = await plait.create(NAME, ORDER)
        door.status, door.code, door.passing = 409, "base-unknown", ("GET",)
        for _ in range(2):
            with pytest.raises(BaseUnknown):
                await order.set("/n", 2)
        assert (order.value, order.pending) == (ORDER, ())
        door.status = None
        await order.set("/n", 3)
        assert await head(client) == {**ORDER, "n": 3}


async def test_a_server_that_restarts_in_the_middle_is_nothing_to_worry_about(
    serve: Serve, join: Join, tmp_path: Path, runners: list[Any]
) -> None:
    server = await serve(db=tmp_path / "s.db")
    async with Relay(server) as relay:
        plait = await join(relay.session, retry=Retry(attempts=20), surroundings=Surroundings())
        order = await plait.create(NAME, ORDER)
        edits = [asyncio.create_task(order.set("/log/-", number)) for number in range(40)]
        await edits[10]
        await runners[-1].cleanup()
        again = await serve(db=tmp_path / "s.db")
        await relay.replace(again)
        await asyncio.gather(*edits)
        assert order.value == await head(again)
        assert order.value["log"] == list(range(40))


async def test_a_wrong_clock_changes_nothing(
    join: Join, through: Through, hurried: Surroundings, client: ClientSession, box: Path
) -> None:
    """The wall clock jumps by decades, both ways, while edits wait."""
    wall = [1e9]
    network = Network()
    session, _ = await through(network)
    world = Surroundings(now=lambda: wall[0], sleep=hurried.sleep, uniform=hurried.uniform)
    for start, jump in ((0, -1e9), (10, 3e9), (20, -2e9)):
        plait = await join(session, outbox=box, retry=ONCE, surroundings=world)
        order = await plait.doc(NAME, default=ORDER)
        for number in range(start, start + 3):
            network.fault = Fault.CUT_AFTER
            await order.set("/log/-", number)
            wall[0] += jump
        await plait.close()
        network.on()
    plait = await join(session, outbox=box, surroundings=world)
    order = await plait.doc(NAME)
    await order.saved()
    assert (await head(client))["log"] == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert len(set(await keys(client))) == len(await history(client)) == 10


async def test_a_refused_edit_of_an_earlier_life_is_kept(
    join: Join, through: Through, client: ClientSession, box: Path
) -> None:
    network = Network()
    session, _ = await through(network)
    plait = await join(session, outbox=box, retry=ONCE)
    order = await plait.create(NAME, ORDER)
    network.off()
    await order.set("/n", "x" * 300_000)
    await order.set("/title", "fits")
    await plait.close()
    network.on()
    again = await join(session, outbox=box)
    mine = await again.doc(NAME)
    await mine.saved()
    (kept,) = again.outbox.failed()
    assert isinstance(kept.error, InvalidPatch)
    assert await head(client) == {**ORDER, "title": "fits"}
    await again.close()
    assert [each.key for each in (await join(outbox=box)).outbox.failed()] == [kept.key]


async def test_one_program_at_a_time_has_an_outbox(join: Join, client: ClientSession, box: Path) -> None:
    await join(outbox=box)
    other = AsyncPlait(str(client._base_url), outbox=box)
    for _ in range(2):
        with pytest.raises(OutboxUnusable):
            await other.open()


async def test_many_documents_wait_apart(
    join: Join, through: Through, client: ClientSession, box: Path
) -> None:
    def decide(head: Head) -> Fault:
        return Fault.PLAIN_503 if head.method == "PATCH" and "orders/1" in head.path else Fault.PASS

    session, _ = await through(decide)
    plait = await join(session, outbox=box, retry=ONCE)
    orders = [await plait.create(f"orders/{number}", ORDER) for number in range(3)]
    outcomes = await asyncio.gather(*[order.set("/n", 2) for order in orders])
    assert [each.outcome for each in outcomes] == ["applied", "queued", "applied"]
    await plait.close()
    again = await join(outbox=box)
    await (await again.doc("orders/1")).saved()
    assert (await head(client, "orders/1"))["n"] == 2
