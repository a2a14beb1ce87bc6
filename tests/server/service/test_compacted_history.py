"""What history still answers where the oldest of it was compacted away, and what it says of the rest."""

from collections.abc import Awaitable

import pytest

from plait_server.errors import PlaitServerError
from plait_server.service import CollectionSettings, Edit, Retention, Service
from server.service.bench import ANN, BOB, ORDER, Bench, put, refusal, replacing, reverted

PLAIN = Edit(kind="patch")
MINUTE_S = 60


async def grow(bench: Bench) -> int:
    """Make 41 revisions, one a minute, of a document with five members; say when the first was made."""
    begun = int(bench.clock.now * 1000)
    await put(bench.service, {f"m{n}": 0 for n in range(5)} | {"never": 0})
    for n in range(2, 42):
        bench.clock.now += MINUTE_S
        await bench.service.edit((ANN, BOB)[n % 2], ORDER, replacing(f"/m{n % 5}", n))
    return begun


async def compact(service: Service, revisions: int) -> None:
    """Keep the newest."""
    settings = CollectionSettings(retention=Retention(revisions=revisions))
    await service.put_collection(ANN, "orders", settings, None)
    await service.compactor.sweep()


async def blamed(service: Service, revision: int | None = None) -> dict[str, int]:
    """Give who set what; what was set by the oldest revision or before has a minus."""
    view = await service.history.blame(ANN, ORDER, "", revision, 100, None)
    return {
        leaf.pointer: leaf.setter.revision if leaf.setter.revision > view.oldest else -view.oldest
        for leaf in view.leaves
    }


async def code(awaitable: Awaitable[object]) -> str:
    try:
        await awaitable
    except PlaitServerError as error:
        return error.code
    return "fine"


@pytest.mark.parametrize("asked_before", [False, True])
async def test_what_was_set_by_what_is_gone_was_there_at_the_oldest_revision(
    bench: Bench, asked_before: bool
) -> None:
    """Whatever was known before it went, and after a restart."""
    await grow(bench)
    if asked_before:
        await blamed(bench.service, 20)
        await blamed(bench.service)
    await compact(bench.service, 3)
    for _ in range(2):
        expected = {"/m0": 40, "/m1": 41, "/m2": -39, "/m3": -39, "/m4": -39, "/never": -39}
        assert await blamed(bench.service) == expected
        assert await blamed(bench.service, 39) == dict.fromkeys(expected, -39)
        assert await code(blamed(bench.service, 38)) == "revision-compacted"
        await bench.reopen()
    await bench.service.edit(BOB, ORDER, replacing("/never", 1))
    assert (await blamed(bench.service))["/never"] == 42


async def test_a_labelled_revision_can_be_compared_and_restored_alone(bench: Bench) -> None:
    service = bench.service
    await grow(bench)
    await service.put_label(ANN, ORDER, "good", 20)
    wanted = (await service.read(ANN, ORDER, 20)).value
    await compact(service, 10)
    assert await blamed(service, 20) == dict.fromkeys(map("/{}".format, wanted), -20)
    compared = await service.history.compare(ANN, ORDER, 20, None)
    assert (await service.history.diff(compared)).startswith(b"[{")
    assert await code(service.history.undoing(ANN, ORDER, 20, 20, PLAIN)) == "revision-compacted"
    await reverted(service, ANN, ORDER, service.history.restoring(ANN, ORDER, 20, PLAIN))
    assert (await service.read(ANN, ORDER)).value == wanted


async def test_what_is_gone_is_said_to_be_gone(bench: Bench) -> None:
    """Also a moment from which only a labelled revision is left: it need not have been the newest then."""
    begun = await grow(bench)
    await bench.service.put_label(ANN, ORDER, "good", 20)
    await compact(bench.service, 10)
    for _ in range(2):
        history = bench.service.history
        for asked in (
            history.compare(ANN, ORDER, 31, 41),
            history.compare(ANN, ORDER, 41, 1),
            history.undoing(ANN, ORDER, 31, 31, PLAIN),
            history.undoing(ANN, ORDER, 32, 33, PLAIN),
            history.restoring(ANN, ORDER, 31, PLAIN),
            history.at(ANN, ORDER, begun + 25 * 60_000),
            history.at(ANN, ORDER, begun - 1),
        ):
            error = await refusal(asked)
            assert (error.code, error.members) == ("revision-compacted", {"oldest": 32})
        assert await history.at(ANN, ORDER, begun + 31 * 60_000) == 32
        assert await history.at(ANN, ORDER, begun + 33 * 60_000 + 1) == 34
        await bench.reopen()
    await reverted(bench.service, ANN, ORDER, bench.service.history.undoing(ANN, ORDER, 37, 41, PLAIN))
    value = (await bench.service.read(ANN, ORDER)).value
    assert value == (await bench.service.read(ANN, ORDER, 36)).value


async def test_before_the_first_revision_there_still_was_nothing(bench: Bench) -> None:
    await grow(bench)
    await compact(bench.service, 5)
    compared = await bench.service.history.compare(ANN, ORDER, 0, 41)
    assert (await bench.service.history.diff(compared)).startswith(b'[{"op":"add","path":""')
