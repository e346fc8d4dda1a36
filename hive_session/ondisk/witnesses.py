"""What the witnesses of a run left in its directory, and the verdict on a run that is over; reads only."""

import os

import orjson

from hive_session.ondisk.fold import Hive
from hive_session.ondisk.layout import SessionPaths
from hive_session.ondisk.liveness import boot_identity
from hive_session.ondisk.records import SessionRecord
from hive_session.ondisk.verdict import Exit, Outcome, judge_end

LAST_MS = 253_402_300_799_999  # the end of the year 9999; a later time cannot be written down


def judge_run(
    paths: SessionPaths,
    record: SessionRecord,
    hive: Hive,
    *,
    requested: str | None,
    agent: Exit | None = None,
    spawn_error: str | None = None,
) -> tuple[Outcome, int | None]:
    """What the run of `record` that is over came to, and when it ended in Unix milliseconds where somebody saw it.

    `agent` is what the runner saw itself; without it its witness is asked. `hive` is all telemetry folded.
    """
    agent = agent or read_exit(paths.exit, record.attempt)
    claude = read_exit(paths.claude_exit, record.attempt)
    same_boot = record.boot in (None, boot_identity())
    outcome = judge_end(
        agent=agent,
        claude=claude,
        requested=requested,
        needs_claude=record.runs_claude,
        is_error=hive.result.is_error if hive.result else None,
        spawn_error=spawn_error,
        lost_reason="lost" if same_boot else "interrupted",
    )
    return outcome, claude.ended_ms if claude else agent.ended_ms if agent else None


def stop_was_asked(paths: SessionPaths) -> bool:
    """True when somebody asked for the end of this attempt (`stop` leaves a file before it sends a signal)."""
    return os.path.exists(paths.stop_request)


def read_exit(path: str, attempt: int) -> Exit | None:
    """What a witness wrote of this attempt; None when it wrote nothing, or something else."""
    try:
        with open(path, "rb") as file:
            found = orjson.loads(file.read(4096))
        seen = Exit(
            exit_code=int(found["exit_code"]),
            signal=found["signal"] and int(found["signal"]),
            attempt=int(found["attempt"]),
            ended_ms=int(found["ended_ms"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if seen.attempt != attempt or not 0 <= (seen.ended_ms or 0) <= LAST_MS:
        return None
    return seen
