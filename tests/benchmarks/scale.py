"""How much is measured: all of it, less of it, or just enough to see that it runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of one run. Rounds are interleaved: each visits every case once."""

    rounds: int
    sample_s: float
    """How long one case is repeated in one round of the engine's benchmarks."""
    document_bytes: int
    """The large document."""
    members: int
    """Changed on each side."""
    items: int
    """Of the long array."""
    lag: int
    """Revisions; a tenth of them is the short lag."""
    server_rounds: int
    documents_each: int
    """Documents of each connection that has its own."""
    edits: int
    """Acknowledged in one round of the server's benchmarks."""
    size_edits: int
    """Of each document in the benchmark of document sizes."""
    open_documents: int
    waits_for_closing: bool
    subscribers: tuple[int, ...]
    messages: int
    """To each subscriber in one round."""
    deaf_edits: int
    history: int = 100_000
    """Revisions of one document."""


FULL = Scale(
    15,
    0.04,
    1_000_000,
    4_000,
    10_000,
    1_000,
    7,
    4,
    4_000,
    1_050,
    10_000,
    True,
    (1, 100, 1_000, 5_000),
    40,
    20_000,
)
QUICK = Scale(
    *(5, 0.01, 1_000_000, 4_000, 10_000, 1_000, 3, 2, 800, 75, 2_000, False, (1, 1_000), 20, 2_000),
    history=20_000,
)
TINY = Scale(1, 0.0, 10_000, 40, 200, 20, 1, 1, 40, 4, 20, False, (1, 20), 2, 20, history=2_000)
