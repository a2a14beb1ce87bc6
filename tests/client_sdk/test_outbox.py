"""What the outbox took is there again: after a crash, a torn write, a restart, days."""

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client_sdk import outbox_writer
from client_sdk.outbox_writer import body_of, edit_of, flight_of
from plait_client.errors import OutboxFull, OutboxUnusable
from plait_client.replica.edit import Edit, Flight, Hold, State
from plait_client.replica.replica import Replica
from plait_client.saving.file import SCHEMA_VERSION
from plait_client.saving.outbox import Outbox
from plait_client.saving.records import FailedEdit, Stored
from plait_merge import ABSENT, Json, apply

NAME = "orders/7"
DAY_S = 86_400.0
KILLS = 20
SEED = int(os.environ.get("PLAIT_TEST_SEED", "7"))

texts = st.text(st.characters(codec="utf-8"), max_size=20)
values: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
patches = st.lists(st.fixed_dictionaries({"op": st.just("add"), "path": texts, "value": values}), max_size=3)
holds = st.none() | st.builds(Hold, texts, st.integers(1, 2**53 - 1))
edits = st.builds(Edit, texts, patches, st.none() | texts, st.floats(0, 1e10), holds)
revisions = st.integers(0, 2**53 - 1)
flights = st.builds(Flight, texts, revisions, texts, patches, st.none() | texts, st.floats(0, 1e10), holds)
states = st.builds(
    State,
    revisions,
    values | st.just(ABSENT),
    texts,
    flights,
    st.none() | patches,
    st.lists(edits, max_size=3, unique_by=lambda edit: edit.key).map(tuple),
)


class Days:
    """A wall clock that somebody else turns."""

    now_s = 20_000 * DAY_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    outbox = await Outbox.open(tmp_path / "edits.db", now=Days())
    yield outbox
    await outbox.close()


def waiting(*numbers: int) -> State:
    return State(1, {"log": []}, "e1", pending=tuple(edit_of(number) for number in numbers))


async def state_of(outbox: Outbox) -> State:
    stored = await outbox.load(NAME)
    assert stored is not None
    return stored.state


async def append(outbox: Outbox, edit: Edit) -> None:
    """Store one more edit on what is stored."""
    state = await state_of(outbox)
    await outbox.save(NAME, replace(state, pending=(*state.pending, edit)), before=state)


async def freeze(outbox: Outbox, base: int, body: bytes) -> None:
    """Store that the first edit is sent."""
    state = await state_of(outbox)
    first, *others = state.pending
    flight = flight_of(first, base)
    sent = replace(state, flight=flight, flight_shown=first.patch, pending=tuple(others))
    await outbox.save(NAME, sent, before=state, body=body)


@given(states, st.none() | st.binary())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_is_saved_is_loaded(outbox: Outbox, state: State, body: bytes | None) -> None:
    """ABSENT, null, long integers and all. The epoch is new each time: a revision's value never changes."""
    state = replace(state, epoch=os.urandom(8).hex())
    await outbox.save(NAME, state, body=body)
    assert await outbox.load(NAME) == Stored(state, body)
    await outbox.save(NAME, replace(state, flight=None, flight_shown=None, pending=()))
    assert await outbox.load(NAME) is None


async def test_edits_are_kept_in_order_and_those_of_each_document_apart(outbox: Outbox) -> None:
    await outbox.save(NAME, waiting(1))
    await outbox.save("orders/8", waiting(1))
    for number in (2, 3):
        await append(outbox, edit_of(number))
    assert (await state_of(outbox)).pending == (edit_of(1), edit_of(2), edit_of(3))
    assert await outbox.names() == [NAME, "orders/8"]
    await outbox.save(NAME, waiting())
    assert await outbox.names() == ["orders/8"]


