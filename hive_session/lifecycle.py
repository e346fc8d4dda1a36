"""The life of a session as tables: statuses, allowed transitions, and the exit codes of its ends."""

from hive_session.ondisk.records import SessionRecord

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
