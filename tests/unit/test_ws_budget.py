"""A token bucket lets its rate pass in the long run, whatever is taken and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_relay.budget import BURST_S, TokenBucket


def test_a_burst_passes_at_once_and_then_the_debt_is_paid() -> None:
    bucket = TokenBucket(1000, 50.0)
    assert bucket.wait_s(50.0) == 0.0
    bucket.take(1000)
    assert bucket.wait_s(50.0) == pytest.approx(1 - BURST_S)
    assert bucket.wait_s(50.0 + (1 - BURST_S) / 2) == pytest.approx((1 - BURST_S) / 2)
    assert bucket.wait_s(51.0) == 0.0


def test_what_is_not_used_is_not_saved_up_for_long() -> None:
    bucket = TokenBucket(1000, 0.0)
    assert bucket.wait_s(3600.0) == 0.0
    bucket.take(1000)
    assert bucket.wait_s(3600.0) == pytest.approx(1 - BURST_S)


def test_a_clock_that_stands_still_or_is_late_gives_nothing() -> None:
    bucket = TokenBucket(1000, 10.0)
    bucket.take(500)
    before = bucket.wait_s(10.0)
    assert bucket.wait_s(9.0) == before == bucket.wait_s(10.0)


@given(st.integers(1, 10**9), st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 2)), min_size=1, max_size=200))
def test_whoever_waits_as_long_as_told_stays_within_the_rate(rate: int, takes: list[tuple[int, float]]) -> None:
    now = 100.0
    bucket = TokenBucket(rate, now)
    passed = 0
    for size, pause_s in takes:
        now += pause_s
        wait_s = bucket.wait_s(now)
        now += wait_s
        assert bucket.wait_s(now) == pytest.approx(0.0, abs=1e-6)
        # What has passed before this one fits into the time since the beginning, but for what was saved up.
        assert passed <= rate * (now - 100.0 + BURST_S) + 1
        bucket.take(size)
        passed += size
