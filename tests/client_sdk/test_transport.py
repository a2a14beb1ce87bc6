"""A request gets its answer, exactly once, or an error that says what is known: whatever the network does."""

import asyncio
import gzip
import math
import re
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession

from plait_client.errors import (
    DeadlineExceeded,
    Forbidden,
    InvalidPatch,
    NotFound,
    Overlapped,
    PlaitError,
    PreconditionFailed,
    RateLimited,
    RetryQuotaSpent,
    TransportError,
)
from plait_client.events import Counters, Events, Retrying
from plait_client.wire.request import new_key
from plait_client.wire.retry import Kind, Retry, RetryQuota
from plait_client.wire.transport import Answer, Request, Transport
from simulation.faulty_proxy import PROCESSED, Fault, FaultyProxy, end, scripted

Through = Callable[..., Awaitable[tuple[ClientSession, FaultyProxy]]]
PATH = "/v1/docs/orders/7"
IMPATIENT = Retry(attempt_timeout_s=0.1)
"""For what never answers: the time of an attempt is real time, all waits are not."""
FAULTS = [fault for fault in Fault if fault not in (Fault.PASS, Fault.DELAY)]
THROTTLES = {Fault.PLAIN_429: 1.0, Fault.PLAIN_503: 1.0, Fault.LATER_429: 2.0, Fault.LATER_503: 2.0}
"""The longest first wait after each: the jitter's, on top of the second that is asked for."""


class Time:
    """A clock that only sleeping moves, and what was slept."""

    def __init__(self, overslept_s: float = 0.0) -> None:
        self.now_s = 1_000.0
        self.waits: list[float] = []
        self._overslept_s = overslept_s

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds + self._overslept_s


def longest(low: float, high: float) -> float:
    return high


def transport(
    session: ClientSession, retry: Retry = IMPATIENT, time: Time | None = None, **given: Any
) -> Transport:
    time = time or Time()
    return Transport(session, retry, clock=time.clock, sleep=time.sleep, uniform=longest, **given)


def create(value: object) -> Request:
    return Request(
        "PUT", PATH, {"Content-Type": "application/json", "If-None-Match": "*"}, msgspec.json.encode(value)
    )


def append(item: str, key: str = "k1") -> Request:
    body = {"patch": [{"op": "add", "path": "/log/-", "value": item}]}
    headers = {"Content-Type": "application/vnd.plait.edit+json", "Idempotency-Key": f'"{key}"'}
    return Request("PATCH", PATH, headers, msgspec.json.encode(body))


async def log_of(client: ClientSession) -> Any:
    content: Any = (await transport(client).send(Request("GET", PATH))).json()
    return content["log"]


@pytest.fixture
async def document(client: ClientSession) -> ClientSession:
    """A client of a server that has an empty log."""
    await transport(client).send(create({"log": []}))
    return client


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_edit_that_meets_a_fault_lands_once(
    document: ClientSession, through: Through, fault: Fault
) -> None:
    session, _ = await through(scripted(fault))
    time, counters = Time(), Counters()
    answer = await transport(session, time=time, counters=counters).send(append("a"))
    assert await log_of(document) == ["a"]
    assert answer.attempts == 2
    assert time.waits == [THROTTLES.get(fault, 0.05)]
    assert ("Idempotency-Replayed" in answer.headers) == (fault in PROCESSED)
    assert (counters.requests, counters.attempts, counters.retries) == (1, 2, 1)
    assert (counters.faults, counters.throttles) == ((0, 1) if fault in THROTTLES else (1, 0))


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_edit_that_only_meets_faults_raises_and_says_that_it_may_have_arrived(
    document: ClientSession, through: Through, fault: Fault
) -> None:
    session, _ = await through(scripted(*[fault] * 4))
    time = Time()
    with pytest.raises(RateLimited if "429" in fault.value else TransportError) as raised:
        await transport(session, time=time).send(append("a"))
    landed = await log_of(document)
    assert landed == (["a"] if fault in PROCESSED else [])
    assert raised.value.attempts == 4
    assert len(time.waits) == 3
    assert raised.value.outcome_unknown or not landed
    assert raised.value.outcome_unknown == (fault not in (Fault.PLAIN_429, Fault.LATER_429))


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_read_never_leaves_anything_unknown(
    document: ClientSession, through: Through, fault: Fault
) -> None:
    session, _ = await through(scripted(*[fault] * 4))
    with pytest.raises(PlaitError) as raised:
        await transport(session).send(Request("GET", PATH))
    assert not raised.value.outcome_unknown


