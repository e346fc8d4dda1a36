"""The tables of a session's life: which status may follow which, and what the end of a run is called."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.lifecycle import (
    FALLBACK_CODES,
    RESTARTS_MAX,
    RESUMABLE,
    TRANSITIONS,
    awaits_restart,
    may_change,
    next_restart,
    outcome_code,
)
from hive_session.ondisk.records import REASONS, STATUSES, TERMINAL, SessionRecord
from hive_session.ondisk.verdict import Exit, describe_end, judge_end

OK = Exit(exit_code=0)
SEVEN = Exit(exit_code=7)
KILLED = Exit(exit_code=137, signal=9)
ENDED = Exit(exit_code=143, signal=15)


def judged(**known: Any) -> tuple[str, str, int | None, int | None]:
    """(status, reason, exit_code, signal) of a run of which this is known."""
    facts: dict[str, Any] = {"agent": None, "claude": None, "requested": None, "needs_claude": False, "is_error": None}
    outcome = judge_end(**{**facts, **known})
    return outcome.status, outcome.reason, outcome.exit_code, outcome.signal


def record(**fields: Any) -> SessionRecord:
    names = ("session_id", "task", "created", "working_dir", "output_dir", "database", "log_file")
    return SessionRecord(**{**dict.fromkeys(names, ""), **fields})


def test_the_transition_table_knows_every_status_and_no_other() -> None:
    assert set(TRANSITIONS) == set(STATUSES)
    assert {target for targets in TRANSITIONS.values() for target in targets} <= set(STATUSES)


def test_nothing_follows_an_end_but_resume() -> None:
    assert {status for status, targets in TRANSITIONS.items() if not targets} == set(TERMINAL) == set(RESUMABLE)


@pytest.mark.parametrize("status", STATUSES)
def test_staying_is_always_allowed(status: str) -> None:
    assert may_change(status, status)


@pytest.mark.parametrize(
    ("status", "target", "allowed"),
    [
        ("created", "starting", True),
        ("created", "running", False),
        ("created", "completed", False),
        ("created", "failed", True),
        ("starting", "running", True),
        ("starting", "completed", False),
        ("running", "completed", True),
        ("running", "failed", True),
        ("running", "created", False),
        ("completed", "running", False),
        ("failed", "starting", False),
        ("archived", "running", False),
    ],
)
def test_a_status_changes_along_the_arrows_only(status: str, target: str, allowed: bool) -> None:
    assert may_change(status, target) is allowed


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"agent": OK}, ("completed", "exit", 0, None)),
        ({"agent": SEVEN}, ("failed", "exit", 7, None)),
        ({"agent": KILLED}, ("failed", "signal", 137, 9)),
        ({"agent": Exit(exit_code=143)}, ("failed", "exit", 143, None)),
        ({}, ("failed", "lost", None, None)),
        ({"lost_reason": "interrupted"}, ("failed", "interrupted", None, None)),
        ({"requested": "cancelled"}, ("failed", "cancelled", None, None)),
        ({"agent": ENDED, "requested": "timeout"}, ("failed", "timeout", 143, 15)),
        ({"agent": OK, "requested": "cancelled"}, ("failed", "cancelled", 0, None)),
        ({"agent": OK, "requested": "interrupted"}, ("failed", "interrupted", 0, None)),
        ({"agent": Exit(exit_code=127), "spawn_error": "cannot run x"}, ("failed", "spawn_error", 127, None)),
        ({"spawn_error": "not installed"}, ("failed", "spawn_error", None, None)),
    ],
)
def test_the_end_of_an_agent_gets_its_true_name(known: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert judged(**known) == expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        # claude-flow returns 1 for any failure of Claude, and 0 when it was ended or never found Claude.
        ({"agent": Exit(exit_code=1), "claude": OK, "is_error": False}, ("completed", "exit", 0, None)),
        ({"agent": Exit(exit_code=1), "claude": SEVEN}, ("failed", "exit", 7, None)),
        ({"agent": OK, "claude": KILLED}, ("failed", "signal", 137, 9)),
        ({"agent": OK, "claude": OK, "is_error": True}, ("failed", "exit", 0, None)),
        ({"agent": OK, "claude": OK, "is_error": None}, ("failed", "exit", 0, None)),
        ({"agent": OK, "claude": OK, "is_error": False}, ("completed", "exit", 0, None)),
        ({"agent": OK, "claude": None}, ("failed", "spawn_error", 0, None)),
        ({"agent": KILLED, "claude": None}, ("failed", "signal", 137, 9)),
    ],
)
def test_where_claude_works_beneath_its_own_end_decides(known: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert judged(needs_claude=True, **known) == expected


exits = st.none() | st.builds(Exit, exit_code=st.integers(0, 255), signal=st.none() | st.integers(1, 64))


@given(
    agent=exits,
    claude=exits,
    requested=st.none() | st.sampled_from(["timeout", "cancelled", "interrupted", "lost"]),
    needs_claude=st.booleans(),
    is_error=st.none() | st.booleans(),
    spawn_error=st.none() | st.just("cannot run"),
)
def test_whatever_is_known_the_judgement_is_an_end_and_only_a_clean_one_is_completed(
    agent: Exit | None,
    claude: Exit | None,
    requested: str | None,
    needs_claude: bool,
    is_error: bool | None,
    spawn_error: str | None,
) -> None:
    outcome = judge_end(
        agent=agent,
        claude=claude,
        requested=requested,
        needs_claude=needs_claude,
        is_error=is_error,
        spawn_error=spawn_error,
    )
    assert outcome.status in TERMINAL
    assert outcome.reason in REASONS
    if outcome.status == "completed":
        end = claude or agent
        assert end is not None and (end.exit_code, end.signal) == (0, None)
        assert requested is None and spawn_error is None and not is_error


@pytest.mark.parametrize("reason", REASONS)
def test_a_failed_session_never_exits_with_0(reason: str) -> None:
    assert outcome_code(record(status="failed", reason=reason, exit_code=0)) == FALLBACK_CODES[reason] != 0
    assert outcome_code(record(status="failed", reason=reason)) != 0


def test_the_agents_own_code_wins() -> None:
    assert outcome_code(record(status="failed", reason="cancelled", exit_code=137)) == 137
    assert outcome_code(record(status="failed", reason="timeout", exit_code=143)) == 124  # as timeout(1) says it
    assert outcome_code(record(status="completed", reason="exit", exit_code=0)) == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": "created"}, "waiting"),
        ({"status": "running"}, "running"),
        ({"status": "completed", "reason": "exit"}, "done"),
        ({"status": "failed", "reason": "exit", "exit_code": 7}, "failed: exit 7"),
        ({"status": "failed", "reason": "signal", "exit_code": 137, "signal": 9}, "failed: signal 9"),
        ({"status": "failed", "reason": "spawn_error", "exit_code": 127}, "failed: spawn error"),
        ({"status": "failed", "reason": "timeout", "exit_code": 143, "signal": 15}, "failed: timeout"),
        ({"status": "failed"}, "failed: unknown"),
    ],
)
def test_an_end_is_told_in_words(fields: dict[str, Any], words: str) -> None:
    assert describe_end(record(**fields)) == words


def interrupted(**fields: Any) -> SessionRecord:
    """A session that was interrupted after a minute and asked to be resumed."""
    known = {"status": "failed", "reason": "interrupted", "restart": "on-interrupt"}
    lasted = {"started": "2026-11-22T09:00:00.000+00:00", "ended": "2026-11-22T09:01:00.000+00:00"}
    return record(**{**known, **lasted, **fields})


@pytest.mark.parametrize(
    ("fields", "awaits"),
    [
        ({}, True),
        ({"restart": None}, False),
        ({"restart": "always"}, False),
        ({"reason": "cancelled"}, False),
        ({"reason": "lost"}, False),
        ({"status": "running", "reason": None}, False),
    ],
)
def test_only_what_was_interrupted_and_asked_for_it_awaits_a_restart(fields: dict[str, Any], awaits: bool) -> None:
    assert awaits_restart(interrupted(**fields)) is awaits


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({}, 1),
        ({"restarts": 1}, 2),
        ({"restarts": RESTARTS_MAX - 1}, RESTARTS_MAX),
        ({"restarts": RESTARTS_MAX}, None),
        ({"restarts": RESTARTS_MAX, "ended": "2026-11-22T09:09:59.999+00:00"}, None),
        ({"restarts": RESTARTS_MAX, "ended": "2026-11-22T09:10:00.000+00:00"}, 1),
        ({"restarts": 2, "ended": "2026-11-22T08:00:00.000+00:00"}, 3),  # the clock was set back
        ({"restarts": 2, "started": None}, 3),
        ({"restarts": 2, "ended": "?"}, 3),
    ],
)
def test_restarts_are_counted_while_runs_are_short(fields: dict[str, Any], number: int | None) -> None:
    assert next_restart(interrupted(**fields)) == number
