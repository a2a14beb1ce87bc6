"""What a collection retains, how the rest goes, and what is told to those who ask for it."""

import asyncio
import json
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest

from plait_merge import ABSENT, Absent, Json, apply
from plait_server.errors import PlaitServerError
from plait_server.service import (
    CollectionSettings,
    DocumentKey,
    Edit,
    IdempotencyKey,
    IfMatch,
    Retention,
    RevisionView,
    Service,
    ServiceLimits,
)
from plait_server.service.compactor import GROWN_BY, is_due
from plait_server.store import Address, Extent, Floor, RevisionRecord
from plait_server.store.sqlite import SqliteStore
from server.data.histories import findings
from server.service.bench import ANN, BOB, ORDER, Bench, TroubledStore, put, refusal, replacing
from server.store import histories

DAY_S = 86_400
HERE = Address("acme", "orders", "1")


async def retain(service: Service, retention: Retention | None) -> None:
    """Set what is kept of orders."""
    await service.put_collection(
        ANN,
        "orders",
        CollectionSettings(retention=retention),
        IfMatch(revisions=((await service.collection(ANN, "orders")).revision,)),
    )


async def code(awaitable: Awaitable[object]) -> str | None:
    """Give the code of what something is refused with, None where it is not."""
    try:
        await awaitable
    except PlaitServerError as error:
        return error.code
    return None


async def grow(service: Service, edits: int, **rest: Any) -> None:
    """Make a document whose revision n has /n = n, or edit it on."""
    if await code(service.read(ANN, ORDER)) is not None:
        await put(service, {"n": 1, "mine": 0})
    head = (await service.read(ANN, ORDER)).revision
    for n in range(head + 1, head + edits + 1):
        await service.edit(BOB, ORDER, replacing("/n", n, **rest))


async def numbers(service: Service) -> list[int]:
    return [each.revision for each in await history(service)]


async def history(service: Service) -> list[RevisionView]:
    items: list[RevisionView] = []
    cursor = None
    while True:
        page = await service.revisions(ANN, ORDER, 7, cursor)
        items += page.items
        cursor = page.cursor
        if cursor is None:
            return items


async def test_the_newest_are_kept_and_what_is_gone_is_said_to_be(bench: Bench) -> None:
    """At once, with everything still in memory, and after a restart."""
    await grow(bench.service, 40)
    await retain(bench.service, Retention(revisions=10))
    await bench.service.compactor.sweep()
    for _ in range(2):
        service = bench.service
        assert await numbers(service) == list(range(41, 31, -1))
        assert (await service.revisions(ANN, ORDER, 7, None)).oldest == 32
        assert (await service.read(ANN, ORDER, 32)).value == {"n": 32, "mine": 0}
        for n in (1, 31):
            for asked in (service.read(ANN, ORDER, n), service.revision(ANN, ORDER, n)):
                error = await refusal(asked)
                assert (error.code, error.members) == ("revision-compacted", {"oldest": 32})
            error = await refusal(service.edit(ANN, ORDER, replacing("/mine", 1, base=n)))
            assert (error.code, error.members) == ("base-unavailable", {"oldest_base": 32})
        assert (await service.read(ANN, ORDER)).value == {"n": 41, "mine": 0}
        await bench.reopen()
    answer = await bench.service.edit(ANN, ORDER, replacing("/mine", 1, base=32))
    assert (answer.outcome, answer.revision) == ("merged", 42)
    assert [each["revision"] for each in json.loads(answer.missed or b"")] == list(range(33, 42))


async def test_the_young_are_kept_and_time_makes_others_go(bench: Bench) -> None:
    service = bench.service
    for _ in range(10):
        await grow(service, 1)
        bench.let_pass(DAY_S)
    await retain(service, Retention(days=20))
    await service.compactor.sweep()
    assert await numbers(service) == list(range(11, 0, -1))
    bench.let_pass(14 * DAY_S)
    await service.compactor.sweep()
    assert await numbers(service) == list(range(11, 5, -1))
    bench.let_pass(99 * DAY_S)
    await service.compactor.sweep()
    assert await numbers(service) == [11]


