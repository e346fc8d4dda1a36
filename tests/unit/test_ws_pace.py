"""News is read at once after a pause, and gathered for a window where it comes thick; no line waits longer than that."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_relay.pace import UTMOST_S, Pace

LINE_BYTES = 200
CROWD = 100  # viewers; as many as there may be unless told otherwise


def readings(arrivals: list[float], viewers: int) -> list[float]:
    """When each line is read that comes at these seconds, in order, if each reading takes in all there is."""
    pace, found = Pace(), list[float]()
    reading_at = float("-inf")
    for number, at in enumerate(arrivals):
        if at > reading_at:
            reading_at = at + pace.wait_s(at, viewers)
            pace.read(reading_at, LINE_BYTES * sum(at <= each <= reading_at for each in arrivals[number:]))
        found.append(reading_at)
    return found


def test_news_after_a_pause_is_read_at_once() -> None:
    assert readings([5.0, 5.02, 5.04], CROWD) == [5.0, 5.02, 5.04]


def test_news_that_comes_thick_is_read_together() -> None:
    found = readings([5.0, 5.002, 5.004, 5.011, 5.015], CROWD)
    assert found == pytest.approx([5.0, 5.012, 5.012, 5.012, 5.025])


def test_few_viewers_hear_of_each_line_by_itself() -> None:
    thick = [5.0, 5.0001, 5.0002]
    assert readings(thick, 1) == thick


def test_the_window_grows_with_the_viewers_and_only_then_with_the_lines() -> None:
    pace = Pace()
    many = (0, 1, 10, 25, 100, 150, 200, 1000)
    assert [pace.window_s(viewers) for viewers in many] == pytest.approx([0, 4e-4, 4e-3, 0.01, 0.01, 0.015, 0.02, 0.02])
    pace.read(1.0, 0)
    pace.read(1.01, 15 * LINE_BYTES)
    assert [pace.window_s(viewers) for viewers in (1, 10, 25, 50, 1000)] == pytest.approx(
        [4e-4, 4e-3, 0.01, 0.02, 0.02]
    )
    pace.read(1.02, 2 * LINE_BYTES)
    assert pace.window_s(CROWD) == 0.01


@given(st.lists(st.floats(0, 0.03), min_size=1, max_size=200), st.integers(0, 200))
def test_no_line_waits_longer_than_a_window_and_no_two_readings_are_closer(pauses: list[float], viewers: int) -> None:
    arrivals = [sum(pauses[: at + 1]) for at in range(len(pauses))]
    found = readings(arrivals, viewers)
    longest_s = min(UTMOST_S, 4e-4 * viewers)
    assert all(-1e-9 <= read - came <= longest_s + 1e-9 for came, read in zip(arrivals, found, strict=True))
    times = sorted({*found})
    closest_s = min(0.01, 4e-4 * viewers) if viewers > 2 else 0
    assert all(later - earlier >= closest_s - 1e-9 for earlier, later in pairwise(times))


@given(st.lists(st.floats(0.002, 0.03), min_size=1, max_size=200))
def test_up_to_five_hundred_lines_a_second_none_waits_longer_than_ten_milliseconds(pauses: list[float]) -> None:
    arrivals = [sum(pauses[: at + 1]) for at in range(len(pauses))]
    assert all(read - came <= 0.01 + 1e-9 for came, read in zip(arrivals, readings(arrivals, CROWD), strict=True))
