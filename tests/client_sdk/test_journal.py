"""What the outbox holds of a document is what its replica is, whatever happened between two writes."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plait_client.errors import OutboxFull
from plait_client.live.frame import Part
from plait_client.replica.edit import Edit, Patch
from plait_client.replica.replica import Replica
from plait_client.saved import Missed
from plait_client.saving.journal import Journal
from plait_client.saving.outbox import Outbox
from plait_merge import Json, Rebased, apply, rebase

START: Json = {"title": "A", "n": 0, "log": [], "deep": {"a": 1, "b": 2}}
EPOCH = "e1"

patches: st.SearchStrategy[Patch] = st.sampled_from(
    [
        [{"op": "replace", "path": "/title", "value": "B"}],
        [{"op": "replace", "path": "/title", "value": "C"}],
        [{"op": "replace", "path": "/n", "value": 1}],
        [{"op": "add", "path": "/log/0", "value": {"x": [1, None]}}],
        [{"op": "add", "path": "/log/-", "value": "end"}],
        [{"op": "add", "path": "/deep/a", "value": True}],
        [{"op": "move", "from": "/deep/b", "path": "/deep/c"}, {"op": "add", "path": "/deep/b", "value": 3}],
    ]
)
acts = st.lists(
    st.sampled_from(["type", "type", "send", "answer", "other", "frame", "read", "thaw", "write", "write"]),
    min_size=5,
    max_size=40,
)


class Head:
    """A server's document: each revision and what led to it."""

    def __init__(self) -> None:
        self.values: list[Json] = [START]
        self.patches: list[Patch] = [[]]

    @property
    def revision(self) -> int:
        return len(self.values)

    def commit(self, patch: Patch) -> None:
        self.values.append(apply(self.values[-1], patch))
        self.patches.append(patch)

    def since(self, revision: int) -> list[Missed]:
        return [
            Missed(revision=number + 1, author="ann", at="2026-01-01T00:00:00Z", patch=self.patches[number])
            for number in range(revision, self.revision)
        ]


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    outbox = await Outbox.open(tmp_path / "edits.db")
    yield outbox
    await outbox.close()


@given(acts, st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_is_stored_is_what_the_replica_is(
    outbox: Outbox, acts: list[str], data: st.DataObject
) -> None:
    name, head = f"orders/{os.urandom(8).hex()}", Head()
    replica = Replica(1, START, EPOCH)
    journal = Journal(name, replica, outbox)
    for number, act in enumerate([*acts, "write"]):
        if act == "write":
            await journal.write()
            stored = await outbox.load(name)
            if replica.flight is None and not replica.pending:
                assert stored is None
            else:
                assert stored is not None
                assert stored.state == replica.export()
                assert Replica.restore(stored.state).shown == replica.shown
                assert replica.flight is None or stored.body == journal.body_of(replica.flight)
        elif act == "type":
            replica.edit(Edit(f"k{number}", data.draw(patches)))
        elif act == "other":
            head.commit(data.draw(patches))
        else:
            _ACTS[act](replica, head)


def _answer(replica: Replica, head: Head) -> None:
    """The edit in flight is committed, or overlaps."""
    flight = replica.flight
    if flight is None:
        return
    missed = head.since(flight.base)
    outcome = rebase(head.values[flight.base - 1], [each.patch for each in missed], flight.patch)
    if not isinstance(outcome, Rebased):
        replica.refused(flight.key)
        return
    if outcome.patch:
        head.commit(outcome.patch)
    replica.accepted(flight.key, head.revision, outcome.patch, missed, EPOCH)


def _frame(replica: Replica, head: Head) -> None:
    """The next revision that is not known is told live."""
    known = replica.confirmed.revision
    if known < head.revision:
        part = Part(known + 1, "ann", "2026-01-01T00:00:00Z")
        replica.received(known, known + 1, head.patches[known], [part])


def _thaw(replica: Replica, head: Head) -> None:
    """The base of the edit in flight is not known any more."""
    _read(replica, head)
    if replica.flight is not None:
        replica.thaw(replica.flight.key)


def _read(replica: Replica, head: Head) -> None:
    replica.reset(head.revision, head.values[-1], EPOCH)


_ACTS: dict[str, Any] = {
    "send": lambda replica, _: replica.next(),
    "answer": _answer,
    "frame": _frame,
    "read": _read,
    "thaw": _thaw,
}


async def test_an_edit_that_is_not_admitted_is_not_written_nor_those_on_top_of_it(outbox: Outbox) -> None:
    """Also where it is the one that is to be sent at once."""
    replica = Replica(1, START, EPOCH)
    journal = Journal("orders/1", replica, outbox)
    for key in ("k1", "k2"):
        replica.edit(Edit(key, [{"op": "add", "path": "/log/-", "value": key}]))
        journal.add_new(key)
    replica.next()
    await journal.write()
    assert await outbox.load("orders/1") is None
    assert await journal.admit("k1", _refuse)
    stored = await outbox.load("orders/1")
    assert stored is not None
    assert stored.state.flight is not None
    assert (stored.state.flight.key, stored.state.pending) == ("k1", ())
    assert await journal.admit("k2", _refuse)
    stored = await outbox.load("orders/1")
    assert stored is not None
    assert [edit.key for edit in stored.state.pending] == ["k2"]


async def test_an_edit_that_is_refused_leaves_what_is_stored_alone(tmp_path: Path) -> None:
    outbox = await Outbox.open(tmp_path / "edits.db", edits_max=1)
    replica = Replica(1, START, EPOCH)
    journal = Journal("orders/1", replica, outbox)
    refused: list[Any] = []
    for key in ("k1", "k2"):
        replica.edit(Edit(key, [{"op": "add", "path": "/log/-", "value": key}]))
        journal.add_new(key)
    assert await journal.admit("k1", refused.append)
    assert not await journal.admit("k2", refused.append)
    assert [type(error) for error in refused] == [OutboxFull]
    replica.refused("k2")
    await journal.write()
    stored = await outbox.load("orders/1")
    assert stored is not None
    assert stored.state == replica.export()
    await outbox.close()


def _refuse(error: Exception) -> None:
    raise AssertionError("there is room") from error