async def test_a_revision_is_kept_for_any_reason(bench: Bench) -> None:
    """The newest so many and the young: whichever are more. The labelled: in any case."""
    service = bench.service
    await grow(service, 30)
    bench.let_pass(10 * DAY_S)
    await grow(service, 10)
    await service.put_label(ANN, ORDER, "first", 1)
    await retain(service, Retention(revisions=5, days=5))
    await service.compactor.sweep()
    assert await numbers(service) == [*range(41, 31, -1), 1]
    await retain(service, Retention(revisions=20, days=5))
    await grow(service, 30)
    bench.let_pass(10 * DAY_S)
    await service.compactor.sweep()
    assert await numbers(service) == [*range(71, 51, -1), 1]


async def test_only_the_labelled_are_kept_and_the_newest(service: Service) -> None:
    await grow(service, 30)
    for label, n in (("a", 3), ("b", 17), ("also-b", 17)):
        await service.put_label(ANN, ORDER, label, n)
    await retain(service, Retention(labelled=True))
    await service.compactor.sweep()
    kept = await history(service)
    assert [(each.revision, each.labels) for each in kept] == [(31, ()), (17, ("also-b", "b")), (3, ("a",))]
    for n in (3, 17):
        assert (await service.read(ANN, ORDER, n)).value == {"n": n, "mine": 0}
        assert (await service.revision(ANN, ORDER, n)).revision == n
        error = await refusal(service.edit(ANN, ORDER, replacing("/mine", 1, base=n)))
        assert (error.code, error.members) == ("base-unavailable", {"oldest_base": 31})
    await service.drop_label(ANN, ORDER, "a")
    assert await numbers(service) == [31, 17]
    await retain(service, Retention(revisions=1, labelled=False))
    await service.compactor.sweep()
    assert await numbers(service) == [31]
    assert await service.labels(ANN, ORDER) == []


async def test_a_label_moves_goes_and_names_what_is_there(service: Service) -> None:
    await grow(service, 9)
    label, before = await service.put_label(ANN, ORDER, "v1", 4)
    assert (label.revision, label.author, before) == (4, "ann", None)
    assert await service.put_label(BOB, ORDER, "v1", 4) == (label, label)
    moved, before = await service.put_label(BOB, ORDER, "v1", 6)
    assert (moved.revision, moved.author, before) == (6, "bob", label)
    assert await service.labels(ANN, ORDER) == [moved]
    assert await service.label(ANN, ORDER, "v1") == moved
    for n in (0, 11):
        assert (await refusal(service.put_label(ANN, ORDER, "v2", n))).code == "not-found"
    missing = DocumentKey("orders", "none")
    for asked in (service.put_label(ANN, missing, "v1", 1), service.labels(ANN, missing)):
        assert (await refusal(asked)).code == "not-found"
    await service.edit(ANN, ORDER, Edit(kind="delete", base=10))
    for n in (7, 11):
        await service.put_label(ANN, ORDER, f"at-{n}", n)
    assert [each.label for each in await service.labels(ANN, ORDER)] == ["at-11", "at-7", "v1"]
    await service.drop_label(ANN, ORDER, "v1")
    gone: list[Awaitable[object]] = [service.drop_label(ANN, ORDER, "v1"), service.label(ANN, ORDER, "v1")]
    assert [await code(asked) for asked in gone] == ["not-found", "not-found"]
    await retain(service, Retention(revisions=1))
    await service.compactor.sweep()
    error = await refusal(service.put_label(ANN, ORDER, "late", 8))
    assert (error.code, error.members) == ("revision-compacted", {"oldest": 11})


async def test_a_document_has_so_many_labels(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(labels_max=2))
    await put(service, {})
    for name in "ab":
        await service.put_label(ANN, ORDER, name, 1)
    error = await refusal(service.put_label(ANN, ORDER, "c", 1))
    assert (error.code, error.members) == ("too-large", {"limit": "labels", "maximum": 2})


