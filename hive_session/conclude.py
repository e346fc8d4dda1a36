"""The end of a run put into its record: reads the witnesses, completes the telemetry, judges, and adds up what was used."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hive_session.durable import append_line
from hive_session.ondisk.events import BadEvent, decode_event, encode_event
from hive_session.ondisk.fold import Hive
from hive_session.ondisk.layout import SessionPaths
from hive_session.ondisk.records import ResourceUsage, SessionRecord, Usage, format_time
from hive_session.ondisk.verdict import Exit, with_outcome
from hive_session.ondisk.witnesses import judge_run, read_exit
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
    if complete:
        claude = read_exit(paths.claude_exit, record.attempt)
        complete_telemetry(paths, now_ms=int(now * 1000), claude=claude)
    hive = fold_telemetry(paths)
    outcome, ended_ms = judge_run(paths, record, hive, requested=requested, agent=agent, spawn_error=spawn_error)
    ended = format_time(ended_ms / 1000 if ended_ms else now, millis=True)
    return replace(
        with_outcome(record, outcome, ended),
        usage=Usage(agents=len(hive.agents), tokens=hive.tokens, cost_usd=hive.cost_usd),
        rusage=rusage or record.rusage,
        conversation=hive.conversation or record.conversation,
    )


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
