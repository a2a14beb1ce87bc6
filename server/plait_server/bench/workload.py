"""What writers do: the workloads, each made of habits, and the documents they are made on.

A habit takes a writer and makes it do one thing. Every value that is written is new: no edit is a noop.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from plait_server.bench.writer import Patch, Writer
from plait_server.wire import encode

CONTESTED: Final = 4
LIST_ITEMS: Final = 16
ROW_BYTES: Final = 100

Habit = Callable[[Writer], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Workload:
    """`habits` with their weights; of the documents, `shared` says which share everybody edits.

    The rest are defaults: `documents` None is one for each writer, `size_bytes` of each document.
    """

    about: str
    habits: tuple[tuple[Habit, int], ...]
    shared: float
    documents: int | None = None
    writers: int = 16
    size_bytes: int = 2_000
    subscribers: int = 0


def document(writers: list[str], size_bytes: int, run: str) -> bytes:
    """Make a document in which each of these writers has a member, of about that size as JSON."""
    value: dict[str, Any] = {
        "run": run,
        "writers": {name: {"n": 0} for name in writers},
        "contested": [0] * CONTESTED,
        "list": [{"id": f"e{number}", "n": 0} for number in range(LIST_ITEMS)],
        "rows": {},
    }
    left = size_bytes - len(encode(value))
    value["rows"] = {
        f"r{number}": {"name": f"row {number}", "text": "x" * (ROW_BYTES - 40)}
        for number in range(max(0, left) // ROW_BYTES)
    }
    return encode(value)


async def _own(writer: Writer) -> None:
    """Set one's own member of a document of one's own."""
    await writer.edit(writer.random.choice(writer.own or writer.shared), _mine(writer))


async def _own_strictly(writer: Writer) -> None:
    await writer.edit(writer.random.choice(writer.own or writer.shared), _mine(writer), strict=True)


async def _hot(writer: Writer) -> None:
    """Set one's own member of a document that everybody edits."""
    await writer.edit(writer.random.choice(writer.shared), _mine(writer))


async def _contested(writer: Writer) -> None:
    """Set what others set too; where they were faster, again on what they set."""
    await writer.edit(writer.random.choice(writer.shared), _contended(writer))


async def _contested_and_settled(writer: Writer) -> None:
    """Set what others set too, and settle the conflict where there is one."""
    await writer.edit(writer.random.choice(writer.shared), _contended(writer), settle=True)


async def _shift(writer: Writer) -> None:
    """Mark an element of a list that everybody moves about, and move it to the top."""
    at = writer.random.randrange(1, LIST_ITEMS)
    moved = {"op": "move", "from": f"/list/{at}", "path": "/list/0"}
    await writer.edit(writer.random.choice(writer.shared), [_replace(f"/list/{at}/n", writer.value()), moved])


async def _read(writer: Writer) -> None:
    await writer.read(writer.random.choice(writer.shared))


async def _batch(writer: Writer) -> None:
    """Edit two documents at once."""
    places = list(dict.fromkeys((*writer.own[:1], writer.random.choice(writer.shared))))
    await writer.batch({place: _mine(writer) for place in places})


async def _queued(writer: Writer) -> None:
    """Let an edit be decided when its turn comes."""
    later = ("Prefer", "respond-async")
    await writer.edit(writer.random.choice(writer.shared), _mine(writer), fields=(later,))


async def _leased(writer: Writer) -> None:
    """Edit under a lease on one's own member."""
    place = writer.random.choice(writer.shared)
    await writer.lease(place, writer.member.removesuffix("/n"), _mine(writer))


def _mine(writer: Writer) -> Patch:
    return [_replace(writer.member, writer.value())]


def _contended(writer: Writer) -> Patch:
    return [_replace(f"/contested/{writer.random.randrange(CONTESTED)}", writer.value())]


def _replace(path: str, value: int) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


WORKLOADS: Final[Mapping[str, Workload]] = {
    "distinct": Workload("each writer edits documents of its own", ((_own, 1),), shared=0),
    "hot": Workload("all edit one document, each a member of its own", ((_hot, 1),), shared=1, documents=1),
    "overlapping": Workload(
        "all edit the same four places; a conflict is tried again on what was in the way",
        ((_contested, 1),),
        shared=1,
        documents=4,
    ),
    "large": Workload(
        "as distinct, with documents of 1 MB",
        ((_own, 1),),
        shared=0,
        documents=8,
        writers=8,
        size_bytes=1_000_000,
    ),
    "fan-out": Workload(
        "as hot, followed live by many", ((_hot, 1),), shared=1, documents=1, writers=4, subscribers=100
    ),
    "mixed": Workload(
        "all of it at once; moves, strict edits, settled conflicts, batches, queued edits, leases, reads",
        (
            (_own, 30),
            (_hot, 20),
            (_shift, 12),
            (_contested, 5),
            (_contested_and_settled, 5),
            (_own_strictly, 5),
            (_read, 8),
            (_batch, 5),
            (_queued, 5),
            (_leased, 5),
        ),
        shared=0.25,
        documents=20,
        subscribers=8,
    ),
}