@pytest.mark.parametrize(
    ("retention", "pointers"),
    [
        (Retention(revisions=0), ["#/retention/revisions"]),
        (Retention(revisions=-1, days=-1.0), ["#/retention/revisions", "#/retention/days"]),
        (Retention(days=float("nan")), ["#/retention/days"]),
        (Retention(labelled=False), ["#/retention"]),
    ],
)
async def test_a_retention_says_what_to_keep(
    service: Service, retention: Retention, pointers: Sequence[str]
) -> None:
    error = await refusal(retain(service, retention))
    errors: Any = error.members["errors"]
    assert (error.code, [each["pointer"] for each in errors]) == ("invalid-value", pointers)


@pytest.mark.parametrize(
    ("retention", "extent", "due"),
    [
        (Retention(revisions=100), Extent("1", 110, 1, 0, False), False),
        (Retention(revisions=100), Extent("1", 111, 1, 0, False), True),
        (Retention(revisions=1), Extent("1", 7, 7, 0, False), False),
        (Retention(revisions=1), Extent("1", 8, 7, 0, False), True),
        (Retention(days=10), Extent("1", 8, 1, 90 * 1_000 * DAY_S, False), False),
        (Retention(days=10), Extent("1", 8, 1, 88 * 1_000 * DAY_S, False), True),
        (Retention(days=10), Extent("1", 8, 8, 0, False), False),
        (Retention(days=10, revisions=20), Extent("1", 8, 1, 0, False), False),
        (Retention(revisions=9), Extent("1", 8, 7, 0, True), False),
        (Retention(revisions=9, labelled=False), Extent("1", 8, 7, 0, True), True),
    ],
)
def test_it_is_worth_it_a_tenth_beyond(retention: Retention, extent: Extent, due: bool) -> None:
    assert is_due(retention, extent, 100 * 1_000 * DAY_S) == due


async def test_what_grows_is_compacted_while_it_grows(bench: Bench) -> None:
    """Long before the next walk over all documents."""
    service = await bench.reopen(ServiceLimits(compaction_interval_s=1_000_000))
    await retain(service, Retention(revisions=20))
    await service.compactor.sweep()
    await grow(service, GROWN_BY)
    async with asyncio.timeout(20):
        while (await service.revisions(ANN, ORDER, 1, None)).oldest < GROWN_BY - 20:
            pass
    assert (await service.read(ANN, ORDER)).value == {"n": GROWN_BY + 1, "mine": 0}


async def test_a_change_of_settings_is_looked_at_soon(bench: Bench) -> None:
    service = await bench.reopen(ServiceLimits(compaction_interval_s=1_000_000))
    await grow(service, 40)
    await retain(service, Retention(revisions=20))
    async with asyncio.timeout(20):
        while (await service.revisions(ANN, ORDER, 1, None)).oldest != 22:
            pass


async def test_a_restart_forgets_nothing(bench: Bench) -> None:
    """What was due when the server ended is done by the next one, without an edit."""
    await grow(bench.service, 40)
    bench.service.compactor.committed(HERE, GROWN_BY)
    await retain(bench.service, Retention(revisions=20))
    await bench.reopen()
    async with asyncio.timeout(20):
        while (await bench.service.revisions(ANN, ORDER, 1, None)).oldest != 22:
            pass


class Shrinking(TroubledStore):
    """A store whose histories get shorter after everything that is read of them, down to the head."""

    oldest = 1

    async def extent(self, address: Address) -> Extent | None:
        found = await self._store.extent(address)
        await self._shrink(address)
        return found

    async def revisions(self, address: Address, **span: Any) -> list[RevisionRecord]:
        found = await self._store.revisions(address, **span)
        await self._shrink(address)
        return found

    async def _shrink(self, address: Address) -> None:
        floor = Floor(self.oldest, self.oldest + 9, whole=False)
        value = b'{"n":%d}' % floor.n
        if await self._store.compact(address, floor, value, spare_labelled=True):
            self.oldest = floor.n


