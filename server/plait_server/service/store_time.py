"""The time of a store: it passes while the store is served, and nobody can set it.

What is kept for a time (answers to idempotency keys, conflicts, what came of queued edits) is kept by it. The
clock on the wall may step: what was promised for a day would be over at once.
"""

from collections.abc import Callable

from msgspec import Struct


class StoreTime(Struct, frozen=True):
    """Milliseconds, that began as those since 1970 and stand still where nobody serves the store."""

    monotonic: Callable[[], float]
    """Seconds that only go forward."""
    ahead_s: float
    """How far it is ahead of `monotonic`."""
    behind_ms: int
    """How far it was behind the clock on the wall at the start."""

    def now(self) -> int:
        return int((self.monotonic() + self.ahead_s) * 1000)

    def on_the_wall(self, moment: int) -> int:
        """Say when a moment is by the clock on the wall, unless that was set since the start."""
        return moment + self.behind_ms


def store_time(noted: int, clock: Callable[[], float], monotonic: Callable[[], float]) -> StoreTime:
    """Go on from when it was `noted` last; 0: never, so that it begins as the clock on the wall."""
    wall = int(clock() * 1000)
    begun = noted or wall
    return StoreTime(monotonic, begun / 1000 - monotonic(), wall - begun)
