"""The end of a run put into its record: reads the witnesses, completes the telemetry, judges, and adds up what was used."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson

from hive_session import lifecycle
from hive_session.durable import append_line
from hive_session.lifecycle import Exit
from hive_session.ondisk.events import BadEvent, decode_event, encode_event
from hive_session.ondisk.fold import Hive
from hive_session.ondisk.layout import SessionPaths
from hive_session.ondisk.liveness import boot_identity
from hive_session.ondisk.records import ResourceUsage, SessionRecord, Usage, format_time
from hive_session.stream import Stream


def conclude(
    paths: SessionPaths,
    record: SessionRecord,
    *,
    now: float,
    requested: str | None,
    agent: Exit | None = None,
    spawn_error: str | None = None,
    rusage: ResourceUsage | None = None,
    complete: bool = True,
) -> SessionRecord:
    """The record of a run that is over, known to the runner (which passes what it saw) or found dead by a reader.

    Without `complete` nothing is written on the way: what a killed tap left out of the telemetry stays out. Raises: OSError.
    """
    agent = agent or read_exit(paths.exit, record.attempt)
    claude = read_exit(paths.claude_exit, record.attempt)
    if complete:
        complete_telemetry(paths, now_ms=int(now * 1000), claude=claude)
    hive = fold_telemetry(paths)
    same_boot = record.boot in (None, boot_identity())
    outcome = lifecycle.judge_end(
        agent=agent,
        claude=claude,
        requested=requested,
        needs_claude=record.runs_claude,
        is_error=hive.result.is_error if hive.result else None,
        spawn_error=spawn_error,
        lost_reason="lost" if same_boot else "interrupted",
    )
    ended_ms = claude.ended_ms if claude else agent.ended_ms if agent else None
    return replace(
        record,
        status=outcome.status,
        reason=outcome.reason,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        detail=outcome.detail,
        ended=format_time(ended_ms / 1000 if ended_ms else now, millis=True),
        usage=Usage(agents=len(hive.agents), tokens=hive.tokens, cost_usd=hive.cost_usd),
        rusage=rusage or record.rusage,
        conversation=hive.conversation or record.conversation,
    )


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
    return seen if seen.attempt == attempt else None


def read_events(path: str) -> Iterator[dict[str, Any]]:
    """The events of a telemetry file; lines that are not events are passed over, a missing file has none."""
    try:
        with open(path, "rb") as file:
            for line in file:
                try:
                    yield decode_event(line)
                except BadEvent:
                    continue
    except FileNotFoundError:
        return


def fold_telemetry(paths: SessionPaths) -> Hive:
    """The state that all telemetry of the session adds up to."""
    hive = Hive()
    for event in read_events(paths.telemetry):
        hive.apply(event)
    return hive


def complete_telemetry(paths: SessionPaths, *, now_ms: int, claude: Exit | None) -> None:
    """Append what a tap that was killed did not get to: Claude Code's lines are all in claude.jsonl."""
    start, done, ended = _tapped_until(paths)
    if start is None or ended:
        return
    stream = Stream()
    events: list[dict[str, Any]] = []
    try:
        with open(paths.claude_stream, "rb") as file:
            file.seek(start)
            at = start
            for line in file:
                at += len(line)
                if line.endswith(b"\n"):
                    fresh = stream.feed(line, at=at, now_ms=now_ms)
                    events.extend(fresh if at > done else ())
    except FileNotFoundError:
        pass
    events.extend(stream.end(now_ms=now_ms, exit_code=claude.exit_code if claude else None))
    events.append({"ts": now_ms, "type": "tap_ended", "exit_code": claude.exit_code if claude else None})
    append_line(paths.telemetry, b"".join(encode_event(event) for event in events))


def _tapped_until(paths: SessionPaths) -> tuple[int | None, int, bool]:
    """(where in claude.jsonl the last tap began, how far its events reach, whether it ended properly)"""
    start: int | None = None
    done, ended = 0, True
    for event in read_events(paths.telemetry):
        if event["type"] == "tap_started":
            start, done, ended = event.get("at", 0), event.get("at", 0), False
        elif event["type"] == "tap_ended":
            ended = True
        elif "at" in event:
            done = max(done, event["at"])
    return start, done, ended
