"""The client without an event loop is the asynchronous one, call by call."""

import asyncio
import inspect
import threading
from pathlib import Path

import pytest
from aiohttp import ClientSession

import plait_client
from plait_client import batch, client, document, operation, sync, unsaved
from plait_client.sync import Plait

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(client: ClientSession) -> str:
    return str(client._base_url)


def test_the_file_is_what_the_asynchronous_classes_make_of_it() -> None:
    """Run `python client_sdk/write_sync.py` if this fails."""
    names: dict[str, object] = {"__name__": "write_sync", "__file__": str(ROOT / "client_sdk/write_sync.py")}
    exec(compile((ROOT / "client_sdk/write_sync.py").read_text(), "write_sync.py", "exec"), names)
    written, formatted = names["written"], names["formatted"]
    assert callable(written)
    assert callable(formatted)
    assert formatted(written()) == Path(sync.__file__).read_text()


@pytest.mark.parametrize(
    ("twin", "original"),
    [
        (sync.Plait, client.AsyncPlait),
        (sync.Document, document.Document),
        (sync.Batch, batch.Batch),
        (sync.BatchConflict, plait_client.BatchConflict),
        (sync.Operation, operation.Operation),
        (sync.Unsaved, unsaved.Unsaved),
        (sync.MergeConflict, plait_client.MergeConflict),
    ],
)
def test_every_public_call_is_there_with_its_arguments(twin: type, original: type) -> None:
    for name, member in inspect.getmembers(original):
        if name.startswith("_") or (original is unsaved.Unsaved and name in ("add", "restore")):
            continue
        assert hasattr(twin, name), name
        if inspect.isfunction(member):
            mirrored = inspect.signature(getattr(twin, name)).parameters
            assert list(inspect.signature(member).parameters) == list(mirrored), name


def _work(url: str) -> list[object]:
    with Plait(url, author="ann") as ann, Plait(url, author="bob") as bob:
        order = ann.create("orders/7", {"title": "A", "tags": ["x"], "n": 1})
        same = bob.doc("orders/7")
        with order.edit(message="more") as draft:
            draft["tags"].append("y")
        with same.edit() as draft:
            draft["n"] = 5
        assert same.last_save is not None
        assert same.last_save.outcome == "merged"
        with order.edit() as draft:
            draft["title"] = "Ann's"
        with pytest.raises(sync.MergeConflict) as caught, same.edit() as draft:
            draft["title"] = "Bob's"
        for field in caught.value:
            field.choose("yours")
        assert caught.value.save().outcome == "applied"
        same.update(lambda value: value.__setitem__("n", value["n"] + 1))
        seen = []
        for change in order.changes(since=1):
            seen.append(change.revision)
            if change.revision >= 6:
                break
        revisions = [revision.revision for revision in order.history()]
        listed = [entry.document for entry in ann.documents("orders")]
        return [same.value, seen[-1], revisions, listed, ann.doc("orders/7") is order]


async def test_a_program_without_a_loop_does_all_of_it(url: str) -> None:
    value, last, revisions, listed, is_one = await asyncio.to_thread(_work, url)
    assert value == {"title": "Bob's", "tags": ["x", "y"], "n": 6}
    assert (last, revisions, listed, is_one) == (6, [6, 5, 4, 3, 2, 1], ["orders/7"], True)


async def test_an_exception_inside_an_edit_discards_it(url: str) -> None:
    def work() -> object:
        with Plait(url) as plait:
            order = plait.create("orders/8", {"n": 1})
            with pytest.raises(KeyError), order.edit() as draft:
                draft.update(n=draft["nothing"])
            return order.value, order.revision

    assert await asyncio.to_thread(work) == ({"n": 1}, 1)


async def test_threads_share_a_client(url: str) -> None:
    def work() -> object:
        with Plait(url) as plait:
            order = plait.create("orders/9", {})
            jobs = [threading.Thread(target=order.set, args=(f"/{n}", n)) for n in range(8)]
            for job in jobs:
                job.start()
            for job in jobs:
                job.join()
            return order.value

    assert await asyncio.to_thread(work) == {str(n): n for n in range(8)}


async def test_a_call_from_a_listener_is_an_error_and_no_deadlock(url: str) -> None:
    told: list[object] = []

    def work() -> None:
        def on_settled(settled: object) -> None:
            try:
                order.refresh()
            except RuntimeError as error:
                told.append(str(error))

        with Plait(url, on_settled=on_settled) as plait:
            order = plait.create("orders/10", {})
            order.set("/a", 1)

    await asyncio.to_thread(work)
    assert told
    assert "listener" in str(told[0])


async def test_it_works_inside_a_running_loop(url: str) -> None:
    """As in a notebook: the calls block this loop, so the server here could not answer; none is asked."""
    with Plait(url) as plait:
        assert plait.live_state == "offline"


def test_a_client_that_is_not_open_says_so() -> None:
    plait = Plait("http://127.0.0.1:1")
    with pytest.raises(RuntimeError, match="not open"):
        plait.doc("orders/1")


def test_a_closed_client_says_so() -> None:
    with Plait("http://127.0.0.1:1") as plait:
        pass
    with pytest.raises(RuntimeError, match="not open"):
        plait.doc("orders/1")