async def test_what_goes_while_it_is_read_leaves_no_gap(tmp_path: Path) -> None:
    """From the oldest that a page of history names on, all are there; blame begins where history does."""
    store = Shrinking(await SqliteStore.open(tmp_path / "plait.db"))
    async with AsyncExitStack() as stack:
        service = await Service.open(store, limits=ServiceLimits(recent_revisions_max=2))
        stack.push_async_callback(service.close)
        await put(service, {"n": 1})
        for n in range(2, 72):
            await service.edit(BOB, ORDER, replacing("/n", n))
        await service.put_label(ANN, ORDER, "first", 1)
        for _ in range(3):
            page = await service.revisions(ANN, ORDER, 500, None)
            kept = [each.revision for each in page.items if each.revision >= page.oldest]
            assert kept == list(range(71, page.oldest - 1, -1))
        assert 20 < store.oldest < 60
        blame = await service.history.blame(ANN, ORDER, "", None, 9, None)
        assert (blame.revision, blame.oldest) == (71, store.oldest)


async def test_once_all_is_kept_nothing_goes_any_more(bench: Bench) -> None:
    """The settings are changed in the middle of a long compaction: from the answer on history stays."""
    service = bench.service
    await bench.store.commit(histories.grow([ABSENT], 5_000))
    await retain(service, Retention(revisions=10))
    sweep = asyncio.create_task(service.compactor.sweep())
    async with asyncio.timeout(20):
        while (await service.revisions(ANN, ORDER, 1, None)).oldest == 1:
            pass
    await retain(service, None)
    kept = (await service.revisions(ANN, ORDER, 1, None)).oldest
    await sweep
    assert 1 < kept < 4_900
    assert (await service.revisions(ANN, ORDER, 1, None)).oldest == kept


@pytest.mark.parametrize(
    ("edit", "outcome"),
    [
        (replacing("/mine", 5, base=5), "merged"),
        (replacing("/mine", 5), "applied"),
        (replacing("/mine", 0), "noop"),
        (Edit(kind="delete", base=21), "deleted"),
    ],
)
async def test_an_answer_is_given_again_though_its_revision_is_gone(
    bench: Bench, edit: Edit, outcome: str
) -> None:
    """The same outcome and revision; the patch is no longer there. By memory, and after a restart."""
    keyed = Edit(**{**{f: getattr(edit, f) for f in edit.__struct_fields__}, "key": IdempotencyKey("k", "f")})
    await grow(bench.service, 20)
    first = await bench.service.edit(ANN, ORDER, keyed)
    assert first.outcome == outcome
    if outcome == "deleted":
        await put(bench.service, {"n": 0})
    await grow(bench.service, 20)
    await retain(bench.service, Retention(revisions=5))
    await bench.service.compactor.sweep()
    for _ in range(2):
        again = await bench.service.edit(ANN, ORDER, keyed)
        assert (again.outcome, again.revision, again.base, again.replayed) == (
            first.outcome,
            first.revision,
            first.base,
            True,
        )
        assert again.patch == (b"[]" if outcome == "noop" else b"null")
        assert again.missed in (None, b"[]")
        await bench.reopen()


async def test_a_conflict_whose_base_is_gone_says_so(bench: Bench) -> None:
    """Shown 410, settled 409; the answer to its key stays what it was, with less in it."""
    service = bench.service
    await grow(service, 5)
    key = IdempotencyKey("k", "f")
    edit = replacing("/n", -1, base=2, key=key)
    kept = (await refusal(service.edit(ANN, ORDER, edit))).members["conflict"]
    assert isinstance(kept, str)
    await grow(service, 30)
    await retain(service, Retention(revisions=5))
    await service.compactor.sweep()
    for _ in range(2):
        error = await refusal(service.conflict(ANN, ORDER, kept))
        assert (error.code, error.members) == ("revision-compacted", {"oldest": 32})
        error = await refusal(service.resolve(ANN, ORDER, kept, choices={"x": "yours"}))
        assert (error.code, error.members) == ("base-unavailable", {"oldest_base": 32})
        error = await refusal(service.resolve(ANN, ORDER, kept, patch=[]))
        assert (error.code, error.members) == ("base-unavailable", {"oldest_base": 32})
        again = await refusal(service.edit(ANN, ORDER, edit))
        assert (again.code, again.replayed, again.members["base_revision"]) == ("merge-conflict", True, 2)
        assert [each.id for each in (await service.conflicts(ANN, ORDER, 9, None)).items] == [kept]
        service = await bench.reopen()
    assert await asyncio.to_thread(findings, bench.path) == []


