"""What the tools say of sessions and agents, figure by figure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.agent_figures import (
    agent_objects,
)
from hive_session.ondisk.figures import (
    RECENT_ENDED,
    active_agents,
    count_statuses,
    counts,
    cpu_percent,
    headline,
    last_activity,
    memory_mb,
    moment,
    recent,
    session_object,
    session_performance,
    session_row,
    success_rate,
    sum_counts,
    swarm_id,
    task_counts,
    uptime_seconds,
)
from tests.unit.hives import (
    COLD,
    COMPLETED,
    CREATED,
    EMPTY,
    FAILED,
    LONG_AGO,
    NOW_MS,
    OTHER,
    RESUMING,
    RUNNING,
    START_MS,
    STARTING,
    STATES,
    TORN,
    UNREADABLE,
    Known,
    card,
    session,
    session_id,
    the,
    workspace,
)
from tests.unit.test_fold import QUEEN, event, fold, spawned, status
from tests.unit.test_fold import session as told

# -- sessions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000+00:00"),
        (1_795_345_042_001, "2026-11-22T10:57:22.001+00:00"),
        (253_402_300_799_000, "9999-12-31T23:59:59.000+00:00"),
        (253_402_300_800_000, None),
        (2**53 - 1, None),
        (-1, None),
    ],
)
def test_a_moment_is_rfc_3339_with_milliseconds_or_nothing(ms: int | None, text: str | None) -> None:
    assert moment(ms) == text


@given(st.integers(0, 4_000_000_000_000))
def test_a_moment_loses_no_millisecond(ms: int) -> None:
    text = moment(ms)
    assert text is not None and text[19:23] == f".{ms % 1000:03d}"


@pytest.mark.parametrize("number", STATES)
def test_a_session_that_was_started_has_a_swarm(number: int) -> None:
    expected = None if number in (CREATED, EMPTY, UNREADABLE, TORN, OTHER) else session_id(number)
    assert swarm_id(the(number).card) == expected


def test_a_session_of_the_original_that_runs_has_a_swarm_though_nobody_counted_its_starts() -> None:
    assert swarm_id(card(1, "running", attempt=0, started_ms=None)) == session_id(1)
    assert swarm_id(card(1, "failed", attempt=0, started_ms=None, reason="cancelled")) is None


@pytest.mark.parametrize(
    ("number", "seconds"),
    [(CREATED, None), (RUNNING, 60), (RESUMING, 5), (COMPLETED, 50), (UNREADABLE, None), (OTHER, None)],
)
def test_uptime_is_that_of_the_last_attempt_in_whole_seconds(number: int, seconds: int | None) -> None:
    assert uptime_seconds(the(number).card, NOW_MS) == seconds


def test_uptime_is_not_below_zero_when_the_clock_was_set_back() -> None:
    assert uptime_seconds(card(1, started_ms=NOW_MS + 5000), NOW_MS) == 0
    assert uptime_seconds(card(1, "failed", ended_ms=None), NOW_MS) is None


def test_the_last_activity_is_the_last_sign_in_telemetry_or_record() -> None:
    assert last_activity(the(RUNNING)) == moment(START_MS + 30_000)
    assert last_activity(the(COLD)) == moment(START_MS)
    assert last_activity(the(UNREADABLE)) is None
    assert last_activity(session(card(1, updated_ms=None), fold(told("running") | {"ts": 2**53 - 1}))) is None


def test_processor_and_memory_are_zero_without_a_process_and_unknown_without_a_sample() -> None:
    measured = {number: (cpu_percent(the(number)), memory_mb(the(number))) for number in STATES}
    assert measured[RUNNING] == (150.5, 3.0)
    assert measured[STARTING] == measured[RESUMING] == (None, None)
    assert measured[UNREADABLE] == measured[TORN] == (None, None)
    assert {measured[number] for number in (CREATED, EMPTY, FAILED, COMPLETED, COLD, LONG_AGO, OTHER)} == {(0.0, 0.0)}


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (CREATED, (0, 0, 0)),
        (EMPTY, (0, 0, 0)),
        (STARTING, (0, 0, 0)),
        (RUNNING, (5, 1, 1)),
        (RESUMING, (1, 0, 0)),
        (FAILED, (5, 1, 4)),
        (COMPLETED, (5, 4, 1)),
        (COLD, None),
        (UNREADABLE, None),
        (TORN, (5, 1, 1)),
        (OTHER, None),
    ],
)
def test_every_agent_is_a_task(number: int, expected: tuple[int, int, int] | None) -> None:
    assert task_counts(the(number)) == (None if expected is None else counts(*expected))


def test_the_counts_are_there_in_both_spellings() -> None:
    made = counts(5, 2, 1)
    assert [made[key] for key in ("total_tasks", "completed_tasks", "active_tasks", "failed_tasks")] == [5, 2, 2, 1]
    assert [made[key] for key in ("total", "completed", "active", "failed")] == [5, 2, 2, 1]
    assert sum_counts([the(RUNNING), the(COLD), the(COMPLETED)]) == counts(10, 5, 2)


def test_a_queen_whose_end_is_missing_has_done_her_task_when_the_session_completed() -> None:
    open_end = session(card(1, "completed"), fold(told("running"), QUEEN, spawned("a")))
    assert task_counts(open_end) == counts(2, 1, 1)
    assert active_agents(open_end) == 0
    assert [each["status"] for each in agent_objects(open_end, NOW_MS)] == ["done", "failed"]


@pytest.mark.parametrize(
    ("number", "active"),
    [(CREATED, 0), (STARTING, 0), (RUNNING, 3), (FAILED, 0), (COLD, 0), (UNREADABLE, None), (TORN, 3)],
)
def test_no_agent_of_an_ended_session_is_active(number: int, active: int | None) -> None:
    assert active_agents(the(number)) == active


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (CREATED, "created"),
        (STARTING, "waiting"),
        (RUNNING, "researcher: thinking"),
        (FAILED, "failed: lost"),
        (COLD, "All is well."),
        (UNREADABLE, "session.json: not JSON"),
    ],
)
def test_the_headline_says_who_works_or_how_it_stands(number: int, line: str) -> None:
    assert headline(the(number)) == line


def test_a_row_takes_its_figures_from_the_telemetry_and_else_from_the_record() -> None:
    hot, cold, resumed = (session_row(the(number)) for number in (COMPLETED, COLD, RESUMING))
    assert [hot[key] for key in ("agents", "active_agents", "tokens", "cost_usd")] == [5, 0, 1000, 0.5]
    assert [cold[key] for key in ("agents", "active_agents", "tokens", "cost_usd")] == [5, 0, 1000, 0.5]
    assert [resumed[key] for key in ("agents", "active_agents", "tokens", "attempt")] == [1, 1, 1030, 2]
    assert session_row(the(LONG_AGO))["tokens"] is None


def test_a_session_says_how_it_ended_and_what_came_out() -> None:
    made = session_object(the(COMPLETED), NOW_MS)
    assert (made["reason"], made["exit_code"], made["signal"]) == ("exit", 0, None)
    assert made["result"] == {
        "text": "Built.",
        "is_error": False,
        "subtype": "success",
        "turns": 3,
        "duration_ms": None,
    }
    assert session_object(the(RUNNING), NOW_MS)["result"] is None
    assert session_object(the(COLD), NOW_MS)["messages"] is None


def test_monitors_get_numbers_even_where_nothing_was_measured() -> None:
    assert session_performance(the(RUNNING)) == {
        "total_tasks": 5,
        "completed_tasks": 1,
        "active_tasks": 3,
        "failed_tasks": 1,
        "active_agents": 3,
        "memory_usage_mb": 3.0,
        "cpu_usage": 150.5,
        "success_rate": 50.0,
        "tokens": 690,
        "cost_usd": 0.25,
    }
    unknown = session_performance(the(UNREADABLE))
    assert (unknown["memory_usage_mb"], unknown["cpu_usage"], unknown["tokens"]) == (0.0, 0.0, None)


def test_the_success_rate_is_a_hundred_until_one_has_failed() -> None:
    assert [success_rate(0, 0), success_rate(3, 0), success_rate(0, 2), success_rate(2, 1)] == [100.0, 100.0, 0.0, 66.7]


def test_recent_are_the_live_ones_and_those_that_ended_within_the_hour() -> None:
    numbers = [STARTING, RUNNING, RESUMING, FAILED, COMPLETED, COLD]
    found = [each.card.id for each in recent(workspace(), NOW_MS)]
    assert sorted(found) == [session_id(number) for number in numbers]
    assert found[0] == session_id(RESUMING)  # it started last


def test_of_many_that_ended_the_last_are_recent_and_every_live_one() -> None:
    ends = [session(card(number, "failed", ended_ms=NOW_MS - number * 1000)) for number in range(1, 100)]
    live = [session(card(number)) for number in range(100, 200)]
    found = {each.card.id for each in recent(Known(*ends, *live), NOW_MS)}
    assert found == {session_id(number) for number in [*range(1, RECENT_ENDED + 1), *range(100, 200)]}


def test_a_session_that_was_cancelled_before_its_start_is_no_recent_swarm() -> None:
    cancelled = session(card(1, "failed", attempt=0, started_ms=None, reason="cancelled"))
    assert recent(Known(cancelled), NOW_MS) == []


def test_statuses_are_counted_those_of_the_original_too() -> None:
    assert count_statuses(workspace()) == {
        "created": 2,
        "starting": 1,
        "running": 2,
        "completed": 2,
        "failed": 2,
        "unreadable": 2,
        "paused by hand": 1,
    }


def test_messages_and_retries_are_counted() -> None:
    message = event("message", **{"from": "queen", "to": "a", "text": "x"})
    made = session_object(session(card(1), fold(message, message, status("a", "waiting"))), NOW_MS)
    assert (made["messages"], made["api_retries"], made["active_agents"]) == (2, 0, 1)
