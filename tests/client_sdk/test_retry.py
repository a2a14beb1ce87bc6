"""How long to wait, what to send again, and how much failure one client may add to."""

import math
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait_client.errors import PlaitError
from plait_client.wire.retry import Failed, Kind, Retry, RetryQuota, full_jitter, kind_of, retry_after_s

NOW = datetime(2027, 3, 1, 12, 0, 0, tzinfo=UTC)
ERROR = PlaitError("It failed.")


def lowest(low: float, high: float) -> float:
    return low


def highest(low: float, high: float) -> float:
    return high


def test_a_wait_is_drawn_between_nothing_and_a_limit_that_doubles() -> None:
    assert [full_jitter(0.05, n, 8.0, highest) for n in range(9)] == [
        0.05,
        0.1,
        0.2,
        0.4,
        0.8,
        1.6,
        3.2,
        6.4,
        8.0,
    ]
    assert full_jitter(0.05, 5, 8.0, lowest) == 0.0


@given(st.integers(0, 10**9))
def test_no_number_of_failures_is_too_many_to_wait_after(n: int) -> None:
    assert full_jitter(0.5, n, 30.0, highest) <= 30.0


@pytest.mark.parametrize(("kind", "first_s"), [(Kind.FAULT, 0.05), (Kind.THROTTLE, 1.0)])
def test_a_throttle_is_waited_for_longer_than_a_fault(kind: Kind, first_s: float) -> None:
    waits = [Retry().wait_s(Failed(ERROR, kind), attempt, highest) for attempt in (1, 2, 3)]
    assert waits == [first_s, first_s * 2, first_s * 4]


def test_what_the_server_asks_for_is_the_floor_and_the_jitter_stands_on_it() -> None:
    failed = Failed(ERROR, Kind.THROTTLE, retry_after_s=20.0)
    assert Retry().wait_s(failed, 1, lowest) == 20.0
    assert Retry().wait_s(failed, 9, highest) == 28.0


def test_contention_has_a_rhythm_of_its_own() -> None:
    assert [Retry().contention_wait_s(attempt, highest) for attempt in (1, 2, 99)] == [0.01, 0.02, 1.0]


@pytest.mark.parametrize(
    "name", ["attempts", "deadline_s", "attempt_timeout_s", "cap_s", "contention_base_s"]
)
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_a_policy_that_makes_no_sense_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Retry(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": format_datetime(NOW.replace(minute=1), usegmt=True)}, 60.0),
        ({"Retry-After": format_datetime(NOW.replace(hour=11), usegmt=True)}, 0.0),
        ({"Retry-After": "9" * 5_000}, math.inf),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "1e3"}, 0.0),
        ({"Retry-After": "1_0"}, 0.0),
        ({"Retry-After": "\u0663"}, 0.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "Mon, 99 Foo 2027 00:00:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_anything_else_is_nothing(
    headers: dict[str, str], seconds: float
) -> None:
    assert retry_after_s(headers, NOW.timestamp()) == seconds


def test_a_clock_that_is_wrong_by_years_does_not_change_a_wait() -> None:
    headers = {
        "Date": format_datetime(NOW, usegmt=True),
        "Retry-After": format_datetime(NOW.replace(second=5), usegmt=True),
    }
    assert retry_after_s(headers, 0.0) == 5.0


@given(st.text(), st.text())
def test_no_header_breaks_the_reading_of_retry_after(said: str, date: str) -> None:
    assert retry_after_s({"Retry-After": said, "Date": date}, 0.0) >= 0.0


@pytest.mark.parametrize("status", range(300, 600))
def test_what_is_sent_again(status: int) -> None:
    """Without a word from the server; a 409 needs one, and any status can be vetoed."""
    kinds = dict.fromkeys((408, 425, 502, 504), Kind.FAULT) | dict.fromkeys((429, 503), Kind.THROTTLE)
    assert kind_of(status, "", None) is kinds.get(status)
    assert kind_of(status, "", "true") is (Kind.FAULT if status == 409 else kinds.get(status))
    assert kind_of(status, "", "false") is None
    assert kind_of(status, "merge-conflict", "true") is None


def test_a_retry_takes_more_than_a_first_success_gives_back() -> None:
    quota = RetryQuota()
    assert quota.take(Kind.FAULT)
    assert quota.take(Kind.THROTTLE)
    assert quota.tokens == 500 - 14 - 5
    quota.give_back(None)
    assert quota.tokens == 482
    quota.give_back(Kind.FAULT)
    assert quota.tokens == 496
    quota.give_back(Kind.FAULT)
    assert quota.tokens == 500


def test_an_outage_costs_a_bounded_number_of_retries() -> None:
    quota = RetryQuota()
    assert sum(quota.take(Kind.FAULT) for _ in range(1_000)) == 35
    assert not quota.take(Kind.FAULT)
    assert quota.tokens == 10
