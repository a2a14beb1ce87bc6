"""What a quota promises: who asks often is refused for a while, and told for how long."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable

from plait_server.errors import QuotaExceeded
from simulation.chronicle import Violation


class Meter:
    """Watches the door of one process, by `clock`: seconds that nobody can set."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._moments: defaultdict[str, deque[float]] = defaultdict(deque)
        """When each caller was let in."""
        self._asked: Counter[str] = Counter()
        self._told: dict[str, tuple[float, int]] = {}
        """When a refused caller may come again, and how often he had been let in by then."""

    def let_in(self, caller: str, quota: int, window_s: float) -> None:
        """Note that a request may pass. Raises Violation where there are too many."""
        now, moments = self._clock(), self._moments[caller]
        self._asked[caller] += 1
        moments.append(now)
        while moments[0] <= now - window_s:
            moments.popleft()
        if len(moments) > 2 * quota:
            raise Violation("quota", f"{caller} was let in {len(moments)} times within {window_s} s")

    def asked_live(self, caller: str) -> None:
        """Note an edit over a live connection, which may have been let in."""
        self._asked[caller] += 1

    def refused(self, caller: str, refusal: QuotaExceeded) -> None:
        """Note for how long. Raises Violation where somebody waited as long as he was told, for nothing."""
        wait_s = refusal.members["retry_after_s"]
        assert isinstance(wait_s, int | float)
        now, asked = self._clock(), self._asked[caller]
        until, before = self._told.get(caller, (now + 1, 0))
        if now >= until and asked == before:
            raise Violation("quota", f"{caller} came again when he was told to, and was refused")
        self._told[caller] = now + wait_s, asked
