"""How often somebody may ask: quotas by caller and by tenant, counted before anything else is done.

A quota is so many requests in a window that slides: what was asked in the window before this one counts for
as much of it as lies in the last so many seconds. Who was quiet may ask for a whole quota at once and then at
the quota's pace, which is what a token bucket of that size gives, for two numbers a caller. The notation and
the storages are those of the `limits` library; the one in memory is `counters`.
"""

import logging
import math
from collections.abc import Callable, Iterator
from typing import Final, Literal

from limits import RateLimitItem, parse_many
from limits.aio.storage import SlidingWindowCounterSupport
from limits.errors import StorageError
from limits.storage import storage_from_string
from msgspec import Struct

from plait_server.errors import QuotaExceeded
from plait_server.service.counters import Counters
from plait_server.service.limits import IN_MEMORY, Rates
from plait_server.service.request import Caller

Scope = Literal["caller", "tenant"]

JITTER: Final = 0.25
JITTER_S_MIN: Final = 2
"""Those who were refused together are told to wait up to so much longer, at random."""

log = logging.getLogger(__name__)


class Policy(Struct, frozen=True):
    """So many requests, or only writes, in `window_s` seconds: of each caller, or of all of a tenant."""

    name: str
    scope: Scope
    writes_only: bool
    quota: int
    window_s: int

    def key(self, caller: Caller, peer: str) -> str:
        """Name whose requests are counted together. No two tenants can come to the same name."""
        tenant = f"{self.name}/{len(caller.tenant)}:{caller.tenant}"
        if self.scope == "tenant":
            return tenant
        return f"{tenant}={caller.subject}" if caller.subject else f"{tenant}@{peer}"


class Standing(Struct, frozen=True):
    """How many requests a policy leaves to somebody; he gets no more within `reset_s` seconds."""

    policy: str
    remaining: int
    reset_s: int


class Quotas:
    """The quotas of everybody."""

    def __init__(
        self, rates: Rates, clock: Callable[[], float], random_bytes: Callable[[int], bytes]
    ) -> None:
        """`rates` are as the settings allow them; `clock` gives seconds that only go forward, for counters in
        memory."""
        self.policies = tuple(_policies(rates))
        self._storage = _storage(rates, clock)
        self._random_bytes = random_bytes
        self._counts = True

    async def take(self, caller: Caller, peer: str, *, writes: bool) -> None:
        """Count one request. `peer` says from where it came, for callers without a name.

        Raises QuotaExceeded. A request that is refused by one quota does not count for those after it: the
        caller's come before the tenant's. Where the storage fails, everybody may pass.
        """
        acquire = self._storage.acquire_sliding_window_entry
        try:
            for policy in self.policies:
                if (writes or not policy.writes_only) and not await acquire(
                    policy.key(caller, peer), policy.quota, policy.window_s
                ):
                    raise self._exceeded(policy, await self._standing(policy, caller, peer))
        except StorageError as error:
            self._not_counted(error)
        else:
            self._counts = True

    async def standings(self, caller: Caller, peer: str) -> list[Standing]:
        """Say how the caller stands with every quota; nothing where the storage fails."""
        try:
            return [await self._standing(policy, caller, peer) for policy in self.policies]
        except StorageError as error:
            self._not_counted(error)
            return []

    async def _standing(self, policy: Policy, caller: Caller, peer: str) -> Standing:
        window_s = policy.window_s
        found = await self._storage.get_sliding_window(policy.key(caller, peer), window_s)
        previous, previous_rest_s, current, current_rest_s = found
        remaining = max(0, policy.quota - int(previous * previous_rest_s / window_s + current))
        reset_s = float(window_s)
        if current:
            reset_s = current_rest_s - window_s
        if previous:
            # The next one leaves the window when what is left of it weighs one less.
            reset_s = min(reset_s, previous_rest_s % (window_s / previous))
        return Standing(policy.name, remaining, max(1, math.ceil(reset_s)))

    def _exceeded(self, policy: Policy, standing: Standing) -> QuotaExceeded:
        part = int.from_bytes(self._random_bytes(2), "big") / 65_536
        longer_s = 1 + int(part * max(JITTER_S_MIN, JITTER * standing.reset_s))
        who = "You have" if policy.scope == "caller" else "The callers of your tenant together have"
        what = "writes" if policy.writes_only else "requests"
        return QuotaExceeded(
            f"{who} {policy.quota} {what} in {policy.window_s} s.",
            {
                "limit": policy.name,
                "maximum": policy.quota,
                "window_s": policy.window_s,
                "violated-policies": [policy.name],
                "retry_after_s": standing.reset_s + longer_s,
            },
        )

    def _not_counted(self, error: StorageError) -> None:
        if self._counts:
            log.warning("Requests are not counted, because the storage of the counters fails: %s", error)
        self._counts = False


def _policies(rates: Rates) -> Iterator[Policy]:
    """Name every quota that is set: those of a caller first, then by how long their windows are."""
    written: tuple[tuple[Scope, bool, str], ...] = (
        ("caller", True, rates.caller_writes),
        ("caller", False, rates.caller),
        ("tenant", True, rates.tenant_writes),
        ("tenant", False, rates.tenant),
    )
    for scope, writes_only, text in written:
        for item in sorted(parse_many(text), key=RateLimitItem.get_expiry) if text else ():
            window_s = item.get_expiry()
            name = f"{scope}-writes-{window_s}s" if writes_only else f"{scope}-{window_s}s"
            yield Policy(name, scope, writes_only, item.amount, window_s)


def _storage(rates: Rates, clock: Callable[[], float]) -> SlidingWindowCounterSupport:
    if rates.storage == IN_MEMORY:
        return Counters(rates.counters_max, clock)
    storage = storage_from_string(rates.storage, wrap_exceptions=True)
    assert isinstance(storage, SlidingWindowCounterSupport)
    return storage