async def test_a_late_answer_is_an_answer(document: ClientSession, through: Through) -> None:
    session, _ = await through(scripted(Fault.DELAY))
    assert (await transport(session).send(append("a"))).attempts == 1


async def test_every_attempt_is_the_same_bytes(document: ClientSession, through: Through) -> None:
    """Save for the two headers that count the attempts and what is left of the time."""
    session, proxy = await through(scripted(Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.HTML_502))
    await transport(session).send(append("a"))
    counted = ("plait-attempt", "plait-deadline-ms")
    said = [[seen.head.headers[name] for name in counted] for seen in proxy.seen]
    assert said == [["1/4", "30000"], ["2/4", "29950"], ["3/4", "29850"], ["4/4", "29650"]]
    rest = [{**seen.head.headers, **dict.fromkeys(counted, "")} for seen in proxy.seen]
    assert rest == [rest[0]] * 4
    assert {seen.body for seen in proxy.seen} == {append("a").body}


async def test_listeners_hear_of_each_retry_and_cannot_break_it(
    document: ClientSession, through: Through, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Retrying] = []

    def fails(retrying: Retrying) -> None:
        heard.append(retrying)
        raise RuntimeError("a listener's own mistake")

    session, _ = await through(scripted(Fault.HTML_502, Fault.PLAIN_503))
    await transport(session, events=Events(on_retry=fails)).send(append("a"))
    assert [(one.attempt, one.attempts, one.wait_s) for one in heard] == [(2, 4, 0.05), (3, 4, 2.0)]
    assert "a listener's own mistake" in caplog.text


async def test_a_wait_that_passes_the_deadline_is_not_begun(
    document: ClientSession, through: Through
) -> None:
    session, _ = await through(scripted(*[Fault.LATER_503] * 4))
    time = Time()
    with pytest.raises(DeadlineExceeded) as raised:
        await transport(session, time=time).send(append("a"), deadline_s=4.0)
    assert time.waits == [2.0]
    assert raised.value.attempts == 2
    assert isinstance(raised.value.__cause__, TransportError)


async def test_time_that_passed_unseen_is_no_time_for_another_attempt(
    document: ClientSession, through: Through
) -> None:
    """A loop that stood still, a laptop that slept: the wait ends long after the deadline."""
    session, proxy = await through(scripted(Fault.CUT_AFTER))
    quota = RetryQuota()
    with pytest.raises(DeadlineExceeded) as raised:
        await transport(session, time=Time(overslept_s=3_600), quota=quota).send(append("a"))
    assert len(proxy.seen) == raised.value.attempts == 1
    assert raised.value.outcome_unknown
    assert quota.tokens == 500


@pytest.mark.parametrize("deadline_s", [0, -1])
async def test_no_time_is_no_attempt(document: ClientSession, through: Through, deadline_s: float) -> None:
    session, proxy = await through(scripted())
    with pytest.raises(DeadlineExceeded) as raised:
        await transport(session).send(append("a"), deadline_s=deadline_s)
    assert len(proxy.seen) == raised.value.attempts == 0
    assert not raised.value.outcome_unknown


async def test_an_attempt_ends_with_the_deadline(document: ClientSession, through: Through) -> None:
    """In real time: what never answers does not hold the caller up for longer than it said."""
    session, _ = await through(scripted(Fault.HALF_OPEN))
    began = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceeded):
        await Transport(session).send(append("a"), deadline_s=0.1)
    assert asyncio.get_running_loop().time() - began < 5.0


async def test_without_a_deadline_none_is_sent(document: ClientSession, through: Through) -> None:
    session, proxy = await through(scripted())
    await transport(session).send(append("a"), deadline_s=math.inf)
    assert "plait-deadline-ms" not in proxy.seen[0].head.headers


async def test_an_outage_spends_the_quota_and_then_nothing_is_tried_again(
    document: ClientSession, through: Through
) -> None:
    session, proxy = await through(scripted(*[Fault.CUT_BEFORE] * 1_000))
    quota, counters = RetryQuota(), Counters()
    sender = transport(session, quota=quota, counters=counters)
    errors = []
    for number in range(20):
        with pytest.raises(PlaitError) as raised:
            await sender.send(append("a", f"k{number}"))
        errors.append(type(raised.value))
    assert errors == [TransportError] * 11 + [RetryQuotaSpent] * 9
    assert len(proxy.seen) == 20 + 35
    assert counters.quota_spent == 9
    assert quota.tokens == 500 - 35 * Kind.FAULT.value


