"""How the end of a run is judged, and the words for it; pure, the same for whoever writes and whoever reads."""

from dataclasses import dataclass, replace

from hive_session.ondisk.records import SessionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process ended: `exit_code` as a shell reports it (128 + n for signal n), `signal` where it was one."""

    exit_code: int
    signal: int | None = None
    attempt: int = 0
    ended_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The judged end of a run: what session.json will say."""

    status: str
    reason: str
    exit_code: int | None = None
    signal: int | None = None
    detail: str | None = None


def with_outcome(record: SessionRecord, outcome: Outcome, ended: str | None) -> SessionRecord:
    """The record of a run that came to that, at that time (RFC 3339)."""
    return replace(
        record,
        status=outcome.status,
        reason=outcome.reason,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        detail=outcome.detail,
        ended=ended,
    )


def judge_end(
    *,
    agent: Exit | None,
    claude: Exit | None,
    requested: str | None,
    needs_claude: bool,
    is_error: bool | None,
    spawn_error: str | None = None,
    lost_reason: str = "lost",
) -> Outcome:
    """What a run that is over came to.

    `agent` is the process the runner started, `claude` the Claude Code beneath it as the tap's witness saw it, `requested`
    why the runner itself ended it (timeout, cancelled, interrupted); `is_error` is what Claude's last result says, None
    where there was none. Claude's own exit wins: claude-flow returns 1 for any
    failure of it and 0 when it is missing (facts/claude-flow.md section 2).
    """
    if spawn_error is not None:
        return Outcome(
            status="failed", reason="spawn_error", exit_code=agent.exit_code if agent else None, detail=spawn_error
        )
    end = claude or agent
    if end is None:
        return Outcome(status="failed", reason=requested or lost_reason)
    if requested is not None:
        return Outcome(status="failed", reason=requested, exit_code=end.exit_code, signal=end.signal)
    if end.signal is not None:
        return Outcome(status="failed", reason="signal", exit_code=end.exit_code, signal=end.signal)
    if end.exit_code != 0:
        return Outcome(status="failed", reason="exit", exit_code=end.exit_code)
    if needs_claude and claude is None:
        missing = "the agent ended without ever starting Claude Code"
        return Outcome(status="failed", reason="spawn_error", exit_code=0, detail=missing)
    if is_error:
        return Outcome(status="failed", reason="exit", exit_code=0, detail="the agent reported an error as its result")
    if claude is not None and is_error is None:
        # A full disk or a signal can end Claude Code with 0 in the middle of its work.
        return Outcome(status="failed", reason="exit", exit_code=0, detail="Claude Code ended without a result")
    return Outcome(status="completed", reason="exit", exit_code=0)


def describe_end(record: SessionRecord) -> str:
    """The end in the words of the terminal and the page, such as `failed: exit 7` (LOOK: one language everywhere)."""
    if record.status != "failed":
        return {"completed": "done", "created": "waiting"}.get(record.status, record.status)
    if record.reason == "exit" and record.exit_code:
        return f"failed: exit {record.exit_code}"
    if record.reason == "signal" and record.signal:
        return f"failed: signal {record.signal}"
    return f"failed: {(record.reason or 'unknown').replace('_', ' ')}"
