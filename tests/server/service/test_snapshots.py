"""Documents are kept whole now and then, so that opening one never reads a long history."""

from plait_server.service import ServiceLimits
from plait_server.store import Address
from server.service.bench import ANN, ORDER, Bench, begin, put, replacing, turns

HERE = Address("acme", "orders", "1")
EVERY = 5
EDITS = 60


async def test_they_are_written_where_commits_never_pause(bench: Bench) -> None:
    """Whenever a commit is durable the next one waits already."""
    service = await bench.reopen(ServiceLimits(snapshot_revisions_max=EVERY))
    await put(service, {"n": 0})
    bench.store.gate.clear()
    under_way = begin(service.edit(ANN, ORDER, replacing("/n", 1)))
    for n in range(2, EDITS):
        while len(bench.store.batches) < n:
            await turns(10)
        next_one = begin(service.edit(ANN, ORDER, replacing("/n", n)))
        await turns()
        bench.store.gate.set()
        bench.store.gate.clear()
        await under_way
        under_way = next_one
    stored = await bench.store.load(HERE)
    bench.store.gate.set()
    await under_way
    assert stored is not None
    assert stored.head == EDITS - 1
    assert len(stored.revisions) <= 3 * EVERY