@pytest.mark.parametrize(
    ("after", "reset"),
    [(3, "compacted"), (30, "compacted"), (31, None), (36, None), (None, None), (99, "unknown")],
)
async def test_who_resumes_from_what_is_gone_gets_a_snapshot(
    bench: Bench, after: int | None, reset: str | None
) -> None:
    await grow(bench.service, 40)
    await retain(bench.service, Retention(revisions=10))
    await bench.service.compactor.sweep()
    for limits in (ServiceLimits(), ServiceLimits(live=ServiceLimits().live)):
        backlog = await bench.service.backlog(ANN, ORDER, after, None)
        assert (backlog.upto, backlog.reset) == (41, reset)
        assert backlog.frame is not None
        kind = "rev" if after is not None and reset is None else "snapshot"
        assert backlog.frame.kind == kind
        await bench.reopen(limits)


async def read_on(
    service: Service, reader: dict[str, Json | Absent], cursor: str | None, limit: int
) -> str | None:
    """Apply a page of the feed to what a reader has; give its new cursor."""
    page = await service.changes(ANN, cursor, limit, 0)
    for change in page.items:
        name = change.document.id
        reader[name] = apply(reader.get(name, ABSENT), json.loads(change.patch))
    return page.cursor


@pytest.mark.parametrize("seed", range(6))
async def test_a_reader_of_the_feed_ends_with_the_heads_whatever_goes_meanwhile(
    bench: Bench, seed: int
) -> None:
    """Documents are edited, deleted, made again, labelled and compacted; readers stop and go on anywhere."""
    random = Random(seed)
    service = bench.service
    documents = [DocumentKey("orders", name) for name in "abc"]
    readers: list[tuple[dict[str, Json | Absent], str | None]] = []
    alive: set[str] = set()
    for turn in range(80):
        document = random.choice(documents)
        act = random.random()
        if act < 0.5:
            if document.id in alive:
                await service.edit(ANN, document, replacing("/n", turn))
            else:
                await put(service, {"n": turn}, document)
                alive.add(document.id)
        elif act < 0.56:
            head = (await service.read(ANN, document)).revision if document.id in alive else 1
            deleting = service.edit(ANN, document, Edit(kind="delete", base=head))
            assert await code(deleting) in (None, "not-found")
            alive.discard(document.id)
        elif act < 0.66:
            labelling = service.put_label(ANN, document, random.choice("xy"), random.randrange(1, 20))
            assert await code(labelling) in (None, "not-found", "revision-compacted")
        elif act < 0.76:
            keep = Retention(revisions=random.randrange(1, 6), labelled=random.random() < 0.7)
            await retain(service, keep)
            await service.compactor.sweep()
        else:
            if not readers or random.random() < 0.3:
                readers.append(({}, None))
            place = random.randrange(len(readers))
            reader, cursor = readers[place]
            readers[place] = reader, await read_on(service, reader, cursor, random.randrange(1, 9))
    heads: dict[str, Json | Absent] = {}
    for document in documents:
        if document.id in alive:
            heads[document.id] = (await service.read(ANN, document)).value
        elif await code(service.read(ANN, document)) == "deleted":
            heads[document.id] = ABSENT
    for reader, cursor in [*readers, ({}, None)]:
        await read_on(service, reader, cursor, 500)
        assert reader == heads
    assert await asyncio.to_thread(findings, bench.path) == []