async def test_success_gives_the_quota_back(document: ClientSession, through: Through) -> None:
    session, _ = await through(scripted(Fault.CUT_AFTER, Fault.CUT_AFTER))
    quota = RetryQuota(100)
    sender = transport(session, quota=quota)
    await sender.send(append("a"))
    assert quota.tokens == 100 - 14
    for _ in range(20):
        await sender.send(Request("GET", PATH))
    assert quota.tokens == 100


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (Request("GET", "/v1/docs/orders/none"), NotFound),
        (Request("DELETE", PATH, {"If-Match": '"9"'}), PreconditionFailed),
        (Request("PATCH", PATH, {"Content-Type": "application/json-patch+json"}, b"[1]"), InvalidPatch),
        (Request("PATCH", PATH, {"Content-Type": "application/json-patch+json"}, b"[" * 9_999), InvalidPatch),
    ],
)
async def test_what_is_decided_is_not_asked_again(
    document: ClientSession, request_: Request, kind: type[PlaitError]
) -> None:
    with pytest.raises(kind) as raised:
        await transport(document).send(request_)
    assert raised.value.attempts == 1
    assert raised.value.request_id
    assert not raised.value.outcome_unknown


async def test_a_conflict_keeps_everything_the_server_said(document: ClientSession) -> None:
    sender = transport(document)
    for key, value in (("k1", "a"), ("k2", "b")):
        body = {"base": 1, "patch": [{"op": "replace", "path": "/log", "value": value}]}
        request = Request("PATCH", PATH, dict(append("", key).headers), msgspec.json.encode(body))
        if key == "k1":
            assert (await sender.send(request)).revision == 2
    with pytest.raises(Overlapped) as raised:
        await sender.send(request)
    assert raised.value.problem is not None
    assert raised.value.problem["head_revision"] == 2
    assert raised.value.attempts == 1


async def test_an_answer_tells_its_revision_and_tag(document: ClientSession) -> None:
    answer = await transport(document).send(Request("GET", PATH))
    assert (answer.status, answer.revision, answer.etag, answer.json()) == (200, 1, '"1"', {"log": []})
    again = await transport(document).send(Request("GET", PATH, {"If-None-Match": '"1"'}))
    assert again.status == 304
    with pytest.raises(ValueError, match="no body"):
        again.json()
    assert (await transport(document).send(Request("HEAD", PATH))).revision == 1


async def test_a_body_of_megabytes_is_sent_again_too(through: Through) -> None:
    """The server takes none that is so long, and says so however early it knows."""
    session, proxy = await through(scripted(Fault.CUT_AFTER))
    with pytest.raises(InvalidPatch):
        await transport(session, Retry()).send(append("x" * 3_000_000))
    assert [seen.body for seen in proxy.seen] == [append("x" * 3_000_000).body] * 2


async def test_a_body_that_is_too_long_is_refused_at_once(client: ClientSession) -> None:
    with pytest.raises(InvalidPatch) as raised:
        await transport(client, Retry()).send(append("x" * 30_000_000))
    assert raised.value.attempts == 1
    assert "x" * 100 not in repr(append("x" * 3_000_000))


