"""A batch of ten documents, next to edits of one: server CPU for each request."""

import asyncio
from collections.abc import Iterator, Sequence
from statistics import median

from .load import Place
from .quiet import PLACE, documents, places
from .rounds import note
from .row import Row
from .scale import Scale
from .subject import Sample, cpu_ratio, create, disk_folder, plait

CONNECTIONS = 16
DOCUMENTS = 10
AIM = 4.0


class Group(Place):
    """One place in each of some documents, edited together; nobody else edits them."""

    def __init__(self, names: Sequence[str], pointer: str) -> None:
        super().__init__(names[0], pointer)
        edits = b",".join(
            b'{"document":"%b","patch":[{"op":"replace","path":"%b","value":%%(value)d}],"base":%%(base)d}'
            % (name.encode(), pointer.encode())
            for name in names
        )
        self._body = b'{"edits":[' + edits + b"]}"

    def request(self) -> bytes:
        self.attempts += 1
        self.value += 1
        body = self._body % {b"value": self.value, b"base": self.revision}
        head = b"POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)

    def answered(self, status: int, revision: int) -> bool:
        return super().answered(status, self.revision + 1)


def batch(scale: Scale) -> Iterator[Row]:
    """Edits of ten documents in one batch, against single edits."""
    yield from asyncio.run(_batch(scale))


async def _batch(scale: Scale) -> list[Row]:
    single: list[Sample] = []
    batched: list[Sample] = []
    with disk_folder() as folder:
        async with plait(folder / "plait") as subject:
            everything = documents(DOCUMENTS)
            await create(subject, everything)
            names = list(everything)
            singles = places(DOCUMENTS)[:CONNECTIONS]
            offset = CONNECTIONS * DOCUMENTS
            batches = [
                [Group(names[first : first + DOCUMENTS], PLACE)]
                for first in range(offset, 2 * offset, DOCUMENTS)
            ]
            for _ in range(scale.server_rounds):
                note(".")
                single.append(await subject.measure(singles, scale.edits))
                batched.append(await subject.measure(batches, max(CONNECTIONS, scale.edits // DOCUMENTS)))
    each = median(sample.cpu_us for sample in batched)
    return [
        Row(f"CPU a batch of {DOCUMENTS} documents, to a single edit", cpu_ratio(batched, single), "x", AIM),
        Row("CPU a batch", each, "µs"),
        Row("CPU a document of a batch", each / DOCUMENTS, "µs"),
        Row("CPU a single edit", median(sample.cpu_us for sample in single), "µs"),
    ]
