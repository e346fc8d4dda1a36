"""When a program is restarted or tried again: a table of time, and no clock."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.suite.misses import Rules, Watched

TICK_S = 5.0
RULES = Rules()


def watched(rules: Rules = RULES) -> Watched:
    made = Watched(rules)
    made.runs(100, 0.0)
    return made


def restarts(one: Watched, from_s: float, to_s: float) -> list[float]:
    """When it is restarted while it never answers; each restart makes another process."""
    found = []
    now_s = from_s
    while now_s <= to_s:
        if one.missed(now_s):
            found.append(now_s)
            one.runs(one.pid + 1, now_s)
        now_s += TICK_S
    return found


def test_the_third_miss_in_a_row_restarts_and_an_answer_between_forgives() -> None:
    one = watched()
    one.well(1.0)
    assert [one.missed(now_s) for now_s in (5.0, 10.0)] == [False, False]
    one.well(15.0)
    assert [one.missed(now_s) for now_s in (20.0, 25.0, 30.0)] == [False, False, True]
    assert (one.kills, one.misses) == (1, 3)


def test_a_process_may_take_its_time_to_answer_first() -> None:
    one = watched()
    assert not any(one.missed(now_s) for now_s in (5.0, 10.0, 15.0, 20.0, 25.0))
    assert one.misses == 0 and one.starting(29.0) and not one.starting(30.0)
    assert restarts(one, 30.0, 60.0) == [40.0]


def test_one_that_has_answered_has_no_grace_left() -> None:
    one = watched()
    one.well(2.0)
    assert [one.missed(now_s) for now_s in (3.0, 4.0, 5.0)] == [False, False, True]


def test_one_that_always_hangs_is_restarted_ever_more_rarely() -> None:
    times_s = restarts(watched(), 0.0, 24 * 3600.0)
    gaps_s = [after - before for before, after in pairwise(times_s)]
    assert gaps_s[:4] == [40.0, 60.0, 120.0, 300.0]  # the first one is that of grace and misses
    assert set(gaps_s[4:]) == {600.0}


def test_after_a_while_without_trouble_the_next_restart_is_as_quick_as_the_first() -> None:
    one = watched()
    restarts(one, 0.0, 1000.0)
    assert one.rung > 3
    one.well(1000.0)
    one.well(1000.0 + RULES.settled_s - 1)
    assert one.rung > 3
    one.well(1000.0 + RULES.settled_s)
    assert one.rung == 0
    assert [one.missed(2000.0 + at) for at in range(3)] == [False, False, True]


def test_one_that_hangs_again_and_again_after_short_health_is_not_restarted_each_time() -> None:
    one = watched()
    found = []
    for second in range(0, 3600, 20):  # well for 5 s, then silent
        one.well(float(second))
        for at in (5, 10, 15):
            if one.missed(float(second + at)):
                found.append(second)
                one.runs(one.pid + 1, float(second + at))
    assert len(found) < 12


def test_another_process_begins_with_no_misses_and_counts_as_a_restart() -> None:
    one = watched()
    one.well(1.0)
    one.missed(2.0)
    one.runs(101, 3.0)
    assert (one.misses, one.restarts, one.kills) == (0, 1, 0)
    assert one.starting(4.0)
    one.runs(101, 5.0)
    assert one.restarts == 1


def test_fatal_is_news_once_until_it_runs_again() -> None:
    one = watched()
    assert [one.is_fatal(now_s) for now_s in (10.0, 15.0, 20.0)] == [True, False, False]
    assert one.runs(102, 30.0)
    assert not one.runs(102, 35.0)
    assert one.is_fatal(40.0)


def test_a_fatal_program_is_tried_again_after_1_5_and_15_minutes_and_then_every_15() -> None:
    one = watched()
    one.is_fatal(0.0)
    tried = [now_s for now_s in range(0, 7200, 5) if one.to_be_tried(float(now_s)) or one.is_fatal(float(now_s))]
    gaps_s = [after - before for before, after in pairwise([0, *tried])]
    assert gaps_s == [60, 300, *[900] * 7]
    assert one.tries == len(tried)


def test_what_is_not_fatal_is_never_tried() -> None:
    assert not watched().to_be_tried(1e9)


def test_a_program_that_runs_for_a_moment_between_two_fatals_gets_no_quicker_tries() -> None:
    one = watched()
    one.is_fatal(0.0)
    assert one.to_be_tried(60.0)
    one.runs(200, 61.0)
    one.well(61.0)
    assert one.is_fatal(65.0)
    assert not one.to_be_tried(65.0 + 299.0)
    assert one.to_be_tried(65.0 + 300.0)


def test_who_takes_over_tells_nothing_twice_and_restarts_nothing_sooner() -> None:
    one = watched()
    times_s = restarts(one, 0.0, 400.0)
    other = Watched(RULES)
    other.resume(one.saved(), 400.0)
    assert other.saved() == one.saved()
    other.runs(one.pid, 400.0)
    assert (other.restarts, other.kills) == (one.restarts, len(times_s))
    assert restarts(other, 400.0, 3000.0)[0] >= 400.0 + 300.0
    one.is_fatal(400.0)
    other.resume(one.saved(), 410.0)
    assert not other.is_fatal(411.0)
    assert other.to_be_tried(470.0)


@given(
    st.lists(st.tuples(st.sampled_from(["well", "missed", "runs", "fatal"]), st.floats(0, 50)), max_size=200),
    st.sampled_from([1, 3]),
)
def test_no_sequence_restarts_twice_within_the_first_pause(steps: list[tuple[str, float]], misses: int) -> None:
    one = watched(Rules(misses=misses, settled_s=1e9))
    now_s, killed_s = 0.0, float("-inf")
    for word, later_s in steps:
        now_s += later_s
        if word == "well":
            one.well(now_s)
        elif word == "runs":
            one.runs(one.pid + 1, now_s)
        elif word == "fatal":
            one.is_fatal(now_s)
        elif one.missed(now_s):
            assert now_s >= killed_s + 30.0  # a difference would be rounded
            killed_s = now_s


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_only_differences_of_time_count(jump_s: float) -> None:
    shifted = Watched(RULES)
    shifted.runs(100, jump_s)
    assert [each - jump_s for each in restarts(shifted, jump_s, jump_s + 600)] == restarts(watched(), 0.0, 600.0)
