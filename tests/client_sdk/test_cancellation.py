"""Tasks are cancelled wherever they can be: the document, the outbox and the server still agree."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from client_sdk.conftest import Join, Through
from client_sdk.people import NAME, ORDER, Network, head, history, keys
from plait_client import AsyncPlait, Document, MergeConflict, Retry, yours
from plait_client.saving.outbox import Outbox
from simulation.faulty_proxy import Fault

STEPS_MAX = 200
Act = Callable[[Document], Coroutine[Any, Any, Any]]


async def _edit(order: Document) -> None:
    async with order.edit() as draft:
        draft["log"].append(1)


async def _edit_with_a_pause(order: Document) -> None:
    async with order.edit() as draft:
        draft["log"].append(1)
        await asyncio.sleep(0)


async def _two_edits(order: Document) -> None:
    await asyncio.gather(order.set("/log/-", 1), order.set("/log/-", 2))


async def _settled(order: Document) -> None:
    await order.set("/title", "mine", on_conflict=yours)


async def _undone(order: Document) -> None:
    await order.set("/n", 9)
    await order.undo()


ACTS: dict[str, Act] = {
    "edit": _edit,
    "edit with a pause": _edit_with_a_pause,
    "two edits": _two_edits,
    "without waiting": lambda order: order.set("/log/-", 1, wait=False),
    "patch of an older revision": lambda order: order.patch([{"op": "remove", "path": "/deep"}], base=1),
    "update": lambda order: order.update(lambda draft: draft["log"].append(1)),
    "put": lambda order: order.put({**ORDER, "log": [1]}),
    "delete": lambda order: order.delete(),
    "refresh": lambda order: order.refresh(),
    "undo": _undone,
    "settled by a rule": _settled,
}


class Steps:
    """Counts the steps that the client's tasks make, and cancels one of them after a number of those."""

    def __init__(self, before: int) -> None:
        self._left = before
        self._victim: asyncio.Task[Any] | None = None

    async def cancelled(self, job: Coroutine[Any, Any, Any]) -> bool:
        """Do a job, and cancel it when it is time; say whether it was over before."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(self._make)
        try:
            self._victim = asyncio.Task(_Counted(job, self._count), loop=loop)
            await asyncio.gather(self._victim, return_exceptions=True)
        finally:
            loop.set_task_factory(None)
        return self._left > 0

    def _make(
        self,
        loop: asyncio.AbstractEventLoop,
        job: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        context: Context | None = None,
    ) -> asyncio.Task[Any]:
        assert isinstance(job, Coroutine)
        is_clients = "plait_client" in job.cr_code.co_filename  # type: ignore[attr-defined]
        return asyncio.Task(_Counted(job, self._count) if is_clients else job, loop=loop, context=context)

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0 and self._victim is not None:
            self._victim.cancel()


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that tells before each of its steps."""

    def __init__(self, job: Coroutine[Any, Any, Any], count: Callable[[], None]) -> None:
        self._job = job
        self._count = count

    def send(self, value: Any) -> Any:
        self._count()
        return self._job.send(value)

    def throw(self, *error: Any) -> Any:
        self._count()
        return self._job.throw(*error)

    def close(self) -> None:
        self._job.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError


async def _agree(order: Document, plait: AsyncPlait, client: ClientSession, name: str) -> None:
    """What the document shows is what the server has, nothing waits, and each edit is there once."""
    await order.saved(10)
    assert not order.pending
    await order.refresh()
    if order.exists:
        with suppress(MergeConflict):  # a delete that was cut off may come late
            await order.set("/after", 1)
    async with asyncio.timeout(10):  # what was cut off may still be on its way
        while order.exists and order.value != await head(client, name):
            await order.refresh()
    revisions = await history(client, name)
    made = [each["key"] for each in revisions if each["key"] is not None]
    assert len(made) == len(set(made))
    if order.exists:
        log = [each for each in order.value["log"] if each in (1, 2)]
        assert len(log) == len(set(log))
        assert not plait.outbox.failed()
    assert not order._saver.entries


