"""When a request is sent again, after how long, and when no more: the rules, as objects for tenacity.

Transport retry only: the same bytes under the same key. Running a function again on fresh data is
another loop (`Document.update`) and makes a new edit each time.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final, TypeVar

from tenacity import RetryCallState
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from plait_client.errors import DeadlineExceeded, PlaitError, RetryQuotaSpent

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[object]]
Uniform = Callable[[float, float], float]
Caused = TypeVar("Caused", bound=PlaitError)

DOUBLINGS_MAX: Final = 64
"""Far above every cap; a power of two that grows for ever would overflow one day."""


class Kind(Enum):
    """Why an attempt that may be made again failed. The value is what a retry takes from the quota."""

    FAULT = 14
    THROTTLE = 5


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt without a usable answer. `kind` is None where sending it again is out of the question.

    `retry_after_s` is the least time the server wants to be left alone.
    """

    error: PlaitError
    kind: Kind | None = None
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Retry:
    """How hard a client tries.

    A request is sent `attempts` times at most within `deadline_s` (which may be `math.inf`); an attempt
    gets `attempt_timeout_s`, of which connecting may take `connect_timeout_s`. Waits are drawn from
    0 to `base * 2**n`, the cap at most: from `fault_base_s` after a fault, `throttle_base_s` after 429
    and 503, `contention_base_s` where `update` was overtaken. Raises ValueError for what makes no sense.
    """

    attempts: int = 4
    deadline_s: float = 30.0
    attempt_timeout_s: float = 10.0
    connect_timeout_s: float = 5.0
    fault_base_s: float = 0.05
    throttle_base_s: float = 1.0
    cap_s: float = 8.0
    contention_base_s: float = 0.01
    contention_cap_s: float = 1.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("attempts must be 1 or more.")
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0.")

    def wait_s(self, failed: Failed, attempt: int, uniform: Uniform) -> float:
        """Draw the wait after attempt number `attempt`, the first being 1."""
        base_s = self.throttle_base_s if failed.kind is Kind.THROTTLE else self.fault_base_s
        return failed.retry_after_s + full_jitter(base_s, attempt - 1, self.cap_s, uniform)

    def contention_wait_s(self, attempt: int, uniform: Uniform) -> float:
        """Draw the wait after a function was overtaken for the `attempt`th time, the first being 1."""
        return full_jitter(self.contention_base_s, attempt - 1, self.contention_cap_s, uniform)


def full_jitter(base_s: float, n: int, cap_s: float, uniform: Uniform) -> float:
    """Draw between 0 and `base_s * 2**n`, `cap_s` at most.

    Nothing is clamped afterwards: a lower bound would make those who failed together come back together.
    """
    return uniform(0.0, min(cap_s, base_s * 2 ** min(n, DOUBLINGS_MAX)))


class RetryQuota:
    """How many retries one client may make, over all its requests, while little succeeds.

    A retry takes 14 tokens after a fault, 5 after a throttle. The success of a retry gives back what
    that retry took, the success of a first attempt gives back one. So an outage costs about 35 retries
    and then one attempt for each request, not four. Not thread-safe: a client lives in one loop.
    """

    def __init__(self, tokens: int = 500) -> None:
        self._most = tokens
        self._tokens = tokens

    @property
    def tokens(self) -> int:
        return self._tokens

    def take(self, kind: Kind) -> bool:
        """Take the tokens for a retry; False, and none taken, where there are too few."""
        if self._tokens < kind.value:
            return False
        self._tokens -= kind.value
        return True

    def give_back(self, kind: Kind | None) -> None:
        """Note a success, or that a retry was not made after all; `kind` as it was taken, None for none."""
        self._tokens = min(self._most, self._tokens + (1 if kind is None else kind.value))


def kind_of(status: int, code: str, should_retry: str | None) -> Kind | None:
    """Tell whether the same request may be sent again after this answer, None where it must not.

    `should_retry` is the Plait-Should-Retry header: `false` is a veto on any status, and a 409 needs
    its `true`. A merge conflict is decided, whatever else is said.
    """
    said = (should_retry or "").strip().lower()
    if said == "false" or code == "merge-conflict":
        return None
    if status in (429, 503):
        return Kind.THROTTLE
    if status in (408, 425, 502, 504) or (status == 409 and said == "true"):
        return Kind.FAULT
    return None


def retry_after_s(headers: Mapping[str, str], now: float) -> float:
    """Read Retry-After, seconds or an HTTP date, as seconds from now; 0 where it is missing or nonsense.

    A date is compared with the answer's own Date, so that a wrong clock on either side does not matter;
    `now`, in seconds since 1970, stands in where there is none.
    """
    said = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+", said):
        return float(said)
    until = _moment(said)
    if until is None:
        return 0.0
    answered = _moment(headers.get("Date", ""))
    return max(0.0, until - (now if answered is None else answered))


def _moment(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        return _in_utc(moment).timestamp()
    except (ValueError, OverflowError):
        return None


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class Bounds(stop_base):
    """Stops at the last attempt, at the deadline, or at the end of the quota, and tells as what error."""

    def __init__(self, retry: Retry, quota: RetryQuota, deadline: float, clock: Clock) -> None:
        self._retry = retry
        self._quota = quota
        self._deadline = deadline
        self._clock = clock
        self._error: PlaitError | None = None

    def __call__(self, state: RetryCallState) -> bool:
        self._error = self._reason(_failed(state), state.attempt_number, state.upcoming_sleep)
        return self._error is not None

    def failed(self, state: RetryCallState) -> Failed:
        """What a request that is sent no more comes to."""
        assert self._error is not None
        return Failed(self._error)

    def _reason(self, failed: Failed, attempt: int, wait_s: float) -> PlaitError | None:
        if attempt >= self._retry.attempts:
            return failed.error
        if self._clock() + wait_s >= self._deadline:
            return too_late(failed.error)
        assert failed.kind is not None
        if not self._quota.take(failed.kind):
            return _caused(RetryQuotaSpent, "Too much fails already to try again", failed.error)
        return None


def too_late(cause: PlaitError | None) -> DeadlineExceeded:
    """Say that there is no time for another attempt; `cause` is what the last one came to."""
    if cause is None:
        return DeadlineExceeded("There was no time for even one attempt.")
    return _caused(DeadlineExceeded, "There is no time to try again", cause)


def _caused(kind: type[Caused], said: str, cause: PlaitError) -> Caused:
    error = kind(
        f"{said}: {cause.detail}",
        problem=cause.problem,
        request_id=cause.request_id,
        attempts=cause.attempts,
        outcome_unknown=cause.outcome_unknown,
    )
    error.__cause__ = cause
    return error


class Jittered(wait_base):
    """Waits as the rules of a `Retry` say."""

    def __init__(self, retry: Retry, uniform: Uniform) -> None:
        self._retry = retry
        self._uniform = uniform

    def __call__(self, state: RetryCallState) -> float:
        return self._retry.wait_s(_failed(state), state.attempt_number, self._uniform)


def _failed(state: RetryCallState) -> Failed:
    assert state.outcome is not None
    failed: Failed = state.outcome.result()
    return failed