@pytest.mark.parametrize(
    "path", ["", "v1", "//other.example/v1", "/\\other.example", "http://other.example/"]
)
def test_no_path_leads_to_another_server(path: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        Request("GET", path)


def test_a_request_does_not_change_with_what_it_was_made_of() -> None:
    headers = {"Plait-Base": "1"}
    request = Request("PATCH", PATH, headers)
    headers["Plait-Base"] = "2"
    assert request.headers["Plait-Base"] == "1"


async def test_nothing_is_left_of_a_task_that_was_cancelled(
    document: ClientSession, through: Through
) -> None:
    """After any number of turns of the loop: connecting, sending, waiting, reading, sleeping."""
    session, _ = await through(scripted(*[Fault.PASS, Fault.HTML_502] * 1_000))
    for turns in range(60):
        quota = RetryQuota()
        sending = asyncio.create_task(Transport(session, IMPATIENT, quota).send(append("a", f"k{turns}")))
        for _ in range(turns):
            await asyncio.sleep(0)
        sending.cancel()
        outcome = (await asyncio.gather(sending, return_exceptions=True))[0]
        assert isinstance(outcome, asyncio.CancelledError | Answer)
        assert session.connector is not None
        assert not session.connector._acquired
        assert quota.tokens >= 500 - Kind.FAULT.value
    running = {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
    assert not [name for name in running if name.startswith(("Transport", "_Sending", "ClientRequest"))]


async def test_a_cancelled_wait_takes_no_tokens(document: ClientSession, through: Through) -> None:
    session, _ = await through(scripted(Fault.HTML_502))
    quota, asleep = RetryQuota(), asyncio.Event()

    async def sleep(_: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    sending = asyncio.create_task(Transport(session, quota=quota, sleep=sleep).send(append("a")))
    await asleep.wait()
    assert quota.tokens == 500 - Kind.FAULT.value
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert quota.tokens == 500


async def test_nobody_there_is_known_not_to_have_got_it(unused_tcp_port: int) -> None:
    async with ClientSession(f"http://127.0.0.1:{unused_tcp_port}") as session:
        with pytest.raises(TransportError) as raised:
            await transport(session).send(append("a"))
    assert raised.value.attempts == 4
    assert not raised.value.outcome_unknown


Scripted = Callable[..., Awaitable[ClientSession]]


@pytest.fixture
async def answering() -> AsyncIterator[Scripted]:
    """Start a server that gives its connections these bytes, the last ones again and again."""
    servers, sessions = [], []

    async def started(*answers: bytes) -> ClientSession:
        left = list(answers)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line[:14] == b"Content-Length"), 0
            )
            await reader.readexactly(length)
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        servers.append(server)
        sessions.append(ClientSession(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        return sessions[-1]

    yield started
    for session in sessions:
        await session.close()
    for server in servers:
        await end(server, ())


def answer(status: int, body: bytes = b"", *headers: str, media_type: str = "application/json") -> bytes:
    lines = [
        f"HTTP/1.1 {status} x",
        f"Content-Type: {media_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def problem(status: int, code: str, retry: str, *headers: str) -> bytes:
    body = msgspec.json.encode({"type": f"urn:plait:errors:{code}", "detail": "No.", "status": status})
    return answer(
        status, body, f"Plait-Should-Retry: {retry}", *headers, media_type="application/problem+json"
    )


APPLIED = answer(200, b'{"revision":2}', "Plait-Revision: 2")


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\x00\xff\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\nContent-Type: application/json\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 50_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 500_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        answer(200, b"{", media_type="application/json"),
        answer(200, b"", media_type="application/json"),
        answer(200, b"<html>", media_type="text/html"),
        answer(200, b"{}", media_type="text/plain"),
        answer(200, b"{}", media_type=";;;"),
        answer(200, b"[" * 100_000 + b"]" * 100_000),
        answer(200, b"1e999"),
        answer(200, b'"\xff"'),
        answer(200, b'"' + b"x" * 2_000 + b'"'),
        answer(200, zlib.compress(b"0" * 50_000_000), "Content-Encoding: deflate"),
        answer(200, gzip.compress(b" " * 50_000_000), "Content-Encoding: gzip"),
        answer(302, b"", "Location: http://127.0.0.1:1/"),
        answer(307, b"", "Location: /v1/docs/orders/8"),
        answer(404, b"<html>", media_type="text/html"),
        answer(409, b"{}"),
        answer(412, b"{}"),
        answer(409, b"[1]", "Plait-Should-Retry: false", media_type="application/problem+json"),
        answer(422, b'{"type"', "Plait-Should-Retry: false", media_type="application/problem+json"),
        answer(500, b"Traceback", media_type="text/plain"),
        answer(502, b"{}", "Retry-After: nonsense"),
        answer(503, b"{}", "Retry-After: Mon, 99 Foo 2027 99:99:99 GMT"),
    ],
)
async def test_whatever_is_answered_is_a_transport_error(answering: Scripted, hostile: bytes) -> None:
    session = await answering(hostile)
    with pytest.raises(TransportError) as raised:
        await transport(session, Retry(), answer_bytes_max=1_000).send(append("a"))
    assert raised.value.detail
    assert 1 <= raised.value.attempts <= 4


async def test_an_answer_may_be_as_long_as_is_allowed_and_no_longer(answering: Scripted) -> None:
    session = await answering(answer(200, b"1" * 100), answer(200, b"1" * 101))
    sender = transport(session, answer_bytes_max=100)
    assert (await sender.send(Request("GET", PATH))).json() == int("1" * 100)
    with pytest.raises(TransportError, match="answer_bytes_max") as raised:
        await sender.send(Request("GET", PATH))
    assert raised.value.attempts == 1


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 423, 425, 429, 500, 502, 503, 504])
async def test_the_server_can_veto_a_retry_of_anything(answering: Scripted, status: int) -> None:
    session = await answering(problem(status, "odd", "false"), APPLIED)
    with pytest.raises(PlaitError) as raised:
        await transport(session).send(append("a"))
    assert raised.value.attempts == 1


