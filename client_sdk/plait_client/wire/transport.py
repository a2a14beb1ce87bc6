"""One request to a decided answer: sent, judged, and where that may help sent again, byte for byte."""

import asyncio
import io
import math
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec
from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    InvalidURL,
    ServerFingerprintMismatch,
)
from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from plait_client.errors import (
    DeadlineExceeded,
    Problem,
    RetryQuotaSpent,
    TransportError,
    code_of,
    error_of,
)
from plait_client.events import Counters, Events, Retrying
from plait_client.wire.retry import (
    Bounds,
    Clock,
    Failed,
    Jittered,
    Kind,
    Retry,
    RetryQuota,
    Sleep,
    Uniform,
    kind_of,
    retry_after_s,
    too_late,
)
from plait_merge import ABSENT, Absent, Json

ANSWER_BYTES_MAX: Final = 67_108_864
COPIED_BYTES_MAX: Final = 1_048_576
"""Longer bodies are handed over as a stream, so that writing one does not hold up the loop."""

_UNDECIDED: Final = frozenset((401, 403, 408, 423, 425, 429))
"""4xx that say nothing about an earlier attempt of the same edit: they come before the key is looked up."""
_OWN: Final = frozenset((404, 409, 410, 412, 422, 423, 428))
"""4xx that mean something only if they come from the server itself, not from something in between."""


Shape = TypeVar("Shape")


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, the same at every attempt. `path` begins at the server's root: `/v1/docs/orders/7`.

    A write is sent again only if its headers hold an Idempotency-Key, or if it surely did not arrive.
    Raises ValueError for a path that could lead to another server.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if not re.match(r"/(?![/\\])", self.path):
            raise ValueError(f"{self.path!r} is no path of the server.")
        object.__setattr__(self, "headers", MappingProxyType(dict(self.headers)))

    @property
    def is_write(self) -> bool:
        return self.method not in ("GET", "HEAD")

    @property
    def is_repeatable(self) -> bool:
        return not self.is_write or any(name.lower() == "idempotency-key" for name in self.headers)