async def test_edits_and_compaction_at_once_lose_nothing(bench: Bench) -> None:
    """Fifty writers of one counter, late edits among them, while history goes behind them."""
    service = await bench.reopen(ServiceLimits(recent_revisions_max=16))
    await put(service, {"n": 0})
    await retain(service, Retention(revisions=3))
    adding = [{"op": "inc", "path": "/n", "value": 1}]
    refusals: list[str | None] = []

    async def write(number: int) -> None:
        for _ in range(20):
            base = (await service.read(ANN, ORDER)).revision if number % 2 else None
            edit = Edit(kind="patch", content=adding, base=base, extended=True)
            refusals.append(await code(service.edit(ANN, ORDER, edit)))

    async def sweep() -> None:
        for _ in range(20):
            await service.compactor.sweep()

    await asyncio.gather(sweep(), *(write(number) for number in range(50)))
    await service.compactor.sweep()
    done = refusals.count(None)
    assert set(refusals) <= {None, "base-unavailable"}
    assert (await service.read(ANN, ORDER)).value == {"n": done}
    assert await asyncio.to_thread(findings, bench.path) == []
    await bench.reopen()
    assert (await bench.service.read(ANN, ORDER)).value == {"n": done}
    assert len(await numbers(bench.service)) == 3


async def test_whoever_reads_while_history_goes_is_told_the_truth(bench: Bench) -> None:
    """Old revisions, late edits, what was missed, pages of history, answers given again: each is right, or
    says that it is gone."""
    service = await bench.reopen(ServiceLimits(recent_revisions_max=8))
    await grow(service, 5)
    keyed = replacing("/mine", 1, key=IdempotencyKey("k", "f"))
    first = await service.edit(ANN, ORDER, keyed)
    await retain(service, Retention(revisions=6))
    random = Random(7)
    told: set[str | None] = set()

    async def read() -> None:
        for _ in range(60):
            head = (await service.read(ANN, ORDER)).revision
            n = random.randrange(1, head + 1)
            try:
                view = await service.read(ANN, ORDER, n)
                assert view.revision == n
                backlog = await service.backlog(ANN, ORDER, n, None)
                assert backlog.upto >= head
                assert backlog.reset in (None, "compacted")
                await service.edit(ANN, ORDER, replacing("/mine", n, base=n, merge="yours"))
            except PlaitServerError as error:
                told.add(error.code)
            again = await service.edit(ANN, ORDER, keyed)
            assert (again.revision, again.outcome, again.replayed) == (first.revision, first.outcome, True)
            page = await service.revisions(ANN, ORDER, 3, None)
            while page.cursor is not None:
                page = await service.revisions(ANN, ORDER, 3, page.cursor)

    async def write() -> None:
        for n in range(60):
            await service.edit(BOB, ORDER, replacing("/n", n))
            await service.compactor.sweep()

    await asyncio.gather(write(), *(read() for _ in range(4)))
    assert "revision-compacted" in told
    assert told <= {"revision-compacted", "base-unavailable"}


@pytest.mark.parametrize("tidied", [True, False])
async def test_a_lease_stands_or_is_lost_where_history_goes_under_it(bench: Bench, tidied: bool) -> None:
    """In memory it follows every edit. After a restart it is where it was last written down; where that
    revision is gone nobody can say where it would be now, so it has ended."""
    await grow(bench.service, 2)
    lease = await bench.service.locks.acquire(ANN, ORDER, "/mine")
    assert lease.hold is not None
    await grow(bench.service, 30)
    await retain(bench.service, Retention(revisions=5))
    await bench.service.compactor.sweep()
    assert await code(bench.service.edit(BOB, ORDER, replacing("/mine", 1))) == "locked"
    if tidied:
        await bench.service.locks.tidy()
    service = await bench.reopen()
    held = replacing("/mine", 2, lock=lease.hold)
    theirs = await code(service.edit(BOB, ORDER, replacing("/mine", 1)))
    mine = await code(service.edit(ANN, ORDER, held))
    assert (theirs, mine) in [("locked", None), (None, "stale-fence")]
    assert theirs == "locked" or not tidied