@pytest.mark.parametrize(
    ("refusal", "wait_s"),
    [
        (problem(408, "request-timeout", "true"), 0.05),
        (problem(409, "idempotency-in-progress", "true", "Retry-After: 2"), 2.05),
        (problem(425, "too-early", "true"), 0.05),
        (problem(429, "quota-exceeded", "true"), 1.0),
        (problem(502, "bad-gateway", "true"), 0.05),
        (problem(503, "overloaded", "true", "Retry-After: 3"), 4.0),
        (problem(504, "outcome-unknown", "true", "Retry-After: 1"), 1.05),
        (
            problem(
                503,
                "overloaded",
                "true",
                "Date: Mon, 01 Mar 2027 12:00:00 GMT",
                "Retry-After: Mon, 01 Mar 2027 12:00:07 GMT",
            ),
            8.0,
        ),
    ],
)
async def test_what_may_be_sent_again_is_after_the_wait_the_server_asks_for(
    answering: Scripted, refusal: bytes, wait_s: float
) -> None:
    session, time = await answering(refusal, APPLIED), Time()
    assert (await transport(session, time=time).send(append("a"))).revision == 2
    assert time.waits == [wait_s]


@pytest.mark.parametrize(
    "decided",
    [
        problem(409, "merge-conflict", "true"),
        problem(412, "precondition-failed", "true"),
        problem(422, "patch-inapplicable", "true"),
    ],
)
async def test_a_decision_is_never_asked_for_again(answering: Scripted, decided: bytes) -> None:
    session = await answering(decided, APPLIED)
    with pytest.raises(PlaitError) as raised:
        await transport(session).send(append("a"))
    assert raised.value.attempts == 1


CUT = b""


@pytest.mark.parametrize(
    ("answers", "kind", "unknown"),
    [
        ((CUT, problem(401, "unauthorized", "false")), Forbidden, True),
        ((CUT, problem(423, "locked", "false")), PlaitError, True),
        ((CUT, problem(503, "overloaded", "true")), TransportError, True),
        ((CUT, answer(404, media_type="text/html")), TransportError, True),
        ((CUT, problem(409, "merge-conflict", "false")), Overlapped, False),
        ((CUT, problem(412, "precondition-failed", "false")), PreconditionFailed, False),
        ((CUT, CUT, problem(422, "patch-inapplicable", "false")), InvalidPatch, False),
        ((problem(503, "overloaded", "true"),), TransportError, False),
        ((problem(503, "store-unavailable", "false"),), TransportError, False),
        ((problem(504, "outcome-unknown", "true"),), TransportError, True),
        ((problem(409, "idempotency-in-progress", "true"),), TransportError, True),
        ((problem(500, "internal", "false"),), TransportError, True),
        ((answer(503),), TransportError, True),
        ((problem(401, "unauthorized", "false"),), Forbidden, False),
    ],
)
async def test_only_a_decision_about_the_edit_tells_what_became_of_an_earlier_attempt(
    answering: Scripted, answers: tuple[bytes, ...], kind: type[PlaitError], unknown: bool
) -> None:
    session = await answering(*answers)
    with pytest.raises(kind) as raised:
        await transport(session).send(append("a"))
    assert raised.value.outcome_unknown is unknown


async def test_a_write_without_a_key_is_not_sent_again_once_it_may_have_arrived(answering: Scripted) -> None:
    session = await answering(problem(503, "overloaded", "true"), CUT, APPLIED)
    with pytest.raises(TransportError) as raised:
        await transport(session).send(Request("POST", "/v1/docs/orders", {}, b"{}"))
    assert raised.value.attempts == 2
    assert raised.value.outcome_unknown


def test_keys_sort_by_the_time_they_were_made_and_no_two_are_the_same() -> None:
    """However many are made in one millisecond."""
    before = int(time.time() * 1000)
    keys = [new_key() for _ in range(1_000)]
    after = int(time.time() * 1000)
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch("[0-9a-f]{32}", key) for key in keys)
    assert all(before <= int(key[:12], 16) <= after for key in keys)