async def test_a_flight_keeps_the_bytes_it_was_sent_as(outbox: Outbox) -> None:
    """However often the document moves under it."""
    await outbox.save(NAME, waiting(1, 2))
    await freeze(outbox, 1, b"as sent")
    assert await outbox.load(NAME) == Stored(
        replace(waiting(2), flight=flight_of(edit_of(1)), flight_shown=edit_of(1).patch), b"as sent"
    )
    moved = replace(waiting(2), revision=9, flight=flight_of(edit_of(1)), flight_shown=None)
    await outbox.save(NAME, moved, body=b"never sent")
    assert await outbox.load(NAME) == Stored(moved, b"as sent")


async def test_an_edit_that_is_sent_anew_gets_new_bytes(outbox: Outbox) -> None:
    """Its base was not known any more: it was pending again, which need not have been stored."""
    await outbox.save(NAME, waiting(1, 2))
    await freeze(outbox, 1, b"as sent")
    before = await state_of(outbox)
    again = replace(before, revision=9, flight=flight_of(edit_of(1), 9))
    await outbox.save(NAME, again, before=before, body=b"sent anew")
    assert await outbox.load(NAME) == Stored(again, b"sent anew")


async def test_an_edit_that_was_sent_is_the_first_again(outbox: Outbox) -> None:
    await outbox.save(NAME, waiting(1, 2, 3))
    await freeze(outbox, 1, b"as sent")
    await outbox.save(NAME, waiting(1, 2, 3), before=await state_of(outbox))
    assert await outbox.load(NAME) == Stored(waiting(1, 2, 3))


