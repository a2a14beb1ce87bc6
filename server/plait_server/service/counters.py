"""The counters of quotas in this process: bounded, and by a clock that only goes forward."""

from collections import OrderedDict
from collections.abc import Callable

from limits.aio.storage import MemoryStorage
from msgspec import Struct


class _Counter(Struct):
    """Requests in the window that began at `begun`, and in the one before it."""

    begun: float
    current: int = 0
    previous: int = 0

    def advance(self, window_s: int, now: float) -> None:
        """Begin a new window where this one is over; also where the clock was set back."""
        passed_s = now - self.begun
        if window_s <= passed_s < 2 * window_s:
            self.begun, self.current, self.previous = self.begun + window_s, 0, self.current
        elif not 0 <= passed_s < window_s:
            self.begun, self.current, self.previous = now, 0, 0


class Counters(MemoryStorage):
    """A storage of the `limits` library for quotas whose window slides.

    The library's own walks through all counters at every hit, goes by the wall clock, which may be set, and
    keeps a counter for every name that anybody invents. Here a hit costs the same however many there are,
    and beyond `counters_max` the longest unused one is forgotten: its owner begins anew, as he would under
    another name. A window begins with a name's first request, so that not everybody's ends at once.
    """

    def __init__(self, counters_max: int, clock: Callable[[], float]) -> None:
        super().__init__()
        self._counters_max = counters_max
        self._clock = clock
        self._counters: OrderedDict[str, _Counter] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counters)

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = self._clock()
        counter = self._counters.get(key)
        if counter is None:
            counter = self._begin(key, now)
        else:
            self._counters.move_to_end(key)
            counter.advance(expiry, now)
        rest = 1 - (now - counter.begun) / expiry
        if int(counter.previous * rest + counter.current) + amount > limit:
            return False
        counter.current += amount
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Give the requests of the window before this one and for how long they count, and those of this
        one and for how long they count."""
        counter = self._counters.get(key)
        if counter is None:
            return 0, 0, 0, 0
        now = self._clock()
        counter.advance(expiry, now)
        rest_s = expiry - (now - counter.begun)
        return counter.previous, rest_s, counter.current, rest_s + expiry

    def _begin(self, key: str, now: float) -> _Counter:
        counter = self._counters[key] = _Counter(now)
        if len(self._counters) > self._counters_max:
            self._counters.popitem(last=False)
        return counter