@dataclass(frozen=True, slots=True)
class Answer:
    """A success, or 304. `headers` are looked up whatever their case; `attempts` is what it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    attempts: int
    content: Json | Absent = field(default=ABSENT, repr=False)

    def json(self) -> Json:
        """The decoded body, the same object every time. Raises ValueError where there was none."""
        if isinstance(self.content, Absent):
            raise ValueError("The answer has no body.")
        return self.content

    def read_as(self, shape: type[Shape]) -> Shape:
        """Read the body as what it should be. Raises TransportError for what it is not."""
        try:
            return msgspec.convert(self.json(), shape)
        except ValueError as error:  # a ValidationError is one
            raise TransportError(f"The answer is not what the contract says: {error}.") from error

    @property
    def revision(self) -> int | None:
        """The revision that the answer names in Plait-Revision."""
        said = self.headers.get("Plait-Revision", "")
        return int(said) if re.fullmatch("[0-9]{1,18}", said) else None

    @property
    def etag(self) -> str | None:
        """The tag as it was sent, quotes and all."""
        return self.headers.get("ETag")


class Transport:
    """Sends requests through a session that somebody else opens and closes.

    The session has a base URL. `clock` is monotonic, in seconds; `now` is seconds since 1970, for
    Retry-After dates; `sleep` and `uniform` are there for tests. All requests share one `quota`. The
    session no longer repeats anything by itself.
    """

    def __init__(
        self,
        session: ClientSession,
        retry: Retry | None = None,
        quota: RetryQuota | None = None,
        *,
        events: Events | None = None,
        counters: Counters | None = None,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        clock: Clock = time.monotonic,
        now: Clock = time.time,
        sleep: Sleep = asyncio.sleep,
        uniform: Uniform = random.uniform,
    ) -> None:
        # aiohttp repeats GET, PUT and DELETE once by itself where a connection breaks, at once and uncounted;
        # there is no public way to tell it not to.
        session._retry_connection = False
        self.session = session
        self.retry = retry or Retry()
        self.quota = quota or RetryQuota()
        self.events = events or Events()
        self.counters = counters or Counters()
        self.answer_bytes_max = answer_bytes_max
        self.clock = clock
        self.now = now
        self.sleep = sleep
        self.uniform = uniform

    async def send(self, request: Request, *, deadline_s: float | None = None) -> Answer:
        """Send until there is an answer that decides, and give it if it is a success or 304.

        Raises a PlaitError for anything else. `deadline_s` from now is the end of it, the policy's if
        None. A task cancelled here leaves no connection half used and no tokens taken.
        """
        self.counters.requests += 1
        seconds = self.retry.deadline_s if deadline_s is None else deadline_s
        outcome = await _Sending(self, request, self.clock() + seconds).outcome()
        if isinstance(outcome, Failed):
            raise outcome.error
        return outcome


class _Sending:
    """One request on its way: what its attempts have in common."""

    def __init__(self, transport: Transport, request: Request, deadline: float) -> None:
        self._transport = transport
        self._retry = transport.retry
        self._quota = transport.quota
        self._counters = transport.counters
        self._request = request
        self._deadline = deadline
        self._attempts = 0
        self._last: Failed | None = None
        self._may_have_arrived = False

    async def outcome(self) -> Answer | Failed:
        """Send once, and by the rules again as often as that may help.

        Most requests succeed at once: only the others pay for what tells when to send again.
        """
        first = await self._attempt()
        outcome = await self._retried(first) if _may_be_sent_again(first) else first
        if isinstance(outcome, Failed):
            self._counters.deadlines += isinstance(outcome.error, DeadlineExceeded)
            self._counters.quota_spent += isinstance(outcome.error, RetryQuotaSpent)
        return outcome

    async def _retried(self, first: Answer | Failed) -> Answer | Failed:
        """Go on after a first attempt that failed; it counts as one."""
        made = [first]

        async def attempt() -> Answer | Failed:
            return made.pop() if made else await self._attempt()

        bounds = Bounds(self._retry, self._quota, self._deadline, self._transport.clock)
        retrying = AsyncRetrying(
            retry=retry_if_result(_may_be_sent_again),
            wait=Jittered(self._retry, self._transport.uniform),
            stop=bounds,
            before_sleep=self._announce,
            sleep=self._sleep,
            retry_error_callback=bounds.failed,
        )
        outcome: Answer | Failed = await retrying(attempt)
        return outcome

    async def _attempt(self) -> Answer | Failed:
        left_s = self._deadline - self._transport.clock()
        if left_s <= 0:  # also where the loop stood still for longer than it was asked to sleep
            if self._last is None:
                return Failed(too_late(None))
            self._take_back()
            return Failed(too_late(self._last.error))
        self._attempts += 1
        self._counters.attempts += 1
        outcome = await self._exchange(left_s)
        if isinstance(outcome, Failed):
            return self._noted(outcome)
        self._take_back()
        return outcome

    def _take_back(self) -> None:
        """Give the quota its due: the server works, or the retry was not made after all."""
        self._quota.give_back(None if self._last is None else self._last.kind)

    async def _exchange(self, left_s: float) -> Answer | Failed:
        attempt_s = min(self._retry.attempt_timeout_s, left_s)
        timeout = ClientTimeout(total=None, sock_connect=min(self._retry.connect_timeout_s, attempt_s))
        try:
            async with (
                asyncio.timeout(attempt_s),
                self._transport.session.request(
                    self._request.method,
                    self._request.path,
                    data=_payload(self._request.body),
                    headers=self._headers(left_s),
                    allow_redirects=False,
                    timeout=timeout,
                ) as response,
            ):
                return await self._judge(response)
        except (ClientError, OSError) as error:  # a TimeoutError is an OSError
            return self._fault(error)

    def _headers(self, left_s: float) -> dict[str, str]:
        headers = {**self._request.headers, "Plait-Attempt": f"{self._attempts}/{self._retry.attempts}"}
        if math.isfinite(left_s):
            headers["Plait-Deadline-Ms"] = str(max(1, round(left_s * 1_000)))
        return headers

    async def _judge(self, response: ClientResponse) -> Answer | Failed:
        body = await _read(response, self._transport.answer_bytes_max)
        if body is None:
            limit = f"answer_bytes_max ({self._transport.answer_bytes_max})"
            return self._unusable(f"The answer is longer than {limit} allows.")
        if not (200 <= response.status < 300 or response.status == 304):
            return self._failure(response, body)
        if response.status in (204, 304) or self._request.method == "HEAD":
            return Answer(response.status, response.headers, body, self._attempts)
        content = _decoded(response, body)
        if content is ABSENT:
            return self._unusable(f"The answer, of type {response.content_type}, is no JSON.", Kind.FAULT)
        return Answer(response.status, response.headers, body, self._attempts, content)

    def _failure(self, response: ClientResponse, body: bytes) -> Failed:
        """Judge an answer that is no success."""
        status, headers = response.status, response.headers
        should_retry = headers.get("Plait-Should-Retry")
        problem = _problem(response, body)
        if status < 400:
            return Failed(TransportError(f"The server answered {status}, and no redirection is followed."))
        if should_retry is not None and problem is None and self._request.method != "HEAD":
            return self._unusable(f"The answer, of status {status}, is not whole.", Kind.FAULT)
        if should_retry is None and status in _OWN:
            return Failed(TransportError(f"Something before the server answered with status {status}."))
        kind = kind_of(status, code_of(problem), should_retry)
        error = error_of(status, problem, request_id=headers.get("X-Request-Id"))
        error.outcome_unknown = self._request.is_write and _may_be_done(status, kind, should_retry)
        if kind is None and 400 <= status < 500 and status not in _UNDECIDED:
            self._may_have_arrived = False  # the key was looked up: nothing of this edit is in effect
            self._take_back()
        return Failed(error, kind, retry_after_s(headers, self._transport.now()))

    def _fault(self, error: Exception) -> Failed:
        """Judge an exception on the way."""
        permanent = isinstance(
            error, InvalidURL | ClientConnectorCertificateError | ServerFingerprintMismatch
        )
        arrived = not (permanent or isinstance(error, ClientConnectorError | ConnectionTimeoutError))
        failed = self._unusable(_said(error), None if permanent else Kind.FAULT, arrived)
        failed.error.__cause__ = error
        return failed

    def _unusable(self, detail: str, kind: Kind | None = None, arrived: bool = True) -> Failed:
        return Failed(TransportError(detail, outcome_unknown=arrived and self._request.is_write), kind)

    def _noted(self, failed: Failed) -> Failed:
        """Complete what one attempt came to by what the ones before it came to."""
        error = failed.error
        error.attempts = self._attempts
        self._may_have_arrived = self._may_have_arrived or error.outcome_unknown
        error.outcome_unknown = self._may_have_arrived
        self._counters.faults += failed.kind is Kind.FAULT
        self._counters.throttles += failed.kind is Kind.THROTTLE
        if self._may_have_arrived and not self._request.is_repeatable:
            failed = Failed(error)
        self._last = failed
        return failed

    def _announce(self, state: RetryCallState) -> None:
        assert self._last is not None
        self._counters.retries += 1
        self._transport.events.retrying(
            Retrying(
                self._request.method,
                self._request.path,
                state.attempt_number + 1,
                self._retry.attempts,
                state.upcoming_sleep,
                self._last.error,
            )
        )

    async def _sleep(self, seconds: float) -> None:
        try:
            await self._transport.sleep(float(seconds))
        except BaseException:
            self._take_back()
            raise


def _may_be_sent_again(outcome: Answer | Failed) -> bool:
    return isinstance(outcome, Failed) and outcome.kind is not None


def _may_be_done(status: int, kind: Kind | None, should_retry: str | None) -> bool:
    """Tell whether an edit may be in effect that was answered like this.

    The server's own 503 says that nothing was changed; a 409 that asks for patience says that the first
    attempt still runs.
    """
    if status == 503:
        return should_retry is None
    return status >= 500 or (status == 409 and kind is not None)


def _payload(body: bytes) -> bytes | io.BytesIO | None:
    if len(body) > COPIED_BYTES_MAX:
        return io.BytesIO(body)
    return body or None


async def _read(response: ClientResponse, bytes_max: int) -> bytes | None:
    """Read the body, None if it is longer than that."""
    chunks = []
    left = bytes_max
    async for chunk in response.content.iter_any():
        left -= len(chunk)
        if left < 0:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _problem(response: ClientResponse, body: bytes) -> Problem | None:
    content = _decoded(response, body)
    return content if isinstance(content, dict) else None


def _decoded(response: ClientResponse, body: bytes) -> Json | Absent:
    """Decode the body; ABSENT where it is not JSON, or does not say so."""
    if response.content_type != "application/json" and not response.content_type.endswith("+json"):
        return ABSENT
    try:
        content: Json = msgspec.json.decode(body)
    except (ValueError, RecursionError):  # of msgspec, both for what is no JSON and for numbers out of range
        return ABSENT
    return content


def _said(error: Exception) -> str:
    return str(error) or "The answer took too long."