@given(st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_only_what_differs_is_written_and_all_of_it_is_there(
    outbox: Outbox, data: st.DataObject
) -> None:
    """From any state to any other: edits come, go, take other forms; the value moves on or is another."""
    numbers = st.lists(st.integers(0, 6), unique=True, max_size=5).map(sorted)
    before, epoch = None, os.urandom(8).hex()
    for revision in range(1, data.draw(st.integers(2, 6))):
        moved = data.draw(st.sets(st.integers(0, 6)))
        pending = [
            replace(edit_of(number), patch=[]) if number in moved else edit_of(number)
            for number in data.draw(numbers)
        ]
        state = State(revision, {"log": [revision]}, epoch, pending=tuple(pending))
        step = data.draw(st.sampled_from([None, [{"op": "replace", "path": "/log/0", "value": revision}]]))
        await outbox.save(NAME, state, before=before, step=None if before is None else step)
        assert await outbox.load(NAME) == (Stored(state) if pending else None)
        before = state


async def test_the_value_is_written_anew_only_now_and_then(outbox: Outbox, tmp_path: Path) -> None:
    """Steps are stored instead, until they are longer than the value; also while no edit waits."""
    value: Json = {"text": "x" * 300_000, "n": 0}
    state = State(1, value, "e1", pending=(edit_of(1),))
    await outbox.save(NAME, state)
    wholes = 0
    for revision in range(2, 42):
        step = [{"op": "add", "path": f"/{revision}", "value": "y" * 20_000}]
        value = apply(value, step)
        later = State(revision, value, "e1", pending=(edit_of(1),) if revision % 2 else ())
        await outbox.save(NAME, later, before=state, step=step)
        state = later
        if state.pending:
            assert await outbox.load(NAME) == Stored(state)
        wholes += _steps_stored(tmp_path / "edits.db") == 0
    assert 1 <= wholes <= 2


def _steps_stored(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute("SELECT COUNT(*) FROM steps").fetchone()[0]
    return count


async def test_a_document_without_edits_makes_room(tmp_path: Path) -> None:
    """Its value is kept only for the next edit, and no longer than the file is open."""
    outbox = await Outbox.open(tmp_path / "edits.db", bytes_max=200_000)
    for number in range(10):
        state = State(1, "x" * 100_000, "e1", pending=(edit_of(number),))
        await outbox.save(f"orders/{number}", state)
        await outbox.save(f"orders/{number}", replace(state, revision=2, pending=()), before=state, step=[])
    await outbox.save(NAME, waiting(11))
    await outbox.close()
    again = await Outbox.open(tmp_path / "edits.db")
    assert await again.names() == [NAME]
    await again.close()
    with closing(sqlite3.connect(tmp_path / "edits.db")) as connection:
        assert connection.execute("SELECT name FROM documents").fetchall() == [(NAME,)]
        assert connection.execute("SELECT * FROM steps").fetchall() == []


async def test_two_edits_have_two_keys(outbox: Outbox) -> None:
    await outbox.save(NAME, waiting(1))
    with pytest.raises(ValueError, match="stored already"):
        await outbox.save(NAME, waiting(1, 2, 2))
    assert await state_of(outbox) == waiting(1)


async def test_a_replica_comes_back_as_it_was(outbox: Outbox) -> None:
    replica = Replica(1, {"log": [], "n": 10**30}, "e1")
    await outbox.save(NAME, replica.export())
    for number in range(4):
        replica.edit(edit_of(number))
    flight = replica.next()
    assert flight is not None
    replica.received(1, 2, [{"op": "replace", "path": "/n", "value": 5}], [])
    await outbox.save(NAME, replica.export(), body=b"as sent")
    stored = await outbox.load(NAME)
    assert stored is not None
    again = Replica.restore(stored.state)
    assert (again.shown, again.confirmed, again.flight) == (replica.shown, replica.confirmed, flight)
    assert again.pending == replica.pending


async def test_a_failed_edit_is_kept_until_it_is_discarded(outbox: Outbox) -> None:
    failed = [
        FailedEdit(NAME, edit.key, edit.patch, edit.message, edit.made_at, "It clashed.", {"pointer": "/log"})
        for edit in (edit_of(2), edit_of(1))
    ]
    await outbox.save(NAME, waiting(1, 2))
    await outbox.save(NAME, waiting(), failed=failed)
    assert await outbox.names() == []
    assert await outbox.failed() == [replace(edit, failed_at=Days.now_s) for edit in failed]
    await outbox.discard("k2")
    await outbox.discard("k2")
    assert [edit.key for edit in await outbox.failed()] == ["k1"]


async def test_what_fails_in_a_full_file_is_kept_without_its_conflict(tmp_path: Path) -> None:
    """The conflict may hold whole documents; the edit itself is never dropped."""
    outbox = await Outbox.open(tmp_path / "edits.db", bytes_max=300_000)
    for number in range(8):
        edit, conflict = edit_of(number), {"base": ["x" * 40_000], "theirs": ["y" * 40_000]}
        failed = FailedEdit(NAME, edit.key, edit.patch, edit.message, edit.made_at, "It clashed.", conflict)
        await outbox.save(NAME, waiting(), failed=[failed])
    kept = await outbox.failed()
    assert [edit.patch for edit in kept] == [edit_of(number).patch for number in range(8)]
    assert [edit.conflict is None for edit in kept] == [False] * 3 + [True] * 5
    assert (tmp_path / "edits.db").stat().st_size < 500_000
    await outbox.close()


async def test_a_limit_on_edits_refuses_the_new_ones_and_keeps_the_old(tmp_path: Path) -> None:
    outbox = await Outbox.open(tmp_path / "edits.db", edits_max=3)
    await outbox.save(NAME, waiting(1, 2))
    await freeze(outbox, 1, b"")
    await append(outbox, edit_of(3))
    with pytest.raises(OutboxFull, match="edits_max"):
        await append(outbox, edit_of(4))
    with pytest.raises(OutboxFull, match="edits_max"):
        await outbox.save("orders/8", waiting(5))
    assert [edit.key for edit in (await state_of(outbox)).pending] == ["k2", "k3"]
    assert await outbox.load("orders/8") is None
    await outbox.save(NAME, waiting(2, 3))
    await append(outbox, edit_of(4))
    await outbox.close()


async def test_a_limit_on_bytes_refuses_the_new_edits_and_keeps_the_old(tmp_path: Path) -> None:
    outbox = await Outbox.open(tmp_path / "edits.db", bytes_max=200_000)
    await outbox.save(NAME, waiting(0))
    number = 1
    while (refusal := await _refusal(outbox, replace(edit_of(number), message="x" * 10_000))) is None:
        number += 1
    assert "bytes_max" in str(refusal)
    assert 10 < number < 20
    assert len((await state_of(outbox)).pending) == number
    await outbox.save(NAME, replace(waiting(*range(number)), value="x" * 300_000, revision=2))
    with pytest.raises(OutboxFull, match="bytes_max"):
        await append(outbox, edit_of(number))
    await outbox.save(NAME, waiting(1))
    await append(outbox, edit_of(2))
    await outbox.close()


async def _refusal(outbox: Outbox, edit: Edit) -> OutboxFull | None:
    try:
        await append(outbox, edit)
    except OutboxFull as refusal:
        return refusal
    return None


async def test_an_edit_that_waits_too_long_lets_no_other_in(tmp_path: Path) -> None:
    days = Days()
    outbox = await Outbox.open(tmp_path / "edits.db", age_max_s=30 * DAY_S, now=days)
    old = replace(waiting(), pending=(replace(edit_of(1), made_at=days.now_s),))
    await outbox.save(NAME, old)
    days.now_s += 31 * DAY_S
    with pytest.raises(OutboxFull, match="31 days"):
        await append(outbox, replace(edit_of(2), made_at=days.now_s))
    assert await state_of(outbox) == old
    await freeze(outbox, 1, b"")
    with pytest.raises(OutboxFull, match="31 days"):
        await append(outbox, replace(edit_of(2), made_at=days.now_s))
    await outbox.close()


async def test_a_file_belongs_to_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "edits.db"
    writing = await asyncio.create_subprocess_exec(
        sys.executable, outbox_writer.__file__, str(path), "0", stdout=asyncio.subprocess.PIPE
    )
    assert writing.stdout is not None
    assert await writing.stdout.readline() == b"append k0\n"
    with pytest.raises(OutboxUnusable, match="in use"):
        await Outbox.open(path)
    writing.kill()
    await writing.communicate()
    outbox = await Outbox.open(path)
    with pytest.raises(OutboxUnusable, match="in use"):
        await Outbox.open(path)
    await outbox.close()
    await outbox.close()
    with pytest.raises(OutboxUnusable, match="closed"):
        await outbox.names()


async def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "edits.db"
    outbox = await Outbox.open(path)
    await outbox.save(NAME, waiting(0))
    await freeze(outbox, 1, b"sent")
    await append(outbox, edit_of(1))
    before = await outbox.load(NAME)
    await outbox.close()
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE edits DROP COLUMN hold")
        connection.execute("ALTER TABLE flights DROP COLUMN hold")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    outbox = await Outbox.open(path)
    assert await outbox.load(NAME) == before
    held = replace(edit_of(2), hold=Hold("lease", 3))
    await append(outbox, held)
    assert (await state_of(outbox)).pending[-1] == held
    await outbox.close()


async def test_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "edits.db"
    await (await Outbox.open(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(OutboxUnusable, match="newer"):
        await Outbox.open(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"edits", b"SQLite format 3\x00" + b"\xff" * 4_000])
async def test_a_file_that_is_none_of_ours_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "edits.db"
    path.write_bytes(content)
    with pytest.raises(OutboxUnusable):
        await Outbox.open(path)
    assert path.read_bytes() == content


async def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "edits.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (it TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(OutboxUnusable, match="another program"):
        await Outbox.open(path)
    assert path.read_bytes() == before


async def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutboxUnusable):
        await Outbox.open(tmp_path / "none" / "edits.db")
    with pytest.raises(OutboxUnusable):
        await Outbox.open(tmp_path)


async def test_nobody_else_may_read_what_waits(tmp_path: Path) -> None:
    await (await Outbox.open(tmp_path / "edits.db")).close()
    assert (tmp_path / "edits.db").stat().st_mode & 0o077 == 0


async def test_an_act_whose_caller_is_gone_is_done_or_not_and_nothing_between(outbox: Outbox) -> None:
    await outbox.save(NAME, waiting(0))
    for number in range(1, 20):
        appending = asyncio.create_task(append(outbox, edit_of(number)))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        appending.cancel()
        await asyncio.gather(appending, return_exceptions=True)
    keys = [edit.key for edit in (await state_of(outbox)).pending]
    assert keys == sorted(keys, key=lambda key: int(key[1:]))
    await append(outbox, edit_of(20))


async def test_a_torn_write_leaves_the_edits_before_it(tmp_path: Path) -> None:
    """The log is cut, and filled with noise, at many places: what is left is the first edits, in order."""
    whole = tmp_path / "whole"
    whole.mkdir()
    outbox = await Outbox.open(whole / "edits.db")
    await outbox.save(NAME, waiting(0))
    sizes = []
    for number in range(1, 12):
        await append(outbox, edit_of(number))
        sizes.append((whole / "edits.db-wal").stat().st_size)
    chance = random.Random(SEED)
    told = set()
    for turn in range(40):
        torn = tmp_path / f"torn{turn}"
        shutil.copytree(whole, torn)
        log = torn / "edits.db-wal"
        cut = chance.randrange(sizes[0], sizes[-1])
        kept = log.read_bytes()[:cut]
        log.write_bytes(kept + chance.randbytes(5_000 if turn % 2 else 0))
        again = await Outbox.open(torn / "edits.db")
        keys = [edit.key for edit in (await state_of(again)).pending]
        assert keys == [f"k{number}" for number in range(len(keys))]
        assert len(keys) >= 2 + sum(size <= cut for size in sizes[1:])
        await append(again, edit_of(99))
        await again.close()
        told.add(len(keys))
    await outbox.close()
    assert len(told) > 3


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """A writer is killed again and again, on one file. Print the seed to see it again."""
    print(f"PLAIT_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    path = tmp_path / "edits.db"
    appended, settled, frozen = -1, -1, -1
    for _ in range(KILLS):
        for act, number in _acts_until_killed(path, settled + 1, chance.randrange(0, 60)):
            if act == "append":
                assert number == appended + 1
                appended = number
            elif act == "freeze":
                frozen = number
            else:
                settled = number
        outbox = await Outbox.open(path)
        stored = await outbox.load(NAME)
        await outbox.close()
        if stored is None:
            assert appended in (settled, settled + 1)
            settled = appended
            continue
        state = stored.state
        flight, pending = state.flight, state.pending
        kept = [*([int(flight.key[1:])] if flight else []), *(int(edit.key[1:]) for edit in pending)]
        assert kept == list(range(kept[0], kept[-1] + 1))
        assert kept[0] in (settled + 1, settled + 2)
        assert kept[-1] in (appended, appended + 1)
        assert pending == tuple(edit_of(int(edit.key[1:])) for edit in pending)
        if flight is not None:
            assert (flight, stored.body) == (flight_of(edit_of(kept[0]), kept[0] + 1), body_of(flight))
        elif frozen > settled:
            assert kept[0] == settled + 2
        # What was done and not told any more counts as done from here on.
        appended, settled = kept[-1], kept[0] - 1
        # The edits are stacked on what holds all edits before them.
        log: Any = state.value["log"] if isinstance(state.value, dict) else None
        numbers = [each["number"] for each in log]
        assert state.revision == settled + 2
        assert numbers == list(range(settled + 1 - len(numbers), settled + 1))
    assert settled > 20


def _acts_until_killed(path: Path, first: int, acts: int) -> list[tuple[str, int]]:
    """Let a writer write until so many acts are acknowledged, kill it, and give all that were."""
    with subprocess.Popen(
        [sys.executable, outbox_writer.__file__, str(path), str(first)], stdout=subprocess.PIPE, text=True
    ) as writing:
        assert writing.stdout is not None
        lines = [writing.stdout.readline() for _ in range(acts)]
        writing.kill()
        lines += writing.stdout.readlines()
    told = [line.split() for line in lines if line.endswith("\n")]
    return [(act, int(key[1:])) for act, key in told]