@pytest.mark.parametrize("outbox", [False, True], ids=["without an outbox", "with an outbox"])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
async def test_cancelled_anywhere_all_agree(
    join: Join, client: ClientSession, tmp_path: Path, act: Act, outbox: bool
) -> None:
    plait = await join(**({"outbox": tmp_path / "edits.db"} if outbox else {}))
    ann = await join()
    for steps in range(1, STEPS_MAX):
        name = f"orders/{steps}"
        order = await plait.create(name, ORDER)
        await (await ann.doc(name)).set("/title", "Ann's")
        is_over = await Steps(steps).cancelled(act(order))
        await _agree(order, plait, client, name)
        if is_over:
            break
    else:
        pytest.fail("it never came to its end")
    assert not plait._opened().tasks
    await plait.close()
    if outbox:
        stored = await Outbox.open(tmp_path / "edits.db")
        assert await stored.names() == []
        assert await stored.failed() == []
        await stored.close()


@pytest.mark.parametrize("act", [_edit, _two_edits, ACTS["without waiting"]], ids=["edit", "two", "no wait"])
async def test_cancelled_anywhere_while_offline_the_file_is_what_is_shown(
    join: Join, through: Through, client: ClientSession, tmp_path: Path, act: Act
) -> None:
    network = Network()
    session, _ = await through(network)
    steps, is_over = 1, False
    while not is_over:
        box, name = tmp_path / f"{steps}.db", f"orders/{steps}"
        plait = await join(session, outbox=box, retry=Retry(attempts=1))
        order = await plait.create(name, ORDER)
        network.fault = Fault.CUT_BEFORE if steps % 2 else Fault.CUT_AFTER
        is_over = await Steps(steps).cancelled(act(order))
        shown: Any = order.value
        await plait.close()
        network.on()
        again = await join(session, outbox=box)
        mine = await again.doc(name)
        await mine.saved(10)
        assert mine.value == await head(client, name) == shown
        assert again.outbox.failed() == ()
        made = await keys(client, name)
        assert len(made) == len(set(made)) == 1 + len(shown["log"])
        await again.close()
        steps += 1
        assert steps < STEPS_MAX


async def test_a_conflict_nobody_lives_to_hear_of_is_kept(join: Join, client: ClientSession) -> None:
    """Wherever its caller was cancelled."""
    plait, ann = await join(), await join()
    for steps in range(1, STEPS_MAX):
        name = f"orders/{steps}"
        order = await plait.create(name, ORDER)
        await (await ann.doc(name)).set("/title", "Ann's")
        heard: list[MergeConflict] = []

        async def listen(order: Document = order, heard: list[MergeConflict] = heard) -> None:
            try:
                await order.set("/title", "mine")
            except MergeConflict as conflict:
                heard.append(conflict)

        is_over = await Steps(steps).cancelled(listen())
        await order.saved(10)
        assert len(order.unsaved) + len(heard) == 1
        assert order.value["title"] == "Ann's"
        if is_over:
            break
    else:
        pytest.fail("it never came to its end")


async def test_a_client_closed_at_any_moment_leaves_nobody_waiting(
    join: Join, client: ClientSession, tmp_path: Path
) -> None:
    """Edits with and without a rule, an update and a reader are under way when the client is closed."""
    ann = await join()
    for steps in range(0, 60, 3):
        name = f"orders/{steps}"
        plait = await join(**({"outbox": tmp_path / f"{steps}.db"} if steps % 2 else {}))
        order = await plait.create(name, ORDER)
        await (await ann.doc(name)).set("/title", "Ann's")
        jobs = [
            asyncio.ensure_future(order.set("/log/-", 1)),
            asyncio.ensure_future(order.set("/title", "mine", on_conflict=yours)),
            asyncio.ensure_future(order.update(lambda draft: draft.update(n=5))),
            asyncio.ensure_future(anext(order.changes(since=0))),
        ]
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await plait.close()
            await asyncio.gather(*jobs, return_exceptions=True)
        with pytest.raises(RuntimeError, match="closed"):
            await order.set("/n", 1)
        with pytest.raises(RuntimeError, match="not open"):
            await plait.doc(name)
    assert await head(client, NAME.replace("7", "0")) is not None
