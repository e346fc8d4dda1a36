"""The life of a session as tables: statuses, allowed transitions, the exit codes of its ends, and when it begins anew."""

from hive_session.ondisk.records import ON_INTERRUPT, SessionRecord, parse_time

# Whoever asks, a status changes along these arrows only; the same status again is a no-op.
TRANSITIONS: dict[str, tuple[str, ...]] = {
    "created": ("starting", "failed"),
    "starting": ("running", "failed"),
    "running": ("completed", "failed"),
    "completed": (),
    "failed": (),
}
RESUMABLE = ("completed", "failed")  # `resume` alone leads from here back to starting, as attempt + 1

# What `start`, `run` and `wait` exit with when a session failed although its agent returned 0 or nothing.
FALLBACK_CODES = {
    "timeout": 124,
    "cancelled": 143,
    "interrupted": 143,
    "lost": 1,
    "spawn_error": 127,
    "exit": 1,
    "signal": 1,
}

RESTARTS_MAX = 5  # in a row, after runs that were interrupted within RESTART_SETTLED_S
RESTART_SETTLED_S = 600.0  # a run of this length is no part of a crash loop: counting begins anew


def may_change(status: str, target: str) -> bool:
    """True when the table allows `status` to become `target` (staying the same is always allowed)."""
    return target == status or target in TRANSITIONS.get(status, ())


def outcome_code(record: SessionRecord) -> int:
    """The exit code of `start`, `run` and `wait` for an ended session: the agent's own; never 0 for a failed one."""
    if record.status == "completed":
        return 0
    if record.reason == "timeout":
        return FALLBACK_CODES["timeout"]
    return record.exit_code or FALLBACK_CODES.get(record.reason or "", 1)


def awaits_restart(record: SessionRecord) -> bool:
    """True for a session that was interrupted and asked to be resumed then."""
    return record.restart == ON_INTERRUPT and (record.status, record.reason) == ("failed", "interrupted")


def next_restart(record: SessionRecord) -> int | None:
    """The number in a row that the next restart of an interrupted session is; None: that would be once too often.

    What counts is how long the run lasted until its end was seen, so a session that was given up stays so.
    """
    number = 1 if _lasted(record) else (record.restarts or 0) + 1
    return number if number <= RESTARTS_MAX else None


def _lasted(record: SessionRecord) -> bool:
    started, ended = parse_time(record.started or ""), parse_time(record.ended or "")
    return started is not None and ended is not None and ended - started >= RESTART_SETTLED_S
